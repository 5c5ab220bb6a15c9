"""The registry at one instant, as a worker judges by it: what `policy.facts.View` asks, out of the replica.

Rules: one read transaction on the replica and one on the refusals learnt on this node (local.py); the local
one is always opened first, so that what moves from there to here is never missed. A page that can't be read
is reported, and nothing is judged by it.
"""

import struct
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import lmdb
import msgspec

from gateway.errors import NotReady
from gateway.model import (
    Account,
    AccountKey,
    AccountNumber,
    Ban,
    Hold,
    Institution,
    Mandate,
    Number,
    Recipient,
    Refusal,
    Span,
)
from gateway.policy.facts import REPLY_PATH, Texts
from gateway.registry import tables
from gateway.registry.hashed import KEYS, MOST_HASHED, Hashed
from gateway.registry.local import STATE, LocalRefusal
from gateway.registry.tables import TABLES, Activation, pack_id

if TYPE_CHECKING:
    from gateway.policy.facts import Sender
    from gateway.registry.replica import Generation, Replica

REPLICA_STATE = struct.Struct("<QQQ")
"""Of key `s`: version, count of changes that a Sender could be made of, instant of the last news."""


class Snapshot(Hashed):
    """The registry at one instant: `policy.facts.View`.

    `renew()` moves it to the newest state and belongs before each batch, and at least once a second when
    there is none: an old snapshot keeps the pages of its time from being used again. `senders` is emptied
    when something changed that a Sender is made of; refusals are not. An account's senders go when it
    receives again which did not: until then nobody looks at it any more.
    """

    __slots__ = (
        "_activations",
        "_consents",
        "_consents_of",
        "_generation",
        "_heard",
        "_local",
        "_local_meta",
        "_local_pending",
        "_local_refusals",
        "_local_size",
        "_pending",
        "_read_activations",
        "_refusals",
        "_replica",
        "_sender_changes",
        "_silent",
        "_size",
        "_txn",
        "counted",
        "met",
        "news_at",
        "senders",
        "texts",
        "version",
    )

    def __init__(self, replica: "Replica") -> None:
        self._replica = replica
        self.counted: Callable[[str, str, int, int], Sequence[int] | None] | None = None
        super().__init__(replica.key)
        self._local: lmdb.Transaction[bytes]
        self._txn: lmdb.Transaction[bytes]
        self._consents: dict[int, bytes] = {}  # by institution: what their keys begin with; b"": it has none
        self._consents_of = -1  # the replica's commit that they were looked up in
        self._generation: Generation
        self._size = self._local_size = 0
        self._sender_changes = -1
        self._silent: set[AccountKey] = set()
        """Accounts that senders are made of and that nobody could reply to."""
        self._heard = (0, 0)  # the changes by which they are silent
        self._activations: tuple[Activation, ...] = ()
        self._read_activations = False
        self.version = 0
        self.news_at = 0
        self.senders: dict[tuple[AccountKey, int], dict[str, Sender]] = {}
        self.met = 0
        self.texts = Texts()
        self._open_local()
        self._open(self._number())
        self._read_state()

    def renew(self) -> None:
        """Move to the newest state. Raises NotReady when there is none that can be read."""
        replica = self._replica
        if len(self._hashed) >= MOST_HASHED:
            self._hashed.clear()
        local = self._local_refusals
        try:
            if local is not replica.local:
                self._open_local()
            elif (size := local.file.size()) < self._local_size and not local.file.whole():
                raise NotReady(f"{local.path} was cut")
            else:  # if it was, then of room alone
                self._local_size = size
                self._local.abort()
                self._local = local.env.begin()
            number = self._number()
        except (lmdb.Error, struct.error) as error:
            raise NotReady(f"{local.path} is damaged: {error}") from None
        generation = self._generation
        try:
            if generation is not replica.current or generation.number != number:
                self._open(number)
            else:
                size = generation.file.size()
                if size < self._size:  # cut: touching the lost pages would kill us (SIGBUS)
                    replica.report_damage(number)
                    raise NotReady(f"{generation.file.path} was cut")
                self._size = size
                self._txn.abort()
                self._txn = generation.env.begin()
            self._read_state()
        except lmdb.Error as error:  # overwritten in place
            raise self._damaged(error) from None

    def account(self, key: AccountKey) -> Account | None:
        for row in self._rows("accounts", tables.account_lookup(key)):
            return tables.account(row, self._holds("accounts", row[0]))
        return None

    def accounts(self, carrier: str, protocol: str) -> Sequence[Account]:
        """All that speak a protocol at a carrier, by name."""
        beginning = TABLES["accounts"].code + tables.account_lookup(AccountKey(carrier, protocol, ""))
        ids: list[int] = []
        try:
            with self._txn.cursor(db=self._generation.index) as cursor:
                found = cursor.set_range(beginning)
                while found and cursor.key().startswith(beginning):
                    ids.append(tables.unpack_id(cursor.value())[0])
                    found = cursor.next()
        except lmdb.Error as error:
            raise self._damaged(error) from None
        return [one for identity in ids if (one := self.account_of(identity)) is not None]

    def account_of(self, identity: int) -> Account | None:
        """The account of this id."""
        row = self._row("accounts", identity)
        return tables.account(row, self._holds("accounts", identity)) if row is not None else None

    @property
    def changes(self) -> int:
        """Another value when accounts, their numbers, or what else senders are made of may have changed."""
        return self._sender_changes

    def numbers(self, source: str) -> Sequence[Number]:
        """Registrations whose range holds `source`: exact first, then longest; approved before revoked."""
        found: list[Number] = []
        for length in range(len(source), 1, -1):
            rows = [
                tables.number(row, self._holds("numbers", row[0]))
                for row in self._rows("numbers", source[:length].encode())
                if len(source) - length <= row[2]
            ]
            found += sorted(rows, key=lambda number: (number.status != "approved", -number.span.start))
        return found

    def ban(self, source: str) -> Ban | None:
        for length in range(len(source), 1, -1):
            for row in self._rows("blacklist", source[:length].encode()):
                entry = tables.ban(row)
                if entry.is_prefix or length == len(source):
                    return entry
        return None

    def institution(self, identity: int) -> Institution | None:
        row = self._row("institutions", identity)
        return tables.institution(row, self._holds("institutions", identity)) if row is not None else None

    def mandates(self, institution: int, agency: int) -> Sequence[Mandate]:
        return [tables.mandate(row) for row in self._rows("mandates", pack_id(institution) + pack_id(agency))]

    def account_numbers(self, key: AccountKey) -> Sequence[AccountNumber]:
        accounts = self._rows("accounts", tables.account_lookup(key))
        return [
            tables.account_number(row)
            for account in accounts
            for row in self._rows("account_numbers", pack_id(account[0]))
        ]

    def sent(self, subscriber: str, institution: str, channels: int, purpose: int) -> Sequence[int] | None:
        """What `counted` says, whose owner has counters to look at."""
        return None if self.counted is None else self.counted(subscriber, institution, channels, purpose)

    def consents(self, subscriber: str, institution: int) -> Sequence[Span]:
        beginning = self._consents.get(institution)
        if beginning is None:  # kept, as most messages ask for this, and mostly there is nothing
            beginning = TABLES["consents"].code + pack_id(institution)
            beginning = self._consents[institution] = beginning if self._any(beginning) else b""
        if not beginning:
            return self._agreed(subscriber, institution) if self._pending else ()
        found = [tables.consent(row) for row in self._found(beginning + self.hash(subscriber)[:8])]
        for key in self._older:
            found += [tables.consent(row) for row in self._found(beginning + key.hash(subscriber)[:8])]
        return found + self._agreed(subscriber, institution) if self._pending else found

    def _agreed(self, subscriber: str, institution: int) -> list[Span]:
        """The consents that an "accept again" is that this node learnt: it ended a refusal."""
        learnt = self._learnt_of(subscriber)
        if not any(one.kind == "accept" and one.institution == institution for one in learnt):
            return []
        said = self.refusals(subscriber)
        return [
            Span(one.at)
            for one in said
            if not one.purposes
            and one.institution == institution
            and any(no.purposes and not no.stands((one,), institution) for no in said)
        ]

    def recipients(self, subscriber: str, institution: int) -> Sequence[Recipient]:
        found = self._listed(self.hash(subscriber), institution)
        for key in self._older:
            found += self._listed(key.hash(subscriber), institution)
        return found + [
            Recipient("stranger", Span(one.at))
            for one in (self._learnt_of(subscriber) if self._pending else ())
            if one.kind == "wrong_person" and one.institution == institution
        ]

    def _listed(self, hashed: bytes, institution: int) -> list[Recipient]:
        return [
            tables.recipient(row)
            for stranger in (False, True)
            for row in self._rows(
                "recipients", tables.subscriber_lookup(institution, hashed, stranger=stranger)
            )
        ]

    def lists_recipients(self, institution: int) -> bool:
        return self._any(TABLES["recipients"].code + pack_id(institution))

    def _any(self, beginning: bytes) -> bool:
        """Whether there is a key of the index that begins so."""
        try:
            with self._txn.cursor(db=self._generation.index) as cursor:
                return bool(cursor.set_range(beginning)) and cursor.key().startswith(beginning)
        except lmdb.Error as error:
            raise self._damaged(error) from None

    def received_at(self, key: AccountKey) -> int | None:
        receiving = self._replica.receiving
        changes, at = receiving.changes(), receiving.last(key)
        if at + REPLY_PATH <= time.time_ns() // 1_000_000:
            if not self._silent:
                self._heard = changes
            self._silent.add(key)
        return at

    def _listen(self, changes: tuple[int, int]) -> None:
        """Forget the senders of those that receive again."""
        last, due = self._replica.receiving.last, time.time_ns() // 1_000_000 - REPLY_PATH
        again = {key for key in self._silent if last(key) > due}
        for sender in [sender for sender in self.senders if sender[0] in again]:
            del self.senders[sender]
        self._silent -= again
        self._heard = changes

    @property
    def activations(self) -> tuple[Activation, ...]:
        """Which profiles hold from when: the same object until one is added."""
        if not self._read_activations:
            found = tuple(tables.activation(row) for row in self._rows("profile_activations", b""))
            if found != self._activations:
                self._activations = found
            self._read_activations = True
        return self._activations

    def refusals(self, subscriber: str) -> Sequence[Refusal]:
        """What this subscriber refused, and where he accepted again, as PostgreSQL knows it and as this node
        learnt it; a reply that an acceptance ended is not learnt once more."""
        key = self.hash(subscriber)[:8]
        try:
            found = self._txn.get(key, None, self._refusals)  # by name takes half as long again
            known = () if found is None else tables.refusals(found)
            for older in self._older:  # at most one
                found = self._txn.get(older.hash(subscriber)[:8], None, self._refusals)
                known += () if found is None else tables.refusals(found)
        except lmdb.Error as error:
            raise self._damaged(error) from None
        learnt = self._learnt_of(subscriber) if self._pending else None
        if not learnt:
            return known
        over = {event for one in known for event in one.events or ()}
        return known + tuple(
            one.said for one in learnt if one.kind != "wrong_person" and one.event not in over
        )

    def _learnt_of(self, subscriber: str) -> list[LocalRefusal]:
        """What this node learnt of a subscriber, under whichever key."""
        learnt = self._learnt(self.hash(subscriber)[:8])
        for key in self._older:
            learnt += self._learnt(key.hash(subscriber)[:8])
        return learnt

    def _learnt(self, key: bytes) -> list[LocalRefusal]:
        """What this node learnt of a subscriber and PostgreSQL has not given back yet."""
        try:
            found = self._local.get(key, db=self._local_pending)
        except lmdb.Error as error:
            raise self._damaged(error) from None
        return [] if found is None else _learnt(found)

    def _row(self, table: str, identity: int) -> list[Any] | None:
        try:
            value = self._txn.get(TABLES[table].code + pack_id(identity), db=self._generation.rows)
        except lmdb.Error as error:
            raise self._damaged(error) from None
        return tables.unpack(value) if value is not None else None

    def _rows(self, table: str, lookup: bytes) -> list[list[Any]]:
        return self._found(TABLES[table].code + lookup)

    def _found(self, key: bytes) -> list[list[Any]]:
        """The rows under a key of the index, which begins with their table's code."""
        try:
            if self._txn.get(key, None, self._generation.index) is None:  # cheaper than a cursor
                return []
            code = key[:1]
            with self._txn.cursor(db=self._generation.index) as cursor:
                ids = list(cursor.iternext_dup()) if cursor.set_key(key) else []
            return [
                tables.unpack(self._txn.get(code + identity, b"", db=self._generation.rows))
                for identity in ids
            ]
        except lmdb.Error as error:
            raise self._damaged(error) from None

    def _holds(self, table: str, identity: int) -> tuple[Hold, ...]:
        lookup = tables.hold_lookup(TABLES[table].code, identity)
        return tuple(tables.hold(row) for row in self._rows("holds", lookup))

    def _damaged(self, error: lmdb.Error) -> NotReady:
        replica, generation = self._replica, self._generation
        if replica.current is generation and replica.local is self._local_refusals:  # else it was let go of
            replica.report_damage(generation.number)
        return NotReady(f"replica {generation.number} can't be read: {error}")

    def _open_local(self) -> None:
        self._local_refusals = local = self._replica.local
        self._local_size = local.file.size()
        self._local = local.env.begin()
        self._local_meta = local.meta
        self._local_pending = local.pending_db

    def _number(self) -> int:
        """The generation in use, out of `local`; and whether anything is pending there."""
        number: int
        number, _, self._pending = STATE.unpack(self._local.get(b"s", b"", db=self._local_meta))
        return number

    def _open(self, number: int) -> None:
        self._generation = self._replica.generation(number)
        self._size = self._generation.file.size()
        self._txn = self._generation.env.begin()
        self._refusals = self._generation.refusals
        self._sender_changes = self._consents_of = -1

    def _read_state(self) -> None:
        state = self._txn.get(b"s", b"", db=self._generation.meta)
        if len(state) != REPLICA_STATE.size:
            raise NotReady(f"replica {self._generation.number} is not whole")
        self.version, changes, self.news_at = REPLICA_STATE.unpack(state)
        if changes != self._sender_changes:
            self._look_by(self._txn.get(KEYS, b"", db=self._generation.meta))
            self._sender_changes = changes
            self._read_activations = False
            self.senders.clear()
            self._silent.clear()
        if (commit := self._txn.id()) != self._consents_of:
            self._consents_of = commit
            self._consents.clear()
        if self._silent and (heard := self._replica.receiving.changes()) != self._heard:
            self._listen(heard)


_learnt = msgspec.msgpack.Decoder(list[LocalRefusal]).decode
