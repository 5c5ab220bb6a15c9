"""Texts made comparable: the same words typed, dressed up or mangled in different ways become equal.

Rules of this file: values in, values out; no list of words that mean something lives here. What is
dropped or mapped was met in the field (tests/vectors): full-width and circled letters, soft hyphens and
zero-width characters, look-alike letters of other scripts, brackets and emoji around a code.
"""

from unicodedata import category, normalize

LOOKALIKES = str.maketrans("ТтΤτΝᎡᖇ", "TtTtNRR")
"""Cyrillic, Greek and other letters that look like a refusal code; NFKC leaves them as they are."""

FILLERS = "\u115f\u1160\u3164\uffa0"
"""Hangul fillers: letters to Unicode, blank to a reader."""


def letters(text: str) -> str:
    """Only letters and digits, compatibility forms resolved, case gone: for replies of a few characters."""
    plain = normalize("NFKC", text).translate(LOOKALIKES).casefold()
    return "".join(char for char in normalize("NFKC", plain) if char.isalnum() and char not in FILLERS)


def visible(text: str) -> str:
    """The text without blanks, control, format and combining characters, compatibility forms resolved."""
    return "".join(
        char
        for char in normalize("NFKC", text)
        if char.isprintable() and char != " " and char not in FILLERS and category(char) not in ("Mn", "Me")
    )
