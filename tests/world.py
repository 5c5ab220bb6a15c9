"""A registry in memory for tests: the View that rules are judged against, without a replica.

`good()` is the registry in which the good example passes: one bank with one marketing number, one account,
one agency with a mandate. `after(example)` is that registry, and attempt, with an example's changes.
Synthetic subscribers only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.model import (
    ALWAYS,
    COLLECTION,
    FOREVER,
    MARKETING,
    SERVICE,
    SMS,
    VOICE,
    Account,
    AccountKey,
    AccountNumber,
    Attempt,
    Ban,
    Hold,
    Institution,
    Mandate,
    Number,
    Recipient,
    Refusal,
    Span,
)
from gateway.policy.caps import ANSWERED, UNANSWERED
from gateway.policy.facts import Sender, Texts
from gateway.policy.rules import Example

DAY = 86_400_000
NOW = 1_764_043_200_000
"""Tuesday, 25 November 2025, 12:00 in Asia/Shanghai: an hour at which everybody may be reached."""
BANK, AGENCY, LENDER, PROVIDER = 1, 2, 3, 4
KEY = AccountKey("mobile", "cmpp", "900001")
SOURCE = "10690001"
SUBSCRIBER = "+8613800000001"
NAME = "浙海示例银行"
TEXT = f"【{NAME}】新客礼，详情见APP，拒收请回复R"


@dataclass
class World:
    """A View; its parts may be changed at will between calls, `touched()` after all but refusals."""

    accounts: list[Account] = field(default_factory=list)
    filings: list[Number] = field(default_factory=list)
    bans: list[Ban] = field(default_factory=list)
    institutions: list[Institution] = field(default_factory=list)
    entrusted: list[Mandate] = field(default_factory=list)
    shown: dict[AccountKey, list[AccountNumber]] = field(default_factory=dict)
    refused: dict[str, list[Refusal]] = field(default_factory=dict)
    consented: dict[tuple[str, int], list[Span]] = field(default_factory=dict)
    listed: dict[tuple[int, str], list[Recipient]] = field(default_factory=dict)
    received: int | None = None
    passed: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)  # of calls, when they were answered
    missed: list[int] = field(default_factory=list)  # and those that nobody took
    version: int = 1
    news_at: int = NOW
    senders: dict[tuple[AccountKey, int], dict[str, Sender]] = field(default_factory=dict)
    met: int = 0
    texts: Texts = field(default_factory=Texts)

    def touched(self) -> None:
        self.senders.clear()

    def account(self, key: AccountKey) -> Account | None:
        return next((account for account in self.accounts if account.key == key), None)

    def numbers(self, source: str) -> Sequence[Number]:
        holding = (
            number
            for number in self.filings
            if source.startswith(number.number)
            and len(source) - len(number.number) <= number.extension_digits
        )
        return sorted(holding, key=lambda number: -len(number.number))

    def ban(self, source: str) -> Ban | None:
        return next(
            (
                ban
                for ban in self.bans
                if (source.startswith(ban.number) if ban.is_prefix else source == ban.number)
            ),
            None,
        )

    def institution(self, identity: int) -> Institution | None:
        return next((body for body in self.institutions if body.id == identity), None)

    def mandates(self, institution: int, agency: int) -> Sequence[Mandate]:
        return [m for m in self.entrusted if (m.institution, m.agency) == (institution, agency)]

    def account_numbers(self, key: AccountKey) -> Sequence[AccountNumber]:
        return self.shown.get(key, ())

    def received_at(self, key: AccountKey) -> int | None:
        return self.received

    def refusals(self, subscriber: str) -> Sequence[Refusal]:
        return self.refused.get(subscriber, ())

    def recipients(self, subscriber: str, institution: int) -> Sequence[Recipient]:
        return self.listed.get((institution, subscriber), ())

    def lists_recipients(self, institution: int) -> bool:
        filed = (rows for (body, _), rows in self.listed.items() if body == institution)
        return any(row.role != "stranger" for rows in filed for row in rows)

    def sent(self, subscriber: str, institution: str, channels: int, purpose: int) -> Sequence[int] | None:
        return {ANSWERED: self.taken, UNANSWERED: self.missed}.get(channels, self.passed)

    def consents(self, subscriber: str, institution: int) -> Sequence[Span]:
        return self.consented.get((subscriber, institution), ())


ACCOUNT = Account(id=1, key=KEY, holder=BANK)
NUMBER = Number(1, SOURCE, 0, SMS | VOICE, MARKETING, BANK, signatures=(NAME,))
MANDATE = Mandate(1, BANK, AGENCY, SMS | VOICE, MARKETING | COLLECTION | SERVICE)
BODIES = {
    BANK: Institution(BANK, "bank", NAME, "bank", MARKETING | COLLECTION | SERVICE),
    AGENCY: Institution(AGENCY, "agency", "示例资产管理公司", "agency"),
    LENDER: Institution(LENDER, "lender", "西湖示例小贷", "micro_lender", MARKETING | COLLECTION | SERVICE),
    PROVIDER: Institution(PROVIDER, "provider", "示例短信服务商", "provider"),
}
BAN = Ban(1, SOURCE, is_prefix=False, reason="penalty", case_reference="2024-1")
REFUSAL = Refusal(institution=BANK, number="", purposes=MARKETING, channels=SMS | VOICE, at=NOW - DAY)


def good() -> World:
    consented = {(SUBSCRIBER, BANK): [Span(NOW - DAY)]}
    listed = {(BANK, SUBSCRIBER): [Recipient("debtor", Span(NOW - DAY))]}
    bodies = list(BODIES.values())
    return World([ACCOUNT], [NUMBER], [], bodies, [MANDATE], consented=consented, listed=listed)


def attempt(**changes: Any) -> Attempt:
    """The good example's SMS, or call, with fields that differ."""
    channel = changes.get("channel", SMS)
    return replace(Attempt(KEY, channel, SOURCE, SUBSCRIBER, TEXT if channel == SMS else ""), **changes)


def after(example: Example) -> tuple[Attempt, World]:
    """The good registry and attempt with an example's changes laid over them."""
    world = good()
    changes = dict(example.changes)
    world.accounts = _laid([ACCOUNT], changes.pop("account", {}))
    world.filings = _laid([NUMBER], changes.pop("number", {}))
    world.entrusted = _laid([MANDATE], changes.pop("mandate", {}))
    bodies = {BANK: changes.pop("institution", {}), AGENCY: changes.pop("agency", {})}
    world.institutions = [replace(body, **_typed(bodies.get(body.id, {}))) for body in BODIES.values()]
    if "ban" in changes:
        world.bans = [replace(BAN, **changes.pop("ban"))]
    if "refusal" in changes:
        world.refused = {SUBSCRIBER: [REFUSAL._replace(**changes.pop("refusal"))]}
    if "recipient" in changes:
        told = changes.pop("recipient")
        world.listed = {}
        if told is not None:
            place = told.get("institution", BANK), told.get("subscriber", SUBSCRIBER)
            span = Span(NOW - DAY, told.get("end", FOREVER))
            world.listed[place] = [Recipient(told.get("role", "debtor"), span)]
    if "consent" in changes:
        told = changes.pop("consent")
        world.consented = {}
        if told is not None:
            span = Span(told.get("start", NOW - DAY), told.get("end", FOREVER))
            world.consented[SUBSCRIBER, told.get("institution", BANK)] = [span]
    if "account_number" in changes:
        shown = AccountNumber(SOURCE, is_prefix=False, span=ALWAYS)
        world.shown = {KEY: [shown._replace(**changes.pop("account_number"))]}
    if "received" in changes:  # hours ago; None: not known
        ago = changes.pop("received")
        world.received = None if ago is None else NOW - ago * 3_600_000
    world.passed = [NOW - age for age in changes.pop("sent", ())]
    world.taken = [NOW - age for age in changes.pop("answered", ())]
    world.missed = [NOW - age for age in changes.pop("unanswered", ())]
    if changes.pop("stale", False):
        world.news_at = NOW - 365 * DAY
    changes.pop("unknown_account", None)
    return attempt(channel=example.channel, **changes), world


def _laid(rows: list[Any], changes: dict[str, Any] | None) -> list[Any]:
    return [] if changes is None else [replace(row, **_typed(changes)) for row in rows]


def _typed(changes: dict[str, Any]) -> dict[str, Any]:
    typed = dict(changes)
    if "holds" in typed:
        typed["holds"] = tuple(Hold(hold["cause"], hold.get("span", Span())) for hold in typed["holds"])
    if "signatures" in typed:
        typed["signatures"] = tuple(typed["signatures"])
    return typed
