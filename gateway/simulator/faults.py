"""How a simulated peer misbehaves on demand, and the words for it: `zhengming simulate … --misbehave WORD`.

A word may have a number behind a colon: with which messages it happens (`drop:3`, every third), or after how
many seconds. What a side can't do has no word there.
"""

from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

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


def explained(side: dict[str, Misbehaviour]) -> str:
    """For --help."""
    return "WORD or WORD:N, may be given several times; N is 1 where left out. " + "; ".join(
        f"{word}: {one.words}" for word, one in side.items()
    )


def misbehaviour(side: dict[str, Misbehaviour]) -> Callable[[str], tuple[str, float | bool]]:
    """An argparse type: a field of Faults and its value."""

    def parse(given: str) -> tuple[str, float | bool]:
        word, colon, number = given.partition(":")
        if word not in side:
            raise ArgumentTypeError(f"{word!r}; right would be one of {', '.join(side)}")
        field, value, _ = side[word]
        if colon:
            if isinstance(value, bool) or not number.isdecimal() or not 0 < int(number) <= 1_000_000:
                right = word if isinstance(value, bool) else f"{word}:N with N from 1 to 1000000"
                raise ArgumentTypeError(f"{given!r}; right would be {right}")
            value = type(value)(number)
        return field, value

    return parse


def faults_of(given: Iterable[tuple[str, float | bool]]) -> Faults:
    """What was asked for on the command line."""
    faults = Faults()
    for field, value in given:
        setattr(faults, field, value)
    return faults
