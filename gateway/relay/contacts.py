"""Who last sent to whom: for each (number, subscriber) the last attempt that passed on this node, 30 days.

A reply is the refusal of the institution of that attempt (domain.md "A reply (MO) means"). This is written
for every message and read for every reply, so it is a hash table in a mapped file: one writer each, no
commit, seen by all processes at once, and whole after a kill, because the pages belong to the kernel. A
day's tables are a folder; forgetting is its removal. Keys are keyed hashes, no number stands here.

    DAY/WRITER.N    slots of 32 octets, in the machine's order: key u64 (0: free), institution u32, the
                    record's place in its segment u32, attempt id (its first six octets are the time in ms);
                    open addressing; the newest N holds the newest

Room is allocated before it is mapped: a full disk must not become a SIGBUS.
"""

import mmap
import os
import shutil
import struct
import time
from pathlib import Path
from typing import NamedTuple

KEEP_DAYS = 30
DAY = 86_400_000
SHANGHAI = 8 * 3_600_000  # the day changes at midnight in Asia/Shanghai, which has no summer time

SLOT = struct.Struct("=QII16s")
KEY = struct.Struct("<Q")
FIRST_SLOTS, MOST_SLOTS = 1 << 14, 1 << 22  # 512 KiB to 128 MiB
FULL = 0.6  # share of used slots at which a further table begins
RETRY = 1000  # ms until room is looked for again
SETTLED = 1_000_000_000  # ns; a folder that changed within these may change again under the same time
BRIM = 0.9  # share at which nothing more goes in, when there was no room for a further one


class Contact(NamedTuple):
    """The last attempt passed: when (ms), for which institution (id), under which attempt id; and where its
    record lies: in whose journal, and its place in the segment of that time."""

    at: int
    institution: int
    attempt: bytes
    writer: str = ""
    place: int = 0


def half_key(hashed: bytes) -> int:
    """What a number gives to the key of each pair that it is in; the hash is keyed, of at least 8 octets."""
    half: int = KEY.unpack_from(hashed)[0]
    return half


def pair_key(number: int, subscriber: int) -> int:
    """The key of a pair by the `half_key` of each."""
    return number ^ subscriber or 1


def key_of(number: int, subscriber_hash: bytes) -> int:
    """The key of a pair: the `half_key` of the number and the keyed hash of the subscriber."""
    return pair_key(number, half_key(subscriber_hash))


Table = tuple[str, mmap.mmap]
"""Whose table it is, and its slots."""


class Contacts:
    """`writer` names this worker's own tables; None opens for reading only."""

    def __init__(self, directory: Path, writer: str | None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._writer = writer
        self._read: dict[str, mmap.mmap] = {}
        self._listed: dict[int, tuple[str, int, list[Table]]] = {}  # by day: folder, its mtime, tables
        self._today = 0
        self._slot = SLOT.pack_into  # compiled, a global is looked up each time
        self._map: mmap.mmap | None = None
        self._words: memoryview[int] | None = None  # of the map: each slot's first is its key
        self._since = self._until = 0  # ms: the day of the table that is being filled; a clock may go back
        self._mask = self._used = self._limit = 0

    def remember(self, key: int, at: int, institution: int, attempt: bytes, place: int = 0) -> None:
        """Note a passed attempt; the newest of a pair wins. At the brim of a full disk it is not noted."""
        if at >= self._until or self._used >= self._limit or at < self._since:
            self._begin(at)
        table, words = self._map, self._words
        if table is None or words is None:
            return
        mask = self._mask
        slot = key & mask
        while True:
            found: int = words[slot << 2]
            if found == 0:
                self._used += 1
                break
            if found == key:
                break
            slot = slot + 1 & mask
        self._slot(table, slot << 5, key, institution, place, attempt)

    def last(self, key: int, now: int, *, days: int = KEEP_DAYS) -> Contact | None:
        """The newest attempt of this pair within so many days, over all workers of the node."""
        today = _day(now)
        if today != self._today:
            self._today = today
            self._forget(today - days)
        since = now - days * DAY  # its first day is half over
        for day in range(today, today - days - 1, -1):
            found = [
                contact
                for writer, table in self._tables(day)
                if (contact := _find(table, key, writer)) is not None and contact.at >= since
            ]
            if found:
                return max(found)
        return None

    def expire(self, now: int, *, days: int = KEEP_DAYS) -> None:
        """Remove the days that are older than that."""
        oldest = _day(now) - days
        self._forget(oldest)
        for folder in self._directory.iterdir():
            if folder.name.isdigit() and int(folder.name) < oldest:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        for table in self._read.values():
            table.close()
        self._read.clear()
        self._listed.clear()
        self._leave()

    def _begin(self, at: int) -> None:
        """Start a further table: four times as large within a day."""
        same_day = self._since <= at < self._until
        slots = min(4 * (self._mask + 1), MOST_SLOTS) if same_day else FIRST_SLOTS
        folder = self._directory / str(_day(at))
        numbers = [int(path.suffix[1:]) for path in folder.glob(f"{self._writer}.*")]
        path = folder / f"{self._writer}.{max(numbers, default=0) + 1}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not same_day:
                self.expire(at)
            table = _allocate(path, slots * SLOT.size)
        except OSError:  # no room: what there is is filled to the brim, then nothing is noted for a while
            path.unlink(missing_ok=True)
            self._limit = int((self._mask + 1) * BRIM)
            if not same_day or self._used >= self._limit:
                self._leave()
            if self._map is None:
                self._used, self._limit = 0, 1
                self._since, self._until = at, at + RETRY
            return
        self._leave()
        self._map, self._words = table, memoryview(table).cast("Q")
        self._mask, self._used = slots - 1, 0
        self._limit = int(slots * FULL)
        self._since = _day(at) * DAY - SHANGHAI
        self._until = self._since + DAY

    def _leave(self) -> None:
        """Let go of the table that was being filled."""
        if self._map is not None and self._words is not None:
            self._words.release()
            self._map.close()
        self._map = self._words = None

    def _tables(self, day: int) -> list[Table]:
        """The tables of a day; its folder is listed again when one has come or gone."""
        known = self._listed.get(day)
        if known is None:
            known = self._listed[day] = (f"{self._directory}/{day}", 0, [])
        folder, listed, whole = known
        try:
            changed = os.stat(folder).st_mtime_ns  # noqa: PTH116  # asked for every reply and every key
            if listed == changed:
                return whole
            now, names = time.time_ns(), [path.name for path in Path(folder).iterdir()]
        except OSError:
            return []
        tables = [(name.partition(".")[0], self._opened(f"{day}/{name}")) for name in names]
        whole = [(writer, table) for writer, table in tables if table is not None]
        if len(whole) == len(tables) and now - changed > SETTLED:
            self._listed[day] = (folder, changed, whole)
        return whole

    def _forget(self, oldest: int) -> None:
        """Let go of the days before `oldest`: what is removed keeps its room for as long as it is mapped."""
        for day in [day for day in self._listed if day < oldest]:
            del self._listed[day]
        for name in [name for name in self._read if int(name.partition("/")[0]) < oldest]:
            self._read.pop(name).close()

    def _opened(self, name: str) -> mmap.mmap | None:
        table = self._read.get(name)
        if table is None:
            try:
                with (self._directory / name).open("rb") as file:
                    table = self._read[name] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError):  # removed meanwhile, or not allocated yet
                return None
        return table


def _find(table: mmap.mmap, key: int, writer: str) -> Contact | None:
    mask = len(table) // SLOT.size - 1
    slot = key & mask
    while True:
        found, institution, place, attempt = SLOT.unpack_from(table, slot << 5)
        if found == key:
            return Contact(int.from_bytes(attempt[:6], "big"), institution, attempt, writer, place)
        if not found:
            return None
        slot = slot + 1 & mask


def _allocate(path: Path, size: int) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


def _day(at: int) -> int:
    return (at + SHANGHAI) // DAY
