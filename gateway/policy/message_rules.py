"""The rules that look at the message: readable, not refused by the subscriber, asked for, to a debtor, at a
decent hour, signed, refusable.

Rules of this file: these run for every message, so what depends on the sender alone is asked in `when`,
once per cached Sender. A rule about text says True when the text could not be read: `malformed` has said it.
"""

from gateway.model import COLLECTION, MARKETING, SERVICE, SMS, VOICE, Attempt, Reason
from gateway.policy.content import head, last_signature, offers_refusal, signature
from gateway.policy.facts import LIMITED, Facts, Sender, View, governing
from gateway.policy.hours import DAY, Hours, for_all, shown_at
from gateway.policy.rules import call, rule, sms

_EVENING, _NIGHT, _NEXT_MONTH = 1_764_077_400_000, 1_764_086_400_000, 1_766_635_200_000
"""25 November 2025, 21:30, and 26 November, 00:00; 25 December, 12:00; all in Asia/Shanghai."""


def _spelling(attempt: Attempt, facts: Facts, view: View) -> str:
    return f"unreadable: {attempt.flaw}" if attempt.flaw else "numbers and text could be read"


def _refusals(attempt: Attempt, facts: Facts, view: View) -> str:
    refusals = view.refusals(attempt.destination) if attempt.destination else ()
    return f"{len(refusals)} refusals of this subscriber"


def _signature(attempt: Attempt, facts: Facts, view: View) -> str:
    bound = ", ".join(facts.filing.signatures) if facts.filing is not None else ""
    return f"signature {signature(attempt.text) or 'none'}; bound to the number: {bound or 'none'}"


def _hint(attempt: Attempt, facts: Facts, view: View) -> str:
    return (
        "a reply code that is understood"
        if offers_refusal(attempt.text)
        else "no reply code that is understood"
    )


def _consents(attempt: Attempt, facts: Facts, view: View) -> str:
    holder = facts.filing.institution if facts.filing is not None else 0
    consents = view.consents(attempt.destination, holder) if attempt.destination and holder else ()
    return f"{len(consents)} consents of this subscriber to this institution"


def _recipients(attempt: Attempt, facts: Facts, view: View) -> str:
    holder = facts.filing.institution if facts.filing is not None else 0
    found = view.recipients(attempt.destination, holder) if attempt.destination and holder else ()
    if found:
        return f"on the recipient list as {', '.join(sorted(one.role for one in found))}"
    return "not on the recipient list" if holder and view.lists_recipients(holder) else "no recipient list"


def _hours(attempt: Attempt, facts: Facts, view: View) -> str:
    at = max(attempt.deliver_at, facts.now)
    return f"{shown_at(at)}; allowed {hours_for(facts)}"


def hours_for(facts: Facts) -> Hours:
    """The hours in which a sender's subscribers may be reached on this channel."""
    table = facts.profile.option(Reason.QUIET_HOURS, "sms" if is_text(facts) else "voice")
    return for_all(table, facts.purposes & LIMITED)


def in_text(facts: Facts) -> bool:
    """The sender's messages are texts that carry their own signature."""
    return is_text(facts) and (facts.account is None or facts.account.signature == "in_text")


def is_text(facts: Facts) -> bool:
    return facts.key[2] == SMS


def signed_in_text(facts: Facts) -> bool:
    """And there are signatures bound to the number."""
    return in_text(facts) and facts.filing is not None and bool(facts.filing.signatures)


def can_be_refused(facts: Facts) -> bool:
    """A number filed for service alone is never stopped by a refusal; one that nobody filed can be."""
    return not facts.purposes or bool(facts.purposes & LIMITED)


@rule(
    Reason.MALFORMED,
    refuses=[sms(flaw="source"), sms(flaw="text"), call(flaw="destination"), sms(destination="")],
    passes=[sms(), call(), sms(text="")],
    fact=_spelling,
    everyone=True,
)
def can_be_read(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """Both numbers and the text could be read; sub-code: the part that could not."""
    if attempt.flaw:
        return attempt.flaw
    if not attempt.destination:
        return "destination"
    return True if attempt.source else "source"


@rule(
    Reason.REFUSED_BY_SUBSCRIBER,
    refuses=[
        sms(refusal={}),
        call(refusal={}),
        sms(refusal={"institution": 0}),
        sms(refusal={"institution": 0, "number": "10690001"}),
        sms(refusal={"institution": 0, "number": "1069000188"}, number={"extension_digits": 2}),
        sms(number=None, refusal={"institution": 0, "number": "10690001"}),
        sms(number={"purposes": MARKETING | SERVICE}, refusal={}),
        sms(number={"purposes": COLLECTION}, refusal={"purposes": COLLECTION | MARKETING}),
    ],
    passes=[
        sms(),
        sms(refusal={"institution": 3}),
        sms(refusal={"institution": 0, "number": "10690009"}),
        sms(refusal={"channels": VOICE}),
        sms(refusal={"purposes": COLLECTION}),
        sms(number={"purposes": SERVICE}, refusal={"purposes": MARKETING | COLLECTION | SERVICE}),
        sms(number={"purposes": COLLECTION}, refusal={"purposes": MARKETING}),
        sms(number=None, refusal={"institution": 0, "number": "10690001"}, account={"scope": "other"}),
    ],
    fact=_refusals,
    when=can_be_refused,
)
def subscriber_allows(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """No refusal in force stands between the number's institution and this subscriber.

    A refusal sent to a number that nobody had filed is that number's, and once somebody has filed it, the
    institution's.
    """
    if not attempt.destination:
        return True
    refusals = view.refusals(attempt.destination)
    if not refusals:
        return True
    purposes = sender.purposes & LIMITED or LIMITED
    for refusal in refusals:
        if not (refusal.channels & attempt.channel and refusal.purposes & purposes):
            continue
        if refusal.institution == sender.institution:
            return False
        if refusal.institution == 0 and (
            not refusal.number
            or refusal.number == attempt.source
            or _institution_of(refusal.number, attempt.channel, view, now) == sender.institution
        ):
            return False
    return True


def _institution_of(number: str, channel: int, view: View, now: int) -> int:
    """Who has filed a number by now; 0 when nobody has."""
    filing = governing(view.numbers(number), channel, now)
    return filing.institution if filing is not None else 0


def sells(facts: Facts) -> bool:
    """Marketing is among the purposes of the filing."""
    return facts.filing is not None and bool(facts.purposes & MARKETING)


@rule(
    Reason.CONSENT_MISSING,
    refuses=[
        sms(consent=None),
        call(consent=None),
        sms(consent={"start": 2**61}),
        sms(consent={"end": 1}),
        sms(consent=None, number={"purposes": MARKETING | COLLECTION}),
        sms(consent={"institution": 3}),
    ],
    passes=[
        sms(),
        call(),
        sms(consent=None, number={"purposes": COLLECTION}),
        sms(consent=None, number={"purposes": SERVICE}),
        sms(consent=None, number=None, account={"scope": "other"}),
    ],
    fact=_consents,
    when=sells,
)
def subscriber_consented(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """Somebody who gets marketing asked the institution for it, and still does; sub-code: `lapsed`."""
    if not attempt.destination:
        return True
    spans = view.consents(attempt.destination, sender.institution)
    for span in spans:
        if span.holds(now):
            return True
    return "lapsed" if spans else False


def collects(facts: Facts) -> bool:
    """Collection is among the purposes of the filing."""
    return facts.filing is not None and bool(facts.purposes & COLLECTION)


@rule(
    Reason.THIRD_PARTY,
    refuses=[
        sms(number={"purposes": COLLECTION}, recipient={"institution": 1, "subscriber": "+8613800000009"}),
        sms(number={"purposes": COLLECTION}, recipient={"end": 1}),
        sms(number={"purposes": COLLECTION}, recipient={"role": "stranger"}),
        call(number={"purposes": COLLECTION}, recipient={"role": "stranger"}),
        sms(number={"purposes": COLLECTION | MARKETING}, recipient={"role": "stranger"}),
        sms(number={"purposes": COLLECTION, "agency": 2}, recipient=None),
    ],
    passes=[
        sms(),
        sms(number={"purposes": COLLECTION}),
        sms(number={"purposes": COLLECTION}, recipient={"role": "guarantor"}),
        sms(number={"purposes": COLLECTION, "agency": 2}),
        sms(recipient={"role": "stranger"}),
        sms(number={"purposes": SERVICE}, recipient={"role": "stranger"}),
    ],
    fact=_recipients,
    when=collects,
)
def recipient_is_party(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """Collection goes to the institution's debtors and guarantors, and to nobody who said to be neither.

    Sub-codes: `wrong_person`; `unverifiable`, as the institution has no list, which is only counted, and
    `unverifiable_agency`, where the profile demands a list of whom an agency writes to.
    """
    if not attempt.destination:
        return True
    roles = {
        recipient.role
        for recipient in view.recipients(attempt.destination, sender.institution)
        if recipient.span.holds(now)
    }
    if "stranger" in roles:
        return "wrong_person"
    if roles:
        return True
    if view.lists_recipients(sender.institution):
        return False
    if sender.clean.agency and sender.profile.option(Reason.THIRD_PARTY, "agencies_need_list"):
        return "unverifiable_agency"
    return "unverifiable"


def is_limited(facts: Facts) -> bool:
    """The number's purposes are among those that hours and caps limit; service is not."""
    return bool(facts.purposes & LIMITED)


@rule(
    Reason.QUIET_HOURS,
    refuses=[
        sms(deliver_at=_NIGHT),
        call(deliver_at=_NIGHT),
        sms(deliver_at=_NIGHT, number={"purposes": COLLECTION}),
        sms(deliver_at=_NIGHT, number={"purposes": MARKETING | SERVICE}),
        sms(deliver_at=_EVENING),
        sms(deliver_at=_EVENING, number={"purposes": MARKETING | COLLECTION}),
        sms(deliver_at=_NEXT_MONTH),
    ],
    passes=[
        sms(),
        call(),
        sms(deliver_at=_EVENING, number={"purposes": COLLECTION}),
        sms(deliver_at=_NIGHT, number={"purposes": SERVICE}),
        sms(deliver_at=_NEXT_MONTH, number={"purposes": COLLECTION}),
        sms(deliver_at=1),
    ],
    fact=_hours,
    when=is_limited,
)
def hour_is_allowed(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """It is delivered within the hours of its purposes; marketing is not scheduled too far ahead.

    Sub-codes: `scheduled`, its scheduled time is outside the hours; `too_far`.
    """
    at = attempt.deliver_at
    if at <= now:
        return sender.open
    if sender.purposes & MARKETING:
        ahead: int = sender.profile.option(Reason.QUIET_HOURS, "most_days_ahead") * DAY
        if at - now > ahead:
            return "too_far"
    return sender.hours.allow(at, sender.profile.days) or "scheduled"


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
    if text.startswith(sender.heads) or signature(text) or attempt.flaw == "text":
        return True
    if not last_signature(text):
        return False
    return "last" in sender.profile.option(Reason.SIGNATURE_MISSING, "positions") or "not_first"


@rule(
    Reason.SIGNATURE_MISMATCH,
    refuses=[
        sms(text="【浙海示列银行】新客礼，拒收请回复R"),
        sms(text="【西湖示例小贷】新客礼，拒收请回复R"),
        sms(text="【客服通知】新客礼，拒收请回复R"),
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
        sms(text="【浙海 示例银行】新客礼，拒收请回复R"),
        sms(text="【西湖示例小贷】新客礼，拒收请回复R", account={"signature": "by_carrier"}),
    ],
    fact=_signature,
    when=signed_in_text,
)
def signature_is_bound(attempt: Attempt, sender: Sender, view: View, now: int) -> bool | str:
    """The name in 【】 is one bound to this number; with none bound there is nothing to differ from."""
    if attempt.text.startswith(sender.heads):
        return True
    name = signature(attempt.text) or last_signature(attempt.text)
    return not name or head(name) in sender.heads


@rule(
    Reason.OPTOUT_HINT_MISSING,
    refuses=[
        sms(text="【浙海示例银行】新客礼，详情见APP"),
        sms(text="【浙海示例银行】新客礼，退订请拨打0571-00000000转9转3"),
        sms(text="【浙海示例银行】新客礼，退订请点击链接登录并填写身份证号"),
        sms(text="【浙海示例银行】新客礼，退订回QX"),
        sms(text="【浙海示例银行】回T恤抽奖"),
    ],
    passes=[
        sms(),
        sms(text="【浙海示例银行】新客礼，回TD退订"),
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
    return offers_refusal(attempt.text) or attempt.flaw == "text"
