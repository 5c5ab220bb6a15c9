"""Messages of calls between the workers of a node: to the one that a call belongs to, and back to the one
that holds the connection on which its caller waits.

Datagrams of Unix sockets in data_dir/run. What came by UDP and finds its worker away is lost, as its sender
repeats it; what came by a stream comes once, so it is tried again for a moment, and who waits for it is told.
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
"""How long what came by a stream is tried: below that a call would not be judged in time."""

MOST_WAITING = 1_000
"""Messages that wait for their worker at a time."""


class Handed(NamedTuple):
    """`back`: an answer for the connection at `place`; else what came from there."""

    back: bool
    place: Place
    data: bytes


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Handed).decode


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
        self._waiting: deque[tuple[float, int, Handed]] = deque()
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
        for sock in (self._door, self._out):
            if sock is not None:
                asyncio.get_running_loop().remove_reader(sock.fileno())
                sock.close()

    def hand(self, to: int, handed: Handed) -> None:
        """Give it to another worker."""
        if self._sent(to, handed):
            return
        if handed.place.flow and len(self._waiting) < MOST_WAITING:
            self._waiting.append((monotonic() + AGAIN_SECONDS, to, handed))
        else:
            self._lose(to, handed)

    def tick(self) -> None:
        """A few times a second: try again, and give up."""
        for _ in range(len(self._waiting)):
            until, to, handed = self._waiting.popleft()
            if self._sent(to, handed):
                continue
            if monotonic() < until:
                self._waiting.append((until, to, handed))
            else:
                self._lose(to, handed)

    def _sent(self, to: int, handed: Handed) -> bool:
        assert self._out is not None
        with short_name(self._path(to)) as name:
            try:
                self._out.sendto(_pack(handed), name)
            except OSError:  # its owner is being started again, or is too busy
                return False
        return True

    def _lose(self, to: int, handed: Handed) -> None:
        self._log.info("call not handed over", extra={"fields": {"worker": to}})
        self._lost(handed)

    def _read(self, door: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                octets = door.recv(200_000)
            except (BlockingIOError, InterruptedError):
                return
            self._took(_unpack(octets))

    def _path(self, worker: int) -> Path:
        return self._run_dir / f"calls-{worker}.sock"


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock
