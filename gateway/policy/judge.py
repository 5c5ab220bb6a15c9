"""decide(): attempts and facts in, verdicts out (domain.md "Order of rules, and reasons").

Rules of this file: the first enforced finding refuses, later rules are still judged, so that the verdict
says all that was wrong. What hangs on the sender alone is judged once and kept in the view's cache; a
message costs its own rules only, and one without findings of its own shares its sender's verdict. It knows
no clock: `now` is an argument, in ms.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from itertools import groupby, islice
from types import ModuleType
from typing import Any, NamedTuple

from gateway.errors import Words
from gateway.model import VOICE, AccountKey, Attempt, Caps, Finding, Reason, Verdict
from gateway.policy import counted_rules, message_rules, sender_rules, text_rules
from gateway.policy.content import head
from gateway.policy.facts import (
    Facts,
    MessageJudge,
    Sender,
    Texts,
    View,
    copied,
    gather,
    shown,
    strictest,
)
from gateway.policy.hours import date_of
from gateway.policy.profile import ENFORCE, MODES, OBSERVE, OFF, Profile
from gateway.policy.rules import Judge, Rule, SenderJudge
from gateway.policy.words import REASONS

ORDER = {reason: place for place, reason in enumerate(Reason)}

WORDS_OF_MODES = {mode: word for word, mode in MODES.items()}

CACHED_SENDERS = 1 << 16
"""Senders kept at most; a peer that makes up source numbers costs time then, never memory."""

LOOKS = 1 << 10
"""New senders between two looks at how many there are in all: a look goes through the accounts, and whoever
calls from an address that nobody filed is one of his own."""


def _rules(*modules: ModuleType) -> tuple[Rule[Any], ...]:
    named = (value for module in modules for value in vars(module).values())
    return tuple(sorted((one for one in named if isinstance(one, Rule)), key=lambda rule: ORDER[rule.reason]))


SENDER_RULES: tuple[Rule[SenderJudge], ...] = _rules(sender_rules)
MESSAGE_RULES: tuple[Rule[MessageJudge], ...] = _rules(message_rules, text_rules)
TEXT_RULES = frozenset(rule.reason for rule in _rules(text_rules))
COUNTED_RULES: tuple[Rule[MessageJudge], ...] = _rules(counted_rules)
RULES: tuple[Rule[Any], ...] = (*SENDER_RULES, *MESSAGE_RULES, *COUNTED_RULES)


RULED: tuple[Reason, ...] = tuple(sorted({rule.reason for rule in RULES}, key=ORDER.__getitem__))
"""The reasons that have a rule, in rule order."""

CHECKS = {
    rule.reason: {
        mode: (rule.judge, Finding(rule.reason, "", mode == ENFORCE)) for mode in (OBSERVE, ENFORCE)
    }
    for rule in MESSAGE_RULES
}
"""What a Sender holds of a message rule in force: the same objects in each."""


OF_PLAIN = frozenset((Reason.MALFORMED, Reason.QUIET_HOURS))
"""What a message that could be read and goes at once does not break, within the sender's hours."""


PARTIAL = "counted_here"
"""Sub-code of `not_judgeable`: what other nodes count could not be asked, so this node's counts decided."""

COUNTED = frozenset({"unverifiable", PARTIAL})
"""Sub-codes that never refuse, whatever the rule's mode (domain.md `third_party`)."""

OWN_MODES = {"wrong_person": "said_wrong_person", "inbound_only": "shows_inbound"}
"""Sub-codes that a profile may give a stricter mode than their rule has, and the option that says it."""


def decide(attempts: Sequence[Attempt], view: View, profile: Profile, now: int) -> list[Verdict]:
    """One verdict per attempt, in their order."""
    senders, texts = view.senders, view.texts
    at: Any = now  # compiled, an int is made anew for each call
    stale = is_stale(view, profile, now)
    verdicts = []
    account: AccountKey | None = None
    channel = 0
    known: dict[str, Sender] = {}  # of the account and channel
    for attempt in attempts:
        if attempt.account is not account or attempt.channel != channel:
            account, channel = attempt.account, attempt.channel
            known = senders.setdefault((account, channel), {})
        sender = known.get(attempt.source)
        if sender is None or not sender.holds(profile, now, stale):
            view.met += 1
            if view.met >= LOOKS:
                _make_room(view, known)
            sender = known[attempt.source] = _met(attempt, known, view, profile, now, stale)
        manner = sender.manner
        said_before = texts.found.get(attempt.text)
        if (
            said_before is not None
            and said_before[0] is manner
            and not attempt.flaw
            and not attempt.unfinished
        ):
            found = said_before[1]
        else:
            found = _of_text(attempt, sender, view, now)
        plain = not attempt.flaw and not attempt.deliver_at and attempt.destination and attempt.source
        for judge, finding in sender.of_plain if plain else sender.checks:
            answer = judge(attempt, sender, view, at)
            if answer is not True:
                found += (finding if answer is False else said(finding, answer, sender.profile),)
        if not found:
            verdicts.append(sender.clean)
            continue
        verdict = sender.verdicts.get(found)
        if verdict is None:
            findings = in_order((*sender.findings, *found))
            refusal, sub = first_enforced(findings)
            verdict = replace(sender.clean, reason=refusal, sub=sub, findings=findings)
            sender.verdicts[found] = verdict
        verdicts.append(verdict)
    return verdicts


def _make_room(view: View, used: dict[str, Sender]) -> None:
    """For more senders: the oldest of each account go, account by account, until a quarter of all has gone.
    `used`: of the account that is judged now, which stays."""
    view.met = 0
    senders = view.senders
    if sum([len(known) for known in senders.values()]) < CACHED_SENDERS:
        return
    left = CACHED_SENDERS // 4
    for of, known in list(senders.items()):
        oldest = list(islice(known, len(known) // 4 + 1))
        for source in oldest:
            del known[source]
        if not known and known is not used:
            del senders[of]
        left -= len(oldest)
        if left <= 0:
            return


def _met(
    attempt: Attempt, known: dict[str, Sender], view: View, profile: Profile, now: int, stale: bool
) -> Sender:
    """A sender who comes for the first time. Behind one registration there may be a million extensions: one
    is judged, the others are copies, each with verdicts of its own, as records are made by them."""
    met = shown(attempt.source, view)
    alike = met.like
    if attempt.channel == VOICE and attempt.source.startswith(
        profile.option(Reason.UNREGISTERED, "inbound_only")
    ):
        alike += "/inbound"  # of them another thing is said than of others that nobody filed
    like = known.get(alike)
    if like is not None and like.holds(profile, now, stale):
        return copied(like)
    key = attempt.account, attempt.source, attempt.channel
    facts = gather(key, view, profile, now, stale=stale, met=met)
    sender = judged(facts, view.texts)
    if not facts.account_numbers:
        known[alike] = sender
    return sender


def _of_text(attempt: Attempt, sender: Sender, view: View, now: int) -> tuple[Finding, ...]:
    """What the rules about texts find; remembered where it is a whole text that could be read."""
    found: tuple[Finding, ...] = ()
    at: Any = now
    for judge, finding in sender.manner.checks:
        answer = judge(attempt, sender, view, at)
        if answer is not True:
            found += (finding if answer is False else said(finding, answer),)
    if sender.manner.checks and not attempt.flaw and not attempt.unfinished:
        view.texts.keep(attempt.text, sender.manner, found)
    return found


def said(finding: Finding, sub: str, profile: Profile | None = None) -> Finding:
    """A rule's finding with a sub-code, as this profile has it."""
    enforced = finding.enforced and sub not in COUNTED
    if not enforced and profile is not None and sub in OWN_MODES:
        enforced = profile.option(finding.reason, OWN_MODES[sub]) == ENFORCE
    return Finding(finding.reason, sub, enforced)


def is_stale(view: View, profile: Profile, now: int) -> bool:
    """Whether the registry was not heard of for longer than allowed."""
    return now - view.news_at > profile.max_age


def judged(facts: Facts, texts: Texts) -> Sender:
    """A sender with the findings of all rules that look at nothing else."""
    findings = []
    for rule in SENDER_RULES:
        answer = rule.judge(facts) if rule.asks(facts) else True
        if answer is not True:
            mode = mode_of(rule, facts, sub=answer or "")
            if mode != OFF:
                findings.append(Finding(rule.reason, answer or "", mode == ENFORCE))
    filing, hours = facts.filing, message_rules.hours_for(facts)
    neutral = facts.profile.option(Reason.SIGNATURE_MISMATCH, "neutral")
    bound = map(head, filing.signatures) if filing is not None else ()
    heads = tuple(name for name in bound if name not in neutral)
    asked = [(rule.reason, mode) for rule in MESSAGE_RULES if (mode := mode_of(rule, facts)) != OFF]
    of_text = tuple(CHECKS[reason][mode] for reason, mode in asked if reason in TEXT_RULES)
    others = [(reason, CHECKS[reason][mode]) for reason, mode in asked if reason not in TEXT_RULES]
    own = tuple(_own_checks(facts, {reason for reason, _ in asked}))
    checks = (*(check for _, check in others), *own)
    of_plain = (*(check for reason, check in others if reason not in OF_PLAIN), *own)
    is_open = hours.allow(facts.now, facts.profile.days)
    return Sender(
        general=facts.general,
        profile=facts.profile,
        since=facts.now,
        until=min(facts.until, hours.until(facts.now)),
        stale=facts.stale,
        institution=filing.institution if filing is not None else -1,
        purposes=facts.purposes,
        heads=heads,
        hours=hours,
        open=is_open,
        findings=tuple(findings),
        checks=checks,
        of_plain=of_plain if is_open else checks,
        manner=texts.manner(facts.profile, facts.purposes, heads, of_text),
        clean=verdict_of(facts, tuple(findings)),
        verdicts={},
    )


def _own_checks(facts: Facts, asked: Collection[Reason]) -> Iterator[tuple[MessageJudge, Finding]]:
    """Of rules that are not asked, the part whose mode is its own."""
    rule = message_rules.recipient_is_party
    if rule.reason not in asked and (mode := mode_of(rule, facts, sub="wrong_person")) != OFF:
        yield message_rules.was_not_disowned, Finding(rule.reason, "", mode == ENFORCE)


def mode_of(rule: Rule[Any], facts: Facts, at: int = 0, sub: str = "") -> int:
    """OFF where the rule has no say about this sender, else what the profile says of it, or of its sub-code,
    now or `at` then."""
    if not rule.asks(facts):
        return OFF
    mode = facts.profile.mode(rule.reason, facts.purposes, at or facts.now)
    if sub in OWN_MODES:
        mode = max(mode, facts.profile.option(rule.reason, OWN_MODES[sub]))
    unfiled = rule.reason is Reason.ACCOUNT_MISMATCH and facts.account is None
    return min(mode, OBSERVE) if unfiled and facts.profile.unknown_account == "observe" else mode


def caps_of(facts: Facts) -> Caps | None:
    """What the sender's attempts are counted under."""
    mode = mode_of(counted_rules.within_caps, facts)
    return None if mode == OFF else Caps(mode == ENFORCE, counted_rules.counts_for(facts))


def counted(verdict: Verdict, reason: Reason, sub: str) -> Verdict:
    """The verdict with what the counters found, enforced as its caps are."""
    enforced = verdict.caps is not None and verdict.caps.enforced
    findings = in_order((*verdict.findings, said(Finding(reason, "", enforced), sub)))
    refusal, said_sub = first_enforced(findings)
    return replace(verdict, reason=refusal, sub=said_sub, findings=findings)


def verdict_of(facts: Facts, findings: tuple[Finding, ...]) -> Verdict:
    """The verdict that findings, in rule order, amount to."""
    reason, sub = first_enforced(findings)
    filing, institution, agency = facts.filing, facts.institution, facts.agency
    return Verdict(
        reason=reason,
        sub=sub,
        findings=findings,
        number=filing.number if filing is not None else "",
        institution=filing.institution if filing is not None else 0,
        institution_code=institution.code if institution is not None else "",
        agency=filing.agency if filing is not None else 0,
        agency_code=agency.code if agency is not None else "",
        mandate=facts.mandate,
        purpose=strictest(facts.purposes),
        profile="" if facts.profile is facts.general else facts.profile.digest,
        caps=caps_of(facts),
    )


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: ORDER[finding.reason]))


def first_enforced(findings: Iterable[Finding]) -> tuple[Reason | None, str]:
    """What refuses, out of findings in rule order: reason and sub-code; None when nothing does."""
    return next(((finding.reason, finding.sub) for finding in findings if finding.enforced), (None, ""))


class Later(NamedTuple):
    """A mode that begins on a date in Asia/Shanghai, and how many days are left until then."""

    mode: str
    since: date
    days_left: int


class Answer(NamedTuple):
    """What one rule said of an attempt: for a person, rule by rule."""

    reason: Reason
    words: Words
    mode: str  # off | observe | enforce, for this number at this time; off also where it has no say
    later: Later | None  # where a stricter mode begins on a date to come
    holds: bool
    sub: str
    fact: Words  # what the rule looked at
    source: Words  # the article it stands on, as the profile names it


class Explanation(NamedTuple):
    """The verdict that `decide` and the counters give, and every rule's answer, also of those in mode off."""

    verdict: Verdict
    answers: tuple[Answer, ...]


def explain(
    attempt: Attempt,
    view: View,
    profile: Profile,
    now: int,
    *,
    asked: int | None = None,
    asker: int | None = None,
) -> Explanation:
    """Why an attempt gets its verdict; judges afresh, caches, counts and records nothing.

    `asked` is when somebody asks, where that is before `now`: news of then are fresh, as there are no others.
    `asker`: the id of the holder who asks and is told of others no more than he may know; None: he may all.
    """
    key = (attempt.account, attempt.source, attempt.channel)
    stale = is_stale(view, profile, now if asked is None else min(now, asked))
    facts = gather(key, view, profile, now, stale=stale)
    told = facts if asker is None else sender_rules.told(facts, asker)
    sender = judged(facts, Texts())
    answers = [
        *(_answer(rule, facts, told, attempt, view, lambda judge: judge(facts)) for rule in SENDER_RULES),
        *(
            _answer(rule, facts, told, attempt, view, lambda judge: judge(attempt, sender, view, now))
            for rule in (*MESSAGE_RULES, *COUNTED_RULES)
        ),
    ]
    answers.sort(key=lambda answer: (ORDER[answer.reason], answer.holds, answer.mode == "off"))
    answers = [next(of) for _, of in groupby(answers, lambda answer: answer.reason)]  # two say unregistered
    broken = (answer for answer in answers if not answer.holds and answer.mode != "off")
    findings = tuple(
        said(Finding(answer.reason, "", answer.mode == "enforce"), answer.sub) for answer in broken
    )
    return Explanation(verdict_of(facts, findings), tuple(answers))


def _answer(
    rule: Rule[Judge],
    facts: Facts,
    told: Facts,
    attempt: Attempt,
    view: View,
    ask: Callable[[Judge], bool | str],
) -> Answer:
    answer = ask(rule.judge) if rule.asks(facts) else True
    sub = answer if isinstance(answer, str) else ""
    mode, setting = mode_of(rule, facts, sub=sub), facts.profile.rules.get(rule.reason)
    start = setting.start if setting is not None else 0
    then = mode_of(rule, facts, start, sub) if start > facts.now else mode
    return Answer(
        reason=rule.reason,
        words=REASONS[rule.reason],
        mode=WORDS_OF_MODES[mode],
        later=later(then, start, facts.now) if then != mode else None,
        holds=answer is True,
        sub=sub,
        fact=rule.fact(attempt, told, view),
        source=facts.profile.source(rule.reason),
    )


def later(mode: int, start: int, now: int) -> Later:
    """A mode that begins at `start` (ms), seen from `now`."""
    day = date_of(start)
    return Later(WORDS_OF_MODES[mode], day, (day - date_of(now)).days)
