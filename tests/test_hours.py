"""Hours of the day: at their edges, on shifted workdays, for several purposes, and for scheduled messages."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import attempt, good

from gateway.config import read_profile
from gateway.errors import UsageError
from gateway.model import COLLECTION, MARKETING, SERVICE, SMS, VOICE, Reason
from gateway.policy.hours import DAY, for_all, hours_of, is_table
from gateway.policy.judge import decide
from gateway.policy.profile import Profile
from gateway.policy.profile_text import parse_profile
from gateway.protocols.schedule import deliver_at
from gateway.registry.workdays import calendar

CHINA = ZoneInfo("Asia/Shanghai")
HOUR = 3_600_000
ZHEJIANG = parse_profile(read_profile, "zhejiang")


def at(text: str) -> int:
    """Milliseconds of a time in Zhejiang."""
    return int(datetime.fromisoformat(text).replace(tzinfo=CHINA).timestamp() * 1000)


def parsed(text: str) -> Profile:
    return parse_profile({"own": text, "zhejiang": read_profile("zhejiang")}.__getitem__, "own")


def finding(profile: Profile, now: int, purposes: int = MARKETING, channel: int = SMS, later: int = 0) -> str:
    """The sub-code of what is wrong with the hour, "shut" without one; "" when nothing is."""
    world = good()
    world.news_at = now
    world.filings = [replace(filing, purposes=purposes) for filing in world.filings]
    [verdict] = decide([attempt(channel=channel, deliver_at=later)], world, profile, now)
    return next((f.sub or "shut" for f in verdict.findings if f.reason is Reason.QUIET_HOURS), "")


@pytest.mark.parametrize("channel", [SMS, VOICE])
@pytest.mark.parametrize(
    ("time", "purposes", "allowed"),
    [
        ("07:59:59.999", MARKETING, False),
        ("08:00", MARKETING, True),
        ("20:59:59.999", MARKETING, True),
        ("21:00", MARKETING, False),
        ("21:00", COLLECTION, True),
        ("21:00", COLLECTION | MARKETING, False),
        ("22:00", COLLECTION, False),
        ("00:00", COLLECTION, False),
        ("03:00", SERVICE, True),
        ("03:00", SERVICE | COLLECTION, False),
    ],
)
def test_zhejiang_at_its_edges(time: str, purposes: int, channel: int, allowed: bool) -> None:
    for day in ("2026-11-20", "2026-11-21", "2026-10-01"):  # Friday, Saturday, National Day
        assert finding(ZHEJIANG, at(f"{day}T{time}"), purposes, channel) == ("" if allowed else "shut")


def test_workdays_and_other_days_differ_where_the_profile_says_so() -> None:
    """2026-02-14 is a Saturday on which people work; 2026-02-17, a Tuesday, is Spring Festival."""
    hours = '{ collection = { workday = "08:00-20:00", holiday = "09:00-18:00" } }'
    profile = replace(
        parsed(f'extends = "zhejiang"\n[rules.quiet_hours]\nsms = {hours}'), days=calendar(None)
    )
    for day, opens, closes in (
        ("2026-02-13", "08:00", "20:00"),
        ("2026-02-14", "08:00", "20:00"),
        ("2026-02-17", "09:00", "18:00"),
        ("2026-02-08", "09:00", "18:00"),
    ):
        for time, allowed in ((opens, True), (closes, False)):
            assert finding(profile, at(f"{day}T{time}"), COLLECTION) == ("" if allowed else "shut")
            before = at(f"{day}T{time}") - 1
            assert finding(profile, before, COLLECTION) == ("shut" if allowed else "")
    assert finding(profile, at("2026-02-17T20:30"), MARKETING) == ""  # its hours are those of the base
    assert finding(profile, at("2026-02-17T18:30"), COLLECTION, VOICE) == ""


def test_a_day_not_published_yet_has_the_hours_that_both_kinds_share() -> None:
    """A Friday: New Year's Day, and no calendar that says so."""
    table = hours_of({"collection": {"workday": "08:00-20:00", "holiday": "09:00-18:00"}})
    hours, days = for_all(table, COLLECTION), calendar(None)._replace(last=date(2026, 12, 31))
    for time, allowed in (("08:59", False), ("09:00", True), ("17:59", True), ("18:00", False)):
        assert hours.allow(at(f"2027-01-01T{time}"), days) == allowed
    assert "not published" in hours.day(at("2027-01-01T10:00"), days).en
    named = days._replace(workdays=days.workdays | {date(2027, 1, 9)})
    assert hours.allow(at("2027-01-09T08:30"), named), "the operator's file says that people work"
    assert hours.day(at("2027-01-09T08:30"), named).zh == "（工作日）"
    assert hours.day(at("2026-10-01T08:30"), named).zh == "（非工作日）"
    same = for_all(hours_of({"marketing": "08:00-21:00"}), MARKETING)
    assert same.allow(at("2027-01-01T20:59"), days)
    assert same.day(at("2027-01-01T20:59"), days).en == ""


def test_a_scheduled_message_is_judged_at_its_time() -> None:
    noon, night = at("2026-11-20T12:00"), at("2026-11-20T23:00")
    assert finding(ZHEJIANG, noon, later=night) == "scheduled"
    assert finding(ZHEJIANG, night, later=night + 10 * HOUR) == ""
    assert finding(ZHEJIANG, night, later=noon) == "shut"  # its time is over: it goes at once
    assert finding(ZHEJIANG, noon, SERVICE, later=night) == ""


def test_marketing_is_not_scheduled_too_far_ahead() -> None:
    noon = at("2026-11-20T12:00")
    assert finding(ZHEJIANG, noon, later=noon + 7 * DAY) == ""
    assert finding(ZHEJIANG, noon, later=noon + 7 * DAY + 1) == "too_far"
    assert finding(ZHEJIANG, noon, COLLECTION, later=noon + 8 * DAY) == ""
    never = parsed('extends = "zhejiang"\n[rules.quiet_hours]\nmost_days_ahead = 0')
    assert finding(never, noon, later=noon + 1) == "too_far"
    assert finding(never, noon, later=0) == ""


_minutes = st.integers(0, 24 * 60 - 1)


@given(st.lists(st.tuples(_minutes, _minutes), min_size=2, max_size=2), st.integers(0, 40_000 * DAY))
def test_several_purposes_have_the_hours_that_all_share(windows: list[tuple[int, int]], now: int) -> None:
    def written(first: int, last: int) -> str:
        first, last = min(first, last), max(first, last) + 1
        return f"{first // 60:02}:{first % 60:02}-{last // 60:02}:{last % 60:02}"

    table = hours_of(dict(zip(("marketing", "collection"), (written(*one) for one in windows), strict=True)))
    days = ZHEJIANG.days
    each = [for_all(table, purpose).allow(now, days) for purpose in (MARKETING, COLLECTION)]
    assert for_all(table, MARKETING | COLLECTION | SERVICE).allow(now, days) == all(each)
    assert for_all(table, SERVICE).allow(now, days)


@given(st.integers(at("2026-01-01"), at("2026-12-01")))
def test_the_next_hours_begin_when_they_are_said_to(now: int) -> None:
    table = hours_of({"marketing": {"workday": "08:00-20:00", "holiday": "09:00-18:00"}})
    hours, days = for_all(table, MARKETING), calendar(None)
    begins = hours.next(now, days)
    assert hours.allow(begins, days)
    assert begins == now or not any(hours.allow(moment, days) for moment in (now, begins - 1))
    assert begins - now < DAY


@given(st.integers(at("1992-01-01"), at("2100-01-01")))
def test_the_hour_is_that_of_shanghai(now: int) -> None:
    """As the time zone's own table says: without summer time since 1991."""
    local = datetime.fromtimestamp(now / 1000, CHINA)
    allowed = for_all(hours_of({"marketing": "08:00-21:00"}), MARKETING).allow(now, ZHEJIANG.days)
    assert allowed == (8 <= local.hour < 21)


@pytest.mark.parametrize(
    "wrong",
    [
        '"08:00-21:00"',
        '{ marketing = "8:00-21:00" }',
        '{ marketing = "08:00-25:00" }',
        '{ marketing = "21:00-08:00" }',
        '{ marketing = "08:00-08:00" }',
        '{ sales = "08:00-21:00" }',
        "{ marketing = 8 }",
        '{ marketing = { workday = "08:00-20:00" } }',
        '{ marketing = { workday = "08:00-20:00", holiday = 9 } }',
    ],
)
def test_hours_that_are_none_are_named(wrong: str) -> None:
    with pytest.raises(UsageError, match=r'profile own, line 2: rules.quiet_hours.sms = .*"08:00-21:00"'):
        parsed(f"[rules.quiet_hours]\nsms = {wrong}")


@given(st.recursive(st.none() | st.integers() | st.text(), lambda v: st.dictionaries(st.text(), v)))
def test_no_value_stops_the_check(value: object) -> None:
    assert is_table(value) == (value == {})


NOW = at("2026-11-20T12:00")


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("", 0),
        ("0000000000000000", 0),
        ("261120230000", at("2026-11-20T23:00")),
        ("261120230000032+", at("2026-11-20T23:00")),
        ("261120150000000+", at("2026-11-20T23:00")),
        ("261120100000520-", at("2026-11-20T23:00:00.500")),
        ("000001020304000R", NOW + DAY + 2 * HOUR + 3 * 60_000 + 4000),
        ("000000000001000R", NOW + 1000),
    ],
)
def test_schedules_of_the_field(written: str, instant: int) -> None:
    assert deliver_at(written.encode(), NOW) == instant


@pytest.mark.parametrize(
    "written",
    [
        "26112023",
        "261320230000",
        "261120240000",
        "261120230060",
        "20261120230000",
        "261120230000049+",
        "soon",
    ],
)
def test_what_is_no_schedule_is_not_taken_for_one(written: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        deliver_at(written.encode(), NOW)


@given(st.integers(at("2000-01-03") // 100, at("2099-12-29") // 100), st.integers(-48, 48))
def test_a_schedule_in_any_zone_is_the_same_instant(tenths: int, quarters: int) -> None:
    local = datetime.fromtimestamp(tenths // 10, UTC) + timedelta(minutes=15 * quarters)
    sign = "-" if quarters < 0 else "+"
    written = f"{local:%y%m%d%H%M%S}{tenths % 10}{abs(quarters):02}{sign}"
    assert deliver_at(written.encode(), 0) == 100 * tenths


@given(st.binary(max_size=17), st.integers(0, 1 << 42))
def test_no_schedule_raises_anything_else(octets: bytes, now: int) -> None:
    try:
        assert deliver_at(octets, now) >= 0
    except ValueError:
        assert octets


def test_the_calendar_of_a_profile_has_the_shifted_days() -> None:
    assert calendar(None).is_workday(date(2026, 2, 14))
    assert not calendar(None).is_workday(date(2026, 2, 17))
