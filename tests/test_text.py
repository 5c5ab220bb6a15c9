"""Text: every coding, long messages, and whatever is not what it claims to be."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.text import decode, encode, fitting, gsm7, split, udh

VECTORS = json.loads((Path(__file__).parent / "vectors" / "sms.json").read_text())["vectors"]
FORMATS = {"ucs2-be": 8, "gbk": 15, "gsm7-unpacked": 0x10}
"""Of the vectors' encodings: packed septets and Latin-1 are SMPP's, where 3 is no write to the card."""


def named(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in VECTORS if v["kind"] == kind]


@pytest.mark.parametrize("v", [p for p in named("encoding") if p.values[0]["encoding"] in FORMATS])
def test_text_vectors_both_ways(v: dict[str, Any]) -> None:
    fmt, octets = FORMATS[v["encoding"]], bytes.fromhex(v["hex"])
    assert decode(octets, fmt, False) == (v["text"], "")
    assert encode(v["text"], fmt) == octets


@pytest.mark.parametrize("v", named("udh"))
def test_header_vectors(v: dict[str, Any]) -> None:
    content, expected = bytes.fromhex(v["hex"]), v["expected"]
    header = udh(content)
    if "error" in expected:
        assert header.flaw == expected["error"]
        assert not header.width
        assert decode(content, v["data_coding"], True)[1] == expected["error"]
        return
    said = expected["concat"]
    assert (header.width, header.ref, header.total, header.part) == (
        *(said["ref_bits"], said["ref"], said["total"], said["part"]),
    )
    assert header.flaw == ""
    assert [*header.ports] == expected.get("ports", [])


@pytest.mark.parametrize(
    ("content", "fmt", "expected"),
    [
        ("退订😀".encode("utf-16-be"), 8, ("退订😀", "")),
        ("退订".encode("utf-16-be") + b"\0", 8, ("退订", "odd_length")),
        (b"\xd8\x3d\0A", 8, ("\ufffdA", "undecodable")),
        (b"", 8, ("", "")),
        ("退订".encode("utf-16-be"), 0x19, ("退订", "")),
        ("【示例】".encode("gb18030"), 15, ("【示例】", "")),
        ("㐀𠀀".encode("gb18030"), 15, ("㐀𠀀", "")),
        (b"TD\r\n", 0, ("TD\r\n", "")),
        (b"T\x1b\x65", 0, ("T€", "")),
        ("退订".encode("gb18030"), 0, ("退订", "wrong_fmt")),
        ("退订".encode("utf-16-be"), 0, ("退订", "wrong_fmt")),
        ("退订".encode("utf-16-be"), 15, ("退订", "wrong_fmt")),
        (b"ab\xff", 15, ("ab\ufffd", "undecodable")),
        (b"\x41\xc1", 0x10, ("A\ufffd", "undecodable")),
        *((b"R", fmt, ("", "binary")) for fmt in (2, 3, 4, 0x7F, 0xF5, 0xF6, 9, 255)),
    ],
)
def test_what_is_odd_is_said_and_what_can_be_read_is_read(
    content: bytes, fmt: int, expected: tuple[str, str]
) -> None:
    assert decode(content, fmt, False) == expected


def test_the_header_is_not_text() -> None:
    content = bytes.fromhex("050003010201") + "回T退订".encode("utf-16-be")
    assert decode(content, 8, True) == ("回T退订", "")
    assert decode(bytes.fromhex("06080400010201") + b"TD", 0, True) == ("TD", "")
    assert decode(b"", 8, True) == ("", "udh_truncated")


@given(content=st.binary(max_size=160), fmt=st.integers(0, 255), udhi=st.booleans())
def test_reading_never_fails(content: bytes, fmt: int, udhi: bool) -> None:
    text, note = decode(content, fmt, udhi)
    text.encode()  # no lone surrogates: records and pages can hold it
    assert note or "\ufffd" not in text or b"\xff\xfd" in content or fmt == 15
    header = udh(content)
    assert 0 <= header.size <= len(content)
    if header.width:
        assert 0 < header.part <= header.total


def test_the_gsm_alphabet_is_whole() -> None:
    plain = bytes(c for c in range(128) if c != 0x1B)
    text, note = gsm7(plain)
    assert (len(set(text)), note) == (127, "")
    assert encode(text, 0x10) == plain
    assert gsm7(b"\x1b\x0a\x1b\x65\x1bA\x1b") == ("\f€A", "")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=600)


@given(text=TEXTS, width=st.sampled_from([8, 16]), ref=st.integers(0, 0xFFFF))
def test_a_long_text_is_whole_again_when_its_parts_are_joined(text: str, width: int, ref: int) -> None:
    for fmt in (fitting(text), 15):
        contents = split(text, fmt, ref, width)
        if len(contents) == 1:
            assert decode(contents[0], fmt, False)[0] == text
            continue
        headers = [udh(content) for content in contents]
        assert [h.part for h in headers] == [*range(1, len(contents) + 1)]
        assert {(h.total, h.ref, h.width) for h in headers} == {
            (len(contents), ref & (0xFF if width == 8 else 0xFFFF), width)
        }
        assert all(len(content) <= (160 if fmt == 0 else 140) for content in contents)
        assert "".join(decode(content, fmt, True)[0] for content in contents) == text


@pytest.mark.parametrize(
    ("text", "parts"), [("账" * 70, 1), ("账" * 71, 2), ("账" * 134, 2), ("账" * 135, 3)]
)
def test_parts_of_ucs2_hold_67_characters(text: str, parts: int) -> None:
    assert len(split(text, 8, 1)) == parts


def test_pairs_and_escapes_are_never_cut() -> None:
    for text, fmt in (("a" + "😀" * 60, 8), ("a" + "账" * 90, 15), ("a" + "€" * 120, 0x10)):
        for content in split(text, fmt, 1):
            assert decode(content, fmt, True)[1] == ""


def test_a_text_beyond_255_parts_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="parts"):
        split("账" * 67 * 256, 8, 1)
