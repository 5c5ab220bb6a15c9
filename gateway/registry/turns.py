"""Turns of those who ask a database that shares the machine's cores.

PostgreSQL answers a short read in 0.1 to 0.2 ms of CPU. More of them at once than there are cores are not
answered sooner; each server process waits for its core behind the others and behind us, takes twice the CPU
time for it, and a backlog that began with a pause of some ms stays (measured at 1,500 reads a second on 2
cores). So only as many as there are cores are under way; one that takes long is not waited for.
"""

import asyncio
from collections import deque

SLOW_SECONDS = 0.02
"""What has been under way for so long keeps nobody waiting any more: it may wait for a disk, or a lock."""


class Turns:
    """At most `count` under way of those that began within `SLOW_SECONDS`; first come, first served."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._begun: dict[object, float] = {}  # by the loop's clock, oldest first
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._watch: asyncio.TimerHandle | None = None

    async def begin(self) -> object:
        """Wait for a turn; what to give to `end`."""
        loop = asyncio.get_running_loop()
        if len(self._begun) < self._count and not self._waiting:
            turn = object()
            self._begun[turn] = loop.time()
            return turn
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        if self._watch is None:
            self._watch = loop.call_at(self._oldest() + SLOW_SECONDS, self._look)
        try:
            await future
        except asyncio.CancelledError:
            if future in self._waiting:
                self._waiting.remove(future)
            self.end(future)  # it may have been its turn in the same instant
            raise
        return future

    def end(self, turn: object) -> None:
        """What `begin` gave is over: the next one's turn."""
        if self._begun.pop(turn, None) is not None and self._waiting:
            self._next()

    def _next(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._waiting and len(self._begun) < self._count:
            future = self._waiting.popleft()
            if not future.done():
                self._begun[future] = now
                future.set_result(None)

    def _look(self) -> None:
        """Somebody has waited for long: not for what is slow."""
        loop = asyncio.get_running_loop()
        while self._begun and self._oldest() + SLOW_SECONDS <= loop.time():
            del self._begun[next(iter(self._begun))]
        self._next()
        self._watch = loop.call_at(self._oldest() + SLOW_SECONDS, self._look) if self._waiting else None

    def _oldest(self) -> float:
        return next(iter(self._begun.values()))
