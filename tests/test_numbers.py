"""One spelling per number: agreement with the phonenumbers library, and the decisions of numbers.py."""

import phonenumbers
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from gateway.policy.numbers import as_called, canonical, is_mobile, mask, opaque
from gateway.registry.numbering import number as registry_number
from gateway.registry.numbering import subscriber
from gateway.registry.rows import Bad

AREAS = (
    "10 20 21 22 23 24 25 27 28 29 311 351 371 431 451 512 532 551 571 574 579 591 731 755 851 898 951 991"
)


def library(spelling: str) -> str:
    return phonenumbers.format_number(phonenumbers.parse(spelling, "CN"), PhoneNumberFormat.E164)


mobiles = st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True)
lines = st.tuples(st.sampled_from(AREAS.split()), st.from_regex(r"[0-9]{7,8}", fullmatch=True))
groups = st.sampled_from(["", " ", "-", ".", "\u00a0", "\u2011"])


@st.composite
def spelled(draw: st.DrawFn, national: str) -> str:
    """A national number as people and machines write it."""
    prefix = draw(st.sampled_from(["+86", "86", "0086", "0", "+860", "tel:+86", "sip:+86", "00 86 ", "+86 "]))
    gap = draw(groups)
    cut = draw(st.integers(2, len(national) - 2))
    tail = draw(st.sampled_from(["", ";isub=1", ";phone-context=example.com"])) if ":" in prefix else ""
    host = "@198.51.100.1:5060;user=phone" if prefix.startswith("sip:") else ""
    return f"{prefix}{national[:cut]}{gap}{national[cut:]}{tail}{host}"


@given(st.data(), mobiles)
def test_mobile_numbers_agree_with_the_library(data: st.DataObject, national: str) -> None:
    assume(phonenumbers.is_valid_number(phonenumbers.parse("+86" + national)))
    assert canonical(national) == library(national) == "+86" + national
    assert canonical(data.draw(spelled(national))) == "+86" + national
    assert is_mobile("+86" + national)


@given(st.data(), lines)
def test_fixed_lines_agree_with_the_library(data: st.DataObject, line: tuple[str, str]) -> None:
    national = "".join(line)
    number = phonenumbers.parse("+86" + national)
    assume(phonenumbers.is_valid_number(number))
    assume(phonenumbers.number_type(number) == PhoneNumberType.FIXED_LINE)
    e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    assert canonical(f"0{line[0]}-{line[1]}") == library("0" + national) == e164
    assert canonical(data.draw(spelled(national))) == e164
    assert not is_mobile(e164)


@given(st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS - {"CN"})))
def test_foreign_numbers_agree_with_the_library(region: str) -> None:
    number = phonenumbers.example_number(region)
    assume(number is not None)
    e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    assert canonical(e164) == canonical("00" + e164[1:]) == canonical(f"tel:{e164}") == e164
    assert canonical(phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)) == e164


@given(st.from_regex(r"(106|10|12|95|96)[0-9]{3,17}", fullmatch=True))
def test_codes_are_bare_digits(code: str) -> None:
    assert canonical(code) == canonical(code.encode() + b"\0" * (21 - len(code))) == code


@given(st.one_of(st.text(max_size=30), st.binary(max_size=30), st.from_regex(r"\+?[0-9 ]{0,24}")))
def test_canonical_is_a_fixed_point_and_never_raises(raw: str | bytes) -> None:
    number = canonical(raw)
    assert canonical(number) == number
    assert number == "" or number.removeprefix("+").isdigit()


@pytest.mark.parametrize(
    ("spelling", "number"),
    [
        ("13800000000", "+8613800000000"),
        (b"8613800000000\0\0\0\0\0\0\0\0", "+8613800000000"),
        (b"13800000000\0garbage", "+8613800000000"),
        (b" 13800000000 ", "+8613800000000"),
        ("013800000000", "+8613800000000"),
        ("１３８００００００００", "+8613800000000"),
        ("0571-8888 6666", "+8657188886666"),
        ("057188886666", "+8657188886666"),
        ("(0571)88886666", "+8657188886666"),
        ("+86(0)571 8888 6666", "+8657188886666"),
        ("57188886666", "+8657188886666"),  # no trunk 0, but a whole geographic number
        ("01012345678", "+861012345678"),
        ("010-6900 0123", "+861069000123"),
        ("861069000123", "+861069000123"),  # after 86, a whole Beijing number is one
        ("1069000123", "1069000123"),  # bare, it is a code
        ("+86106900012345", "106900012345"),
        ("86106900012345", "106900012345"),
        ("tel:88886666;phone-context=+86571", "+8657188886666"),
        ("tel:+86-571-8888-6666", "+8657188886666"),
        ("sips:%2B8613800000000:secret@example.com", "+8613800000000"),
        ("SIP:4001234567@example.com;user=phone", "4001234567"),
        ("+8695588", "95588"),
        ("+106900012345", "106900012345"),  # no area of +1 begins with 0 or 1
        ("0010690001", "10690001"),
        ("+12125550100", "+12125550100"),
        ("057195588", "+8657195588"),  # that city's service line
        ("0951-5012345", "+869515012345"),
        ("95150123456", "95150123456"),  # bare 95… is a code
        ("400-123-4567", "4001234567"),
        ("+864001234567", "4001234567"),
        ("8008888888", "8008888888"),
        ("10086", "10086"),
        ("12321", "12321"),
        ("+852 9123 4567", "+85291234567"),
        ("0085291234567", "+85291234567"),
        ("88886666", ""),  # a local number without its area code
        ("1" * 21, ""),
        ("0106900012345", ""),  # no trunk 0 before a code
        ("+", ""),
        ("", ""),
        (b"", ""),
        (b"\xff13800000000", ""),
        ("示例银行", ""),
        ("BANK", ""),
        ("sip:alice@example.com", ""),
        ("mailto:13800000000", ""),
        ("12345678901234567890123", ""),
    ],
)
def test_spellings(spelling: str | bytes, number: str) -> None:
    assert canonical(spelling) == number


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+8613800000000", "138****0000"),
        ("+8657188886666", "571****6666"),
        ("+85291234567", "852****4567"),
        ("10086", "****86"),
        ("", "****"),
    ],
)
def test_mask_hides_a_subscriber(number: str, shown: str) -> None:
    assert mask(number) == shown


@given(st.binary(max_size=40))
def test_a_pseudo_number_is_kept_as_it_came_and_is_nobody_elses(raw: bytes) -> None:
    spelled = opaque(raw)
    if spelled:
        assert spelled == f"pseudo:{raw.decode()}"
        assert canonical(spelled) == canonical(spelled.encode()) == spelled
        assert canonical(raw) != spelled
    else:
        assert not 1 <= len(raw) <= 32 or any(not 0x21 <= octet <= 0x7E for octet in raw)


def test_a_refusal_of_a_pseudo_number_can_be_brought_in_as_it_was_exported() -> None:
    assert subscriber("pseudo:A1B2C3") == "pseudo:A1B2C3"
    with pytest.raises(Bad):  # nobody sends from one, and none is filed or banned
        registry_number("pseudo:A1B2C3")


@pytest.mark.parametrize("cell", ["106900010146.0", " 13800000501.0", "106900010146.5", "1380000050.10"])
def test_a_number_that_a_program_wrote_with_decimals_is_none(cell: str) -> None:
    """Its decimals would be its last digits, and it another holder's number or another subscriber's."""
    for read in (registry_number, subscriber):
        with pytest.raises(Bad, match="decimals"):
            read(cell)


def test_dots_between_groups_of_digits_are_read() -> None:
    assert registry_number("0571.8888.6666") == subscriber("0571.88886666") == "+8657188886666"


def test_what_looks_like_a_pseudo_number_and_is_none() -> None:
    assert canonical("pseudo:") == canonical("pseudo:a b") == canonical("pseudo:" + "1" * 33) == ""
    assert mask(opaque(b"A1B2C3D4E5F6")) == "pseudo:A1B2****E5F6"


@pytest.mark.parametrize("prefix", ["12593", "125831", "10193", "17951", "11808", "96688", "+8612593"])
def test_a_called_number_behind_a_dialling_prefix_is_none(prefix: str) -> None:
    """The network takes it for the number behind, under which its refusals stand."""
    for behind in ("13800138000", "013800138000", "057188886666", "88886666", "10086"):
        assert as_called(canonical(prefix + behind)) == ""


@pytest.mark.parametrize("number", ["10086", "12345", "95588", "955331", "4008888888", "8008888888", "110"])
def test_codes_that_ring_somebody_are_called(number: str) -> None:
    assert as_called(canonical(number)) == canonical(number)
    assert as_called("+8613800138000") == "+8613800138000"
    assert as_called(canonical("40088888881380")) == ""  # those behind are not its own
