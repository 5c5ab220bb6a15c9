"""Tables out by HTTP: whose rows, in which form, subscribers only for a reason and on the audit."""

import asyncio
import csv
import io
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from conftest import database_of
from office import Office

from gateway.registry.exchange import EXPORTS, OPEN_KINDS
from gateway.registry.kinds import KINDS

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIBERS = sorted(set(KINDS) - set(OPEN_KINDS))
WHY = {"reason": "核对名单"}
NUMBERS = "number,purposes,institution,signatures,agency\n{0}1,service,{1},=1+1,\n{0}2,service,{1},,{2}\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(
    embedded: Any, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    """BANK and FIN each filed two numbers, one of them used by AGENT, and a draft; each has a refusal, BANK
    one more by a complaint."""
    with database_of(embedded.dsn, template, "exports") as dsn:
        async with Office(dsn, tmp_path_factory.mktemp("exports")) as office:
            for who, code, start, subscriber in (
                ("institution", "BANK", "1069100", "13800000001"),
                ("institution2", "FIN", "1069200", "13800000002"),
            ):
                table = NUMBERS.format(start, code, "AGENT" if code == "BANK" else "")
                headers = {"Content-Type": "text/csv"}
                done = await office.post(who, "/imports/numbers", data=table.encode(), headers=headers)
                assert done.body["accepted"] == 2, done.body
                await office.post(who, "/numbers", {"number": start + "3", "purposes": ["service"]})
                await office.post(who, "/refusals", {"subscriber": subscriber})
            office.sql("UPDATE refusals SET carrier = 'mobile'")
            complaint = {"subscriber": "13800000003", "number": "10691001", "channel": "sms",
                         "at": "2026-01-05T10:00:00+08:00", "source": "12321"}  # fmt: skip
            assert (await office.post("regulator", "/complaints", complaint)).status == 201
            office.sql("UPDATE numbers SET carrier = 'mobile' WHERE number = '10691001'")
            yield office


def lines(octets: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(octets.decode("utf-8-sig"))))


@pytest.mark.parametrize(
    ("who", "numbers"),
    [
        ("institution", ["10691001", "10691002"]),
        ("institution2", ["10692001", "10692002"]),
        ("agency", ["10691002"]),
        ("carrier", ["10691001", "10691002", "10692001", "10692002"]),
        ("auditor", ["10691001", "10691002", "10692001", "10692002"]),
    ],
)
async def test_each_takes_out_what_he_sees(office: Office, who: str, numbers: list[str]) -> None:
    said = await office.get(who, "/exports/numbers")
    assert (said.status, said.headers["X-Rows"]) == (200, str(len(numbers)))
    assert said.headers["Content-Disposition"] == 'attachment; filename="numbers.csv"'
    found = lines(said.body)
    assert [row["number"] for row in found] == numbers
    of = {row["number"]: (row["institution"], row["agency"], row["signatures"]) for row in found}
    if "10691002" in of:
        assert of["10691002"] == ("BANK", "AGENT", "")
    if "10691001" in of:
        assert of["10691001"] == ("BANK", "", "'=1+1")  # a spreadsheet does not run it
    if who.startswith("institution"):
        assert said.headers["X-Left-Out"].startswith("1 (drafts")


@pytest.mark.parametrize("who", sorted(EXPORTS))
async def test_a_role_has_its_kinds_and_no_others(office: Office, who: str) -> None:
    for kind in (*KINDS, "users", ".."):
        status = 404 if kind not in EXPORTS[who] else 200 if kind in OPEN_KINDS else 422
        assert (await office.get(who, f"/exports/{kind}")).status == status, kind
    reveals = set(EXPORTS[who]) - set(OPEN_KINDS)
    for kind in SUBSCRIBERS:
        status = 403 if not reveals else 200 if kind in reveals else 404
        assert (await office.post(who, f"/exports/{kind}", WHY)).status == status, kind
    assert (await office.get("admin", "/exports/numbers")).status == 403


@pytest.mark.parametrize(
    ("who", "subscribers"),
    [
        ("institution", ["1"]),
        ("institution2", ["2"]),
        ("auditor", ["1", "2", "3"]),
        ("regulator", ["1", "2", "3"]),
    ],
)
async def test_subscribers_go_out_in_full_for_a_reason_on_the_audit(
    office: Office, who: str, subscribers: list[str]
) -> None:
    """A bank is not told who complained of it, nor when it asks about one."""
    asked = {"subscriber": "13800000003", "reason": "核对名单"}
    found = {who: await office.post(who, "/refusals/find", asked) for who in ("institution", "regulator")}
    assert {who: len(said.body) for who, said in found.items()} == {"institution": 0, "regulator": 1}
    assert (await office.post(who, "/exports/refusals", {})).status == 422
    assert (await office.post(who, "/exports/refusals", {"reason": " "})).status == 422
    office.tokens["reader"] = office.token(who, ("read", "write"))
    assert (await office.post("reader", "/exports/refusals", WHY)).body["code"] == "scope_missing"
    ((before,),) = office.sql("SELECT coalesce(max(id), 0) FROM audit")
    said = await office.post(who, "/exports/refusals?headers=en", WHY)
    assert [row["subscriber"] for row in lines(said.body)] == [f"'+861380000000{n}" for n in subscribers]
    (act,) = office.sql(
        "SELECT u.login, act, reason, detail->>'rows', door FROM audit a JOIN users u ON u.id = a.user_id"
        " WHERE a.id > %s",
        before,
    )
    assert act == (who, "export.refusals", WHY["reason"], str(len(subscribers)), "api")


async def test_a_workbook_with_chinese_headers_and_nothing_stays_behind(office: Office) -> None:
    said = await office.get("institution", "/exports/numbers?format=xlsx&headers=zh")
    assert said.headers["Content-Type"].startswith("application/vnd.openxmlformats")
    with zipfile.ZipFile(io.BytesIO(said.body)) as book:
        assert "号码" in "".join(book.read(name).decode() for name in book.namelist() if "sharedS" in name
                               or "sheet1" in name)  # fmt: skip
    taken = {"Content-Type": said.headers["Content-Type"]}
    again = await office.post("institution", "/imports/numbers", data=said.body, headers=taken)
    assert (again.body["unchanged"], again.body["rejected"]) == (2, 0), again.body
    assert (await office.get("institution", "/exports/numbers?format=pdf")).status == 422
    assert not list((office.folder / "passing").iterdir())


async def test_who_brings_a_file_in_sees_how_far_it_is(office: Office) -> None:
    """His own alone; while it is under way the counts are of the batches that are in."""
    (own, *_) = (await office.get("institution", "/imports")).body["items"]
    assert (own["kind"], own["rows"], own["closed_at"] is None) == ("numbers", 2, False)
    ids = {who: {one["id"] for one in (await office.get(who, "/imports")).body["items"]}
           for who in ("institution", "institution2", "carrier")}  # fmt: skip
    assert (ids["institution"] & ids["institution2"], ids["carrier"]) == (set(), set())
    headers = {"Content-Type": "text/csv"}
    table = "number,purposes,institution\n" + "".join(f"10693{n:05d},service,BANK\n" for n in range(9000))
    whole = asyncio.create_task(
        office.post("institution", "/imports/numbers", data=table.encode(), headers=headers)
    )
    seen = []
    while not whole.done():
        newest = (await office.get("institution", "/imports?limit=1")).body["items"][0]
        if newest["id"] != own["id"]:
            seen.append((newest["rows"], newest["closed_at"] is None))
    assert (await whole).body["accepted"] == 9000
    assert seen == sorted(seen, key=lambda one: one[0])
    assert any(under_way and 0 < rows < 9000 for rows, under_way in seen), seen
    (done, before) = (await office.get("institution", "/imports?limit=2")).body["items"]
    assert (done["rows"], done["accepted"], before["id"]) == (9000, 9000, own["id"])
    assert (await office.get("agency", "/imports")).status == 403
