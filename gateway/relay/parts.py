"""Parts of long messages wait here until what they say together can be judged (architecture.md "The life of
one SMS", 2).

One `Parts` per worker, as all connections of an account meet there; a `Held` for each session. One message is
one attempt for each recipient, one verdict, one count: the screen gets it as one submit whose content is all
that has come, and each part then leaves, or is answered, as a submit of its session. What facts alone refuse
never waits. Parts wait until their message is whole, 2 s at most; of a sender who can't go on before he is
answered (all his unanswered submits are parts that wait, and he is silent for 50 ms) what has come is judged,
and what follows with it at once. Frames behind a part that waits overtake it; the goodbye does not.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from time import monotonic_ns, perf_counter
from typing import Protocol

from gateway.errors import NotReady
from gateway.model import AccountKey, Verdict
from gateway.protocols.assembly import LOST, NOT_TAKEN, OPEN, TAKEN, Assembly, Message, place_of
from gateway.relay.lane import Lane
from gateway.relay.memory import Batch, Cuts, Memory, Submit
from gateway.relay.screen import Screen

SILENCE = 0.05
"""s without a word from a sender whose unanswered submits are all parts that wait."""


class Session(Protocol):
    """The session that a part came by: an `Owner`."""

    key: AccountKey
    memory: Memory

    def judged(self, batch: Batch) -> None: ...
    def settled(self, batch: Batch, error: Exception | None) -> None: ...
    def abort(self) -> None: ...


class Waiting:
    """A part that waits: its session's submit, and the frame as it came."""

    __slots__ = ("began", "held", "octets", "submit")

    def __init__(self, held: "Held", submit: Submit, octets: bytes) -> None:
        self.held = held
        self.submit = submit
        self.octets = octets
        self.began = perf_counter()

    def batch(self) -> Batch:
        """Its own batch, behind all that is on its way."""
        session, octets = self.held.session, self.octets
        place = self.held.lane.hold()
        return Batch(
            session,
            session.key,
            self.held.connection,
            [self.submit],
            octets,
            len(octets),
            [],
            place,
            self.began,
        )

    def come_again(self, why: str) -> None:
        """It was not judged: the busy code."""
        batch = self.batch()
        batch.owner.settled(batch, NotReady(why))


class _Told:
    """What a message's recipients were told, in their order: one verdict each, and the id of the attempt,
    which is its first record's. What the carrier answers to any part belongs to that."""

    __slots__ = ("ids", "verdicts")

    def __init__(self, ids: Iterable[bytes], verdicts: Iterable[Verdict]) -> None:
        self.ids = tuple(ids)
        self.verdicts = list(verdicts)

    @property
    def standing(self) -> list[int]:
        """The recipients who may have it."""
        return [index for index, verdict in enumerate(self.verdicts) if verdict.reason is None]

    def and_then(self, verdicts: Sequence[Verdict]) -> "_Told":
        """With what those who stood were told next."""
        told = _Told(self.ids, self.verdicts)
        for place, index in enumerate(self.standing):
            told.verdicts[index] = verdicts[place]
        return told

    def tell(self, batch: Batch) -> None:
        """Judge a part as its message was."""
        (submit,) = batch.submits
        submit.ids, submit.verdicts = self.ids, self.verdicts
        submit.refused = len(self.verdicts) - len(self.standing)
        batch.owner.judged(batch)


class _Judgement:
    """One verdict on a message, and the parts that wait for it: an `Owner` of a batch at the screen."""

    def __init__(self, parts: "Parts", message: "Message[Waiting, _Told]", waiting: list[Waiting]) -> None:
        self._parts = parts
        self._message = message
        self._told: _Told | None = None
        self._waiting = waiting
        self._batches = [part.batch() for part in waiting]

    def judged(self, batch: Batch) -> None:
        """See `Owner`."""
        (submit,) = batch.submits
        before = self._message.told
        now = before.and_then(submit.verdicts) if before else _Told(submit.ids, submit.verdicts)
        self._told = now
        for part in self._batches:
            now.tell(part)

    def settled(self, batch: Batch, error: Exception | None) -> None:
        """See `Owner`."""
        self._parts.settle(self._message, None if error is not None else self._told)
        for part in self._batches:
            part.owner.settled(part, error)
        for waiting in self._waiting:
            waiting.held.free(waiting)
        self._parts.proceed([self._message])

    def abort(self) -> None:
        """See `Owner`."""
        for part in self._batches:
            part.owner.abort()


class _Nobody:
    """What a lane without a wire writes to."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class Parts:
    """Those of all sessions of a worker."""

    def __init__(self, screen: Screen) -> None:
        self.assembly: Assembly[Waiting, _Told] = Assembly()
        self._screen = screen
        self._nowhere = Lane(_Nobody()).hold()
        self._timer: asyncio.TimerHandle | None = None

    def proceed(self, messages: Iterable["Message[Waiting, _Told]"]) -> None:
        """Do with these what can be done at once, and with all what is due."""
        for message in messages:
            if message.judging or not message.held:
                continue
            if message.whole or message.judged or self._foreseen(message):
                self.judge(message)
        for message in self.assembly.due(now_ms()):
            self.judge(message)
        due = self.assembly.next_due
        if due is not None and self._timer is None:
            seconds = max(0, due - now_ms()) / 1000
            self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.proceed(())

    def judge(self, message: "Message[Waiting, _Told]") -> None:
        """Have it judged as far as it has come, or refuse what waits as the parts before it were."""
        if message.judging or not message.held:
            return
        refusal = message.refusal
        told = refusal.told if refusal is not None else None
        if told is not None:
            for part in self.assembly.stick(message):
                part.item.held.judged(message, part.item)
                batch = part.item.batch()
                told.tell(batch)
                batch.owner.settled(batch, None)
                part.item.held.free(part.item)
            return
        waiting = [part.item for part in self.assembly.judge(message)]
        for one in waiting:
            one.held.judged(message, one)
        self._screen.put(self._batch(_Judgement(self, message, waiting), message, waiting))

    def settle(self, message: "Message[Waiting, _Told]", told: _Told | None) -> None:
        """What it was told is on record; None: it was not recorded."""
        if told is None:
            self.assembly.fail(message)
        else:
            message.told = told
            self.assembly.settle(message, bool(told.standing))

    def give_up(self, message: "Message[Waiting, _Told]") -> None:
        """Nothing more will come of it here: what has not begun to leave comes again as a whole."""
        if message.judged:
            self.judge(message)
            return
        for part in self.assembly.withdraw(message, lambda waiting: True):
            part.item.held.judged(message, part.item)
            part.item.come_again("draining")
            part.item.held.free(part.item)

    def _batch(
        self, judgement: _Judgement, message: "Message[Waiting, _Told]", waiting: Sequence[Waiting]
    ) -> Batch:
        """All that has come of it, as one submit."""
        first, place = waiting[0], message.place
        submissions = [part.submit.submission for part in waiting if part.submit.submission is not None]
        submission, told = submissions[0], message.told
        destinations = submission.destinations
        if told is not None:
            destinations = [destinations[index] for index in told.standing]
        whole = replace(
            submission,
            destinations=destinations,
            content=tuple(message.contents),
            wants_report=any(part.wants_report for part in submissions),
            pk_total=place.total,
            pk_number=0 if message.whole and message.judged == 1 else min(message.judged, place.total),
            reference=place.reference,
        )
        submit = Submit((0, 0, first.submit.command, first.submit.sequence), 0, whole)
        return Batch(
            judgement,
            first.held.session.key,
            first.held.connection,
            [submit],
            b"",
            0,
            [],
            self._nowhere,
            first.began,
            again=message.judged > 1,
        )

    def _foreseen(self, message: "Message[Waiting, _Told]") -> bool:
        """Whether facts alone refuse it; asked once."""
        if message.asked:
            return False
        message.asked = True
        waiting = [part.item for part in message.held]
        return self._screen.foresees(self._batch(_Judgement(self, message, []), message, waiting))


class _Line:
    """Whether a connection still stands; it outlives its session."""

    __slots__ = ("gone",)

    def __init__(self) -> None:
        self.gone = False


class Held:
    """What waits of one session: `count` parts, of which `idle` are not being judged."""

    __slots__ = (
        "_goodbye",
        "_line",
        "_messages",
        "_new",
        "_parts",
        "_silence",
        "connection",
        "count",
        "idle",
        "lane",
        "session",
    )

    def __init__(self, parts: Parts, session: Session, connection: int, lane: Lane) -> None:
        self.session = session
        self.connection = connection
        self.lane = lane  # to the carrier
        self.count = 0
        self.idle = 0
        self._goodbye = b""
        self._line = _Line()
        self._parts = parts
        self._messages: dict[Message[Waiting, _Told], None] = {}  # with idle parts
        self._new: dict[Message[Waiting, _Told], None] = {}  # with parts of this read
        self._silence: asyncio.TimerHandle | None = None

    def take(self, submit: Submit, data: bytes) -> bool:
        """Keep a submit that says it is a part, or have it come again; False: it is a message of its own."""
        submission = submit.submission
        assert submission is not None
        place = place_of(submission)
        if place is None:
            submit.submission = replace(submission, pk_total=1, pk_number=1)
            submit.part = 0
            return False
        octets = data[submit.start : submit.end]
        submit.start, submit.end, submit.part = 0, len(octets), place.number
        waiting = Waiting(self, submit, octets)
        message = self._parts.assembly.take(
            self.session.key,
            place,
            waiting,
            len(octets),
            partial(_fate, submit, self._line),
            now_ms(),
        )
        if message is None:
            waiting.come_again("no room for more parts")
        else:
            self.count += 1
            self.idle += 1
            self._messages[message] = self._new[message] = None
        return True

    def came(self) -> None:
        """A read is over, and parts wait."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        new, self._new = self._new, {}
        self._parts.proceed(new)
        self.listen()

    def listen(self) -> None:
        """Wait for silence, if all that this sender waits for waits here."""
        if self._silence is None and self._stuck:
            self._silence = asyncio.get_running_loop().call_later(SILENCE, self._silent)

    @property
    def _stuck(self) -> bool:
        return 0 < self.idle == self.session.memory.waiting

    def _silent(self) -> None:
        self._silence = None
        if self._stuck:
            for message in list(self._messages):
                self._parts.judge(message)

    def judged(self, message: "Message[Waiting, _Told]", waiting: Waiting) -> None:
        """A verdict is asked for a part that was idle."""
        self.idle -= 1
        self._messages.pop(message, None)

    def free(self, waiting: Waiting) -> None:
        """The part waits no longer."""
        self.count -= 1
        if self._goodbye and not self.count:
            self.lane.send(self._goodbye)
            self._goodbye = b""

    def goodbye(self, data: bytes, start: int, end: int, cuts: Cuts) -> None:
        """The sender says in data[start:end] that he leaves: it waits for the parts before it."""
        if self.count:
            renumbered = bool(cuts) and cuts[-1][0] == start
            self._goodbye = cuts.pop()[2] if renumbered else data[start:end]
            cuts.append((start, end, b""))

    def give_up(self) -> None:
        """Nothing more comes by this session."""
        for message in list(self._messages):
            self._parts.give_up(message)

    def lost(self) -> None:
        """The connection has gone: what is not being judged is as if it had never come."""
        self._line.gone = True
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        for message in self._messages:
            self.count -= len(self._parts.assembly.withdraw(message, lambda waiting: waiting.held is self))
        self.idle = 0
        self._messages.clear()


def _fate(submit: Submit, line: _Line) -> int:
    """What became of a part that passed."""
    if submit.answer:
        return TAKEN
    if submit.answered:
        return NOT_TAKEN
    return LOST if line.gone else OPEN


def now_ms() -> int:
    return monotonic_ns() // 1_000_000
