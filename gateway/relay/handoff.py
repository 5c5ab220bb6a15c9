"""From the acceptor to the worker that owns an account: a connected socket and what was read from it.

One datagram of a Unix SOCK_SEQPACKET socket carries the descriptor (SCM_RIGHTS), the peer's address, the
listener it came in on, and the octets of the login frame. Socket files live in data_dir/run; they are
reached through /proc/self/fd, because data_dir may be longer than the 108 octets of a socket's path.
"""

import json
import socket
from pathlib import Path
from typing import NamedTuple

from gateway.direct import short_name

MOST = 64 * 1024


class Arrival(NamedTuple):
    """A connection that has sent its login frame."""

    connection: socket.socket
    listener: int  # index of the [[sms]] section
    peer: tuple[str, int]
    first: bytes


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
    head = json.dumps([arrival.listener, *arrival.peer]).encode()
    message = len(head).to_bytes(2, "big") + head + arrival.first
    socket.send_fds(worker, [message], [arrival.connection.fileno()])


def receive(acceptor: socket.socket) -> Arrival | None:
    """The next connection; None when the acceptor has gone. Raises BlockingIOError when none waits."""
    message, descriptors, _flags, _address = socket.recv_fds(acceptor, MOST, 1)
    if not message:
        return None
    connection = socket.socket(fileno=descriptors[0])
    connection.setblocking(False)
    size = int.from_bytes(message[:2], "big")
    listener, host, port = json.loads(message[2 : 2 + size])
    return Arrival(connection, listener, (host, port), message[2 + size :])
