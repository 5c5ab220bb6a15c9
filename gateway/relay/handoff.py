"""To the worker that owns an account: a connected socket and what was read from it.

One datagram of a Unix SOCK_SEQPACKET socket carries the descriptor (SCM_RIGHTS), the peer's address, the
door it came in by, and the octets of the login frame. Socket files live in data_dir/run; they are
reached through /proc/self/fd, because data_dir may be longer than the 108 octets of a socket's path.
"""

import asyncio
import json
import socket
from pathlib import Path
from typing import NamedTuple

from gateway.errors import WireError
from gateway.sockets import short_name

MOST = 64 * 1024
RETRY_SECONDS = 0.05

SENDER, CALLBACK, DELIVERY = "sender", "callback", "delivery"
"""Doors: where senders come in, where carriers call, and from one that a carrier has called: to the worker of
the account that its deliveries are for."""


class Arrival(NamedTuple):
    """A connection that has sent its login frame."""

    connection: socket.socket
    listener: int  # index of the [[sms]] section
    peer: tuple[str, int]
    first: bytes
    door: str = SENDER
    account: str = ""  # whose callback or delivery it is; "": a shared one, or the login says it


class Lost(Exception):
    """A connection came without its descriptor, as this process may hold no more: it is closed by that."""

    def __init__(self, listener: int, peer: str) -> None:
        super().__init__("this process may open no more files: raise RLIMIT_NOFILE (LimitNOFILE= in systemd)")
        self.listener = listener
        self.peer = peer


def listen(path: Path) -> socket.socket:
    """The worker's end; a file left by a dead worker is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with short_name(path) as name:
        server.bind(name)
    path.chmod(0o600)
    server.listen(16)
    server.setblocking(False)
    return server


def connect(path: Path) -> socket.socket:
    """The acceptor's end. Raises OSError while the worker is not there."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with short_name(path) as name:
            client.connect(name)
    except OSError:
        client.close()
        raise
    client.setblocking(False)
    return client


def send(worker: socket.socket, arrival: Arrival) -> None:
    """Raises OSError (BlockingIOError when the worker is behind); the connection stays ours then."""
    head = json.dumps([arrival.listener, *arrival.peer, arrival.door, arrival.account]).encode()
    message = len(head).to_bytes(2, "big") + head + arrival.first
    socket.send_fds(worker, [message], [arrival.connection.fileno()])


def receive(acceptor: socket.socket) -> Arrival | None:
    """The next connection; None when the acceptor has gone. Raises BlockingIOError when none waits, and
    Lost."""
    message, descriptors, _flags, _address = socket.recv_fds(acceptor, MOST, 1)
    if not message:
        return None
    size = int.from_bytes(message[:2], "big")
    listener, host, port, door, account = json.loads(message[2 : 2 + size])
    if not descriptors:  # the kernel drops what does not fit (unix(7), SCM_RIGHTS)
        raise Lost(listener, host)
    connection = socket.socket(fileno=descriptors[0])
    connection.setblocking(False)
    return Arrival(connection, listener, (host, port), message[2 + size :], door, account)


class Channels:
    """The ways to all workers of a node, kept open."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._open: dict[int, socket.socket] = {}

    async def hand(self, worker: int, arrival: Arrival, seconds: float) -> None:
        """The connection is that worker's from now on, and closed here. One that is being restarted gets so
        many seconds to come back; then WireError "no_worker", and the connection stays ours."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        while True:
            try:
                channel = self._open.get(worker)
                if channel is None:
                    channel = self._open[worker] = connect(self._run_dir / f"worker-{worker}.sock")
                send(channel, arrival)
            except OSError as error:
                if not isinstance(error, BlockingIOError) and (old := self._open.pop(worker, None)):
                    old.close()
                if clock() > deadline:
                    raise WireError("no_worker", str(error)) from error
                await asyncio.sleep(RETRY_SECONDS)
            else:
                arrival.connection.close()  # the worker holds its own descriptor now
                return

    def close(self) -> None:
        for channel in self._open.values():
            channel.close()
        self._open.clear()
