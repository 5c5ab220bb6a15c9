"""The rule that looks at what was sent before: not too often.

Rules of this file: `decide` does not ask it. What passes is counted by `gateway.counters`, all of a batch at
once, under the caps that its verdict carries; a dry run asks the function here, which reads the counts.
"""

from gateway.errors import Words
from gateway.model import COLLECTION, MARKETING, SERVICE, SMS, VOICE, Attempt, Count, Reason, Verdict
from gateway.policy import caps
from gateway.policy.facts import Facts, Sender, View
from gateway.policy.rules import call, rule, sms
from gateway.policy.words import joined

NO_CAPS = Words("无频次上限", "no caps")

_MINUTES = [*range(60_000, 10 * 60_000, 60_000)]
"""Nine ages, a minute apart."""


def _frequency(attempt: Attempt, facts: Facts, view: View) -> Words:
    counts, holder = counts_for(facts), facts.institution
    if not counts or holder is None:
        return NO_CAPS
    said = []
    for count in counts:
        sent = view.sent(attempt.destination, holder.code, count.channels, count.purpose)
        said.append(caps.shown(count, sent, facts.now))
    return joined(said, NO_CAPS)


def counts_for(facts: Facts) -> tuple[Count, ...]:
    """What a sender's attempts are counted under on this channel."""
    channel, option = facts.key[2], facts.profile.option
    mine = option(Reason.OVER_FREQUENCY, "sms" if channel == SMS else "voice")
    if channel == VOICE and facts.account is not None and facts.account.line_kind == "robot":
        mine = caps.beside(mine, option(Reason.OVER_FREQUENCY, "robot"))
    joint = option(Reason.OVER_FREQUENCY, "joint")
    courses = caps.COURSES if channel == VOICE else {}
    counts = [
        *caps.counts_for(mine, facts.purposes, channel),
        *caps.counts_for(joint, facts.purposes, caps.JOINT),
    ]
    for course, word in courses.items():
        counts += caps.counts_for(option(Reason.OVER_FREQUENCY, word), facts.purposes, course)
    return tuple(counts)


def capped(facts: Facts) -> bool:
    """There is a cap for a purpose of the filing."""
    return facts.institution is not None and bool(counts_for(facts))


@rule(
    Reason.OVER_FREQUENCY,
    refuses=[
        sms(sent=[0, 59_999]),
        sms(sent=[*_MINUTES, 86_399_999]),
        sms(number={"purposes": COLLECTION}, sent=[1, 3_600_000, 86_399_999]),
        sms(number={"purposes": MARKETING | SERVICE}, sent=[1, 2]),
        sms(number={"purposes": MARKETING | COLLECTION}, sent=[1, 70_000, 140_000]),
        call(sent=[1, 2, 299_999]),
        call(sent=[1, 300_000, 600_000, 900_000, 86_399_999]),
        call(number={"purposes": COLLECTION}, unanswered=[1, 2, 3, 4, 5, 86_399_999]),
        call(number={"purposes": COLLECTION}, answered=[1, 3_600_000, 86_399_999]),
        call(number={"purposes": COLLECTION}, account={"line_kind": "robot"}, answered=[1, 2, 3]),
    ],
    passes=[
        sms(),
        sms(sent=[0]),
        sms(sent=[1, 60_000]),
        sms(sent=[*_MINUTES, 86_400_000]),
        sms(number={"purposes": COLLECTION}, sent=[1, 2]),
        sms(number={"purposes": SERVICE}, sent=[0] * 20),
        sms(number=None, account={"scope": "other"}, sent=[0] * 20),
        call(sent=[1, 2, 300_000]),
        call(
            number={"purposes": COLLECTION},
            sent=[1, 2, 3, 4, 5, 6, 7],
            unanswered=[1, 2, 3, 4, 5, 86_400_000],
            answered=[6, 7, 86_400_000],
        ),
        call(number={"purposes": COLLECTION}, account={"line_kind": "robot"}, unanswered=[1, 2, 3, 4, 5]),
        sms(number={"purposes": MARKETING}, account={"line_kind": "robot"}, sent=[60_001]),
    ],
    fact=_frequency,
    when=capped,
)
def within_caps(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """No window has had as many attempts of this institution to this subscriber for this purpose, on this
    channel or, where the cap is a joint one, on all, as its cap allows; nor as many calls that were answered,
    or that nobody took.
    Sub-code: the window."""
    return full_window(attempt, sender.clean, view, now) or True


def full_window(attempt: Attempt, verdict: Verdict, view: View, now: int) -> str:
    """The window that has no room for this attempt, judged so; "" when all have, or nobody can say."""
    if verdict.caps is None or not attempt.destination:
        return ""
    for purpose, limits, channels in verdict.caps.counts:
        sent = view.sent(attempt.destination, verdict.institution_code, channels, purpose)
        if sent is not None and (word := caps.broken(limits, sent, now)):
            return word
    return ""
