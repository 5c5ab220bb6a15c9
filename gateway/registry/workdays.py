"""The national workday calendar, as rules and due dates are counted by it.

Rules: the days come from the library chinesecalendar, which is published after each notice of the State
Council, and from a CSV file of the operator (`day,workday`) laid over it, for the weeks between the two.
"""

import csv
from datetime import date
from functools import lru_cache
from pathlib import Path

from chinese_calendar import constants

from gateway.errors import UsageError
from gateway.policy.calendar import Calendar

HEADER = ["day", "workday"]


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


def _days(path: Path) -> list[tuple[date, bool]]:
    from gateway.registry.forms import FLAG  # noqa: PLC0415 (brings phonenumbers: not for each worker)
    from gateway.registry.rows import Bad  # noqa: PLC0415

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
