"""What became of a passed attempt, as its outcomes and reports say: worked out anew whenever it is shown, so
that nothing can lose or double it.

A part (0: a message that has none) is

| state | when |
|---|---|
| `unknown` | the carrier has not answered: perhaps it never got it |
| `not_accepted` | the carrier answered with an error |
| `accepted` | the carrier took it, and has not said more, or only that it is on its way |
| `delivered`, `failed` | the first final report; what is reported after that changes nothing |
| of a call: `delivered` | somebody took it: the carrier's answer says so, or a report (lasting.py) |

and the attempt is as its worst part: delivered when all are, failed when one has. Carriers that give several
parts one id report on all of them at once, or on each in turn: those are delivered when none is reported as
failed. Values only.
"""

from collections.abc import Sequence
from typing import NamedTuple

from gateway.evidence import record as rec
from gateway.evidence.found import Found, Shown, bare, is_followed, reported_as
from gateway.evidence.lasting import ANSWERED, ENDED, is_taken
from gateway.model import VOICE

UNKNOWN, NOT_ACCEPTED, ACCEPTED, DELIVERED, FAILED = (
    *("unknown", "not_accepted", "accepted", "delivered", "failed"),
)
WORST = (FAILED, NOT_ACCEPTED, UNKNOWN, ACCEPTED, DELIVERED)
ON_ITS_WAY = ("", "ACCEPTD", "ACCEPTED", "ENROUTE", "SCHEDULED", "BUFFRED", "BUFFERED", ENDED)
"""Words of a report that is not the last one."""
DONE = ("DELIVRD", "DELIVERED", ANSWERED)


class Came(NamedTuple):
    """What became of a part: the state, since when (ms; 0: ever), and the carrier's own word for it."""

    part: int
    state: str
    at: int = 0
    stat: str = ""


class Reported(NamedTuple):
    """A report, the parts that it is about, and whether the carrier had said the same of them before."""

    found: Found
    parts: tuple[int, ...]
    repeated: bool


class Delivery(NamedTuple):
    state: str
    at: int
    stat: str
    parts: tuple[Came, ...]
    reports: tuple[Reported, ...]


def state_of(stat: str) -> str:
    """What a report's word says. Of a text that was cut within it, what is left tells where it can."""
    word = stat.strip().upper().partition(" ")[0]
    if any(whole.startswith(word) for whole in (*DONE, *ON_ITS_WAY)):
        return DELIVERED if word[:4] == DONE[0][:4] or word in DONE else ACCEPTED
    return DELIVERED if word in DONE else ACCEPTED if word in ON_ITS_WAY else FAILED


def delivery_of(shown: Shown) -> Delivery | None:
    """None for what the carrier never was to get: a reply, an act, what was refused; and for a record that
    only continues another's attempt."""
    attempt = shown.found.record
    if not isinstance(attempt, rec.Attempt) or not is_followed(shown.found):
        return None
    answers: dict[int, rec.Outcome] = {}
    for outcome in shown.outcomes:
        known = answers.get(outcome.part)
        if known is None or known.result:  # asked again until it took it
            answers[outcome.part] = outcome
    many = attempt.pk_total > 1 and 0 not in answers
    parts = range(1, attempt.pk_total + 1) if many else sorted(answers) or [0]
    reports = _reported(attempt, answers, shown.reports)
    call = attempt.judged.channel == VOICE
    came = tuple(_came(part, answers.get(part), reports, answers, call=call) for part in parts)
    state = min((one.state for one in came), key=WORST.index)
    deciding = [one for one in came if one.state == state]
    last = min(deciding, key=_at) if state == FAILED else max(deciding, key=_at)
    return Delivery(state, last.at, last.stat, came, tuple(reports))


def _at(came: Came) -> int:
    return came.at


def _reported(
    attempt: rec.Attempt, answers: dict[int, rec.Outcome], reports: Sequence[Found]
) -> list[Reported]:
    protocol = attempt.judged.protocol
    ids = {
        part: reported_as(protocol, answer.message_id, attempt.recipient) for part, answer in answers.items()
    }
    said: list[Reported] = []
    known: set[tuple[object, ...]] = set()
    for found in reports:
        report = found.record
        assert isinstance(report, rec.Report)
        spelt = reported_as(protocol, report.message_id, 0)
        given = bare(protocol, report.message_id)
        parts = tuple(part for part in sorted(ids) if bare(protocol, answers[part].message_id) == given)
        parts = parts or tuple(part for part in sorted(ids) if spelt & ids[part])
        if report.attempt and report.part:
            parts = (report.part,)
        same = (parts, report.stat, report.submitted, report.completed)
        said.append(Reported(found, parts or tuple(sorted(ids)) or (0,), same in known))
        known.add(same)
    return said


def _came(
    part: int,
    answer: rec.Outcome | None,
    reports: Sequence[Reported],
    answers: dict[int, rec.Outcome],
    *,
    call: bool,
) -> Came:
    if answer is not None and call and is_taken(answer):
        return Came(part, DELIVERED, answer.at, str(answer.result))
    if answer is not None and answer.result not in (0, rec.UNKNOWN):
        return Came(part, NOT_ACCEPTED, answer.at, str(answer.result))
    state, at, stat = (UNKNOWN, 0, "") if answer is None or answer.result else (ACCEPTED, answer.at, "")
    one_for_several = answer is not None and any(
        other.message_id == answer.message_id for number, other in answers.items() if number != part
    )
    for one in reports:
        report = one.found.record
        assert isinstance(report, rec.Report)
        if part not in one.parts:
            continue
        said = state_of(report.stat)
        if state not in (DELIVERED, FAILED) or (one_for_several and (state, said) == (DELIVERED, FAILED)):
            state, at, stat = said, report.at, report.stat
    return Came(part, state, at, stat)
