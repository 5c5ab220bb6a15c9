"""What this node learnt and PostgreSQL has not yet given back: refusals and what other replies do, in an LMDB
that all workers write.

Rules: a commit is durable when it returns. A refusal is `pending` until the feed has returned it, and
readers take the union of replica and pending; then it is `kept` for a month, so that a database restored
from an older backup can be told again. The environment also says which generation of the replica is in
use: one transaction moves both, so that no reader can miss a refusal between the two.

An environment that begins anew is not complete, and names no generation, so that nobody judges by it, until
the keeper has read back what was pending in the one that was lost (feed.py, recorded.py).

It knows no database; the keeper carries refusals to PostgreSQL and back.
"""

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from mmap import PAGESIZE
from pathlib import Path
from struct import Struct

import lmdb
import msgspec
from msgspec import structs

from gateway.errors import NotReady, UsageError
from gateway.model import HELD, AccountKey, Refusal
from gateway.registry.keys import RegistryKey
from gateway.registry.mapped import Mapped, is_at, make_folder, set_aside

MAP_SIZE = 1 << 30
COMMIT = 2000
"""Refusals in one commit, at most, where there may be many."""
VOICE_KEY = "voice_key"
"""Source of a refusal by key press; a flag of its record."""

STATE = Struct("<QQQ")
"""Of key `s`: generation of the replica in use (0: none), count of changes, subscribers in `pending`."""


DAMAGED = b"damaged"
KEY = b"key"
"""Where the fingerprint of the registry key stands under which everything here was hashed."""
COMPLETE = b"complete"


class LocalRefusal(msgspec.Struct, frozen=True, array_like=True):
    """A refusal as this node learnt it; `event` (16 octets) is the same for the same reply.

    Or what another reply does, as `kind` says (model.REPLY_KINDS): `ambiguous` is a refusal while nobody
    decides otherwise, `accept` and `wrong_person` cover nothing.
    """

    event: bytes
    subscriber_hash: bytes
    subscriber_sealed: bytes
    institution: int  # 0: all institutions, or the one that files `number`
    number: str  # of a refusal: where nobody had filed it; of another reply: where it was sent to
    purposes: int
    channels: int
    at: int
    source: str
    flags: tuple[str, ...]
    node: str
    account: AccountKey
    message_id: bytes
    kind: str = "refuse"
    record: bytes = b""  # id of the reply's record, of all kinds but `refuse`
    undecided_until: int = 0  # of `ambiguous`

    @property
    def key(self) -> bytes:
        """What the replica looks it up by."""
        return self.subscriber_hash[:8]

    @property
    def said(self) -> Refusal:
        """As rules look at it; of an "accept again" with its event."""
        number = "" if self.institution and self.kind != "accept" else self.number
        events = (self.event,) if self.kind == "accept" else None
        what = (self.purposes, self.channels, self.at, self.undecided_until, events)
        return Refusal(self.institution, number, *what)


def does_something(kind: str, subscriber: str, number: str, institution: int, purposes: int) -> bool:
    """Whether a reply changes what may be sent: one that refuses or is held covers something, who accepts
    again or is another person says so to somebody. Where it can't be read whom a reply is to, it is nobody's:
    it would be everybody's."""
    if kind in ("refuse", "ambiguous"):
        return bool(subscriber and number and purposes)
    to = number if kind == "accept" else institution if kind == "wrong_person" else 0
    return bool(subscriber and number and to)


def learn(
    key: RegistryKey,
    subscriber: str,
    *,
    institution: int,
    number: str = "",
    purposes: int,
    channels: int,
    at: int,
    source: str = "reply",
    flags: tuple[str, ...] = (),
    node: str,
    account: AccountKey,
    message_id: bytes,
    kind: str = "refuse",
    record: bytes = b"",
) -> LocalRefusal:
    """What a reply does. `message_id` is the carrier's; without one `at` tells replies apart. Carriers give
    one to several replies, so only the same answer to the same number is the same reply.

    `number` is where it was sent to; a refusal to an institution does not keep it.
    """
    key = key.current
    known = key.first.hash(subscriber)  # also who repeats a reply after the key rotated
    who, told_by = "\0".join((*account, number, kind)).encode(), message_id or str(at).encode()
    event = blake2b(b"\0".join((who, known, told_by)), digest_size=16).digest()
    hashed, sealed = known if key is key.first else key.hash(subscriber), key.seal(subscriber)
    if kind == "refuse":
        number, record = "" if institution else number, b""
    what = (institution, number, purposes, channels, at, source, flags)
    until = at + HELD if kind == "ambiguous" else 0
    return LocalRefusal(event, hashed, sealed, *what, node, account, message_id, kind, record, until)


def rekeyed(key: RegistryKey, refusal: LocalRefusal) -> LocalRefusal:
    """The same under this key. Raises ValueError when none of the node's keys opens it."""
    if key.sealed_here(refusal.subscriber_sealed):
        return refusal
    number = key.open(refusal.subscriber_sealed)
    return structs.replace(refusal, subscriber_hash=key.hash(number), subscriber_sealed=key.seal(number))


class LocalRefusals:
    """The LMDB environment in `directory`, made if missing.

    One that was cut short is set aside with its folder, and an empty one takes its place. Raises NotReady
    when there is no room for it, UsageError when it was written under another registry key than those that
    the node has (`fingerprints`): no subscriber's refusal would be found.
    """

    def __init__(self, directory: Path, *fingerprints: bytes, map_size: int = MAP_SIZE) -> None:
        self._fingerprints = fingerprints
        self.path = directory / "data.mdb"
        try:
            self._open(map_size)
        except (lmdb.Error, OSError) as error:
            raise NotReady(f"{self.path} can't be made: {error}") from None

    def _open(self, map_size: int) -> None:
        """Data and lock.mdb come and go as one folder: who locked by another file than the others would
        neither see what they write nor keep out of their way."""
        folder = self.path.parent
        while True:
            try:
                held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                make_folder(folder, map_size)
                continue
            try:
                found = self.path.stat()
                if found.st_size < 2 * PAGESIZE:  # LMDB would take it for a new one
                    raise lmdb.CorruptedError(f"{self.path} was emptied")
                self.file = Mapped(self.path, map_size=map_size, writer=True)
                made = not os.path.samestat(found, os.fstat(self.file.descriptor))
                if not made and is_at(folder, held):
                    break
                self.file.close()
                if made:
                    raise lmdb.CorruptedError(f"{self.path} was deleted, and LMDB made another by its lock")
            except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, FileNotFoundError):
                set_aside(folder, held)
            finally:
                os.close(held)
        try:
            self._open_databases()
        except lmdb.Error:
            self.file.close()
            raise

    def leave(self) -> None:
        """Set it aside: its lock.mdb is not the one that others find there."""
        with contextlib.suppress(FileNotFoundError):
            held = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                data = os.stat(self.path.name, dir_fd=held)
                if os.path.samestat(data, os.fstat(self.file.descriptor)):
                    set_aside(self.path.parent, held)
            finally:
                os.close(held)

    def _open_databases(self) -> None:
        self.env = self.file.env
        self.meta = self.env.open_db(b"meta")
        self.pending_db = self.env.open_db(b"pending")
        self.kept_db = self.env.open_db(b"kept")
        with self.file.writing() as txn:
            if txn.get(b"s", db=self.meta) is None:
                txn.put(b"s", STATE.pack(0, 0, 0), db=self.meta)
            bound = txn.get(KEY, self._fingerprints[0], db=self.meta)
        if bound not in self._fingerprints:
            self.file.close()
            raise UsageError(
                f"{self.path.parent.parent}: written under another registry key than this node's; right would"
                " be that key, or an empty folder (refusals that the database lacks are lost with this one)"
            )
        self._encode = msgspec.msgpack.Encoder().encode
        self._one = msgspec.msgpack.Decoder(LocalRefusal).decode
        self._many = msgspec.msgpack.Decoder(list[LocalRefusal]).decode

    def state(self) -> tuple[int, int, int]:
        """Generation of the replica, count of changes, subscribers in `pending`. Raises NotReady when the
        file was cut."""
        if not self.file.whole():
            raise NotReady(f"{self.path} was cut")
        with self.env.begin() as txn:
            return self._state(txn)

    def add(self, refusals: Iterable[LocalRefusal]) -> None:
        """Make them durable and effective. What is known already (a redelivered reply) changes nothing.

        Waits for the disk and for other writers: call it in a thread. Raises NotReady when the map is full,
        or the file was cut.
        """
        try:
            with self.file.writing() as txn:
                generation, changes, pending = self._state(txn)
                fresh = [r for r in refusals if txn.get(r.event, db=self.kept_db) is None]
                added = sum(self._put(txn, refusal) for refusal in fresh)
                self._set_state(txn, generation, changes + 1, pending + added)
        except lmdb.MapFullError:
            raise NotReady(f"{self.path} is full: refusals can't be kept") from None
        except lmdb.CorruptedError as error:
            raise NotReady(str(error)) from None

    def pending(self) -> list[LocalRefusal]:
        """What PostgreSQL has not given back yet."""
        with self.env.begin() as txn:
            return [r for _, value in txn.cursor(db=self.pending_db) for r in self._many(value)]

    def is_complete(self) -> bool:
        """Whether nothing is missing here that an earlier environment held."""
        with self.env.begin() as txn:
            return txn.get(COMPLETE, db=self.meta) is not None

    def bind(self, fingerprint: bytes = b"") -> None:
        """What is built now is hashed under this key, too, although no reader goes to it yet; with
        `fingerprint`, everything here is under that one from now on."""
        with self.file.writing() as txn:
            txn.put(KEY, fingerprint or self._fingerprints[0], db=self.meta, overwrite=bool(fingerprint))

    def rekey(self, keyed: Callable[[LocalRefusal], LocalRefusal]) -> int:
        """Have everything as `keyed` gives it, under another registry key; how many were not. Raises
        ValueError, as it does, when one can't be."""
        changed = 0
        pending = self.pending()
        for start in range(0, len(pending), COMMIT):
            moved = [(one, keyed(one)) for one in pending[start : start + COMMIT]]
            with self.file.writing() as txn:
                generation, changes, count = self._state(txn)
                for one, new in moved:
                    if new.key != one.key and self._take(txn, one):
                        self._put(txn, new)
                        changed += 1
                count = txn.stat(self.pending_db)["entries"]
                self._set_state(txn, generation, changes + 1, count)
        kept = self.kept()
        while some := list(islice(kept, COMMIT)):
            old = [(new, at) for one, at in some if (new := keyed(one)).key != one.key]
            changed += len(old)
            if old:
                with self.file.writing() as txn:
                    for new, at in old:
                        packed = at.to_bytes(8, "big") + self._encode(new)
                        txn.replace(new.event, packed, db=self.kept_db)
        return changed

    def _take(self, txn: "lmdb.Transaction[bytes]", refusal: LocalRefusal) -> bool:
        """Out of `pending`; whether it was there still."""
        value = txn.get(refusal.key, db=self.pending_db)
        known = self._many(value) if value is not None else []
        left = [one for one in known if one.event != refusal.event]
        if left:
            txn.put(refusal.key, self._encode(left), db=self.pending_db)
        elif known:
            txn.delete(refusal.key, db=self.pending_db)
        return len(left) < len(known)

    def complete(self) -> None:
        """What an earlier environment held has been added."""
        with self.file.writing() as txn:
            txn.put(COMPLETE, b"", db=self.meta)

    def oldest(self) -> int:
        """The instant (ms) of the oldest that is pending; 0 when nothing is."""
        return min((refusal.at for refusal in self.pending()), default=0) if self.state()[2] else 0

    def take_over(self, other: "LocalRefusals", *, kept: bool) -> None:
        """What stands in another environment, whose file was deleted; with `kept` all of it.

        Whether that is all, and which generation is in use, only the keeper can say: this one may have come
        after a third that `other` knows nothing of.
        """
        self.add(other.pending())
        old = other.kept() if kept else iter(())
        while some := list(islice(old, COMMIT)):
            with self.file.writing() as txn:
                for refusal, at in some:
                    txn.put(refusal.event, at.to_bytes(8, "big") + self._encode(refusal), db=self.kept_db)

    def returned(self, events: Collection[bytes], keys: Collection[bytes], now: int) -> None:
        """The replica has these: readers need them here no more. `keys` are their subscribers' keys."""
        with self.file.writing() as txn:
            generation, changes, pending = self._state(txn)
            for key in keys:
                value = txn.get(key, db=self.pending_db)
                known = self._many(value) if value is not None else []
                left = [refusal for refusal in known if refusal.event not in events]
                for refusal in known:
                    if refusal.event in events:
                        txn.put(
                            refusal.event, now.to_bytes(8, "big") + self._encode(refusal), db=self.kept_db
                        )
                if left:
                    txn.put(key, self._encode(left), db=self.pending_db)
                elif known:
                    txn.delete(key, db=self.pending_db)
                    pending -= 1
            self._set_state(txn, generation, changes + 1, pending)

    def kept(self) -> Iterator[tuple[LocalRefusal, int]]:
        """What was returned within the last month, and when (ms), one at a time."""
        with self.env.begin() as txn:
            for _, value in txn.cursor(db=self.kept_db):
                yield self._one(value[8:]), int.from_bytes(value[:8], "big")

    def revive(self, refusals: Collection[LocalRefusal]) -> None:
        """The database has lost these: they are pending again."""
        with self.file.writing() as txn:
            generation, changes, pending = self._state(txn)
            for refusal in refusals:
                txn.delete(refusal.event, db=self.kept_db)
                pending += self._put(txn, refusal)
            self._set_state(txn, generation, changes + 1, pending)

    def forget(self, before: int) -> None:
        """Drop what was returned before this instant."""
        limit = before.to_bytes(8, "big")
        with self.env.begin() as txn:
            old = [event for event, value in txn.cursor(db=self.kept_db) if value[:8] < limit]
        for start in range(0, len(old), COMMIT):
            with self.file.writing() as txn:
                for event in old[start : start + COMMIT]:
                    txn.delete(event, db=self.kept_db)

    def use(self, generation: int) -> None:
        """All readers go to this generation of the replica with their next batch."""
        with self.file.writing() as txn:
            _, changes, pending = self._state(txn)
            self._set_state(txn, generation, changes + 1, pending)

    def damaged(self) -> int:
        """The generation of the replica that a reader could not read on; 0: none."""
        with self.env.begin() as txn:
            return int.from_bytes(txn.get(DAMAGED, db=self.meta, default=b""), "big")

    def report_damage(self, generation: int) -> None:
        """The keeper makes another at once."""
        with self.file.writing() as txn:
            txn.put(DAMAGED, generation.to_bytes(8, "big"), db=self.meta)

    def used(self) -> float:
        """Share of the map that is in use."""
        return self.file.filled()

    def _put(self, txn: "lmdb.Transaction[bytes]", refusal: LocalRefusal) -> bool:
        """Whether it is the first of its subscriber."""
        value = txn.get(refusal.key, db=self.pending_db)
        known = self._many(value) if value is not None else []
        if any(other.event == refusal.event for other in known):
            return False
        txn.put(refusal.key, self._encode([*known, refusal]), db=self.pending_db)
        return not known

    def _state(self, txn: "lmdb.Transaction[bytes]") -> tuple[int, int, int]:
        packed = txn.get(b"s", b"", db=self.meta)
        if len(packed) != STATE.size:  # deleted and made anew under our feet
            raise NotReady(f"{self.path} is not whole")
        generation, changes, pending = STATE.unpack(packed)
        return generation, changes, pending

    def _set_state(self, txn: "lmdb.Transaction[bytes]", generation: int, changes: int, pending: int) -> None:
        txn.put(b"s", STATE.pack(generation, changes, pending), db=self.meta)
        if generation or pending:
            txn.put(KEY, self._fingerprints[0], db=self.meta, overwrite=False)
