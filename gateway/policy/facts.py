"""What the registry says of a sender at one instant: the facts that the rules look at.

Rules of this file: facts are gathered, nothing is judged. Which filing governs a number, and when
anything that was looked at changes next, is decided here and nowhere else. It knows no database and no
clock: a `View` is given by whoever has the registry, `now` is an argument.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import NamedTuple, Protocol

from gateway.model import (
    COLLECTION,
    FOREVER,
    MARKETING,
    PURPOSES,
    SMS,
    Account,
    AccountKey,
    AccountNumber,
    Attempt,
    Ban,
    Finding,
    Hold,
    Institution,
    Mandate,
    Number,
    Recipient,
    Refusal,
    Span,
    Verdict,
)
from gateway.policy.hours import Hours
from gateway.policy.profile import Profile

LIMITED = MARKETING | COLLECTION
"""Purposes that a refusal, stale news, hours or caps can stop; service never is (domain.md "Purposes")."""

REPLY_PATH = 86_400_000
"""ms without a session that receives after which nobody could refuse (domain.md `no_reply_path`)."""

SenderKey = tuple[AccountKey, str, int]
"""(account, source number, channel): all that the rules about a sender depend on."""

MessageJudge = Callable[[Attempt, "Sender", "View", int], bool | str]
"""A rule about one message: True when it holds, False or a sub-code when it is broken."""


Checks = tuple[tuple[MessageJudge, Finding], ...]
"""Rules to ask, each with what it says when it is broken."""

MOST_TEXTS = 2048
"""Texts whose findings are remembered, before all are forgotten."""


class View(Protocol):
    """One immutable snapshot of the registry; everything a verdict asks is asked of it."""

    @property
    def version(self) -> int:
        """Registry version of the snapshot, as written into records."""

    @property
    def news_at(self) -> int:
        """When the registry was last heard of, in ms."""

    @property
    def senders(self) -> dict[tuple[AccountKey, int], dict[str, "Sender"]]:
        """Of each account and channel, by source number: a cache that `decide` fills and bounds; its owner
        empties it when any table that a Sender is made of changes (all but the refusals), and of an account
        that receives again."""

    met: int
    """Senders that came into the cache since `decide` last looked how many it holds."""

    @property
    def texts(self) -> "Texts":
        """A cache that `decide` fills, and that bounds itself."""

    def account(self, key: AccountKey) -> Account | None: ...

    def numbers(self, source: str) -> Sequence[Number]:
        """Every registration whose range holds `source`, whatever its state: exact first, then longest."""

    def ban(self, source: str) -> Ban | None:
        """The blacklist entry that is `source` or a prefix of it."""

    def institution(self, identity: int) -> Institution | None: ...

    def mandates(self, institution: int, agency: int) -> Sequence[Mandate]: ...

    def account_numbers(self, key: AccountKey) -> Sequence[AccountNumber]: ...

    def received_at(self, key: AccountKey) -> int | None:
        """When the account last had a session by which replies reach it (ms, 0: not for days); None where
        nobody has looked."""

    def refusals(self, subscriber: str) -> Sequence[Refusal]:
        """What the subscriber refused, and where he accepted again."""

    def sent(self, subscriber: str, institution: str, channels: int, purpose: int) -> Sequence[int] | None:
        """When attempts of this institution (its code) for this purpose, of a channel or counted jointly over
        several (bits), passed to the subscriber within the longest window, in ms, newest first; None when
        that can't be said here. For explanations alone."""

    def consents(self, subscriber: str, institution: int) -> Sequence[Span]:
        """The periods for which the subscriber asked for this institution's marketing."""

    def recipients(self, subscriber: str, institution: int) -> Sequence[Recipient]:
        """What this institution's recipient list says of the subscriber."""

    def lists_recipients(self, institution: int) -> bool:
        """Whether the institution has a recipient list at all."""


@dataclass(slots=True)
class Facts:
    """What the registry says of one (account, source, channel) at `now`; nothing in it changes before
    `until`."""

    key: SenderKey
    general: Profile  # that holds for everybody
    profile: Profile  # that holds for this filing
    now: int
    until: int
    stale: bool  # the registry was not heard of for longer than the profile's max_age
    scope: str  # financial | authority | other
    account: Account | None
    holder: Institution | None
    account_numbers: Sequence[AccountNumber]
    ban: Ban | None
    filing: Number | None  # the registration that governs the number, whatever its state
    other_channel: bool  # no filing for this channel, but one for another
    institution: Institution | None
    agency: Institution | None
    mandates: Sequence[Mandate]  # all between institution and agency, whatever their state
    mandate: int  # id of the one in force for the strictest purpose; 0 if none
    mandate_purposes: int  # what those in force for this channel allow together
    purposes: int
    received: int | None  # when the account last had a session by which replies reach it; None: not asked

    @property
    def whitelisted(self) -> bool:
        """Whether the whitelist has a say: always for financial accounts, elsewhere for filed numbers."""
        return self.scope == "financial" or self.filing is not None


@dataclass(slots=True)
class Sender:
    """What is kept of a judged sender: small, as there may be many, and all that a message still needs.

    Good for `since <= now < until` under the same `general` profile and the same `stale`.
    """

    general: Profile
    profile: Profile
    since: int
    until: int
    stale: bool
    institution: int  # whose number it is; -1: nobody's
    purposes: int
    heads: tuple[str, ...]  # the signatures bound to the number, folded and in 【】; without neutral ones
    hours: Hours  # in which its subscribers may be reached on this channel
    open: bool  # they may be now
    findings: tuple[Finding, ...]  # of the rules that look at the sender alone
    checks: Checks  # rules to ask of each message, but for those of `manner`
    of_plain: Checks  # of these, what a message can break that could be read and goes at once
    manner: "Manner"  # how its texts are judged
    clean: Verdict  # of a message that has no findings of its own
    verdicts: dict[tuple[Finding, ...], Verdict]  # of messages that have, by those

    def holds(self, general: Profile, now: int, stale: bool) -> bool:
        """Whether he is still judged so."""
        return self.since <= now < self.until and self.stale is stale and self.general is general


class Manner:
    """All that the rules about a text look at besides the text, and which of them are asked: one object for
    all senders to whom the same applies, as `Texts` makes it."""

    __slots__ = ("checks", "profile")

    def __init__(self, profile: Profile, checks: Checks) -> None:
        self.profile = profile  # kept, so that no other gets its id
        self.checks = checks


class Texts:
    """What the rules about texts said of those that came last: a campaign sends one text many times."""

    __slots__ = ("_manners", "found")

    def __init__(self) -> None:
        self.found: dict[str, tuple[Manner, tuple[Finding, ...]]] = {}
        """What was said of a text, and in which manner."""
        self._manners: dict[tuple[int, int, tuple[str, ...], Checks], Manner] = {}

    def manner(self, profile: Profile, purposes: int, heads: tuple[str, ...], checks: Checks) -> Manner:
        """The one object for these."""
        key = id(profile), purposes, heads, checks
        known = self._manners.get(key)
        if known is None:
            if len(self._manners) >= MOST_TEXTS:
                self._manners.clear()
            known = self._manners[key] = Manner(profile, checks)
        return known

    def keep(self, text: str, manner: Manner, found: tuple[Finding, ...]) -> None:
        """Remember what was said of a text."""
        if len(self.found) >= MOST_TEXTS:
            self.found.clear()
        self.found[text] = manner, found


def copied(sender: Sender) -> Sender:
    """One who is judged alike, with verdicts of his own. In a fifth of the time of `replace`."""
    return Sender(
        general=sender.general,
        profile=sender.profile,
        since=sender.since,
        until=sender.until,
        stale=sender.stale,
        institution=sender.institution,
        purposes=sender.purposes,
        heads=sender.heads,
        hours=sender.hours,
        open=sender.open,
        findings=sender.findings,
        checks=sender.checks,
        of_plain=sender.of_plain,
        manner=sender.manner,
        clean=replace(sender.clean),
        verdicts={},
    )


def strictest(purposes: int) -> str:
    """The word of the strictest purpose in a mask; most rules limit marketing, then collection."""
    return next((word for word, bit in PURPOSES.items() if purposes & bit), "unknown")


def held(holds: Iterable[Hold], now: int) -> bool:
    return any(hold.span.holds(now) for hold in holds)


def governing(numbers: Sequence[Number], channel: int, now: int) -> Number | None:
    """The filing that answers for a number: the most specific one that is in force at `now`.

    A dead filing (revoked, withdrawn, over, not yet begun) stands in nobody's way, with one exception:
    what was revoked, or what a hold stands on, is not revived by a wider filing of the same institution, as
    withdrawing the one would be a way round a regulator. Where nothing is in force, the most specific and
    latest begun answers, so that the reason says whose number it was.
    """
    stopped: list[Number] = []
    latest: Number | None = None
    for number in numbers:
        if not number.channels & channel:
            continue
        if number.status == "approved" and number.span.holds(now):
            whose, length = number.institution, len(number.number)
            mine = (one for one in stopped if one.institution == whose and len(one.number) > length)
            return next(mine, number)
        if number.status == "revoked" or held(number.holds, now):
            stopped.append(number)
        if latest is None or (number.number == latest.number and number.span.start > latest.span.start):
            latest = number
    return latest


class Shown(NamedTuple):
    """What the registry says of a source number by itself. Senders of one account and channel for whose
    numbers this is the same differ in nothing but in what `account_numbers` may say of the number."""

    numbers: Sequence[Number]
    ban: Ban | None

    @property
    def like(self) -> str:
        """In place of a number, one name for all of which the same is said; no number is spelt so."""
        return f"\0{','.join(str(number.id) for number in self.numbers)}/{self.ban.id if self.ban else ''}"


def shown(source: str, view: View) -> Shown:
    return Shown(view.numbers(source), view.ban(source)) if source else Shown((), None)


def gather(
    key: SenderKey, view: View, profile: Profile, now: int, *, stale: bool, met: Shown | None = None
) -> Facts:
    """The facts about a sender at `now`, with the next instant at which any of them changes; `met`: what was
    looked up of his number already."""
    account_key, source, channel = key
    met = met or shown(source, view)
    account = view.account(account_key)
    unfiled = "other" if profile.unknown_account == "other" else "financial"
    scope = account.scope if account is not None else unfiled
    numbers = met.numbers if scope != "authority" else ()
    filing = governing(numbers, channel, now)
    mine = profile.of(filing.institution, filing.number) if filing is not None else profile
    institution = view.institution(filing.institution) if filing is not None else None
    agency = view.institution(filing.agency) if filing is not None and filing.agency else None
    mandates = (
        view.mandates(filing.institution, filing.agency) if filing is not None and filing.agency else ()
    )
    holder = view.institution(account.holder) if account is not None else None
    account_numbers = view.account_numbers(account_key)
    purposes = filing.purposes if filing is not None else 0
    in_force = [m for m in mandates if m.status == "active" and m.channels & channel and m.span.holds(now)]
    needed = PURPOSES.get(strictest(purposes), 0)
    # who is not filed is on the wire, or nobody at all whom somebody asks about
    asked = account is not None and channel == SMS and purposes & MARKETING
    received = view.received_at(account_key) if asked else None

    def spans() -> Iterator[Span]:
        for number in numbers:
            yield number.span
            yield from (hold.span for hold in number.holds)
        for body in (institution, agency, holder):
            if body is not None:
                yield from (body.licence, body.verified)
                yield from (hold.span for hold in body.holds)
        yield from (mandate.span for mandate in mandates)
        yield from (allowed.span for allowed in account_numbers)
        if account is not None:
            yield from (hold.span for hold in account.holds)
        yield from mine.spans()
        if received is not None:
            yield Span(received + REPLY_PATH)

    return Facts(
        key=key,
        general=profile,
        profile=mine,
        now=now,
        until=next_flip(spans(), now),
        stale=stale,
        scope=scope,
        account=account,
        holder=holder,
        account_numbers=account_numbers,
        ban=met.ban,
        filing=filing,
        other_channel=filing is None and bool(numbers),
        institution=institution,
        agency=agency,
        mandates=mandates,
        mandate=next((mandate.id for mandate in in_force if mandate.purposes & needed), 0),
        mandate_purposes=reduce(or_, (mandate.purposes for mandate in in_force), 0),
        purposes=purposes,
        received=received,
    )


def next_flip(spans: Iterable[Span], now: int) -> int:
    """The first instant after `now` at which any of `spans` begins or ends."""
    return min((edge for span in spans for edge in span if edge > now), default=FOREVER)
