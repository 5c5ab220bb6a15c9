"""Wire tables: what is compiled reads and writes what the class body says, and nothing beyond the frame."""

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import WireError
from gateway.protocols.table import U8, U16, Int, Many, Octets, Pdu, Raw, Rest, Var, pdu, reader


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
        (OCTETS[:17], "Text"),
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
