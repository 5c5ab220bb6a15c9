"""Institutions, mandates, accounts, consents and refusals by HTTP; each role its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from office import Office

BANK = {"code": "NEW", "name": "新银行", "kind": "bank", "region": "浙江省", "licence_scope": ["service"]}


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with Office(database, tmp_path) as office:
        yield office


async def change(office: Office, who: str, path: str, body: dict[str, Any]) -> Any:
    tag = (await office.get(who, path)).headers["ETag"]
    return await office.ask(who, "PATCH", path, body, headers={"If-Match": tag})


async def test_institution_is_registered_and_closed(office: Office) -> None:
    made = await office.post("carrier", "/institutions", BANK)
    assert (made.status, made.body["licence_scope"], made.body["status"]) == (201, ["service"], "active")
    again = await office.post("regulator", "/institutions", BANK)
    assert (again.status, again.body["code"]) == (409, "exists")
    assert (await office.post("institution", "/institutions", BANK)).status == 403
    path = f"/institutions/{made.body['id']}"
    closed = await change(office, "regulator", path, {"status": "closed", "licence_until": "2026-01-31"})
    assert (closed.status, closed.body["status"]) == (200, "closed")
    assert closed.body["licence_until"] == "2026-02-01T00:00:00+08:00", "the day belongs to it"
    assert closed.body["name"] == BANK["name"]
    for field, value in (("status", "active"), ("kind", "authority"), ("region", "")):
        said = await change(office, "carrier", path, {field: value, "licence_until": "2027-01-31"})
        assert (said.status, said.body["field"], said.body["value"]) == (403, field, value)
    for row, blamed in (
        ("NEW,新银行,authority,,2027-01-31", [(2, "kind", "only a regulator changes this")]),
        ("NEW,新银行,bank,浙江省宁波市,2027-01-31", [(2, "region", "only a regulator changes this")]),
        ("NEW,新银行,bank,,2028-01-31\nNEXT,又一银行,bank,浙江省宁波市,", []),  # no region: it stays
    ):
        done = await office.post(
            "carrier",
            "/imports/institutions",
            data=f"code,name,kind,region,licence_until\n{row}\n".encode(),
            headers={"Content-Type": "text/csv"},
        )
        assert [(one["line"], one["column"], one["cause"]) for one in done.body["lines"]] == blamed
    said = await change(office, "carrier", path, {"kind": "bank", "region": "浙江省", "status": "closed"})
    assert (said.status, said.body["licence_until"]) == (200, "2028-02-01T00:00:00+08:00")
    again = await change(office, "regulator", path, {"status": "active", "region": "浙江省杭州市"})
    assert (again.body["status"], again.body["region"]) == ("active", "浙江省杭州市")
    assert (await office.get("institution", path)).status == 404
    seen = await office.get("provider", "/institutions")
    assert [one["code"] for one in seen.body["items"]] == ["SHOP"]


async def test_licence_that_ends_takes_its_numbers_with_it(office: Office) -> None:
    filed = await office.post(
        "institution", "/numbers", {"number": "10690001", "channels": ["sms"], "purposes": ["service"]}
    )
    number = f"/numbers/{filed.body['id']}"
    for who, step in (("institution", "submit"), ("carrier", "check"), ("carrier2", "approve")):
        await office.post(who, f"{number}/{step}")
    bank = f"/institutions/{office.institutions['BANK']}"
    await change(office, "carrier", bank, {"licence_until": "2026-01-31T00:00:00+08:00"})
    seen = (await office.get("institution", number)).body
    assert (seen["standing"], seen["causes"]) == ("expired", ["institution_licence_lapsed"])


async def test_mandate_is_given_and_revoked_for_good(office: Office) -> None:
    await office.post("carrier", "/institutions", BANK | {"code": "HELP", "kind": "agency"})
    new = {"agency": "HELP", "purposes": ["collection"], "valid_from": "2026-01-01"}
    made = await office.post("institution", "/mandates", new)
    assert (made.status, made.body["institution"], made.body["agency"]) == (201, "BANK", "HELP")
    path = f"/mandates/{made.body['id']}"
    assert (await office.get("institution2", path)).status == 404
    wrong = await change(office, "institution", path, {"valid_until": "2025-01-01"})
    assert (wrong.status, wrong.body["field"]) == (422, "valid_until")
    assert (await change(office, "institution", path, {"valid_until": "2027-01-01"})).status == 200
    gone = await office.post("institution", f"{path}/revoke", {"reason": "合同终止"})
    assert (gone.status, gone.body["status"]) == (200, "revoked")
    assert (await office.post("institution", f"{path}/revoke")).body["code"] == "wrong_state"
    for field, body in (("agency", new | {"agency": "NOBODY"}), ("agency", new | {"agency": "BANK"}),
                        ("agency", new | {"agency": "FIN"}), ("agency", new | {"agency": "SHOP"}),
                        ("institution", new | {"institution": "FIN"})):  # fmt: skip
        said = await office.post("institution", "/mandates", body)
        assert (said.status, said.body["field"]) == (422, field)


async def test_account_shows_what_its_list_says(office: Office) -> None:
    new = {"protocol": "cmpp", "account": "900009", "holder": "BANK", "allowed_ips": ["192.0.2.0/24"],
           "upstream": ["127.0.0.1:7890"]}  # fmt: skip
    made = await office.post("carrier", "/accounts", new)
    assert (made.status, made.body["carrier"], made.body["allowed_ips"]) == (201, "mobile", ["192.0.2.0/24"])
    path = f"/accounts/{made.body['id']}"
    shown = [{"number": "10690001"}, {"number": "1069", "is_prefix": True, "valid_until": "2027-01-01"}]

    async def put_by(who: str, numbers: Any, tag: str = "*") -> Any:
        return await office.ask(who, "PUT", f"{path}/numbers", numbers, headers={"If-Match": tag})

    put = await put_by("carrier2", shown)
    assert [(one["number"], one["is_prefix"]) for one in put.body] == [("10690001", False), ("1069", True)]
    versions = office.sql("SELECT row_version FROM account_numbers ORDER BY id")
    fewer = await put_by("carrier", shown[1:])
    assert [one["number"] for one in fewer.body] == ["1069"]
    assert office.sql("SELECT row_version FROM account_numbers ORDER BY id") == versions[1:]  # untouched
    assert (await office.get("institution", f"{path}/numbers")).body == fewer.body
    assert (await office.get("institution2", f"{path}/numbers")).status == 404
    twice = await put_by("carrier", [{"number": "95588"}] * 2)
    assert (twice.status, twice.body["code"]) == (409, "exists")
    assert (await put_by("carrier", [])).body == []
    assert (await change(office, "carrier", path, {"holder": "FIN"})).body["holder"] == "FIN"
    bad = await office.post("carrier", "/accounts", new | {"account": "1", "upstream": ["nowhere"]})
    assert (bad.status, bad.body["field"]) == (422, "upstream.0")
    long = await office.post("carrier", "/accounts", new | {"account": "9000011"})  # no login has the room
    assert (long.status, long.body["field"], long.body["value"]) == (422, "account", "9000011")
    assert long.body["expected"] == "at most 6 letters, digits or signs of ASCII"


async def test_only_an_authority_has_an_account_of_its_scope(office: Office) -> None:
    """Which is judged by nearly no rule: by no hand, at no later change, and not by file."""
    new = {"protocol": "cmpp", "account": "900009", "holder": "BANK", "scope": "authority"}
    bank = await office.post("carrier", "/accounts", new)
    assert (bank.status, bank.body["field"], bank.body["value"]) == (422, "scope", "authority")
    assert "filed as an institution of kind authority" in bank.body["expected"]
    court = (await office.post("carrier", "/institutions", BANK | {"kind": "authority"})).body["id"]
    made = await office.post("carrier", "/accounts", new | {"holder": "NEW"})
    assert made.status == 201, made.body
    account = f"/accounts/{made.body['id']}"
    assert (await change(office, "carrier", account, {"holder": "BANK"})).body["field"] == "scope"
    other = await change(office, "regulator", f"/institutions/{court}", {"kind": "other"})
    assert (other.status, other.body["field"], other.body["value"]) == (422, "kind", "other")
    file = "code,name,kind\nNEW,新银行,bank\n".encode()
    headers = {"Content-Type": "text/csv"}
    done = await office.post("carrier", "/imports/institutions", data=file, headers=headers)
    assert [(one["line"], one["column"]) for one in done.body["lines"]] == [(2, "kind")]
    assert (await change(office, "carrier", account, {"scope": "other"})).status == 200
    assert (await change(office, "regulator", f"/institutions/{court}", {"kind": "other"})).status == 200


async def test_a_list_of_numbers_is_replaced_as_it_was_read(office: Office) -> None:
    """Whatever another hand did to it meanwhile, by HTTP or by file, is not lost."""
    new = {"protocol": "cmpp", "account": "900009", "holder": "BANK"}
    made = await office.post("carrier", "/accounts", new)
    path = f"/accounts/{made.body['id']}/numbers"

    async def tag() -> str:
        return str((await office.get("carrier", path)).headers["ETag"])

    async def put(numbers: Any, tag: str) -> tuple[int, str]:
        said = await office.ask("carrier", "PUT", path, numbers, headers={"If-Match": tag} if tag else {})
        return said.status, said.headers.get("ETag", "")

    empty = await tag()
    assert (await put([{"number": "10690001"}], ""))[0] == 428
    status, first = await put([{"number": "10690001"}], empty)
    assert (status, first) == (200, await tag())
    assert (await put([], empty))[0] == 412
    for change in (
        f"INSERT INTO account_numbers (account_id, number) VALUES ({made.body['id']}, '10690002')",
        "UPDATE account_numbers SET valid_until = '2099-01-01' WHERE number = '10690002'",
        "DELETE FROM account_numbers WHERE number = '10690002'",
    ):
        read = await tag()
        office.sql(change)
        assert (await put([], read))[0] == 412, change
    assert await tag() == first
    both = await asyncio.gather(*(put([{"number": f"1069000{n}"}], first) for n in (3, 4)))
    assert sorted(status for status, _ in both) == [200, 412]


async def test_subscriber_is_never_shown_in_full(office: Office) -> None:
    consent = {"subscriber": "13800000001", "source": "app", "at": "2026-01-31"}
    made = await office.post("institution", "/consents", consent)
    assert (made.status, made.body["subscriber"], made.body["institution"]) == (201, "138****0001", "BANK")
    assert (await office.post("institution", "/consents", consent)).status == 409
    path = f"/consents/{made.body['id']}"
    assert (await change(office, "institution", path, {"until": "2027-01-31"})).status == 200
    assert (await office.get("institution2", path)).status == 404
    no = await office.post("institution", "/refusals", {"subscriber": "13800000002", "source": "call"})
    assert (no.status, no.body["institution"]) == (201, "BANK")
    to_all = await office.post("regulator", "/refusals", {"subscriber": "13800000002", "source": "12321"})
    assert (to_all.status, to_all.body["institution"]) == (201, None)
    foreign = {"subscriber": "13800000002", "institution": "FIN"}
    assert (await office.post("institution", "/refusals", foreign)).status == 422
    lists = [await office.get("auditor", path) for path in ("/consents", "/refusals")]
    assert "13800000" not in str([one.body for one in lists])
    assert [len(one.body["items"]) for one in lists] == [1, 2]
    bad = await office.post("institution", "/refusals", {"subscriber": "95588"})
    assert (bad.status, bad.body["field"]) == (422, "subscriber")
    for path, said in (("/refusals", {}), ("/consents", {"source": "app"})):  # nobody has said it yet
        to_come = {"subscriber": "13800000003", "at": "2999-01-01"} | said
        ahead = await office.post("institution", path, to_come)
        assert (ahead.status, ahead.body["field"]) == (422, "at")
    assert "13800000" not in str(office.sql("SELECT detail::text FROM audit"))
