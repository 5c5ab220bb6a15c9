"""Sockets of simulated callers and callees: SIP messages over UDP or TCP, by the codec that the node runs.

What can't be read is counted and answered by nobody: who misbehaves is the other side's matter.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from gateway.protocols import sip
from gateway.protocols.sip import Message, SipError
from gateway.protocols.sip_stream import PONG, Stream

TRANSPORTS = ("udp", "tcp")
T1 = 0.5
"""Seconds until a request over UDP is repeated the first time (RFC 3261 §17.1.1.1); each time twice that."""
GIVE_UP = 64 * T1

Send = Callable[[bytes], None]
Came = Callable[[Message, Send], None]
"""A message, and what sends octets back to where it came from."""
Broken = Callable[[SipError], None]


class Datagrams(asyncio.DatagramProtocol):
    """One UDP socket."""

    def __init__(self, came: Came, broken: Broken) -> None:
        self._came, self._broken = came, broken
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # uvloop's and asyncio's own are none

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            message = sip.datagram(data)
        except SipError as error:
            self._broken(error)
            return
        if message is not None:
            self._came(message, partial(self.send, to=addr))

    def send(self, octets: bytes, to: tuple[str, int] | None = None) -> None:
        """To `to`, or to the peer of a connected socket."""
        if not self.transport.is_closing():
            self.transport.sendto(octets, to)

    def close(self) -> None:
        self.transport.close()


class Connection(asyncio.Protocol):
    """One TCP connection; `lost` is called once when it has ended."""

    def __init__(self, came: Came, broken: Broken, lost: Callable[["Connection"], None]) -> None:
        self._came, self._broken, self._lost = came, broken, lost
        self._stream = Stream()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            found = self._stream.feed(data)
        except SipError as error:
            self._broken(error)
            self.transport.close()
            return
        for message in found:
            if message is None:
                self.send(PONG)
            elif isinstance(message, SipError):
                self._broken(message)
            else:
                self._came(message, self.send)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(self)

    def send(self, octets: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(octets)

    def close(self) -> None:
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()
