"""An open load of HTTP requests: so many a second, whether earlier ones have been answered or not.

What is measured of each request: from the instant at which it was due until its answer is whole. A request
that finds no free connection waits for one, and one that this process hands over late was due all the same:
both count, so that no pause is left out because nobody asked during it. How late it handed over is kept
beside it: a client that is short of CPU, or not woken in time, measures itself.

Blocking sockets in one thread without an event loop, requests made beforehand, short slices of the processor:
on a machine that the node has to share with its client, the client takes as little as it can, when it is due.
"""

import gc
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway import slices

LATE_MS = 3.0
"""A client that hands one request in a hundred over later than this measures itself."""
BUSY = 0.8
"""So does one that uses more of a core."""
PATIENCE = 60.0
"""Seconds without any answer, after which the node counts as gone."""


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share / 100))]


@dataclass
class Outcome:
    """Of the counted requests: ms from due to answered, ms that handing over was late, answers by status,
    seconds in all, and the share of a core that this process used."""

    took: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    busy: float = 0.0

    def said(self) -> str:
        """Percentiles and rate, and a doubt where the client was too slow."""
        p50, p99, p999 = (percentile(self.took, share) for share in (50, 99, 99.9))
        late = percentile(self.late, 99)
        words = (
            f"p50 {p50:.2f}, p99 {p99:.2f}, p99.9 {p999:.2f} at {len(self.took) / self.seconds:,.0f}/s;"
            f" client late by {late:.2f} (p99), {self.busy:.0%} of a core"
        )
        return words + " — CLIENT TOO SLOW" * (late > LATE_MS or self.busy > BUSY)


def request(
    method: str, path: str, token: str, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()
) -> bytes:
    """The octets of a request on a connection that stays open."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Authorization: Bearer {token}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def load(
    port: int, requests: Sequence[bytes], rate: float, *, warm: float = 3.0, connections: int = 32
) -> Outcome:
    """Send them all at this rate; those of the first `warm` seconds are not counted. ConnectionError when
    the node hangs up, TimeoutError when it does not answer."""
    slices.ask_for_short()
    client = _Client(port, connections)
    gc.collect()
    gc.disable()
    try:
        return client.run(requests, rate, int(warm * rate))
    finally:
        gc.enable()
        client.close()


class _Client:
    """Connections, each with one request at a time, and the requests that wait for one."""

    def __init__(self, port: int, connections: int) -> None:
        self._free = deque(_Connection(port) for _ in range(connections))
        self._all = list(self._free)
        self._busy: dict[int, _Connection] = {}  # by descriptor
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._outcome = Outcome()
        self._first = 0.0  # the instant from which on requests count, by the clock

    def run(self, requests: Sequence[bytes], rate: float, warm: int) -> Outcome:
        outcome, clock, count = self._outcome, time.perf_counter, len(requests)
        began = clock()
        self._first = began + warm / rate
        used, place, due = 0.0, 0, began
        while place < count or self._busy:
            while place < count and due <= clock():
                if place == warm:
                    used = time.process_time()
                if place >= warm:
                    outcome.late.append((clock() - due) * 1e3)
                self._ask(requests[place], due)
                place += 1
                due = began + place / rate
            pause = max(0.0, due - clock()) if place < count else PATIENCE
            readable, _, _ = select.select(list(self._busy), [], [], pause)
            if not readable and place == count:
                raise TimeoutError(f"no answer in {PATIENCE:g} s")
            for descriptor in readable:
                self._hear(descriptor)
        outcome.seconds = clock() - self._first
        outcome.busy = (time.process_time() - used) / outcome.seconds
        return outcome

    def close(self) -> None:
        for connection in self._all:
            connection.socket.close()

    def _ask(self, octets: bytes, due: float) -> None:
        if self._free:
            connection = self._free.popleft()
            connection.send(octets, due)
            self._busy[connection.descriptor] = connection
        else:
            self._waiting.append((octets, due))

    def _hear(self, descriptor: int) -> None:
        connection = self._busy[descriptor]
        status = connection.heard()
        if not status:
            return
        if connection.due >= self._first:
            self._outcome.took.append((time.perf_counter() - connection.due) * 1e3)
            self._outcome.statuses[status] += 1
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            del self._busy[descriptor]
            self._free.append(connection)


class _Connection:
    """One request at a time; answers have a Content-Length."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.descriptor = self.socket.fileno()
        self.due = 0.0
        self._got = b""

    def send(self, octets: bytes, due: float) -> None:
        self.due = due
        self.socket.sendall(octets)

    def heard(self) -> int:
        """The answer's status once it is whole, else 0."""
        octets = self.socket.recv(1 << 16)
        if not octets:
            raise ConnectionError("the node hung up")
        self._got += octets
        head, blank, body = self._got.partition(b"\r\n\r\n")
        if not blank:
            return 0
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return 0
        self._got = b""
        return int(head[9:12])
