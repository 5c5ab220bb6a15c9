"""Kinds, forms and numbering: a cell becomes the value it says, or a cause that says what would be right."""

import datetime
from typing import Any

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import COLLECTION, MARKETING, SERVICE, SMS, VOICE
from gateway.registry import forms, numbering
from gateway.registry.kinds import KINDS, REQUIRED, columns_of
from gateway.registry.reading import parse_row
from gateway.registry.rows import Bad

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))
NUMBER = {"number": "10690001", "channels": "sms", "purposes": "marketing", "institution": "B1"}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_headers_are_told_apart_in_both_languages(kind: Any) -> None:
    english, chinese = [c.name for c in kind.columns], [c.chinese for c in kind.columns]
    assert len(set(english)) == len(set(chinese)) == len(english)
    assert columns_of(kind, english) == columns_of(kind, chinese)
    assert columns_of(kind, [f" {name.upper()} " for name in english]) == columns_of(kind, english)
    assert set(kind.key) <= set(english)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (["number", "purposes", "institution", "nmuber"], "unknown 'nmuber'"),
        (["number", "institution"], r"missing purposes \(用途\)"),
        (["number", "号码", "purposes", "institution"], "stands there twice"),
    ],
)
def test_wrong_headers_are_named(header: list[str], words: str) -> None:
    with pytest.raises(Bad, match=words) as told:
        columns_of(KINDS["numbers"], header)
    assert not told.value.flaw.cause_zh.isascii()
    assert told.value.flaw.expected


@pytest.mark.parametrize(
    ("form", "cell", "value"),
    [
        (forms.INSTANT, "2026-01-31", datetime.datetime(2026, 1, 31, tzinfo=SHANGHAI)),
        (forms.INSTANT, "2026/1/31", datetime.datetime(2026, 1, 31, tzinfo=SHANGHAI)),
        (forms.INSTANT, "2026-01-31 09:30", datetime.datetime(2026, 1, 31, 9, 30, tzinfo=SHANGHAI)),
        (forms.INSTANT, "2026-01-31T01:30:00Z", datetime.datetime(2026, 1, 31, 9, 30, tzinfo=SHANGHAI)),
        (forms.CHANNEL_MASK, "sms;voice", SMS | VOICE),
        (forms.CHANNEL_MASK, "短信；语音", SMS | VOICE),
        (forms.PURPOSE_MASK, "Marketing; service", MARKETING | SERVICE),
        (forms.SCOPE_MASK, "none", 0),
        (forms.FLAG, "是", True),
        (forms.FLAG, "FALSE", False),
        (forms.SIGNATURES, "【示例银行】; 示例信用卡;示例银行", ["示例银行", "示例信用卡"]),
        (forms.NETWORKS, "10.0.0.1;10.0.0.0/8", ["10.0.0.1", "10.0.0.0/8"]),
        (forms.ENDPOINTS, "10.0.0.5:7890;[::1]:7890", ["10.0.0.5:7890", "[::1]:7890"]),
        (forms.SHA256, "AB" * 32, b"\xab" * 32),
        (forms.SUBSCRIBER, "138-0000-0000", "+8613800000000"),
    ],
)
def test_cells_become_values_and_back(form: forms.Form, cell: str, value: object) -> None:
    assert form.parse(cell) == value
    for chinese in (False, True):
        assert form.parse(form.write(value, chinese)) == value


@pytest.mark.parametrize(
    ("form", "cell"),
    [
        (forms.INSTANT, "31.01.2026"),
        (forms.INSTANT, "2026-02-30"),
        (forms.INSTANT, "45000"),
        (forms.INSTANT, "0001-01-01"),
        (forms.CHANNEL_MASK, "fax"),
        (forms.CHANNEL_MASK, ";"),
        (forms.PURPOSE_MASK, "none"),
        (forms.FLAG, "maybe"),
        (forms.NETWORKS, "10.0.0.1/8"),
        (forms.ENDPOINTS, "host"),
        (forms.ENDPOINT, "host"),
        (forms.SHA256, "abc"),
        (forms.SUBSCRIBER, "10690001"),
        (forms.SUBSCRIBER, "10000000000"),
        (forms.SUBSCRIBER, "1.38E+10"),
        (forms.count(0, 9), "10"),
        (forms.count(0, 9), "²"),
        (forms.text(5), "123456"),
        (forms.text(5), "a\0b"),
    ],
)
def test_cells_that_say_nothing_are_bad(form: forms.Form, cell: str) -> None:
    with pytest.raises(Bad) as bad:
        form.parse(cell)
    assert bad.value.flaw.cause
    assert bad.value.flaw.cause_zh
    assert bad.value.flaw.expected or form.expected


@pytest.mark.parametrize(
    ("cell", "extension", "number"),
    [
        ("1069 0001", 4, "10690001"),
        ("0571-88886666", 0, "+8657188886666"),
        ("+8613800000000", 0, "+8613800000000"),
        ("057188886", 3, "+8657188886"),
        ("95588", 0, "95588"),
        ("4008123456", 0, "4008123456"),
        ("106", 0, "106"),
        ("955880", 12, "955880"),
    ],
)
def test_numbers_that_may_be_filed(cell: str, extension: int, number: str) -> None:
    assert numbering.registrable(cell, extension) == number


@pytest.mark.parametrize(
    ("cell", "extension"),
    [
        ("88886666", 0),
        ("057188886", 0),
        ("10690001", 13),
        ("106", 12),
        ("800", 5),
        ("955", 1),
        ("400", 7),
        ("0571", 8),
        ("13800000000", 8),
        ("+861380000", 0),
        ("abc", 2),
        ("10699700\0000016", 0),
        ("", 0),
    ],
)
def test_numbers_that_may_not_be_filed(cell: str, extension: int) -> None:
    with pytest.raises(Bad):
        numbering.registrable(cell, extension)


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("1069", "1069"),
        ("0571", "+86571"),
        ("86571", "+86571"),
        ("+86571", "+86571"),
        ("0086 571", "+86571"),
        ("138", "+86138"),
        ("95588", "95588"),
        ("+8526", "+8526"),
    ],
)
def test_beginnings_of_numbers(cell: str, found: str) -> None:
    assert numbering.prefix(cell) == found
    assert numbering.prefix(found) == found


@pytest.mark.parametrize("cell", ["", "1", "10", "+", "+86", "+8613", "0", "01", "abc", "5", "1" * 21])
def test_beginnings_that_cover_too_much_or_nothing(cell: str) -> None:
    with pytest.raises(Bad):
        numbering.prefix(cell)


@settings(max_examples=300)
@given(
    st.from_regex(
        r"1[0-9]{10}|[2-9][0-9]{8,10}|10[0-9]{5,9}|[48]00[0-9]{6,8}|[1-9][0-9]{4,12}", fullmatch=True
    )
)
def test_chinese_numbers_exist_when_the_library_says_so(national: str) -> None:
    number = phonenumbers.PhoneNumber(country_code=86, national_number=int(national))
    assert numbering.exists("+86" + national) == phonenumbers.is_valid_number(number)


def test_a_row_takes_defaults_for_what_is_left_out_or_empty() -> None:
    values, flaws = parse_row(KINDS["numbers"], NUMBER | {"effective_from": " "})
    assert flaws == []
    assert values["extension_digits"] == 0
    assert values["effective_from"] is None
    assert values["signatures"] == ()


def test_all_bad_cells_of_a_row_are_named() -> None:
    _, flaws = parse_row(
        KINDS["numbers"], {"number": "10690001", "channels": "fax", "purposes": "", "institution": "B1"}
    )
    assert [(column, cell) for column, cell, _ in flaws] == [("channels", "fax"), ("purposes", "")]


@pytest.mark.parametrize(
    ("cell", "end", "written"),
    [
        ("2026-01-31", "2026-02-01T00:00:00+08:00", "2026-01-31"),
        ("2026/1/31", "2026-02-01T00:00:00+08:00", "2026-01-31"),
        ("2026-01-31T00:00:00", "2026-01-31T00:00:00+08:00", "2026-01-30"),
        ("2026-01-31T09:30", "2026-01-31T09:30:00+08:00", "2026-01-31T09:30:00+08:00"),
    ],
)
def test_a_licence_until_a_day_lasts_to_its_end(cell: str, end: str, written: str) -> None:
    found = KINDS["institutions"].column("许可有效期至")
    assert found is not None
    form = found.form
    value = form.parse(cell)
    assert value == datetime.datetime.fromisoformat(end)
    assert form.write(value, False) == written
    assert form.parse(written) == value


def test_a_period_that_ends_before_it_begins_is_bad() -> None:
    row = NUMBER | {"effective_from": "2026-02-01", "effective_until": "2026-02-01"}
    _, [(column, _, flaw)] = parse_row(KINDS["numbers"], row)
    assert column == "effective_until"
    assert "effective_from" in flaw.cause


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_defaults_survive_export_and_import(kind: Any) -> None:
    for column in kind.columns:
        if column.default is REQUIRED or column.default in (None, "", ()):
            continue
        assert column.form.parse(column.form.write(column.default, False)) == column.default


def test_purposes_of_a_message_are_bits() -> None:
    assert forms.PURPOSE_MASK.parse("催收") == COLLECTION
