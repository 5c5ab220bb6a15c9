"""Text of messages: the codings of Msg_Fmt / data_coding, and the header of long messages (3GPP TS 23.040).

Reading never fails: what can't be read gives what can be, and a word that says what was odd. Whether that
word makes a message unfit is for rules, not for this file. Octets in, text out, and back for simulators.
"""

from codecs import utf_16_be_decode
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from unicodedata import category

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
_CODINGS |= dict.fromkeys([2, 3, 4, *range(0x14, 0x18), *range(0xF4, 0xF8)], "binary")
_CODINGS |= dict.fromkeys(range(0x18, 0x1C), "ucs2")  # TS 23.038 general group: UCS-2 with a message class
_CODINGS |= dict.fromkeys([*range(0x10, 0x14), *range(0xF0, 0xF4)], "gsm7")
"""Binary are octets (2, 4), a write to the card (3), SIM data (0xF6), WAP push (0xF5). Every other value is
one that nobody has named."""

_SMPP = {0: "gsm7", 3: "latin-1", 6: "iso8859-5", 7: "iso8859-8", 0x0A: "iso2022-jp", 0x0E: "euc-kr"}
_CONTROLS = frozenset(map(chr, range(0x20))) - frozenset("\r\n\t\f\x1b")
_SINGLE = frozenset(("latin-1", "iso8859-5", "iso8859-8"))
_CODINGS_OF = {"smpp": _CODINGS | _SMPP}
"""By protocol, where they are not those of all (SMPP 3.4 §5.2.19)."""

_UNLIKELY = frozenset(("Cc", "Cn", "Co", "Cs"))
_FAR, _FARTHEST = "\ua000", "\uf8ff"
"""From Yi over Hangul to what is private: there Chinese of another coding lies when it is read as UCS-2."""


def decode(
    content: bytes | tuple[bytes, ...], fmt: int, udhi: bool, protocol: str = "cmpp", *, reply: bool = False
) -> tuple[str, str]:
    """(text, note); the header of a long message is left out of the text.

    `content` may be all parts of a long message in order, b"" for one that has not come. A `reply` that comes
    as binary is read by likeness as what nobody has named is: phones answer in words, and a gateway that
    says otherwise must not make a refusal unheard.
    Notes: "" all was well · "binary" no text · "odd_length" UCS-2 that ends in half a character ·
    "undecodable" some octets gave U+FFFD · "wrong_fmt" not in the coding that it claims, or in none that is
    known, read by likeness · "packed" septets without gaps where one octet each is usual · "unfinished" parts
    have not come, the others are read as far as they go · "udh_truncated", "bad_concat" as in `udh`, the text
    being all that may be text.
    """
    if isinstance(content, tuple):
        return _joined(content, _coding(fmt, protocol, reply), udhi)
    if fmt == UCS2 and not udhi:  # nearly all that comes
        try:
            text = utf_16_be_decode(content, "strict", True)[0]
        except UnicodeDecodeError:
            return _ucs2(content)
        return _meant(content, text) if _is_far(content, text) else (text, "")
    note, size = "", 0
    if udhi:
        header = udh(content)
        size, note = header.size, header.flaw
    body, coding = content[size:], _coding(fmt, protocol, reply)
    if coding == "gsm7":
        body = body.rstrip(b"\0") or body  # a C programmer's, as nobody ends in @
    text, odd = _decode(body, coding, size)
    return text, note or odd


def _coding(fmt: int, protocol: str, reply: bool) -> str:
    coding = _CODINGS_OF.get(protocol, _CODINGS).get(fmt, "")
    return "" if reply and coding == "binary" else coding


def _joined(parts: Sequence[bytes], coding: str, udhi: bool) -> tuple[str, str]:
    """The text of a long message. Senders cut characters in two, so octets are joined before they are read;
    but packed septets begin anew in each part."""
    headers = [udh(part) if udhi and part else Udh(0) for part in parts]
    if coding == "binary":
        return "", "binary"
    if any(header.flaw == "udh_truncated" for header in headers):
        return "", "udh_truncated"
    bodies = [part[header.size :] for part, header in zip(parts, headers, strict=True)]
    if coding == "gsm7" and not all(body.isascii() for body in bodies):
        read = [_decode(body, coding, header.size) for body, header in zip(bodies, headers, strict=True)]
    else:
        read = [_decode(octets, coding) for octets in _runs(parts, bodies)]
    text = "".join(text for text, _ in read)
    if not all(parts):
        return text, "unfinished"
    return text, next((note for _, note in read if note), "")


def _runs(parts: Sequence[bytes], bodies: Sequence[bytes]) -> list[bytes]:
    """The bodies of neighbouring parts that have come, joined."""
    runs = [b""]
    for part, body in zip(parts, bodies, strict=True):
        if part:
            runs[-1] += body
        elif runs[-1]:
            runs.append(b"")
    return runs


def _decode(content: bytes, coding: str, header: int = 0) -> tuple[str, str]:
    """The text behind a header of so many octets; coding "": nobody knows."""
    match coding:
        case "binary":
            return "", "binary"
        case "ucs2":
            return _ucs2(content)
        case "gsm7":
            text, note = gsm7(content)
            return _packed(content, header) or _guessed(content, True) if note else (text, note)
        case "text":
            if _ESCAPE in content:
                return gsm7(content)
            if content.isascii() and not _is_wide(content):
                return content.decode("ascii"), ""
            return _guessed(content, True)
        case "":
            text, note = _guessed(content, True)
            return (text, note) if text and _is_likely(text) else ("", "binary")
    try:
        text = content.decode(coding)
    except UnicodeDecodeError:
        return _guessed(content)
    other = ""
    if coding == "gb18030":
        if not text.isprintable() and any(c < " " and c not in "\r\n\t" for c in text):
            return _guessed(content)
        if content and (content[0] < 0x80 or 0xE3 <= content[0] <= 0xEF):
            other = _utf8(content)
    elif coding == "latin-1" and not _is_latin(content):
        other = _utf8(content) or _gb2312(content)
    if not other and coding in _SINGLE and any(c in _CONTROLS for c in text.rstrip("\0")):
        guessed, _ = _guessed(content)  # any octets are text there, but UCS-2 has controls
        other = guessed if _is_likely(guessed) else ""
    return (other, "wrong_fmt") if other else (text, "")


def _ucs2(content: bytes) -> tuple[str, str]:
    """UCS-2 is UTF-16BE in fact: emoji come as surrogate pairs."""
    odd = len(content) % 2
    text = content[: len(content) - odd].decode("utf-16-be", "replace")
    note = "odd_length" if odd else "undecodable" if "\ufffd" in text else ""
    if note:
        other = _guessed(content)
        if other[1] == "wrong_fmt" and _is_likely(other[0]):
            return other
    elif _is_far(content, text):
        return _meant(content, text)
    return text, note


def _is_far(content: bytes, text: str) -> bool:
    """Whether UCS-2 that reads so may be something else: a look at both ends, as nearly all is not."""
    return text != "" and (content.isascii() or _FAR <= text[0] <= _FARTHEST or _FAR <= text[-1] <= _FARTHEST)


def _meant(content: bytes, text: str) -> tuple[str, str]:
    """UCS-2 that may be something else. ASCII: only where `text` is none that a mainland phone writes."""
    if content.isascii():
        other = content.decode("ascii")
        try:
            text.encode("gb2312")
            return text, ""
        except UnicodeEncodeError:
            return (other, "wrong_fmt") if other.isprintable() else (text, "")
    other = _utf8(content) or _gb2312(content)
    return (other, "wrong_fmt") if other else (text, "")


def _utf8(content: bytes) -> str:
    """What it says if it is UTF-8 beyond doubt, else "". GB2312 goes before, and characters of two octets are
    no proof: GB has such pairs (联通)."""
    if content.isascii() or _gb2312(content):
        return ""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return "" if any("\x7f" < character < "\u0800" for character in text) else text


def _gb2312(content: bytes) -> str:
    """What it says if it is GB2312 beyond doubt, else ""."""
    try:
        content.decode("gb2312")
    except UnicodeDecodeError:
        return ""
    return content.decode("gb18030")


def _guessed(content: bytes, latin: bool = False) -> tuple[str, str]:
    """What their own coding can't hold: Chinese under Msg_Fmt 0, UCS-2 under 15; `latin`: or accents."""
    if text := _utf8(content):
        return text, "wrong_fmt"
    codings = ["gb18030", "utf-16-be"]
    if _is_wide(content):
        codings.reverse()
    first = None
    for coding in codings:
        try:
            text = content.decode(coding)
        except UnicodeDecodeError:
            continue
        if _is_likely(text):
            return text, "wrong_fmt"
        first = first or (text, "wrong_fmt")
    if latin and _is_latin(content):
        text = content.decode("latin-1")
        if _is_likely(text):
            return text, "wrong_fmt"
    return first or (content.decode("gb18030", "replace"), "undecodable")


def _is_latin(content: bytes) -> bool:
    """Whether it has no more accents than a text in Latin letters."""
    return sum(octet > 0x7F for octet in content) * 3 <= len(content)


def _is_wide(content: bytes) -> bool:
    """Whether most of it is ASCII in UCS-2; zeros at the end are a C programmer's."""
    high = content.rstrip(b"\0")[::2]
    return high.count(0) * 2 > len(high)


def _is_likely(text: str) -> bool:
    """Whether nothing in it is what nobody writes: control characters, unassigned and private ones."""
    return all(character in "\r\n\t" or category(character) not in _UNLIKELY for character in text)


def _packed(content: bytes, header: int) -> tuple[str, str] | None:
    """Septets behind a header of so many octets; None when they are no words."""
    text = unpacked(content, -header * 8 % 7)
    words = sum(character.isascii() and (character.isalnum() or character == " ") for character in text)
    return (text, "packed") if words * 10 >= len(text) * 7 else None


def unpacked(content: bytes, fill: int = 0) -> str:
    """The text of eight septets in seven octets, behind `fill` bits that follow a header (TS 23.040
    §9.2.3.24); seven bits left over at the end are no character."""
    bits = int.from_bytes(content, "little") >> fill
    count = (len(content) * 8 - fill) // 7
    text, _ = gsm7(bytes(bits >> 7 * place & 0x7F for place in range(count)))
    return text[:-1] if (count * 7 + fill) % 8 == 0 and text[-1:] in ("@", "\r") else text


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
    coding = _CODINGS.get(fmt, "binary")
    if coding == "gsm7":
        return b"".join(_TO_GSM.get(character, b"?") for character in text)
    return text.encode({"text": "ascii", "ucs2": "utf-16-be", "binary": "latin-1"}.get(coding, coding))


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
