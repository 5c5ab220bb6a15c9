"""The way to a sender's own listener (SGIP), dialled because a carrier delivers: a leg's transport before
there is a connection, and then that connection.

What is written meanwhile waits here. The carrier's own Bind logs in, as it came; no secret outlives that. A
listener that is down is tried again until the time that carriers wait is over; then the leg is lost, and
nothing that waited was sent: its frames stay without an answer, so that the carrier comes again.
"""

import asyncio
from collections.abc import Callable

from gateway.errors import WireError
from gateway.protocols import Wire
from gateway.relay.leg import Leg
from gateway.relay.login import enter
from gateway.secured import Renewed

TRY_SECONDS = 5.0  # of one attempt
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two attempts; each is twice the one before
MOST_WAITING = 64 << 10  # octets at which the carrier is not read for this sender


class Outward(asyncio.Transport):
    """The transport of `leg`, which hears of everything as if it were connected."""

    def __init__(self, leg: Leg) -> None:
        super().__init__()
        self._leg = leg
        self._real: Leg | None = None
        self._waiting: list[bytes] = []
        self._size = 0
        self._paused = self._over = False
        leg.transport = self

    async def reach(
        self,
        wire: Wire,
        bind: bytes,
        address: tuple[str, int],
        patience: float,
        tls: Renewed | None = None,
    ) -> str:
        """Connect, by `tls` if any, and log in with `bind`: "" when the listener has let us in, or is not
        wanted any more; else why it has not until `patience` (s) was over."""
        clock = asyncio.get_running_loop().time
        deadline, pause, why = clock() + patience, FIRST_PAUSE, ""
        while not self._over:
            left = deadline - clock()
            if left <= 0:
                self.close()
                return why
            try:
                async with asyncio.timeout(min(left, TRY_SECONDS)):
                    secured = tls.newest() if tls else None, ""
                    real, answer = await enter(wire, bind, address, "", None, set(), secured)
            except TimeoutError:
                why = "no answer in time"
            except (OSError, WireError) as error:
                why = str(error)
            else:
                status, _ = wire.read_login_answer(answer)
                if not status:
                    self._use(real)
                    return ""
                real.transport.abort()
                why = f"login refused: {status}"
            await asyncio.sleep(max(0.0, min(pause, deadline - clock())))
            pause = min(2 * pause, LONGEST_PAUSE)
        return ""

    @property
    def connected(self) -> bool:
        return self._real is not None

    def _use(self, real: Leg) -> None:
        if self._over:
            real.transport.abort()
            return
        leg, self._real = self._leg, real
        real.received, real.ended, real.lost = leg.data_received, leg.eof_received, self._lost
        real.blocked = leg.blocked
        if self._paused:
            real.transport.pause_reading()
        octets, self._waiting = b"".join(self._waiting), []
        if self._size > MOST_WAITING:
            leg.blocked(False)
        real.transport.write(octets)
        early, real.early = real.early, b""
        if early:
            leg.data_received(early)
        if real.gone:
            self._lost()

    def _lost(self) -> None:
        if not self._over:
            self._over = True
            self._leg.connection_lost(None)

    # As a transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._real is not None:
            self._real.transport.write(data)
        elif not self._over:
            self._waiting.append(bytes(data))
            self._size += len(data)
            if self._size > MOST_WAITING:
                self._leg.blocked(True)

    def close(self) -> None:
        self._end(lambda transport: transport.close())

    def abort(self) -> None:
        self._end(lambda transport: transport.abort())

    def _end(self, end: Callable[[asyncio.Transport], None]) -> None:
        if self._real is not None:
            end(self._real.transport)
        elif not self._over:
            self._over = True
            self._waiting.clear()
            asyncio.get_running_loop().call_soon(self._leg.connection_lost, None)

    def is_closing(self) -> bool:
        return self._over or (self._real is not None and self._real.transport.is_closing())

    def get_write_buffer_size(self) -> int:
        return self._size if self._real is None else self._real.transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        self._paused = True
        if self._real is not None:
            self._real.transport.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._real is not None:
            self._real.transport.resume_reading()
