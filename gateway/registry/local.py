"""What this node learnt and PostgreSQL has not yet given back: refusals, in an LMDB that all workers write.

Rules: a commit is durable when it returns. A refusal is `pending` until the feed has returned it, and
readers take the union of replica and pending; then it is `kept` for a month, so that a database restored
from an older backup can be told again. The environment also says which generation of the replica is in
use: one transaction moves both, so that no reader can miss a refusal between the two.

It knows no database; the keeper (feed.py) carries refusals to PostgreSQL and back.
"""

from collections.abc import Collection, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from struct import Struct

import lmdb
import msgspec

from gateway.errors import NotReady, UsageError
from gateway.model import AccountKey
from gateway.registry.keys import RegistryKey
from gateway.registry.mapped import Mapped

MAP_SIZE = 1 << 30
STATE = Struct("<QQQ")
"""Of key `s`: generation of the replica in use (0: none), count of changes, subscribers in `pending`."""


DAMAGED = b"damaged"
KEY = b"key"
"""Where the fingerprint of the registry key stands under which everything here was hashed."""


class LocalRefusal(msgspec.Struct, frozen=True, array_like=True):
    """A refusal as this node learnt it; `event` (16 octets) is the same for the same reply."""

    event: bytes
    subscriber_hash: bytes
    subscriber_sealed: bytes
    institution: int  # 0: all institutions, or the one that files `number`
    number: str
    purposes: int
    channels: int
    at: int
    source: str
    flags: tuple[str, ...]
    node: str
    account: AccountKey
    message_id: bytes

    @property
    def key(self) -> bytes:
        """What the replica looks it up by."""
        return self.subscriber_hash[:8]


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
) -> LocalRefusal:
    """The refusal that a reply means. `message_id` is the carrier's; without one `at` tells replies apart."""
    hashed = key.hash(subscriber)
    told_by = message_id or str(at).encode()
    event = blake2b(b"\0".join(("\0".join(account).encode(), hashed, told_by)), digest_size=16).digest()
    sealed = key.seal(subscriber)
    what = (institution, number, purposes, channels, at, source, flags)
    return LocalRefusal(event, hashed, sealed, *what, node, account, message_id)


class LocalRefusals:
    """The LMDB environment in `directory`, made if missing.

    A file that was cut short is set aside, and an empty one takes its place. Raises UsageError when it was
    written under another registry key (`fingerprint`): no subscriber's refusal would be found.
    """

    def __init__(self, directory: Path, fingerprint: bytes, *, map_size: int = MAP_SIZE) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = directory / "data.mdb"
        try:
            self.file = Mapped(self.path, map_size=map_size, writer=True)
        except (lmdb.CorruptedError, lmdb.InvalidError):
            self.path.replace(self.path.with_suffix(".damaged"))
            self.file = Mapped(self.path, map_size=map_size, writer=True)
        self.env = self.file.env
        self.meta = self.env.open_db(b"meta")
        self.pending_db = self.env.open_db(b"pending")
        self.kept_db = self.env.open_db(b"kept")
        self._fingerprint = fingerprint
        with self.file.writing() as txn:
            if txn.get(b"s", db=self.meta) is None:
                txn.put(b"s", STATE.pack(0, 0, 0), db=self.meta)
            bound = txn.get(KEY, fingerprint, db=self.meta)
        if bound != fingerprint:
            self.file.close()
            raise UsageError(
                f"{directory.parent}: written under another registry key than this node's; right would be"
                " that key, or an empty folder (refusals that the database lacks are lost with this one)"
            )
        self._encode = msgspec.msgpack.Encoder().encode
        self._one = msgspec.msgpack.Decoder(LocalRefusal).decode
        self._many = msgspec.msgpack.Decoder(list[LocalRefusal]).decode

    def state(self) -> tuple[int, int, int]:
        """Generation of the replica, count of changes, subscribers in `pending`."""
        with self.env.begin() as txn:
            return self._state(txn)

    def add(self, refusals: Sequence[LocalRefusal]) -> None:
        """Make them durable and effective. What is known already (a redelivered reply) changes nothing.

        Waits for the disk and for other writers: call it in a thread. Raises NotReady when the map is full.
        """
        try:
            with self.file.writing() as txn:
                generation, changes, pending = self._state(txn)
                fresh = [r for r in refusals if txn.get(r.event, db=self.kept_db) is None]
                added = sum(self._put(txn, refusal) for refusal in fresh)
                self._set_state(txn, generation, changes + 1, pending + added)
        except lmdb.MapFullError:
            raise NotReady(f"{self.path} is full: refusals can't be kept") from None

    def pending(self) -> list[LocalRefusal]:
        """What PostgreSQL has not given back yet."""
        with self.env.begin() as txn:
            return [r for _, value in txn.cursor(db=self.pending_db) for r in self._many(value)]

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

    def kept(self) -> Iterator[LocalRefusal]:
        """What was returned within the last month, one at a time."""
        with self.env.begin() as txn:
            for _, value in txn.cursor(db=self.kept_db):
                yield self._one(value[8:])

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
        for start in range(0, len(old), 2000):
            with self.file.writing() as txn:
                for event in old[start : start + 2000]:
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
        generation, changes, pending = STATE.unpack(txn.get(b"s", b"", db=self.meta))
        return generation, changes, pending

    def _set_state(self, txn: "lmdb.Transaction[bytes]", generation: int, changes: int, pending: int) -> None:
        txn.put(b"s", STATE.pack(generation, changes, pending), db=self.meta)
        if generation or pending:
            txn.put(KEY, self._fingerprint, db=self.meta)
