"""Connections without manners, for tests of a relay: octets out, frames in, nothing by itself.

`Raw` is one end of a connection; `RawCarrier` listens where a carrier would, lets everybody in, and leaves
all else to the test. Both speak CMPP unless `wire` says otherwise.
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

from playbook import DEADLINE, HOST, House

from gateway.protocols import cmpp_tables as tables
from gateway.protocols import text as codings
from gateway.protocols.cmpp import V20, V30, Cmpp
from gateway.protocols.cmpp_tables import ANSWER
from gateway.protocols.table import Pdu


def submit(
    source: str,
    destinations: Sequence[str],
    text: str,
    sequence: int,
    version: int = V20,
    **fields: Any,
) -> bytes:
    """A SUBMIT's frame; `fields` are those of its table."""
    fmt = codings.fitting(text)
    body = tables.Submit(
        **{
            "pk_total": 1,
            "pk_number": 1,
            "service_id": b"RAW",
            "msg_fmt": fmt,
            "msg_src": b"900001",
            "fee_type": b"01",
            "src_id": source.encode(),
            "dest_terminal_id": [destination.encode() for destination in destinations],
            "msg_content": codings.encode(text, fmt),
            **fields,
        }
    )
    return Cmpp(version).encode(body, sequence)


def deliver(
    number: str, subscriber: str, content: bytes, sequence: int, version: int = V20, **fields: Any
) -> bytes:
    """A DELIVER's frame."""
    body = tables.Deliver(
        **{
            "msg_id": sequence,
            "dest_id": number.encode(),
            "src_terminal_id": subscriber.encode(),
            "msg_content": content,
            **fields,
        }
    )
    return Cmpp(version).encode(body, sequence)


def frame_of(body: Pdu, sequence: int, version: int = V20) -> bytes:
    return Cmpp(version).encode(body, sequence)


def command_of(frame: bytes) -> int:
    return int.from_bytes(frame[4:8], "big")


def sequence_of(frame: bytes) -> int:
    return int.from_bytes(frame[8:12], "big")


class Raw:
    """One end: `send` octets, await `frame` after frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.wire: Any = Cmpp()
        self._rest = b""
        self._frames: deque[bytes] = deque()
        self.login_frame = b""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, port: int, *, narrow: bool = False, **options: Any) -> AsyncIterator["Raw"]:
        """Connected; `narrow`: with as small a receive buffer as there is."""
        if narrow:
            options["sock"] = sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
        else:
            options |= {"host": HOST, "port": port}
        reader, writer = await asyncio.open_connection(**options)
        raw = cls(reader, writer)
        try:
            yield raw
        finally:
            await raw.hang_up()

    @classmethod
    @contextlib.asynccontextmanager
    async def login(
        cls, house: House, account: str = "900001", version: int = V20, **options: Any
    ) -> AsyncIterator["Raw"]:
        """Logged in as this account."""
        async with cls.open(house.port, **options) as raw:
            raw.send(house.sender(account, version).connect())
            answer = await raw.frame()
            assert not any(answer[12 : 13 if len(answer) == 30 else 16]), answer
            yield raw

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def frame(self, seconds: float = DEADLINE) -> bytes:
        """The next frame; EOFError when the connection has ended."""
        async with asyncio.timeout(seconds):
            while not self._frames:
                octets = await self.reader.read(65536)
                if not octets:
                    raise EOFError
                self._rest += octets
                frames, used = self.wire.frames(self._rest)
                self._frames += [self._rest[start:end] for start, end, _, _ in frames]
                self._rest = self._rest[used:]
        return self._frames.popleft()

    async def frames(self, count: int, seconds: float = DEADLINE) -> list[bytes]:
        return [await self.frame(seconds) for _ in range(count)]

    async def rest(self, seconds: float = DEADLINE) -> list[bytes]:
        """The frames that still come until the peer hangs up."""
        frames = []
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                frames.append(await self.frame(seconds))
        return frames

    async def hang_up(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def abort(self) -> None:
        self.writer.transport.abort()

    def reset(self) -> None:
        """Abort so that the peer is told that nobody reads any more."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()


class RawCarrier:
    """`async with RawCarrier(port) as carrier:` then `await carrier.session()` for each sender that comes."""

    def __init__(self, port: int, version: int = V30, wire: type[Any] = Cmpp) -> None:
        self._port, self._version, self._wire = port, version, wire
        self.bodiless = False  # of SMPP: the login's answer has no body
        self._sessions: asyncio.Queue[Raw] = asyncio.Queue()
        self._all: list[Raw] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, HOST, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for raw in self._all:
            await raw.hang_up()
        await self._server.wait_closed()

    async def session(self, seconds: float = DEADLINE) -> Raw:
        """The next sender, already let in."""
        return await asyncio.wait_for(self._sessions.get(), seconds)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = Raw(reader, writer)
        raw.wire = self._wire()
        self._all.append(raw)
        try:
            frame = await raw.frame()
        except EOFError:
            return
        raw.login_frame = frame
        login = raw.wire.login(frame)
        sequence = raw.wire.frames(frame)[0][0][3]
        answer = raw.wire.login_answer(login, 0, sequence, self._version)
        raw.send(b"\0\0\0\x10" + answer[4:16] if self.bodiless else answer)
        raw.wire.version = min(login.version, self._version)
        self._sessions.put_nowait(raw)


def answer_to(frame: bytes, message_id: int = 0, result: int = 0, version: int = V20) -> bytes:
    """The SUBMIT_RESP or DELIVER_RESP to a request."""
    command, sequence = command_of(frame), sequence_of(frame)
    table = tables.PDUS[command | ANSWER]
    return Cmpp(version).encode(table(msg_id=message_id, result=result), sequence)
