"""Messages of calls between the workers of a node: to the one that a call belongs to, and back to the one
that holds the connection on which its caller waits.

Datagrams of Unix sockets in data_dir/run. The kernel lets no more than ten of them wait for their reader
(net.unix.max_dgram_qlen), and a call has many messages: so what comes in one turn of the loop goes as one, in
order, and what finds no room is tried again for a moment. Who waits for what came by a stream is told of its
loss; what came by UDP is repeated by its sender.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import msgspec

from gateway.protocols.sip_place import Place
from gateway.sockets import short_name

AT_ONCE = 64
"""Datagrams of one socket before others have their turn."""

AGAIN_SECONDS = 0.15
"""How long a message is tried: below that a call would not be judged in time."""

SOON_SECONDS = 0.002
"""Until a worker that has its hands full is tried again."""

MOST_WAITING = 5_000
"""Messages that wait for one worker."""

MOST_OCTETS = 100_000
"""Of messages in one datagram; a single one may be larger."""


class Handed(NamedTuple):
    """`back`: an answer for the connection at `place`; else what came from there."""

    back: bool
    place: Place
    data: bytes


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Handed]).decode


class Neighbours:
    """The door of worker `index`, and the way to those of the others."""

    def __init__(
        self,
        run_dir: Path,
        index: int,
        took: Callable[[Handed], None],
        lost: Callable[[Handed], None],
        log: logging.Logger,
    ) -> None:
        self._run_dir = run_dir
        self._index = index
        self._took = took
        self._lost = lost
        self._log = log
        self._waiting: dict[int, deque[tuple[float, Handed]]] = {}  # by worker; with when it is given up
        self._soon: asyncio.TimerHandle | asyncio.Handle | None = None
        self._door: socket.socket | None = None
        self._out: socket.socket | None = None

    def open(self) -> None:
        """Take what others hand over. Raises OSError."""
        path = self._path(self._index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._door = _socket()
        with short_name(path) as name:
            self._door.bind(name)
        path.chmod(0o600)
        self._out = _socket()
        asyncio.get_running_loop().add_reader(self._door.fileno(), self._read, self._door)

    def close(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
        for sock in (self._door, self._out):
            if sock is not None:
                asyncio.get_running_loop().remove_reader(sock.fileno())
                sock.close()

    def hand(self, to: int, handed: Handed) -> None:
        """Give it to another worker, at the end of this turn of the loop."""
        waiting = self._waiting.setdefault(to, deque())
        if len(waiting) >= MOST_WAITING:
            self._lose(to, handed)
            return
        waiting.append((monotonic() + AGAIN_SECONDS, handed))
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._soon = None
        full = False
        for to, waiting in list(self._waiting.items()):  # who is told of a loss may hand something over
            while waiting and self._sent(to, waiting):
                pass
            now = monotonic()
            while waiting and waiting[0][0] < now:
                self._lose(to, waiting.popleft()[1])
            full = full or bool(waiting)
        if full:
            self._soon = asyncio.get_running_loop().call_later(SOON_SECONDS, self._flush)

    def _sent(self, to: int, waiting: deque[tuple[float, Handed]]) -> bool:
        """The first of what waits, as much as goes into one datagram."""
        assert self._out is not None
        batch: list[Handed] = []
        octets = 0
        for _, handed in waiting:
            octets += len(handed.data)
            if batch and octets > MOST_OCTETS:
                break
            batch.append(handed)
        with short_name(self._path(to)) as name:
            try:
                self._out.sendto(_pack(batch), name)
            except OSError:  # its owner is being started again, or is too busy
                return False
        for _ in batch:
            waiting.popleft()
        return True

    def _lose(self, to: int, handed: Handed) -> None:
        self._log.info("call not handed over", extra={"fields": {"worker": to}})
        self._lost(handed)

    def _read(self, door: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                octets = door.recv(400_000)
            except (BlockingIOError, InterruptedError):
                return
            for handed in _unpack(octets):
                self._took(handed)

    def _path(self, worker: int) -> Path:
        return self._run_dir / f"calls-{worker}.sock"


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock
