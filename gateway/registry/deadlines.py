"""Due dates of complaints, appeals, penalties, disputes and cases, by the national workday calendar.

Rules: a due date beyond the days that are published is provisional, and said to be. Days are those of
Asia/Shanghai. A day that somebody names instead is a workday, too.
"""

from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

from gateway.config import Cases
from gateway.errors import Problem, Words
from gateway.policy.calendar import Calendar
from gateway.registry.forms import SHANGHAI
from gateway.registry.workdays import calendar


class Due(NamedTuple):
    """A due date; `provisional`: it lies beyond the days that have been published."""

    day: date
    provisional: bool


class Terms(NamedTuple):
    """Within how many workdays a complaint is forwarded and answered, an appeal is answered and a penalty is
    settled, and by which calendar (configuration `[cases]`)."""

    days: Calendar
    forward: int
    complaint: int
    appeal: int
    penalty: int = 15


def standard() -> Terms:
    """The regulation's: 5 workdays to forward a complaint, 15 to answer it or an appeal."""
    return Terms(calendar(None), forward=5, complaint=15, appeal=15)


def terms_of(said: Cases, days: Calendar | None = None) -> Terms:
    """As the configuration says, by `days`, or by the file that it names. UsageError: that can't be read."""
    if days is None:
        days = calendar(Path(said.workdays_file) if said.workdays_file else None)
    return Terms(
        days, said.forward_workdays, said.complaint_workdays, said.appeal_workdays, said.penalty_workdays
    )


def day_of(moment: datetime) -> date:
    """The day in Asia/Shanghai on which an aware instant lies."""
    return moment.astimezone(SHANGHAI).date()


def due(moment: datetime, workdays: int, days: Calendar) -> Due:
    """So many workdays after the day of `moment`."""
    found = days.after(day_of(moment), workdays)
    return Due(found, found > days.last)


def named_or_due(named: date | None, moment: datetime, workdays: int, days: Calendar) -> date:
    """The day that somebody named, else `due`. Problem `invalid` when it is over, or no workday."""
    if named is None:
        return due(moment, workdays, days).day
    today = day_of(moment)
    if named >= today and days.is_workday(named):
        return named
    right = days.after(max(named, today), 1).isoformat()
    raise Problem(
        "invalid",
        Words("期限已过", "that day is over") if named < today else Words("不是工作日", "not a workday"),
        field="due",
        value=named.isoformat(),
        expected=Words(
            f"今天或以后的工作日，例如 {right}；空表示按工作日计算",
            f"a workday from today on, such as {right}, or empty: by workdays",
        ),
    )
