"""Whether a text sells or collects, by what senders write when they do (domain.md "Purposes").

Rules of this file: words only, and only such as bills, codes and notices don't have, because on a number for
service a wrong find may stop what has to arrive: in doubt a text does neither. A warning, and news of what
the reader himself asked for, sell and collect nothing whatever words they have. Disguised words are not
looked for. A new wording is one line. Each begins with a letter, not with a choice, so that most places of a
text are passed over at once.
"""

import re


def _each(beginnings: str, rest: str) -> tuple[str, ...]:
    """What goes on in the same way after each of these."""
    return tuple(beginning + rest for beginning in beginnings.split())


CREDIT = (
    r"专[享属](?:额度|利率|信贷|借款|贷)",
    r"额度(?:已批|待领|已到账|即将失效|待提取|待激活)",
    r"备用金(?:待领|可领|已到)",
    r"邀请?您.{0,4}(?:借|贷|申请.{0,6}(?:贷|借|卡)|办理.{0,6}(?:贷|借|卡)|开户)",
    r"年化(?:利率|收益率?)?.{0,10}%起",
    r"利率低至",
    r"日息\d",
    *_each("最高 随时 即刻", r"可[借贷]"),
    r"可[借贷]\d",
    *_each("黑户 不看征信 无视征信 百分百下款 免抵押 无抵押", ""),
    r"当天(?:放款|下款)",
    r"秒(?:批|放款|下款)",
    *_each("保本保息 稳赚 涨停 牛股", ""),
    *_each("免息券 加息券 理财专享 征信修复 债务优化 债务重组 全额退息", ""),
)
"""Of texts that sell credit, savings or shares."""

GOODS = (
    r"新[客户](?:专享|专属|礼|活动|福利|特惠|立减|首)",
    r"专[享属](?:优惠|福利|礼|活动|价|好礼)",
    r"邀请?您.{0,4}(?:体验|申请|办理|领取|抢)",
    r"低至\d",
    r"秒杀",
    r"限时(?:优惠|特惠|抢|免息|福利|领)",
    *_each("名额有限 抢购 主会场 抽奖 满减 大礼包 好礼 特约活动 优惠活动", ""),
    *_each("领 领取 抢 送", "红包"),
    r"送豪?礼",
    r"重磅(?:推出|发售)",
    r"火热(?:发售|预约|进行)",
    *_each("新品 产品", "发售"),
    r"欢迎(?:选购|认购|办理)",
)
"""Of texts that sell whatever it is, a shop's too."""

OFFERS = CREDIT + GOODS
"""Of texts that sell."""

DEMANDS = (
    *_each("已 已经 严重 长期 多次 仍 持续 继续 现", r"逾期(?!提醒)"),
    r"逾期(?:\d|[一二三四五六七八九十])+(?:天|日|期|个月)",
    r"逾期未[还偿结缴]",
    r"因[您你]逾期",
    *_each("拖欠 拒不还款 拒不归还 恶意透支 恶意逃废 逃废债", ""),
    r"欠款.{0,16}(?:立即|马上|尽快|速还|今日内|失联)",
    *_each("立即 马上 尽快 速速 今天 今日 今日内", "(?:还款|还清|归还|偿还)"),
    *_each("委托 移交 转入", ".{0,14}催收"),
    r"催收(?:通知|函|人员|部门)",
    *_each("今天 今日 再", "不还"),
    r"不还[就将]",
)
"""Of texts that collect; each has one of the words that `collects` looks for first."""

DEBTS = ("贷", "借", "信用卡", "分期", "欠款", "债", "透支", "征信", "催收", "银行", "消金", "金融")
"""Of which a text that collects a debt to a lender has one; rent, fees and fines are collected, too."""

LENDERS = (
    *("银行", "农商", "信用社", "信用卡", "小贷", "贷款", "消金", "金融"),
    *("理财", "基金", "证券", "保险", "人寿", "信托"),
)
"""Of which the names of those have one that the whitelist is for."""

THREATS = ("立案", "传票", "起诉", "失信", "律所", "法务")
"""What is said in a lender's name to who does not pay."""

NEITHER = (
    *_each("警惕 谨防 当心 严防 骗局 诈骗 冒充", ""),
    *_each("请勿 切勿 不要", "(?:轻信|相信)"),
    *_each("您 你", r"(?:所?提交的?|申请的|的.{0,8}申请)"),
    *_each("成功退订 成功结清 成功还款 成功还清 已结清 已还清", ""),
)
"""Of warnings, and of answers to what the reader did himself."""

_OFFER, _CREDIT, _DEMAND, _NEITHER = (
    re.compile("|".join(words)) for words in (OFFERS, CREDIT, DEMANDS, NEITHER)
)


def sells(text: str) -> bool:
    """It offers goods, credit or favours."""
    return _OFFER.search(text) is not None and _NEITHER.search(text) is None


def collects(text: str) -> bool:
    """It asks for a debt that is due."""
    if "还" in text or "逾期" in text or "欠" in text or "催收" in text or "废" in text or "恶意" in text:
        return _DEMAND.search(text) is not None and _NEITHER.search(text) is None
    return False


def is_financial(text: str, name: str, *, hinted: bool) -> bool:
    """It sells credit, savings or shares, or asks for a debt to a lender: what only filed numbers may send.

    In a lender's `name` (its signature, "" for none) whatever sells, asks or threatens does, and what is
    `hinted`, offering a way to refuse: that is what marketing has to offer, and nothing else does.
    """
    if _NEITHER.search(text) is not None:
        return False
    if _CREDIT.search(text) is not None:
        return True
    if any(word in name for word in LENDERS):
        return hinted or any(word in text for word in THREATS) or sells(text) or collects(text)
    return collects(text) and any(word in text for word in DEBTS)
