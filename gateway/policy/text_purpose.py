"""Whether a text sells or collects, by what senders write when they do (domain.md "Purposes").

Rules of this file: words only, and only such as bills, codes and notices don't have, because on a number for
service a wrong find may stop what has to arrive: in doubt a text does neither. A warning, and news of what
the reader himself asked for, sell and collect nothing whatever words they have. Disguised words are not
looked for. A new wording is one line.
"""

import re
from collections.abc import Iterable

OFFERS = (
    r"新[客户](?:专享|专属|礼|活动|福利|特惠|立减|首)",
    r"专[享属](?:额度|利率|优惠|福利|礼|活动|价|好礼|信贷|借款|贷)",
    r"额度(?:已批|待领|已到账|即将失效|待提取|待激活)|备用金(?:待领|可领|已到)",
    r"邀请?您.{0,4}(?:体验|借|贷|申请|办理|领取|开户|抢)",
    r"年化(?:利率|收益率?)?.{0,10}%起|利率低至|低至\d|日息\d|(?:最高|随时|即刻)可[借贷]|可[借贷]\d",
    r"黑户|不看征信|无视征信|百分百下款|当天(?:放款|下款)|秒(?:批|放款|下款)|[免无]抵押",
    r"保本保息|稳赚|涨停|牛股",
    r"限时(?:优惠|特惠|抢|免息|福利|领)|名额有限|抢购|秒杀|主会场|抽奖|满减",
    r"[领抢送](?:取)?红包|免息券|加息券|大礼包|好礼|送豪?礼|理财专享|重磅(?:推出|发售)",
    r"火热(?:发售|预约|进行)|(?:新品|产品)发售|欢迎(?:选购|认购|办理)|特约活动|优惠活动",
)
"""Of texts that sell."""

DEMANDS = (
    r"(?:已|已经|严重|长期|多次|仍|持续|继续|现)逾期(?!提醒)",
    r"逾期(?:\d|[一二三四五六七八九十])+(?:天|日|期|个月)",
    r"(?<![免防])逾期未[还偿结缴]|因[您你]逾期",
    r"拖欠|拒不(?:还款|归还)|恶意(?:透支|逃废)|逃废债",
    r"欠款.{0,16}(?:立即|马上|尽快|速还|今日内|失联)",
    r"(?:立即|马上|尽快|速速|今天|今日内?)(?:还款|还清|归还|偿还|结清|清偿)",
    r"(?:委托|移交|转入).{0,14}催收|催收(?:通知|函|人员|部门)",
    r"(?:今天|今日|再)不还|不还[就将]",
)
"""Of texts that collect."""

NEITHER = (
    r"警惕|谨防|当心|严防|骗局|诈骗|冒充|[请切]勿(?:轻信|相信)|不要(?:轻信|相信)",
    r"[您你](?:所)?(?:提交的?|申请的|的.{0,8}申请)|成功(?:退订|结清|还款|还清)|已(?:结清|还清)",
)
"""Of warnings, and of answers to what the reader did himself."""


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(words))


_OFFER, _DEMAND, _NEITHER = _any_of(OFFERS), _any_of(DEMANDS), _any_of(NEITHER)


def sells(text: str) -> bool:
    """It offers goods, credit or favours."""
    return bool(_OFFER.search(text)) and not _NEITHER.search(text)


def collects(text: str) -> bool:
    """It asks for a debt that is due."""
    if "逾期" in text or "欠" in text or "还" in text or "催收" in text or "恶意" in text or "逃废" in text:
        return bool(_DEMAND.search(text)) and not _NEITHER.search(text)
    return False
