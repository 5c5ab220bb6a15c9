"""How long a call lasted and how it ended, as its outcomes and reports say. Values only.

The carrier's final answer is an outcome, whose result is its SIP status. What ended it is a report whose
first word is one of these: on the wire a BYE (`ENDED`), or what a call platform said (relay/endings.py).
"""

from datetime import datetime
from typing import NamedTuple

from gateway.evidence import record as rec
from gateway.evidence.found import Shown

ANSWERED, ENDED, NO_ANSWER = "ANSWERED", "ENDED", "NO_ANSWER"


class Lasted(NamedTuple):
    """When it was answered and when it ended (ms; 0: not, or nobody said), and why, in its platform's or
    peers' words."""

    answered: int
    ended: int
    why: str

    @property
    def seconds(self) -> int:
        """Whole seconds from the answer to the end; 0 where one of them is not known."""
        return max(0, self.ended - self.answered) // 1000 if self.answered and self.ended else 0


def is_taken(outcome: rec.Outcome) -> bool:
    """Whether it is the answer of somebody who took the call."""
    return 200 <= outcome.result < 300


def answered_at(shown: Shown) -> int:
    """When somebody took the call, ms; 0 where nobody did."""
    for outcome in shown.outcomes:
        if is_taken(outcome):
            return outcome.at
    for one in shown.reports:
        report = one.record
        if isinstance(report, rec.Report) and report.stat.partition(" ")[0] == ANSWERED:
            return _ms(report.submitted) or report.at
    return 0


def lasted(shown: Shown) -> Lasted:
    """What is known of a call that passed."""
    answered, ended, why = answered_at(shown), 0, ""
    for one in shown.reports:
        report = one.record
        if isinstance(report, rec.Report):
            ended = _ms(report.completed) or report.at
            why = report.stat.partition(" ")[2] or why
    if not answered:
        final = next((outcome for outcome in shown.outcomes if outcome.result >= 300), None)
        if final is not None:
            ended, why = ended or final.at, why or str(final.result)
    return Lasted(answered, ended, why)


def _ms(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return 0
