"""Each rule refuses and passes its own examples, and judges the texts of vectors/messages.csv as they say."""

import csv
import datetime
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from world import AGENCY, BANK, DAY, NOW, NUMBER, after, attempt, good

from gateway.config import read_profile, shipped_profiles
from gateway.errors import Words
from gateway.model import COLLECTION, MARKETING, PURPOSES, SERVICE, Finding, Reason, Span
from gateway.policy.judge import COUNTED_RULES, ORDER, RULES, Later, decide, explain
from gateway.policy.profile import MODES
from gateway.policy.profile_text import parse_profile
from gateway.policy.rules import Example, Rule, call, sms
from gateway.policy.text_rules import text_is_of_purpose
from gateway.policy.words import REASONS

TEXTS = {
    "zhejiang": read_profile("zhejiang"),
    "strict": 'extends = "zhejiang"\n[rules.consent_missing]\nmode = { marketing = "enforce" }\n'
    '[rules.third_party]\nmode = { collection = "enforce" }\nagencies_need_list = true\n'
    '[rules.no_reply_path]\nmode = { marketing = "enforce" }\n[rules.purpose_mismatch]\nmode = "enforce"',
}
PROFILE = parse_profile(TEXTS.__getitem__, "strict")
"""As shipped, but that what is observed at first refuses."""
MESSAGES = list(
    csv.DictReader(
        (Path(__file__).parent / "vectors/messages.csv").read_text("utf-8").splitlines(keepends=True)
    )
)
NAMES = ("浙海示例银行", "钱塘示例消金", "西湖示例小贷")


def findings(example: Example) -> dict[Reason, Finding]:
    message, world = after(example)
    profile = replace(PROFILE, unknown_account=example.changes.get("unknown_account", "refuse"))
    verdict = explain(message, world, profile, NOW).verdict
    return {finding.reason: finding for finding in verdict.findings}


@pytest.mark.parametrize("purposes", [MARKETING, COLLECTION, SERVICE, MARKETING | SERVICE])
def test_what_is_for_a_device_passes_where_the_profile_says_so_but_nobody_sells_by_it(purposes: int) -> None:
    text = 'extends = "zhejiang"\n[rules.malformed]\nbinary = "pass"'
    profile = parse_profile((TEXTS | {"own": text}).__getitem__, "own")
    message, world = after(sms(text="", flaw="binary", number={"purposes": purposes}))
    (found,) = decide([message], world, profile, NOW)
    if purposes == SERVICE:
        assert found.reason is None
    else:
        assert (found.reason, found.sub) == (Reason.MALFORMED, "binary")


def test_what_needs_the_end_of_a_text_is_not_asked_of_one_that_is_unfinished() -> None:
    """A profile may take signatures at the end; at the beginning a wrong name is wrong at once."""
    text = 'extends = "zhejiang"\n[rules.signature_missing]\npositions = ["first", "last"]'
    last = parse_profile((TEXTS | {"own": text}).__getitem__, "own")
    for said, profile, wanted in (
        ("【浙海示例银行】新客礼", PROFILE, None),
        ("新客礼", PROFILE, Reason.SIGNATURE_MISSING),
        ("新客礼，见【活动】", PROFILE, Reason.SIGNATURE_MISSING),
        ("新客礼，见【活动】", last, None),
        ("【西湖示例小贷】新客礼", last, Reason.SIGNATURE_MISMATCH),
    ):
        (found,) = decide([attempt(text=said, unfinished=True)], good(), profile, NOW)
        assert found.reason is wanted, said


def test_each_rule_has_its_own_reason_and_words() -> None:
    reasons = Counter(rule.reason for rule in RULES)
    assert {reason for reason, rules in reasons.items() if rules > 1} == {
        Reason.UNREGISTERED,
        Reason.NOT_JUDGEABLE,
    }
    assert list(ORDER) == list(Reason) == list(REASONS)
    assert all(rule.refuses and rule.passes and rule.judge.__doc__ for rule in RULES)


@pytest.mark.parametrize(
    ("rule", "example"),
    [
        pytest.param(rule, example, id=f"{rule.reason}-{place}")
        for rule in RULES
        for place, example in enumerate(rule.refuses)
    ],
)
def test_refuses(rule: Rule[Any], example: Example) -> None:
    assert findings(example)[rule.reason].enforced


@pytest.mark.parametrize(
    ("rule", "example"),
    [
        pytest.param(rule, example, id=f"{rule.reason}-{place}")
        for rule in RULES
        for place, example in enumerate(rule.passes)
    ],
)
def test_passes(rule: Rule[Any], example: Example) -> None:
    assert rule.reason not in findings(example)


def test_every_example_can_be_explained_and_means_the_verdict() -> None:
    """But for what the counters say: `decide` leaves that to them."""
    judged = [rule for rule in RULES if rule not in COUNTED_RULES]
    for example in (example for rule in judged for example in (*rule.refuses, *rule.passes)):
        message, world = after(example)
        profile = replace(PROFILE, unknown_account=example.changes.get("unknown_account", "refuse"))
        [verdict] = decide([message], world, profile, NOW)
        assert explain(message, world, profile, NOW).verdict == verdict


def test_the_good_example_breaks_no_rule() -> None:
    explanation = explain(attempt(), good(), PROFILE, NOW)
    assert explanation.verdict.passed
    assert explanation.verdict.findings == ()
    assert all(answer.holds and answer.fact for answer in explanation.answers)
    assert [answer.reason for answer in explanation.answers] == sorted(
        {rule.reason for rule in RULES}, key=lambda reason: ORDER[reason]
    )


@pytest.mark.parametrize(
    ("changes", "reason", "sub"),
    [
        ({"number": {"span": Span(0, NOW)}}, Reason.NOT_EFFECTIVE, "expired"),
        ({"number": {"span": Span(NOW + 1)}}, Reason.NOT_EFFECTIVE, "not_yet"),
        ({"number": {"holds": [{"cause": "anomaly"}]}}, Reason.NOT_EFFECTIVE, "held"),
        ({"number": {"status": "revoked"}}, Reason.NOT_EFFECTIVE, "revoked"),
        ({"number": {"channels": 2}}, Reason.UNREGISTERED, "channel"),
        ({"institution": {"scope": SERVICE}}, Reason.INSTITUTION_BARRED, "out_of_scope"),
        ({"institution": {"licence": Span(0, NOW)}}, Reason.INSTITUTION_BARRED, "licence_lapsed"),
        ({"institution": {"verified": Span(0, NOW)}}, Reason.INSTITUTION_BARRED, "verification_lapsed"),
        ({"number": {"institution": 9}}, Reason.INSTITUTION_BARRED, "unknown"),
        (
            {"number": {"agency": 2}, "agency": {"status": "closed"}},
            Reason.INSTITUTION_BARRED,
            "agency_closed",
        ),
        ({"number": {"agency": 2}, "mandate": None}, Reason.MANDATE_MISSING, ""),
        ({"number": {"agency": 2}, "mandate": {"span": Span(0, NOW)}}, Reason.MANDATE_MISSING, "lapsed"),
        ({"number": {"agency": 2}, "mandate": {"channels": 2}}, Reason.MANDATE_MISSING, "channel"),
        ({"number": {"agency": 2}, "mandate": {"purposes": 2}}, Reason.MANDATE_MISSING, "purpose"),
        ({"number": {"agency": 2}, "mandate": {"status": "revoked"}}, Reason.MANDATE_MISSING, "revoked"),
        ({"account": None}, Reason.ACCOUNT_MISMATCH, "unknown_account"),
        ({"stale": True}, Reason.NOT_JUDGEABLE, "stale"),
        ({"flaw": "text"}, Reason.MALFORMED, "text"),
        (
            {"text": "新客礼，拒收请回复R【浙海示例银行】"},
            Reason.SIGNATURE_MISSING,
            "not_first",
        ),
        ({"text": "【温馨提示】新客礼，拒收请回复R"}, Reason.SIGNATURE_MISMATCH, "neutral"),
        ({"text": "【浙】新客礼", "number": {"signatures": []}}, Reason.SIGNATURE_MISMATCH, "length"),
    ],
)
def test_sub_codes_say_more(changes: dict[str, Any], reason: Reason, sub: str) -> None:
    assert findings(Example(1, changes))[reason].sub == sub


def test_robots_have_the_caps_that_their_profile_says_beside_those_of_all() -> None:
    """As shipped none of their own: what they reach counts among the answered calls (regulation.md)."""
    own = 'extends = "zhejiang"\n[rules.over_frequency]\nrobot = { collection = { day = 2 } }'
    capped = parse_profile((TEXTS | {"own": own}).__getitem__, "own")
    for profile, kind, most in ((capped, "robot", 2), (capped, "human", 9), (PROFILE, "robot", 9)):
        for tries in (most - 1, most):
            message, world = after(
                call(number={"purposes": COLLECTION}, account={"line_kind": kind}, sent=[*range(tries)])
            )
            found = explain(message, world, profile, NOW).verdict.reason
            assert found is (Reason.OVER_FREQUENCY if tries >= most == 2 else None)


LISTED: dict[str, Any] = {"institution": 1, "subscriber": "+8613800000009"}
DISOWNED: dict[str, Any] = {"role": "stranger"}


@pytest.mark.parametrize("rule", ["off", "observe", "enforce"])
@pytest.mark.parametrize("said", ["off", "observe", "enforce"])
@pytest.mark.parametrize(
    ("recipient", "sub"), [(None, "unverifiable"), (LISTED, ""), (DISOWNED, "wrong_person")]
)
def test_who_said_wrong_person_has_a_mode_of_its_own(
    rule: str, said: str, recipient: dict[str, Any] | None, sub: str
) -> None:
    """The stricter one of that and its rule's; who is only not listed has the rule's."""
    own = f'extends = "zhejiang"\n[rules.third_party]\nmode = "{rule}"\nsaid_wrong_person = "{said}"'
    profile = parse_profile((TEXTS | {"own": own}).__getitem__, "own")
    for make in (sms, call):
        message, world = after(make(number={"purposes": COLLECTION}, recipient=recipient))
        (verdict,) = decide([message], world, profile, NOW)
        found = [one for one in verdict.findings if one.reason is Reason.THIRD_PARTY]
        mode = max(rule, said, key=list(MODES).index) if sub == "wrong_person" else rule
        enforced = mode == "enforce" and sub != "unverifiable"
        assert found == ([] if mode == "off" else [Finding(Reason.THIRD_PARTY, sub, enforced)])
        explained = explain(message, world, profile, NOW)
        assert explained.verdict == verdict
        (answer,) = [one for one in explained.answers if one.reason is Reason.THIRD_PARTY]
        assert (answer.mode, answer.sub, answer.holds) == (mode, sub, False)
        assert ("said to be another" in answer.fact.en) == (sub == "wrong_person")


@pytest.mark.parametrize("name", shipped_profiles())
def test_who_said_wrong_person_is_not_asked_for_money_as_shipped(name: str) -> None:
    message, world = after(sms(number={"purposes": COLLECTION}, recipient=DISOWNED))
    (verdict,) = decide([message], world, parse_profile(read_profile, name), NOW)
    assert (verdict.reason, verdict.sub) == (Reason.THIRD_PARTY, "wrong_person")


def test_signature_at_the_end_is_enough_where_the_profile_says_so() -> None:
    texts = {
        "zhejiang": read_profile("zhejiang"),
        "end": 'extends = "zhejiang"\n[rules.signature_missing]\npositions = ["first", "last"]',
    }
    message = attempt(text="新客礼，拒收请回复R【浙海示例银行】")
    [strict] = decide([message], good(), PROFILE, NOW)
    [lenient] = decide([message], good(), parse_profile(texts.__getitem__, "end"), NOW)
    assert strict.reason is Reason.SIGNATURE_MISSING
    assert lenient.passed


@pytest.mark.parametrize("row", MESSAGES, ids=lambda row: row["text"][:24])
def test_texts_of_the_field(row: dict[str, str]) -> None:
    """Signature and opt-out findings are exactly those that the vectors demand.

    A signature that poses as an authority or another body, or that names nobody, is at the same time not
    bound to the number.
    """
    text, expected = row["text"], set(row["expected_findings"].split(";"))
    own = next((name for name in NAMES if text.startswith(f"【{name}】")), "")
    bound = (own,) if own and "signature_mismatch" not in expected else NAMES[:1]
    world = good()
    purposes = PURPOSES.get(row["kind"], SERVICE)
    authority = row["kind"] in ("judicial", "public_service", "other", "p2p")
    world.filings = [replace(NUMBER, signatures=() if authority else bound, purposes=purposes)]
    if authority and row["kind"] != "public_service":
        world.filings = []
        world.accounts = [replace(world.accounts[0], scope="other")]
    [verdict] = decide([attempt(text=text)], world, PROFILE, NOW)
    found = {finding.reason for finding in verdict.findings}
    assert (Reason.OPTOUT_HINT_MISSING in found) == ("missing_optout" in expected)
    unsigned = {"missing_signature", "signature_not_first"} & expected
    assert (Reason.SIGNATURE_MISSING in found) == bool(unsigned)
    foreign = {"signature_mismatch", "generic_signature", "impersonation_institution"} & expected
    foreign |= {"impersonation_authority"} & expected if not own else set()
    assert Reason.PURPOSE_MISMATCH not in found
    assert (Reason.SIGNATURE_MISMATCH in found) == bool(foreign)
    if expected == {"none"}:
        assert verdict.passed


class Filed(NamedTuple):
    """Of a sender, what the rule about purposes looks at."""

    purposes: int


def purposes_of(text: str) -> set[bool | str]:
    """What a text is found to be on numbers of all purposes."""
    asked = (Filed(purposes) for purposes in PURPOSES.values())
    return {text_is_of_purpose.judge(attempt(text=text), one, good(), NOW) for one in asked} - {True}  # type: ignore[arg-type]


def test_texts_of_the_field_are_told_by_purpose() -> None:
    """No bill, code or notice is taken for one that sells or collects, and no such for the other; of those
    that do, most have a word of it that is not disguised."""
    seen = Counter[str]()
    for row in MESSAGES:
        found = purposes_of(row["text"])
        assert found <= {row["kind"]} & {"marketing", "collection"}, row["text"]
        seen.update(map(str, found))
    assert seen["marketing"] >= 19
    assert seen["collection"] >= 8


NOTICES = (
    "您本期信用卡账单1,234.56元，最低还款额123.45元，到期还款日12月03日。",
    "您的信用卡本期账单将于明日到期，请按时还款以免逾期产生利息。",
    "还款提醒：本期应还款500.00元，请于11月28日前还款，如已还款请忽略。",
    "您尾号1234信用卡已还款1000.00元，感谢您的支持。",
    "您的贷款已结清，结清证明可在APP查看。",
    "您尾号1234的卡11月20日18:05微信红包支出50.00元。",
    "您尾号1234卡消费100.00元，优惠立减5.00元，实付95.00元。",
    "您购买的理财产品“稳健一号”已到期，本金及收益将于次日到账。",
    "您持有的产品业绩比较基准调整为年化3.10%。",
    "您的信用卡额度已调整为50,000元。",
    "您的信用卡已制好，请携带身份证到网点领取。",
    "您的提额申请已受理，结果将短信通知。",
    "您的贷款申请审批通过，额度已批50,000元，请登录APP签约。",
    "您的房贷利率自1月1日起调整为LPR加点，详询网点。",
    "验证码654321，您正在申请办理贷款业务，请勿泄露。",
    "您的银行卡密码连续输错，已锁定，请到网点办理解锁。",
    "客户经理张三为您服务，电话95xxx。",
    "谨防诈骗：凡以“不看征信、秒批”为由要求转账的都是骗局。",
    "如遇暴力催收，请拨打95xxx投诉。",
    "您预约的办理业务时间为11月21日10:00，请准时到场。",
    "系统维护通知：11月22日02:00至04:00暂停服务。",
    "您的保单将于12月31日到期，请及时续保。",
    "扣款失败：账户余额不足，本期贷款未扣款成功，请存足款项以免影响征信。",
    "您的优惠券将于3日后到期。",
    "您的转账2,000.00元已成功，收款人李四。",
)
"""As a bank sends them by a number for service."""


@pytest.mark.parametrize("text", NOTICES)
def test_a_notice_is_none_that_sells_or_collects(text: str) -> None:
    assert purposes_of(f"【浙海示例银行】{text}") == set()


OF_OTHERS = (
    "【示例超市】周年庆满300减50，会员专享价，好礼相送，回T退订",
    "【示例电器】全场12期免息，新品火热发售，欢迎选购",
    "【示例医院】您预约的11月25日上午门诊已确认，请携带医保卡",
    "【示例医院】您有一笔住院费用尚未结清，请尽快到收费处缴纳",
    "【示例水务】您本期水费58.30元已逾期，请尽快缴费以免停水",
    "【示例物业】您已欠物业费3个月，请于本周内缴纳",
    "【示例快递】您的包裹已到示例驿站，取件码1-2-3456",
    "【示例学校】明日家长会，请准时参加",
    "【示例打车】您有一张8折券即将到期，最高抵20元",
    "【示例影城】信用卡支付立减10元，周末特惠",
    "【示例反诈中心】凡称无抵押、秒批、先交保证金的贷款都是诈骗",
    "晚上一起吃饭吗？我把上次借你的200块还你",
    "妈，我到学校了，生活费收到了",
    "【示例出行】您的保险杠维修已完成，请到店取车",
)
"""What shops, hospitals and people write."""


@pytest.mark.parametrize("text", [*OF_OTHERS, *(f"【浙海示例银行】{notice}" for notice in NOTICES)])
def test_what_is_no_lender_s_passes_where_the_whitelist_is_not_asked(text: str) -> None:
    assert not findings(sms(text=text, number=None, account={"scope": "other"}))


FRAUD = 4
"""Texts of vectors/messages.csv that threaten in words of no list."""


def test_what_a_lender_sends_is_found_where_the_whitelist_is_not_asked() -> None:
    limited = [one for one in MESSAGES if one["kind"] in ("marketing", "collection")]
    found = [
        one
        for one in limited
        if Reason.UNREGISTERED in findings(sms(text=one["text"], number=None, account={"scope": "other"}))
    ]
    assert len(found) >= len(limited) - FRAUD
    assert len(limited) > 40


def test_every_fact_has_words_in_both_languages() -> None:
    """Of what refuses and of what passes; Chinese that is no more than the English is none."""
    for example in (example for rule in RULES for example in (*rule.refuses, *rule.passes)):
        message, world = after(example)
        for answer in explain(message, world, PROFILE, NOW).answers:
            assert answer.fact.en.isprintable(), answer
            assert re.search("[一-鿿]", answer.fact.zh), answer
            assert answer.fact.en, answer
    unfiled = explain(*after(sms(number=None)), PROFILE, NOW).answers
    assert {a.reason: a.fact.en for a in unfiled}[Reason.MANDATE_MISSING] == "no filing"


def test_a_holder_is_told_that_the_other_one_is_held_but_not_for_what() -> None:
    """Row security hides others' holds and penalties, and so does the explanation; his own he is told."""
    of_both = {"holds": [{"cause": "无委托催收", "span": Span(NOW - DAY, NOW + DAY)}]}
    message, world = after(sms(number={"agency": AGENCY}, institution=of_both, agency=of_both))

    def fact(asker: int | None) -> Words:
        answers = explain(message, world, PROFILE, NOW, asker=asker).answers
        return {one.reason: one.fact for one in answers}[Reason.INSTITUTION_BARRED]

    assert fact(None).zh.count("无委托催收 2025-11-24") == fact(None).en.count("hold 无委托催收") == 2
    for asker, (own, other) in ((BANK, (0, 1)), (AGENCY, (1, 0))):
        bodies = fact(asker).en.split("; ")
        assert "hold 无委托催收 2025-11-24" in bodies[own]
        assert bodies[other].endswith(", held")
        assert fact(asker).zh.count("无委托催收") == fact(asker).zh.count("2025-11-24") == 1
    world.institutions = [replace(one, holds=()) for one in world.institutions]
    assert "held" not in fact(AGENCY).en


def test_a_fact_says_which_refusal_and_which_consent_it_is() -> None:
    """A regulator sees why: a refusal of another institution's is none, a consent that is over is none."""

    def facts(example: Example) -> dict[Reason, Words]:
        return {one.reason: one.fact for one in explain(*after(example), PROFILE, NOW).answers}

    fact = facts(sms(refusal={"purposes": MARKETING | COLLECTION}))[Reason.REFUSED_BY_SUBSCRIBER]
    assert fact.en.startswith("refusals of this subscriber: 1; what reaches this stands since 20")
    assert fact.zh.endswith(" 起：营销、催收（短信、语音）")
    fact = facts(sms(refusal={"institution": 3}))[Reason.REFUSED_BY_SUBSCRIBER]
    assert (fact.zh, fact.en) == (
        "该用户有 1 条拒收，均不涉及本次",
        "refusals of this subscriber: 1; none reaches this",
    )
    assert "the last one ended 1970-01-01" in facts(sms(consent={"end": 1}))[Reason.CONSENT_MISSING].en
    assert facts(sms(consent={"start": 2**61}))[Reason.CONSENT_MISSING].en.endswith(": 1")


@pytest.mark.parametrize("name", shipped_profiles())
def test_every_rule_of_a_shipped_profile_names_its_source(name: str) -> None:
    profile = parse_profile(read_profile, name)
    explained = explain(attempt(), good(), profile, NOW).answers
    unnamed = [one.reason for one in explained if not (one.source.zh and one.source.en)]
    assert unnamed == []
    assert set(profile.content["refusal_covers"]["source"]) == {"zh", "en"}


def test_a_mode_that_begins_on_a_date_says_how_many_days_are_left() -> None:
    text = (
        'extends = "zhejiang"\n[rules.consent_missing]\nmode = { marketing = "enforce" }\nfrom = 2025-12-01'
    )
    profile = parse_profile((TEXTS | {"own": text}).__getitem__, "own")

    def told(now: int) -> tuple[str, Later | None]:
        answers = {one.reason: one for one in explain(attempt(), good(), profile, now).answers}
        assert [reason for reason, one in answers.items() if one.later] in ([], [Reason.CONSENT_MISSING])
        return answers[Reason.CONSENT_MISSING].mode, answers[Reason.CONSENT_MISSING].later

    begins = datetime.date(2025, 12, 1)
    assert told(NOW) == ("observe", Later("enforce", begins, 6))  # 25 November
    evening = NOW + 5 * DAY + 11 * 3_600_000  # 30 November, 23:00 in Shanghai
    assert told(evening) == ("observe", Later("enforce", begins, 1))
    assert told(evening + 3_600_000) == ("enforce", None)
