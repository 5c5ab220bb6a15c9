"""The registry as it was: the facts about one attempt as of a time, or as of a registry version.

Every followed table keeps its superseded rows (migrations 0002), so a row was in force at T when it was
written by then, and not superseded by then, and the same by version. A row counts from the millisecond, and
the version, in which it was written: its predecessor is stamped as superseded only when the statement ends,
and until then both would be. Read by the queries that fill the nodes'
replicas (tables.py), for one attempt at a time. A version counts what the database had numbered up to it:
transactions that were under way at that instant may have committed later.
"""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import Problem, Words
from gateway.model import (
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
from gateway.policy.facts import Texts
from gateway.registry import keyed, tables
from gateway.registry.keys import RegistryKey
from gateway.registry.tables import TABLES, Activation, Table

if TYPE_CHECKING:
    from gateway.policy.facts import Sender
    from gateway.registry.acting import Connection

_REFUSALS = Table(
    b"r",
    """SELECT id, coalesce(institution_id, 0), coalesce(number, ''), purposes, channels, millis(refused_at),
              coalesce(millis(undecided_until), 0)
         FROM refusals""",
    "lifted_at IS NULL",
    lambda row: b"",
)


class Instant(NamedTuple):
    """As of when: `at` (ms), and `version` unless it is 0, which then decides alone."""

    at: int
    version: int = 0


@dataclass
class PastView:
    """`policy.facts.View` of one attempt: it answers for what that attempt asks, and for nothing else."""

    version: int
    news_at: int
    source: str
    subscriber: str
    found_account: Account | None = None
    found_numbers: Sequence[Number] = ()
    found_ban: Ban | None = None
    institutions: dict[int, Institution] = field(default_factory=dict)
    found_mandates: Sequence[Mandate] = ()
    shown: Sequence[AccountNumber] = ()
    refused: Sequence[Refusal] = ()
    consented: Sequence[tuple[int, Span]] = ()  # to which institution
    listed: Sequence[tuple[int, Recipient]] = ()  # by which institution
    listing: frozenset[int] = frozenset()  # the institutions that have a list
    activations: tuple[Activation, ...] = ()
    refusers_numbers: dict[str, Sequence[Number]] = field(default_factory=dict)
    senders: "dict[tuple[AccountKey, int], dict[str, Sender]]" = field(default_factory=dict)
    met: int = 0
    texts: Texts = field(default_factory=Texts)

    def account(self, key: AccountKey) -> Account | None:
        return self.found_account if self.found_account and self.found_account.key == key else None

    def numbers(self, source: str) -> Sequence[Number]:
        return self.found_numbers if source == self.source else self.refusers_numbers.get(source, ())

    def ban(self, source: str) -> Ban | None:
        return self.found_ban if source == self.source else None

    def institution(self, identity: int) -> Institution | None:
        return self.institutions.get(identity)

    def mandates(self, institution: int, agency: int) -> Sequence[Mandate]:
        return [one for one in self.found_mandates if (one.institution, one.agency) == (institution, agency)]

    def account_numbers(self, key: AccountKey) -> Sequence[AccountNumber]:
        return self.shown

    def received_at(self, key: AccountKey) -> int | None:
        return None

    def refusals(self, subscriber: str) -> Sequence[Refusal]:
        return self.refused if subscriber == self.subscriber else ()

    def consents(self, subscriber: str, institution: int) -> Sequence[Span]:
        mine = self.consented if subscriber == self.subscriber else ()
        return [span for body, span in mine if body == institution]

    def sent(self, subscriber: str, institution: str, channel: int, purpose: int) -> Sequence[int] | None:
        """Counters keep no past."""
        return None

    def recipients(self, subscriber: str, institution: int) -> Sequence[Recipient]:
        mine = self.listed if subscriber == self.subscriber else ()
        return [recipient for body, recipient in mine if body == institution]

    def lists_recipients(self, institution: int) -> bool:
        return institution in self.listing


async def view_at(c: "Connection", key: RegistryKey, attempt: Attempt, instant: Instant) -> PastView:
    """The registry as of `instant`, for this attempt. `c` must see every row (the owner's connection).

    Problem `invalid` when the version is one that the registry has not reached.
    """
    version = await _version(c, instant)
    reader = _Reader(c, instant)
    view = PastView(version, instant.at, attempt.source, attempt.destination)
    accounts = await reader.rows("accounts", "(carrier, protocol, account) = ($1, $2, $3)", *attempt.account)
    numbers = await reader.numbers(attempt.source)
    bans = [
        ban
        for row in await reader.rows("blacklist", "number = ANY($1::text[])", _prefixes(attempt.source))
        if (ban := tables.ban(row)).is_prefix or ban.number == attempt.source
    ]
    view.found_ban = max(bans, key=lambda ban: len(ban.number), default=None)
    if attempt.destination:
        hashed = await keyed.hashes(c, key, attempt.destination)
        view.refused = await reader.refusals(hashed)
        rows = await reader.rows("consents", "subscriber_hash = ANY($1::bytea[])", hashed)
        view.consented = [(row[1], tables.consent(row)) for row in rows]
        rows = await reader.rows("recipients", "subscriber_hash = ANY($1::bytea[])", hashed)
        view.listed = [(row[1], tables.recipient(row)) for row in rows]
    for refusal in view.refused:
        if refusal.number and refusal.number != attempt.source:
            rows = await reader.numbers(refusal.number)
            view.refusers_numbers[refusal.number] = await _filings(reader, rows)
    view.found_numbers = await _filings(reader, numbers)
    if accounts:
        account = accounts[0]
        holds = await reader.holds("account_id", [account[0]])
        view.found_account = tables.account(account, holds.get(account[0], ()))
        shown = await reader.rows("account_numbers", "account_id = $1", account[0])
        view.shown = [tables.account_number(row) for row in shown]
    bodies = {one for number in view.found_numbers for one in (number.institution, number.agency) if one}
    if view.found_account is not None:
        bodies.add(view.found_account.holder)
    listing = [body for body in bodies if await reader.lists(body)]
    view.listing = frozenset(listing)
    found = await reader.rows("institutions", "id = ANY($1::bigint[])", sorted(bodies))
    holds = await reader.holds("institution_id", [row[0] for row in found])
    view.institutions = {row[0]: tables.institution(row, holds.get(row[0], ())) for row in found}
    mandates = await reader.rows("mandates", "agency_id = ANY($1::bigint[])", sorted(bodies))
    view.found_mandates = [tables.mandate(row) for row in mandates]
    rows = await reader.rows("profile_activations", "true")
    view.activations = tuple(tables.activation(row) for row in rows)
    return view


async def _filings(reader: "_Reader", rows: Sequence[Sequence[Any]]) -> list[Number]:
    """In the order that `View.numbers` promises."""
    holds = await reader.holds("number_id", [row[0] for row in rows])
    filings = [tables.number(row, holds.get(row[0], ())) for row in rows]
    return sorted(filings, key=lambda one: (-len(one.number), one.status != "approved", -one.span.start))


async def newest(c: "Connection") -> int:
    """The version that the registry has reached."""
    return int(await c.fetchval("SELECT last_value FROM registry_seq"))


async def _version(c: "Connection", instant: Instant) -> int:
    if instant.version > (reached := await newest(c)):
        raise Problem(
            "invalid",
            Words("登记库尚无此版本", "the registry has not reached this version"),
            field="registry_version",
            value=instant.version,
            expected=Words(f"不大于 {reached}", f"at most {reached}"),
        )
    if instant.version:
        return instant.version
    known = await c.fetchval("SELECT max(row_version) FROM change_log WHERE at < $1", _after(instant.at))
    return int(known or 0)


class _Reader:
    """Rows of a table that were in force at the instant, current or superseded since."""

    def __init__(self, c: "Connection", instant: Instant) -> None:
        self._c = c
        self._by_version = bool(instant.version)
        self._when: Any = instant.version or _after(instant.at)

    async def lists(self, institution: int) -> bool:
        """Whether the institution had filed a recipient list; strangers are none."""
        condition = "institution_id = $1 AND role <> 'stranger'"
        return bool(await self.rows("recipients", condition, institution, most=1))

    async def rows(
        self, name: str, condition: str, *values: Any, most: int | None = None
    ) -> list[Sequence[Any]]:
        table = _REFUSALS if name == "refusals" else TABLES[name]
        when = f"${len(values) + 1}"
        if self._by_version:
            born, gone = f"row_version <= {when}::bigint", f"superseded_version > {when}::bigint"
        else:
            born, gone = f"changed_at < {when}::timestamptz", f"superseded_at >= {when}::timestamptz"
        later = " AND ".join(
            f"NOT EXISTS (SELECT FROM {source} later WHERE later.id = {name}.id"
            f" AND later.row_version > {name}.row_version AND later.{born})"
            for source in (name, f"{name}_history")
        )
        # a row that was superseded before 0007 has no word on whether it took a second person
        past = table._replace(
            select=table.select.replace(f"FROM {name}", f"FROM {name}_history AS {name}"),
            where=table.where.replace("needs_second", "coalesce(needs_second, false)"),
        )
        query = (
            f"{table.query(f'({condition}) AND {born}')}"
            f" UNION ALL {past.query(f'({condition}) AND {born} AND {gone} AND {later}')}"
            f"{f' LIMIT {most}' if most else ''}"
        )
        return [tuple(row) for row in await self._c.fetch(query, *values, self._when)]

    async def numbers(self, source: str) -> list[Sequence[Any]]:
        rows = await self.rows("numbers", "number = ANY($1::text[])", _prefixes(source))
        return [row for row in rows if len(source) - len(row[1]) <= row[2]]

    async def holds(self, column: str, ids: Iterable[int]) -> dict[int, tuple[Hold, ...]]:
        found: dict[int, tuple[Hold, ...]] = {}
        for row in await self.rows("holds", f"{column} = ANY($1::bigint[])", list(ids)):
            found[row[2]] = (*found.get(row[2], ()), tables.hold(row))
        return found

    async def refusals(self, hashed: list[bytes]) -> list[Refusal]:
        rows = await self.rows("refusals", "subscriber_hash = ANY($1::bytea[])", hashed)
        return [Refusal(*row[1:]) for row in rows]


def _prefixes(source: str) -> list[str]:
    return [source[:length] for length in range(2, len(source) + 1)]


def _after(at: int) -> datetime.datetime:
    """The end of a millisecond."""
    return datetime.datetime.fromtimestamp((at + 1) / 1000, datetime.UTC)
