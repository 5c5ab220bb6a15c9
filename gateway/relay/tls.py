"""TLS beside a session: the node's parts go on with a plain socket, whose other end is here.

What comes by TLS goes into one end of a pair of Unix sockets and back, octet for octet, under the flow
control of both; who closes, on either side, closes the other when all is written. So a connection can be
handed to another process, and everything behind this file is as it is without TLS. It knows no SMS protocol.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable


class Half(asyncio.Protocol):
    """One of two ends that are joined: what comes in here goes out there."""

    def __init__(self, gone: Callable[[], None] = lambda: None) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Half | None = None
        self._gone = gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport is a Transport

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()
        self._gone()


async def _beside(outer: Half) -> socket.socket:
    """The plain end for what `outer` brings."""
    near, far = socket.socketpair()
    for end in (near, far):
        end.setblocking(False)
    try:
        _, inner = await asyncio.get_running_loop().connect_accepted_socket(Half, near)
    except BaseException:
        near.close()
        far.close()
        raise
    inner.other, outer.other = outer, inner
    return far


async def accept(
    connection: socket.socket, context: ssl.SSLContext, seconds: float, gone: Callable[[], None]
) -> socket.socket:
    """The plain end of a connection that a peer has opened by TLS; `gone` hears of its end. Raises OSError
    (ssl.SSLError is one) when the peer does not speak it; then the connection is closed."""
    outer = Half(gone)
    far = await _beside(outer)
    try:
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: outer, connection, ssl=context, ssl_handshake_timeout=seconds
        )
    except BaseException:
        _drop(outer, far)
        connection.close()
        raise
    return far


async def call(
    host: str, port: int, bind: str, context: ssl.SSLContext, name: str
) -> tuple[socket.socket, asyncio.Transport]:
    """The plain end of a connection by TLS to a peer who shows a certificate for `name`, and that connection.
    Raises OSError; the caller bounds the time."""
    outer = Half()
    far = await _beside(outer)
    try:
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: outer,
            host,
            port,
            ssl=context,
            server_hostname=name or host,
            local_addr=(bind, 0) if bind else None,
        )
    except BaseException:
        _drop(outer, far)
        raise
    return far, transport


def _drop(outer: Half, far: socket.socket) -> None:
    far.close()
    if outer.other is not None and outer.other.transport is not None:
        outer.other.transport.close()
