"""One TCP connection of a session as asyncio sees it: octets in, and the signals of flow control.

Until somebody listens it keeps what comes (at most what one login answer can bring) and stops reading.
"""

import asyncio
from collections.abc import Callable


class Leg(asyncio.Protocol):
    """`received`, `lost` and `blocked` (True: do not produce more for this peer) are set by who owns it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.early = b""
        self.gone = False
        self.received: Callable[[bytes], None] = self.keep
        self.lost: Callable[[], None] = self.forget
        self.blocked: Callable[[bool], None] = self._ignore

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport is a Transport

    def data_received(self, data: bytes) -> None:
        self.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self.lost()

    def pause_writing(self) -> None:
        self.blocked(True)

    def resume_writing(self) -> None:
        self.blocked(False)

    def keep(self, data: bytes) -> None:
        self.early += data

    def forget(self) -> None:
        pass

    def _ignore(self, blocked: bool) -> None:
        pass
