"""The rules that look at the message: readable, not refused by the subscriber, asked for, to a debtor, at a
decent hour.

Rules of this file: these run for every message, so what depends on the sender alone is asked in `when`,
once per cached Sender.
"""

from collections.abc import Iterator, Sequence

from gateway.errors import Words
from gateway.model import COLLECTION, MARKETING, SERVICE, SMS, VOICE, Attempt, Reason, Refusal
from gateway.policy.facts import LIMITED, Facts, Sender, View, governing
from gateway.policy.hours import DAY, Hours, for_all, shown_at
from gateway.policy.rules import call, rule, sms
from gateway.policy.words import covered, named

_EVENING, _NIGHT, _NEXT_MONTH = 1_764_077_400_000, 1_764_086_400_000, 1_766_635_200_000
"""25 November 2025, 21:30, and 26 November, 00:00; 25 December, 12:00; all in Asia/Shanghai."""


def _spelling(attempt: Attempt, facts: Facts, view: View) -> Words:
    if attempt.flaw:
        return Words(f"无法读取：{attempt.flaw}", f"unreadable: {attempt.flaw}")
    return Words("号码和内容均可读取", "numbers and text could be read")


def _refusals(attempt: Attempt, facts: Facts, view: View) -> Words:
    said = view.refusals(attempt.destination) if attempt.destination else ()
    count = sum(1 for one in said if one.purposes)
    zh, en = f"该用户有 {count} 条拒收", f"refusals of this subscriber: {count}"
    if not count:
        return Words(zh, en)
    holder = facts.filing.institution if facts.filing is not None else -1
    reaching = list(_reaching(said, attempt, facts.purposes, holder, view, facts.now))
    if not reaching:
        return Words(f"{zh}，均不涉及本次", f"{en}; none reaches this")
    first = min(reaching, key=lambda one: one.at)
    since, covers = shown_at(first.at), covered(first.purposes, first.channels)
    zh += f"，涉及本次的自 {since} 起：{covers.zh}"
    en += f"; what reaches this stands since {since}: {covers.en}"
    if held := [one.undecided_until for one in reaching if one.undecided_until > facts.now]:
        until = shown_at(min(held))
        zh += f"；含义不明的回复在人工处理前暂停营销至 {until}"
        en += f"; an ambiguous reply holds until {until}, unless a person decides"
    return Words(zh, en)


def _consents(attempt: Attempt, facts: Facts, view: View) -> Words:
    holder = facts.filing.institution if facts.filing is not None else 0
    spans = view.consents(attempt.destination, holder) if attempt.destination and holder else ()
    zh = f"该用户对该机构有 {len(spans)} 条同意"
    en = f"consents of this subscriber to this institution: {len(spans)}"
    ended = [span.end for span in spans if span.end <= facts.now]
    if ended and not any(span.holds(facts.now) for span in spans):
        last = shown_at(max(ended))
        zh, en = f"{zh}，最近一条止于 {last}", f"{en}; the last one ended {last}"
    return Words(zh, en)


def _recipients(attempt: Attempt, facts: Facts, view: View) -> Words:
    holder = facts.filing.institution if facts.filing is not None else 0
    found = view.recipients(attempt.destination, holder) if attempt.destination and holder else ()
    roles = sorted({one.role for one in found if one.span.holds(facts.now)})
    if "stranger" in roles:
        return Words("用户自称不是要找的人", "the subscriber said to be another person")
    if roles:
        return Words(
            f"在债务人名单上，身份：{'、'.join(named(role).zh for role in roles)}",
            f"on the recipient list as {', '.join(named(role).en for role in roles)}",
        )
    if holder and view.lists_recipients(holder):
        return Words("不在债务人名单上", "not on the recipient list")
    return Words("机构未报债务人名单", "no recipient list")


def _hours(attempt: Attempt, facts: Facts, view: View) -> Words:
    at, hours = max(attempt.deliver_at, facts.now), hours_for(facts)
    day, shown = hours.day(at, facts.profile.days), shown_at(at)
    return Words(f"{shown}{day.zh}；允许 {hours.zh}", f"{shown}{day.en}; allowed {hours}")


def hours_for(facts: Facts) -> Hours:
    """The hours in which a sender's subscribers may be reached on this channel."""
    table = facts.profile.option(Reason.QUIET_HOURS, "sms" if is_text(facts) else "voice")
    return for_all(table, facts.purposes & LIMITED)


def is_text(facts: Facts) -> bool:
    return facts.key[2] == SMS


def can_be_refused(facts: Facts) -> bool:
    """A number filed for service alone is never stopped by a refusal; one that nobody filed can be."""
    return not facts.purposes or bool(facts.purposes & LIMITED)


@rule(
    Reason.MALFORMED,
    refuses=[
        sms(flaw="source"),
        sms(flaw="text"),
        call(flaw="destination"),
        sms(destination=""),
        sms(text="", flaw="binary"),
        sms(text="", flaw="binary", number={"purposes": SERVICE}),
    ],
    passes=[sms(), call(), sms(text="")],
    fact=_spelling,
    everyone=True,
)
def can_be_read(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """Both numbers and the text could be read; sub-code: the part that could not.

    What is meant for a device (WAP push, SIM data) is `binary`; where the profile's `binary` lets it pass,
    only numbers that nobody sells or collects from may send it.
    """
    if attempt.flaw == "identity":
        return True  # who calls is another rule's
    if attempt.flaw:
        if attempt.flaw != "binary" or sender.purposes & LIMITED:
            return attempt.flaw
        if sender.profile.option(Reason.MALFORMED, "binary") != "pass":
            return attempt.flaw
    if not attempt.destination:
        return "destination"
    return True if attempt.source else "source"


def is_call(facts: Facts) -> bool:
    return facts.key[2] == VOICE


@rule(
    Reason.NOT_JUDGEABLE,
    refuses=[call(source="", flaw="identity")],
    passes=[call()],
    fact=_spelling,
    when=is_call,
    everyone=True,
)
def caller_is_known(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """Who calls could be made out: one number, asserted by a peer that is trusted, or in From."""
    return "identity" if attempt.flaw == "identity" else True


@rule(
    Reason.REFUSED_BY_SUBSCRIBER,
    refuses=[
        sms(refusal={}),
        call(refusal={}),
        sms(refusal={"institution": 0}),
        sms(refusal={"institution": 0, "number": "10690001"}),
        sms(refusal={"institution": 0, "number": "1069000188"}, number={"extension_digits": 2}),
        sms(number=None, refusal={"institution": 0, "number": "10690001"}),
        sms(number={"purposes": MARKETING | SERVICE}, refusal={}),
        sms(number={"purposes": COLLECTION}, refusal={"purposes": COLLECTION | MARKETING}),
        sms(refusal={"undecided_until": _NEXT_MONTH}),
        sms(refusal={"undecided_until": 1}),
    ],
    passes=[
        sms(),
        sms(refusal={"purposes": 0}),
        sms(refusal={"institution": 3}),
        sms(refusal={"institution": 0, "number": "10690009"}),
        sms(refusal={"channels": VOICE}),
        sms(refusal={"purposes": COLLECTION}),
        sms(number={"purposes": SERVICE}, refusal={"purposes": MARKETING | COLLECTION | SERVICE}),
        sms(number={"purposes": COLLECTION}, refusal={"purposes": MARKETING}),
        sms(number=None, refusal={"institution": 0, "number": "10690001"}, account={"scope": "other"}),
    ],
    fact=_refusals,
    when=can_be_refused,
)
def subscriber_allows(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """No refusal in force stands between the number's institution and this subscriber.

    Sub-code `held`: an ambiguous reply waits for a person; undecided, it becomes a refusal by itself.
    """
    if not attempt.destination:
        return True
    refusals = view.refusals(attempt.destination)
    if not refusals:
        return True
    held = False
    for refusal in _reaching(refusals, attempt, sender.purposes, sender.institution, view, now):
        if now >= refusal.undecided_until:
            return False
        held = True
    return "held" if held else True


def _reaching(
    said: Sequence[Refusal], attempt: Attempt, purposes: int, institution: int, view: View, now: int
) -> Iterator[Refusal]:
    """Of all that the subscriber said, the refusals in force that stand between him and an institution's
    number with these purposes."""
    limited = purposes & LIMITED or LIMITED
    for refusal in said:
        if (
            refusal.channels & attempt.channel
            and refusal.purposes & limited
            and reaches(refusal, attempt, institution, view, now)
            and refusal.stands(said, institution)
        ):
            yield refusal


def reaches(refusal: Refusal, attempt: Attempt, institution: int, view: View, now: int) -> bool:
    """Whether it was said to the institution that sends, or to all.

    A refusal sent to a number that nobody had filed is that number's, and once somebody has filed it, the
    institution's.
    """
    if refusal.institution:
        return refusal.institution == institution
    number = refusal.number
    return (
        not number
        or number == attempt.source
        or _institution_of(number, attempt.channel, view, now) == institution
    )


def _institution_of(number: str, channel: int, view: View, now: int) -> int:
    """Who has filed a number by now; 0 when nobody has."""
    filing = governing(view.numbers(number), channel, now)
    return filing.institution if filing is not None else 0


def sells(facts: Facts) -> bool:
    """Marketing is among the purposes of the filing."""
    return facts.filing is not None and bool(facts.purposes & MARKETING)


@rule(
    Reason.CONSENT_MISSING,
    refuses=[
        sms(consent=None),
        call(consent=None),
        sms(consent={"start": 2**61}),
        sms(consent={"end": 1}),
        sms(consent=None, number={"purposes": MARKETING | COLLECTION}),
        sms(consent={"institution": 3}),
    ],
    passes=[
        sms(),
        call(),
        sms(consent=None, number={"purposes": COLLECTION}),
        sms(consent=None, number={"purposes": SERVICE}),
        sms(consent=None, number=None, account={"scope": "other"}),
    ],
    fact=_consents,
    when=sells,
)
def subscriber_consented(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """Somebody who gets marketing asked the institution for it, and still does; sub-code: `lapsed`."""
    if not attempt.destination:
        return True
    spans = view.consents(attempt.destination, sender.institution)
    if not spans:
        return False
    for span in spans:
        if span.holds(now):
            return True
    return "lapsed"


def collects(facts: Facts) -> bool:
    """Collection is among the purposes of the filing."""
    return facts.filing is not None and bool(facts.purposes & COLLECTION)


@rule(
    Reason.THIRD_PARTY,
    refuses=[
        sms(number={"purposes": COLLECTION}, recipient={"institution": 1, "subscriber": "+8613800000009"}),
        sms(number={"purposes": COLLECTION}, recipient={"end": 1}),
        sms(number={"purposes": COLLECTION}, recipient={"role": "stranger"}),
        call(number={"purposes": COLLECTION}, recipient={"role": "stranger"}),
        sms(number={"purposes": COLLECTION | MARKETING}, recipient={"role": "stranger"}),
        sms(number={"purposes": COLLECTION, "agency": 2}, recipient=None),
    ],
    passes=[
        sms(),
        sms(number={"purposes": COLLECTION}),
        sms(number={"purposes": COLLECTION}, recipient={"role": "guarantor"}),
        sms(number={"purposes": COLLECTION, "agency": 2}),
        sms(recipient={"role": "stranger"}),
        sms(number={"purposes": SERVICE}, recipient={"role": "stranger"}),
    ],
    fact=_recipients,
    when=collects,
)
def recipient_is_party(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """Collection goes to the institution's debtors and guarantors, and to nobody who said to be neither.

    Sub-codes: `wrong_person`, whose mode may be stricter (`said_wrong_person`); `unverifiable`, as the
    institution has no list, which is only counted, and `unverifiable_agency`, where the profile
    demands a list of whom an agency writes to.
    """
    if not attempt.destination:
        return True
    roles = _roles(attempt, sender, view, now)
    if "stranger" in roles:
        return "wrong_person"
    if roles:
        return True
    if view.lists_recipients(sender.institution):
        return False
    if sender.clean.agency and sender.profile.option(Reason.THIRD_PARTY, "agencies_need_list"):
        return "unverifiable_agency"
    return "unverifiable"


def was_not_disowned(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """Of the rule above what the subscriber's own word says, for profiles that ask for no more."""
    disowned = attempt.destination and "stranger" in _roles(attempt, sender, view, now)
    return "wrong_person" if disowned else True


def _roles(attempt: Attempt, sender: Sender, view: View, now: int) -> set[str]:
    """What the institution's recipient list, and the subscriber, say that he is to it."""
    return {
        recipient.role
        for recipient in view.recipients(attempt.destination, sender.institution)
        if recipient.span.holds(now)
    }


def is_limited(facts: Facts) -> bool:
    """The number's purposes are among those that hours and caps limit; service is not."""
    return bool(facts.purposes & LIMITED)


@rule(
    Reason.QUIET_HOURS,
    refuses=[
        sms(deliver_at=_NIGHT),
        call(deliver_at=_NIGHT),
        sms(deliver_at=_NIGHT, number={"purposes": COLLECTION}),
        sms(deliver_at=_NIGHT, number={"purposes": MARKETING | SERVICE}),
        sms(deliver_at=_EVENING),
        sms(deliver_at=_EVENING, number={"purposes": MARKETING | COLLECTION}),
        sms(deliver_at=_NEXT_MONTH),
    ],
    passes=[
        sms(),
        call(),
        sms(deliver_at=_EVENING, number={"purposes": COLLECTION}),
        sms(deliver_at=_NIGHT, number={"purposes": SERVICE}),
        sms(deliver_at=_NEXT_MONTH, number={"purposes": COLLECTION}),
        sms(deliver_at=1),
    ],
    fact=_hours,
    when=is_limited,
)
def hour_is_allowed(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """It is delivered within the hours of its purposes; marketing is not scheduled too far ahead.

    Sub-codes: `scheduled`, its scheduled time is outside the hours; `too_far`.
    """
    at = attempt.deliver_at
    if at <= now:
        return sender.open
    if sender.purposes & MARKETING:
        ahead: int = sender.profile.option(Reason.QUIET_HOURS, "most_days_ahead") * DAY
        if at - now > ahead:
            return "too_far"
    return sender.hours.allow(at, sender.profile.days) or "scheduled"
