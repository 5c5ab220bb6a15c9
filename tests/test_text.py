"""Text: every coding, long messages, and whatever is not what it claims to be."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.replies import classify
from gateway.policy.text_rules import FLAWS
from gateway.protocols.text import decode, encode, fitting, gsm7, others, shown, split, udh, unpacked

VECTORS = json.loads((Path(__file__).parent / "vectors" / "sms.json").read_text())["vectors"]
FORMATS = {"ucs2-be": 8, "gbk": 15, "gsm7-unpacked": 0x10}
"""Of the encodings in the vectors: Latin-1 is that of SMPP alone; that septets are packed nobody says."""


REFUSAL = "拒收"  # in UCS-2, a rare character of GB between two letters
DUE = "您的借款已逾期12天，请立即还款"
OTHERS = ("gb18030", "utf-8")
OFFER = "【示例】新客专享，拒收请回复R！"  # of an even number of octets in either


def named(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in VECTORS if v["kind"] == kind]


@pytest.mark.parametrize("v", [p for p in named("encoding") if p.values[0]["encoding"] in FORMATS])
def test_text_vectors_both_ways(v: dict[str, Any]) -> None:
    fmt, octets = FORMATS[v["encoding"]], bytes.fromhex(v["hex"])
    assert decode(octets, fmt, False) == (v["text"], "")
    assert encode(v["text"], fmt) == octets


@pytest.mark.parametrize("v", [p for p in named("encoding") if p.values[0]["encoding"] not in FORMATS])
def test_text_vectors_that_are_only_read(v: dict[str, Any]) -> None:
    octets = bytes.fromhex(v["hex"])
    if v["encoding"] == "latin-1":
        assert decode(octets, 3, False, "smpp") == (v["text"], "")
    else:
        assert v["encoding"] == "gsm7-packed"
        assert unpacked(octets) == v["text"]


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
        ("退订".encode("utf-16-be") + b"\0", 8, ("退订", "")),
        ("退订".encode("utf-16-be") + b"\x4e", 8, ("退订", "odd_length")),
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
        (b"\xff\xff\xff", 0x10, ("\ufffd\ufffd\ufffd", "undecodable")),
        (bytes.fromhex("e8329bfd06"), 0x10, ("hello", "packed")),
        ("退订".encode("gb18030"), 0x10, ("退订", "wrong_fmt")),
        (b"caf\xe9 et th\xe9", 0, ("café et thé", "wrong_fmt")),
        ("TD".encode("utf-16-be"), 0, ("TD", "wrong_fmt")),
        (b"TD\0", 0, ("TD\0", "")),
        (b"TD1", 8, ("TD1", "wrong_fmt")),
        *((b"R", fmt, ("", "binary")) for fmt in (2, 3, 4, 0x14, 0xF5, 0xF6)),
        *((b"R", fmt, ("R", "wrong_fmt")) for fmt in (0x7F, 9, 255)),
        ("回R退订".encode("utf-16-be"), 0x7F, ("回R退订", "wrong_fmt")),
        ("回R退订".encode("gb18030"), 9, ("回R退订", "wrong_fmt")),
        (b"\0\1\0\2\xff\xfe", 9, ("", "binary")),
        *(("TD退订".encode(c), fmt, ("TD退订", "wrong_fmt")) for c in OTHERS for fmt in (0, 8, 0x19, 0x7F)),
        *((OFFER.encode(c), fmt, (OFFER, "wrong_fmt")) for c in OTHERS for fmt in (0, 8, 0x7F)),
        *((text.encode(), 15, (text, "wrong_fmt")) for text in ("退订", "TD退订", OFFER)),
        ("您的贷款已逾期".encode("utf-16-be"), 15, ("您的贷款已逾期", "wrong_fmt")),
        ("联通".encode("gb18030"), 15, ("联通", "")),
        ("联通".encode("gb18030"), 8, ("联通", "wrong_fmt")),
        *((text.encode(), 8, (text, "wrong_fmt")) for text in ("TD", "0000", "STOP", "Your code is 12")),
        ("㐀".encode("utf-16-be"), 8, ("㐀", "")),
        ("娅┼à".encode("gb18030"), 15, ("娅┼à", "")),  # UTF-8, too
        ("中".encode("utf-16-be"), 8, ("中", "")),
        *((text.encode("utf-16-be"), 8, (text, "")) for text in ("감사합니다", "Ｔ", "（退订）", "TD", "@")),
        *((REFUSAL.encode("utf-16-be"), fmt, (REFUSAL, "wrong_fmt")) for fmt in (0, 1, 15, 0x7F)),
        *((text.encode("gb18030"), 15, (text, "")) for text in (DUE + "\0", DUE + "\1\1", "陶喆", "R\0")),
        (DUE.encode("gb18030") + b"\1\1", 0, (DUE + "\1\1", "wrong_fmt")),
        (b"\xff\xfe" + DUE.encode("utf-16-le"), 8, (DUE, "byte_order")),
        (b"\xff\xfe" + DUE.encode("utf-16-le"), 0, (DUE, "byte_order")),
        (DUE.encode("utf-16-le"), 15, (DUE, "byte_order")),
        *((DUE.encode("utf-16-be"), fmt, (DUE, "")) for fmt in (9, 0x0B, 0x48, 0x59, 0xE0, 0xEF)),
        *((b"a\x02\x11", fmt, ("", "binary")) for fmt in (9, 0x48, 0xC0)),
        *((b"\x40R", fmt, ("¡R", "")) for fmt in (0x41, 0x50, 0xC0, 0xD8)),
    ],
)
def test_what_is_odd_is_said_and_what_can_be_read_is_read(
    content: bytes, fmt: int, expected: tuple[str, str]
) -> None:
    assert decode(content, fmt, False) == expected


@pytest.mark.parametrize(
    ("content", "fmt", "expected"),
    [
        (b"a@$\x1be", 0, ("a¡¤€", "")),
        (b"\0\2", 0, ("@$", "")),
        ("é".encode("latin-1"), 3, ("é", "")),
        ("Привет".encode("iso8859-5"), 6, ("Привет", "")),
        ("退订".encode("utf-16-be"), 8, ("退订", "")),
        ("退订".encode("gb18030"), 15, ("退订", "")),
        (b"R", 4, ("", "binary")),
        (b"TD\0", 0, ("TD", "")),
        *((text.encode("utf-16-be"), 0, (text, "wrong_fmt")) for text in ("T", "0000", REFUSAL, "「TD」")),
        *((text.encode("gb18030"), 0, (text, "wrong_fmt")) for text in ("请退订", "不要发了")),
        (REFUSAL.encode(), 0, (REFUSAL, "wrong_fmt")),
        (REFUSAL.encode("utf-16-be"), 3, (REFUSAL, "wrong_fmt")),
        (b"a\0b", 0, ("a@b", "")),
        (b"\0\1\0\2\xff\xfe", 9, ("", "binary")),  # pictograms, here
        *((OFFER.encode(c), 3, (OFFER, "wrong_fmt")) for c in OTHERS),
        ("créée à Besançon".encode("latin-1"), 3, ("créée à Besançon", "")),
        *((OFFER.encode("utf-16-be"), fmt, (OFFER, "wrong_fmt")) for fmt in (3, 6, 7)),
        (b"code 12\0", 3, ("code 12\0", "")),
        (b"Don\x92t miss it", 3, ("Don\x92t miss it", "")),
    ],
)
def test_smpp_has_codings_of_its_own(content: bytes, fmt: int, expected: tuple[str, str]) -> None:
    assert decode(content, fmt, False, "smpp") == expected


@pytest.mark.parametrize("fmt", [2, 3, 4, 0x14, 0xF5, 0xF6])
@pytest.mark.parametrize("said", ["R", "ＴＤ", "退订"])
def test_a_reply_is_words_whatever_its_coding_says(said: str, fmt: int) -> None:
    """A refusal that a gateway hands on as binary counts; octets that are no words stay binary."""
    codings = ["utf-16-be", "gb18030"]
    assert [decode(said.encode(c), fmt, False, reply=True) for c in codings] == [(said, "wrong_fmt")] * 2
    whole = said.encode("utf-16-be")
    assert decode((headed(1, whole[:1], 2), headed(2, whole[1:], 2)), fmt, True, reply=True)[0] == said
    assert decode(b"\0\1\0\2\xff\xfe", fmt, False, reply=True) == ("", "binary")


with (Path(__file__).parent / "vectors" / "replies.csv").open(encoding="utf-8", newline="") as given_replies:
    REPLIES = [row["text"] for row in csv.DictReader(given_replies)]


@pytest.mark.parametrize("coding", ["utf-16-be", "utf-16-le", "gb18030", "utf-8", "ascii"])
def test_no_refusal_is_lost_in_whatever_coding_it_comes_and_claims_to_be(coding: str) -> None:
    """It is read as what it says, or as something else that a reply in its octets may say as well."""
    for text in filter(lambda text: classify(text).kind == "refuse", REPLIES):
        try:
            octets = text.encode(coding)
        except UnicodeEncodeError:
            continue
        if coding == "utf-8" and len(octets) == 2:
            continue  # one letter, Greek or Cyrillic: a hanzi of GB, 韦
        for protocol, fmt in (("cmpp", 0), ("cmpp", 8), ("cmpp", 15), ("smpp", 0), ("smpp", 3), ("smpp", 8)):
            read, note = decode(octets, fmt, False, protocol)
            kind = classify(read).kind
            if kind == "other":
                readings = others(octets, False, "" if note == "packed" else read)
                assert "refuse" in {classify(one).kind for one in readings}, (text, protocol, fmt, read)


def test_what_phones_show_from_its_end_is_a_flaw_of_a_message() -> None:
    backwards = "\u202e" + DUE[::-1]
    assert shown(*decode(backwards.encode("utf-16-be"), 8, False)) == (backwards, "reversed")
    assert "reversed" in FLAWS
    assert shown(DUE, "wrong_fmt") == (DUE, "wrong_fmt")


def test_what_else_may_be_meant_is_likely() -> None:
    assert [*others(b"R\n", False, "刊")] == ["R\n"]
    assert [*others(b"R\n", False, "R\n")] == ["刊"]
    assert [*others("你好，明天见".encode("utf-16-be"), False, "你好，明天见")] == []
    for text in ("中", "三个", "吧", "张三", "签名"):  # each octet is ASCII
        octets = text.encode("utf-16-be")
        for fmt in (8, 4):
            assert decode(octets, fmt, False, reply=True)[0] == text
        assert [*others(octets, False, text)] == []
    assert [*others("韦".encode("gb2312"), False, "韦")] == []
    parts = headed(1, b"\x90", 2), headed(2, b"\0\x8b\xa2", 2)
    assert "退订" in others(parts, True, "")


def headed(number: int, octets: bytes, total: int = 3) -> bytes:
    return bytes((5, 0, 3, 1, total, number)) + octets


def test_the_parts_of_a_long_message_are_read_together() -> None:
    """Octets are joined before they are read; what has not come is left out, and said."""
    one, two = "退订😀".encode("utf-16-be")[:5], "退订😀".encode("utf-16-be")[5:]
    assert decode((headed(1, one), headed(2, two), headed(3, b"\0R")), 8, True) == ("退订😀R", "")
    assert decode((one, two), 8, False) == ("退订😀", "")
    assert decode((headed(1, b"\x90\0"), b"", headed(3, b"\0R")), 8, True) == ("退R", "unfinished")
    assert decode((b"", b"", headed(3, b"\0R")), 8, True) == ("R", "unfinished")
    assert decode((headed(1, b"a\x1b\x65"), headed(2, b"b"), headed(3, b"")), 0x10, True) == ("a€b", "")
    assert decode((headed(1, b"a\x1b"), headed(2, b"\x65b"), headed(3, b"")), 0, True, "smpp") == ("a€b", "")
    assert decode((headed(1, one), headed(2, b"\0"), headed(3, b"")), 8, True)[1] == "undecodable"
    assert decode((headed(1, b"a"), b"", b""), 4, True) == ("", "binary")
    assert decode((b"\x20ab", headed(2, b"a")), 8, True)[1] == "udh_truncated"
    marked = headed(1, "您的".encode("utf-16-be"), 2), headed(2, b"\xff\xfe" + "借款".encode("utf-16-le"), 2)
    assert decode(marked, 8, True) == ("您的借款", "byte_order")


def test_the_header_is_not_text() -> None:
    content = bytes.fromhex("050003010201") + "回T退订".encode("utf-16-be")
    assert decode(content, 8, True) == ("回T退订", "")
    assert decode(bytes.fromhex("06080400010201") + b"TD", 0, True) == ("TD", "")
    assert decode(b"", 8, True) == ("", "udh_truncated")


@pytest.mark.parametrize(
    ("text", "fmt"), [("T", 0), ("TD", 0), ("退订", 8), ("退订", 15), ("TD", 8), ("不要再发" * 12, 8)]
)
def test_of_a_text_that_has_no_header_where_one_is_said_to_be_nothing_is_lost(text: str, fmt: int) -> None:
    """A reply is read; of a message it stays a flaw."""
    read, note = decode(encode(text, fmt), fmt, True)
    assert read == text
    assert note in FLAWS


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("0A 00 03 2A 02 01 00 03 2B 00 00", (0x2A, 2, 1, 8, "")),
        ("0A 00 03 2B 00 00 00 03 2A 02 01", (0x2A, 2, 1, 8, "")),
        ("0B 00 03 2A 02 01 08 04 01 02 03 02", (0x102, 3, 2, 16, "")),
        ("05 00 03 2B 00 00", (0, 0, 0, 0, "bad_concat")),
        ("06 00 04 2A 02 01 00", (0, 0, 0, 0, "udh_truncated")),
        ("05 08 03 2A 02 01", (0, 0, 0, 0, "udh_truncated")),
    ],
)
def test_of_several_places_in_a_message_the_last_that_is_right_holds(
    header: str, expected: tuple[int, int, int, int, str]
) -> None:
    """As phones read them: else a part that they join would be judged as a message of its own."""
    found = udh(bytes.fromhex(header) + b"\0T")
    assert (found.ref, found.total, found.part, found.width, found.flaw) == expected


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


WRITTEN = st.characters(codec="gb2312", exclude_categories=["Cc"], include_characters="\n\r")
"""What a mainland phone writes: rarer characters, alone, may be another coding's octets."""
TEXTS = st.text(WRITTEN | st.sampled_from("😀𠀀㐀"), max_size=600)


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
