"""The keeper's side of the replica: applying changes, and building a new generation beside the old one.

Rules: a commit writes at most `COMMIT` rows, so that nobody waits for it long; what is equal to what is
there already is not written and drops no cache. Applying is idempotent. A new generation is built without
syncing, synced as a whole, and only then named in `local` as the one in use. It knows no SQL.
"""

import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

import lmdb
import msgspec

from gateway.errors import NotReady
from gateway.model import Refusal
from gateway.registry.changelog import Cursor
from gateway.registry.hashed import KEYS, marked
from gateway.registry.replica import Generation, Replica
from gateway.registry.snapshot import REPLICA_STATE
from gateway.registry.tables import FORMAT, TABLES, Row, pack_id, unpack_id

COMMIT = 2000
"""Rows in one commit, at most."""

BUILD_COMMIT = 50_000
"""The same while a generation is built, which nobody reads yet."""

pack_key = struct.Struct(">q").pack
"""A refusal's key as PostgreSQL says it (bigint) → as the replica is keyed."""

_encode = msgspec.msgpack.Encoder().encode
_row = msgspec.msgpack.Decoder(list[object]).decode


class ReplicaWriter:
    """Writes the replica of a `Replica` that was opened with `writer`."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.version = 0
        self.news_at = 0  # ms; of the replica that was found on the disk
        self.keys: tuple[bytes, ...] = ()  # fingerprints of the registry keys that rows may be under
        self._highest = 0  # number of a generation that we have written: readers may be in it still
        self._building: Generation | None = None

    def open(self) -> Cursor | None:
        """Go on with what is on the disk; None when a new generation must be built.

        Where `local` was lost, and with it which generation is in use, that is the newest whole one.
        """
        number = self.replica.local.state()[0]
        # what is looked at stays open by its number
        self._highest = max(self._highest, *self._generations(), 0)
        for candidate in [number] if number else self._generations():
            cursor = self._read(candidate)
            if cursor is not None:
                self._remove_others(candidate)
                return cursor
        self._remove_others(number)
        return None

    def _read(self, number: int) -> Cursor | None:
        try:
            generation = self.replica.generation(number)
            with generation.env.begin() as txn:
                if txn.get(b"format", db=generation.meta) != FORMAT:
                    return None  # of another version of this program; it serves until there is a fresh one
                state = REPLICA_STATE.unpack(txn.get(b"s", b"", db=generation.meta))
                self.version, _, self.news_at = state
                self.keys = marked(txn.get(KEYS, b"", db=generation.meta))
                return msgspec.msgpack.decode(txn.get(b"cursor", b"", db=generation.meta), type=Cursor)
        except (NotReady, lmdb.Error, struct.error, msgspec.DecodeError):
            return None

    def use(self) -> bool:
        """Name the generation that we write in `local`, if it can be read; whether it can."""
        if not self.intact():
            return False
        self.replica.local.use(self._in_use().number)
        return True

    def intact(self) -> bool:
        """Whether the generation in use can be written on."""
        current = self.replica.current
        return (
            current is not None
            and current.file.in_place()
            and current.file.whole()
            and self.replica.local.damaged() != current.number
        )

    def apply(
        self,
        rows: Mapping[tuple[str, int], Row | None],
        refusals: Mapping[int, Sequence[Refusal]],
        *,
        newest: int,
        now: int,
        keys: tuple[bytes, ...] = (),
    ) -> bool:
        """Make rows (None: gone) and subscribers' refusals what they are now, in one commit.

        `newest` is the highest sequence number among the changes; `keys`, if any, are from now on the
        registry keys that rows may be under. Whether anything became different.
        """
        keys = keys or self.keys
        generation = self._in_use()
        with generation.file.writing() as txn:
            changed = [key[0] for key, row in rows.items() if _put_row(generation, txn, *key, row)]
            others = sum([_put_refusals(generation, txn, key, found) for key, found in refusals.items()])
            if not changed and not others and keys == self.keys:
                txn.abort()
                return False
            _, changes, news_at = REPLICA_STATE.unpack(txn.get(b"s", b"", db=generation.meta))
            version = max(self.version + 1, newest)
            senders = keys != self.keys or any(TABLES[table].of_senders for table in changed)
            txn.put(KEYS, b"".join(keys), db=generation.meta)
            state = REPLICA_STATE.pack(version, changes + senders, max(now, news_at))
            txn.put(b"s", state, db=generation.meta)
        self.version, self.keys = version, keys
        return True

    def heard(self, now: int, cursor: Cursor | None) -> None:
        """The registry was heard of at `now`; with `cursor` everything up to there has been applied."""
        generation = self._in_use()
        with generation.file.writing() as txn:
            version, changes, _ = REPLICA_STATE.unpack(txn.get(b"s", b"", db=generation.meta))
            txn.put(b"s", REPLICA_STATE.pack(version, changes, now), db=generation.meta)
            if cursor is not None:
                txn.put(b"cursor", msgspec.msgpack.encode(cursor), db=generation.meta)

    def ids(self, table: str) -> Iterator[int]:
        """The rows of a table that the replica has."""
        generation = self._in_use()
        code = TABLES[table].code
        with generation.env.begin() as txn, txn.cursor(db=generation.rows) as cursor:
            if cursor.set_range(code):
                for key in cursor.iternext(keys=True, values=False):
                    if key[:1] != code:
                        return
                    yield unpack_id(key[1:])[0]

    def begin(self) -> None:
        """Begin to build the next generation, empty."""
        self.abandon()
        local = self.replica.local
        number = max(self._highest, local.state()[0], local.damaged(), *self._generations()) + 1
        self._remove_others(local.state()[0])
        self._building = Generation(
            self.replica.directory, number, map_size=self.replica.map_size, writer=True, sync=False
        )

    def build_rows(self, table: str, rows: Iterable[Row]) -> None:
        building = self._being_built()
        code, lookup = TABLES[table].code, TABLES[table].lookup
        with building.file.writing() as txn:
            for row in rows:
                identity = pack_id(row[0])
                txn.put(code + identity, _encode(row), db=building.rows)
                txn.put(code + lookup(row), identity, db=building.index)

    def build_refusals(self, refusals: Iterable[tuple[int, Sequence[Sequence[object]]]]) -> None:
        """Fields of `model.Refusal` by key, in the order of the packed key, each key once."""
        building = self._being_built()
        with building.file.writing() as txn, txn.cursor(db=building.refusals) as cursor:
            cursor.putmulti(((pack_key(key), _encode(found)) for key, found in refusals), append=True)

    def finish(self, cursor: Cursor, newest: int, now: int, keys: tuple[bytes, ...] = ()) -> None:
        """Make what was built the replica in use, for all processes at once; once `local` is complete.
        `keys`: the registry keys that its rows may be under."""
        building = self._being_built()
        self.version = max(self.version + 1, newest)
        building.env.sync(True)  # before the state, by which a whole generation is known
        with building.file.writing() as txn:
            txn.put(b"s", REPLICA_STATE.pack(self.version, 1, now), db=building.meta)
            txn.put(KEYS, b"".join(keys), db=building.meta)
            txn.put(b"format", FORMAT, db=building.meta)
            txn.put(b"cursor", msgspec.msgpack.encode(cursor), db=building.meta)
        building.env.sync(True)
        building.file.close()
        self._building, self.keys = None, keys
        self.replica.generation(building.number)
        self.replica.local.bind()
        if self.replica.local.is_complete():
            self.replica.local.use(building.number)
        self._remove_others(building.number)

    def abandon(self) -> None:
        """Give up a generation that is being built."""
        if self._building is not None:
            self._building.file.close()
            self._building = None

    def _in_use(self) -> Generation:
        current = self.replica.current
        if current is None:
            raise NotReady("the replica is not there yet")
        self._highest = max(self._highest, current.number)
        return current

    def _being_built(self) -> Generation:
        if self._building is None:
            raise NotReady("no generation is being built")
        return self._building

    def _generations(self) -> list[int]:
        """Those on the disk, the newest first; perhaps not whole."""
        found = [path.name.removeprefix("replica-") for path in self.replica.directory.glob("replica-*")]
        return sorted((int(number) for number in found if number.isdigit()), reverse=True)

    def _remove_others(self, number: int) -> None:
        for folder in self.replica.directory.glob("replica-*"):
            if folder.name != f"replica-{number}":
                shutil.rmtree(folder, ignore_errors=True)


def _put_row(
    generation: Generation, txn: "lmdb.Transaction[bytes]", table: str, identity: int, row: Row | None
) -> bool:
    """Whether the row became different."""
    code, lookup = TABLES[table].code, TABLES[table].lookup
    packed_id = pack_id(identity)
    old = txn.get(code + packed_id, db=generation.rows)
    new = _encode(row) if row is not None else None
    if old == new:
        return False
    if old is not None:
        txn.delete(code + lookup(_row(old)), packed_id, db=generation.index)
    if row is None or new is None:
        txn.delete(code + packed_id, db=generation.rows)
    else:
        txn.put(code + packed_id, new, db=generation.rows)
        txn.put(code + lookup(row), packed_id, db=generation.index)
    return True


def _put_refusals(
    generation: Generation, txn: "lmdb.Transaction[bytes]", key: int, refusals: Sequence[Refusal]
) -> bool:
    """Whether the subscriber's refusals became different."""
    packed = pack_key(key)
    old = txn.get(packed, db=generation.refusals)
    new = _encode(refusals) if refusals else None
    if old == new:
        return False
    if new is None:
        txn.delete(packed, db=generation.refusals)
    else:
        txn.put(packed, new, db=generation.refusals)
    return True
