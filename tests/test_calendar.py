"""Workdays with the State Council's shifted days, and the due dates that are counted by them."""

from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.policy.calendar import Calendar
from gateway.registry.deadlines import calendar, due

SHANGHAI = timezone(timedelta(hours=8))
PLAIN = Calendar(frozenset(), frozenset(), date(2026, 12, 31))


def received(*when: int) -> datetime:
    return datetime(*when, tzinfo=SHANGHAI)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("moment", "workdays", "day"),
    [
        # Spring Festival 2026: off from 15 to 23 February, worked on Saturdays 14 and 28.
        (received(2026, 2, 13, 10), 5, date(2026, 2, 27)),
        (received(2026, 2, 13, 10), 15, date(2026, 3, 12)),
        (received(2026, 2, 13, 10), 1, date(2026, 2, 14)),
        (received(2026, 2, 14, 23, 59), 1, date(2026, 2, 24)),
        # The day is Shanghai's: 16:00 UTC is the next one.
        (datetime(2026, 2, 13, 15, 59, tzinfo=timezone.utc), 1, date(2026, 2, 14)),  # noqa: UP017
        (datetime(2026, 2, 13, 16, 0, tzinfo=timezone.utc), 1, date(2026, 2, 24)),  # noqa: UP017
    ],
)
def test_due_dates_cross_shifted_workdays(moment: datetime, workdays: int, day: date) -> None:
    assert due(moment, workdays, calendar(None)) == (day, False)


def test_beyond_what_is_published_a_date_is_provisional() -> None:
    last = calendar(None).last
    eve = datetime(last.year, 12, 31, 9, tzinfo=SHANGHAI)
    found = due(eve, 5, calendar(None))
    assert found.provisional
    assert found.day == PLAIN.after(last, 5)


def test_a_file_is_laid_over_the_library(tmp_path: Path) -> None:
    path = tmp_path / "days.csv"
    path.write_text("day,workday\n2026-02-14,false\n2026-02-16,是\n2099-01-01,no\n", "utf-8")
    days = calendar(path)
    assert not days.is_workday(date(2026, 2, 14))
    assert days.is_workday(date(2026, 2, 16))
    assert due(received(2026, 2, 13, 10), 1, days) == (date(2026, 2, 16), False)
    assert days.last == date(2099, 1, 1)
    assert not days.is_workday(date(2099, 1, 1))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "line 1"),
        ("date,workday\n", "line 1"),
        ("day,workday\n2026-02-30,true\n", "line 2"),
        ("day,workday\n2026-02-03,true\n2026-02-04,perhaps\n", "line 3"),
        ("day,workday\n2026-02-03\n", "line 2"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "days.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match=place):
        calendar(path)
    with pytest.raises(UsageError, match="cannot be read"):
        calendar(tmp_path / "none.csv")


@given(
    start=st.dates(date(2020, 1, 1), date(2026, 12, 1)),
    count=st.integers(1, 40),
    shifted=st.frozensets(st.dates(date(2020, 1, 1), date(2027, 2, 1)), max_size=30),
    free=st.frozensets(st.dates(date(2020, 1, 1), date(2027, 2, 1)), max_size=30),
)
def test_between_a_day_and_its_due_date_lie_so_many_workdays(
    start: date, count: int, shifted: frozenset[date], free: frozenset[date]
) -> None:
    days = Calendar(shifted, free - shifted, date(2027, 12, 31))
    end = days.after(start, count)
    between = [start + timedelta(days=n) for n in range(1, (end - start).days + 1)]
    assert sum(days.is_workday(day) for day in between) == count
    assert days.is_workday(end)
    with pytest.raises(ValueError, match="at least one"):
        days.after(start, 0)
