"""What comes without a wire of its own (HTTP): how it gets to the worker that owns its account.

Attempts, which are judged, and refusals by key press, which are put into force.

The web process asks, the worker judges, records and tells. Over a stream socket in data_dir/run, messages of
a length (u32) and msgpack; many questions may be under way. It knows neither HTTP nor judging.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct
from zlib import crc32

import msgspec

from gateway.errors import NotReady
from gateway.sockets import short_name

ANSWER_SECONDS = 2.0
"""What is not answered by then has to be asked again, under the same key."""

MOST_OCTETS = 4 << 20
"""Of one message: 100 attempts of long texts take 200 KiB."""

_LENGTH = Struct(">I")


class Item(msgspec.Struct, array_like=True, frozen=True):
    """One attempt as it was asked for: numbers as written, `channel` as in model.py."""

    carrier: str
    protocol: str
    account: str
    channel: int
    source: str
    destination: str
    text: str


class Press(msgspec.Struct, array_like=True, frozen=True):
    """A subscriber's refusal by key press: in a call from `source`, numbers as written; `at` in ms, 0: now;
    `call`: its Call-ID, or the id of its attempt, or empty; `recording`: where it can be heard, or empty."""

    carrier: str
    protocol: str
    account: str
    source: str
    subscriber: str
    key: str
    at: int
    call: str
    recording: str = ""


class Ended(msgspec.Struct, array_like=True, frozen=True):
    """How a call went: `call` as in `Press`, numbers as written; when it was answered (ms; 0: not) and ended,
    and why."""

    call: str
    source: str
    subscriber: str
    answered: int
    ended: int
    why: str


class Asked(msgspec.Struct, array_like=True):
    """`key` (16 octets): the same again is the same thing; `body` (16): a hash of what was asked. Either
    attempts, a key press, or the end of a call."""

    number: int
    key: bytes
    body: bytes
    items: list[Item]
    press: Press | None = None
    ended: Ended | None = None


class Answered(msgspec.Struct, array_like=True):
    """What became of one attempt: its id (16 octets), the reason "" when it passes, and every rule that
    found fault: (reason, sub-code, enforced)."""

    id: bytes
    reason: str
    sub: str
    findings: list[tuple[str, str, bool]]
    registry_version: int


class Refused(msgspec.Struct, array_like=True):
    """A refusal that is in force: the id (16 octets) of its record, since when (ms), of which institution (""
    where nobody has filed the number), and what it covers, as bits of model.py. `attempt`: the id of the call
    in which it was pressed; b"" where none is known: then a person decides, and marketing waits."""

    id: bytes
    at: int
    institution: str
    purposes: int
    channels: int
    attempt: bytes = b""


class Noted(msgspec.Struct, array_like=True):
    """The end of a call is on record: the id of its attempt, b"" where no such call has passed here, and
    whether somebody took it."""

    attempt: bytes
    answered: bool


class Told(msgspec.Struct, array_like=True):
    """`error`: "" · "busy" (nothing was recorded) · "reused" (the key was another request's)."""

    number: int
    error: str
    answers: list[Answered]
    refused: Refused | None = None
    noted: Noted | None = None


Tell = Callable[[Told], None]
"""Answers one question."""

Take = Callable[[Sequence[tuple[Asked, Tell]]], None]
"""Gets what one read brought."""

_pack = msgspec.msgpack.Encoder().encode
_asked = msgspec.msgpack.Decoder(Asked).decode
_told = msgspec.msgpack.Decoder(Told).decode


def owner(account: str, workers: int) -> int:
    """The worker that carries all that an account sends."""
    return crc32(account.encode("utf-8", "replace")) % workers


def socket_of(run_dir: Path, worker: int) -> Path:
    return run_dir / f"worker-{worker}.http"


class _Messages(asyncio.Protocol):
    """One end: octets into messages. A length beyond `MOST_OCTETS` ends the connection."""

    def __init__(self, took: Callable[[list[bytes]], None]) -> None:
        self._kept = b""
        self._took = took
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport is a Transport

    def data_received(self, data: bytes) -> None:
        data = self._kept + data
        at, whole = 0, []
        while len(data) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, at)
            if length > MOST_OCTETS:
                self.transport.abort()
                return
            if len(data) - at - _LENGTH.size < length:
                break
            at += _LENGTH.size + length
            whole.append(data[at - length : at])
        self._kept = data[at:]
        if whole:
            try:
                self._took(whole)
            except msgspec.MsgspecError:
                self.transport.abort()

    def send(self, message: Asked | Told) -> None:
        octets = _pack(message)
        self.transport.write(_LENGTH.pack(len(octets)) + octets)


class _WorkerEnd(_Messages):
    def __init__(self, take: Take) -> None:
        super().__init__(self.took)
        self._take = take

    def took(self, messages: list[bytes]) -> None:
        self._take([(_asked(message), self._tell) for message in messages])

    def _tell(self, told: Told) -> None:
        if not self.transport.is_closing():
            self.send(told)


class _WebEnd(_Messages):
    def __init__(self) -> None:
        super().__init__(self.took)
        self.waiting: dict[int, asyncio.Future[Told]] = {}

    def took(self, messages: list[bytes]) -> None:
        for message in messages:
            told = _told(message)
            future = self.waiting.pop(told.number, None)
            if future is not None and not future.done():
                future.set_result(told)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(NotReady("the worker went away"))
        self.waiting.clear()


async def serve(run_dir: Path, worker: int, take: Take) -> asyncio.Server:
    """The worker's door; a file left by a dead worker is replaced."""
    path = socket_of(run_dir, worker)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with short_name(path) as name:
        server = await asyncio.get_running_loop().create_unix_server(lambda: _WorkerEnd(take), name)
    path.chmod(0o600)
    return server


class Workers:
    """The web process's way to all workers of its node."""

    def __init__(self, run_dir: Path, count: int) -> None:
        self.count = count
        self._run_dir = run_dir
        self._ends: dict[int, _WebEnd] = {}
        self._locks = [asyncio.Lock() for _ in range(count)]
        self._numbers = itertools.count(1)

    async def ask(
        self,
        worker: int,
        key: bytes,
        body: bytes,
        items: list[Item],
        press: Press | None = None,
        ended: Ended | None = None,
    ) -> Told:
        """Have attempts judged and recorded, or a key press or the end of a call, by one worker.

        Raises NotReady when it is away, or has not answered in time: then nobody knows whether they were
        recorded, and the same question under the same key tells.
        """
        end = self._ends.get(worker)
        if end is None or end.transport.is_closing():
            end = await self._opened(worker)
        loop, number = asyncio.get_running_loop(), next(self._numbers)
        future: asyncio.Future[Told] = loop.create_future()
        end.waiting[number] = future
        late = loop.call_later(ANSWER_SECONDS, _give_up, future, worker)
        try:
            end.send(Asked(number, key, body, items, press, ended))
            return await future
        finally:
            late.cancel()
            end.waiting.pop(number, None)

    def close(self) -> None:
        for end in self._ends.values():
            end.transport.abort()
        self._ends.clear()

    async def _opened(self, worker: int) -> _WebEnd:
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._locks[worker]:
                end = self._ends.get(worker)
                if end is not None and not end.transport.is_closing():
                    return end
                with suppress(KeyError):
                    del self._ends[worker]
                with short_name(socket_of(self._run_dir, worker)) as name:
                    _, end = await asyncio.get_running_loop().create_unix_connection(_WebEnd, name)
                self._ends[worker] = end
                return end
        except TimeoutError:
            raise _silent(worker) from None
        except OSError as error:
            raise NotReady(f"worker {worker} is away: {error.strerror or error}") from None


def _give_up(future: "asyncio.Future[Told]", worker: int) -> None:
    if not future.done():
        future.set_exception(_silent(worker))


def _silent(worker: int) -> NotReady:
    return NotReady(f"worker {worker} did not answer in {ANSWER_SECONDS:g} s")
