"""What octets say whose coding is not what it claims to be: read by likeness.

Rules of this file: it is asked only when there is doubt, so it may be slow. Of all readings the likeliest is
the one of which GB2312 holds the most: that is what a mainland phone writes, and octets read in another
coding than their own give characters that nobody writes. Whoever claims a coding is believed where readings
are equal.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from unicodedata import category

BOM = b"\xff\xfe"
"""Before UCS-2 in the wrong byte order: Android obeys it, others show what the octets say without."""

SWAPPED = "byte_order"
"""The note of what reads only with the octets of each character swapped: some phones do, others do not."""

_UNLIKELY = frozenset(("Cc", "Cn", "Co", "Cs"))
_UNSEEN = "\r\n\t\u3000\u200b\u200c\u200d\u200e\u200f\u2060\ufe0f\u20e3\ufeff"
"""What phones write and nobody sees."""


def common(text: str) -> float:
    """How much of it is what a mainland phone writes, from 0 to 1; zeros at the end are a C programmer's."""
    if text.isprintable() and text and not text.isspace():
        try:
            text.encode("gb2312")
            return 1.0
        except UnicodeEncodeError:
            pass
    text = text.rstrip("\0")
    return sum(map(_is_common, text)) / len(text) if text.strip() else 0.0


def is_likely(text: str) -> bool:
    """Whether nothing in it is what nobody writes: control characters, unassigned and private ones."""
    return all(character in "\r\n\t" or category(character) not in _UNLIKELY for character in text)


def is_wide(content: bytes) -> bool:
    """Whether most of it is ASCII in UCS-2; zeros at the end are a C programmer's."""
    high = content.rstrip(b"\0")[::2]
    return high.count(0) * 2 > len(high)


def utf8(content: bytes) -> str:
    """What it says if it is UTF-8 beyond doubt, else "". GB2312 goes before, and characters of two octets are
    no proof: GB has such pairs (联通)."""
    return "" if content.isascii() or gb2312(content) else _utf8(content)


def _utf8(content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return "" if any("\x7f" < character < "\u0800" for character in text) else text


def gb2312(content: bytes) -> str:
    """What it says if it is GB2312 beyond doubt, else ""."""
    try:
        content.decode("gb2312")
    except UnicodeDecodeError:
        return ""
    return content.decode("gb18030")


def guessed(content: bytes, latin: bool = False, claimed: str = "") -> tuple[str, str]:
    """The likeliest reading, and `decode`'s note of it: Chinese under Msg_Fmt 0, UCS-2 under 15. `latin`: it
    may have accents; `claimed`: its reading as what it claims to be, which has no note."""
    if not content.isascii() and (text := gb2312(content) or _utf8(content)):
        return text, "" if text == claimed else "wrong_fmt"
    found = [(claimed, "")] if claimed else []
    found += ((text, "wrong_fmt") for text in _chinese(content))
    if latin and is_latin(content) and is_likely(text := content.decode("latin-1")):
        found.append((text, "wrong_fmt"))
    swapped = in_wrong_order(content)
    if swapped:
        found.append((swapped, SWAPPED))
    if not found:
        return content.decode("gb18030", "replace"), "undecodable"
    return max(found, key=_likeness)  # the first of equals


def certain(content: bytes) -> tuple[str, str] | None:
    """A reading of which every character is common, and its note; None when there is none."""
    found = guessed(content)
    return found if common(found[0]) == 1 else None


def certain_ucs2(content: bytes) -> tuple[str, str] | None:
    """The same of UCS-2 alone, in either byte order."""
    try:
        text = content.decode("utf-16-be")
    except UnicodeDecodeError:
        return None
    if common(text) == 1:
        return text, "wrong_fmt"
    text = in_wrong_order(content)
    return (text, SWAPPED) if text else None


def in_wrong_order(content: bytes) -> str:
    """What it says as UCS-2 of the wrong byte order if that is beyond doubt, else ""."""
    marked = content.startswith(BOM)
    try:
        text = content[2 * marked :].decode("utf-16-le")
    except UnicodeDecodeError:
        return ""
    return text if marked or common(text) == 1 else ""


def others(content: bytes, read: str) -> Iterator[str]:
    """What else may have been meant by octets that were read as `read`: what is likelier, and as ASCII and
    UCS-2, UTF-8 and GB what is as likely. Each once."""
    least = common(read)
    seen = {read}
    for text in _all(content, least < 1 or (0 in content and len(content) > 2)):
        if text not in seen and common(text) >= max(least, 0.5):
            seen.add(text)
            yield text


def _all(content: bytes, swapped: bool) -> Iterator[str]:
    if not _is_by_chance(content):
        for coding in ("ascii", "gb18030"):
            with suppress(UnicodeDecodeError):
                yield content.decode(coding)
        with suppress(UnicodeDecodeError):
            if len(text := content.decode("utf-8")) > 1 or _utf8(content):  # one letter of two octets is GB's
                yield text
    for coding in ("utf-16-be", *(("utf-16-le",) if swapped else ())):
        with suppress(UnicodeDecodeError):
            yield content.decode(coding)


def _is_by_chance(content: bytes) -> bool:
    """Whether it is ASCII that nobody writes, in pairs: hanzi in UCS-2 are such by chance, as 中 is `N-`."""
    return content.isascii() and len(content) % 2 == 0 and not content.rstrip(b"\r\n\0").isalnum()


def _chinese(content: bytes) -> Iterable[str]:
    codings = ["gb18030", "utf-16-be"]
    if is_wide(content) or _is_by_chance(content):
        codings.reverse()
    for coding in codings:
        try:
            yield content.decode(coding)
        except UnicodeDecodeError:
            continue


def _likeness(reading: tuple[str, str]) -> tuple[float, bool]:
    text = reading[0]
    return common(text), is_likely(text)


def _is_common(character: str) -> bool:
    if character < "\x80":
        return character.isprintable() or character in _UNSEEN
    if character > "\uffff":  # of emoji two octets in two are alike in no other coding
        return category(character) not in _UNLIKELY
    if character in _UNSEEN or "\u2460" <= character <= "\u24ff" or character in "®©™":
        return True
    try:
        character.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return True


def is_latin(content: bytes) -> bool:
    """Whether it has no more accents than a text in Latin letters."""
    return sum(octet > 0x7F for octet in content) * 3 <= len(content)
