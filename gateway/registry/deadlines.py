"""Due dates of complaints, appeals and cases, by the national workday calendar.

Rules: the days come from the library chinesecalendar, which is published after each notice of the State
Council, and from a CSV file of the operator (`day,workday`) laid over it, for the weeks between the two. A
due date beyond what is published is provisional, and said to be. Days are those of Asia/Shanghai.
"""

import csv
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from chinese_calendar import constants

from gateway.config import Cases
from gateway.errors import UsageError
from gateway.policy.calendar import Calendar
from gateway.registry.forms import FLAG, SHANGHAI
from gateway.registry.rows import Bad

HEADER = ["day", "workday"]


class Due(NamedTuple):
    """A due date; `provisional`: it lies beyond the days that have been published."""

    day: date
    provisional: bool


class Terms(NamedTuple):
    """Within how many workdays a complaint is forwarded and answered and an appeal is answered, and by which
    calendar (configuration `[cases]`)."""

    days: Calendar
    forward: int
    complaint: int
    appeal: int


def standard() -> Terms:
    """The regulation's: 5 workdays to forward a complaint, 15 to answer it or an appeal."""
    return Terms(calendar(None), forward=5, complaint=15, appeal=15)


def terms_of(said: Cases) -> Terms:
    """As the configuration says. UsageError: the file of workdays can't be read."""
    days = calendar(Path(said.workdays_file) if said.workdays_file else None)
    return Terms(days, said.forward_workdays, said.complaint_workdays, said.appeal_workdays)


@lru_cache(4)
def calendar(path: Path | None) -> Calendar:
    """The calendar of the library, with the days of `path` laid over it. UsageError names a line that can't
    be read. Kept: a changed file is read after a restart."""
    workdays, holidays = set(constants.workdays), set(constants.holidays)
    last = date(max(day.year for day in holidays), 12, 31)
    for day, works in _days(path) if path else ():
        (workdays if works else holidays).add(day)
        (holidays if works else workdays).discard(day)
        last = max(last, day)
    return Calendar(frozenset(workdays), frozenset(holidays), last)


def day_of(moment: datetime) -> date:
    """The day in Asia/Shanghai on which an aware instant lies."""
    return moment.astimezone(SHANGHAI).date()


def due(moment: datetime, workdays: int, days: Calendar) -> Due:
    """So many workdays after the day of `moment`."""
    found = days.after(day_of(moment), workdays)
    return Due(found, found > days.last)


def _days(path: Path) -> list[tuple[date, bool]]:
    try:
        lines = list(csv.reader(path.read_text("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cases.workdays_file {path}: cannot be read: {error}") from error
    if not lines or [cell.strip() for cell in lines[0]] != HEADER:
        raise UsageError(f"cases.workdays_file {path}: line 1: right would be the header day,workday")
    found = []
    for place, cells in enumerate(lines[1:], 2):
        try:
            day, works = (cell.strip() for cell in cells)
            found.append((date.fromisoformat(day), bool(FLAG.parse(works))))
        except (ValueError, Bad):
            raise UsageError(
                f"cases.workdays_file {path}: line {place}: {','.join(cells)!r}; "
                "right would be such as 2027-02-07,true"
            ) from None
    return found
