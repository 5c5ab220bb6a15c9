"""A platform that sends SMS, for tests, demo and acceptance: it logs in, submits, answers what
comes back, and remembers all of it.
"""

import asyncio
from binascii import crc32
from collections import Counter, deque
from collections.abc import Sequence
from datetime import datetime
from secrets import randbits
from typing import NamedTuple, Self

from gateway.errors import WireError
from gateway.protocols import CALLS
from gateway.protocols import text as codings
from gateway.protocols.link import Asked, Closed, Event, Link, LoggedIn, LoginAsked
from gateway.protocols.message import Delivery, Report
from gateway.simulator.end import CHINA, End, Watched, milliseconds
from gateway.simulator.peers import PEERS
from gateway.simulator.said import said_in
from gateway.simulator.sgip_peer import SgipPeer


class LoginRefused(Exception):
    """The gateway did not let the sender in; `status` is that of the answer, None when none came."""

    def __init__(self, status: int | None, cause: str) -> None:
        super().__init__(f"login refused: status {status}, {cause}")
        self.status = status


class Answer(NamedTuple):
    """What a SUBMIT was answered with; `result` is None when nothing came."""

    sequence: int
    result: int | None
    message_id: bytes


class Heard(NamedTuple):
    """A subscriber's reply as it reached the sender."""

    number: str
    subscriber: str
    text: str
    message_id: bytes


class SenderSim(Watched):
    """`async with SenderSim(host, port, account, secret) as sender:` is logged in, or raises LoginRefused.

    `version` is the one asked for; `sender.version` the one agreed on. `deliver_result` is what each DELIVER
    is answered with, None not to answer.

    A sender of SGIP has a listener of its own at `called_at`, where the carrier's connections come in
    (`calls`), each answered with `call_result`; without one it takes deliveries where it sends. `hush` shuts
    it, `hear` opens it again.
    """

    def __init__(
        self,
        host: str,
        port: int,
        account: str,
        secret: str,
        version: int | None = None,
        *,
        protocol: str = "cmpp",
        window: int = 16,
        idle: int = 180_000,
        wait: int = 60_000,
        sequence: int = 1,
        login_seconds: float = 10.0,
        local: tuple[str, int] | None = None,
        called_at: tuple[str, int] | None = None,
        keep: int = 100_000,
    ) -> None:
        super().__init__()
        self.reports: deque[Report] = deque(maxlen=keep)
        self.replies: deque[Heard] = deque(maxlen=keep)
        self.deliveries: deque[tuple[int, Delivery]] = deque(maxlen=keep)
        self.counts: Counter[str] = Counter()
        self.deliver_result: int | None = 0
        self.status: int | None = None
        self.digest_ok: bool | None = None
        self.peer = peer = PEERS[protocol]
        asked = peer.asks if version is None else version
        if issubclass(peer, SgipPeer) and sequence == 1:
            node = 3_057_100_000 + crc32(account.encode()) % 100_000
            sequence = peer.first_number(node, datetime.now(CHINA), randbits(31))
        self.calls: list[End] = []
        self.call_result = 0
        self.called_at = called_at
        self._server: asyncio.Server | None = None
        self.end = End(
            Link(peer.wire(asked), window=window, idle=idle, wait=wait, sequence=sequence), self._happened
        )
        self._address, self._local, self._login_seconds = (host, port), local, login_seconds
        self._account, self._asked_version = account.encode(), asked
        self._secret = secret.encode()[: peer.secret_octets]
        self._ref = 0

    @property
    def version(self) -> int:
        return self.end.link.wire.version  # type: ignore[no-any-return]

    @property
    def cause(self) -> Closed | None:
        """Why the connection ended; None while it stands."""
        return self.end.cause

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await self.hear()
        try:
            await loop.create_connection(lambda: self.end, *self._address, local_addr=self._local)
        except OSError:
            await self.hush()
            raise
        self.end.link.login(self.connect(), milliseconds())
        self.end.flush()
        try:
            await self.until(lambda: self.status is not None or self.cause is not None, self._login_seconds)
        except TimeoutError:
            self.end.abort()
            await self.hush()
            raise LoginRefused(None, "no answer") from None
        if self.status != 0:
            await self.hush()
            raise LoginRefused(self.status, self.cause.detail if self.cause is not None else "")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end.close()
        try:
            await self.until(lambda: self.cause is not None, 2.0)
        except TimeoutError:
            self.end.abort()
        await self.hush()

    async def hear(self) -> None:
        """Open the sender's own listener, if it has one."""
        if self.called_at is not None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._accepted, *self.called_at)

    async def hush(self) -> None:
        """Shut it, and cut what came in there."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for call in list(self.calls):
                call.abort()
            await server.wait_closed()

    def _accepted(self) -> End:
        call = End(Link(self.peer.wire()), self._called)
        self.calls.append(call)
        self.counts["calls"] += 1
        return call

    def _called(self, call: End, event: Event) -> None:
        match event:
            case LoginAsked(login=login, sequence=sequence):
                answer = call.link.wire.login_answer(login, self.call_result, sequence)
                if self.call_result:
                    call.tell(call.link.refuse(answer))
                else:
                    call.tell(call.link.accept(answer, login.version, milliseconds()))
            case Closed(cause=cause):
                self.calls.remove(call)
                self.counts[f"call_{cause}"] += 1
                self.changed()
            case _:
                self._happened(call, event)

    def connect(self, sequence: int = 0) -> bytes:
        """What this sender logs in with."""
        body = self.peer.login(self._account, self._secret, self._asked_version, datetime.now(CHINA))
        frame = self.peer.wire().encode(body, sequence)
        self._login = self.peer.wire().login(frame)
        return frame

    def frames(
        self,
        source: str,
        destinations: Sequence[str],
        text: str,
        *,
        report: bool = False,
        fmt: int | None = None,
        at_time: str = "",
    ) -> list[bytes]:
        """The message, or the messages of a long text, that say this; sequence numbers are still 0."""
        fmt = codings.fitting(text) if fmt is None else fmt
        self._ref = (self._ref + 1) & 0xFF
        contents = codings.split(text, fmt, self._ref)
        to = [destination.encode() for destination in destinations]
        fields = report, at_time.encode()
        return [
            self.end.link.wire.encode(self.peer.message(self._account, source.encode(), to, said, *fields), 0)
            for said in said_in(contents, fmt)
        ]

    async def submit(
        self,
        source: str,
        destinations: Sequence[str],
        text: str,
        *,
        report: bool = False,
        fmt: int | None = None,
        at_time: str = "",
    ) -> Answer:
        """Send a text to one or more subscribers. For a long one: the first part's answer that refused, else
        the first's."""
        frames = self.frames(source, destinations, text, report=report, fmt=fmt, at_time=at_time)
        answers = await asyncio.gather(*(self.request(frame) for frame in frames))
        return next((answer for answer in answers if answer.result != 0), answers[0])

    def request(self, frame: bytes, sequence: int | None = None) -> "asyncio.Future[Answer]":
        """Send a SUBMIT's frame as soon as the window lets it, under the next number or a given one."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.counts["submits"] += 1

        def done(octets: bytes | None) -> None:
            answer = Answer(0, None, b"")
            if octets is None:
                self.counts["unanswered"] += 1
            else:
                try:
                    result, identity = self.end.link.wire.result(octets, 0, len(octets))
                    answer = Answer(self.end.link.wire.frames(octets)[0][0][3], result, identity)
                    self.counts[f"result_{result}"] += 1
                except WireError:
                    self.counts["not_understood"] += 1
            if not future.done():
                future.set_result(answer)
            self.changed()

        self.end.ask(frame, done, sequence)
        return future

    async def ask(self, frame: bytes, sequence: int | None = None) -> bytes | None:
        """Send any request; its answer's frame, or None."""
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

        def done(octets: bytes | None) -> None:
            if not future.done():
                future.set_result(octets)

        self.end.ask(frame, done, sequence)
        return await future

    async def report_of(self, identity: bytes, seconds: float = 10.0) -> Report:
        """Wait for the status report about a message."""
        await self.until(lambda: any(report.message_id == identity for report in self.reports), seconds)
        return next(report for report in self.reports if report.message_id == identity)

    def _happened(self, end: End, event: Event) -> None:
        match event:
            case LoggedIn(status=status, frame=frame):
                if not status:
                    self.digest_ok = self.peer.is_vouched(frame, self._login, self._secret)
                self.status = status
            case Asked(command=command) if self.peer.wire.CARRIER_SENDS.get(command) == "delivery":
                self._delivered(end, event)
            case Asked(command=command, sequence=sequence) if self._is_user_report(command):
                self.counts["user_reports"] += 1
                end.link.send(end.link.wire.answer(command, sequence, 0))
            case Asked(command=command, sequence=sequence, frame=frame):
                self.counts["other"] += 1
                end.link.send(end.link.wire.unknown(frame, (0, len(frame), command, sequence)) or b"")
            case _:
                self.counts["stray"] += not isinstance(event, Closed)
        self.changed()

    def _delivered(self, end: End, event: Asked) -> None:
        wire = end.link.wire
        delivery = wire.delivery(event.frame, 0, len(event.frame))
        self.deliveries.append((event.sequence, delivery))
        if delivery.report is not None:
            self.counts["reports"] += 1
            self.reports.append(delivery.report)
        else:
            self.counts["replies"] += 1
            text, _ = codings.decode(delivery.content, delivery.fmt, delivery.udhi, wire.name)
            number, subscriber = delivery.number.decode("latin-1"), delivery.subscriber.decode("latin-1")
            self.replies.append(Heard(number, subscriber, text, delivery.message_id))
        if self.deliver_result is None:
            return
        if wire.SEQUENCE_IS_ID:  # there a reply and a report have different answers
            end.link.send(wire.answer(event.command, event.sequence, self.deliver_result))
        else:
            end.link.send(wire.delivery_answer(event.sequence, delivery.message_id, self.deliver_result))
        end.soon()

    def _is_user_report(self, command: int) -> bool:
        call = CALLS.get(self.peer.wire.name)
        return call is not None and call.CALLS.get(command) == "number"
