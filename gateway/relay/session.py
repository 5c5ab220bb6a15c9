"""One sender connection and the carrier connection that belongs to it (architecture.md "The relay, exactly").

Login, sequence numbers, message ids, window and heartbeat pass end to end; what passes is forwarded byte
for byte, neighbours in one slice. Refused submits are answered here and now. It knows sockets and order;
what frames mean it asks the protocol, what may pass it asks `Screen`, what came back goes to `Returns`.

Memory of one session is bounded: one read of each side (256 KiB at most), a frame cut short (CAP), the
write buffers (64 KiB high water, then the other side is not read; 1 MiB of our own answers), the lanes (1 MiB
each, then who fills it is not read), the submits of `Memory`, the numbers of `Numbering`: about 6 MiB with
every bound reached at once.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from time import perf_counter

from gateway.errors import WireError
from gateway.evidence.journal import OutcomeItem
from gateway.model import AccountKey
from gateway.protocols import Wire
from gateway.protocols.message import Delivery, Login
from gateway.protocols.table import Frame
from gateway.relay.desk import Desk
from gateway.relay.lane import Lane, Numbering, Stops
from gateway.relay.leg import Leg
from gateway.relay.memory import MOST_WAITING, Batch, Cuts, Memory, Submit, join, renumber
from gateway.relay.notes import CLOSED, Notes
from gateway.relay.own import Own
from gateway.relay.parts import Held
from gateway.relay.refusing import Receiver, refuse

MOST_UNREAD = 1 << 20  # octets of our own answers that a sender leaves unread before it is no longer read
GOODBYE_SECONDS = 2.0


class Session:
    """Both connections from the login's answer on."""

    def __init__(
        self,
        desk: Desk,
        wire: Wire,
        key: AccountKey,
        connection: int,
        sender: Leg,
        carrier: Leg,
        login: Login,
    ) -> None:
        self.key, self.login = key, login
        self.memory = Memory(desk.taken.of(key) if wire.REPLACE else None)
        self.closed, self._idle = asyncio.Event(), asyncio.Event()
        self.draining = self._half_closed = False
        self._leaving = False  # the sender has said TERMINATE: it is the carrier that closes
        self._desk, self.wire = desk, wire
        self._connection = connection
        self._legs = (carrier, sender)  # indexed by "is it the sender's?"
        self._stops = Stops(sender.read_on)  # why we do not read the sender
        self._sender, self._carrier = sender.transport, carrier.transport
        self._to_sender = Lane(sender.transport, self._sender_waits)
        self._to_carrier = Lane(carrier.transport, lambda full: sender.read_on("lane", not full))
        self._numbering = Numbering(own=wire.OWN_NUMBERS)
        self._receiver = Receiver(self._numbering, self._answer) if login.receives else None
        self._note = Notes(desk.log, key, connection).note
        self._own = Own(wire, key.account, connection, self._to_carrier, self.memory)
        self._held = Held(desk.parts, self, connection, self._to_carrier)
        self._out, self._back = (
            desk.telemetry.relay(key.protocol, way) for way in ("to_carrier", "to_sender")
        )

    @property
    def receives(self) -> bool:
        """Whether the sender can be told something here."""
        return self._receiver is not None

    def reached(self) -> None:
        """The sender can be told something here from now on."""
        self._receiver = Receiver(self._numbering, self._answer)
        self._desk.receivers.join(self.key, self._receiver)

    def start(self) -> None:
        """Relay from now on, beginning with what came while the login was under way."""
        carrier, sender = self._legs
        sender.lost, carrier.lost = self._lost_sender, self._lost_carrier
        sender.blocked, sender.ended = self._sender_reads, self._sender_ended
        carrier.blocked = lambda blocked: sender.read_on("socket", not blocked)
        sender.received, carrier.received = self.from_sender, self.from_carrier
        for leg in (carrier, sender):
            early, leg.early = leg.early, b""
            if early:
                leg.received(early)
            if leg.gone:
                leg.lost()
        if not self.closed.is_set():
            self._desk.receivers.join(self.key, self._receiver)
            if self.login.sends and not self.draining:
                self._desk.confirmations.join(self.key, self._own)

    def from_sender(self, data: bytes) -> None:
        """Have judged what has to be judged and pass the rest on, in order."""
        began = perf_counter()
        data, frames, error = self._legs[True].stream.frames(self.wire.frames, data)
        wire, memory, full = self.wire, self.memory, self._desk.screen.journal.full
        own = self._own if self._own.busy else None
        submits: list[Submit] = []
        cuts: Cuts = []
        answers: list[bytes] = []
        may, last, doing = wire.SENDER_MAY, -1, wire.SENDER_MAY.get(-1)
        for frame in frames:
            start, end, command, sequence = frame
            if command != last:  # most are alike
                last, doing = command, may.get(command)
            if doing == "judge":
                fingerprint = hash(data[start:end])
                seen = memory.known(sequence)
                if seen is not None and seen.fingerprint == fingerprint:
                    answers.append(seen.repeat(start, end, cuts))
                elif self.draining or full:
                    answers.append(wire.busy(command, sequence) or b"")
                    cuts.append((start, end, b""))
                else:
                    submit = memory.read(wire, data, frame, fingerprint, self._note)
                    memory.add(submit, seen)
                    if own is not None:
                        own.submit(submit, data)
                    if submit.part and self._held.take(submit, data):
                        cuts.append((start, end, b""))
                    else:
                        submits.append(submit)
                    if memory.broken is not None:  # nothing behind it is read
                        frames, error = frames[: frames.index(frame) + 1], None
                        self._stops.stop("broken")
                        break
            elif doing in {"pass", "close"}:
                if command & wire.ANSWER:
                    renumber(wire, data, frame, self._numbering.answer(sequence), cuts)
                elif own is not None:
                    renumber(wire, data, frame, own.request(sequence), cuts)
                if doing == "close":
                    self._leaving = True
                    self._desk.confirmations.leave(self.key, self._own)
                    self._held.goodbye(data, start, end, cuts)
            else:
                cuts.append((start, end, b""))
                answers.append(self._unexpected(data, frame, doing))
        if answers:
            self._answer(answers)
        if submits:
            if memory.waiting >= MOST_WAITING:
                self._stops.stop("window")
            place, used = self._to_carrier.hold(), frames[-1][1]
            batch = Batch(self, self.key, self._connection, submits, data, used, cuts, place, began)
            batch.broken = memory.broken
            self._desk.screen.put(batch)
        elif frames:
            self._to_carrier.send(join(data, frames[-1][1], cuts))
            self._out.observe(perf_counter() - began)
        if self._held.count:
            self._held.came()
        if error is not None:
            self.end(error)

    def judged(self, batch: Batch) -> None:
        """Make ready what leaves when the batch is durable."""
        for submit in batch.submits:
            if submit.refused:
                self._cut(submit, batch)
            elif submit.octets:
                batch.cuts.append((submit.start, submit.end, submit.octets))
        batch.octets = join(batch.data, batch.used, batch.cuts)
        if self._desk.screen.journal.crowded:
            self._stops.stop("journal")

    def settled(self, batch: Batch, error: Exception | None) -> None:
        """Let it leave; or, when it was not recorded, neither send nor refuse it: the sender comes again."""
        if error is None:
            if self._desk.routes is not None:
                self._desk.routes.passed(self._desk.screen.account(self.key), batch.submits)
            self.memory.settle(batch.submits)
            if not self._own.specimen:
                self._own.learn(batch)
            if batch.refusals:
                self._answer(batch.refusals)
            for tell, reports in batch.elsewhere:
                tell(reports)
            batch.place.fill(batch.octets)
            self._out.observe(perf_counter() - batch.began)
        else:
            known = {submit.start for submit in batch.submits}
            cuts = [cut for cut in batch.cuts if cut[0] not in known]
            self._answer([self.wire.busy(one.command, one.sequence) or b"" for one in batch.submits])
            for submit in batch.submits:
                self.memory.forget(submit)
                if submit.octets:
                    self._own.never_sent(submit.octets)
                cuts.append((submit.start, submit.end, b""))
            batch.place.fill(join(batch.data, batch.used, cuts))
        self._stops.go_on("journal")
        self._rested()
        if batch.broken is not None:
            self.end(batch.broken)

    def from_carrier(self, data: bytes) -> None:
        """Pass everything on; note outcomes; reports and replies wait for the disk."""
        began = perf_counter()
        data, frames, error = self._legs[False].stream.frames(self.wire.frames, data)
        wire, numbering = self.wire, self._numbering
        own = self._own if self._own.busy else None
        cuts: Cuts = []
        outcomes: list[OutcomeItem] = []
        replies: list[tuple[Frame, Delivery]] = []
        reports: list[Frame] = []
        sends, answer, last, doing = wire.CARRIER_SENDS, wire.ANSWER, -1, wire.CARRIER_SENDS.get(-1)
        for frame in frames:
            _, _, command, sequence = frame
            if command != last:  # most are alike
                last, doing = command, sends.get(command)
            submit: Submit | None = None
            if not command & answer:
                renumber(wire, data, frame, numbering.request(sequence), cuts)
            elif own is not None:
                known = own.answer(command, sequence)
                renumber(wire, data, frame, known, cuts)
                if known is not None and doing == "result":
                    submit = self.memory.answered(known)
            elif doing == "result":
                submit = self.memory.answered(sequence)
            if doing == "result":
                self._outcome(data, frame, submit, outcomes, cuts)
            elif doing == "delivery":
                self._desk.returns.delivered(wire, self.key, data, frame, replies, reports, self._note)
        if outcomes:
            self._desk.returns.outcomes(outcomes)
        if frames:
            if replies or reports:
                held = self._to_sender.hold(), partial(self._legs[False].read_on, "journal")
                read = data, frames[-1][1], cuts
                self._desk.returns.hold(self.key, replies, reports, read, *held, self._not_recorded)
            else:
                self._to_sender.send(join(data, frames[-1][1], cuts))
            self._back.observe(perf_counter() - began)
            self._rested()
        if error is not None:
            self.end(error)

    # How it ends

    def end(self, error: WireError) -> None:
        """Close both connections because of a peer's mistake; logged and counted."""
        self._desk.telemetry.closed.labels(self.key.protocol, error.cause).inc()
        self._note(CLOSED, error)
        self._sender.close()
        self._to_carrier.close()

    def sweep(self) -> None:
        """Give up a peer that has begun a frame and not gone on since this was called last, and submits that
        are never answered."""
        self._own.give_up()
        if count := self.memory.give_up():
            self._note("submits given up", WireError("unanswered", str(count)))
        self._rested()
        if (leg := next((leg for leg in self._legs if leg.stalls()), None)) is not None:
            self.end(WireError("half_frame", f"{len(leg.stream.tail)} octets"))

    async def drain(self, seconds: float) -> None:
        """Answer submits with the busy code, let the carrier answer what it has, unbind both sides, close."""
        self.draining = True
        self._desk.confirmations.leave(self.key, self._own)
        self._held.give_up()
        if self.memory.waiting or self._own.awaits:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), seconds)
        self._to_sender.send(self.wire.terminate(self._numbering.choose()))
        self._to_carrier.send(self.wire.terminate(self._own.choose(self.wire.TERMINATE)))
        try:
            await asyncio.wait_for(self.closed.wait(), GOODBYE_SECONDS)
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Cut both connections at once."""
        self._sender.abort()
        self._carrier.abort()

    def _sender_ended(self) -> bool:
        """The sender sends no more, but may read: what it has asked is still answered, for a moment."""
        if not self.memory.waiting and not self._leaving:
            return False
        self._half_closed = True
        asyncio.get_running_loop().call_later(GOODBYE_SECONDS, self._to_sender.close)
        return True

    def _lost_sender(self) -> None:
        self._to_sender.lost()
        self._to_carrier.close()  # what is recorded and on its way still goes
        self._check_closed()

    def _lost_carrier(self) -> None:
        self._to_carrier.lost()
        self._to_sender.close()
        self._check_closed()

    def _check_closed(self) -> None:
        self._held.lost()
        self._desk.confirmations.leave(self.key, self._own)
        self._desk.receivers.leave(self.key, self._receiver)
        if all(leg.gone for leg in self._legs):
            self.closed.set()

    # Single steps

    def _cut(self, submit: Submit, batch: Batch) -> None:
        """A submit that does not go on as it came: refused, or reduced to the recipients who may have it."""
        renumbered, submit.octets = submit.octets, b""
        if submit.refused < submit.width:
            self._own.reduce(submit, batch, renumbered)
        else:
            if renumbered:
                self._own.never_sent(renumbered)
            account = self._desk.screen.account(self.key)
            to = self._receiver or self._desk.receivers.of(self.key)
            refuse(self.wire, submit, batch, account, to, self._desk.make_ids, here=to is self._receiver)
        batch.cuts.append((submit.start, submit.end, submit.octets))

    def _rested(self) -> None:
        """Some submits wait no more."""
        waiting = self.memory.waiting
        if self._held.count:
            self._held.listen()
        if waiting < MOST_WAITING:
            self._stops.go_on("window")
        if self.draining and not waiting and not self._own.awaits:
            self._idle.set()
        if self._half_closed and not waiting and not self._leaving:
            self._to_sender.close()

    def _outcome(
        self, data: bytes, frame: Frame, submit: Submit | None, outcomes: list[OutcomeItem], cuts: Cuts
    ) -> None:
        """The carrier's answer to a submit of the sender's; None: to one of ours."""
        start, end, _, sequence = frame
        try:
            result, message_id = self.wire.result(data, start, end)
        except WireError as error:
            self._note("answer not understood", error)
            if submit is not None:
                submit.close(b"")
            return
        if submit is None:
            outcomes += [(identity, result, message_id, 0) for identity in self._own.attempts(sequence)]
            return
        octets = data[start:end]
        answer = octets if submit.sequence == sequence else self._own.back(octets, submit)
        if submit.telling is not None:  # and of those whom we refused
            answer = submit.telling(answer)
            cuts[:] = [*(cut for cut in cuts if cut[0] != start), (start, end, answer)]
        submit.close(b"" if result else answer, message_id)
        failed = self.wire.failures(data, start, end) if submit.several else {}
        outcomes += submit.outcomes(result, message_id, failed)

    def _not_recorded(self, frame: Frame, error: Exception) -> None:
        """A reply or report is told to come again: the carrier delivers it once more."""
        self._note("delivery not recorded", WireError("busy", str(error)))
        self._to_carrier.send(self.wire.busy(frame[2], frame[3]) or b"")

    def _unexpected(self, data: bytes, frame: Frame, doing: str | None) -> bytes:
        start, end, command, sequence = frame
        if doing == "login":
            self._note("second login refused", None)
            return self.wire.login_refused(data[start:end], sequence, self.wire.LOGIN_TWICE)
        self._note("request refused", WireError("unknown_command", f"0x{command:08x}"))
        answer = self.wire.unknown(data, frame)
        if answer is None:
            self._desk.telemetry.unanswerable.labels(self.key.protocol).inc()
        return answer or b""

    def _answer(self, frames: Sequence[bytes]) -> None:
        """Frames of our own to the sender, who is not read any more when he reads none of them."""
        self._to_sender.send(b"".join(frames))
        if self._to_sender.full or self._sender.get_write_buffer_size() > MOST_UNREAD:
            self._stops.stop("unread")

    def _sender_waits(self, full: bool) -> None:
        """For what is before it in his lane; the sender himself is read on until we answer something."""
        self._legs[False].read_on("lane", not full)
        if not full:
            self._stops.go_on("unread")

    def _sender_reads(self, blocked: bool) -> None:
        self._legs[False].read_on("socket", not blocked)
        if not blocked:
            self._stops.go_on("unread")
