"""Submits: one on its way through the node, and what a connection remembers of those it has seen.

The same connection, sequence and bytes again (CMPP repeats after 60 s) is the same attempt. Bounded:
beyond twice `MOST_SEEN` answered submits are forgotten but for the newest `MOST_SEEN`; those that wait for
the carrier stay, and the session stops reading at `MOST_WAITING` of them.
"""

from collections.abc import Sequence

from gateway.model import Verdict
from gateway.protocols.message import Submission
from gateway.protocols.table import Frame

MOST_SEEN = 1024
MOST_WAITING = 4096

Cuts = list[tuple[int, int, bytes]]
"""(start, end, octets): what goes on instead of data[start:end]."""


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
        "refused",
        "sequence",
        "start",
        "submission",
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
        self.ids: Sequence[bytes] = ()
        self.verdicts: Sequence[Verdict] = ()
        self.refused = 0
        self.answer = answer  # what the sender got from us, when we refused
        self.octets: bytes | None = None  # what went on instead of the frame as it came
        self.answered = False  # by the carrier, or by us
        self.durable = False

    def repeat(self, start: int, end: int, cuts: Cuts) -> bytes:
        """The same frame came again, in data[start:end]: what to answer, and in `cuts` what goes on.

        While the first one waits for the disk the second is dropped: what becomes of it, becomes of both.
        """
        if not self.durable or self.answer:
            cuts.append((start, end, b""))
            return self.answer if self.durable else b""
        if self.octets is not None:
            cuts.append((start, end, self.octets))
        return b""


class Memory:
    """The submits of one connection by sequence number."""

    __slots__ = ("_seen", "waiting")

    def __init__(self) -> None:
        self._seen: dict[int, Submit] = {}
        self.waiting = 0  # how many wait for the carrier's answer

    def repeated(self, sequence: int, fingerprint: int) -> Submit | None:
        """The same submit, if it was seen before."""
        seen = self._seen.get(sequence)
        return seen if seen is not None and seen.fingerprint == fingerprint else None

    def add(self, submits: Sequence[Submit]) -> None:
        """Remember judged submits; their contents are let go."""
        everything = self._seen
        for submit in submits:
            sequence = submit.sequence
            if sequence in everything:
                self.forget(sequence)
            everything[sequence] = submit
            submit.submission = None
            submit.verdicts = ()
            if not submit.answered:
                self.waiting += 1
        if len(everything) > 2 * MOST_SEEN:
            self._trim()

    def forget(self, sequence: int) -> None:
        seen = self._seen.pop(sequence, None)
        if seen is not None and not seen.answered:
            self.waiting -= 1

    def answered(self, sequence: int) -> Sequence[bytes]:
        """The carrier answered: the attempts that it answers; () when nothing is known of it."""
        seen = self._seen.get(sequence)
        if seen is None:
            return ()
        if not seen.answered:
            seen.answered = True
            self.waiting -= 1
        return seen.ids

    def _trim(self) -> None:
        old = len(self._seen) - MOST_SEEN
        self._seen = {
            sequence: seen
            for place, (sequence, seen) in enumerate(self._seen.items())
            if place >= old or not seen.answered
        }
