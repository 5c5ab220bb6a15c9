"""Documents and tables that come in by HTTP."""

import hashlib
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openpyxl
import pytest
from office import Office, Said

from gateway.registry.documents import MOST, Documents, media_type

PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n%%EOF\n"
PNG = (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00"
       b"\x1f\x15\xc4\x89\x00\x00\x00\x00IEND\xaeB`\x82")  # fmt: skip
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9"


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with Office(database, tmp_path) as office:
        yield office


async def hand_in(
    office: Office, octets: bytes, who: str = "institution", kind: str = "application/pdf"
) -> Said:
    return await office.post(
        who, "/documents?kind=filing", data=io.BytesIO(octets), headers={"Content-Type": kind}
    )


async def bring(office: Office, who: str, kind: str, octets: bytes, query: str = "") -> Any:
    said = await office.post(
        who, f"/imports/{kind}{query}", data=octets, headers={"Content-Type": "text/csv"}
    )
    return said.body


@pytest.mark.parametrize(
    ("octets", "kind"), [(PDF, "application/pdf"), (PNG, "image/png"), (JPEG, "image/jpeg")]
)
async def test_document_is_kept_by_its_hash(office: Office, octets: bytes, kind: str) -> None:
    made = await hand_in(office, octets, kind="application/octet-stream")
    digest = hashlib.sha256(octets).hexdigest()
    assert (made.status, made.body) == (
        201, {"sha256": digest, "media_type": kind, "size": len(octets)},
    )  # fmt: skip
    kept = office.folder / "documents" / digest[:2] / digest
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (octets, 0o600)
    again = await hand_in(office, octets)
    assert again.body == made.body
    read = await office.get("institution", f"/documents/{digest}")
    assert (read.status, read.body, read.headers["Content-Type"]) == (200, octets, kind)
    assert os.listdir(office.folder / "documents") == [digest[:2]]  # noqa: PTH208


async def test_document_is_seen_by_those_who_see_what_names_it(office: Office) -> None:
    digest = (await hand_in(office, PDF)).body["sha256"]
    path = f"/documents/{digest}"
    filed = await office.post("institution", "/numbers", {
        "number": "10690001", "channels": ["sms"], "purposes": ["service"], "document_sha256": digest,
    })  # fmt: skip
    of = f"{path}?of=numbers/{filed.body['id']}"
    assert (await office.get("carrier", of)).status == 404  # a draft
    await office.post("institution", f"/numbers/{filed.body['id']}/submit")
    assert (await office.get("carrier", of)).body == PDF
    assert (await office.get("regulator", of)).body == PDF
    assert (await office.get("auditor", path)).body == PDF
    for who, place in (("institution2", of), ("institution2", path), ("agency", f"{path}?of=consents/1"),
                       ("carrier", f"{path}?of=numbers/999"), ("carrier", "/documents/" + "0" * 64),
                       ("carrier", "/documents/..%2f..%2fkeys")):  # fmt: skip
        assert (await office.get(who, place)).status == 404, (who, place)
    assert (await office.get("carrier", f"{path}?of=users/1")).status == 422
    thief = await office.post("institution2", "/numbers", {  # names what he never had
        "number": "10690002", "channels": ["sms"], "purposes": ["service"], "document_sha256": digest,
    })  # fmt: skip
    assert thief.status == 201
    assert (await office.get("institution2", f"{path}?of=numbers/{thief.body['id']}")).status == 404
    lent = await office.post("institution", "/mandates", {
        "agency": "AGENT", "purposes": ["service"], "document_sha256": digest,
    })  # fmt: skip
    assert (await office.get("agency", f"{path}?of=mandates/{lent.body['id']}")).body == PDF


@pytest.mark.parametrize(
    "octets", [b"MZ\x90\x00" + PDF, b"<html>%PDF-1.7", PNG[:7], JPEG[:2], PDF[:4], b"", b"PK\x03\x04"]
)
async def test_what_is_no_document_is_refused(office: Office, octets: bytes) -> None:
    said = await hand_in(office, octets)
    assert (said.status, said.body["code"]) == (415, "media_type")
    folder = office.folder / "documents"
    assert not folder.exists() or list(folder.iterdir()) == []


async def test_one_octet_too_many(office: Office) -> None:
    most = PDF[:9] + b"\n" * (MOST - len(PDF)) + PDF[9:]
    assert len(most) == MOST
    assert (await hand_in(office, most)).status == 201
    said = await hand_in(office, most + b"\n")
    assert (said.status, said.body["code"]) == (413, "too_large")


async def test_document_by_form(office: Office) -> None:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("file", PDF, filename="许可证.pdf", content_type="application/pdf")
    said = await office.post("carrier", "/documents?kind=licence", data=form)
    assert said.status == 201
    assert office.sql("SELECT name, kind FROM document_uses") == [("许可证.pdf", "licence")]


@pytest.mark.parametrize("octets", [PDF, PNG, JPEG + b"\x00\x00\x00\x18ftypmp42"])  # a phone's moving picture
async def test_document_is_known_by_its_head_in_whatever_pieces_it_comes(
    tmp_path: Path, octets: bytes
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for place in range(len(octets)):
            yield octets[place : place + 1]

    received = await Documents(tmp_path).receive(pieces())
    assert received.document.media_type == media_type(octets) != ""
    assert received.path.read_bytes() == octets


HEADER = "number,extension_digits,channels,purposes,institution,signatures,carrier\n"


async def test_table_of_numbers_goes_in_as_submitted(office: Office) -> None:
    rows = "".join(f"1069001{tail:03},0,sms,marketing,BANK,示例银行,mobile\n" for tail in range(200))
    table = (
        HEADER + rows + "10690020,0,sms,marketing,FIN,x,mobile\nabc,0,sms,service,BANK,x,mobile\n"
    ).encode()
    dry = await bring(office, "institution", "numbers", table, "?dry_run=true")
    assert (dry["accepted"], dry["rejected"]) == (200, 2)
    assert office.sql("SELECT count(*) FROM numbers") == [(0,)]
    done = await bring(office, "institution", "numbers", table)
    assert (done["rows"], done["accepted"], done["unchanged"], done["rejected"]) == (202, 200, 0, 2)
    assert [(one["line"], one["column"]) for one in done["lines"]] == [(202, "institution"), (203, "number")]
    assert done["lines"][0]["cause"] == "no institution has this code"
    users = office.sql("SELECT DISTINCT filed_by, status FROM numbers")
    assert users == [(office.users["institution"], "submitted")]
    assert office.sql("SELECT user_id, accepted, rejected FROM import_runs") == [
        (office.users["institution"], 200, 2)
    ]
    again = await bring(office, "institution", "numbers", table)
    assert (again["accepted"], again["unchanged"]) == (0, 200)
    page = await office.get("carrier", "/numbers?limit=1000&status=submitted")
    check = {"step": "check", "ids": [one["id"] for one in page.body["items"]]}
    assert len((await office.post("carrier", "/numbers/steps", check)).body["done"]) == 200
    changed = table.replace(b"sms,marketing,BANK", b"sms,service,BANK")
    kept = await bring(office, "institution", "numbers", changed)
    assert (kept["accepted"], kept["rejected"]) == (0, 202)  # what was checked is not changed by a file


async def test_workbook_by_form(office: Office) -> None:
    book = openpyxl.Workbook()
    for line in csv_lines(HEADER + "10690001,4,sms,marketing,BANK,示例银行,mobile\n"):
        book.active.append(line)
    octets = io.BytesIO()
    book.save(octets)
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("file", octets.getvalue(), filename="登记.xlsx")
    said = await office.post("institution", "/imports/numbers", data=form)
    assert (said.status, said.body["accepted"]) == (200, 1), said.body
    assert office.sql("SELECT file_name FROM import_runs") == [("登记.xlsx",)]


async def test_each_role_its_tables_and_its_rows(office: Office) -> None:
    assert (await bring(office, "institution", "blacklist", b"x\n"))["code"] == "not_found"
    assert (await bring(office, "carrier", "numbers", b"x\n"))["code"] == "not_found"
    for language, words in (("en", "header: unknown 'colour'"), ("zh", "表头：未知 'colour'；缺少 protocol")):
        headers = {"Content-Type": "text/csv", "Accept-Language": language}
        flaw = await office.post("carrier", "/imports/accounts", data=b"colour\nred\n", headers=headers)
        assert (flaw.body["field"], flaw.body["detail"][: len(words)]) == ("file", words)
        assert "max_connections" in flaw.body["expected"]
    table = b"carrier,protocol,account,holder\nmobile,cmpp,900001,BANK\nunicom,cmpp,900001,BANK\n"
    done = await bring(office, "carrier", "accounts", table)
    assert (done["accepted"], [one["column"] for one in done["lines"]]) == (1, ["carrier"])
    bans = "number,is_prefix,reason,case_reference\n10690009,false,诈骗,C-1\n12321,false,x,y\n".encode()
    done = await bring(office, "regulator", "blacklist", bans)
    assert (done["accepted"], [one["value"] for one in done["lines"]]) == (1, ["12321"])
    armed = await bring(office, "regulator", "blacklist", bans.replace(b"12321", b"=1+1"))
    assert [one["value"] for one in armed["lines"]] == ["=1+1"]  # JSON runs no formula
    assert office.sql("SELECT added_by FROM blacklist") == [("regulator",)]
    given = b"institution,agency,purposes\nBANK,AGENT,collection\nFIN,AGENT,collection\n"
    done = await bring(office, "institution", "mandates", given)
    assert (done["accepted"], [one["column"] for one in done["lines"]]) == (1, ["institution"])
    listed = b"institution,subscriber\nBANK,13800000777\nFIN,13800000777\n"
    done = await bring(office, "institution", "recipients", listed)
    assert (done["accepted"], [one["column"] for one in done["lines"]]) == (1, ["institution"])
    for kind, own in (
        ("mandates", b"agency,purposes\nAGENT,marketing\n"),
        ("numbers", "用途,号码,机构代码\n催收,10690002,\n".encode()),
        ("refusals", b"subscriber\n13800000778\n"),
    ):  # who leaves out whose rows they are, means his own
        assert (await bring(office, "institution", kind, own))["accepted"] == 1
    assert office.sql("SELECT code_of(institution_id) FROM refusals") == [("BANK",)]
    everybody = await bring(office, "institution", "refusals", b"subscriber,institution\n13800000778,\n")
    assert everybody["lines"][0]["expected"] == "your own code, or a file without this column"
    own = b"protocol,account,number\ncmpp,900001,10690002\n"
    assert (await bring(office, "carrier", "account_numbers", own))["accepted"] == 1
    assert (await bring(office, "carrier", "mandates", given))["code"] == "not_found"
    for octets, words in (
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old .xls"),
        (b"%PDF-1.7", "a PDF"),
    ):
        flaw = await bring(office, "institution", "numbers", octets)
        assert (flaw["field"], flaw["detail"][: len(words)]) == ("file", words)
        assert ".xlsx" in flaw["expected"]
    no = await bring(office, "institution", "refusals", b"subscriber,institution\n1380000777,BANK\n")
    assert "1380000777" not in str(no)
    assert no["rejected"] == 1


def csv_lines(text: str) -> list[list[str]]:
    return [line.split(",") for line in text.splitlines()]
