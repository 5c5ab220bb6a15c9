"""The rules that look at a text: of its number's purpose, signed, by a name bound to the number, and offering
a way to refuse.

Rules of this file: those of message_rules.py. A rule looks at the text, and at the sender's profile, purposes
and heads alone (`facts.Manner`), as what it says of a text is remembered. It says True of a text that could
not be read, as `malformed` has said it; and what needs the end of a text, of one that is unfinished.
"""

import re

from gateway.errors import Words
from gateway.model import COLLECTION, MARKETING, SERVICE, Attempt, Reason
from gateway.policy.content import head, last_signature, offers_refusal, signature
from gateway.policy.facts import LIMITED, Facts, Sender, View
from gateway.policy.message_rules import is_text
from gateway.policy.replies import classify
from gateway.policy.rules import call, rule, sms
from gateway.policy.text_purpose import collects, is_financial, sells

NO_TEXT = ("text", "binary")
"""Flaws of a text."""

FLAWS = {"binary": "binary"} | dict.fromkeys(
    ("undecodable", "odd_length", "udh_truncated", "byte_order", "reversed"), "text"
)
"""Notes of protocols.text after which nobody can say what the subscriber would read, and the flaw that
each is. Not "wrong_fmt", "packed": it was read; not "bad_concat": handsets ignore such a header element and
show the rest (TS 23.040 §9.2.3.24.1)."""

_OWN_LETTER = re.compile("(?:退订|拒收)请?回复?([A-Za-z])(?![A-Za-z0-9])|回复?([A-Za-z])即?可?(?:退订|拒收)")
"""回D退订, 拒收请回复D: one letter, right beside the word."""


def _signature(attempt: Attempt, facts: Facts, view: View) -> Words:
    bound = ", ".join(facts.filing.signatures) if facts.filing is not None else ""
    found = signature(attempt.text)
    return Words(
        f"签名：{found or '无'}；号码登记的签名：{bound or '无'}",
        f"signature {found or 'none'}; bound to the number: {bound or 'none'}",
    )


def _hint(attempt: Attempt, facts: Facts, view: View) -> Words:
    if _can_be_refused(attempt.text):
        return Words("有可识别的退订方式", "a reply code that is understood")
    return Words("无可识别的退订方式", "no reply code that is understood")


def _can_be_refused(text: str) -> bool:
    """Whether a usual code is offered, or a letter of the sender's own (回D退订), by which a reply to this
    text is understood."""
    if offers_refusal(text):
        return True
    own = _OWN_LETTER.search(text)
    return own is not None and classify(own[1] or own[2], text).kind == "refuse"


def _purpose(attempt: Attempt, facts: Facts, view: View) -> Words:
    found = [
        words
        for words, is_one in (
            (Words("营销", "marketing"), sells(attempt.text)),
            (Words("催收", "collection"), collects(attempt.text)),
        )
        if is_one
    ]
    if not found:
        return Words("内容无营销、催收用语", "words of neither marketing nor collection")
    return Words(
        f"内容有{'、'.join(one.zh for one in found)}用语",
        f"words of {' and '.join(one.en for one in found)}",
    )


def _is_financial(text: str) -> bool:
    return is_financial(text, signature(text) or last_signature(text), hinted=_can_be_refused(text))


def _finance(attempt: Attempt, facts: Facts, view: View) -> Words:
    if _is_financial(attempt.text):
        return Words("内容为金融营销或催收", "the text sells what a lender sells, or collects for one")
    return Words("内容非金融营销、催收", "neither financial marketing nor collection")


def is_of_others(facts: Facts) -> bool:
    """A shop, a hospital, a person: the whitelist is not for them, unless they send as a lender does."""
    return is_text(facts) and facts.scope == "other" and facts.filing is None


_SHOP = {"number": None, "account": {"scope": "other"}}


@rule(
    Reason.UNREGISTERED,
    refuses=[
        sms(**_SHOP, text="最高可借20万，日息3元，秒批"),
        sms(**_SHOP, text="【浙海示例银行】新客礼，拒收请回复R"),
        sms(**_SHOP, text="【西湖示例小贷】法院传票已寄出"),
        sms(**_SHOP, text="您的网贷已逾期12天，请立即还款"),
        sms(number=None, account=None, unknown_account="other", text="备用金待领取，点击查看"),
    ],
    passes=[
        sms(**_SHOP, text="【示例超市】双11满减，新品发售，回T退订"),
        sms(**_SHOP, text="【示例物业】您拖欠物业费3个月，请尽快缴纳"),
        sms(**_SHOP, text="【浙海示例银行】您尾号1234账户于11月20日支出50.00元"),
        sms(**_SHOP, text="【示例反诈中心】警惕不看征信的贷款骗局"),
        sms(number=None, account={"scope": "authority"}, text="最高可借20万，日息3元"),
        sms(text="【浙海示例银行】最高可借20万，拒收请回复R"),
        call(**_SHOP),
    ],
    fact=_finance,
    when=is_of_others,
    everyone=True,
)
def text_is_not_financial(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """Who is not judged by the whitelist sends no financial marketing and collects for no lender."""
    return "financial_text" if _is_financial(attempt.text) else True


def is_bound_to_purpose(facts: Facts) -> bool:
    """There is something that the number was not filed for."""
    return is_text(facts) and facts.filing is not None and facts.purposes & LIMITED != LIMITED


@rule(
    Reason.PURPOSE_MISMATCH,
    refuses=[
        sms(number={"purposes": SERVICE}),
        sms(text="【浙海示例银行】您的借款已逾期，请尽快处理", number={"purposes": SERVICE}),
        sms(text="【浙海示例银行】您的借款已逾期12天，请立即还款"),
        sms(text="【浙海示例银行】您的借款已逾期12天，请立即还款", number={"purposes": MARKETING | SERVICE}),
        sms(text="【浙海示例银行】新客礼，回T退订", number={"purposes": COLLECTION}),
        sms(text="【浙海示例银行】验证码825619，双11主会场开启", number={"purposes": SERVICE}),
    ],
    passes=[
        sms(),
        sms(text="【浙海示例银行】您尾号1234账户于11月20日支出50.00元", number={"purposes": SERVICE}),
        sms(text="【浙海示例银行】本期账单1,000.00元，还款日12月3日", number={"purposes": SERVICE}),
        sms(text="【浙海示例银行】借款将于明日到期，请存足以免逾期", number={"purposes": SERVICE}),
        sms(text="【浙海示例银行】您申请的新户专享贷款已审批通过", number={"purposes": SERVICE}),
        sms(text="【浙海示例银行】警惕不看征信的贷款骗局", number={"purposes": SERVICE}),
        sms(text="【浙海示例银行】验证码123456，请勿告知他人"),
        sms(text="【浙海示例银行】您的借款已逾期12天", number={"purposes": COLLECTION}),
        sms(text="【浙海示例银行】您的借款已逾期12天", number={"purposes": MARKETING | COLLECTION}),
        sms(number=None, account={"scope": "other"}),
        call(number={"purposes": SERVICE}),
    ],
    fact=_purpose,
    when=is_bound_to_purpose,
)
def text_is_of_purpose(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """A text that sells goes by a number for marketing, one that collects by a number for collection.

    Sub-code: what the text is. Service may go by any number, within that one's limits.
    """
    if not sender.purposes & COLLECTION and collects(attempt.text):
        return "collection"
    if not sender.purposes & MARKETING and sells(attempt.text):
        return "marketing"
    return True


def in_text(facts: Facts) -> bool:
    """The sender's messages are texts that carry their own signature."""
    return is_text(facts) and (facts.account is None or facts.account.signature == "in_text")


def signed_in_text(facts: Facts) -> bool:
    """And the number is filed: signatures are bound to it, or any name may stand there."""
    return in_text(facts) and facts.filing is not None


@rule(
    Reason.SIGNATURE_MISSING,
    refuses=[
        sms(text="尊敬的客户，新客礼，拒收请回复R"),
        sms(text="[浙海示例银行]新客礼，拒收请回复R"),
        sms(text="新客礼，拒收请回复R【浙海示例银行】"),
        sms(text="【】新客礼，拒收请回复R"),
        sms(text="【浙海示例银行 新客礼，拒收请回复R"),
    ],
    passes=[
        sms(),
        sms(text="\ufeff【浙海示例银行】新客礼，拒收请回复R"),
        sms(text="新客礼，拒收请回复R", account={"signature": "by_carrier"}),
        sms(text="", flaw="text"),
        call(),
    ],
    fact=_signature,
    when=in_text,
)
def text_is_signed(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """The text begins with a name in 【】; where the profile's `positions` says so, it may end with one."""
    text = attempt.text
    if text.startswith(sender.heads) or signature(text) or attempt.flaw in NO_TEXT:
        return True
    if not attempt.unfinished and not last_signature(text):
        return False
    if "last" in sender.profile.option(Reason.SIGNATURE_MISSING, "positions"):
        return True
    return False if attempt.unfinished else "not_first"


@rule(
    Reason.SIGNATURE_MISMATCH,
    refuses=[
        sms(text="【浙海示列银行】新客礼，拒收请回复R"),
        sms(text="【西湖示例小贷】新客礼，拒收请回复R"),
        sms(text="【客服通知】新客礼，拒收请回复R"),
        sms(text="【温馨 提示】新客礼，拒收请回复R", number={"signatures": []}),
        sms(text="【温馨提示】新客礼，拒收请回复R", number={"signatures": ["温馨提示"]}),
        sms(text="【浙】新客礼，拒收请回复R", number={"signatures": []}),
        sms(text="【浙海示例银行股份有限公司杭州分行营业部】新客礼，拒收请回复R", number={"signatures": []}),
        sms(text="新客礼，拒收请回复R【西湖示例小贷】"),
    ],
    passes=[
        sms(),
        sms(text="新客礼，拒收请回复R"),
        sms(
            text="【西湖示例小贷】新客礼，拒收请回复R",
            number={"signatures": ["浙海示例银行", "西湖示例小贷"]},
        ),
        sms(text="【任何名称】新客礼，拒收请回复R", number={"signatures": []}),
        sms(text="【浙海】新客礼，拒收请回复R", number={"signatures": []}),
        sms(text="【浙】新客礼，拒收请回复R", number={"signatures": ["浙"]}),
        sms(text="【浙海 示例银行】新客礼，拒收请回复R"),
        sms(text="【西湖示例小贷】新客礼，拒收请回复R", account={"signature": "by_carrier"}),
    ],
    fact=_signature,
    when=signed_in_text,
)
def signature_is_bound(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """The name in 【】 is one bound to this number. With none bound it has as many characters as the profile
    gives a name (`characters`); and in no case is it one that names nobody (`neutral`).

    Sub-code: what makes it no name of an institution's.
    """
    if attempt.text.startswith(sender.heads):
        return True
    name = signature(attempt.text) or ("" if attempt.unfinished else last_signature(attempt.text))
    whole = head(name)
    if not name or whole in sender.heads:
        return True
    if whole in sender.profile.option(Reason.SIGNATURE_MISMATCH, "neutral"):
        return "neutral"
    if sender.heads:
        return False
    least, most = sender.profile.option(Reason.SIGNATURE_MISMATCH, "characters")
    return True if least <= len(whole) - len(head("")) <= most else "length"


@rule(
    Reason.OPTOUT_HINT_MISSING,
    refuses=[
        sms(text="【浙海示例银行】新客礼，详情见APP"),
        sms(text="【浙海示例银行】新客礼，退订请拨打0571-00000000转9转3"),
        sms(text="【浙海示例银行】新客礼，退订请点击链接登录并填写身份证号"),
        sms(text="【浙海示例银行】新客礼，退订回QX"),
        sms(text="【浙海示例银行】回T恤抽奖"),
        sms(text="【浙海示例银行】新客礼，回D退订酒店"),
    ],
    passes=[
        sms(),
        sms(text="【浙海示例银行】新客礼，回TD退订"),
        sms(text="【浙海示例银行】新客礼，回D退订"),
        sms(text="【浙海示例银行】新客礼，拒收请回复D"),
        sms(text="【浙海示例银行】新客礼，不再接收请回复拒收"),
        sms(text="【浙海示例银行】新客礼，退\u200b订回\u200bT"),
        sms(text="【浙海示例银行】账单已出", number={"purposes": SERVICE}),
        sms(text="【浙海示例银行】借款已逾期", number={"purposes": COLLECTION}),
        sms(text="", flaw="text"),
        call(),
    ],
    fact=_hint,
    when=is_text,
)
def text_offers_refusal(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """A marketing text names a reply that refuses and that this gateway understands."""
    return _can_be_refused(attempt.text) or attempt.unfinished or attempt.flaw in NO_TEXT
