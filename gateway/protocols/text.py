"""Text of messages: the codings of Msg_Fmt / data_coding, and the header of long messages (3GPP TS 23.040).

Reading never fails: what can't be read gives what can be, and a word that says what was odd. Whether that
word makes a message unfit is for rules, not for this file. Octets in, text out, and back for simulators.
What is not what it claims to be is read by likeness.py.
"""

from codecs import utf_16_be_decode
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gateway.protocols import likeness

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
_RARE_UCS2 = [9, 10, 11, *range(0x48, 0x4C), *range(0x58, 0x5C), *range(0xE0, 0xF0)]
_CODINGS |= dict.fromkeys(_RARE_UCS2, "rare ucs2")
_CODINGS |= dict.fromkeys([*range(0x40, 0x44), *range(0x50, 0x54), *range(0xC0, 0xE0)], "rare gsm7")
"""Binary are octets (2, 4), a write to the card (3), SIM data (0xF6), WAP push (0xF5). Rare are messages to
be deleted by themselves (0x40-0x5F) and such that light a lamp (0xC0-0xEF): phones read them so (TS 23.038
§4), but where the octets are no text in any coding they are taken for binary. Every other value is one that
nobody has named."""

_SMPP = {0: "gsm7", 3: "latin-1", 6: "iso8859-5", 7: "iso8859-8", 0x0A: "iso2022-jp", 0x0E: "euc-kr"}
_CONTROLS = frozenset(map(chr, range(0x20))) - frozenset("\r\n\t\f\x1b")
_CODINGS_OF = {"smpp": _CODINGS | _SMPP | {9: "", 0x0B: ""}}
"""By protocol, where they are not those of all (SMPP 3.4 §5.2.19)."""

WIDE = frozenset(fmt for fmt, coding in _CODINGS.items() if coding.endswith("ucs2") and not 8 < fmt < 0x10)
"""The Msg_Fmt that are UCS-2 in every protocol."""

_FAR, _FARTHEST = "\ua000", "\uf8ff"
"""From Yi over Hangul to what is private: there Chinese of another coding lies when it is read as UCS-2."""
_MARK = "\ufffe"
"""The mark of the other byte order, as UCS-2 reads it."""
_REVERSES = "\u202e"
"""What makes phones show all that follows from its end."""
_NO_CONTROLS = bytes((9, 10, 13, *range(0x20, 0x7F)))
_LONGEST_HEADER = 0x20
"""Octets of a header that is one; what seems longer begins a text that has none."""


def decode(
    content: bytes | tuple[bytes, ...], fmt: int, udhi: bool, protocol: str = "cmpp", *, reply: bool = False
) -> tuple[str, str]:
    """(text, note); the header of a long message is left out of the text.

    `content` may be all parts of a long message in order, b"" for one that has not come. A `reply` that comes
    as binary is read by likeness as what nobody has named is: phones answer in words, and a gateway that
    says otherwise must not make a refusal unheard.
    Notes: "" all was well · "binary" no text · "odd_length" UCS-2 that ends in half a character ·
    "undecodable" some octets gave U+FFFD · "wrong_fmt" not in the coding that it claims, or in none that is
    known, read by likeness · "byte_order" read as UCS-2 whose octets are swapped, which some phones do and
    others do not · "packed" septets without gaps where one octet each is usual · "unfinished" parts have not
    come, the others are read as far as they go · "udh_truncated", "bad_concat" as in `udh`, the text being
    all that may be text.
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
    coding = _coding(fmt, protocol, reply)
    if size == 1 and not note and coding == "ucs2" and not len(content) % 2:
        size, note = 0, "odd_length"  # the bit is set and no header is there, or half a character
    body = content[size:]
    if coding == "ucs2":
        text, odd = _ucs2(body)
        return text, note or odd
    if coding == "gsm7":
        body = body.rstrip(b"\0") or body  # a C programmer's, as nobody ends in @
    text, odd = _decode(body, coding, size)
    return text, note or odd


def _coding(fmt: int, protocol: str, reply: bool) -> str:
    coding = _CODINGS_OF.get(protocol, _CODINGS).get(fmt, "")
    return "" if reply and coding == "binary" else coding


def shown(text: str, note: str) -> tuple[str, str]:
    """What was decoded of a message, with one note more: "reversed", phones show some of it from its end to
    its beginning."""
    return (text, "reversed") if _REVERSES in text else (text, note)


def others(content: bytes | tuple[bytes, ...], udhi: bool, read: str) -> Iterator[str]:
    """What a content that was read as `read` may say as well, by its octets alone; likely readings only. For
    replies, of which none that refuses may be missed."""
    parts = content if isinstance(content, tuple) else (content,)
    sizes = [udh(part).size if udhi and part else 0 for part in parts]
    octets = b"".join(part[size:] for part, size in zip(parts, sizes, strict=True))
    return likeness.others(octets, read)


def _joined(parts: Sequence[bytes], coding: str, udhi: bool) -> tuple[str, str]:
    """The text of a long message. Senders cut characters in two, so octets are joined before they are read;
    but packed septets begin anew in each part."""
    headers = [udh(part) if udhi and part else Udh(0) for part in parts]
    if coding == "binary":
        return "", "binary"
    bodies = [part[header.size :] for part, header in zip(parts, headers, strict=True)]
    if coding == "gsm7" and not all(body.isascii() for body in bodies):
        read = [_decode(body, coding, header.size) for body, header in zip(bodies, headers, strict=True)]
    else:
        swapped = likeness.BOM in [body[:2] for body in bodies] and coding.endswith("ucs2")
        if swapped:
            bodies = [_ordered(body) for body in bodies]
        read = [_decode(octets, coding) for octets in _runs(parts, bodies)]
        if swapped:
            read.insert(0, ("", likeness.SWAPPED))
    text = "".join([text for text, _ in read])
    if "udh_truncated" in [header.flaw for header in headers]:
        return text, "udh_truncated"
    if not all(parts):
        return text, "unfinished"
    return text, next((note for _, note in read if note), "")


def _ordered(body: bytes) -> bytes:
    """A part that begins with the mark of the other byte order: without it, its octets swapped, as phones
    read each part by its own."""
    if not body.startswith(likeness.BOM):
        return body
    end = len(body) // 2 * 2
    ordered = bytearray(body[2:end])
    ordered[::2], ordered[1::2] = ordered[1::2], ordered[::2]
    return bytes(ordered) + body[end:]


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
        case "ucs2":
            return _ucs2(content)
        case "gb18030":
            return _gb(content)
        case "binary":
            return "", "binary"
        case "gsm7":
            return _septets(content, header)
        case "text":
            if content.isascii():
                return gsm7(content) if _ESCAPE in content else _ascii(content)
            text, note = likeness.guessed(content, True)
            return text, "undecodable" if _ESCAPE in content else note
        case "latin-1":
            return _latin(content)
        case "" | "rare ucs2" | "rare gsm7":
            text, note = likeness.guessed(content, True)
            if coding and likeness.is_likely(text) and note == "wrong_fmt":
                text, note = _decode(content, coding.removeprefix("rare "), header)
            return (text, note) if text and likeness.is_likely(text) else ("", "binary")
    try:
        text = content.decode(coding)
    except UnicodeDecodeError:
        return likeness.guessed(content)
    if any(c in _CONTROLS for c in text.rstrip("\0")):  # any octets are text there, but UCS-2 has controls
        other, _ = likeness.guessed(content)
        return (other, "wrong_fmt") if likeness.is_likely(other) else (text, "")
    return text, ""


def _ascii(content: bytes) -> tuple[str, str]:
    text = content.decode("ascii")
    if not content.translate(None, _NO_CONTROLS):
        return text, ""
    if not content.rstrip(b"\0").translate(None, _NO_CONTROLS):
        return text, ""
    return likeness.guessed(content, claimed=text)


def _gb(content: bytes) -> tuple[str, str]:
    """GB that begins as nearly all does is none of UCS-2, in either byte order."""
    try:
        text = content.decode("gb18030")
    except UnicodeDecodeError:
        return likeness.guessed(content)
    if len(content) > 1 and content[0] > 0xA0 < content[1]:
        other = likeness.utf8(content) if 0xE3 <= content[0] <= 0xEF else ""
        return (other, "wrong_fmt") if other else (text, "")
    if content.isascii():
        return _ascii(content)
    return (text, "") if likeness.gb2312(content) else likeness.guessed(content, claimed=text)


def _latin(content: bytes) -> tuple[str, str]:
    """Of few accents, and none of them a control character, only what is UCS-2 beyond doubt is none."""
    if content.isascii():
        return _ascii(content)
    text = content.decode("latin-1")
    if not likeness.is_latin(content) or not likeness.is_likely(text):
        return likeness.guessed(content, claimed=text)
    found = None if likeness.common(text) == 1 else likeness.certain_ucs2(content)
    return found or (text, "")


def _septets(content: bytes, header: int) -> tuple[str, str]:
    text, note = gsm7(content)
    if note:
        return likeness.certain(content) or _packed(content, header) or likeness.guessed(content, True)
    if 0 in content and (likeness.is_wide(content) or likeness.common(text) < 1):
        return likeness.certain_ucs2(content) or (text, "")
    return text, ""


def _ucs2(content: bytes) -> tuple[str, str]:
    """UCS-2 is UTF-16BE in fact: emoji come as surrogate pairs."""
    odd = len(content) % 2
    if odd and content.endswith(b"\0"):  # a C programmer's
        content, odd = content[:-1], 0
    text = content[: len(content) - odd].decode("utf-16-be", "replace")
    note = "odd_length" if odd else "undecodable" if "\ufffd" in text else ""
    if note:
        other, wrong = likeness.guessed(content, claimed=text)
        return (other, wrong) if wrong and likeness.is_likely(other) else (text, note)
    return _meant(content, text) if _is_far(content, text) else (text, note)


def _is_far(content: bytes, text: str) -> bool:
    """Whether UCS-2 that reads so may be something else: a look at both ends, as nearly all is not."""
    return text != "" and (
        content.isascii()
        or (text[0] >= _FAR and (text[0] <= _FARTHEST or text[0] == _MARK))
        or _FAR <= text[-1] <= _FARTHEST
    )


def _meant(content: bytes, text: str) -> tuple[str, str]:
    """UCS-2 that may be something else: only where `text` is none that a mainland phone writes."""
    if content.isascii():
        try:
            text.encode("gb2312")
            return text, ""
        except UnicodeEncodeError:
            pass
    if likeness.common(text) == 1 or (len(text) == 1 and 0 in content):
        return text, ""
    found = likeness.guessed(content)
    common = likeness.common(found[0])
    far_likelier = common == 1 or (common >= 0.75 and likeness.common(text) < 0.25)
    return found if far_likelier else (text, "")


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

    `flaw`: "udh_truncated" (lengths run past the end, or are not those of a concatenation: what is no header
    at all is taken for text), "bad_concat" (total 0, part 0, part beyond total, and no other element that is
    right: treat as a message of its own).
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
        return Udh(0, flaw="udh_truncated")
    size = content[0] + 1
    ref = total = part = width = 0
    ports: tuple[int, ...] = ()
    flaw = ""
    at = 1
    while at < size:
        element, length = content[at], content[at + 1] if at + 1 < size else 255
        start, at = at + 2, at + 2 + length
        if at > size:
            return Udh(size if size <= _LONGEST_HEADER else 0, flaw="udh_truncated")
        if element in {0x00, 0x08}:
            if length != (3 if element == 0x00 else 4):
                return Udh(size, flaw="udh_truncated")
            if 0 < content[at - 1] <= content[at - 2]:  # the last that is right, as phones have it
                total, part, ref, width = content[at - 2], content[at - 1], content[start], 8
                if element == 0x08:
                    ref, width = ref << 8 | content[start + 1], 16
            else:
                flaw = "bad_concat"
        elif element == 0x04 and length == 2:
            ports = content[start], content[start + 1]
        elif element == 0x05 and length == 4:
            ports = content[start] << 8 | content[start + 1], content[start + 2] << 8 | content[start + 3]
    return Udh(size, ref, total, part, width, ports, "" if width else flaw)


def encode(text: str, fmt: int) -> bytes:
    """The octets of `text` in Msg_Fmt `fmt`; UnicodeEncodeError when it can't hold them."""
    coding = _CODINGS.get(fmt, "binary").removeprefix("rare ")
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
