"""What the pages call things, in Chinese and English (domain.md); reasons have theirs in policy/words.py.

`named` says a word of a table, or several joined as the language joins; what is in no table (a carrier's own
code, a name) is said as it is. Tests see to it that each table has every word that can occur.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.errors import Words
from gateway.policy.judge import OWN_MODES
from gateway.policy.words import MODES, REASONS, STATUSES

ROLES = {
    "regulator": Words("监管部门", "regulator"),
    "carrier": Words("电信企业", "carrier"),
    "institution": Words("金融机构", "institution"),
    "agency": Words("合作机构", "agency"),
    "provider": Words("短信服务商", "provider"),
    "auditor": Words("审计", "auditor"),
    "admin": Words("管理员", "administrator"),
}
STATES = {
    "draft": Words("草稿", "draft"),
    "submitted": Words("待核验", "submitted"),
    "returned": Words("已退回", "returned"),
    "checked": Words("待批准", "checked"),
    "approved": STATUSES["approved"],
    "revoked": STATUSES["revoked"],
    "withdrawn": STATUSES["withdrawn"],
    "effective": Words("生效", "effective"),
    "not_yet": Words("未到生效时间", "not yet"),
    "suspended": Words("停用", "suspended"),
    "expired": Words("已过期", "expired"),
}
_BARS = {
    "closed": Words("已停业", "closed"),
    "held": Words("被暂停", "held"),
    "licence_lapsed": Words("许可过期", "licence lapsed"),
    "verification_lapsed": Words("年度核验过期", "yearly check lapsed"),
    "out_of_scope": Words("用途超出许可范围", "purpose out of its licence"),
}
_WHOSE = {
    "": Words("", ""),
    "institution_": Words("机构", "institution: "),
    "agency_": Words("合作机构", "agency: "),
    "holder_": Words("账号持有人", "account's holder: "),
}
_MANDATES = {
    "missing": Words("无委托", "no mandate"),
    "revoked": Words("委托已撤销", "mandate revoked"),
    "lapsed": Words("委托过期", "mandate lapsed"),
    "purpose": Words("委托不含此用途", "mandate is not for this purpose"),
    "channel": Words("委托不含此渠道", "mandate is not for this channel"),
}
CAUSES = {
    **{
        whose + name: Words(a.zh + b.zh, a.en + b.en)
        for whose, a in _WHOSE.items()
        for name, b in _BARS.items()
    },
    **{f"mandate_{name}": words for name, words in _MANDATES.items()},
    **STATES,
}
"""Why a filing is not in force: what `workflow.standing` names."""

SUBS = {
    **CAUSES,
    "missing": _MANDATES["missing"],
    "lapsed": _MANDATES["lapsed"],
    "purpose": _MANDATES["purpose"],
    "channel": Words("渠道不符", "not for this channel"),
    "inbound_only": Words("仅供呼入的号码", "a number that is called alone"),
    "diverting": Words("转接线路的号码", "the number whose line was lent"),
    "claimed": Words("呼叫中另行显示的号码", "another number that the call names"),
    "unknown": Words("机构不明", "institution not known"),
    "unknown_account": Words("账号未登记", "nobody filed the account"),
    "not_first": Words("签名不在开头", "signature not at the head"),
    "neutral": Words("签名未标明机构", "a signature that names nobody"),
    "length": Words("签名字数不符", "a signature too short or too long for a name"),
    "source": Words("主叫号码无法识别", "the sending number"),
    "destination": Words("用户号码无法识别", "the subscriber's number"),
    "text": Words("内容无法读取", "the text"),
    "binary": Words("不是文字，而是终端数据", "no text, but octets for a device"),
    "schedule": Words("定时时间无法识别", "the scheduled time"),
    "wrong_person": Words("本人称非债务人", "who said to be another person"),
    "unverifiable": Words("无名单可核对", "no list to look at"),
    "unverifiable_agency": Words("合作机构无名单可核对", "an agency without a list to look at"),
    "minute": Words("1分钟内已满", "the cap of a minute"),
    "financial_text": Words("内容为金融营销或催收", "a lender's text"),
    "5_minutes": Words("5分钟内已满", "the cap of 5 minutes"),
    "hour": Words("1小时内已满", "the cap of an hour"),
    "day": Words("24小时内已满", "the cap of a day"),
    "counted_here": Words("仅本节点计数", "counted by this node alone"),
    "marketing": Words("内容为营销", "the text sells"),
    "collection": Words("内容为催收", "the text collects"),
    "scheduled": Words("定时时间在禁扰时段", "scheduled for such an hour"),
    "too_far": Words("定时过远", "scheduled too far ahead"),
    "stale": Words("登记库消息过旧", "no news of the registry for too long"),
    "counters": Words("计数服务不可用", "counters away"),
    "fault": Words("规则故障", "a rule broke"),
    "identity": Words("主叫身份不明", "caller not to be made out"),
}
"""The sub-codes of reasons."""

PURPOSES = {
    "marketing": Words("营销", "marketing"),
    "collection": Words("催收", "collection"),
    "service": Words("服务", "service"),
    "unknown": Words("未知", "unknown"),
}
CHANNELS = {"sms": Words("短信", "SMS"), "voice": Words("语音", "voice")}
EVENTS = {
    "attempt": Words("发送/呼叫", "attempt"),
    "reply": Words("用户回复", "reply"),
    "refusal": Words("拒收", "refusal"),
    "refusal_lifted": Words("拒收解除", "refusal lifted"),
    "held": Words("暂停营销，待认定", "marketing held, to be decided"),
    "accepted": Words("恢复接收", "accepted again"),
    "wrong_person": Words("称非本人", "said to be another person"),
    "released": Words("号码退网", "number given back"),
    "consent": Words("同意", "consent"),
    "complaint": Words("投诉", "complaint"),
    "mandate": Words("委托授权", "mandate"),
}
MEANINGS = {
    "refuse": Words("拒收", "refuses"),
    "accept": Words("恢复接收", "accepts again"),
    "wrong_person": Words("非本人", "wrong person"),
    "ambiguous": Words("含义不明", "ambiguous"),
    "other": Words("其他", "other"),
}
"""Of a reply: `model.REPLY_KINDS`."""

DECISIONS = {
    "waiting": Words("待认定", "to be decided"),
    "undecided": Words("逾期未认定，按拒收", "not decided in time: a refusal"),
    "refusal": Words("认定为拒收", "decided: a refusal"),
    "no_refusal": Words("认定为非拒收", "decided: no refusal"),
    "accepted": Words("用户已恢复接收", "accepted again since"),
}
"""How an ambiguous reply stands: `registry.replies.State`."""

SOURCES = {
    "reply": Words("短信回复", "reply"),
    "voice_key": Words("电话按键", "key press"),
    "decision": Words("人工认定", "decided by a person"),
    "undecided": Words("逾期未认定", "not decided in time"),
    "own": Words("本部门", "own"),
}
"""Where a refusal, consent or complaint came from, of those words that the gateway itself writes."""

OUTCOMES = {"unknown": Words("未知", "unknown")}
"""Of a passed attempt, beside the carrier's own codes."""

DELIVERIES = {
    "unknown": Words("未知", "not known"),
    "not_accepted": Words("电信企业未受理", "not accepted by the carrier"),
    "accepted": Words("已受理，待状态报告", "accepted, no final report yet"),
    "delivered": Words("已送达", "delivered"),
    "failed": Words("未送达", "not delivered"),
}
"""What became of a passed message: `evidence.delivery`."""

CALLS = {
    **DELIVERIES,
    "not_accepted": Words("未接通", "not answered"),
    "delivered": Words("已接通", "answered"),
    "failed": Words("未接通", "not answered"),
}
"""What became of a passed call, by the same words."""

CALL_FIELDS = {
    "delivery": Words("接通状态", "Call"),
    "delivery_stat": Words("应答码", "Answer"),
}
"""Of `FIELDS` what a call has otherwise."""

VERDICTS = {"pass": Words("放行", "passed"), "refuse": Words("拦截", "refused")}
FIELDS = {
    "kind": Words("类型", "Kind"),
    "at": Words("时间", "Time"),
    "id": Words("记录编号", "Record"),
    "verdict": Words("判定", "Verdict"),
    "reason": Words("原因", "Reason"),
    "sub": Words("细目", "Sub-code"),
    "meaning": Words("含义", "Meaning"),
    "number": Words("主叫号码", "Number"),
    "registration": Words("登记号码", "Filing"),
    "subscriber": Words("用户", "Subscriber"),
    "institution": Words("机构", "Institution"),
    "agency": Words("合作机构", "Agency"),
    "mandate": Words("委托授权", "Mandate"),
    "purpose": Words("用途", "Purpose"),
    "channel": Words("渠道", "Channel"),
    "region": Words("归属地", "Region"),
    "carrier": Words("电信企业", "Carrier"),
    "protocol": Words("协议", "Protocol"),
    "account": Words("接入账号", "Account"),
    "node": Words("节点", "Node"),
    "outcome": Words("结果", "Outcome"),
    "delivery": Words("送达状态", "Delivery"),
    "delivery_at": Words("状态时间", "Since"),
    "delivery_stat": Words("状态报告", "Report"),
    "answered_at": Words("接通时间", "Answered"),
    "ended_at": Words("结束时间", "Ended"),
    "lasted_seconds": Words("通话时长（秒）", "Seconds"),
    "ended_by": Words("结束原因", "Ended by"),
    "registry_version": Words("登记库版本", "Registry version"),
    "profile": Words("规则档案", "Profile"),
}

QUANTITIES = {
    **CHANNELS,
    **PURPOSES,
    "joint": Words("短信与语音合计", "SMS and calls together"),
    "answered": Words("已接通的呼叫", "answered calls"),
    "unanswered": Words("未接通的呼叫", "calls that nobody took"),
    "neutral": Words("未标明机构的签名", "signatures that name nobody"),
    "客服通知": Words("客服通知", "“customer service notice”"),
    "温馨提示": Words("温馨提示", "“kind reminder”"),
    "characters": Words("签名字数", "characters of a signature"),
    "robot": Words("机器人外呼", "calls of robots"),
    "inbound_only": Words("仅供呼入的号段", "numbers that are called alone"),
    "minute": Words("1分钟", "a minute"),
    "5_minutes": Words("5分钟", "5 minutes"),
    "hour": Words("1小时", "an hour"),
    "day": Words("24小时", "a day"),
    "workday": Words("工作日", "workdays"),
    "holiday": Words("其他日", "other days"),
    "most_days_ahead": Words("定时最多提前天数", "days that may be scheduled ahead"),
    "binary": Words("非文字内容", "octets that are no text"),
    "refuse": Words("拒绝", "refused"),
    "pass": Words("放行", "passed"),
    "positions": Words("签名位置", "where a signature stands"),
    "first": Words("开头", "first"),
    "last": Words("结尾", "last"),
    "agencies_need_list": Words("合作机构须有名单", "agencies need a list"),
    "exempt": Words("不看的协议", "protocols not looked at"),
    "true": Words("是", "yes"),
    "false": Words("否", "no"),
}
"""What profiles call their numbers; modes of a sub-code's own are said beside the modes."""

TABLES: Mapping[str, Mapping[str, Words]] = {
    "role": ROLES,
    "state": STATES,
    "cause": CAUSES,
    "sub": SUBS,
    "purpose": PURPOSES,
    "channel": CHANNELS,
    "event": EVENTS,
    "meaning": MEANINGS,
    "decision": DECISIONS,
    "source": SOURCES,
    "verdict": VERDICTS,
    "mode": MODES,
    "outcome": OUTCOMES,
    "delivery": DELIVERIES,
    "call": CALLS,
    "call_field": CALL_FIELDS,
    "reason": {reason.value: words for reason, words in REASONS.items()},
    "field": FIELDS,
    "quantity": QUANTITIES,
}
"""By the name under which templates say a word."""

JOINED = "、"
"""Between words of a list that is a text, as the registry's timeline has them."""


def named(table: str, words: str | Iterable[str], *, zh: bool) -> str:
    """`words` (one, several, or a text of several) in a language."""
    known = TABLES[table]
    parts = words.split(JOINED) if isinstance(words, str) else words
    said = [(known[part].zh if zh else known[part].en) if part in known else part for part in parts]
    return (JOINED if zh else ", ").join(said)


def modes_of(modes: Mapping[str, str], own: Mapping[str, str] | None = None, *, zh: bool) -> str:
    """A rule's mode where it is one for all purposes, else the purposes of each mode but off; and what has a
    stricter mode of its `own`."""
    said = []
    if len(set(modes.values())) == 1:
        said.append(named("mode", set(modes.values()), zh=zh))
    else:
        for mode in ("enforce", "observe"):
            purposes = [purpose for purpose, its in modes.items() if its == mode]
            if purposes:
                said.append(_of(named("mode", mode, zh=zh), named("purpose", purposes, zh=zh), zh=zh))
    for sub, mode in (own or {}).items():
        said.append(_of(named("mode", mode, zh=zh), named("sub", sub, zh=zh), zh=zh))
    return ("；" if zh else "; ").join(said)


def quantities_of(numbers: Mapping[str, Any], *, zh: bool) -> list[str]:
    """A rule's own numbers, each as a line."""
    return [
        _of(named("quantity", key, zh=zh), _number(value, zh=zh), zh=zh)
        for key, value in numbers.items()
        if key not in OWN_MODES.values() and value not in ([], {})
    ]


def _of(name: str, said: str, *, zh: bool) -> str:
    return ("：" if zh else ": ").join((name, said))


def _number(value: Any, *, zh: bool) -> str:
    if isinstance(value, Mapping):
        parts = [f"{named('quantity', key, zh=zh)} {_number(part, zh=zh)}" for key, part in value.items()]
        within = any(isinstance(part, Mapping) for part in value.values())
        return (("；" if zh else "; ") if within else ("，" if zh else ", ")).join(parts)
    if isinstance(value, list) and all(isinstance(part, int) for part in value):
        return "–".join(map(str, value))
    if isinstance(value, list):
        return named("quantity", value, zh=zh)
    return named("quantity", str(value).lower(), zh=zh)
