"""Filing by HTTP, as a bank, an agency, a carrier and a regulator do it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from office import Office
from playbook import eventually

from gateway.web.resources import ENDPOINTS

DRAFT = {"number": "10690001", "extension_digits": 4, "channels": ["sms"], "purposes": ["marketing"],
         "signatures": ["示例银行"], "carrier": "mobile"}  # fmt: skip


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with Office(database, tmp_path) as office:
        yield office


async def draft(office: Office, who: str = "institution", **changes: Any) -> int:
    said = await office.post(who, "/numbers", DRAFT | changes)
    assert said.status == 201, said.body
    assert said.headers["Location"] == f"/api/v1/numbers/{said.body['id']}"
    return int(said.body["id"])


async def test_number_takes_effect_and_is_suspended_and_resumed(office: Office) -> None:
    made = await draft(office)
    steps = [("institution", "submit"), ("carrier", "check"), ("carrier", "approve"), ("carrier2", "approve")]
    said = [await office.post(who, f"/numbers/{made}/{step}") for who, step in steps]
    assert [one.status for one in said] == [200, 200, 409, 200]
    assert said[2].body["code"] == "same_person"
    assert (said[3].body["status"], said[3].body["standing"]) == ("approved", "effective")
    held = await office.post("regulator", f"/numbers/{made}/suspend", {"cause": "投诉集中"})
    assert (held.body["standing"], held.body["holds"][0]["cause"]) == ("suspended", "投诉集中")
    await office.post("regulator2", f"/numbers/{made}/suspend", {"cause": "核查"})
    which = await office.post("regulator", f"/numbers/{made}/resume", {"reason": "已整改"})
    assert (which.status, which.body["field"], len(which.body["facts"]["holds"])) == (422, "hold", 2)
    for hold in which.body["facts"]["holds"]:
        free = await office.post(
            "regulator", f"/numbers/{made}/resume", {"reason": "已整改", "hold": hold["id"]}
        )
    assert (free.status, free.body["standing"], free.body["holds"]) == (200, "effective", [])
    taken = await office.get("auditor", f"/numbers/{made}/steps")
    assert [one["step"] for one in taken.body["items"]] == ["submit", "check", "approve"]


async def test_no_change_is_lost_to_one_under_way(office: Office) -> None:
    """A row that another hand is changing is waited for, whoever may update it; what was read before is then
    no longer what stands."""
    filed = await draft(office)
    assert (await office.post("institution", f"/numbers/{filed}/submit")).status == 200
    unfiled = await draft(office, number="10690009", extension_digits=0)
    bank = office.institutions["BANK"]
    waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for table, who, method, path, body, change in (
        ("institutions", "carrier", "PATCH", f"/institutions/{bank}", {"name": "甲"}, "name = '乙'"),
        (
            "numbers",
            "institution",
            "PATCH",
            f"/numbers/{unfiled}",
            {"signatures": ["甲"]},
            "signatures = '{乙}'",
        ),
        ("numbers", "carrier", "POST", f"/numbers/{filed}/check", {}, "effective_until = '2099-01-01'"),
    ):
        tag = (await office.get(who, path.removesuffix("/check"))).headers["ETag"]
        with psycopg.connect(office.dsn, options="-c zhengming.door=node") as other:
            other.execute(f"UPDATE {table} SET {change} WHERE id = {path.split('/')[2]}")
            asked = asyncio.create_task(office.ask(who, method, path, body, headers={"If-Match": tag}))
            await eventually(lambda: office.sql(waits))
        said = await asked
        assert (said.status, said.body["code"]) == (412, "changed_meanwhile"), path
    for one in ENDPOINTS:
        if one.looks_at_versions:
            assert "{id}" in one.path
            office.sql(f"SELECT id, row_version FROM {one.table} LIMIT 0")


async def test_change_needs_the_version_that_was_read(office: Office) -> None:
    made = await draft(office)
    tag = (await office.get("institution", f"/numbers/{made}")).headers["ETag"]
    change = {"purposes": ["service"]}
    assert (await office.ask("institution", "PATCH", f"/numbers/{made}", change)).status == 428
    done = await office.ask("institution", "PATCH", f"/numbers/{made}", change, headers={"If-Match": tag})
    assert (done.status, done.body["purposes"], done.body["channels"]) == (200, ["service"], ["sms"])
    stale = await office.ask("institution", "PATCH", f"/numbers/{made}", change, headers={"If-Match": tag})
    assert (stale.status, stale.body["code"]) == (412, "changed_meanwhile")


async def test_history_has_all_that_it_was(office: Office) -> None:
    made = await draft(office)
    tag = {"If-Match": "*"}
    await office.ask("institution", "PATCH", f"/numbers/{made}", {"purposes": ["service"]}, headers=tag)
    await office.post("institution", f"/numbers/{made}/submit")
    was = (await office.get("institution", f"/numbers/{made}/history")).body
    assert [(one["status"], one["purposes"]) for one in was] == [
        ("draft", ["marketing"]), ("draft", ["service"]), ("submitted", ["service"]),
    ]  # fmt: skip
    assert [one["until"] is None for one in was] == [False, False, True]
    assert (await office.get("institution2", f"/numbers/{made}/history")).status == 404


async def test_bulk_step_names_each_that_could_not(office: Office) -> None:
    ids = [await draft(office, number=f"1069001{tail}") for tail in range(5)]
    foreign = await draft(office, "institution2", number="10690029")
    said = await office.post(
        "institution", "/numbers/steps", {"step": "submit", "ids": [*ids, foreign, ids[0]]}
    )
    assert (said.body["done"], [one["code"] for one in said.body["refused"]]) == (ids, ["not_found"])
    check = {"step": "check", "ids": ids[:4]}
    assert (await office.post("carrier", "/numbers/steps", check)).body["done"] == ids[:4]
    said = await office.post("carrier2", "/numbers/steps", {"step": "approve", "ids": ids})
    assert said.body["done"] == ids[:4]
    assert said.body["refused"][0]["code"] == "wrong_state"
    bare = await office.post("regulator", f"/numbers/{ids[0]}/revoke", {})
    assert (bare.status, bare.body["field"]) == (422, "reason")
    forbidden = await office.post("carrier", "/numbers/steps", {"step": "revoke", "ids": ids, "reason": "x"})
    assert forbidden.body["done"] == []


async def test_amendment_by_http(office: Office) -> None:
    made = await draft(office)
    early = await office.post("institution", f"/numbers/{made}/amend", {"purposes": ["service"]})
    assert (early.status, early.body["code"]) == (409, "wrong_state")
    for who, step in (("institution", "submit"), ("carrier", "check"), ("carrier2", "approve")):
        await office.post(who, f"/numbers/{made}/{step}")
    new = await office.post("institution", f"/numbers/{made}/amend", {"purposes": ["service"]})
    assert (new.status, new.body["version"], new.body["supersedes"]) == (201, 2, made)
    assert new.body["effective_from"] is None  # when it is approved
    again = await office.post("institution", f"/numbers/{made}/amend")
    assert (again.status, again.body["code"]) == (409, "exists")
    later = await draft(
        office, number="10690008", extension_digits=0, effective_from="2099-01-01T00:00:00+08:00"
    )
    for who, step in (("institution", "submit"), ("carrier", "check"), ("carrier2", "approve")):
        await office.post(who, f"/numbers/{later}/{step}")
    early = await office.post("institution", f"/numbers/{later}/amend", {"purposes": ["service"]})
    assert (
        early.body["effective_from"] == "2099-01-01T00:00:00+08:00"
    )  # what it amends is not in force before


async def test_flaw_is_said_in_the_words_of_imports(office: Office) -> None:
    said = await office.post("institution", "/numbers", DRAFT | {"number": "abc", "signatures": ["【】"]},
                             headers={"Accept-Language": "zh"})  # fmt: skip
    assert said.status == 422
    assert [one["field"] for one in said.body["errors"]] == ["signatures.0", "number"]
    assert "无法识别" in said.body["errors"][1]["detail"]


async def test_list_filters_and_pages(office: Office) -> None:
    ids = [await draft(office, number=f"1069004{tail}") for tail in range(5)]
    first = await office.get("institution", "/numbers?limit=2&status=draft")
    rest = await office.get("institution", f"/numbers?limit=9&after={first.body['next']}")
    assert [one["id"] for one in first.body["items"] + rest.body["items"]] == ids
    assert rest.body["next"] is None
    assert (await office.get("institution2", "/numbers")).body["items"] == []
    one = await office.get("institution", "/numbers?number=10690042")
    assert [found["id"] for found in one.body["items"]] == [ids[2]]
    assert (await office.get("institution", "/numbers?status=lost")).status == 422


async def test_only_an_authority_files_a_protected_number(office: Office) -> None:
    """By hand, in a change and by file: whoever sends from 110 is taken for the police."""
    for number, digits in (
        *(("110", 0), ("12321", 0), ("110", 2), ("96110", 0)),
        *(("1008611", 0), ("123456", 2), ("0571 12345", 0), ("057110086", 0)),  # within one; a city's line
    ):
        new = DRAFT | {"number": number, "extension_digits": digits}
        said = await office.post("institution", "/numbers", new)
        assert (said.status, said.body["field"]) == (422, "number"), number
    table = "number,purposes,institution,extension_digits\n"
    for line in ("12345,service,BANK,0", "057112345,service,BANK,0", "123406,service,BANK,0"):
        table += line + "\n"
    headers = {"Content-Type": "text/csv"}
    done = await office.post("institution", "/imports/numbers", data=table.encode(), headers=headers)
    assert [(one["line"], one["column"]) for one in done.body["lines"]] == [(2, "number"), (3, "number")]
    office.sql("UPDATE institutions SET kind = 'authority' WHERE code = 'BANK'")
    assert await draft(office, number="12345", extension_digits=0)


async def test_nobody_files_a_beginning_of_all_others_numbers(office: Office) -> None:
    """With 106 and twelve further digits one bank would have filed every other's number before it."""
    for number, digits in (
        ("106", 12),
        ("955", 4),
        ("400", 7),
        ("0571", 8),
    ):
        said = await office.post(
            "institution", "/numbers", DRAFT | {"number": number, "extension_digits": digits}
        )
        assert (said.status, said.body["field"]) == (422, "number"), number
        assert "at least" in said.body["expected"]
    made = await draft(office, number="106", extension_digits=0)
    tag = {"If-Match": "*"}
    wider = await office.ask("institution", "PATCH", f"/numbers/{made}", {"extension_digits": 2}, headers=tag)
    assert (wider.status, wider.body["field"]) == (422, "extension_digits")
    table = "number,purposes,institution,extension_digits\n106,service,BANK,12\n10690008,service,BANK,12\n"
    headers = {"Content-Type": "text/csv"}
    done = await office.post("institution", "/imports/numbers", data=table.encode(), headers=headers)
    assert [(one["line"], one["column"]) for one in done.body["lines"]] == [(2, "number")]
    columns = "number, extension_digits, channels, purposes, institution_id"
    for statement in (
        f"INSERT INTO numbers ({columns}) SELECT '106', 12, 1, 1, id FROM institutions WHERE code = 'BANK'",
        "UPDATE numbers SET extension_digits = 1 WHERE number = '106'",
    ):
        with pytest.raises(psycopg.errors.CheckViolation, match="other holders' numbers"):
            office.sql(statement)


async def test_a_filing_ends_after_it_begins(office: Office) -> None:
    span = {"effective_from": "2026-05-01", "effective_until": "2026-05-01"}
    said = await office.post("institution", "/numbers", DRAFT | span)
    assert (said.status, said.body["field"]) == (422, "effective_until")
    made = await draft(office, **span | {"effective_until": "2027-05-01"})
    for change in ({"effective_until": "2026-04-01"}, {"effective_from": "2027-05-02"}):
        said = await office.ask("institution", "PATCH", f"/numbers/{made}", change, headers={"If-Match": "*"})
        assert (said.status, said.body["field"]) == (422, "effective_until"), change


async def test_a_document_that_is_demanded_was_handed_in(database: str, tmp_path: Path) -> None:
    async with Office(database, tmp_path, {"registry": {"require_documents": True}}) as office:
        pdf = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer<<>>\nstartxref\n9\n%%EOF\n"
        for document in (None, "00" * 32):
            made = await draft(
                office, number="10690001" if document else "10690002", document_sha256=document
            )
            said = await office.post("institution", f"/numbers/{made}/submit")
            assert (said.status, said.body["field"]) == (422, "document_sha256")
        handed = await office.post(
            "institution", "/documents", data=pdf, headers={"Content-Type": "application/pdf"}
        )
        change = {"document_sha256": handed.body["sha256"]}
        await office.ask("institution", "PATCH", f"/numbers/{made}", change, headers={"If-Match": "*"})
        assert (await office.post("institution", f"/numbers/{made}/submit")).status == 200
