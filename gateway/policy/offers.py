"""What the last message offered, and which of it a reply chooses: 回D退订, 是否办理？回复Y/N.

Rules of this file: folded texts in, the kind of the reply out. A reply that is one of the answers which the
message printed means what is printed beside it; all others are read by their words alone (replies.py).
"""

import re
from functools import lru_cache
from itertools import chain

from gateway.policy.folding import QUESTION, STOP
from gateway.policy.reply_words import CLASSES

_MOST_KNOWN = 1 << 10
"""Messages whose offer is remembered."""

_NO_PAUSE = f"[^{STOP}{QUESTION}]"
_ASKS = f"(?:吗|么)?{STOP}?{re.escape(QUESTION)}"

_ANSWER = (
    "[a-z0-9]{1,8}|取消|退(?!订)|不?需要|不?同意|不?愿意?|不?参加|不?确认|不?办理|不?要|不?是的?"
    "|否|不|对的?|好的?|嗯|确定|拒绝|谢绝"
)
"""What can be printed as an answer."""
_REPLY = (
    "(?:(?:回复?|复|发送?|编辑|输入)(?:短信|内容|[大小]写|字母|数字|代码|指令)*"
    f"|(?<![a-z])(?:reply|text|send)(?: with)?){STOP}? ?"
)
_END = (
    "(?<![何么样不别没])(?:退订|拒收|取消订阅|取消接收|[停中]止接收|拒绝接收|谢绝接收|(?<!开通)免打扰|屏蔽"
    "|不(?:想|愿意?|需要|希望|要)?再?(?:接收|收到))"
    "(?!单|费|酒店|[机车]票|订单|套餐|会员|产品|理财|保险|课程|预约|快递)"
)
_TO_END = "(?:to (?:unsubscribe|opt ?out|stop|cancel|end|quit)|unsubscribe|opt ?out)(?![a-z])"

_ENDS = re.compile(
    f"{_REPLY}({_ANSWER})(?:"
    f"(?:即|可|以|来|完成|确认)*{_END}(?![请可]?(?:回复?|复|发送?){STOP}?[a-z0-9])"
    f"|{STOP}(?:即|可|以|来|完成|确认)*{_END}[此该本类这些的营销推广短信息服务]*(?:{STOP}|$)"
    f"|{STOP}? {_TO_END})"
    f"|(?:{_END}[此该本类这些的营销推广短信息]{{0,8}}{STOP}?[请可]?|{_TO_END}{STOP}? ?)"
    f"{_REPLY}({_ANSWER})"
    f"|(?<![a-z0-9.])([a-z0-9]{{1,4}}){STOP}?{_END}(?:{STOP}|$)"
    f"|{_END}[此该本类这些的营销推广短信息]{{0,8}}[{STOP}.]?([a-z0-9]{{1,4}})(?:{STOP}|$)"
)
"""The answer that refuses, before the word for it or after it; in 办理回1，退订致电网点 there is none."""

_END_ASKED = re.compile(
    f"(?:是否|确[认定]|是要|您要|想要)[^{STOP}{QUESTION}0-9a-z]{{0,6}}{_END}[^{STOP}{QUESTION}回]{{0,14}}{_ASKS}"
)
"""Whether the subscriber meant to refuse."""

_GET = "(?:接收|订阅)"
_SELLS = "(?:营销|推广|优惠(?!券)|促销|资讯|广告)"
_MORE_ASKED = re.compile(
    f"(?:是否|愿意?|同意|希望|想){_NO_PAUSE}{{0,4}}(?:(?:继续|再){_GET}{_NO_PAUSE}{{0,8}}(?:短信|信息)"
    f"|{_GET}{_NO_PAUSE}{{0,8}}{_SELLS}){_NO_PAUSE}{{0,6}}{_ASKS}"
    f"|(?:是否|[您你])(?:愿意?|同意|希望|想){_NO_PAUSE}{{0,12}}(?:接收|收到|发送|推送){_NO_PAUSE}{{0,8}}{_SELLS}"
    f"{_NO_PAUSE}{{0,6}}[{STOP}{QUESTION}]"
)
"""Whether the subscriber wants to get more of them; of bills and codes one may say no and refuse nothing."""
_DECLINED = re.compile(f"不(?:愿意?|同意|需要|希望|想|要|接收|继续)*{_NO_PAUSE}{{0,4}}{_REPLY}({_ANSWER})")
_FIGURES_ASKED = re.compile(
    f"{_REPLY}{_NO_PAUSE}{{0,8}}(?:后[三四五六346]位|尾号|验证码|校验码|卡号|身份证号?|金额)"
)
"""What digits are then, 0000 too."""

_SCORE_ASKED = re.compile(
    f"评[分价]|打分|[几0-9]分|满意度|为{_NO_PAUSE}{{0,3}}满意|推荐{_NO_PAUSE}{{0,8}}可能"
)
"""What a number of one or two digits is then, 0 too."""

_NOT_WANTED = re.compile(
    f"[如若]果?您?不再?(?:需要|想要|感兴趣){STOP}?[请可]?{_REPLY}(td?|r|0000)(?![a-z0-9])"
)
"""如不需要请回T: of what, is not said, but these are printed for nothing else. N answers a question."""

_END_APPLIED = re.compile(f"申请{_NO_PAUSE}{{0,4}}{_END}")
"""Of whom a confirmation is asked, not a question."""
_WHICH_END = re.compile(f"{_END}哪{_NO_PAUSE}{{0,8}}{re.escape(QUESTION)}{STOP}?请?(?:{_REPLY})?[1a]")
"""Which messages are to end; one of the menu."""

_CONFIRMS = re.compile(f"{_REPLY}({_ANSWER}){STOP}?(?:即可)?确[认定]")
_AGREES = re.compile("是的?|对的?|好的?|嗯|确认|确定|y|yes|ok")

_WHO_ASKED = re.compile(
    f"是{_NO_PAUSE}{{1,12}}(?<![您你否为])本人{_ASKS}|[您你问]是{_NO_PAUSE}{{1,4}}(?:先生|女士|小姐){_ASKS}"
)
"""Whether the subscriber is the one who is meant."""
_DID = "(?:操作|消费|交易|支付|办理|申请|登[录陆]|签收|使用|刷|转账|取款)"
_DENIED = re.compile(
    f"(?:非|不是){_NO_PAUSE}{{0,3}}本人(?!{_DID}){_NO_PAUSE}{{0,4}}{_REPLY}({_ANSWER})"
    f"|{_REPLY}({_ANSWER})(?:表示|则为|为)?(?:非|不是)本人(?!{_DID})"
)
_DONE = re.compile(f"本人{_DID}")
"""What the subscriber may not have done; who has not is still the one who is meant."""
_NOT_DONE = re.compile(f"(?:我|并)?(?:非|不是)(?:我|我?本人)[的了{STOP}]*")
_DENIES = frozenset(("不是", "不是的", "否", "不", "n", "no"))
_REJECTS = frozenset(("拒绝", "谢绝"))
"""No to a question; beside a way to refuse the messages themselves it may be either."""
_DECLINES = _DENIES | {"不同意", "不需要", "不要", "不愿意", "不愿"}
_EITHER_ASKED = re.compile(
    f"{_REPLY}(?:y|是|1){_NO_PAUSE}{{0,8}}{STOP}?{_NO_PAUSE}{{0,10}}{_REPLY}(?:n|否|2)(?![a-z0-9])"
)
"""A question to be answered by yes or no, in whatever words."""
_AGAIN_OFFERED = re.compile(
    f"(?:恢复|重新|继续)(?:接收|订阅|发送|推送)?(?:短信|信息)?{STOP}?[请可]?{_REPLY}({_ANSWER})"
)
"""What takes a refusal back; Y or HF is no exact phrase, wherever it is printed."""
_RETURNS = frozenset(("start", "unstop", "resume"))
_OF_SERVICE = re.compile("账单|验证码|提醒|通知|动账|余额|还款")

_CHOICES = re.compile(f"{_REPLY}({_ANSWER})(?:[{STOP} ]*(?:或者?|or)?[{STOP} ]*({_ANSWER})(?![a-z0-9]))?")
_MENU = re.compile("(?<![a-z0-9])(?:[a-z0-9]|yn)(?![a-z0-9])")
"""Signs of which more than one can be chosen; folding joins Y/N."""

_CHOSEN = re.compile(f"(?:请?回复?|发送?|复)?({_ANSWER})(?:吧|了|谢谢|{STOP})*")

_PRINTED = frozenset(("r", "t", "td", "n", "y", *CLASSES["W"].split()))
"""Codes that mean the same in all messages, or another thing; and words that ask by themselves (STOP)."""
_LONGEST_SLIP = 4
"""Characters that a slip of a code has at most."""
_SOUNDS = {
    "t": "踢替梯提题体剃涕惕t", "d": "弟地第低滴底迪帝d", "r": "啊阿耳尔儿二r", "n": "恩嗯摁n",
    "q": "丘秋球q", "x": "叉x",
}  # fmt: skip
"""Letters as Chinese is heard for them."""
_HEARD = frozenset("".join(_SOUNDS.values()))
_CODE = re.compile("(?<![a-z])[a-z](?: ?[a-z]){0,3}(?![a-z])")
"""What may be a code, within a reply."""


def may_choose(plain: str) -> bool:
    """Whether this reply could be one of the answers that a message offers, hold one, or be a slip of one."""
    return (
        _CHOSEN.fullmatch(plain) is not None
        or _NOT_DONE.fullmatch(plain) is not None
        or _CODE.search(plain) is not None
        or (len(plain) <= _LONGEST_SLIP and _HEARD.issuperset(plain) and bool(plain))
    )


def chosen(plain: str, outbound: str) -> str | None:
    """The kind of a reply that is one of the answers that `outbound` offers; None if it is none of them.

    取消 refuses a message that offers to be refused and does not speak of cancelling something else.
    """
    found = _CHOSEN.fullmatch(plain)
    if found is None:
        return "other" if _NOT_DONE.fullmatch(plain) and _DONE.search(outbound) else None
    answer = found[1]
    ends = _ends_of(outbound)
    if answer in ends:
        return "refuse"
    if (_END_ASKED.search(outbound) or _END_APPLIED.search(outbound)) and (
        _AGREES.fullmatch(answer) or answer in _CONFIRMS.findall(outbound)
    ):
        return "refuse"
    declined = answer in _DECLINES or answer in _DECLINED.findall(outbound)
    if declined and _MORE_ASKED.search(outbound) and not _OF_SERVICE.search(outbound):
        return "refuse"
    if answer in _RETURNS and answer in _AGAIN_OFFERED.findall(outbound):
        return None
    if answer.isdecimal() and _FIGURES_ASKED.search(outbound):
        return "other"
    if answer.isdecimal() and len(answer) < 3 and _SCORE_ASKED.search(outbound):
        return "other"
    denied = answer in _DENIES and _WHO_ASKED.search(outbound)
    if denied or answer in chain.from_iterable(_DENIED.findall(outbound)):
        return "wrong_person"
    if answer in _NOT_WANTED.findall(outbound):
        return None
    menu = set("".join(_MENU.findall(outbound))) - ends
    if answer in menu and _WHICH_END.search(outbound):
        return "refuse"
    if answer in chain.from_iterable(_CHOICES.findall(outbound)) or (len(menu) > 1 and answer in menu):
        return "other"
    if answer in _DENIES and _EITHER_ASKED.search(outbound):
        return "other"
    if answer in _REJECTS and _EITHER_ASKED.search(outbound):
        return "ambiguous" if ends else "other"
    return "refuse" if answer == "取消" and ends and "取消" not in outbound else None


@lru_cache(maxsize=_MOST_KNOWN)
def _ends_of(outbound: str) -> frozenset[str]:
    """The answers by which a message can be refused; many get the same message."""
    return frozenset(chain.from_iterable(_ENDS.findall(outbound))) - {""}


def spelled(plain: str, outbound: str) -> str:
    """The reply with TD for the code that `outbound` offers, where that is none that all senders print."""
    for code in _ends_of(outbound):
        if code.isascii() and code.isalpha() and code not in _PRINTED:
            plain = re.sub(rf"(?<![a-z0-9]){' ?'.join(code)}(?![a-z0-9])", "td", plain)
    return plain


def nearly(plain: str, outbound: str) -> bool:
    """Whether a reply is a slip of the code that `outbound` offers, says it twice, or what a phone heard."""
    bare = plain.replace(" ", "")
    if len(bare) > _LONGEST_SLIP:
        return False
    for code in _ends_of(outbound):
        if not (code.isascii() and code.isalpha()):
            continue
        if bare and bare == code * (len(bare) // len(code)):
            return True
        if len(code) > 1 and len(bare) == len(code) and bare.isascii() and bare.isalpha():
            differ = [place for place in range(len(code)) if bare[place] != code[place]]
            if len(differ) == 1 or (len(differ) == 2 and sorted(bare) == sorted(code)):
                return True
        if len(bare) == len(code) and all(
            sound in _SOUNDS.get(letter, "") for sound, letter in zip(bare, code, strict=True)
        ):
            return True
    return False
