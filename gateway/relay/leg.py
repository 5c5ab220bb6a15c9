"""One TCP connection of a session as asyncio sees it: octets in, and the signals of flow control.

Until somebody listens it keeps what comes (at most what one login answer can bring) and stops reading. It
knows how far the last frame has come, and no protocol.
"""

import asyncio
from collections.abc import Callable

from gateway.protocols.framing import Stream


class Leg(asyncio.Protocol):
    """`received`, `ended` (the peer sends no more; True: it stays connected, as it may still read), `blocked`
    (True: do not produce more for this peer) and `lost` are set by who owns it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.early = b""
        self.stream = Stream()
        self.gone = False
        self._causes: set[str] = set()  # why it is not read
        self._half = b""  # the tail as it was when `stalls` was asked last
        self.received: Callable[[bytes], None] = self.keep
        self.ended: Callable[[], bool] = self._leaves
        self.lost: Callable[[], None] = self.forget
        self.blocked: Callable[[bool], None] = self._ignore

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport is a Transport

    def data_received(self, data: bytes) -> None:
        self.received(data)

    def eof_received(self) -> bool:
        return self.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self.lost()

    def pause_writing(self) -> None:
        self.blocked(True)

    def resume_writing(self) -> None:
        self.blocked(False)

    def read_on(self, cause: str, on: bool) -> None:
        """Stop reading for a cause, or go on when the last cause has gone."""
        causes = self._causes
        before = bool(causes)
        (causes.discard if on else causes.add)(cause)
        if before == bool(causes) or self.transport.is_closing():
            return
        if causes:
            self.transport.pause_reading()
        else:
            self._half = b""  # the peer could not go on meanwhile
            self.transport.resume_reading()

    def stalls(self) -> bool:
        """Whether a frame has been begun and not gone on since this was asked last."""
        half, self._half = self._half, self.stream.tail
        return bool(half) and half is self.stream.tail and not self._causes

    def keep(self, data: bytes) -> None:
        self.early += data

    def forget(self) -> None:
        pass

    def _leaves(self) -> bool:
        return False

    def _ignore(self, blocked: bool) -> None:
        pass
