"""A connection that a carrier has made to deliver (SGIP): we answer its Bind, and part what comes on it among
the senders that it is for.

For each of them there is a pipe to the worker that owns its account, made when there is something to deliver:
the other end is a session's carrier side (`Worker`), which dials the sender's listener with the carrier's own
Bind. Frames go there byte for byte and in order, answers come back under their numbers. What a sender has not
answered is not answered here: it stays with the carrier, which comes again. The same frame again, while the
first is under way, is dropped (§3.7.2); the same number with other content is refused.

Bounded: `MOST_UNDER_WAY` requests without an answer, then the carrier is not read; each is forgotten when the
carrier's patience is over. A pipe that is not read stops the reading of the carrier. So that a sender who
does not answer keeps nobody else's deliveries waiting in the carrier's window, on a shared port he holds few
places of it; what else is his is put off with the busy code, replies when they are on record and in force.
"""

import asyncio
import itertools
import logging
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from gateway.config import Sms
from gateway.direct import owner
from gateway.errors import NotReady, WireError
from gateway.model import Account, AccountKey
from gateway.policy.numbers import canonical
from gateway.protocols import Call
from gateway.protocols.table import Frame
from gateway.relay import handoff
from gateway.relay.leg import Leg
from gateway.relay.login import take_over
from gateway.relay.notes import CLOSED, Notes
from gateway.relay.returns import Returns
from gateway.relay.routes import Routes
from gateway.telemetry import Telemetry
from gateway.values import milliseconds

MOST_UNDER_WAY = 1024
MOST_SILENT = 16  # of them for one sender who has been silent for this share of the carrier's patience
SILENT = 0.1
GOODBYE_SECONDS = 2.0
ASTRAY = ""
"""In records the account of what finds no sender."""


@dataclass(frozen=True, slots=True)
class Front:
    """What the callback connections of a worker have in common."""

    carrier: str
    workers: int
    returns: Returns
    channels: handoff.Channels
    telemetry: Telemetry
    log: logging.Logger


@dataclass(eq=False, slots=True)
class Pipe:
    """The way to one account's worker."""

    account: str
    number: int
    leg: Leg | None = None
    waiting: list[bytes] = field(default_factory=list)
    under_way: int = 0
    used: float = 0.0  # when something went last
    heard: float = 0.0  # when its sender answered last, or had nothing to answer
    leaving: bool = False  # we have said goodbye there


class UnderWay(NamedTuple):
    """A request that its sender has not answered."""

    pipe: Pipe
    fingerprint: int
    since: float


class Callback:
    """One of them, from its Bind's answer on. `own`: whose callback port it came in by."""

    def __init__(
        self,
        front: Front,
        routes: Routes,
        wire: Call,
        sms: Callable[[], Sms],
        section: int,
        leg: Leg,
        peer: tuple[str, int],
        bind: bytes,
        own: str,
    ) -> None:
        self.closed = asyncio.Event()
        self.protocol = wire.name
        self._front = front
        self._routes = routes
        self._wire = wire
        self._sms = sms
        self._section = section
        self._leg = leg
        self._peer = peer
        self._bind = bind
        self._own = own
        self._says = wire.login(bind).account
        self._numbers = itertools.count(wire.OWN_NUMBERS[0])
        self._pipe_numbers = itertools.count()
        self._pipes: dict[str, Pipe] = {}
        self._under_way: dict[int, UnderWay] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._counts: Counter[str] = Counter()
        self._clock = asyncio.get_running_loop().time
        self._note = Notes(front.log, AccountKey(front.carrier, wire.name, self._says), 0).note
        self._draining = False

    def start(self) -> None:
        """Deliver from now on, beginning with what came behind the Bind."""
        leg = self._leg
        leg.received, leg.lost = self._received, self._lost
        early, leg.early = leg.early, b""
        if early:
            self._received(early)
        if leg.gone:
            self._lost()

    @property
    def _patience(self) -> float:
        return milliseconds(self._sms().callback_patience) / 1000

    def tick(self) -> None:
        """What is done a few times a second: requests are given up, idle pipes are closed, counts told."""
        now, patience, idle = self._clock(), self._patience, milliseconds(self._sms().callback_idle) / 1000
        while self._under_way:
            number, first = next(iter(self._under_way.items()))
            if now - first.since < patience:
                break
            self._over(number, first)
            self._counts["unanswered"] += 1
        for pipe in list(self._pipes.values()):
            if not pipe.under_way and now - pipe.used >= idle:
                self._leave(pipe)
        for outcome, count in self._counts.items():
            self._front.telemetry.deliveries.labels(self._wire.name, outcome).inc(count)
        self._counts.clear()

    def sweep(self) -> None:
        """Give up a carrier that has begun a frame and not gone on since this was called last."""
        if self._leg.stalls():
            self._end(WireError("half_frame", f"{len(self._leg.stream.tail)} octets"))

    async def drain(self) -> None:
        """Take no more, unbind, close."""
        self._draining = True
        self._leg.transport.write(self._wire.terminate(next(self._numbers)))
        try:
            await asyncio.wait_for(self.closed.wait(), GOODBYE_SECONDS)
        except TimeoutError:
            self._leg.transport.abort()

    # From the carrier

    def _received(self, data: bytes) -> None:
        data, frames, error = self._leg.stream.frames(self._wire.frames, data)
        answers: list[bytes] = []
        used: dict[Pipe, None] = {}
        leaves = False
        for frame in frames:
            start, end, command, sequence = frame
            doing = self._wire.CALLS.get(command)
            if doing in ("number", "report"):
                if not self._draining:
                    answers.append(self._deliver(data, frame, used))
            elif doing in ("close", "closed"):
                leaves = True
                if doing == "close":
                    answers.append(self._wire.terminate_answer(sequence))
                break
            elif doing == "login":
                answers.append(self._wire.login_refused(data[start:end], sequence, self._wire.LOGIN_TWICE))
            else:
                self._note("request refused", WireError("unknown_command", f"0x{command:08x}"))
                answer = self._wire.unknown(data, frame)
                if answer is None:
                    self._front.telemetry.unanswerable.labels(self._wire.name).inc()
                answers.append(answer or b"")
        for pipe in used:
            self._flush(pipe)
        if answers:
            self._leg.transport.write(b"".join(answers))
        if len(self._under_way) >= MOST_UNDER_WAY:
            self._leg.read_on("window", False)
        if leaves:
            self._leg.transport.close()
        elif error is not None:
            self._end(error)

    def _deliver(self, data: bytes, frame: Frame, used: dict[Pipe, None]) -> bytes:
        """On to its sender; or the answer that it gets from us."""
        start, end, command, sequence = frame
        octets, wire = data[start:end], self._wire
        before = self._under_way.get(sequence)
        if before is not None:
            if before.fingerprint == hash(octets):
                self._counts["repeated"] += 1
                return b""
            return wire.answer(command, sequence, wire.OTHER_CONTENT) or b""
        try:
            number, subscriber, of = wire.addressee(data, frame)
            account = self._sought(number, subscriber, of)
        except WireError as error:
            self._note("delivery not understood", error)
            return wire.malformed(command, sequence, error) or b""
        except NotReady as error:  # nobody can say now whose it is: the carrier comes again
            self._note("delivery not routed", WireError("not_ready", str(error)))
            return wire.busy(command, sequence) or b""
        if account is None or not account.listener:
            return self._astray(data, frame, account)
        pipe, now = self._pipe(account.key.account), self._clock()
        if not pipe.under_way:
            pipe.heard = now
        elif pipe.under_way >= MOST_SILENT and now - pipe.heard > SILENT * self._patience and not self._own:
            self._counts["put_off"] += 1
            busy = wire.busy(command, sequence) or b""
            return self._recorded(data, frame, account.key, busy) if number else busy
        self._under_way[sequence] = UnderWay(pipe, hash(octets), now)
        pipe.under_way += 1
        pipe.waiting.append(octets)
        used[pipe] = None
        return b""

    def _sought(self, number: bytes, subscriber: bytes, of: bytes) -> Account | None:
        """Whose it is: of the account whose port this is, else as `Routes` says, else of the account that the
        carrier logged in as."""
        if self._own:
            return self._routes.named(self._own)
        found = (
            self._routes.of_report(int.from_bytes(of, "big"), subscriber)
            if of
            else self._routes.of_number(canonical(number), canonical(subscriber))
        )
        return found or self._routes.named(self._says)

    def _astray(self, data: bytes, frame: Frame, account: Account | None) -> bytes:
        """Nobody can be told: it is on record, what a subscriber refuses is in force, and the carrier hears
        that it found nobody."""
        _, _, command, sequence = frame
        wire = self._wire
        self._counts["astray"] += 1
        cause = "no_listener" if account is not None else "nobody"
        self._note("delivery without a sender", WireError(cause, account.key.account if account else ""))
        no = wire.answer(command, sequence, wire.ASTRAY[command]) or b""
        key = account.key if account is not None else AccountKey(self._front.carrier, wire.name, ASTRAY)
        return self._recorded(data, frame, key, no)

    def _recorded(self, data: bytes, frame: Frame, key: AccountKey, answer: bytes) -> bytes:
        """The answer to what is not passed on; to a reply it goes when that is on record."""
        start, end, command, sequence = frame
        wire, returns = self._wire, self._front.returns
        if wire.CARRIER_SENDS.get(command) != "delivery":
            return answer
        delivery = wire.delivery(data, start, end)
        if delivery.report is not None:
            returns.report(key, delivery)
            return answer

        def done(error: Exception | None) -> None:
            octets = answer if error is None else wire.busy(command, sequence) or b""
            if not self._leg.transport.is_closing():
                self._leg.transport.write(octets)

        returns.replies(key, [(delivery, done)])
        return b""

    def _lost(self) -> None:
        for pipe in list(self._pipes.values()):
            self._leave(pipe)
        self._under_way.clear()
        self.tick()
        self.closed.set()

    def _end(self, error: WireError) -> None:
        """Close it because of the carrier's mistake; logged and counted."""
        self._front.telemetry.closed.labels(self._wire.name, error.cause).inc()
        self._note(CLOSED, error)
        self._leg.transport.close()

    # To and from the senders

    def _pipe(self, account: str) -> Pipe:
        pipe = self._pipes.get(account)
        if pipe is None:
            pipe = self._pipes[account] = Pipe(account, next(self._pipe_numbers))
            task = asyncio.get_running_loop().create_task(self._open(pipe))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return pipe

    async def _open(self, pipe: Pipe) -> None:
        front, patience = self._front, self._patience
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:  # out of descriptors: the carrier comes again
            self._note("deliveries not handed over", WireError("no_socket", str(error)))
            self._pipe_lost(pipe)
            return
        ours.setblocking(False)
        arrival = handoff.Arrival(
            theirs, self._section, self._peer, self._bind, handoff.DELIVERY, pipe.account
        )
        leg = await take_over(ours)
        leg.received, leg.lost = partial(self._answered, pipe), partial(self._pipe_lost, pipe)
        name = f"pipe {pipe.number}"
        leg.blocked = lambda blocked: self._leg.read_on(name, not blocked)
        pipe.leg = leg
        self._flush(pipe)
        try:
            await front.channels.hand(owner(pipe.account, front.workers), arrival, patience)
        except WireError as error:
            self._note("deliveries not handed over", error)
            theirs.close()
            leg.transport.abort()

    def _flush(self, pipe: Pipe) -> None:
        pipe.used = self._clock()
        if pipe.leg is not None and pipe.waiting:
            octets, pipe.waiting = b"".join(pipe.waiting), []
            pipe.leg.transport.write(octets)
            if pipe.leaving:
                asyncio.get_running_loop().call_later(GOODBYE_SECONDS, pipe.leg.transport.close)

    def _answered(self, pipe: Pipe, data: bytes) -> None:
        assert pipe.leg is not None
        data, frames, _ = pipe.leg.stream.frames(self._wire.frames, data)
        answers: list[bytes] = []
        for start, end, command, sequence in frames:
            doing = self._wire.CALLS.get(command)
            if doing == "close":  # its worker drains, or the sender has said goodbye
                pipe.leg.transport.write(self._wire.terminate_answer(sequence))
                self._forget(pipe)
            elif doing == "closed":
                pipe.leg.transport.close()
            else:
                before = self._under_way.get(sequence)
                if command & self._wire.ANSWER and before is not None and before.pipe is pipe:
                    self._over(sequence, before)
                    answers.append(data[start:end])
        pipe.used = self._clock()
        if answers:
            pipe.heard = pipe.used
        self._counts["answered"] += len(answers)
        if answers and not self._leg.transport.is_closing():
            self._leg.transport.write(b"".join(answers))

    def _over(self, number: int, request: UnderWay) -> None:
        del self._under_way[number]
        request.pipe.under_way -= 1
        if len(self._under_way) < MOST_UNDER_WAY:
            self._leg.read_on("window", True)

    def _leave(self, pipe: Pipe) -> None:
        """Say goodbye to a sender; what comes for it next takes another pipe."""
        self._forget(pipe)
        pipe.leaving = True
        pipe.waiting.append(self._wire.terminate(next(self._numbers)))
        self._flush(pipe)

    def _forget(self, pipe: Pipe) -> None:
        if self._pipes.get(pipe.account) is pipe:
            del self._pipes[pipe.account]

    def _pipe_lost(self, pipe: Pipe) -> None:
        """What its sender has not answered stays with the carrier."""
        self._forget(pipe)
        self._leg.read_on(f"pipe {pipe.number}", True)
        left = [(number, one) for number, one in self._under_way.items() if one.pipe is pipe]
        for number, one in left:
            self._over(number, one)
        self._counts["unanswered"] += len(left)
