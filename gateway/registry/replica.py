"""A node's copy of the registry: an LMDB that all its processes read and only the keeper writes.

Rules: the replica lives in `replica-<generation>`; which one is in use stands in `local` (local.py). A reader
whose file was cut goes to the next generation; one whose file was deleted reads on in it until there is a
next one. Values are msgpack; instants milliseconds. It knows no SQL: see tables.py and writer.py; what is
read is in snapshot.py.
"""

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import lmdb

from gateway.errors import NotReady, UsageError
from gateway.registry.keys import RegistryKey
from gateway.registry.local import LocalRefusal, LocalRefusals
from gateway.registry.mapped import Mapped
from gateway.registry.receiving import Receiving
from gateway.registry.snapshot import Snapshot

MAP_SIZE = 64 << 30
"""Address space, not disk: the file is sparse. 10⁸ refusals take about 8 GiB."""


class Generation:
    """One open LMDB environment `replica-<number>`."""

    def __init__(
        self, directory: Path, number: int, *, map_size: int, writer: bool, sync: bool = True
    ) -> None:
        self.number = number
        path = directory / f"replica-{number}" / "data.mdb"
        if writer:
            path.parent.mkdir(mode=0o700, exist_ok=True)
        self.file = Mapped(path, map_size=map_size, writer=writer, sync=sync)
        self.env = self.file.env
        try:
            self.meta = self.env.open_db(b"meta", create=writer)
            self.rows = self.env.open_db(b"rows", create=writer)
            self.index = self.env.open_db(b"index", create=writer, dupsort=True, dupfixed=True)
            self.refusals = self.env.open_db(b"refusals", create=writer)
        except lmdb.Error:
            self.file.close()
            raise


class Replica:
    """The replica below `directory` (data_dir/registry), as one process sees it. Used by one thread.

    With `writer` it is the keeper's: see `ReplicaWriter`. Closing it ends all its snapshots.
    """

    def __init__(self, directory: Path, key: RegistryKey, *, writer: bool, map_size: int) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self.key = key
        self.map_size = map_size
        self.current: Generation | None = None
        self.writer = writer
        self._keeper = self._become_keeper() if writer else -1
        try:
            self.local = LocalRefusals(directory / "local", *_known(key))
        except UsageError:
            self._resign()
            raise
        self._local_lock = Lock()
        self.receiving = Receiving(directory / "receiving")

    @staticmethod
    def open(
        directory: Path, key: RegistryKey, *, writer: bool = False, map_size: int = MAP_SIZE
    ) -> "Replica":
        """Raises UsageError when `writer` is asked for and another keeper is at work, and when the files were
        written under another key."""
        return Replica(directory, key, writer=writer, map_size=map_size)

    def snapshot(self) -> "Snapshot":
        """A view of the registry as it is now. Raises NotReady as long as there is no replica."""
        return Snapshot(self)

    def add_local_refusals(self, refusals: Sequence[LocalRefusal]) -> None:
        """See `LocalRefusals.add`: durable on return, in the next `renew` of every worker."""
        with self._local_lock:
            self.local.add(refusals)

    def check(self) -> None:
        """To be called once a second: notices a `local` that was deleted or cut, and opens another.

        What stood in a deleted one is carried over; what was pending in a cut one the keeper reads back from
        the journal, and until then nobody judges. A replica that was deleted with it is let go of: another
        may come by its number. Raises NotReady when there is no room for another.
        """
        old = self.local
        whole = old.file.whole()
        if whole and old.file.in_place():
            return
        with self._local_lock:
            if not whole:
                old.file.close()
            elif old.file.is_there():
                old.leave()
            fresh = LocalRefusals(old.path.parent, *_known(self.key))
            if whole:
                try:
                    fresh.take_over(old, kept=self.writer)
                except (lmdb.Error, NotReady) as error:
                    fresh.file.close()
                    raise NotReady(f"{old.path}: what it held can't be carried over: {error}") from None
                old.file.close()
            self.local = fresh
        if self.current is not None and not self.current.file.in_place():
            self._let_go()

    def used(self) -> dict[str, float]:
        """Share of each map that is in use; alarm at 0.8."""
        return {"local": self.local.used(), "replica": self.current.file.filled() if self.current else 0.0}

    def clear_dead_readers(self) -> int:
        """Free the reader slots of processes that died; how many."""
        with suppress(NotReady):  # before the first copy there is `local` alone
            self.generation(self.local.state()[0])
        slots: int = self.local.env.reader_check()
        return slots + (self.current.env.reader_check() if self.current else 0)

    def generation(self, number: int) -> Generation:
        """The open environment of this generation. Raises NotReady when there is none that can be read."""
        if self.current is not None and self.current.number == number:
            return self.current
        self._let_go()
        if number == 0 or self.local.damaged() == number:
            raise NotReady("the replica is not there yet")
        try:
            self.current = Generation(self.directory, number, map_size=self.map_size, writer=self.writer)
        except (lmdb.Error, OSError) as error:
            raise NotReady(f"replica {number} can't be read: {error}") from None
        return self.current

    def report_damage(self, number: int) -> None:
        """This generation can't be read on: the keeper makes another at once."""
        if self.current is not None and self.current.number == number:
            self._let_go()
        self.local.report_damage(number)

    def close(self) -> None:
        self._let_go()
        self.local.file.close()
        self._resign()

    def _let_go(self) -> None:
        if self.current is not None:
            self.current.file.close()
            self.current = None

    def _resign(self) -> None:
        if self._keeper >= 0:
            os.close(self._keeper)
            self._keeper = -1

    def _become_keeper(self) -> int:
        descriptor = os.open(self.directory / "keeper", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UsageError(
                f"another keeper is at work in {self.directory}: one node, one data_dir"
            ) from None
        return descriptor


def _known(key: RegistryKey) -> list[bytes]:
    key.look()
    return [one.fingerprint for one in key.keys]
