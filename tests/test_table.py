"""Wire tables: what is compiled reads and writes what the class body says, and nothing beyond the frame."""

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import WireError
from gateway.protocols.kinds import U8, U16, Int, Items, Many, Octets, Raw, Rest, Text, Tlv, Tlvs, Var
from gateway.protocols.table import Pdu, alike, joined, pdu, reader


@pdu(7, "PK_count")
class Sample(Pdu):
    head: U16
    name: Annotated[bytes, Octets(4, 6)]
    later: Annotated[int, Int(0, 4)]
    pk_count: U8
    items: Annotated[list[bytes], Many(3, by="pk_count")]
    digest: Annotated[bytes, Raw(2)]
    text_length: U8
    text: Annotated[bytes, Var(by="text_length")]
    tail: Annotated[bytes, Rest()]


SAMPLE = Sample(head=258, name=b"ab", items=[b"x", b"yz"], digest=b"\x00\x01", text=b"\x00hi", tail=b"...")
OCTETS = b"\x01\x02ab\0\0\x02x\0\0yz\0\x00\x01\x03\x00hi..."


def test_names_in_the_specification_follow_the_python_names_or_the_given_spelling() -> None:
    assert [f.spec for f in Sample.fields][:4] == ["Head", "Name", "Later", "PK_count"]
    assert Sample.command == 7


def test_encode_writes_counts_and_padding_by_itself() -> None:
    assert SAMPLE.encode() == OCTETS


def test_decode_cuts_texts_but_never_raw_octets() -> None:
    got = Sample.decode(b"??" + OCTETS, 2, 2 + len(OCTETS))
    assert (got.name, got.items, got.digest, got.text, got.tail) == (
        *(b"ab", [b"x", b"yz"], b"\x00\x01", b"\x00hi", b"..."),
    )
    assert (got.pk_count, got.text_length) == (2, 3)


def test_a_text_is_cut_at_the_first_zero_and_loses_its_blanks() -> None:
    assert Sample.decode(b"\0\0 a\0z\0\0\0\0", 0, 10).name == b"a"


def test_a_field_of_width_0_is_not_in_that_column() -> None:
    octets = Sample(later=5, name=b"abcdef").encode(1)
    assert len(octets) == len(Sample().encode(0)) + 2 + 4
    got = Sample.decode(octets, 0, len(octets), 1)
    assert (got.later, got.name) == (5, b"abcdef")
    assert reader(Sample, "later head")(OCTETS, 0, len(OCTETS)) == (0, 258)


@pytest.mark.parametrize(
    ("octets", "field"),
    [
        (OCTETS[:1], "Head"),
        (OCTETS[:5], "Name"),
        (OCTETS[:6], "PK_count"),
        (OCTETS[:12], "Items"),
        (OCTETS[:14], "Digest"),
        (OCTETS[:15], "Text_Length"),
        (b"\0\0abcd\xff" + b"x" * 764, "Items"),
    ],
)
def test_a_frame_that_ends_too_early_names_the_first_field_that_does_not_fit(
    octets: bytes, field: str
) -> None:
    for read in (Sample.decode, reader(Sample, "head"), reader(Sample, "")):
        with pytest.raises(WireError) as caught:
            read(octets, 0, len(octets))
        assert (caught.value.cause, caught.value.detail) == ("truncated_body", field)


def test_a_text_that_is_longer_than_the_frame_is_told_by_its_length() -> None:
    for read in (Sample.decode, reader(Sample, "head"), reader(Sample, "")):
        with pytest.raises(WireError) as caught:
            read(OCTETS[:17], 0, 17)
        assert (caught.value.cause, caught.value.detail) == ("message_length_exceeds_pdu", "Text_Length")


def test_octets_beyond_the_frame_are_never_read() -> None:
    with pytest.raises(WireError):
        Sample.decode(OCTETS, 0, len(OCTETS) - 6)


def test_octets_left_over_are_counted() -> None:
    @pdu(1)
    class Short(Pdu):
        one: U8

    with pytest.raises(WireError) as caught:
        Short.decode(b"\1\2\3\4", 0, 4)
    assert (caught.value.cause, caught.value.detail) == ("trailing_bytes", "3")


def test_our_own_mistakes_are_value_errors() -> None:
    for wrong in (Sample(name=b"abcde"), Sample(items=[b"long"]), Sample(digest=b"1"), Sample(pk_count=9)):
        with pytest.raises(ValueError, match=r"Name|Items|Digest|PK_count"):
            wrong.encode()
    with pytest.raises(TypeError):
        Sample(nonsense=1)
    with pytest.raises(KeyError):
        reader(Sample, "nonsense")
    with pytest.raises(TypeError):
        Pdu()


def test_a_place_is_known_only_before_the_first_field_of_variable_size() -> None:
    assert Sample.offset("pk_count") == 6
    assert Sample.offset("pk_count", 1) == 12
    with pytest.raises(ValueError, match="fixed place"):
        Sample.offset("text")


TEXT = st.binary(max_size=4).map(lambda b: bytes(c or 1 for c in b).strip())


@given(
    head=st.integers(0, 0xFFFF),
    name=TEXT,
    items=st.lists(TEXT.map(lambda b: b[:3].strip()), max_size=255),
    digest=st.binary(min_size=2, max_size=2),
    text=st.binary(max_size=255),
    tail=st.binary(max_size=9),
    data=st.data(),
)
def test_what_is_encoded_is_read_back_by_every_reader(
    head: int, name: bytes, items: list[bytes], digest: bytes, text: bytes, tail: bytes, data: st.DataObject
) -> None:
    made = Sample(head=head, name=name, items=items, digest=digest, text=text, tail=tail)
    octets = made.encode()
    whole = Sample.decode(octets, 0, len(octets))
    assert whole.encode() == octets
    asked = data.draw(st.permutations([f.name for f in Sample.fields]))[: data.draw(st.integers(0, 9))]
    assert reader(Sample, " ".join(asked))(octets, 0, len(octets)) == tuple(getattr(whole, n) for n in asked)
    made.pk_count, made.text_length = len(items), len(text)
    assert whole == made


@pdu(8, spell=joined, bodiless=True)
class Modern(Pdu):
    name: Annotated[bytes, Text(5)]
    item_count: U8
    items: Annotated[
        list[tuple[Any, ...]], Items(by="item_count", choices={1: (Int(1), Text(4)), 2: (Text(3),)})
    ]
    pair_count: U8
    pairs: Annotated[list[tuple[Any, ...]], Items(Text(4), Int(4), by="pair_count")]
    tlvs: Annotated[list[Tlv], Tlvs()]


MODERN = Modern(
    name=b"ab", items=[(1, 7, b"xyz"), (2, b"q")], pairs=[(b"p", 258)], tlvs=[(0x1505, b"zz"), (1, b"")]
)
MODERN_OCTETS = b"ab\0\2\1\7xyz\0\2q\0\1p\0\0\0\1\2\x15\5\0\2zz\0\1\0\0"


def test_texts_with_an_end_items_and_optional_fields_are_read_as_written() -> None:
    assert MODERN.encode() == MODERN_OCTETS
    got = Modern.decode(b"?" + MODERN_OCTETS + b"\0\0", 1, 1 + len(MODERN_OCTETS))
    assert (got.name, got.items, got.pairs, got.tlvs) == (b"ab", MODERN.items, MODERN.pairs, MODERN.tlvs)
    assert [f.spec for f in Modern.fields][:2] == ["Name", "ItemCount"]
    assert reader(Modern, "tlvs name")(MODERN_OCTETS, 0, len(MODERN_OCTETS)) == (MODERN.tlvs, b"ab")


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"abcde\0", "c_octet_string_too_long:Name"),
        (b"abcd", "missing_nul:Name"),
        (b"ab\0\1", "truncated_body:Items"),
        (b"ab\0\1\1", "truncated_body:Items"),
        (b"ab\0\1\3x\0", "bad_value:Items"),
        (b"ab\0\1\1\7wxyz\0", "c_octet_string_too_long:Items"),
        (b"ab\0\1\1\7xyz", "missing_nul:Items"),
        (b"ab\0\0\1p\0\0\0\1", "truncated_body:Pairs"),
        (b"ab\0\0\0\1\2\0", "tlv_truncated_header:"),
        (b"ab\0\0\0\1\2\0\3zz", "tlv_length_exceeds_pdu:0x0102"),
    ],
)
def test_what_does_not_end_where_it_should_is_named(octets: bytes, said: str) -> None:
    for read in (Modern.decode, reader(Modern, "")):
        with pytest.raises(WireError) as caught:
            read(octets + b"\0" * 9, 0, len(octets))
        assert f"{caught.value.cause}:{caught.value.detail}" == said


def test_a_pdu_that_may_lack_its_body_is_known_by_its_first_field() -> None:
    bare = Modern.decode(MODERN_OCTETS, 4, 4)
    assert (bare.name, bare.tlvs, bare.encode()) == (None, [], b"")
    with pytest.raises(WireError):
        Sample.decode(OCTETS, 4, 4)


def test_a_table_may_be_that_of_another_pdu_too() -> None:
    other = alike(Modern, 9, "Other")
    made = other.decode(MODERN_OCTETS, 0, len(MODERN_OCTETS))
    assert (other.command, Modern.command, type(made).__name__) == (9, 8, "Other")
    assert made.encode() == MODERN_OCTETS
    assert made != MODERN


def test_texts_that_can_not_be_written_are_our_own_mistakes() -> None:
    for wrong in (Modern(name=b"abcde"), Modern(name=b"a\0"), Modern(pairs=[(b"abcd", 1)])):
        with pytest.raises(ValueError, match=r"Name|Pairs"):
            wrong.encode()
