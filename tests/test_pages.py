"""The pages as a person meets them: signing in, what each role sees, what is asked for and put on the audit,
and every word in the language that was chosen."""

import datetime
import html
import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import any_hour
import pyotp
import pytest
from office import INSTITUTIONS, USERS
from test_finding import SEES, STRANGERS, audited
from test_rules import RULES, findings
from traces import AGENTS, BANKS, DRAFTS, MASKED, SUBSCRIBER, TEXT, Traces
from world import BODIES, NOW, NUMBER

from gateway.model import COLLECTION, MARKETING, REPLY_KINDS, SMS, Hold, Mandate, Reason, Span
from gateway.policy.profile import SHANGHAI
from gateway.policy.profile_text import parse_profile
from gateway.policy.standing import bars, endings, unmandated
from gateway.registry.acting import ROLES
from gateway.registry.auditing import verify
from gateway.registry.local import VOICE_KEY
from gateway.registry.replies import State
from gateway.registry.workflow import STATES
from gateway.web import wording
from gateway.web.limits import Limits
from gateway.web.wording import JOINED, TABLES, named

pytestmark = pytest.mark.asyncio(loop_scope="session")

PASSWORD = "correct horse battery"
TEMPLATES = sorted((Path(wording.__file__).parent / "templates").glob("*.html"))
HAN = re.compile(r"[\u3400-\u9fff]")
CJK = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")
DATA = (TEXT, "示例银行", "示例", "杭州市", "柜面", "一再收到", "正名", "中文", "【】")
"""What an English page may say in Chinese: names, texts and places; its own name, the language switch."""

CODES = {
    *USERS, *INSTITUTIONS, *(reason.value for reason in Reason),
    "any_hour", "mobile", "unicom", "cmpp", "node", "English", "DELIVRD", "CASE",
}  # fmt: skip
"""What a Chinese page may say in Latin letters: logins, codes, and the stable names of reasons."""


class Page(NamedTuple):
    status: int
    text: str
    headers: Any

    @property
    def words(self) -> str:
        """What one reads: no markup."""
        return html.unescape(re.sub(r"<[^>]*>", " ", self.text))


async def visit(
    traces: Traces,
    who: str,
    path: str,
    lang: str = "",
    *,
    form: Any = None,
    origin: str | None = "own",
    asked: str = "",
) -> Page:
    """A page as this user gets it ("" for nobody); with a form it is sent, from our own pages by default."""
    base = f"http://{traces.office.host}"
    sent = {} if origin is None else {"Origin": base if origin == "own" else origin}
    if asked:
        sent["Accept-Language"] = asked
    cookies = {"zm_lang": lang, "zm_session": traces.sessions.get(who, "")}
    method = "GET" if form is None else "POST"
    async with (
        aiohttp.ClientSession(cookies={name: value for name, value in cookies.items() if value}) as client,
        client.request(method, base + path, data=form, headers=sent, allow_redirects=False) as answer,
    ):
        return Page(answer.status, await answer.text(), answer.headers)


def pages(traces: Traces, who: str) -> list[tuple[str, Any]]:
    """All that this user can open: (path, form)."""
    own = [f"/records/{getattr(traces, name)}" for name in sorted(SEES.get(who, ()))]
    looks = [
        ("/", None),
        ("/rules", None),
        ("/replies", None),
        ("/replies?show=all", None),
        ("/replies", {}),
        ("/numbers", None),
        ("/numbers?number=x", None),
        ("/numbers?number=1069", None),
    ]
    looks += [(path, form) for path in own for form in (None, {"reason": ""}, {"reason": "CASE-1"})]
    looks += [("/records/x", None), ("/timeline", None), ("/timeline", {}), ("/nothing", None)]
    return [*looks, ("/timeline", {"subscriber": SUBSCRIBER, "reason": "CASE-1"})]


@pytest.mark.parametrize("who", ["", *USERS])
async def test_a_page_is_in_one_language(traces: Traces, who: str) -> None:
    for path, form in pages(traces, who):
        for lang in ("zh", "en"):
            page = await visit(traces, who, path, lang, form=form)
            assert page.status < 500, (path, page.text)
            said = page.words
            if lang == "en":
                for name in DATA:
                    said = said.replace(name, "")
                assert not CJK.findall(said), (path, said)
            else:
                assert HAN.search(said)
                words = set(re.findall(r"(?<![\w*/])[A-Za-z][a-z_]{2,}(?![\w])", said)) - CODES
                assert not words, (path, words)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
async def test_a_template_has_no_word_that_is_not_in_both_languages(template: Path) -> None:
    text = template.read_text("utf-8")
    for chinese, english in re.findall(r"""\bt\('([^']*)', ['"]([^)]*)['"]\)""", text):
        assert HAN.search(chinese) or chinese == JOINED
        assert not CJK.search(english.replace("正名", "")), english
    bare = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|<[^>]*>", "", text, flags=re.DOTALL)
    assert not re.search(r"[A-Za-z]|[\u3000-\u9fff]", bare), bare


@pytest.mark.parametrize(("table", "words"), TABLES.items())
async def test_every_word_is_there_in_both_languages(table: str, words: Any) -> None:
    for key, (zh, en) in words.items():
        assert HAN.search(zh), key
        assert re.search("[a-zA-Z]", en), key
        assert not CJK.search(en.replace("【】", ""))


async def test_all_that_can_occur_has_words() -> None:
    """Roles, states, reasons, replies; and what rules and standings give as their causes."""
    assert set(TABLES["role"]) == set(ROLES)
    assert set(TABLES["state"]) >= set(STATES)
    assert set(TABLES["reason"]) == {reason.value for reason in Reason}
    assert set(TABLES["meaning"]) == set(REPLY_KINDS)
    assert {*State.__args__} - {"done"} == set(TABLES["decision"])  # type: ignore[attr-defined]
    assert {"reply", VOICE_KEY} <= set(TABLES["source"])
    subs = {
        finding.sub for rule in RULES for example in rule.refuses for finding in findings(example).values()
    }
    assert subs - {""} <= set(TABLES["sub"])
    past, held = Span(0, 1), (Hold("", Span()),)
    body = replace(BODIES[1], status="closed", licence=past, verified=past, holds=held)
    causes = {cause for whose in ("institution_", "agency_") for cause in bars(body, NOW, whose)}
    for filing in (replace(NUMBER, span=past, holds=held), replace(NUMBER, span=Span(NOW + 1))):
        causes |= set(endings(filing, NOW))
    mandate = Mandate(1, 1, 2, SMS, MARKETING)
    for mandates, allowing in (
        ([], 0),
        ([replace(mandate, status="revoked")], 0),
        ([replace(mandate, span=past)], 0),
        ([mandate], MARKETING),
        ([mandate], 0),
    ):
        causes.add("mandate_" + unmandated(mandates, allowing, COLLECTION, NOW))
    assert causes <= set(TABLES["cause"])


async def test_several_words_are_joined_as_the_language_joins_and_others_stay() -> None:
    both = JOINED.join(("marketing", "collection"))
    assert (
        named("purpose", both, zh=True)
        == named("purpose", ["marketing", "collection"], zh=True)
        == "营销、催收"
    )
    assert named("purpose", both, zh=False) == "marketing, collection"
    assert named("source", "柜面", zh=False) == "柜面"
    assert named("purpose", "", zh=False) == ""


async def test_the_case_under_which_the_glass_was_broken_stands_on_the_first_page(traces: Traces) -> None:
    """Until a regulator has acknowledged it."""
    ((run,),) = traces.office.sql(
        """INSERT INTO import_runs (kind, file_name, checker_id, approver_id, case_reference)
           SELECT 'numbers', 'filed', min(id), max(id), 'CASE-31' FROM persons RETURNING id"""
    )
    assert "CASE-31" in (await visit(traces, "regulator", "/")).words
    assert "CASE-31" not in (await visit(traces, "institution", "/")).words
    assert (await traces.office.post("regulator", f"/import-runs/{run}/acknowledge")).status < 300
    assert "CASE-31" not in (await visit(traces, "regulator", "/")).words


async def test_the_language_is_kept_and_switching_keeps_what_was_asked(traces: Traces) -> None:
    page = await visit(traces, "institution", "/numbers?status=approved&number=1069&lang=en")
    assert "zm_lang=en" in page.headers["Set-Cookie"]
    assert 'href="?status=approved&amp;number=1069&amp;lang=zh"' in page.text
    assert "Numbers" in page.words
    assert "号码" in (await visit(traces, "institution", "/numbers")).words  # Chinese first
    assert "Sign in" in (await visit(traces, "", "/?lang=en")).words


@pytest.mark.parametrize("who", USERS)
async def test_everybody_has_an_overview_of_what_is_his(traces: Traces, who: str) -> None:
    page = await visit(traces, who, "/", "en")
    assert page.status == 200
    assert f"{who} · " in page.words
    role = USERS[who][0]
    assert ('href="/timeline"' in page.text) == (role in ("regulator", "auditor"))
    assert ("matters overdue" in page.words) == (role in ("regulator", "auditor"))
    refused = {
        "institution": {traces.refused, traces.foreign},
        "institution2": {traces.entrusted},
        "agency": {traces.entrusted},
        "carrier": {traces.refused, traces.entrusted},
        "carrier2": {traces.refused, traces.entrusted},
        "provider": set(),
        "admin": set(),
    }
    expected = refused.get(who, {traces.refused, traces.entrusted, traces.foreign})
    assert set(re.findall(r"/records/([0-9a-f]{32})", page.text)) == expected
    assert SUBSCRIBER[3:] not in page.text
    assert ('href="/numbers"' in page.text) == (role not in STRANGERS)


async def test_the_rules_in_force_stand_on_a_page_with_their_sources(traces: Traces) -> None:
    """With what a profile will enforce on a date, and how many days are left."""
    site, modes = traces.office.site, '[rules.consent_missing]\nmode = { marketing = "enforce" }\nfrom = %s'
    begins = datetime.datetime.now(SHANGHAI).date() + datetime.timedelta(days=12)
    own, text = site.in_force.own, f'extends = "any_hour"\n{modes % begins}'
    site.in_force.use(parse_profile(lambda name: text if name == "dated" else any_hour.read(name), "dated"))
    try:
        for who in ("regulator", "institution", "admin"):
            zh, en = [(await visit(traces, who, "/rules", lang)).words for lang in ("zh", "en")]
            assert "浙江通知第8项：营销短信号码库之外予以拦截" in zh
            assert "duty 8: what is outside the library is intercepted" in en
            assert site.in_force.own.digest in zh
            assert "观察：催收；执行：本人称非债务人" in zh
            assert "observe: collection; enforce: who said to be another person" in en
            assert "定时最多提前天数：7" in zh
            assert "短信：营销 1分钟 2，24小时 10；催收 24小时 3" in zh
            assert "SMS: marketing a minute 2, a day 10; collection a day 3" in en
            assert re.search(rf"观察：营销\s+{begins} 起（还有 12 天）\s+执行：营销", zh)
            assert re.search(rf"observe: marketing\s+from {begins} \(12 days left\)\s+enforce: marketing", en)
            assert "未经同意 · 执行：营销 · 还有 12 天" in (await visit(traces, who, "/", "zh")).words
    finally:
        site.in_force.use(own)


async def test_numbers_are_ones_own_found_and_turned_over(traces: Traces) -> None:
    listed: dict[str, list[str]] = {}
    for who in USERS:
        page = await visit(traces, who, "/numbers", "en")
        assert page.status == (403 if USERS[who][0] in STRANGERS else 200)
        listed[who] = re.findall(r'data-label="Number">(\d+)', page.text)
    assert set(listed["institution"]) == {BANKS, "10690005"}
    assert set(listed["agency"]) == {AGENTS}
    assert set(listed["carrier"]) == {BANKS, AGENTS, "10690005"}  # a draft is its institution's
    assert set(listed["carrier"]) < set(listed["regulator"])
    first = await visit(traces, "institution2", "/numbers?status=draft", "en")
    following = html.unescape(re.findall(r'href="(/numbers\?[^"]*after=[^"]*)"', first.text)[0])
    second = await visit(traces, "institution2", following, "en")
    got = [re.findall(r'data-label="Number">(\d+)', page.text) for page in (first, second)]
    assert [len(part) for part in got] == [50, DRAFTS - 50]
    assert len(set(itertools.chain(*got))) == DRAFTS
    assert 'href="/numbers?' not in second.text
    one = await visit(traces, "regulator", f"/numbers?number={AGENTS}", "en")
    assert re.findall(r'data-label="Number">(\d+)', one.text) == [AGENTS]
    assert "suspended" in one.words
    assert "mandate is not for this purpose" in one.words
    for wrong in ("number=x", "status=%00", "number=%00", "after=x", "status=" + "x" * 99):
        page = await visit(traces, "regulator", f"/numbers?{wrong}", "en")
        assert page.status < 500
        assert "matches" in page.words or 'role="alert"' in page.text or page.status == 400


@pytest.mark.parametrize("who", USERS)
async def test_a_foreign_record_is_a_page_that_is_not_there(traces: Traces, who: str) -> None:
    missing = await visit(traces, who, f"/records/{traces.missing}", "en")
    assert missing.status == 404
    role = USERS[who][0]
    seen = SEES.get(who, SEES.get(role, set()) if role in ("regulator", "carrier") else set())
    for name in ("passed", "refused", "entrusted", "elsewhere", "reply"):
        place = f"/records/{getattr(traces, name)}"
        for form in (None, {"reason": "CASE-3"}):
            if name in seen and form is not None:
                continue
            page = await visit(traces, who, place, "en", form=form)
            if name not in seen:
                assert page[:2] == missing[:2]
                continue
            assert page.status == 200
            assert MASKED in page.text
            assert SUBSCRIBER[3:] not in page.text
            assert TEXT not in page.text
    assert all(reason != "CASE-3" for _, _, reason in audited(traces, "record.reveal"))


async def test_a_record_that_another_node_may_have_is_asked_for_again(traces: Traces) -> None:
    for lang, words in (
        ("zh", "节点 node-2 无法连接，稍后重试"),
        ("en", "node node-2 can't be reached; try again later"),
    ):
        page = await visit(traces, "regulator", "/records/" + "0" * 32, lang)
        assert (page.status, words in page.words) == (503, True)


async def test_a_record_says_why_and_what_became_of_it(traces: Traces) -> None:
    refused = (await visit(traces, "institution", f"/records/{traces.refused}", "zh")).words
    for words in ("拦截", "用户已拒收", "缺少退订方式", "仅观察", "杭州市", "营销"):
        assert words in refused
    entrusted = (await visit(traces, "agency", f"/records/{traces.entrusted}", "en")).words
    assert "mandate is not for this purpose" in entrusted
    passed = (await visit(traces, "institution", f"/records/{traces.passed}", "zh")).words
    for words in ("放行", "已送达", "状态时间", "DELIVRD"):
        assert words in passed
    reply = (await visit(traces, "institution", f"/records/{traces.reply}", "en")).words
    assert "reply" in reply
    assert "refuses" in reply


async def test_a_record_names_the_nodes_that_may_know_what_became_of_it(traces: Traces) -> None:
    traces.office.sql("UPDATE nodes SET seen_at = seen_at + interval '20 days' WHERE name = 'node-2'")
    try:
        passed, refused = [
            (await visit(traces, "institution", f"/records/{one}", "zh")).words
            for one in (traces.passed, traces.refused)
        ]
    finally:
        traces.office.sql("UPDATE nodes SET seen_at = seen_at - interval '20 days' WHERE name = 'node-2'")
    assert "以下节点的记录可能缺失：node-2（无法连接）" in passed
    assert "可能缺失" not in refused  # it went nowhere


async def test_the_full_number_and_text_take_a_reason_and_are_audited(traces: Traces) -> None:
    place, before = f"/records/{traces.passed}", len(audited(traces, "record.reveal"))
    for form in ({}, {"reason": " "}, {"reason": "a\nb\x01"}, {"other": "x"}, {"reason": "x" * 2000}):
        page = await visit(traces, "institution", place, "en", form=form)
        assert (page.status, "it takes a reason" in page.words) == (200, True)
        assert SUBSCRIBER not in page.text
    assert len(audited(traces, "record.reveal")) == before
    page = await visit(traces, "institution", place, form={"reason": "投诉 17"})
    assert SUBSCRIBER in page.text
    assert TEXT in page.text
    assert audited(traces, "record.reveal")[before:] == [
        ("institution", f"records/{traces.passed}", "投诉 17")
    ]
    async with traces.office.site.door.owner() as c:
        assert await verify(c) is None


async def test_full_numbers_have_one_rate_on_pages_and_by_api(
    traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits({"read": (0, 1.0), "judge": (0.001, 1.0)})
    monkeypatch.setattr(traces.office.site, "_limits", limits)
    place, form = f"/records/{traces.passed}", {"reason": "投诉 18"}
    assert (await visit(traces, "institution", place, form=form)).status == 200
    assert (await visit(traces, "institution", place, form=form)).status == 429
    said = await traces.office.post("institution", f"{place}/reveal", form)
    assert (said.status, said.body["code"]) == (429, "rate_limited")
    assert (await visit(traces, "institution", place)).status == 200  # without them, it is a page like others


async def test_a_timeline_takes_a_watcher_and_a_reason(traces: Traces) -> None:
    wanted = {"subscriber": "138 0000 0404", "reason": "CASE-4"}
    for who in set(USERS) - {"regulator", "regulator2", "auditor"}:
        for form in (None, wanted):
            page = await visit(traces, who, "/timeline", "en", form=form)
            assert (page.status, "not for your role" in page.words) == (403, True)
    before = len(audited(traces, "subscriber.timeline"))
    for form in ({}, wanted | {"reason": " "}, wanted | {"subscriber": "x"}, wanted | {"subscriber": ""}):
        page = await visit(traces, "regulator", "/timeline", "en", form=form)
        assert (page.status, "it takes a subscriber" in page.words) == (200, True)
    assert len(audited(traces, "subscriber.timeline")) == before
    page = await visit(traces, "regulator", "/timeline", "en", form=wanted)
    said = page.words
    assert MASKED in said
    assert "13800000404" not in page.text
    assert "Records may be missing of: node-2 (can't be reached)" in said
    for words in ("mandate", "service", "consent", "until 2099-01-01", "complaint", "一再收到", "refusal",
                  "marketing, collection", "refuses", "the subscriber has refused", "passed · delivered",
                  "passed · not known"):  # fmt: skip
        assert words in said, words
    times = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", said)
    assert times == sorted(times)
    for name in ("passed", "refused", "entrusted", "elsewhere", "reply", "foreign"):
        assert f'href="/records/{getattr(traces, name)}"' in page.text
    assert audited(traces, "subscriber.timeline")[before:] == [("regulator", "subscribers", "CASE-4")]
    nobody = await visit(traces, "regulator", "/timeline", "en", form=wanted | {"subscriber": "13900000001"})
    assert "Nothing is known" in nobody.words


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://"])
async def test_a_form_from_elsewhere_does_nothing(traces: Traces, origin: str | None) -> None:
    before = traces.office.sql("SELECT count(*) FROM audit")
    forms = {
        f"/records/{traces.passed}": {"reason": "x"},
        "/timeline": {"subscriber": SUBSCRIBER, "reason": "x"},
        "/sign-in": {"user": "regulator", "password": PASSWORD, "totp": "000000"},
        "/sign-out": {},
    }
    for path, form in forms.items():
        page = await visit(traces, "regulator", path, "en", form=form, origin=origin)
        assert (page.status, "from another site" in page.words) == (403, True)
        assert SUBSCRIBER not in page.text
    assert traces.office.sql("SELECT count(*) FROM audit") == before
    assert (await visit(traces, "regulator", "/", "en")).words.count("Sign out") == 1


async def test_a_form_that_is_none_is_told_so(traces: Traces) -> None:
    for path in (f"/records/{traces.passed}", "/timeline", "/sign-in"):
        for data, kind in (
            (b"\xff\xfe", "application/x-www-form-urlencoded; charset=utf-8"),
            (b"reason=a", "application/x-www-form-urlencoded; charset=nonesuch"),
            (b"reason=%00", "application/x-www-form-urlencoded"),
            (b"no form", "multipart/form-data; boundary=x"),
            (b"{}", "application/json"),
        ):
            sent = {"Content-Type": kind, "Origin": f"http://{traces.office.host}"}
            cookies = {"zm_session": traces.sessions["regulator"]}
            async with (
                aiohttp.ClientSession(cookies=cookies) as client,
                client.post(f"http://{traces.office.host}{path}", data=data, headers=sent) as answer,
            ):
                assert answer.status < 500, (path, kind)


async def test_nobody_sees_more_than_the_sign_in_page(traces: Traces) -> None:
    for path in ("/", "/numbers", f"/records/{traces.passed}", "/timeline", "/sign-in"):
        page = await visit(traces, "", path, "en")
        assert 'action="/sign-in"' in page.text
        assert MASKED not in page.text
    page = await visit(traces, "", f"/records/{traces.passed}", form={"reason": "x"})
    assert 'action="/sign-in"' in page.text
    signed = await visit(traces, "admin", "/sign-in")
    assert (signed.status, signed.headers["Location"]) == (303, "/")


async def test_what_is_no_page_is_told_so_in_a_page(traces: Traces) -> None:
    for path, form, status in (("/nothing", None, 404), ("/numbers", {}, 405), ("/sign-out", None, 405)):
        page = await visit(traces, "", path, "en", form=form)
        assert (page.status, page.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
        assert "this page" in page.words or "no such page" in page.words
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_pages_are_not_kept_framed_or_guessed_at(traces: Traces) -> None:
    headers = (await visit(traces, "regulator", "/")).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "script-src" not in headers["Content-Security-Policy"]  # none at all
    style = await visit(traces, "", "/static/zhengming.css")
    for asked, words in (("en-US,en;q=0.9", "Sign in"), ("en,zh;q=0.1", "登录")):  # Chinese first
        page = await visit(traces, "", "/", asked=asked)
        assert words in page.words
        assert "登录" in (await visit(traces, "", "/", "zh", asked=asked)).words  # what was chosen holds
    assert (style.status, style.headers["Content-Type"]) == (200, "text/css")


async def test_signing_in_and_out(traces: Traces) -> None:
    office = traces.office
    user = await office.post(
        "admin",
        "/users",
        {"login": "pat", "role": "auditor", "person": "Pat", "identity": "P-1", "password": PASSWORD},
    )
    totp = pyotp.TOTP(user.body["totp_secret"])
    form = {"user": "pat", "password": PASSWORD, "totp": "000000"}
    wrong = await visit(traces, "", "/sign-in", "en", form=form)
    assert (wrong.status, "password or code is wrong" in wrong.words) == (401, True)
    assert PASSWORD not in wrong.text
    right = await visit(traces, "", "/sign-in", "en", form=form | {"totp": totp.now()})
    assert (right.status, right.headers["Location"]) == (303, "/")
    cookie = right.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    traces.sessions["pat"] = cookie.partition("=")[2].partition(";")[0]
    assert "pat · auditor" in (await visit(traces, "pat", "/", "en")).words
    out = await visit(traces, "pat", "/sign-out", form={})
    assert out.status == 303
    assert 'action="/sign-in"' in (await visit(traces, "pat", "/")).text
    acts = office.sql(
        "SELECT act FROM audit WHERE subject = 'users/' || %s ORDER BY id", str(user.body["id"])
    )
    assert [act for (act,) in acts][-2:] == ["session.begin", "session.end"]
    for _ in range(5):
        await visit(traces, "", "/sign-in", "en", form=form | {"user": "nobody"})
    locked = await visit(traces, "", "/sign-in", "en", form=form | {"user": "nobody"})
    assert (locked.status, "too many" in locked.words) == (429, True)
