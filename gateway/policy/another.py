"""Whether a reply names somebody else: by the shape of a name, a number, or how the number was come by.

Rules of this file: what needs no words of a list (reply_words/persons.py) but the place where a name stands.
Folded texts in; linear in their length.
"""

import re

from gateway.policy.folding import BLANK, QUESTION, STOP
from gateway.policy.reply_words import SURNAMES, TITLES

_NAME = f"[{''.join(sorted(SURNAMES))}](?!经理|总|老师|主任|姐|哥)[\u4e00-\u9fff]{{1,2}}"
_NAMED = re.compile(
    f"(?:不是什么|不是|不叫|不是姓|不姓|不认得|查无|不认识(?:什么|那个|这个|叫)?|没有?叫|没有?姓|这里?没有?|没有叫?(?=.{{2,3}}(?:这个|这|此)人))[{''.join(sorted(SURNAMES))}][\u4e00-\u9fff]{{0,2}}?"
    f"(?:{'|'.join(TITLES)}|别|不要|你|请|啊|吧|[{STOP}{QUESTION}{BLANK}]|$)"
)
"""我不是张三: a surname and one or two characters more, and then the clause ends or goes on plainly."""

_NAMED_IN_ENGLISH = re.compile(
    "(?:i am|i m|im|this is|thats|that is|its|it is) not (?:mr |mrs |ms |miss )?"
    "(?:zhang|wang|li|liu|chen|yang|huang"
    "|zhao|wu|zhou|xu|sun|ma|zhu|hu|guo|he|lin|gao|luo|zheng|liang|xie|song|tang|han|feng|deng|cao|peng)(?![a-z])"
)
"""I am not Zhang San."""

_UNKNOWN_TO = re.compile(
    f"(?:^|[{STOP}{QUESTION}])什么[{''.join(sorted(SURNAMES))}](?:先生|女士|小姐|总|某)"
    f"|(?:我|本人)(?:真的?|并|根本)?不是(?:[{STOP}{QUESTION}]|$)"
    f"|谁是{_NAME}(?:[啊呀{STOP}{QUESTION}]|$)|(?:^|[{STOP}{QUESTION}]){_NAME}(?:又|到底)?是谁"
)
"""我不是; 张三是谁."""

_ELSEWHERE = re.compile(
    f"找(?:[他她]|{_NAME})[^{STOP}{QUESTION}]{{0,6}}[打拨][^{STOP}{QUESTION}]{{0,4}}[0-9]{{7}}"
    f"|(?:[他她]|{_NAME})的新?(?:手机号码?|电话号码?|电话|手机|号码?)是[0-9]{{7}}"
)
"""找张三打13800000001: under which number the other one is met."""
_LEAST_ELSEWHERE = 10
"""Characters that this takes."""

_TAKEN_OVER = re.compile(
    f"(?:号码?|手机|卡)[^{STOP}{QUESTION}]{{0,6}}"
    f"(?:我[^{STOP}{QUESTION}]{{0,5}}[才刚新][^{STOP}{QUESTION}]{{0,2}}[买办换用]|现在(?:是我|归我|我在?用)|我用了)"
    "|号码?(?:已经?|早就|后来|现在|刚)*(?:换|转|过户|让)给我"
    "|[才刚新][买办换用][了的]?[这此]?个?(?:手机)?号"
    "|用这个?(?:手机)?号码?才"
    f"|(?:跟|和|与){_NAME}(?:早就?|已经?|都)*离婚"
    f"|(?:号码?|手机|卡).{{0,12}}[{STOP}]现在(?:号码?)?(?:是|归)我(?:的|在?用)?[了啊吧]?(?:[{STOP}]|$)"
)
"""这个号码是我上个月才买的: whose the number is now."""


def is_another(plain: str) -> bool:
    """Whether it says that the one who is meant is another than its writer."""
    return (
        _NAMED.search(plain) is not None
        or _UNKNOWN_TO.search(plain) is not None
        or _TAKEN_OVER.search(plain) is not None
        or (len(plain) >= _LEAST_ELSEWHERE and _ELSEWHERE.search(plain) is not None)
        or (plain.isascii() and _NAMED_IN_ENGLISH.search(plain) is not None)
    )
