"""Submits: one on its way through the node, those of one read, and what a connection remembers of them.

The same connection, sequence and bytes again (CMPP repeats after 60 s) is the same attempt: it goes on again,
so many times, until the carrier has answered, then it gets the same answer and goes nowhere, or who has sent
once could go on sending unjudged. What the carrier did not accept is over: the same again is judged anew.

Bounded: in two generations of `MOST_SEEN`, of which the older is forgotten at once; those of it that wait for
the carrier stay, and the session stops reading at `MOST_WAITING` of them, until the carrier answers or they
are given up. How long each has waited is counted in sweeps, so that no submit is timed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from gateway.errors import WireError
from gateway.evidence.journal import OutcomeItem
from gateway.model import SMS, AccountKey, Verdict
from gateway.policy.numbers import canonical
from gateway.protocols import Wire
from gateway.protocols.message import Replaces, Submission
from gateway.protocols.table import Frame
from gateway.relay.lane import Place
from gateway.relay.replacing import Taken

MOST_SEEN = 1024
MOST_WAITING = 4096
SWEEP_SECONDS = 30.0
UNANSWERED_SWEEPS = 6
"""What that many sweeps have found unanswered is given up by the next, 180 to 210 s after it came: CMPP's
peers send a request three times, 60 s apart, and then expect nothing more."""

MOST_REPEATS = 2
"""How often a submit goes on again that the carrier has not answered: with the first, as often as those peers
send it."""

OVER = -1  # instead of the fingerprint: no hash is -1

Cuts = list[tuple[int, int, bytes]]
"""(start, end, octets): what goes on instead of data[start:end]."""

Note = Callable[[str, WireError | None], None]
"""Says what went wrong."""

Tell = Callable[[Sequence[bytes]], None]
"""Sends frames of ours to a sender."""


def join(data: bytes, used: int, cuts: Cuts) -> bytes:
    """`data[:used]` with some frames replaced; without cuts it is not copied."""
    if not cuts:
        return data if used == len(data) else data[:used]
    cuts.sort()
    pieces: list[bytes] = []
    at = 0
    for start, end, octets in cuts:
        pieces += (data[at:start], octets)
        at = end
    pieces.append(data[at:used])
    return b"".join(pieces)


def renumber(wire: Wire, data: bytes, frame: Frame, number: int | None, cuts: Cuts) -> None:
    """The frame goes on under this number; None: it does not."""
    start, end, _, sequence = frame
    if number != sequence:
        octets = b"" if number is None else wire.with_sequence(data[start:end], number)
        cuts.append((start, end, octets))


class Submit:
    """One SUBMIT frame: what it asks, and what became of it.

    `submission` is None when the frame could not be read; then `answer` is set already. The screen fills
    `ids` and `verdicts`, one of each per recipient, and `refused`, how many may not have it.
    """

    __slots__ = (
        "answer",
        "answered",
        "command",
        "durable",
        "end",
        "fingerprint",
        "ids",
        "octets",
        "part",
        "refused",
        "repeats",
        "sequence",
        "several",
        "start",
        "submission",
        "taken",
        "telling",
        "verdicts",
        "width",
    )

    def __init__(
        self, frame: Frame, fingerprint: int, submission: Submission | None, answer: bytes = b""
    ) -> None:
        self.start, self.end, self.command, self.sequence = frame
        self.fingerprint = fingerprint
        self.submission = submission
        self.width = 1 if submission is None else len(submission.destinations)  # attempts
        self.ids: tuple[bytes, ...] = ()
        self.verdicts: Sequence[Verdict] = ()
        self.refused = self.repeats = 0
        self.part = 0  # of a long message, from 1; 0: it is none
        self.answer = answer  # what the sender got: from us, when we refused, or from the carrier
        self.octets: bytes | None = None  # what goes on instead of the frame as it came; b"": nothing
        self.answered = False  # by the carrier, or by us
        self.durable = False
        self.several: Sequence[bytes] = ()  # who it goes to, where the answer may say no for some of them
        self.telling: Callable[[bytes], bytes] | None = None  # makes the carrier's answer say who was refused
        self.taken: Callable[[bytes], None] | None = None  # is told the carrier's id, if it can be replaced

    def close(self, accepted: bytes, message_id: bytes = b"") -> None:
        """The carrier's answer, when it accepted, and under which id; b"" when it did not, or nobody can
        say."""
        if accepted:
            self.answer = accepted
            if self.taken is not None:
                self.taken(message_id)
                self.taken = None
        elif not self.answer:
            self.fingerprint = OVER

    def outcomes(self, result: int, message_id: bytes, failed: Mapping[bytes, int]) -> list[OutcomeItem]:
        """The carrier's answer to each; those of `several` who are in `failed` have one of their own."""
        if not self.several:
            return [(identity, result, message_id, self.part) for identity in self.ids]
        others = {canonical(address): status for address, status in failed.items()}
        results = [others.get(canonical(address), result) for address in self.several]
        return [
            (identity, own, b"" if own else message_id, self.part)
            for identity, own in zip(self.ids, results, strict=True)
        ]

    def repeat(self, start: int, end: int, cuts: Cuts) -> bytes:
        """The same frame came again, in data[start:end]: what to answer, and in `cuts` what goes on.

        While the first one waits for the disk the second is dropped: what becomes of it, becomes of both. And
        `MOST_REPEATS` go on, or one verdict would let any number of messages pass.
        """
        if not self.durable or self.answer or self.repeats == MOST_REPEATS:
            cuts.append((start, end, b""))
            return self.answer if self.durable else b""
        self.repeats += 1
        if self.octets is not None:
            cuts.append((start, end, self.octets))
        return b""


class Owner(Protocol):
    """Whose submits are judged: a session."""

    def judged(self, batch: "Batch") -> None:
        """Each submit has its verdicts and ids; nothing may leave yet."""

    def settled(self, batch: "Batch", error: Exception | None) -> None:
        """All of it is durable; or, with an error, nothing of it was recorded and all has to come again."""

    def abort(self) -> None:
        """It can't go on."""


class Batch:
    """What one read of a sender's connection brought, while its submits are judged and recorded; or a long
    message whose parts have come, as one submit."""

    __slots__ = (
        "again",
        "began",
        "broken",
        "channel",
        "connection",
        "cuts",
        "data",
        "elsewhere",
        "key",
        "octets",
        "owner",
        "place",
        "refusals",
        "submits",
        "used",
    )

    def __init__(
        self,
        owner: Owner,
        key: AccountKey,
        connection: int,
        submits: Sequence[Submit],
        data: bytes,
        used: int,
        cuts: Cuts,
        place: Place,
        began: float,
        channel: int = SMS,
        *,
        again: bool = False,
    ) -> None:
        self.owner = owner
        self.key = key
        self.channel = channel
        self.connection = connection
        self.submits = submits
        self.data = data
        self.used = used  # octets of data that are whole frames
        self.cuts = cuts
        self.place = place  # on the way to the carrier
        self.began = began  # perf_counter
        self.again = again  # more of a message that has been judged, and counted, before
        self.octets = b""  # what goes there
        self.broken: WireError | None = None  # for this the connection ends when it is answered
        self.refusals: list[bytes] = []  # what goes back to the sender
        self.elsewhere: list[tuple[Tell, Sequence[bytes]]] = []  # and what goes to him on another connection


class Memory:
    """The submits of one connection by sequence number."""

    __slots__ = ("_before", "_late", "_seen", "broken", "taken", "waiting")

    def __init__(self, taken: Taken | None = None) -> None:
        self.taken = taken  # of the account, where the protocol can replace what the carrier has taken
        self._seen: dict[int, Submit] = {}
        self._before: dict[int, Submit] = {}  # an older generation: to forget one by one costs more
        self._late: dict[Submit, int] = {}  # how many sweeps have found it unanswered
        self.waiting = 0  # how many wait for the disk or for the carrier's answer
        self.broken: WireError | None = None  # what was read last, where the protocol ends for it

    @property
    def outstanding(self) -> list[int]:
        """The numbers of the submits that wait for the carrier."""
        everything = self._before | self._seen
        return [sequence for sequence, submit in everything.items() if not submit.answered]

    def known(self, sequence: int) -> Submit | None:
        """What was seen last by this number: with the same fingerprint it is the same submit."""
        seen = self._seen.get(sequence)
        return seen if seen is not None else self._before.get(sequence)

    def read(self, wire: Wire, data: bytes, frame: Frame, fingerprint: int, note: Note) -> Submit:
        """The submit in a frame; of one that can't be read only its answer is known, and it is noted."""
        start, end, command, sequence = frame
        try:
            try:
                submission = wire.submission(data, start, end)
            except Replaces as asked:
                if self.taken is None:
                    raise
                submission = self.taken.completed(asked)
            submit = Submit(frame, fingerprint, submission)
            if submission.udhi or submission.pk_total > 1:
                submit.part = 1  # so it says; `Held.take` looks
            return submit
        except WireError as error:
            note("submit not understood", error)
            self.broken = error if error.cause in wire.ENDS else None
            return Submit(frame, fingerprint, None, wire.malformed(command, sequence, error) or b"")

    def add(self, submit: Submit, before: Submit | None) -> None:
        """Remember a submit that was read just now; `before` is what was `known` by its number."""
        if before is not None:
            self.forget(before)
        self._seen[submit.sequence] = submit
        self.waiting += 1
        if len(self._seen) > MOST_SEEN:
            self._age()

    def settle(self, submits: Sequence[Submit]) -> None:
        """They are durable: those that we refused wait no longer, the contents of all are let go."""
        taken = self.taken
        for submit in submits:
            submit.durable = True
            if taken is not None and submit.submission is not None:
                if not submit.refused and not submit.part:
                    submit.taken = taken.awaits(submit.submission)
                if submit.width > 1:
                    everybody = zip(submit.submission.destinations, submit.verdicts, strict=True)
                    submit.several = [one for one, verdict in everybody if verdict.reason is None]
            submit.submission = None
            submit.verdicts = ()
            if submit.octets == b"" and not submit.answered:
                submit.answered = True
                if self.known(submit.sequence) is submit:  # else `forget` has counted it off
                    self.waiting -= 1

    def forget(self, submit: Submit) -> None:
        """As if it had never come; nothing when another has taken its number since."""
        if self.known(submit.sequence) is submit:
            self._seen.pop(submit.sequence, None)
            self._before.pop(submit.sequence, None)
            if not submit.answered:
                self.waiting -= 1

    def answered(self, sequence: int) -> Submit | None:
        """The carrier answered: what, for the caller to `close`; None when it got nothing by that number."""
        seen = self.known(sequence)
        if seen is None or seen.octets == b"":
            return None
        if not seen.answered:
            seen.answered = True
            self.waiting -= 1
        return seen

    def give_up(self) -> int:
        """Called every `SWEEP_SECONDS`: how many wait no longer, as the carrier has not answered them. Their
        outcome is unknown, unless an answer comes while their numbers are known; the same again is judged
        anew."""
        before = self._late
        self._late = {}
        count = 0
        if self.waiting:
            for generation in (self._before, self._seen):
                for seen in generation.values():
                    if not seen.answered and seen.durable:  # what waits for the disk is ours to end
                        sweeps = before.get(seen, 0)
                        if sweeps < UNANSWERED_SWEEPS:
                            self._late[seen] = sweeps + 1
                        else:
                            seen.answered = True
                            seen.close(b"")
                            count += 1
            self.waiting -= count
        return count

    def _age(self) -> None:
        waiting = [seen for seen in self._before.values() if not seen.answered]
        self._before, self._seen = self._seen, {}
        for seen in waiting:
            self._before[seen.sequence] = seen
