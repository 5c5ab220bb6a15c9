"""Who last sent to whom: for each (number, subscriber) the last attempt that passed on this node, 30 days.

A reply is the refusal of the institution of that attempt (domain.md "A reply (MO) means"). One LMDB
environment per day and worker, so that workers never wait for each other and forgetting is the removal
of a folder. Writes are collected and flushed in groups; they are not made durable, because the journal
already is: `refill` puts back from it what a crash lost. Keys are keyed hashes, no number stands here.
"""

import shutil
import struct
from pathlib import Path
from typing import NamedTuple

import lmdb

KEEP_DAYS = 30
MAP_SIZE = 16 << 30  # sparse: address space, not disk
FLUSH_AT = 2048  # entries: a flush takes 3 to 5 ms, and a quarter less each than in smaller groups
DAY = 86_400_000
SHANGHAI = 8 * 3_600_000  # the day changes at midnight in Asia/Shanghai, which has no summer time
LOOK_BACK = 5_000  # ms before the last flush that are read again: the clock may have been set back

_VALUE = struct.Struct(">QI16s")
_FLUSHED = b"flushed"


class Contact(NamedTuple):
    """The last attempt passed: when (ms), for which institution (id), under which attempt id."""

    at: int
    institution: int
    attempt: bytes


def key_of(number_hash: bytes, subscriber_hash: bytes) -> bytes:
    """8 octets for the pair; both hashes are keyed, at least 8 octets long."""
    mixed = int.from_bytes(number_hash[:8], "big") ^ int.from_bytes(subscriber_hash[:8], "big")
    return mixed.to_bytes(8, "big")


class Contacts:
    """`writer` names this worker's own environments; None opens for reading only."""

    def __init__(self, directory: Path, writer: str | None) -> None:
        self._directory = directory
        self._writer = writer
        self._open: dict[tuple[int, str], lmdb.Environment] = {}
        self._fresh: dict[bytes, bytes] = {}
        self._day = 0
        directory.mkdir(parents=True, exist_ok=True)

    def remember(self, key: bytes, at: int, institution: int, attempt: bytes) -> None:
        """Note a passed attempt; the newest of a pair wins."""
        self._fresh[key] = _VALUE.pack(at, institution, attempt)
        if len(self._fresh) >= FLUSH_AT:
            self.flush(at)

    def flush(self, now: int) -> None:
        """Hand what was noted to LMDB, so that every process of the node sees it."""
        if not self._fresh:
            return
        with self._environment(_day(now), self._writer or "", write=True).begin(write=True) as txn:
            txn.cursor().putmulti(self._fresh.items())
            txn.put(_FLUSHED, now.to_bytes(8, "big"))
        self._fresh.clear()

    def last(self, key: bytes, now: int) -> Contact | None:
        """The newest attempt of this pair within 30 days, over all workers of the node."""
        if key in self._fresh:
            return Contact(*_VALUE.unpack(self._fresh[key]))
        for day in range(_day(now), _day(now) - KEEP_DAYS - 1, -1):
            found = [
                value
                for path in sorted((self._directory / str(day)).glob("*"))
                if (value := self._get(day, path.name, key)) is not None
            ]
            if found:
                return Contact(*_VALUE.unpack(max(found)))  # the time leads the value
        return None

    def flushed_until(self, now: int) -> int:
        """Instant from which the journal has to be read again after a crash (ms; 0: nothing was kept)."""
        for day in range(_day(now), _day(now) - KEEP_DAYS - 1, -1):
            value = self._get(day, self._writer or "", _FLUSHED)
            if value is not None:
                return max(0, int.from_bytes(value, "big") - LOOK_BACK)
        return 0

    def expire(self, now: int) -> None:
        """Remove the days that are older than 30."""
        oldest = _day(now) - KEEP_DAYS
        for (day, writer), environment in list(self._open.items()):
            if day < oldest:
                environment.close()
                del self._open[day, writer]
        for path in self._directory.iterdir():
            if path.name.isdigit() and int(path.name) < oldest:
                shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        for environment in self._open.values():
            environment.close()
        self._open.clear()

    def _get(self, day: int, writer: str, key: bytes) -> bytes | None:
        if not (self._directory / str(day) / writer / "data.mdb").exists():
            return None
        with self._environment(day, writer, write=writer == self._writer).begin() as txn:
            value: bytes | None = txn.get(key)
            return value

    def _environment(self, day: int, writer: str, *, write: bool) -> lmdb.Environment:
        environment = self._open.get((day, writer))
        if environment is None:
            path = self._directory / str(day) / writer
            if write:
                path.mkdir(parents=True, exist_ok=True)
            environment = lmdb.open(
                str(path),
                map_size=MAP_SIZE,
                readonly=not write,
                sync=False,
                metasync=False,
                readahead=False,
                writemap=write,
                map_async=write,
            )
            environment.reader_check()  # slots of workers that died
            self._open[day, writer] = environment
        return environment


def _day(at: int) -> int:
    return (at + SHANGHAI) // DAY
