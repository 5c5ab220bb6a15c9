"""What both simulators share: a link driven by a real socket and clock, and waiting without sleeping."""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from time import monotonic_ns
from typing import Any

from gateway.protocols.link import Answered, Closed, Event, Link, Unanswered

CHINA = timezone(timedelta(hours=8))
"""Times on the wire are Asia/Shanghai, which has kept this offset since 1991."""

Done = Callable[[bytes | None], None]
"""What is called with the answer to a request, or with None when there will be none."""


def milliseconds() -> int:
    """The clock that a Link is driven by."""
    return monotonic_ns() // 1_000_000


def stamp() -> str:
    """Now as YYMMDDhhmm."""
    return datetime.now(CHINA).strftime("%y%m%d%H%M")


class Watched:
    """Something whose state can be awaited: `changed` is called whenever it may have moved."""

    def __init__(self) -> None:
        self._watchers: list[tuple[Callable[[], Any], asyncio.Future[None]]] = []
        self._later: set[asyncio.TimerHandle] = set()

    async def until(self, holds: Callable[[], Any], seconds: float = 10.0) -> None:
        """Return as soon as `holds()` is true; TimeoutError after `seconds`."""
        if holds():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watcher = (holds, future)
        self._watchers.append(watcher)
        try:
            await asyncio.wait_for(future, seconds)
        finally:
            self._watchers.remove(watcher)

    def changed(self) -> None:
        for holds, future in self._watchers:
            if not future.done() and holds():
                future.set_result(None)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        """Act after that long; at once, in order, when it is no time at all."""
        if not seconds:
            act()
            return

        def run() -> None:
            self._later.discard(timer)
            act()

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._later.add(timer)

    def _cancel(self) -> None:
        """What was to be done later is not."""
        for timer in self._later:
            timer.cancel()


class End(asyncio.Protocol):
    """One end of one TCP connection: octets to the link, its octets to the socket, its timers to the loop.

    Requests wait for the window in `ask` and get their answers there; all other events go to `happened`.
    What one turn of the loop makes leaves in one write. When the link closes, so does the socket.
    """

    def __init__(self, link: Link, happened: Callable[["End", Event], None]) -> None:
        self.link = link
        self.account = ""
        self.cause: Closed | None = None
        self._happened = happened
        self._queue: deque[tuple[bytes, Done, int | None]] = deque()
        self._asked: dict[int, Done] = {}
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0
        self._flushing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.tell(self.link.receive(data, milliseconds()))

    def connection_lost(self, exc: Exception | None) -> None:
        self.tell(self.link.lost(str(exc or "")))

    def ask(self, frame: bytes, done: Done, sequence: int | None = None) -> None:
        """Send a request as soon as the window lets it; `done` gets the answer's frame."""
        if self.cause is not None:
            done(None)
            return
        self._queue.append((frame, done, sequence))
        self.soon()

    def tell(self, events: list[Event]) -> None:
        """Deal with what the link says, and send what follows from it."""
        for event in events:
            match event:
                case Answered(sequence=sequence, frame=frame) if sequence in self._asked:
                    self._asked.pop(sequence)(frame)
                case Unanswered(sequence=sequence):
                    self._asked.pop(sequence)(None)
                case Closed():
                    self._end(event)
                case _:
                    self._happened(self, event)
        self.soon()

    def soon(self) -> None:
        """Send what there is at the end of this turn of the loop."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what the link has to say, and set the alarm for what it wants to say later."""
        self._flushing = False
        link, now = self.link, milliseconds()
        while self._queue and link.room > 0:
            frame, done, sequence = self._queue.popleft()
            self._asked[link.request(frame, now, sequence)] = done
        octets = link.take()
        if octets and self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)
        if self.cause is not None:
            if self._transport is not None:
                self._transport.close()
            return
        due = link.due()
        if due is not None and (self._timer is None or due < self._timer_due):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_due = due
            delay = max(0, due - now) / 1000
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def write(self, octets: bytes) -> None:
        """Put octets on the socket behind the link's back."""
        if self._transport is not None:
            self._transport.write(octets)

    def close(self) -> None:
        """Say goodbye as the protocol does, or just hang up where nobody logged in."""
        if self.link.state == "open":
            self.link.close(milliseconds())
            self.flush()
        elif self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Tear the connection down, as a crash would."""
        if self._transport is not None:
            self._transport.abort()

    def _tick(self) -> None:
        self._timer = None
        self.tell(self.link.tick(milliseconds()))

    def _end(self, event: Closed) -> None:
        self.cause = event
        if self._timer is not None:
            self._timer.cancel()
        unanswered = [*self._asked.values(), *(done for _, done, _ in self._queue)]
        self._asked.clear()
        self._queue.clear()
        for done in unanswered:
            done(None)
        self._happened(self, event)
