"""The counters that all workers of a node share: mapped tables, and a lock that a kill gives back.

    state       one page (`_STATE`); who is inside has its lock
    DAY.N       tables (table.py) of a day in Asia/Shanghai, the newest N is filled; their instants count from
                the midnight before that day

A key is looked for in the tables of today, then in yesterday's, whence what it has is carried over: so
forgetting is the removal of a day. One process at a time is inside, for as long as a batch takes. What is
lost, cut, or older than the machine's last start begins anew and is not whole until somebody has recounted;
but what its users left in order is on the disk, and outlasts a start of the machine.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from gateway.counters import ALWAYS, GATE, TAKE, Entry, Noted, nearest
from gateway.counters.page import Page, Unavailable
from gateway.counters.table import FRESH, INSTANT, NEWEST, START, Damaged, Table
from gateway.policy.caps import LONGEST

DAY = 86_400_000
SHANGHAI = 8 * 3_600_000  # the day changes at midnight in Asia/Shanghai, which has no summer time

FIRST_SLOTS, MOST_SLOTS = 1 << 18, 1 << 22  # 12 to 192 MiB where ten instants are kept of each key
MOST_TABLES = 24
"""Of a day: 60 million keys."""
LEAST_RING = 10
"""Instants that are kept at least of each key."""
SLACK = 1000
"""ms by which the clocks of two batches may differ: one waits for the lock while the other is inside."""

_COUNTING, _DECIDING = (TAKE, ALWAYS), (TAKE, GATE)
"""The manners that count, and those by which a group may fail."""

_MAGIC = b"ZMSTATE2"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_AT_REST = bytes(16)
"""In place of the machine's start: all is on the disk, and nobody has counted since."""


class _State(NamedTuple):
    """What the page says. `epoch` changes when all begins anew; `tables` of `day`, `before` of the day
    before; `used` slots of the newest; `last`: the newest instant, ms."""

    magic: bytes
    boot: bytes
    epoch: int
    whole: int
    day: int
    tables: int
    before: int
    used: int
    last: int


_STATE = Struct("<8s16sQIIIIQq")
_END = Struct("<Qq")  # used, last: what each batch changes
_END_AT = _STATE.size - _END.size


class Counted(NamedTuple):
    """`words` as in `Reserved`; `taken`: the positions of what was counted, at the instant `at` (ms)."""

    words: Sequence[str | None]
    taken: Sequence[int]
    at: int


class Shared:
    """The counters in `directory`: one object a process, and thread. Without `write` they are only read."""

    def __init__(self, directory: Path, *, write: bool = True) -> None:
        self._directory = directory
        self._page = Page(directory / "state", write=write)
        self._write = write
        self._boot = bytes.fromhex(_BOOT.read_text("ascii").replace("-", ""))
        self._open_are = (0, 0, 0, 0)  # epoch, day, tables, before
        self._today: list[Table] = []  # newest first
        self._yesterday: list[Table] = []
        self._older: list[Table] = []  # all but the newest
        self._base = 0  # what the instants of today's tables count from
        self._state = _State(b"", b"", 0, 0, 0, 0, 0, 0, 0)
        self._used = 0
        if write:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def reserve(self, now: int, entries: Sequence[Entry]) -> Counted:
        """Count a batch (see `Entry`). Raises Unavailable when nothing of it is counted."""
        with self._inside(now) as at:
            return self._reserve(at, entries)

    def release(self, keys: Iterable[int], at: int) -> None:
        """Take back what was taken at an instant. Raises Unavailable."""
        with self._inside(0):
            for key in keys:
                self._remove(key, at)

    def forget(self, keys: Iterable[int], at: int) -> None:
        """Of each key, take out what was counted nearest to an instant. Raises Unavailable."""
        with self._inside(0):
            for key in keys:
                self._forget(key, at)

    def sent(self, key: int, now: int) -> list[int]:
        """The instants (ms) counted under a key within the longest window, newest first. Raises
        Unavailable."""
        with self._inside(now):
            found = self._find(key)
            if found is None:
                return []
            table, place, base = found
            return [base + t for t in table.instants(place) if t and now - base - t < LONGEST]

    def add(self, now: int, noted: Sequence[Noted]) -> None:
        """Count what was taken earlier, the older first; what a clock that was set back since says is still
        to come, as of now. Raises Unavailable."""
        with self._inside(now, whole=False) as latest:
            for at, key, earlier in noted:
                if earlier:
                    self._forget(key, earlier)
                    continue
                if at <= self._base:
                    continue
                instant = min(at, latest) - self._base
                table = self._today[0] if self._today else self._grow(0)
                place = table.find(key)
                if place > 0:
                    table.put(place, key, (instant, *table.instants(place)))
                    continue
                if self._used >= table.limit:
                    table = self._grow(0)
                    place = table.find(key)
                self._used += 1
                slot = self._earlier(table, key) if self._older else ()
                if slot:
                    table.slot.pack_into(table.map, -place, key, instant, *slot[1:-1])
                else:
                    FRESH.pack_into(table.map, -place, key, instant)

    def begin_anew(self) -> int:
        """Forget all; the epoch that begins. Raises Unavailable."""
        with self._inside(0, whole=False):
            self._anew()
            return self._state.epoch

    def finish(self, epoch: int) -> None:
        """All is counted that belongs to this epoch. Raises Unavailable when another has begun."""
        with self._inside(0, whole=False):
            if self._state.epoch != epoch:
                raise Unavailable("begun anew meanwhile")
            self._set(self._state._replace(whole=1))

    def is_whole(self) -> bool:
        """Whether all is counted that should be. Raises Unavailable."""
        with self._inside(0, whole=False):
            return bool(self._state.whole)

    def leave(self) -> None:
        """All that is counted is on the disk, unless somebody counts on. Raises Unavailable."""
        with self._inside(0):
            for table in (*self._today, *self._yesterday):
                table.map.flush()
            self._be_of(_AT_REST)

    def close(self) -> None:
        self._close_tables()
        self._page.close()

    # ── counting ─────────────────────────────────────────────────────────────────────────────────────

    def _reserve(self, at: int, entries: Sequence[Entry]) -> Counted:
        words: list[str | None] = []
        taken: list[int] = []
        group, mark, failed = 0, 0, False
        now = at - self._base
        table = self._today[0] if self._today else None
        for position, (key, limits, most, manner, of) in enumerate(entries):
            if of != group:
                group, mark, failed = of, len(taken), False
            try:
                if table is None or table.ring < most:
                    table = self._grow(most)
                octets = table.map
                place = START + (key & table.mask) * table.size
                slot = table.slot.unpack_from(octets, place)
                head = slot[0]
                new = head == 0
                if head != key:
                    if head:
                        place = abs(found := table.find(key))
                        new = found < 0
                    slot = self._earlier(table, key) if new else table.slot.unpack_from(octets, place)
                word: str | None = ""
                if slot:
                    for name, window, cap in limits:
                        earlier = slot[cap]
                        if earlier and now - earlier < window:
                            word = name
                            break
                if manner in _COUNTING and (not word or manner == ALWAYS) and not failed:
                    if not new:
                        octets.move(place + NEWEST + 4, place + NEWEST, table.size - NEWEST - 4)
                        INSTANT.pack_into(octets, place + NEWEST, now)
                    else:
                        if self._used >= table.limit:
                            table = self._grow(most)
                            place = -table.find(key)
                            slot = self._earlier(table, key)
                        self._used += 1
                        if slot:
                            table.slot.pack_into(table.map, place, key, now, *slot[1:-1])
                        else:
                            FRESH.pack_into(table.map, place, key, now)
                    taken.append(position)
            except (OSError, Unavailable):
                word = None
            words.append(word)
            if word != "" and manner in _DECIDING and of and not failed:
                failed = True
                for one in taken[mark:]:
                    self._remove(entries[one][0], at)
                del taken[mark:]
        return Counted(words, taken, at)

    def _remove(self, key: int, at: int) -> None:
        """One that was counted under a key at an instant counts no longer."""
        found = self._find(key)
        if found is not None:
            table, place, base = found
            instants = list(table.instants(place))
            with suppress(ValueError):  # all has begun anew since
                instants.remove(at - base)
                table.put(place, key, instants)

    def _forget(self, key: int, at: int) -> None:
        """What was counted under a key nearest to an instant counts no longer."""
        found = self._find(key)
        if found is not None:
            table, place, base = found
            instants = list(table.instants(place))
            gone = nearest([base + t for t in instants if t], at)
            if gone is not None:
                instants.remove(gone - base)
                table.put(place, key, instants)

    def _earlier(self, newest: Table, key: int) -> tuple[int, ...]:
        """A slot for the newest table, of a key that has none there: with what older ones have, () if they
        have nothing."""
        for table in self._older:
            place = table.find(key)
            if place > 0:
                instants = table.instants(place)
                if table in self._yesterday:
                    instants = [t - DAY for t in instants if t > DAY]
                return newest.fitting(key, instants)
        return ()

    def _find(self, key: int) -> tuple[Table, int, int] | None:
        """Where a key is written: the table, the place, and what its instants there count from."""
        for tables, base in ((self._today, self._base), (self._yesterday, self._base - DAY)):
            for table in tables:
                place = table.find(key)
                if place > 0:
                    return table, place, base
        return None

    def _grow(self, most: int) -> Table:
        """A further table for today, eight times as large."""
        state = self._state
        if state.tables >= MOST_TABLES:
            raise Unavailable(f"{self._directory}: {MOST_TABLES} tables are full")
        newest = self._today[0] if self._today else None
        if newest is None:
            expected = sum(table.limit for table in self._yesterday)
            slots = FIRST_SLOTS
            while slots < MOST_SLOTS and int(slots * 0.6) < expected:
                slots *= 2
            ring = max([most, LEAST_RING, *(table.ring for table in self._yesterday)])
        else:
            slots, ring = min(8 * (newest.mask + 1), MOST_SLOTS), max(most, newest.ring)
        table = Table.make(self._directory / f"{state.day}.{state.tables + 1}", ring, slots)
        self._today.insert(0, table)
        self._older = [*self._today[1:], *self._yesterday]
        self._used = 0
        self._set(state._replace(tables=state.tables + 1, used=0))
        self._open_are = (state.epoch, state.day, state.tables + 1, state.before)
        return table

    # ── being inside ─────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _inside(self, now: int, *, whole: bool = True) -> Iterator[int]:
        """With the lock, and today's tables; the instant that this batch is at, `now` or hardly later."""
        self._page.lock()
        try:
            self._load()
            if whole and not self._state.whole:
                raise Unavailable(f"{self._directory}: not whole")
            if now:
                now = self._turn_to(now)
            self._used = self._state.used
            try:
                yield now
            finally:
                state = self._state
                if self._write:
                    _END.pack_into(self._page.octets, _END_AT, self._used, max(now, state.last))
        except Damaged as error:
            if self._write:
                with suppress(OSError):
                    self._anew()
            raise Unavailable(str(error)) from None
        except OSError as error:
            raise Unavailable(f"{self._directory}: {error.strerror or error}") from None
        finally:
            self._page.unlock()

    def _load(self) -> None:
        """Take in what the page says and have open the tables that it names. Raises Damaged, OSError."""
        state = self._state = _State._make(_STATE.unpack_from(self._page.octets))
        if state.magic != _MAGIC or state.boot not in (self._boot, _AT_REST):
            if not self._write:
                raise Unavailable(f"{self._directory}: of an earlier life")
            state = self._anew()
        elif state.boot == _AT_REST and self._write:
            state = self._be_of(self._boot)
        if self._open_are != state[2:3] + state[4:7]:
            self._open_tables(state)
        elif not all(table.whole() for table in (*self._today, *self._yesterday)):
            raise Damaged(f"{self._directory}: a table was cut")

    def _open_tables(self, state: _State) -> None:
        self._close_tables()
        for tables, day, count in (
            (self._today, state.day, state.tables),
            (self._yesterday, state.day - 1, state.before),
        ):
            for number in range(count, 0, -1):
                try:
                    tables.append(Table(self._directory / f"{day}.{number}", write=self._write))
                except FileNotFoundError as error:
                    raise Damaged(f"{self._directory}: {error.filename} is missing") from None
        self._older = [*self._today[1:], *self._yesterday]
        self._open_are = (state.epoch, state.day, state.tables, state.before)
        self._base = (state.day - 1) * DAY - SHANGHAI

    def _turn_to(self, now: int) -> int:
        """Be at the day of `now`. Raises Damaged when the clock went back by more than a moment."""
        state = self._state
        if now < state.last <= now + SLACK:
            now = state.last
        day = (now + SHANGHAI) // DAY
        if day == state.day or not self._write:
            return now
        if day < state.day:
            raise Damaged(f"{self._directory}: the clock went back over midnight")
        for path in self._directory.iterdir():
            head = path.name.partition(".")[0]
            if head.isdigit() and int(head) not in (day, day - 1):
                path.unlink(missing_ok=True)
        before = state.tables if day == state.day + 1 else 0
        self._set(state._replace(day=day, tables=0, before=before, used=0))
        self._open_tables(self._state)
        return now

    def _anew(self) -> _State:
        """Remove all tables; nothing is whole."""
        self._close_tables()
        for path in self._directory.iterdir():
            if path.name[:1].isdigit():
                path.unlink(missing_ok=True)
        state = _State(_MAGIC, self._boot, secrets.randbits(63), 0, 0, 0, 0, 0, 0)
        self._set(state)
        self._used = 0
        self._open_tables(state)
        return state

    def _be_of(self, boot: bytes) -> _State:
        """Say on the disk since which start of the machine somebody has counted; or that all is at rest."""
        self._set(self._state._replace(boot=boot))
        self._page.octets.flush()
        return self._state

    def _set(self, state: _State) -> None:
        _STATE.pack_into(self._page.octets, 0, *state)
        self._state = state

    def _close_tables(self) -> None:
        for table in (*self._today, *self._yesterday):
            table.close()
        self._today.clear()
        self._yesterday.clear()
        self._older.clear()
        self._open_are = (0, 0, 0, 0)
