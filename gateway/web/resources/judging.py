"""What would be said of an attempt: the verdict rule by rule, now or as of a time; and who may be reached.

Nothing is sent or recorded. Institutions are told of their own numbers only (a foreign number is a missing
one), so many a day; a list that looks counted up raises an alarm, and so do questions one by one.
"""

import dataclasses
import datetime
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from gateway.errors import Problem, Words
from gateway.model import SMS, VOICE, AccountKey, Attempt, Number, Reason
from gateway.policy.counted_rules import full_window
from gateway.policy.facts import governing
from gateway.policy.judge import Explanation, Later, decide, explain
from gateway.policy.numbers import mask
from gateway.policy.profile import Profile
from gateway.registry import past, quotas
from gateway.registry.acting import Actor
from gateway.registry.fields import Body, Instant, NumberText, SubscriberText
from gateway.registry.in_force import InForce
from gateway.registry.past import PastView
from gateway.registry.snapshot import Snapshot
from gateway.web.api import Answer, Call, Endpoint, not_found
from gateway.web.resources.attempts import CHANNELS, own_account

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

ASKERS = frozenset({"institution", "agency", "carrier", "regulator", "auditor"})
HOLDERS = frozenset({"institution", "agency"})
OF_TEXT = frozenset({Reason.SIGNATURE_MISSING, Reason.SIGNATURE_MISMATCH, Reason.OPTOUT_HINT_MISSING})
"""What a scrub can't tell: there is no text yet."""


class Asked(Body):
    """An attempt that is not made; `at` or `registry_version` ask for the facts of then."""

    channel: Literal["sms", "voice"] = "sms"
    account: str = Field("", max_length=100, description="empty: as the holder's own account would be judged")
    source: NumberText
    destination: SubscriberText
    text: str = Field("", max_length=4000)
    at: Instant | None = Field(None, description="judged at this time, by the registry of then if it is past")
    registry_version: int | None = Field(None, ge=1, le=2**63 - 1)


class LaterSaid(BaseModel):
    """A stricter mode that begins on a date."""

    mode: Literal["off", "observe", "enforce"]
    since: datetime.date
    days_left: int = Field(description="until then, in Asia/Shanghai")


class RuleSaid(BaseModel):
    """What one rule says of it."""

    reason: str
    words: str
    mode: Literal["off", "observe", "enforce"]
    later: LaterSaid | None = Field(None, description="where a stricter mode begins on a date to come")
    holds: bool
    sub: str
    fact: str = Field(description="what the rule looked at")
    source: str = Field(description="the article it stands on, as the profile names it")


class Said(BaseModel):
    """The verdict, and every rule's answer, those in mode off included."""

    verdict: Literal["pass", "refuse"]
    reason: str
    sub: str
    reasons: list[str]
    institution: str
    agency: str
    number: str = Field(description="the filing that it was judged by")
    purpose: str
    registry_version: int
    profile: str = Field(description="name of the profile that it was judged by")
    profile_digest: str = Field(description="as in records; of a stricter one where an override holds")
    rules: list[RuleSaid]


class Scrub(Body):
    """Whom a number may reach just now."""

    number: NumberText
    channel: Literal["sms", "voice"] = "sms"
    subscribers: list[SubscriberText] = Field(min_length=1, max_length=1000)


class Reached(BaseModel):
    """One subscriber of the list, by his place in it."""

    place: int
    subscriber: str = Field(description="masked")
    verdict: Literal["pass", "refuse"]
    reason: str


class Scrubbed(BaseModel):
    results: list[Reached]
    registry_version: int


async def judge(call: Call) -> Answer:
    asked: Asked = call.body
    site, now = call.site, _now()
    at = int(asked.at.timestamp() * 1000) if asked.at is not None else now
    view = site.view()
    account = own_account(call, view, asked.channel, asked.account).key if asked.account else None
    key = account or _nobodys(call)
    attempt = Attempt(key, CHANNELS[asked.channel], asked.source, asked.destination, asked.text)
    if asked.registry_version is None and at >= now:
        await only_own(call.c, call.actor, view, asked.source, attempt.channel, at)
        await _use(call, "judge", 1, site.config.web.judge_per_day)
        await watch(call, (asked.destination,))
        return Answer(_judged(call, attempt, site.view(), at))
    await _use(call, "judge", 1, site.config.web.judge_per_day)
    await watch(call, (asked.destination,))
    async with site.door.owner() as c:
        then = await past.view_at(c, site.key, attempt, past.Instant(at, asked.registry_version or 0))
    today = filing_of(site.view(), asked.source, attempt.channel, now)
    await only_own(call.c, call.actor, then, asked.source, attempt.channel, at, today)
    return Answer(_judged(call, attempt, then, at))


def _judged(call: Call, attempt: Attempt, view: Snapshot | PastView, at: int) -> "Said":
    """By the profile that was in force then; without an account as the holder's own would be judged."""
    profile = call.site.in_force.at(view, at)
    if not call.body.account:
        profile = dataclasses.replace(profile, unknown_account="observe")
    asker = call.actor.institution if call.actor.role in HOLDERS else None
    with call.site.counting(view):
        explained = explain(attempt, view, profile, at, asked=_now(), asker=asker)
    return _said(explained, view, profile, call)


async def scrub(call: Call) -> Answer:
    asked: Scrub = call.body
    site = call.site
    await only_own(call.c, call.actor, site.view(), asked.number, CHANNELS[asked.channel], _now())
    await _use(call, "scrub", len(asked.subscribers), site.config.web.scrub_per_day)
    await watch(call, asked.subscribers)
    return Answer(reached(asked, site.view(), site.in_force, site.config.node.carrier))


def reached(asked: Scrub, view: Snapshot, in_force: InForce, carrier: str) -> Scrubbed:
    """What each would be answered just now, from an account that the carrier's node does not know."""
    key, channel = AccountKey(carrier, "http", ""), CHANNELS[asked.channel]
    now = _now()
    profile = dataclasses.replace(in_force.at(view, now), unknown_account="observe")
    attempts = [Attempt(key, channel, asked.number, subscriber) for subscriber in asked.subscribers]
    results = []
    for place, verdict in enumerate(decide(attempts, view, profile, now)):
        reason = next(
            (found.reason for found in verdict.findings if found.enforced and found.reason not in OF_TEXT),
            None,
        )
        if reason is None and verdict.caps is not None and verdict.caps.enforced:
            full = full_window(attempts[place], verdict, view, now)
            reason = Reason.OVER_FREQUENCY if full else None
        results.append(
            Reached(
                place=place,
                subscriber=mask(asked.subscribers[place]),
                verdict="refuse" if reason else "pass",
                reason=reason.value if reason else "",
            )
        )
    return Scrubbed(results=results, registry_version=view.version)


async def _use(call: Call, kind: str, count: int, most: int) -> None:
    """Take from the day's quota. Problem `quota_used`, which regulators learn of."""
    try:
        await quotas.use(call.c, call.actor, kind, count, most)
    except Problem:
        await call.site.alarm(call.actor, "quota", asked=kind)
        raise


async def watch(call: Call, subscribers: Sequence[str]) -> None:
    """Tell the regulators when this list, or all that the caller asked about today, looks counted up."""
    day = datetime.datetime.now(quotas.SHANGHAI).date()
    count = call.site.asked.counted_up(call.actor, subscribers, day)
    if not count and quotas.counted_up(subscribers):
        count = len(subscribers)
    if count:
        await call.site.alarm(call.actor, "enumeration", subscribers=count)


async def only_own(
    c: "Connection",
    actor: Actor,
    view: Snapshot | PastView,
    source: str,
    channel: int,
    at: int,
    today: Number | None = None,
) -> None:
    """Problem `not_found` when somebody asks about a number that is not his at `at`: who held it once and
    holds it no more learns nothing of its holder and of who refused him. What nobody had filed then is whose
    it is `today`: he learns that it was not filed."""
    filing = filing_of(view, source, channel, at) or today
    if actor.role in HOLDERS:
        own = filing is not None and actor.institution in (filing.institution, filing.agency)
    elif actor.role == "carrier":
        own = filing is None or filing.carrier in ("", actor.carrier)
    elif actor.role == "regulator" and actor.territory:
        holder = filing.institution if filing is not None else 0
        own = await c.fetchval("SELECT EXISTS (SELECT FROM institutions WHERE id = $1)", holder)
    else:
        own = True
    if not own:
        raise not_found()


def filing_of(view: Snapshot | PastView, source: str, channel: int, at: int) -> Number | None:
    """The filing that governs the number at `at`, whatever its channel."""
    filings = view.numbers(source)
    return governing(filings, channel, at) or governing(filings, SMS | VOICE, at)


def _nobodys(call: Call) -> AccountKey:
    """An account that nobody filed, of this carrier: what it is judged by is said by the profile."""
    return AccountKey(call.site.config.node.carrier, "http", "")


def _said(explanation: Explanation, view: Snapshot | PastView, profile: Profile, call: Call) -> Said:
    verdict = explanation.verdict
    holder = call.actor.role in HOLDERS
    unasked = frozenset() if call.body.account else frozenset({Reason.ACCOUNT_MISMATCH})
    return Said(
        verdict="pass" if verdict.passed else "refuse",
        reason=verdict.reason.value if verdict.reason is not None else "",
        sub=verdict.sub,
        reasons=[found.reason.value for found in verdict.findings if found.reason not in unasked],
        institution=verdict.institution_code,
        agency=verdict.agency_code,
        number=verdict.number,
        purpose=verdict.purpose,
        registry_version=view.version,
        profile=profile.name,
        profile_digest=verdict.profile or profile.digest,
        rules=[
            RuleSaid(
                reason=answer.reason.value,
                words=_in(answer.words, call),
                mode=answer.mode,
                later=later_said(answer.later),
                holds=answer.holds,
                sub=answer.sub,
                # what others were told by this subscriber is not for a bank
                fact=""
                if holder and answer.reason is Reason.REFUSED_BY_SUBSCRIBER
                else _in(answer.fact, call),
                source=_in(answer.source, call),
            )
            for answer in explanation.answers
            if answer.reason not in unasked
        ],
    )


def _in(words: Words, call: Call) -> str:
    return words.zh if call.zh else words.en


def later_said(later: Later | None) -> LaterSaid | None:
    return later and LaterSaid(**later._asdict())


def _now() -> int:
    return time.time_ns() // 1_000_000


ENDPOINTS = (
    Endpoint(
        "POST",
        "/judge",
        ASKERS,
        "judge",
        Words("试判：逐条规则说明，不记录", "the verdict and why, rule by rule; records nothing"),
        judge,
        body=Asked,
        answer=Said,
        problems=frozenset({"not_found", "quota_used", "busy"}),
        rate="judge",
        example={"source": "10690001", "destination": "13800000000", "text": "【示例银行】拒收请回复R"},
    ),
    Endpoint(
        "POST",
        "/scrub",
        HOLDERS,
        "judge",
        Words("名单清洗：号码可触达哪些用户", "which subscribers a number may reach"),
        scrub,
        body=Scrub,
        answer=Scrubbed,
        problems=frozenset({"not_found", "quota_used", "busy"}),
        rate="judge",
        example={"number": "10690001", "subscribers": ["13800000000"]},
    ),
)
