"""What a reason is called to a person, in Chinese and English (domain.md "Order of rules, and reasons"), and
what rules say that they looked at.

Rules of this file: words only. A reason is one row; a test sees to it that none is missing.
"""

from collections.abc import Mapping, Sequence

from gateway.errors import Words
from gateway.model import CHANNELS, PURPOSES, Reason, names_of

REASONS: Mapping[Reason, Words] = {
    Reason.MALFORMED: Words("报文异常", "number or text cannot be read"),
    Reason.NOT_JUDGEABLE: Words("无法判定", "the gateway lacks what it needs to judge"),
    Reason.BLACKLISTED: Words("黑名单号码", "the number, or a prefix of it, is on the blacklist"),
    Reason.UNREGISTERED: Words("未登记号码", "no approved filing for the number"),
    Reason.INSTITUTION_BARRED: Words(
        "机构停业/许可失效", "institution or agency is barred, or the purpose is out of its licence"
    ),
    Reason.MANDATE_MISSING: Words("委托缺失", "the agency has no valid mandate for purpose and channel"),
    Reason.NOT_EFFECTIVE: Words("登记未生效/已停用", "the filing is not in force"),
    Reason.ACCOUNT_MISMATCH: Words("账号与号码不符", "the account may not show this number"),
    Reason.PURPOSE_MISMATCH: Words("用途不符", "the text is not what the number was filed for"),
    Reason.REFUSED_BY_SUBSCRIBER: Words("用户已拒收", "the subscriber has refused"),
    Reason.CONSENT_MISSING: Words("未经同意", "marketing without consent"),
    Reason.THIRD_PARTY: Words("非债务人", "collection from somebody who is not the debtor"),
    Reason.NO_REPLY_PATH: Words("无法接收退订", "replies have nobody to receive them"),
    Reason.QUIET_HOURS: Words("禁扰时段", "outside the hours allowed"),
    Reason.OVER_FREQUENCY: Words("频次超限", "too many to this subscriber"),
    Reason.SIGNATURE_MISSING: Words("签名缺失", "no name in 【】 at the head of the text"),
    Reason.SIGNATURE_MISMATCH: Words("签名不符", "the signature is not bound to this number"),
    Reason.OPTOUT_HINT_MISSING: Words("缺少退订方式", "marketing without a usable way to refuse"),
    Reason.FORBIDDEN_CONTENT: Words("违规内容", "content that is forbidden"),
    Reason.MASS_REFUSED: Words("群发连带", "another recipient of the same submit was refused"),
}

STATUSES: Mapping[str, Words] = {
    "approved": Words("已批准", "approved"),
    "revoked": Words("已撤销", "revoked"),
    "withdrawn": Words("已注销", "withdrawn"),
    "active": Words("有效", "active"),
    "closed": Words("已停业", "closed"),
    "debtor": Words("债务人", "debtor"),
    "guarantor": Words("担保人", "guarantor"),
    "stranger": Words("自称非债务人", "stranger"),
}
"""How a filing, a mandate or a body stands, and as what a recipient is listed."""

MODES: Mapping[str, Words] = {
    "off": Words("关闭", "off"),
    "observe": Words("观察", "observe"),
    "enforce": Words("执行", "enforce"),
}


COVERED: Mapping[str, Words] = {
    "marketing": Words("营销", "marketing"),
    "collection": Words("催收", "collection"),
    "service": Words("服务", "service"),
    "sms": Words("短信", "SMS"),
    "voice": Words("语音", "calls"),
}
"""What a refusal is about."""


def covered(purposes: int, channels: int) -> Words:
    """How far a refusal with these bits goes."""
    about = [COVERED[name] for name in names_of(purposes, PURPOSES)]
    by = [COVERED[name] for name in names_of(channels, CHANNELS)]
    return Words(
        f"{'、'.join(one.zh for one in about)}（{'、'.join(one.zh for one in by)}）",
        f"{', '.join(one.en for one in about)} ({', '.join(one.en for one in by)})",
    )


def named(status: str) -> Words:
    """A word of the registry's; one that is not known stays as it is."""
    return STATUSES.get(status, Words(status, status))


def joined(said: Sequence[Words], otherwise: Words) -> Words:
    """Several facts as one; `otherwise` where there is none."""
    if not said:
        return otherwise
    return Words("；".join(one.zh for one in said), "; ".join(one.en for one in said))
