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


def calendar(path: Path | None) -> Calendar:
    """The calendar of the library, with the days of `path` laid over it. UsageError names a line that can't
    be read."""
    return laid_over(read(path), str(path)) if path else laid_over()


def read(path: Path) -> str:
    """The text of a file of workdays. UsageError."""
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cases.workdays_file {path}: cannot be read: {error}") from error


@lru_cache(4)
def laid_over(text: str | None = None, name: str = "") -> Calendar:
    """The calendar of the library, with the days of a file's text over it. UsageError names line and file."""
    workdays, holidays = set(constants.workdays), set(constants.holidays)
    last = date(max(day.year for day in holidays), 12, 31)
    for day, works in _days(text, name) if text is not None else ():
        (workdays if works else holidays).add(day)
        (holidays if works else workdays).discard(day)
        last = max(last, day)
    return Calendar(frozenset(workdays), frozenset(holidays), last)


def _days(text: str, name: str) -> list[tuple[date, bool]]:
    from gateway.registry.forms import FLAG  # noqa: PLC0415 (brings phonenumbers: not for each worker)
    from gateway.registry.rows import Bad  # noqa: PLC0415

    lines = list(csv.reader(text.splitlines()))
    if not lines or [cell.strip() for cell in lines[0]] != HEADER:
        raise UsageError(f"cases.workdays_file {name}: line 1: right would be the header day,workday")
    found = []
    for place, cells in enumerate(lines[1:], 2):
        try:
            day, works = (cell.strip() for cell in cells)
            found.append((date.fromisoformat(day), bool(FLAG.parse(works))))
        except (ValueError, Bad):
            raise UsageError(
                f"cases.workdays_file {name}: line {place}: {','.join(cells)!r}; "
                "right would be such as 2027-02-07,true"
            ) from None
    return found
