"""What a subscriber's reply (MO) means: refuse, or other (domain.md "A reply (MO) means").

Rules of this file: a reply is a refusal only when the whole of it is one; a code inside a longer text, a
question or a clock time is none, because a refusal nobody asked for silences a bank for good. A new word
is one line in a table. It knows neither whose refusal it is nor what it covers.
"""

import re

from gateway.policy.folding import letters, visible

CODES = ("r", "t", "td", "n", "0000", "退订", "退訂", "拒收")
"""Codes that senders print in their hints, folded; a hint counts as usable when it offers one of them."""

VERBS = ("短信回复", "请回复", "请回", "回复", "回", "复")
"""What people type before a code, copied from the hint."""

PHRASES = (
    "退",
    "已退订",
    "拒绝接收",
    "拒絕接收",
    "取消订阅",
    "取消訂閱",
    "停止发送",
    "stop",
)
"""Whole replies that ask for nothing else, folded."""

REFUSALS = frozenset(
    (
        *PHRASES,
        *CODES,
        *(verb + code for verb in VERBS for code in CODES),
        *(verb + code + "退订" for verb in ("", *VERBS) for code in CODES),
        *(wish + verb + code for wish in ("退订", "拒收") for verb in VERBS for code in CODES),
    )
)

_QUESTION = re.compile("[?\uff1f]")
_PUNCTUATED_DIGITS = re.compile(r"\d[^\w\s]+\d")


def classify(text: str) -> str:
    """`refuse` for a plain refusal in any dress; `other` for everything else.

    Letters may be punctuated inside (T/D), digits may not: 00:00 is a time.
    """
    if letters(text) not in REFUSALS or _QUESTION.search(text):
        return "other"
    return "other" if _PUNCTUATED_DIGITS.search(visible(text)) else "refuse"
