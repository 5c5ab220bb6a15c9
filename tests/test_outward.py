"""The way to a sender's listener: what becomes of what is written before it is there; when it is given up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from playbook import HOST, eventually, free_ports

from gateway.protocols import sgip_tables as tables
from gateway.protocols.sgip import SgipCall
from gateway.relay.leg import Leg
from gateway.relay.outward import MOST_WAITING, Outward

WIRE = SgipCall()
BIND = WIRE.encode(tables.Bind(login_type=2, login_name=b"smg", login_password=b"x"), 7)
EARLY = WIRE.terminate(3)


class Listener:
    """Lets everybody in with `result`, and keeps what comes behind the Bind."""

    def __init__(self) -> None:
        self.result, self.logins = 0, 0
        self.heard = bytearray()
        self._writers: list[asyncio.StreamWriter] = []

    @contextlib.asynccontextmanager
    async def at(self, port: int) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._accepted, HOST, port)
        try:
            yield
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            await server.wait_closed()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        assert await reader.readexactly(len(BIND)) == BIND
        self.logins += 1
        writer.write(WIRE.login_answer(None, self.result, 7) + EARLY)
        with contextlib.suppress(ConnectionResetError):
            while octets := await reader.read(65536):
                self.heard += octets


class End:
    """What a session would hear."""

    def __init__(self) -> None:
        self.leg = Leg()
        self.out = Outward(self.leg)
        self.blocked: list[bool] = []
        self.heard = asyncio.Queue[bytes]()
        self.lost = asyncio.Event()
        self.leg.received, self.leg.lost = self.heard.put_nowait, self.lost.set
        self.leg.blocked = self.blocked.append


async def test_what_is_written_before_leaves_in_order_once_the_listener_is_up() -> None:
    (port,), end, listener = free_ports(1), End(), Listener()
    end.out.write(b"one")
    reaching = asyncio.create_task(end.out.reach(WIRE, BIND, (HOST, port), 20.0))
    end.out.write(b"two" * MOST_WAITING)
    assert end.blocked == [True]
    async with listener.at(port):
        assert await reaching == ""
        assert (end.out.connected, end.blocked[1]) == (True, False)
        assert await end.heard.get() == EARLY
        end.out.write(b"three")
        wanted = b"one" + b"two" * MOST_WAITING + b"three"
        await eventually(lambda: len(listener.heard) >= len(wanted))
        assert listener.heard == wanted
        end.out.close()
        await asyncio.wait_for(end.lost.wait(), 20)
        assert end.out.is_closing()


async def test_who_is_not_let_in_is_tried_again_until_patience_is_over() -> None:
    (port,), end, listener = free_ports(1), End(), Listener()
    listener.result = 1
    async with listener.at(port):
        end.out.write(b"never told")
        assert await end.out.reach(WIRE, BIND, (HOST, port), 0.5) == "login refused: 1"
        await asyncio.wait_for(end.lost.wait(), 20)
        assert (listener.heard, end.out.connected, end.leg.gone) == (b"", False, True)
        assert listener.logins > 1


async def test_who_is_not_wanted_any_more_is_not_tried() -> None:
    (port,), end = free_ports(1), End()
    reaching = asyncio.create_task(end.out.reach(WIRE, BIND, (HOST, port), 20.0))
    await asyncio.sleep(0)
    end.out.close()
    end.out.abort()
    await asyncio.wait_for(end.lost.wait(), 20)
    assert await reaching == ""
    end.out.write(b"dropped")
    assert end.out.get_write_buffer_size() == 0
