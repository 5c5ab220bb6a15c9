"""Two nodes of one registry: what either of them is asked is found on both, by API, pages and commands."""

import asyncio
import contextlib
import datetime
import hashlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from asker import Asker
from conftest import HouseOf
from playbook import BANNED, HOST, MARKETING, TEXT, House, eventually

from gateway.direct import owner
from gateway.simulator.sender import SenderSim

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def houses(house_of: HouseOf) -> AsyncIterator[tuple[House, House]]:
    async with (
        house_of(name="west", workers=2) as west,
        house_of(name="east", workers=2, beside=west) as east,
    ):
        await eventually(lambda: len(west.sql("SELECT name FROM nodes")) == 2)
        yield west, east


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask(houses: tuple[House, House], client: aiohttp.ClientSession) -> Asker:
    return Asker(houses[0], client)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sent(houses: tuple[House, House], ask: Asker) -> tuple[str, list[str]]:
    """A subscriber, and the ids of what was sent to him: west passed, east passed, east refused."""
    west, east = houses
    subscriber, ids = west.subscriber(), []
    for house, source in ((west, MARKETING), (east, MARKETING), (east, BANNED)):
        attempt = {
            "channel": "sms",
            "account": "900001",
            "source": source,
            "destination": subscriber,
            "text": TEXT,
        }
        said = await ask.of(house)("bank", "/attempts", attempt)
        assert said.status == 200, said.body
        ids.append(said.body["id"])
    return subscriber, ids


async def find(ask: Asker, subscriber: str, who: str = "regulator") -> tuple[list[str], Any]:
    said = await ask(who, "/records/find", {"subscriber": subscriber, "reason": "核查"})
    assert said.status == 200, said.body
    return [one["id"] for one in said.body["items"]], said.body["incomplete"]


async def test_either_node_finds_what_both_recorded(
    houses: tuple[House, House], ask: Asker, sent: tuple[str, list[str]]
) -> None:
    subscriber, ids = sent
    for house in houses:
        began = time.monotonic()
        assert await find(ask.of(house), subscriber) == (ids, [])
        assert await find(ask.of(house), subscriber, "fin") == ([], [])  # another institution's
        assert time.monotonic() - began < 5.0
    said = await ask("regulator", "/subscribers/timeline", {"subscriber": subscriber, "reason": "核查"})
    attempts = [one["record"] for one in said.body["events"] if one["kind"] == "attempt"]
    assert (attempts, said.body["incomplete"]) == (ids, [])


async def test_a_complaint_at_one_node_lays_out_what_passed_at_the_other(
    ask: Asker, sent: tuple[str, list[str]]
) -> None:
    subscriber, ids = sent
    at = datetime.datetime.now(datetime.UTC).isoformat()
    complaint = {"subscriber": subscriber, "number": MARKETING, "channel": "sms", "at": at}
    made = await ask("regulator", "/complaints", complaint)
    assert made.status == 201, made.body
    said = await ask.get("regulator", f"/complaints/{made.body['id']}/timeline?reason=x")
    assert [one["record"] for one in said.body["events"] if one["kind"] == "attempt"] == ids


REPLIES = 100


async def test_a_refusal_holds_on_all_workers_of_all_nodes_in_time(houses: tuple[House, House]) -> None:
    """Replies arrive at west: 99 of 100 hold there within a second, and at east within five, on each worker;
    and both nodes say so."""
    west, east = houses
    accounts = (
        "900001",
        next(one for one in ("900003", "900007", "900012") if owner(one, 2) != owner("900001", 2)),
    )
    people = [west.subscriber() for _ in range(REPLIES)]
    began: dict[str, float] = {}
    held: dict[House, list[float]] = {west: [], east: []}

    async def until_refused(house: House, sender: SenderSim) -> None:
        left = set(people)
        while left:
            tried = list(left & began.keys())
            asked = time.monotonic()
            answers = await asyncio.gather(*(sender.submit(MARKETING, [one], TEXT) for one in tried))
            refused = [one for one, said in zip(tried, answers, strict=True) if said.result == 110]
            held[house] += [asked - began[one] for one in refused]
            left -= set(refused)
            await asyncio.sleep(0.01)

    async with contextlib.AsyncExitStack() as stack:
        senders = [
            (house, await stack.enter_async_context(house.sender(account)))
            for house in houses
            for account in accounts
        ]
        for house in houses:
            await stack.enter_async_context(house.counted("refusal_effective_seconds_count", REPLIES))
        for one in people:
            assert (await senders[0][1].submit(MARKETING, [one], TEXT)).result == 0
        probing = [asyncio.create_task(until_refused(*one)) for one in senders]
        for one in people:
            began[one] = time.monotonic()
            assert await west.carrier.deliver(MARKETING, one, "R", account=accounts[0]) == 0
        await asyncio.gather(*probing)
    for house, most in ((west, 1.0), (east, 5.0)):
        assert len(held[house]) == 2 * REPLIES
        assert sorted(held[house])[int(0.99 * 2 * REPLIES) - 1] <= most
        assert await house.metric("refusal_effective_seconds_bucket", le=str(most)) >= 0.99 * REPLIES


async def test_a_record_is_shown_by_either_node(
    houses: tuple[House, House], ask: Asker, sent: tuple[str, list[str]]
) -> None:
    for house in houses:
        for identity in sent[1]:
            said = await ask.of(house).get("regulator", f"/records/{identity}")
            assert (said.status, said.body["id"], "text" in said.body) == (200, identity, False)
            foreign = await ask.of(house).get("fin", f"/records/{identity}")
            missing = await ask.of(house).get("fin", f"/records/{'00' * 16}")
            assert (foreign.status, foreign.body) == (404, missing.body)
    revealed = await ask("carrier", f"/records/{sent[1][1]}/reveal", {"reason": "核查"})
    assert revealed.status == 403  # this token has no such scope


async def test_commands_of_either_node_find_what_both_recorded(
    houses: tuple[House, House], sent: tuple[str, list[str]]
) -> None:
    subscriber, ids = sent
    west, east = houses
    for house, here, right in ((west, [], ids), (east, [], ids), (east, ["--here"], ids[1:])):
        code, out, err = await house.cli("records", "find", "--subscriber", subscriber, "--json", *here)
        assert (code, err, [one["id"] for one in json.loads(out)]) == (0, "", right)
    code, out, _ = await west.cli("records", "show", ids[1], "--json")
    assert (code, json.loads(out)["node"], "text" in json.loads(out)) == (0, "east", False)
    code, _, err = await west.cli("records", "show", ids[1], "--here")
    assert (code, ids[1] in err) == (1, True)


async def test_a_page_shows_both_nodes_records_and_names_who_is_missing(
    houses: tuple[House, House], client: aiohttp.ClientSession, ask: Asker, sent: tuple[str, list[str]]
) -> None:
    west, east = houses
    west.sql(
        """INSERT INTO sessions (hash, user_id, expires_at, address)
           SELECT %s, id, now() + interval '1 hour', '' FROM users WHERE login = 'regulator'""",
        hashlib.sha256(b"cookie").digest(),
    )
    place = f"http://{HOST}:{west._web}"
    headers = {"Cookie": "zm_session=cookie; zm_lang=en", "Origin": place}

    async def page() -> str:
        form = {"subscriber": sent[0], "reason": "核查"}
        async with client.post(f"{place}/timeline", data=form, headers=headers) as answer:
            return await answer.text()

    text = await page()
    assert all(f"/records/{identity}" in text for identity in sent[1])
    assert "Records may be missing" not in text
    async with client.get(f"{place}/records/{sent[1][1]}", headers=headers) as answer:
        assert (answer.status, "east" in await answer.text()) == (200, True)
    pid = east.signal("web", signal.SIGSTOP)
    began = time.monotonic()
    try:
        text = await page()
        assert time.monotonic() - began < 5.5
        assert "Records may be missing of: east (was not through in time)" in text
    finally:
        os.kill(pid, signal.SIGCONT)
    assert f"/records/{sent[1][0]}" in text
    assert f"/records/{sent[1][2]}" in text  # refused: known to the database


async def test_a_node_that_is_gone_is_named_and_the_rest_is_found(
    houses: tuple[House, House], ask: Asker, sent: tuple[str, list[str]]
) -> None:
    west, east = houses
    subscriber, ids = sent
    code, out, _ = await west.cli("nodes", "list", "--json")
    rows = json.loads(out)
    assert (code, [(row["name"], row["answers"]) for row in rows]) == (0, [("east", True), ("west", True)])
    code, _, err = await west.cli("nodes", "forget", "east", "--reason", "C-1")
    assert (code, "silent" in err) == (2, True)  # it would come back within a minute
    await east.stop()
    code, out, _ = await west.cli("nodes", "list")
    assert (code, "why=can't be reached" in out.splitlines()[0]) == (1, True)
    found, incomplete = await find(ask, subscriber)
    assert (found, incomplete) == (ids[:1], [{"node": "east", "why": "away"}])
    said = await ask("regulator", "/subscribers/timeline", {"subscriber": subscriber, "reason": "核查"})
    assert said.body["incomplete"] == [{"node": "east", "why": "away"}]
    unknown = await ask.get("regulator", f"/records/{ids[1]}")
    assert (unknown.status, unknown.body["code"], unknown.body["facts"]) == (
        503, "busy", {"incomplete": ["east"]},
    )  # fmt: skip
    assert (await ask.get("regulator", f"/records/{ids[0]}")).status == 200
    code, out, err = await west.cli("records", "find", "--subscriber", subscriber, "--json")
    assert (code, [one["id"] for one in json.loads(out)]) == (0, ids[:1])
    assert "node east can't be reached" in err
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=30)
    west.sql("UPDATE nodes SET seen_at = %s WHERE name = 'east'", old)  # it has nothing newer
    since = (old + datetime.timedelta(days=10)).isoformat()
    said = await ask(
        "regulator", "/records/find", {"subscriber": subscriber, "since": since, "reason": "核查"}
    )
    assert said.body["incomplete"] == []
    assert (await west.cli("nodes", "forget", "east", "--reason", "C-1"))[0] == 0
    assert west.sql("SELECT subject, reason FROM audit WHERE act = 'node.forget'") == [("nodes/east", "C-1")]
    assert await find(ask, subscriber) == (ids[:1], [])
