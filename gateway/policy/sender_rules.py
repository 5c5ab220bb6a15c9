"""The rules that look at the sender alone: what the registry says of account and number at one instant.

Rules of this file: each is asked once per cached Sender, so it must depend on nothing but its Facts; what
changes with time is read at `facts.now`, and facts.py sees to it that they end where it would change. The
order is that of Reason, not of this file.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from gateway.errors import Words
from gateway.model import (
    COLLECTION,
    FOREVER,
    MARKETING,
    SERVICE,
    SMS,
    VOICE,
    Attempt,
    Hold,
    Institution,
    Reason,
    Span,
)
from gateway.policy.facts import LIMITED, REPLY_PATH, Facts, View, held
from gateway.policy.profile import SHANGHAI
from gateway.policy.rules import call, rule, sms
from gateway.policy.standing import bars, endings, unmandated
from gateway.policy.words import joined, named

_PAST = Span(0, 1)
_HELD = {"cause": "penalty"}
_UNTOLD = Hold("", Span())


def _news(attempt: Attempt, facts: Facts, view: View) -> Words:
    at = _day(view.news_at)
    return Words(
        f"登记库版本 {view.version}，最近同步 {at}", f"registry version {view.version}, last heard of {at}"
    )


def _ban(attempt: Attempt, facts: Facts, view: View) -> Words:
    if facts.ban is None:
        return Words("不在黑名单", "no blacklist entry")
    entry = f"{facts.ban.number}{'…' if facts.ban.is_prefix else ''}"
    why = f"{facts.ban.reason} {facts.ban.case_reference}".rstrip()
    return Words(f"黑名单条目 {entry}：{why}", f"blacklist entry {entry}: {why}")


def _filing(attempt: Attempt, facts: Facts, view: View) -> Words:
    if facts.filing is None:
        if facts.other_channel:
            return Words("登记用于其他渠道", "filed for another channel")
        return Words("无登记", "no filing")
    filing = facts.filing
    digits = f"+{filing.extension_digits}" if filing.extension_digits else ""
    status, span, holds = named(filing.status), _span(filing.span), _holds(filing.holds)
    return Words(
        f"登记 {filing.number}{digits} {status.zh} {span}{holds.zh}",
        f"filing {filing.number}{digits} {status.en} {span}{holds.en}",
    )


def _bodies(attempt: Attempt, facts: Facts, view: View) -> Words:
    said = [_body(body) for body in (facts.institution, facts.agency) if body is not None]
    return joined(said, Words("没有已知的机构", "no institution is known"))


def _body(body: Institution) -> Words:
    status, holds = named(body.status), _holds(body.holds)
    licence, verified = _span(body.licence), _span(body.verified)
    return Words(
        f"{body.code} {status.zh}，许可 {licence}，年度核验 {verified}{holds.zh}",
        f"{body.code} {status.en}, licence {licence}, verified {verified}{holds.en}",
    )


def told(facts: Facts, asker: int) -> Facts:
    """What may be said to a holder: of a body that is not the asker's own (id), that it is held, not for what
    nor until when; as row security has it (migrations 0008 body_of)."""

    def seen(body: Institution | None) -> Institution | None:
        if body is None or body.id == asker:
            return body
        return replace(body, holds=(_UNTOLD,) if held(body.holds, facts.now) else ())

    return replace(facts, institution=seen(facts.institution), agency=seen(facts.agency))


def _holds(holds: Collection[Hold]) -> Words:
    if _UNTOLD in holds:
        return Words("，暂停", ", held")
    return Words(
        "".join(f"，暂停 {hold.cause} {_span(hold.span)}" for hold in holds),
        "".join(f", hold {hold.cause} {_span(hold.span)}" for hold in holds),
    )


def _mandates(attempt: Attempt, facts: Facts, view: View) -> Words:
    said = [
        Words(
            f"委托 {mandate.id} {named(mandate.status).zh} {_span(mandate.span)}",
            f"mandate {mandate.id} {named(mandate.status).en} {_span(mandate.span)}",
        )
        for mandate in facts.mandates
    ]
    if facts.filing is None:
        return Words("无登记", "no filing")
    if not facts.filing.agency:
        return joined(
            said, Words("机构自用，无需委托", "used by the institution itself, which needs no mandate")
        )
    return joined(said, Words("无委托", "no mandate"))


def _account(attempt: Attempt, facts: Facts, view: View) -> Words:
    if facts.account is None:
        return Words("账号未登记", "account not filed")
    holder = facts.holder.code if facts.holder is not None else ""
    numbers = ", ".join(allowed.number + "…" * allowed.is_prefix for allowed in facts.account_numbers)
    return Words(
        f"{holder or '无主'}的账号，可用号码：{numbers or '持有人的全部号码'}",
        f"account of {holder or 'nobody'}, may show {numbers or 'every number of its holder'}",
    )


END_OF_CALENDAR = 253_402_000_000_000
"""ms: a few days before the year 10000, the last that `datetime` can say."""


def _span(span: Span) -> str:
    start = _day(span.start) if span.start > 0 else ""
    end = _day(span.end) if span.end < FOREVER else ""
    return f"{start}…{end}"


def _day(instant: int) -> str:
    """An instant in ms as a person in Shanghai writes it; one that no calendar has, as it stands."""
    if instant >= END_OF_CALENDAR:
        return f"{instant} ms"
    return f"{datetime.fromtimestamp(instant / 1000, SHANGHAI):%Y-%m-%d %H:%M:%S}"


@rule(
    Reason.NOT_JUDGEABLE,
    refuses=[sms(stale=True), sms(stale=True, number={"purposes": COLLECTION | SERVICE})],
    passes=[
        sms(),
        sms(stale=True, number={"purposes": SERVICE}),
        sms(stale=True, number=None, account={"scope": "other"}),
    ],
    fact=_news,
)
def registry_is_fresh(facts: Facts) -> bool | str:
    """Marketing and collection need registry news younger than max_age; codes and bills must arrive."""
    return not (facts.stale and facts.purposes & LIMITED) or "stale"


@rule(
    Reason.BLACKLISTED,
    refuses=[
        sms(ban={"number": "10690001"}),
        sms(ban={"number": "1069", "is_prefix": True}),
        sms(ban={"number": "1069", "is_prefix": True}, account={"scope": "authority"}),
        sms(ban={"number": "1069", "is_prefix": True}, account={"scope": "other"}),
    ],
    passes=[sms(), sms(ban={"number": "1069"}), sms(ban={"number": "106900019", "is_prefix": True})],
    fact=_ban,
    everyone=True,
)
def number_is_not_banned(facts: Facts) -> bool | str:
    """Neither the number nor a prefix of it is on the blacklist, whoever filed it."""
    return facts.ban is None


@rule(
    Reason.UNREGISTERED,
    refuses=[
        sms(source="1069000"),
        sms(source="10690001123", number={"extension_digits": 2}),
        sms(number=None),
        call(number={"channels": 1}),
        call(number={"channels": 1}, account={"scope": "other"}),
        call(source="4008000000", number={"number": "4008000000", "channels": 3}),
        call(source="4008000000", number=None, account={"scope": "authority"}),
    ],
    passes=[
        sms(),
        sms(source="1069000112", number={"extension_digits": 2}),
        sms(number=None, account={"scope": "other"}, text="周末特惠"),
        sms(number=None, account={"scope": "authority"}),
        sms(number=None, account=None, unknown_account="other", text="周末特惠"),
        sms(number={"status": "revoked"}),
        sms(source="4008000000", number={"number": "4008000000"}),
        call(number=None, account={"scope": "other"}),
    ],
    fact=_filing,
    when=lambda facts: facts.whitelisted or facts.key[2] == VOICE,
    everyone=True,
)
def number_is_registered(facts: Facts) -> bool | str:
    """The sending number, or a prefix filed with an extension range, was approved for this channel.

    Whoever it is that calls: not by a number that is called alone (400…), nor by one that was filed, but not
    for calls. Sub-codes: `inbound_only`, whose mode may be stricter (`shows_inbound`); `channel`, for the
    other one it was.
    """
    if facts.key[2] == VOICE and facts.key[1].startswith(
        facts.profile.option(Reason.UNREGISTERED, "inbound_only")
    ):
        return "inbound_only"
    if facts.filing is not None:
        return True
    if facts.other_channel:
        return "channel"
    return not facts.whitelisted


@rule(
    Reason.INSTITUTION_BARRED,
    refuses=[
        sms(institution={"status": "closed"}),
        sms(institution={"holds": [_HELD]}),
        sms(institution={"licence": _PAST}),
        sms(institution={"verified": _PAST}),
        sms(institution={"scope": COLLECTION | SERVICE}),
        sms(number={"agency": 2}, agency={"holds": [_HELD]}),
        sms(number={"agency": 2}, agency={"status": "closed"}),
        sms(account={"holder": 2}, account_number={}, agency={"holds": [_HELD]}),
    ],
    passes=[
        sms(),
        sms(account={"holder": 2}, account_number={}),
        sms(institution={"scope": MARKETING}),
        sms(institution={"holds": [{**_HELD, "span": _PAST}]}),
        sms(number={"agency": 2}, agency={"scope": 0}),
    ],
    fact=_bodies,
)
def institution_may_act(facts: Facts) -> bool | str:
    """Institution, agency and the account's holder stand; the institution's licence allows the purpose.

    To stand is to be open, held by nobody, and within the dates of licence and yearly check.
    """
    if facts.filing is None:
        return True
    if facts.institution is None:
        return "unknown"
    barred = next(bars(facts.institution, facts.now), "")
    if not barred and facts.purposes & ~facts.institution.scope:
        barred = "out_of_scope"
    if not barred and facts.agency is not None:
        barred = next(bars(facts.agency, facts.now, "agency_"), "")
    if (
        not barred
        and facts.holder is not None
        and facts.holder.id not in (facts.filing.institution, facts.filing.agency)
    ):
        barred = next(bars(facts.holder, facts.now, "holder_"), "")
    return barred or True


@rule(
    Reason.MANDATE_MISSING,
    refuses=[
        sms(number={"agency": 2}, mandate=None),
        sms(number={"agency": 2}, mandate={"span": _PAST}),
        sms(number={"agency": 2}, mandate={"status": "revoked"}),
        sms(number={"agency": 2}, mandate={"channels": VOICE}),
        sms(number={"agency": 2}, mandate={"purposes": COLLECTION}),
        sms(number={"agency": 2, "purposes": MARKETING | COLLECTION}, mandate={"purposes": COLLECTION}),
    ],
    passes=[sms(), sms(mandate=None), sms(number={"agency": 2})],
    fact=_mandates,
)
def agency_has_mandate(facts: Facts) -> bool | str:
    """A number used by an agency needs the institution's mandates for this channel and all its purposes."""
    if facts.filing is None or not facts.filing.agency:
        return True
    sub = unmandated(facts.mandates, facts.mandate_purposes, facts.purposes, facts.now)
    return sub != "missing" and (sub or True)


@rule(
    Reason.NOT_EFFECTIVE,
    refuses=[
        sms(number={"status": "revoked"}),
        sms(number={"status": "withdrawn"}),
        sms(number={"span": _PAST}),
        sms(number={"span": Span(2**61)}),
        sms(number={"holds": [_HELD]}),
        sms(number={"holds": [{**_HELD, "span": _PAST}, _HELD]}),
    ],
    passes=[
        sms(),
        sms(number={"holds": [{**_HELD, "span": _PAST}]}),
        sms(number=None, account={"scope": "other"}),
    ],
    fact=_filing,
)
def filing_is_in_force(facts: Facts) -> bool | str:
    """The filing is approved, within its dates, and nothing suspends it. Approved is not effective."""
    return facts.filing is None or next(endings(facts.filing, facts.now), "") or True


def _received(attempt: Attempt, facts: Facts, view: View) -> Words:
    if facts.received is None:
        return Words("未查看回复通道", "replies not looked at")
    if not facts.received:
        return Words("多日没有可接收回复的连接", "no session that receives for days")
    at = _day(facts.received)
    return Words(f"最近一次可接收回复的连接：{at}", f"last session that receives: {at}")


def _needs_replies(facts: Facts) -> bool:
    account, _, channel = facts.key
    exempt = facts.profile.option(Reason.NO_REPLY_PATH, "exempt")
    return channel == SMS and bool(facts.purposes & MARKETING) and account.protocol not in exempt


@rule(
    Reason.NO_REPLY_PATH,
    refuses=[sms(received=24), sms(received=30 * 24), sms(received=30, number={"purposes": 7})],
    passes=[
        sms(received=23),
        sms(received=None),
        sms(received=30, account=None, unknown_account="other"),
        sms(received=30, number={"purposes": SERVICE | COLLECTION}),
        sms(received=30, number=None, account={"scope": "other"}),
        call(received=30),
    ],
    fact=_received,
    when=_needs_replies,
)
def replies_reach_the_sender(facts: Facts) -> bool | str:
    """Who sends marketing had a session on this node that receives within 24 h, or nobody could refuse."""
    return facts.received is None or facts.now < facts.received + REPLY_PATH


@rule(
    Reason.ACCOUNT_MISMATCH,
    refuses=[
        sms(account=None),
        sms(account=None, unknown_account="other"),
        sms(account={"holder": 3}),
        sms(account={"holder": 3, "scope": "other"}),
        sms(account={"holds": [_HELD]}),
        sms(account_number={"number": "10690002"}),
        sms(account_number={"number": "1069000"}),
        sms(account_number={"span": _PAST}),
        sms(account={"holder": 4}),
        sms(number=None, account={"scope": "other"}, account_number={"number": "10690002"}),
    ],
    passes=[
        sms(),
        sms(number={"agency": 2}),
        sms(number={"agency": 2}, account={"holder": 2}),
        sms(account_number={}),
        sms(account_number={"number": "1069", "is_prefix": True}),
        sms(account={"holder": 4}, account_number={}),
        sms(number=None, account=None, unknown_account="other"),
        sms(number=None, account={"scope": "other"}),
        sms(number=None, account={"scope": "authority"}),
    ],
    fact=_account,
    everyone=True,
)
def account_may_show_number(facts: Facts) -> bool | str:
    """What account_numbers lists, the account may show; without a list, every number of its holder.

    An account that nobody filed has no holder: what it may show at most is a number that nobody filed either.
    """
    account, filing = facts.account, facts.filing
    if account is None:
        return (facts.scope == "other" and filing is None) or "unknown_account"
    if held(account.holds, facts.now):
        return "held"
    if facts.account_numbers:
        source = facts.key[1]
        return any(
            allowed.span.holds(facts.now)
            and (source.startswith(allowed.number) if allowed.is_prefix else source == allowed.number)
            for allowed in facts.account_numbers
        )
    return filing is None or account.holder in (filing.institution, filing.agency)
