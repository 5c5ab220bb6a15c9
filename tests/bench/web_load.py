"""An open load of HTTP requests: so many a second, whether earlier ones have been answered or not.

A request goes out on a connection that is free, else it waits for one, and that counts. What this process
does wrong (late by its own loop, short of CPU) is measured beside it, so that nobody takes it for the node.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

LATE_MS = 3.0
"""A client that hands one request in a hundred over later than this measures itself."""
BUSY = 0.8
"""So does one that uses more of a core."""


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share / 100))]


@dataclass
class Outcome:
    """Of the counted requests: ms from handing over to answered, ms that handing over was late, answers by
    status, seconds in all, and the share of a core that this process used."""

    took: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    busy: float = 0.0

    def said(self) -> str:
        """Percentiles and rate, and a doubt where the client was too slow."""
        p50, p99, p999 = (percentile(self.took, share) for share in (50, 99, 99.9))
        late = percentile(self.late, 99)
        words = f"p50 {p50:.2f}, p99 {p99:.2f}, p99.9 {p999:.2f} at {len(self.took) / self.seconds:,.0f}/s"
        if late > LATE_MS or self.busy > BUSY:
            words += f"; CLIENT TOO SLOW: late by {late:.1f} ms (p99), {self.busy:.0%} of a core"
        return words


def request(
    method: str, path: str, token: str, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()
) -> bytes:
    """The octets of a request on a connection that stays open."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Authorization: Bearer {token}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def load(
    port: int, requests: Iterable[bytes], rate: float, *, warm: float = 3.0, connections: int = 32
) -> Outcome:
    """Send them all at this rate; those of the first `warm` seconds are not counted. ConnectionError when
    the node hangs up, TimeoutError when it does not answer."""
    client = _Client()
    await client.open(port, connections)
    outcome, began = client.outcome, time.perf_counter()
    used = 0.0
    for place, octets in enumerate(requests):
        due = began + place / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        now = time.perf_counter()
        counts = place / rate >= warm
        if counts:
            used = used or time.process_time()
            outcome.late.append((now - due) * 1e3)
        client.ask(octets, now, counts=counts)
    await client.answered(60)
    outcome.seconds = time.perf_counter() - began - warm
    outcome.busy = (time.process_time() - used) / outcome.seconds
    client.close()
    return outcome


class _Client:
    """Connections, and the requests that wait for one."""

    def __init__(self) -> None:
        self.outcome = Outcome()
        self._all: list[_Connection] = []
        self._free: deque[_Connection] = deque()
        self._waiting: deque[tuple[bytes, float, bool]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._lost: Exception | None = None

    async def open(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, made = await loop.create_connection(
                lambda: _Connection(self._done, self._broken), "127.0.0.1", port
            )
            self._all.append(made)
        self._free.extend(self._all)

    def ask(self, octets: bytes, since: float, *, counts: bool) -> None:
        if self._lost is not None:
            raise self._lost
        self._idle.clear()
        if self._free:
            self._free.popleft().send(octets, since, counts)
        else:
            self._waiting.append((octets, since, counts))

    async def answered(self, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            await self._idle.wait()
        if self._lost is not None:
            raise self._lost

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    def _done(self, connection: "_Connection", status: int) -> None:
        if connection.counts:
            self.outcome.took.append((time.perf_counter() - connection.since) * 1e3)
            self.outcome.statuses[status] += 1
        if self._waiting:
            connection.send(*self._waiting.popleft())
            return
        self._free.append(connection)
        if len(self._free) == len(self._all):
            self._idle.set()

    def _broken(self) -> None:
        self._lost = ConnectionError("the node hung up")
        self._idle.set()


class _Connection(asyncio.Protocol):
    """One request at a time; answers have a Content-Length."""

    def __init__(self, done: Callable[["_Connection", int], None], broken: Callable[[], None]) -> None:
        self.since, self.counts = 0.0, False
        self._done, self._broken = done, broken
        self._got = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's transport is a Transport

    def send(self, octets: bytes, since: float, counts: bool) -> None:
        self.since, self.counts = since, counts
        self._transport.write(octets)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, blank, body = self._got.partition(b"\r\n\r\n")
        if blank:
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            if len(body) >= length:
                self._got = b""
                self._done(self, int(head[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        if not self._transport.is_closing():
            self._broken()

    def close(self) -> None:
        self._transport.close()
