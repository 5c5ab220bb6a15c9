"""How a simulated peer misbehaves on demand, and the words for it: `zhengming simulate … --misbehave WORD`.

A word may have a number behind a colon: with which messages it happens (`drop:3`, every third), or after how
many seconds. What a side can't do has no word there.
"""

from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from gateway.errors import UsageError

UNBOUNDED = 1 << 31
"""The window of a peer that keeps to none."""

WRONG_LENGTH = b"\0\0\0\x05"
"""Instead of a frame's own: no header is that short."""


@dataclass(slots=True)
class Faults:
    """What goes wrong; "every n" means the n-th, 2n-th … message, 0 never. Seconds are seconds."""

    login_status: int = 0
    login_after: float = 0.0
    login_never: bool = False
    wrong_digest: bool = False
    answer_after: float = 0.0
    silent_every: int = 0
    twice_every: int = 0
    refuse_every: int = 0
    refuse_with: int = 0  # 0: the protocol's word for "other"
    wrong_length_every: int = 0
    drop_every: int = 0
    duplicate_every: int = 0
    early_report_every: int = 0
    overflow: bool = False
    ring_every: int = 0
    late_cancel_every: int = 0
    wrong_branch_every: int = 0


def hits(every: int, number: int) -> bool:
    """Whether it is this message's turn; the first is number 1."""
    return bool(every) and number % every == 0


class Misbehaviour(NamedTuple):
    """`field` of Faults, what it is set to without a number, and what happens in words."""

    field: str
    otherwise: float | bool
    words: str


SENDER = {
    "slow": Misbehaviour("answer_after", 1.0, "answers reports and replies N seconds late"),
    "silent": Misbehaviour("silent_every", 1, "leaves every N-th report or reply unanswered"),
    "two-answers": Misbehaviour("twice_every", 1, "answers every N-th report or reply twice"),
    "drop": Misbehaviour("drop_every", 1, "cuts the connection behind every N-th submit"),
    "wrong-digest": Misbehaviour("wrong_digest", True, "logs in with another secret"),
    "wrong-length": Misbehaviour("wrong_length_every", 1, "gives every N-th submit a length of 5 octets"),
    "duplicate": Misbehaviour("duplicate_every", 1, "sends every N-th submit twice under one number"),
    "overflow": Misbehaviour("overflow", True, "keeps to no window"),
}
CARRIER = {
    "slow": Misbehaviour("answer_after", 1.0, "answers submits N seconds late"),
    "silent": Misbehaviour("silent_every", 1, "leaves every N-th submit unanswered"),
    "two-answers": Misbehaviour("twice_every", 1, "answers every N-th submit twice"),
    "drop": Misbehaviour("drop_every", 1, "cuts the connection at every N-th submit"),
    "wrong-digest": Misbehaviour(
        "wrong_digest", True, "gives a wrong proof of itself, if the protocol has one"
    ),
    "wrong-length": Misbehaviour("wrong_length_every", 1, "gives every N-th answer a length of 5 octets"),
    "duplicate": Misbehaviour("duplicate_every", 1, "sends every N-th report or reply twice"),
    "early-report": Misbehaviour("early_report_every", 1, "reports on every N-th submit before it answers"),
    "overflow": Misbehaviour("overflow", True, "keeps to no window with its reports and replies"),
}
CALLER = {
    "silent": Misbehaviour("silent_every", 1, "acknowledges no answer to every N-th call"),
    "drop": Misbehaviour("drop_every", 1, "says no more behind every N-th INVITE; cuts its TCP"),
    "wrong-length": Misbehaviour("wrong_length_every", 1, "announces more than follows every N-th INVITE"),
    "duplicate": Misbehaviour("duplicate_every", 1, "sends every N-th INVITE twice"),
    "late-cancel": Misbehaviour("late_cancel_every", 1, "cancels every N-th call that was answered"),
    "wrong-branch": Misbehaviour(
        "wrong_branch_every", 1, "cancels what nobody called beside every N-th call"
    ),
}
CALLEE = {
    "slow": Misbehaviour("answer_after", 1.0, "picks up N seconds late"),
    "silent": Misbehaviour("silent_every", 1, "says nothing to every N-th INVITE"),
    "two-answers": Misbehaviour("twice_every", 1, "answers every N-th call twice, by another tag"),
    "no-answer": Misbehaviour("ring_every", 1, "rings at every N-th call and never picks up"),
    "wrong-branch": Misbehaviour("wrong_branch_every", 1, "answers every N-th call to another branch"),
}
"""Of calls (protocol sip)."""


class Asked(NamedTuple):
    """A misbehaviour that was asked for: its word, the field of Faults and the value."""

    word: str
    field: str
    value: float | bool


def explained(side: dict[str, Misbehaviour], *, head: bool = True) -> str:
    """For --help."""
    said = "; ".join(f"{word}: {one.words}" for word, one in side.items())
    return f"WORD or WORD:N, may be given several times; N is 1 where left out. {said}" if head else said


def misbehaviour(*sides: dict[str, Misbehaviour]) -> Callable[[str], Asked]:
    """An argparse type: a word of any of these sides, of which one means it as `faults_of` will be told."""

    def parse(given: str) -> Asked:
        word, colon, number = given.partition(":")
        found = next((side[word] for side in sides if word in side), None)
        if found is None:
            words = dict.fromkeys(word for side in sides for word in side)
            raise ArgumentTypeError(f"{word!r}; right would be one of {', '.join(words)}")
        field, value, _ = found
        if colon:
            if isinstance(value, bool) or not number.isdecimal() or not 0 < int(number) <= 1_000_000:
                right = word if isinstance(value, bool) else f"{word}:N with N from 1 to 1000000"
                raise ArgumentTypeError(f"{given!r}; right would be {right}")
            value = type(value)(number)
        return Asked(word, field, value)

    return parse


def faults_of(given: Iterable[Asked], side: dict[str, Misbehaviour]) -> Faults:
    """What was asked for on the command line. Raises UsageError for a word that `side` does not know."""
    faults = Faults()
    for word, field, value in given:
        if word not in side:
            raise UsageError(f"--misbehave {word}: right for this protocol would be one of {', '.join(side)}")
        setattr(faults, field, value)
    return faults
