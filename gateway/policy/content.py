"""What a message text says of its sender and of the way to refuse: signature and opt-out hint.

Rules of this file: reading only; what must be there, and for whom, is said by the rules. The usual
wording is found in the raw text by literal searches; only when that fails are the slower expression and
the folded text tried.
"""

import re
from functools import lru_cache

from gateway.policy.folding import visible
from gateway.policy.reply_words import CODES

OPEN, CLOSE = "【", "】"

_QUOTE = r"[\s\"'“”‘’「」『』【】\[\]()（）《》:：]{0,3}"
_CODE = "(?i:" + "|".join(sorted(CODES, key=len, reverse=True)) + ")(?![A-Za-z0-9恤+])"
_WISH = (
    "(?:退订|退訂|拒收|拒接|拒绝(?=接收|请|回)|谢绝|不再接收|不接收|不再收到|不想再?(?:接收|收到)"
    "|取消(?:订阅|接收|推送)|停止接收|勿扰|退(?![\u4e00-\u9fff])|(?i:unsubscribe|opt[ -]?out))"
)
_NEAR = r"[^。！!?？;；]{0,8}"  # a hint is one clause
_AFTER = rf"{_QUOTE}(?:[至到]\d+)?(?:即?可|to\s)?{_WISH}"

_REPLY_CODE = re.compile(f"(?<![勿不无])回复?{_QUOTE}({_CODE})")
_WISH_BEFORE = re.compile(f"{_WISH}{_NEAR}$")
_WISH_AFTER = re.compile(_AFTER)
_VERB = r"(?<![勿不无])(?:回复?|复|发送?|(?i:reply|send|text)\s)"
_HINT = re.compile(f"{_VERB}{_QUOTE}{_CODE}{_AFTER}|{_WISH}{_NEAR}{_VERB}{_QUOTE}{_CODE}")
_OTHER_VERB = re.compile("(?<!回)复|发|(?i:reply|send|text)")
_DRESSED = re.compile(r"[^\u4e00-\u9fff!-~，。、；：！？“”‘’（）【】《》]")
_LEAST_SAID = 4
"""Characters between a signature and a hint, at least, in a message that somebody sent."""
_BEFORE = 12  # characters before a hint that are looked at
_MOST_BEHIND, _MOST_KNOWN = 16, 4096
"""Characters behind it, at most, with which the end of a text is remembered; and how many ends are."""
_WISHED_CODES = frozenset(code for code in CODES if re.fullmatch(_WISH, code))


def head(name: str) -> str:
    """How a text signed with this name begins, folded; the name may come with its brackets or without."""
    return OPEN + visible(name).strip(OPEN + CLOSE) + CLOSE


def signature(text: str) -> str:
    """The name in 【】 at the very head of a text, as written; "" when there is none."""
    if not text.startswith(OPEN):
        text = visible(text)
        if not text.startswith(OPEN):
            return ""
    return text[1 : max(1, text.find(CLOSE))]


def last_signature(text: str) -> str:
    """The name in 【】 at the very end of a text, where some platforms put it; "" when there is none."""
    text = visible(text)
    return text[text.rfind(OPEN) + 1 : -1] if text.endswith(CLOSE) and OPEN in text else ""


def offers_refusal(text: str) -> bool:
    """Whether the text names a reply that refuses, and one that is understood as such (replies.py).

    拒收请回复R, 回T退订, 回复退订 count; 退订请拨打…, a link, or a code of the sender's own invention do
    not: a subscriber who follows them would not be heard here.
    """
    at = text.rfind("回")
    while at >= 0:
        if _hint_at(text, at):
            return True
        at = text.rfind("回", 0, at)
    if _OTHER_VERB.search(text) and _HINT.search(text):
        return True
    return bool(_DRESSED.search(text) and _HINT.search(visible(text)))


def quoted(text: str) -> tuple[int, int] | None:
    """Where a whole signed message, from its signature to the end of its hint, stands in a longer text."""
    begin = text.find(OPEN)
    close = text.find(CLOSE, begin)
    found = _HINT.search(text, close + _LEAST_SAID) if 0 <= begin < close else None
    return None if found is None else (begin, found.end())


def _hint_at(text: str, at: int) -> bool:
    """Whether the 回 at this place begins a reply code that stands beside the word for refusing; remembered,
    as texts that differ in names and figures end alike."""
    if at < _BEFORE or len(text) - at > _MOST_BEHIND:
        return _is_hint(text, at)
    return _ends_in_hint(text[at - _BEFORE :])


@lru_cache(maxsize=_MOST_KNOWN)
def _ends_in_hint(end: str) -> bool:
    return _is_hint(end, _BEFORE)


def _is_hint(text: str, at: int) -> bool:
    """The same, looking at nothing that stands more than so many characters before."""
    offered = _REPLY_CODE.match(text, at)
    if offered is None:
        return False
    return (
        text.startswith(("退订", "拒收"), max(at - 2, 0))
        or text.startswith("拒收请", max(at - 3, 0))
        or offered[1] in _WISHED_CODES
        or _WISH_AFTER.match(text, offered.end()) is not None
        or _WISH_BEFORE.search(text[max(0, at - _BEFORE) : at]) is not None
    )
