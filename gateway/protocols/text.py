"""Text of messages: the codings of Msg_Fmt / data_coding, and the header of long messages (3GPP TS 23.040).

Reading never fails: what can't be read gives what can be, and a word that says what was odd. Whether that
word makes a message unfit is for rules, not for this file. Octets in, text out, and back for simulators.
"""

from codecs import utf_16_be_decode
from collections.abc import Iterable
from typing import NamedTuple

ASCII, BINARY, UCS2, GB = 0, 4, 8, 15
"""Msg_Fmt as we send it."""

_GSM = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = {0x0A: "\f", 0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\"}
_EXTENSION |= {0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|", 0x65: "€"}
_ESCAPE = 0x1B
_TO_GSM = {character: bytes([code]) for code, character in enumerate(_GSM) if code != _ESCAPE}
_TO_GSM |= {character: bytes([_ESCAPE, code]) for code, character in _EXTENSION.items()}

_CODINGS = {0: "text", 1: "text", UCS2: "ucs2", GB: "gb18030"}
_CODINGS |= dict.fromkeys(range(0x18, 0x1C), "ucs2")  # TS 23.038 general group: UCS-2 with a message class
_CODINGS |= dict.fromkeys([*range(0x10, 0x14), *range(0xF0, 0xF4)], "gsm7")
"""Every other value is binary: a write to the card (3), octets (4), SIM data (0xF6), WAP push (0xF5), and
what nobody has named."""


def decode(content: bytes, fmt: int, udhi: bool) -> tuple[str, str]:
    """(text, note); the header of a long message is left out of the text.

    Notes: "" all was well · "binary" no text · "odd_length" UCS-2 that ends in half a character ·
    "undecodable" some octets gave U+FFFD · "wrong_fmt" not in the coding that it claims, read by likeness ·
    "udh_truncated", "bad_concat" as in `udh`, the text being all that may be text.
    """
    if fmt == UCS2 and not udhi:  # nearly all that comes
        try:
            return utf_16_be_decode(content, "strict", True)[0], ""
        except UnicodeDecodeError:
            return _ucs2(content)
    note = ""
    if udhi:
        header = udh(content)
        content, note = content[header.size :], header.flaw
    text, odd = _decode(content, _CODINGS.get(fmt, "binary"))
    return text, note or odd


def _decode(content: bytes, coding: str) -> tuple[str, str]:
    match coding:
        case "binary":
            return "", "binary"
        case "ucs2":
            return _ucs2(content)
        case "gsm7":
            return gsm7(content)
        case "text":
            if _ESCAPE in content:
                return gsm7(content)
            return (content.decode("ascii"), "") if content.isascii() else _guessed(content)
    try:
        return content.decode(coding), ""
    except UnicodeDecodeError:
        return _guessed(content)


def _ucs2(content: bytes) -> tuple[str, str]:
    """UCS-2 is UTF-16BE in fact: emoji come as surrogate pairs."""
    odd = len(content) % 2
    text = content[: len(content) - odd].decode("utf-16-be", "replace")
    return text, "odd_length" if odd else "undecodable" if "\ufffd" in text else ""


def _guessed(content: bytes) -> tuple[str, str]:
    """Octets that their own coding can't hold: Chinese under Msg_Fmt 0, or UCS-2 under 15."""
    try:
        return content.decode("gb18030"), "wrong_fmt"
    except UnicodeDecodeError:
        pass
    try:
        return content.decode("utf-16-be"), "wrong_fmt"
    except UnicodeDecodeError:
        return content.decode("gb18030", "replace"), "undecodable"


def gsm7(content: bytes) -> tuple[str, str]:
    """The GSM default alphabet, one septet in each octet, with its extension behind an escape."""
    text, note, escaped = [], "", False
    for code in content:
        if code > 0x7F:
            text.append("\ufffd")
            note, escaped = "undecodable", False
        elif escaped:
            text.append(_EXTENSION.get(code, _GSM[code]))  # TS 23.038: an unknown one shows as if unescaped
            escaped = False
        elif code == _ESCAPE:
            escaped = True
        else:
            text.append(_GSM[code])
    return "".join(text), note


class Udh(NamedTuple):
    """A user data header: its octets, and the concatenation that it holds (`width` 0: none).

    `flaw`: "udh_truncated" (lengths run past the end: the octets after the first are taken for text),
    "bad_concat" (total 0, part 0, part beyond total: treat as a message of its own).
    """

    size: int
    ref: int = 0
    total: int = 0
    part: int = 0
    width: int = 0  # bits of `ref`: 8 or 16
    ports: tuple[int, ...] = ()
    flaw: str = ""


def udh(content: bytes) -> Udh:
    """Walk the information elements at the start of a content whose UDHI is set (TS 23.040 §9.2.3.24)."""
    if not content or content[0] + 1 > len(content):
        return Udh(min(1, len(content)), flaw="udh_truncated")
    size = content[0] + 1
    ref = total = part = width = 0
    ports: tuple[int, ...] = ()
    at = 1
    while at < size:
        element, length = content[at], content[at + 1] if at + 1 < size else 255
        value = content[at + 2 : at + 2 + length]
        if at + 2 + length > size:
            return Udh(size, flaw="udh_truncated")
        match element, length:
            case 0x00, 3:
                width, (ref, total, part) = 8, value
            case 0x08, 4:
                width, ref, total, part = 16, int.from_bytes(value[:2], "big"), value[2], value[3]
            case 0x04, 2:
                ports = tuple(value)
            case 0x05, 4:
                ports = int.from_bytes(value[:2], "big"), int.from_bytes(value[2:], "big")
        at += 2 + length
    if width and not 0 < part <= total:
        return Udh(size, ports=ports, flaw="bad_concat")
    return Udh(size, ref, total, part, width, ports)


def encode(text: str, fmt: int) -> bytes:
    """The octets of `text` in Msg_Fmt `fmt`; UnicodeEncodeError when it can't hold them."""
    coding = _CODINGS.get(fmt, "latin-1")
    if coding == "gsm7":
        return b"".join(_TO_GSM.get(character, b"?") for character in text)
    return text.encode({"text": "ascii", "ucs2": "utf-16-be"}.get(coding, coding))


def fitting(text: str) -> int:
    """The Msg_Fmt to send `text` in: ASCII if it can, else UCS-2."""
    return ASCII if text.isascii() else UCS2


def split(text: str, fmt: int, ref: int, width: int = 8) -> list[bytes]:
    """The contents of the one or more messages that carry `text`; several begin with a header, UDHI set.

    140 octets each (ASCII: 159, of which 153 under a header); no character is ever cut in two.
    """
    single, long = (159, 153) if _CODINGS.get(fmt) in ("text", "gsm7") else (140, 134)
    whole = encode(text, fmt)
    if len(whole) <= single:
        return [whole]
    parts = list(_cut((encode(c, fmt) for c in text), long - (width == 16)))
    if len(parts) > 255:
        raise ValueError(f"{len(parts)} parts: a header counts to 255")
    head = (
        bytes([5, 0, 3, ref & 0xFF]) if width == 8 else bytes([6, 8, 4]) + (ref & 0xFFFF).to_bytes(2, "big")
    )
    return [head + bytes([len(parts), number]) + part for number, part in enumerate(parts, 1)]


def _cut(characters: Iterable[bytes], size: int) -> Iterable[bytes]:
    part = b""
    for character in characters:
        if len(part) + len(character) > size:
            yield part
            part = b""
        part += character
    yield part
