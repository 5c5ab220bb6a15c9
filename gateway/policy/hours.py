"""When a subscriber may be reached: hours of the day, by purpose and by kind of day (regulation.md).

Rules of this file: hours are those of one day in Asia/Shanghai, from an opening up to but not at a closing;
a number with several purposes has the hours that all of them share. Which day is a workday the caller's
calendar says; a day of which that is not known yet has the hours that both kinds share. Pure.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

from gateway.errors import Words
from gateway.model import PURPOSES
from gateway.policy.calendar import Calendar

DAY = 86_400_000
MINUTE = 60_000
SHANGHAI = 8 * 60 * MINUTE  # no summer time
EPOCH = date(1970, 1, 1).toordinal()

_WRITTEN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)")
_KINDS = {"workday", "holiday"}

RIGHT: str = (
    'for each purpose hours such as "08:00-21:00", or { workday = "08:00-20:00", holiday = "09:00-18:00" }'
)


class Hours(NamedTuple):
    """Milliseconds of the day at which workdays, and all other days, open and close."""

    opens: int = 0
    closes: int = DAY
    holiday_opens: int = 0
    holiday_closes: int = DAY

    def allow(self, at: int, days: Calendar) -> bool:
        """Whether a subscriber may be reached at this instant (ms)."""
        day, moment = divmod(at + SHANGHAI, DAY)
        on_workdays = self.opens <= moment < self.closes
        if self[:2] == self[2:]:
            return on_workdays
        on_holidays = self.holiday_opens <= moment < self.holiday_closes
        asked = date.fromordinal(EPOCH + day)
        if not days.knows(asked):
            return on_workdays and on_holidays
        return on_workdays if days.is_workday(asked) else on_holidays

    def day(self, at: int, days: Calendar) -> Words:
        """Which kind of day it is at this instant (ms); nothing where that makes no difference."""
        if self[:2] == self[2:]:
            return Words("", "")
        asked = date_of(at)
        if not days.knows(asked):
            return Words(
                "（该日是否工作日尚未公布，按两者共同时段）", " (not published what day; both hours hold)"
            )
        return (
            Words("（工作日）", " (a workday)")
            if days.is_workday(asked)
            else Words("（非工作日）", " (no workday)")
        )

    def until(self, at: int) -> int:
        """An instant after `at` up to which the answer stays what it is at `at`: an edge of the hours, or
        midnight."""
        moment = (at + SHANGHAI) % DAY
        return at - moment + min(edge for edge in (*self, DAY) if edge > moment)

    def next(self, at: int, days: Calendar) -> int:
        """The first instant from `at` on at which a subscriber may be reached; 0: none within a month."""
        last = at + 31 * DAY
        while not self.allow(at, days):
            at = self.until(at)
            if at > last:
                return 0
        return at

    def shared(self, other: "Hours") -> "Hours":
        """The hours that both allow."""
        return Hours(
            max(self.opens, other.opens),
            min(self.closes, other.closes),
            max(self.holiday_opens, other.holiday_opens),
            min(self.holiday_closes, other.holiday_closes),
        )

    def __str__(self) -> str:
        on_workdays, on_holidays = _shown(*self[:2]), _shown(*self[2:])
        if on_workdays == on_holidays:
            return on_workdays
        return f"{on_workdays} on workdays, {on_holidays} on other days"

    @property
    def zh(self) -> str:
        """The same in Chinese."""
        on_workdays, on_holidays = _shown(*self[:2]), _shown(*self[2:])
        return on_workdays if on_workdays == on_holidays else f"工作日 {on_workdays}，其他日 {on_holidays}"


ANY = Hours()


def hours_of(table: Mapping[str, Any]) -> Mapping[int, Hours]:
    """A profile's table of hours by the bit of each purpose. Raises ValueError or TypeError."""
    return {PURPOSES[word]: _hours(written) for word, written in table.items()}


def is_table(value: Any) -> bool:
    """Whether `hours_of` can read it."""
    try:
        hours_of(value)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return True


def both(one: Mapping[int, Hours], other: Mapping[int, Hours]) -> Mapping[int, Hours]:
    """For each purpose the hours that both tables allow."""
    return {bit: one.get(bit, ANY).shared(other.get(bit, ANY)) for bit in one.keys() | other.keys()}


def for_all(table: Mapping[int, Hours], purposes: int) -> Hours:
    """The hours for a number with these purposes."""
    found = ANY
    for bit, hours in table.items():
        if purposes & bit:
            found = found.shared(hours)
    return found


def date_of(at: int) -> date:
    """The day of an instant (ms) in Asia/Shanghai."""
    return date.fromordinal(EPOCH + (at + SHANGHAI) // DAY)


def shown_at(at: int) -> str:
    """An instant (ms) as a person in Zhejiang reads it, to the minute."""
    return f"{date_of(at)} {_shown_minute((at + SHANGHAI) % DAY)}"


def _hours(written: Any) -> Hours:
    if isinstance(written, dict):
        if written.keys() != _KINDS:
            raise ValueError(written)
        return Hours(*_window(written["workday"]), *_window(written["holiday"]))
    return Hours(*_window(written), *_window(written))


def _window(written: str) -> tuple[int, int]:
    found = _WRITTEN.fullmatch(written)
    if found is None:
        raise ValueError(written)
    hour, minute, last_hour, last_minute = found.groups()
    opens = (60 * int(hour) + int(minute)) * MINUTE
    closes = (60 * int(last_hour) + int(last_minute)) * MINUTE if last_hour else DAY
    if opens >= closes:
        raise ValueError(written)
    return opens, closes


def _shown(opens: int, closes: int) -> str:
    return f"{_shown_minute(opens)}-{_shown_minute(closes)}"


def _shown_minute(moment: int) -> str:
    hour, minute = divmod(moment // MINUTE, 60)
    return f"{hour:02}:{minute:02}"
