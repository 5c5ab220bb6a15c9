"""Texts made comparable: the same words typed, dressed up or mangled in different ways become equal.

Rules of this file: values in, values out; no list of words that mean something lives here. What is
dropped or mapped was met in the field (tests/vectors): full-width and circled letters, soft hyphens and
zero-width characters, look-alike letters of other scripts, traditional script, brackets and emoji around a
code.
"""

import re
from unicodedata import category, decimal, name, normalize

from gateway.policy.simplified import SIMPLIFIED, TRADITIONAL

LOOKALIKES = str.maketrans(
    "АВЕЅІЈКМНОРСТХДԀаеѕіјорстхдԁ"  # Cyrillic
    "ΑΒΕΙΚΜΝΟΡΤΥΧοτ"  # Greek
    "ᎠᎡᎢᏚꓓꓔꓠꓣᖇᗞᗪᑎⲦⲚⲧⲛÐ",  # Cherokee, Lisu, Canadian syllabics, Coptic, Icelandic
    "ABESIJKMHOPCTXDDaesijopctxddABEIKMNOPTYXotDRTSDTNRRDDNTNTND",
) | str.maketrans("〇収絶", "0收绝")
"""Letters of other scripts that look like those of codes, and Japanese forms; NFKD leaves them."""

_LETTER = re.compile(
    "(?:(?:CROSSED )?NEGATIVE (?:CIRCLED|SQUARED) )?(?:LATIN(?: CAPITAL| SMALL)? LETTER(?: SMALL CAPITAL)?"
    "|REGIONAL INDICATOR SYMBOL LETTER) ([A-Z])(?: WITH .+)?"
)
"""Unicode's names of Latin letters that NFKD leaves as they are: small capitals, letters in filled circles
and squares, of flags, with strokes and hooks."""

FILLERS = "\u115f\u1160\u3164\uffa0"
"""Hangul fillers: letters to Unicode, blank to a reader."""

MEANT = "®🚫👎❌❎🙅🖕😡🤬💩😠✋⛔🛑🤮💢🔕🔇📵🚷😤🙄😒🤢"
"""Signs that say something about a message; all others are ornaments."""

SYMBOLS = "+&_%@=$"
"""Signs that make another word of the letters beside them: T+1, R&B, T_T."""

JOINERS = ".:-/'’*·‧•|\\丨丶"
"""Signs inside a word (T.D, 退-订); between letters or digits and a digit they make another (00:00, NO.1)."""

BLANK, STOP, QUESTION, JOINT = " ", ",", "?", "."
"""What is left of all that separates: within a clause, between clauses, and in the middle of a figure."""

_MOST_KNOWN = 1 << 13


class _Characters(dict[int, str]):
    """What each character becomes, found when it is first met; bounded, as senders choose what is met."""

    def __missing__(self, code: int) -> str:
        plain = _plain(chr(code))
        if len(self) < _MOST_KNOWN:
            self[code] = plain
        return plain


def _plain(character: str) -> str:
    """Letters and digits in their simplest form, and signs by what they do."""
    return "".join(map(_part, normalize("NFKD", character)))


def _part(char: str) -> str:
    if char in MEANT or char in SYMBOLS:
        return char
    if char in JOINERS:
        return JOINT
    if char == QUESTION:
        return QUESTION
    if char.isspace():
        return STOP if char in "\r\n\u2028\u2029" else BLANK
    if ord(char) in LOOKALIKES:
        return _plain(char.translate(LOOKALIKES))
    letter = None if char.isascii() else _LETTER.fullmatch(name(char, ""))
    if letter is not None:
        return letter[1].lower()
    kind = category(char)
    if kind == "Nd":
        return str(decimal(char))
    if not char.isalnum() or char in FILLERS:
        return STOP if kind.startswith("P") else ""
    at = TRADITIONAL.find(char)
    if at >= 0:
        return _plain(SIMPLIFIED[at])
    plain = char.casefold()
    return char if plain == char else _plain(plain)


_CHARACTERS = _Characters()

_JOINTS = re.compile(r"(?<=[a-z0-9])(\.)\.*(?=[0-9])|(?<=no)(\.) (?=[0-9])|(\.)\.*(?=[ ,?]|$)|\.+")
_BLANKS = re.compile(r"(?<![a-z0-9 ]) +|(?<= ) +| +(?![a-z0-9 ])")
_STOPS = re.compile(r"^,+|,+$|(?<=[,?]),+")


def folded(text: str) -> str:
    """Letters, digits, signs that mean something, and what separates clauses: for replies.

    Case, marks, scripts and ornaments are gone. Of blanks only those between Latin letters or digits stay,
    of joiners only those before a digit that belongs to them. Folding again changes nothing.
    """
    plain = text.translate(_CHARACTERS)
    if JOINT in plain:
        plain = _JOINTS.sub(_joint, plain)
    if BLANK in plain:
        plain = _BLANKS.sub("", plain)
    return _STOPS.sub("", plain) if STOP in plain else plain


def _joint(found: re.Match[str]) -> str:
    return STOP if found[3] else found[1] or found[2] or ""


def visible(text: str) -> str:
    """The text without blanks, control, format and combining characters, compatibility forms resolved."""
    return "".join(
        char
        for char in normalize("NFKC", text)
        if char.isprintable() and char != " " and char not in FILLERS and category(char) not in ("Mn", "Me")
    )
