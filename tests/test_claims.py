"""Allocations and disputes by HTTP: whoever meets an overlap learns that, and no more."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from office import Office


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with Office(database, tmp_path) as office:
        yield office


async def test_base_port_goes_to_one_provider(office: Office) -> None:
    made = await office.post("carrier", "/allocations", {"number": "10690", "provider": "SHOP"})
    assert (made.status, made.body["carrier"], made.body["provider"]) == (201, "mobile", "SHOP")
    await office.post("carrier", "/institutions", {"code": "SHOP2", "name": "另一服务商", "kind": "provider"})
    bank = await office.post("carrier", "/allocations", {"number": "10695", "provider": "BANK"})
    assert (bank.status, bank.body["field"]) == (422, "provider")
    inside = {"number": "106901", "provider": "SHOP2"}
    taken = await office.post("carrier2", "/allocations", inside)
    assert (taken.status, taken.body["code"]) == (409, "already_filed")
    path = f"/allocations/{made.body['id']}"
    assert (await office.get("provider", path)).body == made.body
    assert (await office.get("institution", path)).status == 403
    tag = {"If-Match": made.headers["ETag"]}
    ended = await office.ask("carrier", "PATCH", path, {"valid_until": "2026-01-01"}, headers=tag)
    assert (ended.status, ended.body["valid_until"]) == (200, "2026-01-01T00:00:00+08:00")
    after = inside | {"valid_from": "2026-01-01"}
    assert (await office.post("carrier2", "/allocations", after)).status == 201
    assert [one["number"] for one in (await office.get("provider", "/allocations")).body["items"]] == [
        "10690"
    ]
    said = await office.post("carrier", "/allocations", {"number": "10691", "provider": "NOBODY"})
    assert (said.status, said.body["field"]) == (422, "provider")


async def test_dispute_over_what_is_filed_already(office: Office) -> None:
    new = {"number": "10690001", "channels": ["sms"], "purposes": ["service"]}
    for who in ("institution", "institution2"):
        made = await office.post(who, "/numbers", new)
        said = await office.post(who, f"/numbers/{made.body['id']}/submit")
    assert (said.status, said.body["code"]) == (409, "already_filed")
    assert "BANK" not in str(said.body)
    filed = await office.post(
        "institution2", "/disputes", {"number": "10690001", "grounds": "自 2019 年使用"}
    )
    assert (filed.status, filed.body["status"], filed.body["overdue"]) == (201, "open", False)
    path = f"/disputes/{filed.body['id']}"
    assert (await office.get("institution", path)).status == 404
    bare = await office.post("institution2", "/disputes", {"number": "10690001", "grounds": " "})
    assert (bare.status, bare.body["field"]) == (422, "grounds")
    decision = {"decision": "rejected", "reason": "证据不足"}
    assert (await office.post("institution2", f"{path}/decide", decision)).status == 403
    done = await office.post("regulator", f"{path}/decide", decision)
    assert (done.status, done.body["status"], done.body["decision"]) == (200, "rejected", "证据不足")
    again = await office.post("regulator", f"{path}/decide", decision)
    assert (again.status, again.body["code"]) == (409, "wrong_state")
    office.sql("UPDATE disputes SET status = 'open', decided_by = NULL, due = '2026-01-01'")
    assert (await office.get("institution2", path)).body["overdue"] is True
    overdue = (await office.get("institution2", "/disputes?overdue=true")).body["items"]
    assert [(one["number"], one["escalated_to"]) for one in overdue] == [("10690001", None)]
    assert office.sql("SELECT escalate_overdue('2026-01-02')") == [(1,)]
    assert (await office.get("auditor", path)).body["escalated_to"] in ("regulator", "regulator2")
    office.sql("UPDATE disputes SET due = '2099-01-01'")
    assert (await office.get("regulator", "/disputes?overdue=true")).body["items"] == []
