"""A folded reply with the words that were meant for those that were typed: 推订 and tui ding are 退订.

Rules of this file: what is typed for what stands in reply_words/typed.py. A word of another sound, or a Latin
one, is left alone: in a text that is only in part pinyin nothing is read as pinyin.
"""

import re
from string import ascii_lowercase

from gateway.policy.folding import BLANK
from gateway.policy.reply_words.typed import AFTER, BEFORE, REAL, SOUNDS, SPELLED

_WORDS = tuple(SOUNDS)
_TYPED = re.compile(
    f"(?:(?<![\u4e00-\u9fff])|(?<=[{BEFORE}]))(?!{'|'.join(REAL.split())})(?:"
    + "|".join(
        "(" + "".join("(?:[{}]|{})".format(*typed.split()) for typed in places) + ")"
        for places in SOUNDS.values()
    )
    + f")(?![{AFTER}])"
)
"""One group for each word, in the order of `_WORDS`."""

_LATIN = re.compile(f"[a-z]+(?:{BLANK}[a-z]+)*")
_LEAST_SPELLED = 5
"""Letters that pinyin of a word has at least: shorter ones are codes and English."""
_SYLLABLES = re.compile("|".join(sorted(SPELLED, key=len, reverse=True)))


_ZEROS = re.compile("(?<![a-z0-9])(?=o*0)[o0]{4}(?![a-z0-9])")
"""0000 with the letter for some of its figures."""


_SERIAL = re.compile("(?<![a-z0-9])td\\.(?=[0-9](?![0-9]))")
"""TD-1 stops one service, as TD1 does."""


_ENOUGH = re.compile("(?<=别)((?:再|再给我|给我)?(?:[打来]电话|发短信|发信息|发消息))(?:就[行好成]|即可|吧)")
"""别打电话就行 asks for that alone; 打电话就行 by itself says what may go on."""


def _within_one_slip(word: str) -> frozenset[str]:
    """What is typed for a Latin word with one letter too few, too many, wrong or in its neighbour's place."""
    halves = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    return frozenset(
        typed
        for before, then in halves
        for typed in (
            before + then[1:],
            before + then[1:2] + then[:1] + then[2:],
            *(before + letter + rest for letter in ascii_lowercase for rest in (then, then[1:])),
        )
    )


SLIPS = _within_one_slip("tuiding") | _within_one_slip("jushou")
"""What is perhaps 退订 or 拒收; the slips that are met most are in `SPELLED`."""


def meant(plain: str) -> str:
    """The same text, of the words that its writer meant."""
    if "o" in plain and "0" in plain:
        plain = _ZEROS.sub("0000", plain)
    if "td." in plain:
        plain = _SERIAL.sub("td", plain)
    if not plain.isascii():
        plain = _TYPED.sub(_right, plain)
        if "别" in plain:
            plain = _ENOUGH.sub(r"\1", plain)
    runs = _LATIN.findall(plain)
    if not runs or max(map(len, runs)) < _LEAST_SPELLED:
        return plain
    words = [_spelled(run.replace(BLANK, "")) for run in runs]
    if None in words:
        return plain
    found = iter(words)
    return _LATIN.sub(lambda run: next(found) or "", plain)


def _right(found: re.Match[str]) -> str:
    return _WORDS[(found.lastindex or 1) - 1]


def _spelled(run: str) -> str | None:
    """The words that a run of letters spells; None when some of it is none."""
    words = _SYLLABLES.findall(run)
    return "".join(SPELLED[word] for word in words) if sum(map(len, words)) == len(run) else None
