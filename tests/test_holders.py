"""What an account sent is its holder's to see, whatever number it showed: who is refused learns why and may
appeal."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from office import Office

from gateway import model
from gateway.evidence import record as rec
from gateway.evidence.index import Shipper
from gateway.evidence.journal import Journal
from gateway.evidence.seal import Keys
from gateway.model import Finding, Reason, Verdict

SUBSCRIBER, NOBODYS = "+8613800000404", "106955550001"
UNREGISTERED = Verdict(Reason.UNREGISTERED, "", (Finding(Reason.UNREGISTERED, "", True),), NOBODYS)
OTHERS = Verdict(
    Reason.ACCOUNT_MISMATCH, "", (Finding(Reason.ACCOUNT_MISMATCH, "", True),), "10690001", 1, "BANK",
    purpose="marketing",
)  # fmt: skip


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    """Account 900001 is BANK's, 900002 AGENT's."""
    async with Office(database, tmp_path) as office:
        for login, holder in (("900001", "BANK"), ("900002", "AGENT")):
            made = await office.post(
                "carrier", "/accounts", {"protocol": "cmpp", "account": login, "holder": holder}
            )
            assert made.status == 201, made.body
        yield office


async def sent(office: Office, *what: tuple[str, Verdict]) -> list[str]:
    """Record an attempt of each account with this verdict, now, and ship it; the ids."""
    keys, node = Keys(office.folder / "keys"), office.config.node.name
    journal = Journal(office.folder / "journal", node, f"w{time.time_ns()}", keys)
    journal.start()
    ids = []
    for place, (login, verdict) in enumerate(what):
        account = model.AccountKey("mobile", "cmpp", login)
        judged = rec.judged(account, node, model.SMS, verdict.number, verdict, profile="p", lexicon="l")
        item = (judged, 0, 1, place, 0, 1, 1, 0, "", SUBSCRIBER, 8, 0, "内容".encode("utf-16-be"))
        (made,) = journal.attempts(time.time_ns() // 1_000_000, 7, [item], lambda error: None)
        ids.append(made.hex())
    await journal.sync()
    c: Any = await asyncpg.connect(office.dsn, server_settings={"zhengming.door": "node"})
    try:
        shipper = Shipper(
            office.dsn, office.folder / "journal", node, keys, office.key.lookup_key, kept_days=160
        )
        while await shipper.step(c):
            pass
    finally:
        await c.close()
        await journal.close()
    return ids


async def seen(office: Office, who: str) -> set[str]:
    """The attempts that a user is shown: the same by search, by list and one by one."""
    found = await office.post(who, "/records/find", {"subscriber": SUBSCRIBER, "reason": "核查"})
    assert (found.status, found.body["incomplete"]) == (200, [])
    listed = await office.get(who, "/intercepts", params={"limit": "1000"})
    ids = {one["id"] for one in found.body["items"]}
    assert {one["id"] for one in listed.body["items"]} == ids
    for one in ids:
        assert (await office.get(who, f"/records/{one}")).status == 200
    return ids


async def test_a_holder_sees_what_its_accounts_sent(office: Office) -> None:
    banks, agents, shown = await sent(
        office, ("900001", UNREGISTERED), ("900002", UNREGISTERED), ("900002", OTHERS)
    )
    assert await seen(office, "institution") == {banks, shown}  # a number of its own was shown by another
    assert await seen(office, "agency") == {agents, shown}
    assert await seen(office, "institution2") == set()
    assert await seen(office, "regulator") == {banks, agents, shown}
    page = await office.get("agency", "/intercepts", params={"limit": "1"})
    rest = await office.get("agency", "/intercepts", params={"limit": "1", "after": page.body["next"]})
    assert [page.body["items"][0]["id"], rest.body["items"][0]["id"]] == [shown, agents]
    told = await office.post("institution", f"/records/{banks}/reveal", {"reason": "核查"})
    assert (told.status, told.body["text"]) == (200, "内容")
    appeal = {"against_kind": "verdict", "against": banks, "grounds": "号码正在备案"}
    assert (await office.post("institution2", "/appeals", appeal)).status == 422
    assert (await office.post("institution", "/appeals", appeal)).status == 201


async def test_an_account_that_changed_hands_shows_what_it_sent_since(office: Office) -> None:
    (before,) = await sent(office, ("900001", UNREGISTERED))
    (account,) = (await office.get("institution", "/accounts")).body["items"]
    place = f"/accounts/{account['id']}"
    tag = {"If-Match": (await office.get("carrier", place)).headers["ETag"]}
    moved = await office.ask("carrier", "PATCH", place, {"holder": "FIN"}, headers=tag)
    assert moved.status == 200, moved.body
    (after,) = await sent(office, ("900001", UNREGISTERED))
    assert await seen(office, "institution2") == {after}
    assert await seen(office, "institution") == set()
    assert (await office.get("institution2", f"/records/{before}")).status == 404
