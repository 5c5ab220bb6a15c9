"""Workdays as the State Council shifts them: hours and due dates are found by them (domain.md "Time").

Pure: which days are shifted is an argument; where that is known from stands in registry/deadlines.py.
"""

from datetime import date, timedelta
from typing import NamedTuple

SATURDAY = 5


class Calendar(NamedTuple):
    """`workdays` are weekend days on which people work, `holidays` weekdays on which they don't; the days up
    to `last` have been published, later ones are taken as Monday to Friday."""

    workdays: frozenset[date]
    holidays: frozenset[date]
    last: date

    def knows(self, day: date) -> bool:
        """Whether it has been published what day this is."""
        return day <= self.last or day in self.workdays or day in self.holidays

    def is_workday(self, day: date) -> bool:
        if day in self.workdays:
            return True
        return day.weekday() < SATURDAY and day not in self.holidays

    def after(self, day: date, count: int) -> date:
        """The `count`-th workday after `day`, which does not count itself, workday or not."""
        if count < 1:
            raise ValueError(f"{count} workdays: a due date lies at least one ahead")
        while count:
            day += timedelta(days=1)
            count -= self.is_workday(day)
        return day


MONDAY_TO_FRIDAY = Calendar(frozenset(), frozenset(), date.max)
