"""What a subscriber's reply (MO) means, and how far a refusal goes (domain.md "A reply (MO) means").

Rules of this file: a text is folded, cut into clauses, and each clause becomes a *shape*, one sign for each
word by its class in reply_words.py: 别再发了 is `MaSF`, 退订酒店 `WG`. What a shape says stands in
reply_grammar.py, what the clauses of one reply mean together in `_together`. Nobody has refused who did not
ask for it: a code refuses only when it is the whole reply, a word only when all that stands beside it is
known and harmless, and who is not understood is `ambiguous` or `other`. Pure; linear in the text's length.

| kind | is | what the relay does with it |
|---|---|---|
| `refuse` | asks for an end of it | a refusal, in force before the reply is passed on |
| `accept` | asks to get messages again | ends older refusals to that institution, if there are any |
| `wrong_person` | is not who is meant | a `stranger` on that institution's recipient list |
| `ambiguous` | perhaps: abuse, a bare no, a question how to, a code that is cut | marketing is held |
| `other` | everything else | recorded and passed on |
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple
from unicodedata import category

from gateway.policy.another import is_another
from gateway.policy.content import CLOSE, OPEN, quoted
from gateway.policy.folding import BLANK, QUESTION, STOP, folded
from gateway.policy.meant import SLIPS, meant
from gateway.policy.offers import chosen, may_choose, nearly, spelled
from gateway.policy.reply_grammar import SENTENCES
from gateway.policy.reply_scope import ALL_PURPOSES, BOTH_CHANNELS, Clause, covered
from gateway.policy.reply_words import (
    BUSY,
    CLASSES,
    FIGURE,
    GOODS,
    IF,
    MEANING,
    NOW,
    OTHERS,
    PART_OF_DAY,
    RELATIVE,
    RELAYS,
    SMALL,
    UNKNOWN,
)

MOST_WORDS = 60
"""In one clause that is read; nobody refuses in a longer one."""
MOST_UNKNOWN = 3
"""Clauses that are not understood beside a word that refuses; in a longer story it may be told of."""
_MOST_KNOWN = 1 << 13
"""Shapes whose sentence is remembered; bounded, as subscribers choose what is met."""
LEAST_SENT = 10
"""Characters that a message of an institution has at least; a shorter reply repeats none."""


class Meaning(NamedTuple):
    """What a reply means. A refusal covers no more than these channels and purposes (bits of the model):
    别打电话 leaves SMS alone, 只退订营销短信 what is not marketing. It is narrowed only by words that say so
    plainly, 别再发短信了 is none: a refusal is read towards protection."""

    kind: str  # model.REPLY_KINDS
    channels: int = BOTH_CHANNELS
    purposes: int = ALL_PURPOSES


WORDS = {word.replace("_", " "): sign for sign, words in CLASSES.items() for word in words.split()}
_LENGTHS: dict[str, list[int]] = {}
"""By the first character of words, how long they may be, the longest first."""
for _word in sorted(WORDS, key=len, reverse=True):
    if len(_word) not in (_known := _LENGTHS.setdefault(_word[0], [])):
        _known.append(len(_word))

_SENTENCE = re.compile("|".join(f"({sentence.expression})" for sentence in SENTENCES))
_OPENS, _CLOSES = "[\"'“‘「『《〖【]", "[\"'”’」』》〗】]"
_MENTIONED = re.compile(rf"\w{_OPENS}(\w{{1,12}}){_CLOSES}|{_OPENS}(\w{{1,12}}){_CLOSES}\w")
"""关于“退订”的规定: a word in quotes amid a sentence."""

_PHONES = ("发自我的", "来自我的", "—发自", "—来自", "-发自", "-来自", "Sent from my", "sent from my")
"""How what phones write below a text begins; where it does not say whose, it ends with what it is."""
_NAMES = ("手机", "平板", "iPhone", "iPad")
_LONGEST_PHONE = 40

_ENDS = {STOP: "", QUESTION: "J"}
"""What ends a clause, and the sign that it leaves."""
_SEPARATORS = re.compile(rf"_|{BLANK}|(?<![0-9]){STOP}|{STOP}(?![0-9])")
_RUN = re.compile("[a-z]+|[0-9]+")

_BETWEEN = re.compile("(?<=[^\x00-\x7f])[ \u3000]+(?=[^\x00-\x7f]|[a-zA-Z]{1,2}(?![a-zA-Z0-9]))")
"""Where many put a blank for a comma; folding takes it out."""
_NOT_UNDERSTOOD = frozenset(("unknown", "unclear"))
_UNSETTLED = _NOT_UNDERSTOOD | {"no"}
_DECLINED = re.compile("[^MBNZL]*H[pPh]*")
"""不需要 退订: what is declined may be the goods or the word behind the blank."""

# of shapes
PARTICLE, REQUESTS = "p", "P0"
_OWN = re.compile("[^NnLQJjiI3:8κπ_`]*")
"""What may stand before a demand that it runs on into."""
_WORD = re.compile("P*W+P*")
_QUESTIONS = re.compile("[QJj:]")
_PRODUCTS, _BUSY = re.compile(f"[{GOODS}]"), re.compile(BUSY)
_ONLY_BUSY = re.compile(f"[FpP]*{BUSY}[FpPJ]*")
_MESSAGES = re.compile("[StyegOYR]")
_SENDS, _SENT_GOODS = re.compile("[Styeg]"), re.compile("f")
_WARNS_LATER = re.compile("[^Λ19X]*a[^Λ19X]*[Sty][^Λ19X]*")
"""晚上再打, beside a threat."""
_PUT_OFF = re.compile("[^gR@#2oTh!]*")
_NOT_PUT_OFF = frozenset(("ask", "abuse", "threat", "allow", "keep"))
"""别打，晚点打 puts off; 别发广告，晚点打 does not."""
_NOT_HERE, _GOES_TO = re.compile("[FpP]*M[Fp]*[Sty]F+p*"), re.compile("[FpP]*[Sty][F]*[X9][FpX9]*")
"""别打这个号码; 打另一个."""
_BESIDE_A_CODE = frozenset(("code", "hint", "polite", "keep", "allow", "dislike", "quotes"))
"""All that the clauses of a reply may say when it refuses by a code."""
_HELD = frozenset(("how", "unclear", "stop", "dislike", "threat", "code", "mistake", "abuse", "dropped"))
"""What makes a person look at a reply that does not refuse."""


def depends(text: str) -> bool:
    """Whether a message that the subscriber got before can change what this text means."""
    return len(text) >= LEAST_SENT or OPEN in text or may_choose(folded(text))


def classify(text: str, outbound: str = "") -> Meaning:
    """What a text means as an answer to `outbound`, the last text that the subscriber got; "": not known.

    Messages that the reply repeats are no part of it.
    """
    own = _unquoted(_written(text), outbound)
    if own is None:
        return Meaning("ambiguous")
    plain = folded(own)
    if outbound:
        offered = folded(outbound)
        kind = chosen(plain, offered)
        if kind is None and nearly(plain, offered):
            kind = "ambiguous" if _read(plain, own).kind == "other" else None
        if kind is not None:
            return Meaning(kind)
        plain = spelled(plain, offered)
    return _read(plain, own)


def _read(plain: str, own: str) -> Meaning:
    """What the words of a reply mean, folded and as they were written."""
    plain = meant(plain)
    another = is_another(plain)
    mentioned = _MENTIONED.search(own)
    mentions = mentioned is not None and classify(mentioned[1] or mentioned[2]).kind == "refuse"
    shapes = tuple(_shapes(plain))
    if (" " in own or "\u3000" in own) and _BETWEEN.search(own) and not _settled(shapes):
        parts = tuple(_cut(meant(folded(_BETWEEN.sub(STOP, own)))))
        if _NOT_UNDERSTOOD.isdisjoint(map(_said, parts)):
            if not any(_said(shape) == "no" for shape in shapes):
                shapes = parts
            elif _DECLINED.fullmatch(parts[0]) and _read_together(parts, another, mentions).kind == "refuse":
                return Meaning("ambiguous")
    return _read_together(shapes, another, mentions)


def _settled(shapes: Sequence[str]) -> bool:
    """Whether blanks can change nothing: each clause fits a sentence, none denies a refusal."""
    return _UNSETTLED.isdisjoint(map(_said, shapes))


@lru_cache(maxsize=_MOST_KNOWN)
def _read_together(shapes: tuple[str, ...], another: bool, mentions: bool) -> Meaning:
    """The meaning of a reply of these clauses; `another`: it says that somebody else is meant; `mentions`: it
    speaks of such a word in quotes. Replies are of few shapes."""
    clauses = list(_own(shapes))
    if another:
        clauses.append(("wrong", ""))
    kind = _together(clauses)
    if kind == "refuse" and mentions and any(what == "unknown" for what, _ in clauses):
        return Meaning("ambiguous")
    return Meaning(kind, *covered(clauses)) if kind == "refuse" else Meaning(kind)


def _unquoted(text: str, outbound: str) -> str | None:
    """What the subscriber added to a message that the reply repeats; None when nothing was added."""
    sent = outbound.strip()
    at = text.find(sent) if sent else -1
    place = (at, at + len(sent)) if at >= 0 else quoted(text)
    if place is not None:
        own = f"{text[: place[0]]}\n{text[place[1] :]}"
        return own if folded(own) else None
    return _unsigned(text)


def _written(text: str) -> str:
    """The text without the line that names the phone it was written on."""
    if "自" not in text and "m" not in text:
        return text
    plain = text if text.isascii() else "".join(filter(_is_seen, text))
    if "发自" not in plain and "来自" not in plain and "rom my" not in plain:
        return text
    named = plain.rstrip().endswith(_NAMES)
    for phone in _PHONES:
        at = plain.rfind(phone, max(0, len(plain) - _LONGEST_PHONE))
        if at > 0 and not plain[at - 1].isalnum() and (named or phone[0] not in "-—"):
            return plain[:at].rstrip(" \r\n-—–")
    return text


def _is_seen(char: str) -> bool:
    """Not so format characters and marks, which may stand anywhere."""
    return char.isspace() or (char.isprintable() and category(char) not in ("Mn", "Me"))


def _unsigned(text: str) -> str:
    """The text without a signature, which some platforms put before what people write, and hints carry."""
    bare = text.strip()
    if bare.startswith(OPEN):
        name, _, rest = bare.partition(CLOSE)
    elif bare.endswith(CLOSE):
        rest, _, name = bare.rpartition(OPEN)
    else:
        return text
    return rest if folded(name) not in WORDS and folded(rest) else text


def _shapes(plain: str) -> Sequence[str]:
    """The shape of each clause of a folded text; a code or word cut by stops and blanks is whole again."""
    shapes = list(_cut(plain))
    if (len(shapes) > 1 or BLANK in plain or "_" in plain) and QUESTION not in plain:
        whole = list(_cut(meant(_SEPARATORS.sub("", plain))))
        if len(whole) == 1 and (_WORD.fullmatch(whole[0]) or _said(whole[0]) in ("code", "hint")):
            return whole
    return shapes


def _cut(plain: str) -> Iterator[str]:
    """The shape of each clause: one sign a word, the longest word first, one X for all that is unknown."""
    shape = ""
    at, end = 0, len(plain)
    while at < end:
        first = plain[at]
        if first in _ENDS:
            shape += _ENDS[first]
            if shape:
                yield shape
            shape = ""
            at += 1
            continue
        for length in _LENGTHS.get(first, ()):
            then = at + length
            sign = WORDS.get(plain[at:then])
            if sign is not None and (first > "z" or not _inside(plain, then)):
                at = then
                break
        else:
            sign, at = _unknown(plain, at)
        if sign == STOP:
            if shape:
                yield shape
            shape = ""
        elif sign != UNKNOWN or not shape.endswith(UNKNOWN):
            shape += sign
    if shape:
        yield shape


def _inside(plain: str, at: int) -> bool:
    """Whether the place is in the middle of a Latin word or a figure."""
    around = plain[at - 1 : at + 1]
    return len(around) > 1 and around.isascii() and (around.isalpha() or around.isdigit())


def _unknown(plain: str, at: int) -> tuple[str, int]:
    """The sign of what no word begins with, and where it ends; a blank has none."""
    run = _RUN.match(plain, at)
    if run is None:
        return "" if plain[at] == BLANK else UNKNOWN, at + 1
    word = run[0]
    if not word.strip("0"):
        return "7", run.end()
    if word.isdigit():
        return (SMALL if len(word) < 2 or word[:-1] == "0" else FIGURE), run.end()
    repeated = WORDS.get(word[0]) == "C" and word == word[0] * len(word)
    return "7" if repeated or word in SLIPS else UNKNOWN, run.end()


def _own(shapes: Sequence[str]) -> Iterator[Clause]:
    """What each clause says; what follows 他说 was said by somebody else."""
    for shape in shapes:
        says = _said(shape)
        yield says, shape
        if says == "told":
            return


@lru_cache(maxsize=_MOST_KNOWN)
def _said(shape: str) -> str:
    """What a clause of this shape says: `says` of the first sentence that fits, or unknown."""
    if len(shape) > MOST_WORDS:
        return "unknown"
    found = _SENTENCE.fullmatch(shape)
    says = SENTENCES[found.lastindex - 1].says if found is not None and found.lastindex else "unknown"
    return _ran_on(shape) or says if says in _NOT_UNDERSTOOD else says


def _ran_on(shape: str) -> str:
    """What is asked at the end of a clause that nobody has cut, as when it was dictated; "" where that may be
    somebody else's word."""
    for place in range(len(shape) - 2, 1, -1):
        if shape[place - 1] == PARTICLE and shape[place] != PARTICLE:
            if not _OWN.fullmatch(shape, 0, place):
                return ""
            found = _SENTENCE.fullmatch(shape, place)
            if found is not None and found.lastindex:
                says = SENTENCES[found.lastindex - 1].says
                if says == "demand" or (says == "ask" and shape[place] in REQUESTS):
                    return says
    return ""


def _together(clauses: Sequence[Clause]) -> str:
    """The kind of a reply of these clauses. What else is in it takes from a code more than from a word, and
    from a word more than from a demand."""
    says = {what for what, _ in clauses}
    rest = [shape for what, shape in clauses if what == "unknown"]
    if ("earlier" in says and "accept" not in says) or ("tried" in says and says & {"hint", "code"}):
        says.add("ask")
    asks = any(_QUESTIONS.search(shape) for shape in rest)
    if "at" in says and any(PART_OF_DAY in shape for what, shape in clauses if what == "demand"):
        says.add("later")
    if "later" in says:
        if "threat" in says and any(map(_WARNS_LATER.fullmatch, (shape for _, shape in clauses))):
            says.add("warn")
        elif (
            "demand" in says
            and not says & _NOT_PUT_OFF
            and all(_PUT_OFF.fullmatch(shape) for what, shape in clauses if what == "demand")
        ):
            return "ambiguous"
    if "moved" in says or (
        "wrong" in says and not says & {"ask", "code", "demand"} and _answered_for(clauses)
    ):
        says.discard("wrong")
    if "wrong" in says and "accept" not in says:
        return "refuse" if says & {"ask", "code"} else "wrong_person"
    if "accept" in says:
        return "ambiguous" if says & {"ask", "code", "demand", "unknown"} else "accept"
    if any(MEANING in shape for shape in rest):
        return "other"
    if says - {"polite"} == {"unknown", "demand"} and any(
        _BUSY.search(shape) and (NOW in shape or _ONLY_BUSY.fullmatch(shape)) for shape in rest
    ):
        again = any("a" in shape for what, shape in clauses if what == "demand")
        return "refuse" if again else "ambiguous"
    if "demand" in says and _sent_elsewhere(clauses):
        return "ambiguous"
    if "demand" in says or says >= {"warn", "threat"} or says >= {"keep", "dropped"}:
        return "refuse"
    if says >= {"stop", "dislike"} and any(
        what == "dislike" and _SENDS.search(shape) for what, shape in clauses
    ):
        return "ambiguous" if asks else "refuse"
    if "bare" in says:
        return "refuse" if says <= _BESIDE_A_CODE | {"bare", "ask"} else "ambiguous"
    if "ask" in says:
        of_messages = any(what != "ask" and _SENDS.search(shape) for what, shape in clauses)
        bought = _SENT_GOODS if of_messages else _PRODUCTS
        doubtful = (
            asks
            or says & {"about", "how", "no", "slip", "mistake"}
            or ("unclear" in says and not of_messages)
            or len(rest) > MOST_UNKNOWN
            or any(bought.search(shape) or OTHERS in shape or shape[0] == IF for shape in rest)
        )
        return "ambiguous" if doubtful else "refuse"
    if "quiet" in says:
        return "ambiguous" if asks or any(map(_BUSY.search, rest)) else "refuse"
    if says & {"code", "hint"} and says <= _BESIDE_A_CODE:
        return "refuse"
    if says >= {"how", "about"}:
        return "ambiguous"
    if says & {"about", "no", "hint"} or (asks and not says & {"how", "abuse"}):
        return "other"
    if any(what == "warn" and "%" in shape for what, shape in clauses):
        return "ambiguous"
    held = says & _HELD
    if held == {"threat"} and rest and not any(map(_MESSAGES.search, rest)):
        return "other"
    return "ambiguous" if held else "other"


def _answered_for(clauses: Sequence[Clause]) -> bool:
    """Whether one of the subscriber's own answers for the subscriber: 我是他儿子，晚点让他回."""
    return any(RELAYS in shape or _BUSY.search(shape) for _, shape in clauses) and all(
        RELATIVE in shape for what, shape in clauses if what == "wrong"
    )


def _sent_elsewhere(clauses: Sequence[Clause]) -> bool:
    """Whether no more is asked than another number: 别打这个号，打我另一个."""
    return any(what == "unknown" and _GOES_TO.fullmatch(shape) for what, shape in clauses) and all(
        _NOT_HERE.fullmatch(shape) for what, shape in clauses if what == "demand"
    )
