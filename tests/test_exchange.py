"""Import and export: good lines go in, bad ones come back with their cause, and a file is its own inverse."""

import asyncio
import csv
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import openpyxl
import pytest
from bureau import settle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playbook import GUARDED, UNGUARDED, eventually

from gateway.errors import NotReady, UsageError
from gateway.registry import exchange, intake, runs
from gateway.registry.exchange import ImportResult, export_file, import_file
from gateway.registry.keys import RegistryKey
from gateway.registry.kinds import KINDS
from gateway.registry.loading import BANNED
from gateway.registry.reading import CHUNK, REPORT
from gateway.registry.sheets import create_table

KEY = RegistryKey(bytes(32))
PERSONS = ("checker", "approver")
DIGEST = "ab" * 32

TABLES: dict[str, list[str]] = {
    "institutions": [
        "code,name,kind,licence_number,licence_scope,licence_until,verified_until,region",
        "B001,浙海示例银行,bank,L-1,marketing;collection;service,,2027-01-01,浙江杭州",
        "B002,示例消费金融,消费金融公司,,催收,2030-01-01,,",
        "A001,示例合作机构,agency,,none,,,",
    ],
    "mandates": [
        "institution,agency,channels,purposes,valid_from,valid_until,document_sha256",
        f"B001,A001,sms;voice,collection,2026-01-01,2027-01-01,{DIGEST}",
        "B002,A001,语音,催收;营销,,,",
    ],
    "accounts": [
        "carrier,protocol,account,holder,scope,refusal_manner,mass_manner,signature,line_kind,upstream,listener,"
        "callback,allowed_ips,max_connections",
        "mobile,cmpp,900001,B001,financial,report,reduce,by_carrier,robot,10.0.0.5:7890;10.0.0.6:7890,,"
        "10.0.0.7:8801,127.0.0.1;10.0.0.0/8;fd00::/8,4",
        "unicom,sip,sip:trunk@192.0.2.1,A001,,,,,,,,,,",
    ],
    "account_numbers": [
        "carrier,protocol,account,number,is_prefix,from,until",
        "mobile,cmpp,900001,1069 0001,,2026-01-01,2027-01-01T12:30:00+08:00",
        "mobile,cmpp,900001,1069,true,,",
        "unicom,sip,sip:trunk@192.0.2.1,0571,是,,",
    ],
    "numbers": [
        "number,extension_digits,channels,purposes,institution,agency,signatures,carrier,effective_from,"
        "effective_until,document_sha256",
        f"10690001,4,sms,marketing,B001,,【浙海示例银行】;示例银行,mobile,2026-01-01,2027-01-01,{DIGEST}",
        "0571-88886666,,voice,collection,B002,A001,,,,,",
        "4008123456,0,短信；语音,服务,B001,,,,,,",
    ],
    "blacklist": [
        "number,is_prefix,reason,case_reference",
        "13800000001,,冒充银行,案件-1",
        "1069999,true,=诈骗,C-2",
    ],
    "refusals": [
        "subscriber,institution,purposes,channels,source,at",
        "13800000001,B001,marketing,sms,reply,2026-01-01T10:00:00+08:00",
        "+8613800000002,,,,,",
    ],
    "consents": [
        "subscriber,institution,source,at,until,document_sha256",
        f"13800000001,B001,web,2026-01-01,2027-01-01,{DIGEST}",
        "13800000002,B002,,,,",
    ],
    "recipients": [
        "institution,subscriber,role,from,until",
        "B001,13800000001,debtor,2026-01-01,2027-01-01",
        "B002,+8613800000002,担保人,,",
    ],
    "released": [
        "subscriber,released_at",
        "13800000009,2026-01-01T00:00:00+08:00",
        "13800000009,2025-01-01",
    ],
}
Bring = Callable[..., Awaitable[ImportResult]]


@pytest.fixture
def bring(database: str, tmp_path: Path) -> Bring:
    """Write lines to a file and import it."""

    async def bring(
        kind: str, lines: Sequence[str], name: str = "", encoding: str = "utf-8", **options: Any
    ) -> ImportResult:
        path = tmp_path / (name or f"{kind}.csv")
        path.write_bytes("\n".join(lines).encode(encoding))
        return await import_file(kind, path, database, KEY, **options)

    return bring


@pytest.fixture
async def filled(bring: Bring) -> Bring:
    """A registry with rows of each kind."""
    for kind, lines in TABLES.items():
        result = await bring(kind, lines)
        assert (result.accepted, result.rejected) == (len(lines) - 1, 0), rejected(result)
    return bring


def rejected(result: ImportResult) -> list[dict[str, str]]:
    if result.rejected_path is None:
        return []
    with result.rejected_path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


async def content(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """All registry rows as a person would compare them, and the length of the change log."""
    connection = await asyncpg.connect(dsn)
    try:
        everything = {
            kind: [tuple(row) for row in await connection.fetch(f"SELECT * FROM {kind} ORDER BY id")]
            for kind in KINDS
        }
        everything["change_log"] = [tuple(row) for row in await connection.fetch("SELECT * FROM change_log")]
        return everything
    finally:
        await connection.close()


async def ask(dsn: str, query: str, *arguments: object) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def test_every_kind_twice_changes_nothing_the_second_time(filled: Bring, database: str) -> None:
    before = await content(database)
    for kind, lines in TABLES.items():
        result = await filled(kind, lines)
        assert (result.accepted, result.unchanged, result.rejected) == (0, len(lines) - 1, 0), kind
    assert await content(database) == before


@pytest.mark.parametrize("headers", ["en", "zh"])
@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
async def test_what_goes_out_comes_in_as_the_same(
    headers: str, suffix: str, filled: Bring, database: str, tmp_path: Path
) -> None:
    before = await content(database)
    for kind, lines in TABLES.items():
        path = tmp_path / f"out.{suffix}"
        told = await export_file(kind, path, database, KEY, headers=headers)
        assert told[:2] == (len(lines) - 1, 0)
        told = await ask(database, "SELECT count(*) FROM audit WHERE act = $1", f"export.{kind}")
        assert bool(told) == (
            kind in ("refusals", "consents", "recipients", "released", "complaints")
        )  # where full numbers went out
        result = await import_file(kind, path, database, KEY)
        assert (result.unchanged, result.rejected) == (len(lines) - 1, 0), (kind, rejected(result))
    assert await content(database) == before


async def empty(connection: asyncpg.Connection) -> None:
    """Take all rows out, as a DBA could who owns the tables."""
    await connection.execute(UNGUARDED)
    await connection.execute(f"TRUNCATE {', '.join(KINDS)} CASCADE")
    await connection.execute(GUARDED)


async def test_exports_into_an_empty_registry_make_the_same_registry(
    filled: Bring, database: str, tmp_path: Path
) -> None:
    first = {kind: tmp_path / f"first-{kind}.csv" for kind in KINDS}
    for kind, path in first.items():
        await export_file(kind, path, database, KEY)
    connection = await asyncpg.connect(database)
    await empty(connection)
    await connection.close()
    for kind, path in first.items():
        result = await import_file(kind, path, database, KEY, approve=PERSONS)
        assert result.rejected == 0, rejected(result)
        await export_file(kind, tmp_path / "second.csv", database, KEY)
        assert (tmp_path / "second.csv").read_bytes() == path.read_bytes(), kind


async def test_exports_disarm_formulas(filled: Bring, database: str, tmp_path: Path) -> None:
    for kind in KINDS:
        await export_file(kind, tmp_path / "out.csv", database, KEY)
        with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == [], kind


async def test_values_are_what_the_file_says(filled: Bring, database: str) -> None:
    connection = await asyncpg.connect(database)
    number = await connection.fetchrow("SELECT * FROM numbers WHERE number = '10690001'")
    assert number is not None
    assert number["channels"] == number["purposes"] == 1
    assert number["signatures"] == ["浙海示例银行", "示例银行"]
    assert number["effective_from"] == datetime.datetime(2025, 12, 31, 16, tzinfo=datetime.UTC)
    assert number["document_sha256"] == bytes.fromhex(DIGEST)
    assert number["status"] == "submitted"
    assert await connection.fetchval("SELECT number FROM numbers WHERE channels = 2") == "+8657188886666"
    assert await connection.fetchval("SELECT number FROM account_numbers WHERE account_id = 2") == "+86571"
    refusal = await connection.fetchrow("SELECT * FROM refusals ORDER BY id LIMIT 1")
    assert refusal is not None
    assert refusal["subscriber_hash"] == KEY.hash("+8613800000001")
    assert KEY.open(refusal["subscriber_sealed"]) == "+8613800000001"
    await connection.close()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
async def test_chinese_headers_in_every_encoding(encoding: str, bring: Bring, database: str) -> None:
    lines = ["机构代码,机构名称,机构类型,许可范围", "B001,浙海示例银行,银行,营销；催收"]
    assert (await bring("institutions", lines, encoding=encoding)).accepted == 1
    assert await ask(database, "SELECT name || licence_scope FROM institutions") == "浙海示例银行3"


async def test_xlsx_of_another_program(bring: Bring, database: str, tmp_path: Path) -> None:
    await bring("institutions", TABLES["institutions"])
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(["号码", "用途", "机构代码", "生效时间", "渠道"])
    book.active.append([13800000000, "营销", "B001", datetime.date(2026, 1, 1), "语音"])
    book.active.append([10690001234567890123, "营销", "B001", None, "短信"])
    book.save(tmp_path / "numbers.xlsx")
    result = await import_file("numbers", tmp_path / "numbers.xlsx", database, KEY)
    assert (result.accepted, result.rejected) == (1, 1)
    assert await ask(database, "SELECT number FROM numbers") == "+8613800000000"
    assert "scientific" in rejected(result)[0]["cause"]


async def test_bad_lines_come_back_with_line_column_value_and_cause(bring: Bring, tmp_path: Path) -> None:
    await bring("institutions", TABLES["institutions"])
    lines = [
        "号码,渠道,用途,机构代码",
        "10690001,短信,营销,B001",
        "88886666,短信,营销,B001",
        "10690002,传真,,B001",
        "10690003,短信,营销,B404",
        "10690001,短信,营销,B001",
        '10690004,"短信,营销,B001',
        "10690005,短信,营销,B001",
    ]
    result = await bring("numbers", lines)
    assert result == ImportResult(7, 2, 5, 0, tmp_path / "numbers.csv.rejected.csv")
    rows = rejected(result)
    assert list(rows[0]) == [*REPORT, "号码", "渠道", "用途", "机构代码"]
    assert [(r["line"], r["column"], r["value"]) for r in rows[:4]] == [
        ("3", "number", "88886666"),
        ("4", "channels; purposes", "传真; "),
        ("5", "institution", "B404"),
        ("6", "number", "10690001"),
    ]
    assert rows[0]["cause"] == "cannot be read as a telephone number"
    assert rows[0]["原因"] == "无法识别为电话号码"
    assert "106…" in rows[0]["expected"]
    assert "106…" in rows[0]["正确写法"]
    assert "line 2" in rows[3]["cause"]
    assert rows[4]["line"] == "7"
    assert "quotation" in rows[4]["cause"]
    assert rows[2]["号码"] == "10690003"


async def test_corrected_rejects_come_in_as_they_are(bring: Bring, tmp_path: Path) -> None:
    first = await bring("institutions", ["code,name,kind", "B001,甲,bnak", "B002,乙,bank"])
    assert first.rejected_path is not None
    corrected = tmp_path / "corrected.csv"
    corrected.write_text(first.rejected_path.read_text(encoding="utf-8-sig").replace("bnak", "bank"), "utf-8")
    second = await bring("institutions", corrected.read_text("utf-8").splitlines(), "corrected.csv")
    assert (second.accepted, second.rejected, second.rejected_path) == (1, 0, None)


async def test_a_good_run_removes_the_report_of_a_bad_one(bring: Bring) -> None:
    bad = await bring("institutions", ["code,name,kind", "B001,甲,x"])
    assert bad.rejected_path is not None
    assert bad.rejected_path.stat().st_mode & 0o077 == 0
    await bring("institutions", ["code,name,kind", "B001,甲,bank"], dry_run=True)
    assert bad.rejected_path.exists()  # a look changes nothing, and somebody may be correcting it
    await bring("institutions", ["code,name,kind", "B001,甲,bank"])
    assert not bad.rejected_path.exists()


async def test_dry_run_says_the_same_and_writes_nothing(bring: Bring, database: str) -> None:
    await bring("institutions", TABLES["institutions"])
    before = await content(database)
    lines = [*TABLES["numbers"], "10690009,,sms,marketing,B404,,,,,,"]
    dry = await bring("numbers", lines, dry_run=True)
    assert await content(database) == before
    wet = await bring("numbers", lines)
    assert dry == wet
    assert (wet.accepted, wet.rejected) == (3, 1)


async def test_approval_takes_two_persons(filled: Bring, database: str) -> None:
    for persons in [("", "B"), ("A", " "), ("A", "a"), ("Ａ", "A")]:
        with pytest.raises(UsageError, match="two"):
            await filled("numbers", TABLES["numbers"], approve=persons)
    result = await filled("numbers", TABLES["numbers"], approve=PERSONS)
    assert result.accepted == 3
    assert await ask(database, "SELECT count(*) FROM numbers WHERE status = 'approved'") == 3
    assert await ask(database, "SELECT checked_by || approved_by FROM numbers LIMIT 1") == "checkerapprover"
    again = await filled("numbers", TABLES["numbers"], approve=("C", "D"))
    assert (again.accepted, again.unchanged) == (0, 3)


async def imported(database: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Act, reason and detail of what the audit says of the newest import."""
    c = await asyncpg.connect(database)
    try:
        rows = await c.fetch(
            "SELECT act, reason, detail FROM audit WHERE act LIKE 'import.%' ORDER BY id DESC LIMIT 2"
        )
    finally:
        await c.close()
    return [(row["act"], row["reason"], json.loads(row["detail"])) for row in reversed(rows)]


async def test_break_glass_is_written_down(filled: Bring, database: str) -> None:
    await filled("numbers", TABLES["numbers"], approve=PERSONS, break_glass="案件-9")
    assert await ask(database, "SELECT approved_by FROM numbers LIMIT 1") == "approver [break-glass 案件-9]"
    begun, ended = await imported(database)
    who = {"kind": "numbers", "file": "numbers.csv", "checker_name": "checker", "approver_name": "approver"}
    assert (begun[:2], begun[2].items() >= who.items()) == (("import.begin", "案件-9"), True)
    counts = {"rows": 3, "accepted": 3, "rejected": 0}
    assert ended == ("import.numbers", "案件-9", begun[2] | counts)
    persons = [await ask(database, "SELECT id FROM persons WHERE name = $1", name) for name in PERSONS]
    assert [begun[2]["checker"], begun[2]["approver"]] == persons
    assert await ask(database, "SELECT audit_broken()") is None


async def test_the_run_of_a_killed_import_is_closed_at_once_and_no_living_one(database: str) -> None:
    c = await asyncpg.connect(database)
    try:
        await c.execute("INSERT INTO import_runs (kind) VALUES ('numbers')")  # by hand: it has a day

        async def left_open() -> list[str]:
            await runs.close_killed(c, datetime.timedelta(days=1))
            rows = await c.fetch("SELECT file_name FROM import_runs WHERE closed_at IS NULL ORDER BY id")
            return [row["file_name"] for row in rows]

        async def stands(*names: str) -> bool:
            return await left_open() == list(names)

        persons = intake.Persons.of(PERSONS, "")
        kind, how = KINDS["numbers"], {"dry_run": False}
        async with intake.Intake.open(database, kind, KEY, persons, file_name="a.csv", **how) as living:
            async with intake.Intake.open(database, kind, KEY, persons, file_name="b.csv", **how) as killed:
                await living.open_run()
                run = await killed.open_run()
                await killed.go_on(run, rows=5, accepted=4, rejected=1)
                assert await stands("", "a.csv", "b.csv")
            await eventually(lambda: stands("", "a.csv"))  # its session has gone
            _, (act, _, detail) = await imported(database)
            assert (act, detail["file"], detail["approver_name"]) == ("import.killed", "b.csv", PERSONS[1])
            assert [detail[count] for count in ("rows", "accepted", "rejected")] == [5, 4, 1]
        await eventually(lambda: stands(""))
        await runs.close_killed(c, datetime.timedelta(0))
        assert await stands()
    finally:
        await c.close()


async def test_an_approved_number_is_not_changed_by_nobody(filled: Bring, database: str) -> None:
    await filled("numbers", TABLES["numbers"], approve=PERSONS)
    assert (await filled("numbers", TABLES["numbers"])).unchanged == 3
    changed = [line.replace("marketing", "service") for line in TABLES["numbers"]]
    result = await filled("numbers", changed)
    assert (result.unchanged, result.rejected) == (2, 1)
    assert "two persons" in rejected(result)[0]["cause"]
    assert (await filled("numbers", changed, approve=PERSONS)).accepted == 1
    assert await ask(database, "SELECT purposes FROM numbers WHERE number = '10690001'") == 4


async def test_what_another_holder_filed_is_a_bad_line(filled: Bring) -> None:
    lines = [
        "number,extension_digits,channels,purposes,institution,effective_from,effective_until",
        "106900011,0,sms,marketing,B002,,",
        "10690001,0,voice,marketing,B002,,",
        "10690001,0,sms,marketing,B002,2027-01-01,",
        "106900012,0,sms,marketing,B001,,",
        "10695000,4,sms,marketing,B002,,",
        "10695000123,0,sms,marketing,B001,,",
    ]
    result = await filled("numbers", lines)
    assert [(row["line"], row["cause"]) for row in rejected(result)] == [
        ("2", "already filed"),
        ("7", "already filed"),
    ]
    assert result.accepted == 4


async def test_one_bad_row_does_not_lose_its_batch(bring: Bring, database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("ALTER TABLE institutions ADD CHECK (name <> 'trap' OR code = '')")
    await connection.execute(
        "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.name = 'raise' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER trap BEFORE INSERT ON institutions FOR EACH ROW EXECUTE FUNCTION trap()"
    )
    await connection.close()
    names = {700: "trap", 701: "raise", 1999: "trap"}
    lines = ["code,name,kind", *(f"B{n},{names.get(n, 'good')},bank" for n in range(2 * CHUNK + 10))]
    result = await bring("institutions", lines)
    assert (result.accepted, result.rejected) == (2 * CHUNK + 7, 3)
    assert [row["line"] for row in rejected(result)] == ["702", "703", "2001"]
    assert "not this one" in rejected(result)[1]["cause"]


async def test_a_batch_is_tried_again_after_a_deadlock(bring: Bring, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = intake.Intake._put, iter([asyncpg.DeadlockDetectedError("deadlock")])

    async def put(self: Any, *arguments: Any) -> None:
        if problem := next(failures, None):
            raise problem
        await real(self, *arguments)

    monkeypatch.setattr(intake.Intake, "_put", put)
    assert (await bring("institutions", TABLES["institutions"])).accepted == 3


async def test_a_lost_database_is_an_error_and_ends_the_import(
    bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def put(self: Any, *_: Any) -> None:
        await self._connection.close()
        raise ConnectionResetError

    monkeypatch.setattr(intake.Intake, "_put", put)
    lines = ["code,name,kind", *(f"B{n},x,bank" for n in range(3 * CHUNK))]
    with pytest.raises((ConnectionError, asyncpg.InterfaceError)):
        await bring("institutions", lines)
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


@pytest.mark.parametrize(
    ("kind", "lines", "words"),
    [
        ("persons", ["code"], "kind 'persons'; right would be one of institutions"),
        ("institutions", ["code,name,kind,colour"], "colour"),
        ("institutions", ["code,name"], r"institutions\.csv: header: missing kind \(机构类型\)"),
        ("institutions", ["code;name;kind", "a;b;c"], "unknown 'code;name;kind'"),
    ],
)
async def test_wrong_use_is_said_before_anything_happens(
    kind: str, lines: list[str], words: str, bring: Bring
) -> None:
    with pytest.raises(UsageError, match=words):
        await bring(kind, lines, name="institutions.csv")


async def test_another_key_than_the_databases_is_refused(
    filled: Bring, database: str, tmp_path: Path
) -> None:
    path = tmp_path / "refusals.csv"
    with pytest.raises(UsageError, match="registry key"):
        await import_file("refusals", path, database, RegistryKey(b"x" * 32))


async def test_references_must_exist(bring: Bring) -> None:
    await bring("institutions", TABLES["institutions"])
    for kind, line, column in [
        ("mandates", "B001,A404,sms,marketing,,,", "agency"),
        ("mandates", "B001,B001,sms,marketing,,,", "agency"),
        ("accounts", "mars,cmpp,1,B001,,,,,,,,,,", "carrier"),
        ("accounts", "mobile,cmpp,1,B404,,,,,,,,,,", "holder"),
        ("account_numbers", "mobile,cmpp,none,10690001,,,", "account"),
        ("numbers", "10690001,0,sms,marketing,B001,A404,,,,,", "agency"),
        ("numbers", "10690001,0,sms,marketing,B001,,,mars,,,", "carrier"),
        ("refusals", "13800000000,B404,,,,", "institution"),
        ("consents", "13800000000,B404,,,,", "institution"),
        ("recipients", "B404,13800000000,,,", "institution"),
        ("recipients", "B001,13800000000,friend,,", "role"),
        ("recipients", "B001,13800000000,,,2020-01-01", "until"),
    ]:
        result = await bring(kind, [TABLES[kind][0], line])
        assert [(row["line"], row["column"]) for row in rejected(result)] == [("2", column)], (kind, line)


async def test_a_ban_that_stands_is_not_rewritten(filled: Bring, database: str) -> None:
    head, first, _ = TABLES["blacklist"]
    result = await filled("blacklist", [head, first, "1069999,true,another reason,C-9"])
    assert (result.accepted, result.unchanged, result.rejected) == (0, 1, 1)
    [line] = rejected(result)
    assert (line["line"], line["column"], line["cause"]) == ("3", "number", BANNED.cause)
    assert await ask(database, "SELECT case_reference FROM blacklist WHERE number = '1069999'") == "C-2"


async def test_a_revoked_mandate_does_not_come_back(filled: Bring, database: str) -> None:
    await ask(database, "UPDATE mandates SET status = 'revoked' RETURNING 1")
    result = await filled("mandates", TABLES["mandates"])
    assert (result.accepted, result.rejected) == (0, 2)
    assert "revoked" in rejected(result)[0]["cause"]


async def test_an_old_refusal_does_not_undo_a_lift(filled: Bring, database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute(UNGUARDED)
    await connection.execute("UPDATE refusals SET lifted_at = now(), lifted_by = 'subscriber'")
    await connection.close()
    result = await filled("refusals", TABLES["refusals"])
    assert (result.accepted, result.unchanged) == (1, 1)  # the one without a time is a new refusal


async def test_a_release_ends_what_is_older_whenever_it_comes_in(filled: Bring, database: str) -> None:
    """Consents and recipients end with the next release after them; what was refused, he refused for ever."""
    who = "13800000009"
    refused = [TABLES["refusals"][0], f"{who},B001,,,,2020-01-01"]
    agreed = [
        TABLES["consents"][0],
        f"{who},B001,web,2024-06-01,,",  # ends with the release of 2025
        f"{who},B001,web,2025-06-01,,",  # with that of 2026
        f"{who},B001,web,2025-07-01,2025-08-01,",  # had ended by itself
        f"{who},B001,web,2026-02-01,,",  # is the new subscriber's
    ]
    owing = [TABLES["recipients"][0], f"B001,{who},debtor,2025-06-01,2027-01-01"]
    ends = "SELECT array_agg(valid_until::date::text ORDER BY {1}) FROM {0} WHERE subscriber_hash = $1"
    hashed = KEY.hash(f"+86{who}")

    async def found() -> list[Any]:
        wanted = [("consents", "given_at"), ("recipients", "valid_from")]
        return [await ask(database, ends.format(*one), hashed) for one in wanted]

    for kind, lines in (("refusals", refused), ("consents", agreed), ("recipients", owing)):
        assert (await filled(kind, lines)).rejected == 0
        again = await filled(kind, lines)
        assert (again.accepted, again.unchanged) == (0, len(lines) - 1), kind
    before = [["2024-12-31", "2025-12-31", "2025-07-31", None], ["2025-12-31"]]
    assert await found() == before
    result = await filled("released", [TABLES["released"][0], f"{who},2025-07-15"], dry_run=True)
    assert (result.accepted, await found()) == (1, before)
    assert (await filled("released", [TABLES["released"][0], f"{who},2025-07-15"])).accepted == 1
    assert await found() == [["2024-12-31", "2025-07-14", "2025-07-14", None], ["2025-07-14"]]
    assert (await filled("released", [TABLES["released"][0], f"{who},2999-01-01"])).rejected == 1
    assert await ask(database, "SELECT lifted_at FROM refusals WHERE subscriber_hash = $1", hashed) is None


async def test_refusals_to_an_unfiled_number_survive(bring: Bring, database: str, tmp_path: Path) -> None:
    await bring("refusals", ["subscriber,number", "13800000000,10691234"])
    await export_file("refusals", tmp_path / "out.csv", database, KEY)
    assert (await import_file("refusals", tmp_path / "out.csv", database, KEY)).unchanged == 1
    assert await ask(database, "SELECT number FROM refusals WHERE institution_id IS NULL") == "10691234"


@pytest.mark.long
async def test_fifty_thousand_rows_in_short_transactions(bring: Bring, database: str, tmp_path: Path) -> None:
    await bring("institutions", TABLES["institutions"])
    path = tmp_path / "numbers.csv"
    sink = create_table(path, [])
    sink.write(["number", "channels", "purposes", "institution"])
    for index in range(50_000):
        sink.write([f"10690{index:06}", "sms", "marketing", ("B001", "B002")[index % 2]])
    sink.close()
    result = await import_file("numbers", path, database, KEY, approve=PERSONS, progress=True)
    assert (result.rows, result.accepted, result.rejected) == (50_000, 50_000, 0)
    most = "SELECT max(n) FROM (SELECT count(*) AS n FROM change_log GROUP BY xid) t"
    assert await ask(database, most) <= CHUNK


async def test_the_bar_is_shown_when_asked_for(
    bring: Bring, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await bring("institutions", TABLES["institutions"], progress=True)
    assert "institutions" in capsys.readouterr().err
    await bring("institutions", TABLES["institutions"])
    assert capsys.readouterr().err == ""  # short, and no terminal
    monkeypatch.setattr(exchange, "LINE_SECONDS", 0.0)
    await bring("institutions", TABLES["institutions"])
    assert capsys.readouterr().err == "institutions ← institutions.csv: 100%\n"


async def test_a_failed_export_leaves_what_was_there(
    filled: Bring, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(exchange, "_write_all", fail)
    with pytest.raises(NotReady, match="disk full"):
        await export_file("institutions", path, database, KEY)
    assert path.read_text() == "before"
    assert not (tmp_path / "out.csv.part").exists()


@pytest.mark.parametrize(
    ("number", "is_prefix"),
    [
        ("110", False),
        ("12321", False),
        ("1008", True),
        ("100", True),
        ("123", True),
        ("11", True),
        ("10086", True),
    ],
)
async def test_protected_numbers_cannot_be_banned_by_any_hand(
    number: str, is_prefix: bool, bring: Bring, database: str
) -> None:
    result = await bring("blacklist", [TABLES["blacklist"][0], f"{number},{is_prefix},r,c"])
    assert result.rejected == 1
    columns = "number, is_prefix, reason, case_reference"
    insert = f"INSERT INTO blacklist ({columns}) VALUES ($1, $2, 'r', 'c') RETURNING 1"
    with pytest.raises(asyncpg.CheckViolationError, match="protected"):
        await ask(database, insert, number, is_prefix)


async def test_a_ban_cannot_be_moved_onto_a_protected_number(database: str) -> None:
    columns = "number, is_prefix, reason, case_reference"
    await ask(database, f"INSERT INTO blacklist ({columns}) VALUES ('10690001', false, 'r', 'c') RETURNING 1")
    with pytest.raises(asyncpg.CheckViolationError, match="never rewritten"):
        await ask(database, "UPDATE blacklist SET number = '110' RETURNING 1")
    for change in ("DELETE FROM", "UPDATE", "TRUNCATE"):  # nor may the number be taken out of those
        rest = " SET name = ''" if change == "UPDATE" else ""
        with pytest.raises(asyncpg.RaiseError, match="keeps its rows"):
            await ask(database, f"{change} protected_numbers{rest}")
    await ask(database, "ALTER TABLE blacklist DISABLE TRIGGER blacklist_guarded")
    with pytest.raises(asyncpg.CheckViolationError, match="protected"):
        await ask(database, "UPDATE blacklist SET number = '110' RETURNING 1")


STATES: dict[str, str] = {
    "drafts": """INSERT INTO numbers (number, channels, purposes, institution_id)
                 SELECT '1069777' || i, 1, 1, (SELECT id FROM institutions WHERE code = 'B001')
                   FROM generate_series(1, 3) i ON CONFLICT DO NOTHING""",
    "returned": """INSERT INTO number_steps (number_id, step, reason) SELECT id, 'return', 'r' FROM numbers
                    WHERE status = 'submitted' AND carrier = 'mobile' LIMIT 1""",
    "checked": """INSERT INTO number_steps (number_id, step) SELECT id, 'check' FROM numbers
                   WHERE status = 'submitted' AND carrier = 'mobile' LIMIT 1""",
    "vetoed": """INSERT INTO number_steps (number_id, step, reason) SELECT id, 'veto', 'r' FROM numbers
                  WHERE status = 'submitted' LIMIT 1""",
    "approved": """INSERT INTO number_steps (number_id, step) SELECT id, 'approve' FROM numbers
                    WHERE status = 'checked'""",
    "amended": """INSERT INTO numbers (number, channels, purposes, institution_id, carrier, effective_from,
                                       version, supersedes, status)
                  SELECT number, channels, 4, institution_id, carrier, effective_from, version + 1, id,
                         'submitted' FROM numbers o
                   WHERE status = 'approved' AND NOT EXISTS (SELECT FROM numbers WHERE supersedes = o.id)""",
    "mandates": "UPDATE mandates SET status = 'revoked' WHERE id = (SELECT min(id) FROM mandates)",
    "bans": """INSERT INTO blacklist (number, is_prefix, reason, case_reference)
               VALUES ('1069', true, 'r', 'c'), ('10691', true, 'r', 'c') ON CONFLICT DO NOTHING""",
    "lifted": """UPDATE refusals SET lifted_at = now(), lifted_by = 'r1', lifted_reason = 'r',
                                     lifted_case = 'C'
                  WHERE lifted_at IS NULL AND id = (SELECT min(id) FROM refusals)""",
    "reply": """INSERT INTO refusals (subscriber_hash, key_id, subscriber_sealed, institution_id, purposes,
                                      channels, source, refused_at, flags)
                SELECT subscriber_hash, key_id, subscriber_sealed, institution_id, 3, 3, 'reply',
                       clock_timestamp(), '{unsure}' FROM refusals LIMIT 1""",
    "strangers": """INSERT INTO recipients (institution_id, subscriber_hash, key_id, subscriber_sealed, role,
                                            valid_from)
                    SELECT institution_id, subscriber_hash, key_id, subscriber_sealed, 'stranger', now()
                      FROM recipients ON CONFLICT DO NOTHING""",
    "closed": "UPDATE institutions SET status = 'closed' WHERE code = 'B002'",
    "held": "INSERT INTO holds (institution_id, cause) SELECT id, 'c' FROM institutions WHERE code = 'B001'",
}
"""Where rows of every kind may stand, each by the statement that brings some there."""
ACTING = {"checked": "c1", "returned": "c1", "approved": "c2", "vetoed": "r1", "lifted": "r1"}


@pytest.mark.long
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    states=st.lists(st.sampled_from(sorted(STATES)), max_size=12),
    suffix=st.sampled_from(["csv", "xlsx"]),
    headers=st.sampled_from(["en", "zh"]),
)
async def test_an_export_that_comes_in_again_changes_nothing_wherever_rows_stand(
    bring: Bring, database: str, tmp_path: Path, states: list[str], suffix: str, headers: str
) -> None:
    c = await asyncpg.connect(database)
    try:
        await empty(c)
        await settle(database, KEY)
        for kind, lines in TABLES.items():
            await bring(kind, lines)
        for state in states:
            await c.execute(
                "SELECT set_config('zhengming.user', (SELECT id::text FROM users WHERE login = $1), false)",
                ACTING.get(state, ""),
            )
            await c.execute(STATES[state])
    finally:
        await c.close()
    before = await content(database)
    for kind in KINDS:
        path = tmp_path / f"out.{suffix}"
        told = await export_file(kind, path, database, KEY, headers=headers)
        assert told.rows + told.left_out == len(before[kind])
        assert bool(told.which) or not told.left_out
        result = await import_file(kind, path, database, KEY)
        assert (result.unchanged, result.rejected) == (told.rows, 0), (kind, rejected(result))
    assert await content(database) == before


INSTANTS = st.one_of(
    st.none(),
    st.datetimes(
        datetime.datetime.fromisoformat("1993-01-01"),
        datetime.datetime.fromisoformat("2100-01-01"),
        timezones=st.just(datetime.UTC),
    ),
)
WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@pytest.mark.long
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "number": st.one_of(
                    st.from_regex(r"106[0-9]{3,9}", fullmatch=True),
                    st.from_regex(r"\+86138[0-9]{8}", fullmatch=True),
                    st.from_regex(r"\+865718[0-9]{7}", fullmatch=True),
                    st.from_regex(r"400[0-9]{7}", fullmatch=True),
                ),
                "extension_digits": st.integers(0, 3),
                "channels": st.integers(1, 3),
                "purposes": st.integers(1, 7),
                "signatures": st.lists(
                    WORDS.filter(lambda w: not set("【】;；") & set(w)), max_size=3, unique=True
                ),
                "carrier": st.sampled_from([None, "mobile", "unicom"]),
                "effective_from": INSTANTS,
                "document_sha256": st.none() | st.binary(min_size=32, max_size=32),
                "reason": WORDS,
                "suffix": st.sampled_from(["csv", "xlsx"]),
                "headers": st.sampled_from(["en", "zh"]),
            }
        ),
        max_size=8,
        unique_by=lambda row: row["number"],
    )
)
async def test_generated_registries_survive_the_journey(
    rows: list[dict[str, Any]], database: str, tmp_path: Path
) -> None:
    connection = await asyncpg.connect(database)
    await empty(connection)
    holder = await connection.fetchval(
        "INSERT INTO institutions (code, name, kind) VALUES ('B001', $1, 'bank') RETURNING id",
        rows[0]["reason"] if rows else "=1+1",
    )
    columns = [
        *("number", "extension_digits", "channels", "purposes"),
        *("signatures", "carrier", "effective_from", "document_sha256"),
    ]
    for row in rows:
        await connection.execute(
            f"INSERT INTO numbers (institution_id, status, {', '.join(columns)})"
            " VALUES ($1, 'submitted', $2, $3, $4, $5, $6, $7, $8, $9)",
            holder, *(row[column] for column in columns),
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO blacklist (number, reason, case_reference) VALUES ($1, $2, $2)",
            row["number"],
            row["reason"],
        )
    for kind in ("institutions", "numbers", "blacklist"):
        before = [tuple(r) for r in await connection.fetch(f"SELECT * FROM {kind} ORDER BY id")]
        form = rows[0] if rows else {"suffix": "csv", "headers": "zh"}
        path = tmp_path / f"out.{form['suffix']}"
        await export_file(kind, path, database, KEY, headers=form["headers"])
        result = await import_file(kind, path, database, KEY)
        assert result.rejected == 0, rejected(result)
        assert [tuple(r) for r in await connection.fetch(f"SELECT * FROM {kind} ORDER BY id")] == before
    await connection.close()


@pytest.mark.parametrize(
    ("kind", "row", "column", "cause"),
    [
        ("numbers", "10690088,0,sms,marketing,A001,,,,,,", "institution", "owns no number"),
        ("numbers", "10690088,0,sms,marketing,P001,,,,,,", "institution", "owns no number"),
        ("numbers", "10690088,0,sms,marketing,B001,B002,,,,,", "agency", "not an agency"),
        ("mandates", "A001,B001,sms,collection,,,", "institution", "gives no mandate"),
        ("mandates", "B001,B002,sms,collection,,,", "agency", "not an agency"),
        ("accounts", "mobile,cmpp,9000011,B001,,,,,,,,,,", "account", "login of cmpp"),
        ("accounts", "mobile,cmpp,９００００１,B001,,,,,,,,,,", "account", "login of cmpp"),
        ("accounts", "mobile,smgp,900000011,B001,,,,,,,,,,", "account", "login of smgp"),
        ("accounts", "mobile,cmpp,900001,B001,authority,,,,,,,,,", "scope", "not filed as an authority"),
        ("refusals", "13800000009,B001,,,,2999-01-01", "at", "in the future"),
        ("consents", "13800000009,B001,,2999-01-01,,", "at", "in the future"),
        ("institutions", "B009,名称,bank,,,,,,后来", "", "beyond the last column"),
    ],
)
async def test_rows_that_could_never_be_meant(
    filled: Bring, kind: str, row: str, column: str, cause: str
) -> None:
    """Each would take effect, or silently none: an agency's own number needs no mandate, a refusal dated
    ahead outlives every later word, a login of seven octets never comes."""
    await filled("institutions", ["code,name,kind", "P001,示例服务商,provider"])
    result = await filled(kind, [TABLES[kind][0], row])
    assert (result.accepted, result.rejected) == (0, 1)
    (told,) = rejected(result)
    assert told["column"] == column
    assert cause in told["cause"]
    assert told["原因"]
    assert told["正确写法"]


async def test_empty_cells_beyond_the_last_column_are_nothing(bring: Bring) -> None:
    result = await bring("institutions", ["code,name,kind", "B001,名称,bank,,, "])
    assert (result.accepted, result.rejected) == (1, 0)


async def test_a_line_too_long_does_not_decide_the_encoding(bring: Bring, database: str) -> None:
    """Its pieces begin and end inside characters; the other lines are still what they are."""
    result = await bring("institutions", ["code,name,kind", f"B001,{'长' * 2_000_000},bank", "B002,好,bank"])
    assert (result.accepted, result.rejected) == (1, 1)
    assert await ask(database, "SELECT name FROM institutions") == "好"


async def test_a_header_too_long_is_no_header(bring: Bring) -> None:
    with pytest.raises(UsageError, match="too long"):
        await bring("institutions", ["code,name,kind" + "," * 2_000_000, "B002,好,bank"])


SMALL = """
import asyncio, resource, sys
from pathlib import Path
from gateway.errors import NotReady
from gateway.registry.exchange import export_file, import_file
from gateway.registry.keys import RegistryKey
do, limit, path, dsn = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
act = {"import": import_file, "export": export_file}[do]
try:
    asyncio.run(act("institutions", Path(path), dsn, RegistryKey(bytes(32))))
except NotReady as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("do", "name", "limit", "told"),
    [
        ("export", "out.csv", 600, "out.csv"),
        ("export", "out.xlsx", 600, "out.xlsx"),
        ("import", "in.csv", 400_000, "in.csv.rejected.csv"),
        ("import", "in.csv", 600, ""),
    ],
)
def test_a_disk_without_room_is_told_with_the_place(
    database: str, tmp_path: Path, do: str, name: str, limit: int, told: str
) -> None:
    """A limit on the size of files stands for it: the write fails in the same place."""
    rows = [f"C{number:03d},名称{number},银行" for number in range(100)]
    (tmp_path / "all.csv").write_text("\n".join(["code,name,kind", *rows]), "utf-8")
    asyncio.run(import_file("institutions", tmp_path / "all.csv", database, KEY))
    bad = [f"{row}{'!' * 5000}" for row in rows]
    (tmp_path / "in.csv").write_text("\n".join(["code,name,kind", *bad]), "utf-8")
    command = [sys.executable, "-c", SMALL, do, str(limit), str(tmp_path / name), database]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    place = tmp_path / told if told else Path(tempfile.gettempdir())
    assert run.stdout.startswith(f"{place}: cannot be written: File too large"), run.stderr
    assert not told or not place.exists()


async def test_a_folder_is_no_file_to_write(bring: Bring, database: str, tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(UsageError, match=r"out\.csv: cannot be written: Is a directory"):
        await export_file("institutions", tmp_path / "out.csv", database, KEY)
    assert list(tmp_path.iterdir()) == [tmp_path / "out.csv"]
