"""A carrier's gateway for tests, demo and acceptance: it answers, reports, lets subscribers reply, and
misbehaves on demand. Everything it got is kept and counted, so that tests can say what must have arrived.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from secrets import randbits
from typing import Self

from gateway.errors import WireError
from gateway.protocols import text as codings
from gateway.protocols.link import Answered, Asked, Closed, Event, Link, LoginAsked
from gateway.protocols.message import Replaces, Submission
from gateway.protocols.table import Pdu
from gateway.simulator.end import CHINA, End, Watched, milliseconds, stamp
from gateway.simulator.faults import UNBOUNDED, WRONG_LENGTH, Faults, hits
from gateway.simulator.peers import PEERS
from gateway.simulator.said import said_in
from gateway.simulator.sgip_peer import SgipPeer
from gateway.values import endpoint

DIGEST_OCTETS = 16
"""Of a proof; SMPP's name of the one who answers is shorter."""


@dataclass(slots=True)
class Received:
    """A SUBMIT that arrived, and what it was answered with."""

    end: End
    command: int
    sequence: int
    frame: bytes
    submission: Submission
    message_id: bytes
    result: int = 0

    @property
    def text(self) -> str:
        submission = self.submission
        return codings.decode(submission.content, submission.fmt, submission.udhi, self.end.link.wire.name)[0]


class CarrierSim(Watched):
    """`async with CarrierSim(secret="…") as carrier:` listens on `carrier.port`.

    With `account` only that one may log in, with `secret` the digest is checked. `version` is the highest it
    speaks; `report_after` seconds after a SUBMIT that asks for it comes a report (None: never); `reply` is
    asked for each SUBMIT what its first recipient answers (None: nothing); `keep` bounds what is remembered
    of SUBMITs, not what is counted. With `callback` (host:port) a carrier of SGIP delivers on a connection of
    its own (`call`), made when there is something to deliver; without, on that of the sender.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        protocol: str = "cmpp",
        account: str | None = None,
        secret: str | None = None,
        version: int | None = None,
        report_after: float | None = 0.0,
        stat: str = "DELIVRD",
        reply: Callable[[Received], str | None] | None = None,
        gateway: int = 1,
        keep: int = 100_000,
        window: int = 16,
        idle: int = 180_000,
        wait: int = 60_000,
        callback: str | None = None,
    ) -> None:
        super().__init__()
        self.host, self.port = host, port
        self.callback = callback
        self.call: End | None = None
        self.call_as = b"smg"
        self._dialling: set[asyncio.Task[None]] = set()
        self.peer = PEERS[protocol]
        self.faults = Faults()
        self.report_after, self.stat, self.reply = report_after, stat, reply
        self.submits: deque[Received] = deque(maxlen=keep)
        self.counts: Counter[str] = Counter()
        self.ends: list[End] = []
        self.logins: list[tuple[str, int]] = []
        self._account = account
        self._secret = secret.encode()[: self.peer.secret_octets] if secret is not None else None
        self._version = self.peer.speaks if version is None else version
        self._gateway = gateway
        self._timing = {"window": window, "idle": idle, "wait": wait}
        self._number = self._ref = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accepted, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._cancel()
        for end in self.ends:
            end.close()
        await self.hang_up()
        try:
            await self.until(lambda: not self.ends, 2.0)
        except TimeoutError:
            for end in list(self.ends):
                end.abort()
        await self._server.wait_closed()

    def connection(self, account: str = "") -> End:
        """The newest open connection, of that account if one is named; LookupError if there is none."""
        for end in reversed(self.ends):
            if end.link.state == "open" and account in ("", end.account):
                return end
        raise LookupError(f"no open connection of {account or 'anybody'}")

    async def deliver(
        self,
        number: str,
        subscriber: str,
        text: str,
        *,
        fmt: int | None = None,
        identity: bytes | None = None,
        sequence: int | None = None,
        account: str = "",
    ) -> int | None:
        """Send a subscriber's reply, a long one in parts; the last Result, or None when nothing answered.

        `identity` is the Msg_Id (the same again: a redelivery), `sequence` one to use for the next.
        """
        bodies = self._reply(number.encode(), subscriber.encode(), text, fmt, identity)
        end = self._called() or self.connection(account)
        return (await asyncio.gather(*(self._delivered(end, body, sequence) for body in bodies)))[-1]

    async def report(self, received: Received, stat: str = "DELIVRD", index: int = 0) -> int | None:
        """Send a status report for one recipient of a SUBMIT; its Result, or None when nothing answered."""
        return await self._delivered(received.end, self._report(received, stat, index), None)

    async def deliver_body(self, body: Pdu, *, account: str = "", sequence: int | None = None) -> int | None:
        """Send any request that a sender has to answer; its Result, or None when nothing answered."""
        return await self._delivered(self._called() or self.connection(account), body, sequence)

    async def hang_up(self) -> None:
        """Say goodbye on the connection of our own."""
        call = self.call
        if call is not None and call.cause is None:
            call.close()
            try:
                await self.until(lambda: call.cause is not None, 2.0)
            except TimeoutError:
                call.abort()

    def _called(self) -> End | None:
        """The connection of our own, dialled if it is not there; None without `callback`."""
        peer = self.peer
        if self.callback is None or not issubclass(peer, SgipPeer):
            return None
        if self.call is None or self.call.cause is not None:
            self.call = End(self._link(), self._happened)
            bind = peer.wire().encode(peer.calls(self.call_as, self._secret or b""), 0)
            task = asyncio.get_running_loop().create_task(self._dial(self.call, bind))
            self._dialling.add(task)
            task.add_done_callback(self._dialling.discard)
        return self.call

    async def _dial(self, call: End, bind: bytes) -> None:
        assert self.callback is not None
        try:
            await asyncio.get_running_loop().create_connection(lambda: call, *endpoint(self.callback))
        except OSError as error:
            call.tell(call.link.lost(str(error)))
            return
        call.link.login(bind, milliseconds())
        call.flush()

    async def _delivered(self, end: End, body: Pdu, sequence: int | None) -> int | None:
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._send(end, body, sequence, future)
        return await future

    def _send(
        self,
        end: End,
        body: Pdu,
        sequence: int | None = None,
        future: asyncio.Future[int | None] | None = None,
    ) -> None:
        end = self._called() or end
        kind = "reports" if self.peer.is_report(body) else "replies"
        self.counts[kind] += 1
        twice = hits(self.faults.duplicate_every, self.counts["reports"] + self.counts["replies"])
        if self.faults.overflow:
            end.link.window = UNBOUNDED

        def done(answer: bytes | None) -> None:
            result = None
            if answer is not None:
                result = self.peer.result(end.link.wire, answer)
            self.counts[f"{kind}_answered"] += answer is not None
            if future is not None and not future.done():
                future.set_result(result)
            self.changed()

        frame = end.link.wire.encode(body, 0)
        end.ask(frame, done, sequence)
        if twice:
            self.counts["duplicates"] += 1
            end.ask(frame, lambda answer: None)

    def _accepted(self) -> End:
        end = End(self._link(), self._happened)
        self.ends.append(end)
        self.counts["connections"] += 1
        return end

    def _link(self) -> Link:
        """One whose requests are numbered as the protocol has it: in SGIP by the time, and some senders
        answer under another number when that is none."""
        peer, number = self.peer, 1
        if issubclass(peer, SgipPeer):
            number = peer.first_number(1_057_100_000, datetime.now(CHINA), randbits(31))
        return Link(peer.wire(), sequence=number, **self._timing)

    def _happened(self, end: End, event: Event) -> None:
        match event:
            case LoginAsked():
                if not self.faults.login_never:
                    self._after(self.faults.login_after, lambda: self._login(end, event))
            case Asked(command=command) if self.peer.wire.SENDER_MAY.get(command) == "judge":
                self._submit(end, event)
            case Asked():
                self._other(end, event)
            case Answered():  # a second time, or to nothing
                self.counts["stray"] += 1
            case Closed(cause=cause):
                if end in self.ends:
                    self.ends.remove(end)
                self.counts[f"closed_{cause}"] += 1
        self.changed()

    def _login(self, end: End, event: LoginAsked) -> None:
        if end.link.state != "deciding":
            return
        wire, login = end.link.wire, event.login
        status, version = self.faults.login_status, min(login.version, self._version)
        if not status and wire.too_high(login):
            status = wire.VERSION_TOO_HIGH
        if not status and self._account not in (None, login.account):
            status = wire.BAD_SOURCE
        if not status and self._secret is not None and not self.peer.is_proved(login, self._secret):
            status = wire.BAD_SECRET
        digest = b""
        if not status:
            digest = self.peer.proof(login, version, self._secret or b"")
        if self.faults.wrong_digest and len(digest) == DIGEST_OCTETS:
            digest = bytes(DIGEST_OCTETS - 1) + b"!"
        answer = wire.login_answer(login, status, event.sequence, self._version, digest)
        self.counts["logins" if not status else "logins_refused"] += 1
        if status:
            end.tell(end.link.refuse(answer))
        else:
            end.account = login.account
            self.logins.append((login.account, login.version))
            end.tell(end.link.accept(answer, version, milliseconds()))
        self.changed()

    def _identity(self, count: int = 1) -> bytes:
        """A new Msg_Id; for a SUBMIT to several it stands for itself and the `count` - 1 after it."""
        if self._number + count > 0x10000:
            self._number = 0
        now, number = datetime.now(CHINA), self._number
        self._number += count
        date = now.month, now.day, now.hour, now.minute, now.second
        return self.peer.wire.message_ids(date, self._gateway, number, count)[0]

    def _submit(self, end: End, event: Asked) -> None:
        wire, faults = end.link.wire, self.faults
        try:
            submission = wire.submission(event.frame, 0, len(event.frame))
        except Replaces:
            self._other(end, event)
            return
        except WireError as error:
            self.counts["malformed"] += 1
            end.link.send(wire.malformed(event.command, event.sequence, error))
            return
        self.counts["submits"] += 1

        def now(every: int) -> bool:
            return hits(every, self.counts["submits"])

        if wire.SEQUENCE_IS_ID:
            identity = event.sequence.to_bytes(12, "big")
        else:
            identity = self._identity(len(submission.destinations))
        received = Received(end, event.command, event.sequence, event.frame, submission, identity)
        if now(faults.refuse_every):
            received.result = faults.refuse_with or self.peer.refuses_with
            self.counts["refused"] += 1
        self.submits.append(received)
        if now(faults.drop_every):
            end.abort()
            return
        early = now(faults.early_report_every) and not received.result
        if early:
            self._follow_up(received, at_once=True)
            end.flush()
        if not now(faults.silent_every):
            answer = self.peer.accepts(wire, event.command, event.sequence, identity, received.result)
            if now(faults.wrong_length_every):
                answer = WRONG_LENGTH + answer[4:]
            answers = answer * (2 if now(faults.twice_every) else 1)
            self._after(faults.answer_after, lambda: self._reply_to(end, answers))
        if not received.result and not early:
            self._follow_up(received)

    def _follow_up(self, received: Received, *, at_once: bool = False) -> None:
        if received.submission.wants_report and self.report_after is not None:
            for index in range(len(received.submission.destinations)):
                report = self._report(received, self.stat, index)
                self._after(0.0 if at_once else self.report_after, partial(self._send, received.end, report))
        answer = self.reply(received) if self.reply is not None else None
        if answer is not None:
            submission = received.submission
            for body in self._reply(submission.source, submission.destinations[0], answer):
                self._after(self.report_after or 0.0, partial(self._send, received.end, body))

    def _reply(
        self,
        number: bytes,
        subscriber: bytes,
        text: str,
        fmt: int | None = None,
        identity: bytes | None = None,
    ) -> list[Pdu]:
        fmt = codings.fitting(text) if fmt is None else fmt
        self._ref = (self._ref + 1) & 0xFF
        contents = codings.split(text, fmt, self._ref)
        return [
            self.peer.reply(identity or self._identity(), number, subscriber, said)
            for said in said_in(contents, fmt)
        ]

    def _report(self, received: Received, stat: str, index: int) -> Pdu:
        return self.peer.report(received.message_id, received.submission, index, stat, stamp())

    def _other(self, end: End, event: Asked) -> None:
        wire = end.link.wire
        self.counts["other"] += 1
        try:
            answer = self.peer.answers(wire, event.command, event.sequence, event.frame)
        except WireError as error:
            answer = wire.malformed(event.command, event.sequence, error)
        end.link.send(answer or b"")
        end.soon()

    def _reply_to(self, end: End, answers: bytes) -> None:
        end.link.send(answers)
        end.soon()
        self.counts["answered"] += 1
