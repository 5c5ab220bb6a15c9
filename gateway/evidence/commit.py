"""The commit thread of a journal: one group at a time becomes one block, durable when it returns.

The event loop packs a `Group` (to compress in the thread would cost one more hand-over of the
interpreter's lock) and goes on; while this thread is at the disk the next group gathers. A group is one
system call here: the write returns when it is durable.

Errors: no room (ENOSPC, EDQUOT, EFBIG) takes the failed block back and refuses the group; any other error
poisons the journal, because nobody knows what of the file is on the disk (a page whose write-back failed
once is marked clean, and a later fsync calls it good).
"""

import asyncio
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import zstandard

from gateway.errors import NotReady
from gateway.evidence.folder import Tail
from gateway.evidence.plan import Plan
from gateway.evidence.segment import (
    NO_ROOM,
    Disk,
    SegmentFile,
    pack_block,
)

LEVEL = -5
"""Of zstd: an eleventh larger than level 1 on records, most of which is sealed, at a third of its time."""

AHEAD = 256 << 10
"""Octets of room that are kept before a group needs them."""

Done = Callable[[Exception | None], None]
"""Called on the loop: None when durable; JournalFull or JournalPoisoned when it was not recorded."""


class JournalFull(NotReady):
    """The disk of the journal has no room: nothing was recorded; answer busy, it recovers by itself."""


class JournalPoisoned(NotReady):
    """The disk of the journal failed: what reached it is not known; an operator must look and clear it."""


class Group:
    """What becomes durable together: records of one segment, and who waits for them."""

    __slots__ = ("apply_error", "dones", "first", "local", "notes", "octets", "packed", "plan", "records")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.first = plan.next
        self.records: list[bytes] = []
        self.packed: tuple[bytes, bytes] = (b"", b"")
        self.octets = 0
        self.dones: list[Done] = []
        self.local: list[Any] = []  # of replies, for `apply`
        self.apply_error: Exception | None = None
        self.notes: list[tuple[int, Callable[[], None]]] = []  # nobody waits for these: (records, add again)


Finished = Callable[[Group, Exception | None, int, float], None]
"""Called on the loop, once per group: error, octets written, seconds at the disk."""


class CommitThread:
    """Takes groups in order. `apply` gets the `local` values of a durable group; `prepare` runs after a
    segment was begun."""

    def __init__(
        self,
        disk: Disk,
        tail: Tail,
        *,
        durable: bool,
        apply: Callable[[list[Any]], None] | None,
        prepare: Callable[[], None],
        name: str,
    ) -> None:
        self._disk = disk
        self._tail = tail
        self._durable = durable
        self._apply = apply
        self._prepare = prepare
        self._plan: Plan | None = None
        self._failed: OSError | None = None
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._jobs: SimpleQueue[Group | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop, finished: Finished) -> None:
        self._loop = loop
        self._finished = finished
        self._thread.start()

    def put(self, group: Group) -> None:
        """`group` without records makes sure that its segment exists and has room.

        It is packed here: the thread would give the interpreter's lock away to compress, and wait for it.
        """
        if group.records:
            group.packed = pack_block(group.records, group.first, group.plan.digest, self._compressor)
        self._jobs.put(group)

    def fail(self, error: OSError) -> None:
        """Poison the next group with this error."""
        self._failed = error

    async def stop(self) -> None:
        """Finish what was put, cut the file to size, end."""
        if self._thread.is_alive():
            self._jobs.put(None)
            await self._loop.run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        poisoned = False
        while (group := self._jobs.get()) is not None:
            started = time.perf_counter()
            octets = 0
            error: Exception | None = None
            try:
                octets = self._commit(group)
            except Exception as cause:
                error = self._take_back(group, cause)
                poisoned = poisoned or isinstance(error, JournalPoisoned)
            seconds = time.perf_counter() - started
            if error is None and group.local and self._apply is not None:
                try:
                    self._apply(group.local)
                except Exception as cause:
                    group.apply_error = cause
            try:
                self._loop.call_soon_threadsafe(self._finished, group, error, octets, seconds)
            except RuntimeError:  # the loop was closed over our head: nobody waits any more
                break
            if error is None:
                self._look_ahead(group.plan)
        if not poisoned:
            self._leave()

    def _look_ahead(self, plan: Plan) -> None:
        """While nobody waits: have room for what comes. An error is that of the group that needs it."""
        try:
            if plan.file is not None and self._failed is None:
                plan.file.reserve(AHEAD)
        except OSError as error:
            if error.errno not in NO_ROOM:  # a full disk will say so again
                self._failed = error

    def _commit(self, group: Group) -> int:
        if self._failed is not None:
            raise self._failed
        plan = group.plan
        file = plan.file
        if file is None:
            self._leave()
            file = plan.file = SegmentFile(plan.path, plan.header, self._disk, durable=self._durable)
            self._plan = plan
            self._prepare()
        if not group.records:
            file.reserve(1)
            return 0
        before = file.end
        file.append(*group.packed)
        self._tail.set(plan.number, file.end, group.first + len(group.records))
        return file.end - before

    def _take_back(self, group: Group, cause: Exception) -> Exception:
        """Cut off what a failed write left, if that is possible: the error for those who wait."""
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            try:
                if group.plan.file is not None:
                    group.plan.file.cut()
            except OSError as second:
                cause = second
            else:
                return JournalFull(f"{group.plan.path}: {cause.strerror}")
        number, end, index, _ = self._tail.get()
        path = str(group.plan.path)
        why = (isinstance(cause, OSError) and cause.strerror) or repr(cause)
        why = why if path in why else f"{path}: {why}"
        self._tail.set(number, end, index, why)
        return JournalPoisoned(why)

    def _leave(self) -> None:
        """Close the segment so far, giving back its reserved room."""
        plan, self._plan = self._plan, None
        if plan is not None and plan.file is not None:
            plan.file.cut()
            plan.file.close()
