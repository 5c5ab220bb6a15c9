"""The queue of ambiguous replies by HTTP, and what replies did in a subscriber's timeline."""

import html
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from office import Office
from test_pages import Page, visit
from traces import _session

from gateway.model import COLLECTION, HELD, MARKETING, AccountKey
from gateway.policy.reply_scope import covers_beyond
from gateway.registry import store
from gateway.registry.forms import SHANGHAI
from gateway.registry.local import learn
from gateway.registry.timeline import Event
from gateway.web.pages import _came_of
from gateway.web.wording import EVENTS

SUBSCRIBER = "+8613800000001"
ACCOUNT = AccountKey("mobile", "cmpp", "900001")
WHY = {"reason": "用户回电说明"}
NOW = datetime.now(UTC)


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with Office(database, tmp_path) as office:
        yield office


async def said(office: Office, kind: str, *, ago: timedelta = timedelta(minutes=1), code: str = "BANK",
               carrier: str = "mobile", flags: tuple[str, ...] = ()) -> None:  # fmt: skip
    """A reply of SUBSCRIBER comes in, as a node carries it."""
    covers = {"refuse": 3, "ambiguous": 1}.get(kind, 0)
    what = {"institution": office.institutions[code], "number": "10690001", "purposes": covers}
    one = learn(
        office.key, SUBSCRIBER, **what, channels=covers and 3, node="n", flags=flags,
        at=int((NOW - ago).timestamp() * 1000),
        account=ACCOUNT._replace(carrier=carrier), message_id=f"{kind}{ago}{code}".encode(), kind=kind,
        record=bytes(range(16)),
    )  # type: ignore[arg-type]  # fmt: skip
    async with office.site.door.owner() as c:
        await store.insert_refusals(c, 1, [one])


async def listed(office: Office, who: str, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await office.get(who, f"/replies{query}")).body["items"]
    return found


async def test_each_sees_the_replies_of_his_own(office: Office) -> None:
    await said(office, "ambiguous")
    await said(office, "accept", code="FIN")
    await said(office, "wrong_person", carrier="unicom")
    kinds = {
        who: [one["kind"] for one in await listed(office, who)]
        for who in ("regulator", "auditor", "carrier", "institution", "institution2")
    }
    assert kinds == {
        "regulator": ["ambiguous", "accept", "wrong_person"],
        "auditor": ["ambiguous", "accept", "wrong_person"],
        "carrier": ["ambiguous", "accept"], "institution": ["ambiguous", "wrong_person"],
        "institution2": ["accept"],
    }  # fmt: skip
    for who in ("agency", "provider", "admin"):
        assert (await office.get(who, "/replies")).status == 403
    (one,) = await listed(office, "institution", "?kind=ambiguous")
    until = datetime.fromisoformat(one["undecided_until"]) - datetime.fromisoformat(one["at"])
    assert until == timedelta(milliseconds=HELD)
    assert (one["subscriber"], one["record"]) == ("138****0001", bytes(range(16)).hex())
    assert (one["state"], one["purposes"], one["institution"]) == ("waiting", ["marketing"], "BANK")
    assert "+8613800000001" not in str(kinds)
    assert (await office.get("institution2", f"/replies/{one['id']}")).status == 404
    first = await office.get("regulator", "/replies?limit=1")
    rest = await office.get("regulator", f"/replies?limit=5&after={first.body['next']}")
    assert [len(page.body["items"]) for page in (first, rest)] == [1, 2]
    assert (await office.get("regulator", "/replies?kind=refuse")).status == 422


async def test_who_may_decide_what_and_once(office: Office) -> None:
    for days in (1, 2, 4):
        await said(office, "ambiguous", ago=timedelta(days=days))
    await said(office, "wrong_person")
    first, second, third, stranger = await listed(office, "regulator")
    assert [one["state"] for one in (first, second, third, stranger)] == [
        "waiting", "waiting", "undecided", "done",
    ]  # fmt: skip

    async def decide(one: dict[str, Any], who: str, decision: str, **more: Any) -> Any:
        said = await office.post(who, f"/replies/{one['id']}", {"decision": decision, **WHY}, **more)
        return said.status, said.body.get("code") or said.body["state"]

    assert await decide(first, "institution", "no_refusal") == (403, "forbidden")
    assert await decide(first, "institution2", "refusal") == (404, "not_found")
    assert await decide(first, "auditor", "refusal") == (403, "forbidden")
    assert await decide(first, "institution", "refusal", headers={"If-Match": '"1"'}) == (
        412,
        "changed_meanwhile",
    )
    assert await decide(first, "institution", "refusal") == (200, "refusal")
    assert await decide(first, "regulator", "no_refusal") == (409, "wrong_state")
    assert await decide(second, "carrier", "no_refusal") == (200, "no_refusal")
    assert await decide(third, "regulator", "no_refusal") == (
        200,
        "no_refusal",
    )  # late, but a person has looked
    assert await decide(stranger, "regulator", "refusal") == (409, "wrong_state")
    assert (await office.post("carrier", f"/replies/{first['id']}", {"decision": "refusal"})).status == 422
    assert first["covers"] == ["marketing"]  # as of a number for marketing, or a row of before
    assert office.sql("SELECT DISTINCT purposes FROM refusals") == [(MARKETING,)]
    standing = office.sql("SELECT undecided_until, lifted_at IS NULL, lifted_by FROM refusals ORDER BY id")
    assert standing == [(None, True, None), (second_until(second), False, "carrier"),
                        (second_until(third), False, "regulator")]  # fmt: skip
    acts = office.sql("SELECT act, subject, reason FROM audit WHERE act ~ '^reply' ORDER BY id")
    assert acts == [
        ("reply.refusal", f"replies/{first['id']}", WHY["reason"]),
        ("reply.no_refusal", f"replies/{second['id']}", WHY["reason"]),
        ("reply.no_refusal", f"replies/{third['id']}", WHY["reason"]),
    ]
    assert await listed(office, "regulator", "?undecided=true") == []


def second_until(one: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(one["undecided_until"])


@pytest.mark.parametrize("days", [1, 4])
async def test_a_person_s_refusal_covers_what_one_in_plain_words_does(office: Office, days: int) -> None:
    """In time and after it: until then it is marketing alone."""
    flags = covers_beyond(COLLECTION | MARKETING)
    await said(office, "ambiguous", ago=timedelta(days=days), flags=flags)
    (one,) = await listed(office, "institution")
    assert (one["purposes"], one["covers"]) == (["marketing"], ["marketing", "collection"])
    assert office.sql("SELECT purposes FROM refusals") == [(MARKETING,)]
    body = {"decision": "refusal", **WHY}
    decided = await office.post("institution", f"/replies/{one['id']}", body)
    assert (decided.status, decided.body["purposes"]) == (200, ["marketing"])
    assert office.sql("SELECT purposes, undecided_until, lifted_at FROM refusals") == [(3, None, None)]
    wanted = {"subscriber": SUBSCRIBER, "reason": "复核"}
    events = (await office.post("auditor", "/subscribers/timeline", wanted)).body["events"]
    told = [(one["kind"], one["source"], one["said"]) for one in events[1:]]
    late = [("refusal", "undecided", "marketing")] if days == 4 else []
    assert told == [*late, ("refusal", "decision", "marketing、collection")]


async def test_by_sql_an_institution_can_not_say_that_it_was_none(office: Office) -> None:
    await said(office, "ambiguous")
    with pytest.raises(Exception, match="row-level security"):
        office.sql(
            f"""SET ROLE zhengming_institution;
                SET zhengming.institution = '{office.institutions["BANK"]}';
                UPDATE replies SET decision = 'no_refusal', decided_at = now()"""
        )


async def test_who_accepted_again_leaves_nothing_to_decide(office: Office) -> None:
    await said(office, "ambiguous", ago=timedelta(hours=2))
    await said(office, "accept", ago=timedelta(hours=1))
    (held,) = await listed(office, "regulator", "?kind=ambiguous")
    assert held["state"] == "accepted"
    given = (await office.get("institution", "/consents")).body["items"]
    assert [(one["source"], one["record"]) for one in given] == [("reply", bytes(range(16)).hex())]
    (refusal,) = (await office.get("institution", "/refusals")).body["items"]
    assert refusal["lifted_at"] == given[0]["at"]


async def test_a_late_no_from_before_is_over_as_it_comes(office: Office) -> None:
    """By whatever way: here an institution's own, of the day before the subscriber accepted again."""
    await said(office, "accept", ago=timedelta(hours=1))
    assert (await office.get("institution", "/consents")).body[
        "items"
    ] == []  # he was not refused: nothing more
    for ago, over in ((timedelta(days=1), True), (timedelta(minutes=1), False)):
        new = {"subscriber": SUBSCRIBER, "at": (NOW - ago).isoformat(), "source": "call"}
        made = await office.post("institution", "/refusals", new)
        assert (made.status, made.body["lifted_at"] is not None) == (201, over)
    everybody = await office.post("regulator", "/refusals", {
        "subscriber": SUBSCRIBER, "at": (NOW - timedelta(days=2)).isoformat(),
    })  # fmt: skip
    assert everybody.body["lifted_at"] is None  # to all: no answer to one institution ends it


async def test_the_timeline_tells_it_in_order(office: Office) -> None:
    await said(office, "ambiguous", ago=timedelta(days=5))
    await said(office, "accept", ago=timedelta(days=1))
    await said(office, "wrong_person", ago=timedelta(hours=5))
    office.sql(
        "INSERT INTO released (subscriber_hash, key_id, subscriber_sealed, released_at)"
        " VALUES (%s, 1, %s, %s)",
        office.key.hash(SUBSCRIBER), office.key.seal(SUBSCRIBER), NOW - timedelta(hours=1),
    )  # fmt: skip
    wanted = {"subscriber": SUBSCRIBER, "reason": "复核"}
    events = (await office.post("auditor", "/subscribers/timeline", wanted)).body["events"]
    assert [(one["kind"], one["source"]) for one in events] == [
        ("held", "reply"), ("refusal", "undecided"), ("accepted", "reply"), ("consent", "reply"),
        ("refusal_lifted", "reply"), ("wrong_person", "reply"), ("released", ""),
    ]  # fmt: skip
    until = (NOW - timedelta(days=2)).astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")
    told = [Event.model_validate(one) for one in events]
    assert [(EVENTS[one.kind].zh, _came_of(one, zh=True)) for one in told[:3]] == [
        ("暂停营销，待认定", f"短信回复 · 至 {until}"),
        ("拒收", "营销 · 逾期未认定"),
        ("恢复接收", "短信回复"),
    ]
    assert [(EVENTS[told[place].kind].en, _came_of(told[place], zh=False)) for place in (0, 5, 6)] == [
        ("marketing held, to be decided", f"reply · until {until}"),
        ("said to be another person", "reply"),
        ("number given back", ""),
    ]


@pytest.fixture
def desk(office: Office) -> Any:
    """What `visit` needs of the office."""
    return SimpleNamespace(office=office, sessions={login: _session(office, login) for login in office.users})


def shown(page: Page) -> list[str]:
    """The ids that may be decided on a page."""
    return re.findall(r'name="reply" value="(\d+)"', page.text)


async def test_the_queue_is_a_page_on_which_it_is_decided(office: Office, desk: Any) -> None:
    for days in (1, 2, 4):
        await said(office, "ambiguous", ago=timedelta(days=days))
    await said(office, "ambiguous", code="FIN")
    await said(office, "wrong_person")
    first, second, third, fins, _ = [str(one["id"]) for one in await listed(office, "regulator")]
    assert "4" in re.findall(r'href="/replies">(\d+)<', (await visit(desk, "regulator", "/")).text)
    for who, mine, denies in (
        ("regulator", [first, second, third, fins], True),
        ("carrier", [first, second, third, fins], True),
        ("institution", [first, second, third], False),
        ("institution2", [fins], False),
    ):
        page = await visit(desk, who, "/replies", "en")
        assert (shown(page), 'value="no_refusal"' in page.text) == (mine, denies)
        assert ("An institution may only decide" in page.words) is not denies
        assert "138****0001" in page.words
        assert SUBSCRIBER[3:] not in page.text
        assert "said to be another person" not in page.words
    assert shown(await visit(desk, "auditor", "/replies")) == []
    assert "待认定 至 20" in re.sub(r"\s+", " ", (await visit(desk, "auditor", "/replies")).words)
    for who in ("agency", "provider", "admin"):
        assert (await visit(desk, who, "/replies", form={"reply": first})).status == 403
        assert 'href="/replies"' not in (await visit(desk, who, "/")).text

    async def decide(who: str, one: str, decision: str, reason: str = WHY["reason"]) -> tuple[int, bool]:
        form = {"reply": one, "decision": decision, "reason": reason}
        page = await visit(desk, who, "/replies", "en", form=form)
        return page.status, 'role="alert"' in page.text

    assert await decide("institution", first, "no_refusal") == (403, True)
    assert await decide("institution2", first, "refusal") == (404, False)
    assert await decide("auditor", first, "refusal") == (403, False)
    assert await decide("regulator", first, "refusal", " ") == (422, True)
    for wrong in ("x", "", "0", "9" * 30):
        assert await decide("regulator", wrong, "refusal") == (422, True)
    assert await decide("regulator", first, "perhaps") == (422, True)
    assert await decide("institution", first, "refusal") == (303, False)
    assert await decide("carrier", first, "no_refusal") == (409, True)
    assert await decide("carrier", third, "no_refusal") == (303, False)
    assert shown(await visit(desk, "regulator", "/replies")) == [second, fins]
    every = (await visit(desk, "regulator", "/replies?show=all", "zh")).words
    for words in ("认定为拒收", "认定为非拒收", WHY["reason"], "institution ·", "非本人"):
        assert words in every, words
    acts = office.sql("SELECT act, subject, reason FROM audit WHERE act ~ '^reply' ORDER BY id")
    assert acts == [
        ("reply.refusal", f"replies/{first}", WHY["reason"]),
        ("reply.no_refusal", f"replies/{third}", WHY["reason"]),
    ]


async def test_the_page_turns_over_and_what_was_accepted_since_waits_for_nobody(
    office: Office, desk: Any
) -> None:
    for minutes in range(1, 24):
        await said(office, "ambiguous", ago=timedelta(minutes=minutes))
    await said(office, "ambiguous", code="FIN", ago=timedelta(minutes=2))
    await said(office, "accept", code="FIN")
    page = await visit(desk, "regulator", "/replies", "en")
    following = html.unescape(re.findall(r'href="(/replies\?[^"]*after=[^"]*)"', page.text)[0])
    rest = await visit(desk, "regulator", following, "en")
    assert [len(shown(one)) for one in (page, rest)] == [20, 3]
    assert "after=" not in rest.text.replace(html.escape(following.partition("?")[2]), "")
    assert "accepted again since" in (await visit(desk, "institution2", "/replies?show=all", "en")).words
    assert "No reply waits" in (await visit(desk, "institution2", "/replies", "en")).words
    assert (await visit(desk, "regulator", "/replies?after=x", "en")).status == 400
