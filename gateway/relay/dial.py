"""The way to the carrier: one TCP connection, its socket options and the PROXY protocol header.

It knows addresses and sockets, and nothing of SMS protocols.
"""

import asyncio
import ipaddress
import socket
import ssl
import struct
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from gateway.relay import tls

P = TypeVar("P", bound=asyncio.Protocol)

KEEP_ALIVE_IDLE, KEEP_ALIVE_EVERY, KEEP_ALIVE_COUNT = 60, 15, 4
USER_TIMEOUT = 30_000  # ms that sent octets may stay unacknowledged before the kernel gives the peer up

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"  # PROXY protocol v2, section 2.2
_VERSION_COMMAND = 0x21  # version 2, command PROXY
_TCP4, _TCP6 = 0x11, 0x21


def set_options(sock: socket.socket) -> None:
    """What both legs of a session need: no delay, keep-alive, and an end to silent peers."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_ALIVE_EVERY)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEP_ALIVE_COUNT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)


def proxy_header(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """PROXY protocol v2 header that names the sender's address to the carrier (section 2.2)."""
    here, there = ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])
    if here.version != there.version:
        here, there = (_as_six(address) for address in (here, there))
    addresses = here.packed + there.packed + struct.pack(">HH", source[1], destination[1])
    family = _TCP4 if here.version == 4 else _TCP6
    return _SIGNATURE + struct.pack(">BBH", _VERSION_COMMAND, family, len(addresses)) + addresses


def _as_six(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    if isinstance(address, ipaddress.IPv6Address):
        return address
    return ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


class Way(NamedTuple):
    """A connection to the carrier, and between which addresses it goes."""

    transport: asyncio.Transport
    here: tuple[str, int]
    there: tuple[str, int]


async def dial(
    factory: Callable[[], P],
    host: str,
    port: int,
    bind: str = "",
    context: ssl.SSLContext | None = None,
    name: str = "",
) -> tuple[Way, P]:
    """Connect with the options above, by TLS where there is a `context`, to who is certified as `name`, or as
    the host. Raises OSError; the caller bounds the time."""
    loop = asyncio.get_running_loop()
    if context is None:
        transport, protocol = await loop.create_connection(
            factory, host, port, local_addr=(bind, 0) if bind else None
        )
        outer: asyncio.Transport = transport
    else:
        plain, outer = await tls.call(host, port, bind, context, name)
        transport, protocol = await loop.connect_accepted_socket(factory, plain)
    here, there = outer.get_extra_info("sockname"), outer.get_extra_info("peername")
    if here is None or there is None:  # it was reset before anybody could ask
        transport.abort()
        raise ConnectionResetError(f"{host}:{port} accepted the connection and reset it")
    set_options(outer.get_extra_info("socket"))
    return Way(transport, here[:2], there[:2]), protocol
