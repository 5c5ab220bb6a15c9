"""`zhengming allocation`, `dispute`, `document`, `alarm` and `import-run`, as an operator types them."""

import hashlib
from pathlib import Path

import psycopg
import pytest
from cast import fill
from shell import Shell

from gateway.commands.claims import ACTS

PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer<<>>\nstartxref\n9\n%%EOF\n"


@pytest.fixture
def shell(tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]) -> Shell:
    fill(database)
    return Shell(tmp_path, database, capsys)


def test_a_base_port_is_given_and_taken_back(shell: Shell, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as c:
        for code in ("PORTS", "RIVAL"):
            c.execute("INSERT INTO institutions (code, name, kind) VALUES (%s, '服务商', 'provider')", [code])
    by = ("--by", "checker")
    (made,) = shell.json("allocation", "add", "10690", "PORTS", "--from", "2026-01-01", *by)
    assert (made["number"], made["provider"], made["carrier"]) == ("10690", "PORTS", "mobile")
    assert made["valid_from"] == "2026-01-01T00:00:00+08:00"
    code, _, err = shell("allocation", "add", "106900", "RIVAL", *by)
    assert (code, "already allocated" in err) == (1, True)
    assert shell("allocation", "add", "10691", "NOBODY", *by)[0] == 2
    (ended,) = shell.json("allocation", "end", str(made["id"]), "--until", "2027-01-01", *by)
    assert ended["valid_until"] == "2027-01-01T00:00:00+08:00"
    assert shell.json("allocation", "list", *by) == [ended]
    (ended,) = shell.json("allocation", "end", str(made["id"]), *by)
    assert ended["valid_until"] is None


def test_a_dispute_is_filed_with_its_paper_and_decided(shell: Shell, tmp_path: Path) -> None:
    paper = tmp_path / "proof.pdf"
    paper.write_bytes(PDF)
    (handed,) = shell.json("document", "add", str(paper), "--kind", "filing", "--by", "bank")
    assert handed["sha256"] == hashlib.sha256(PDF).hexdigest()
    (made,) = shell.json(
        "dispute", "file", "10690001", "--grounds", "本行自用", "--document", handed["sha256"], "--by", "bank"
    )
    assert (made["status"], made["document_sha256"]) == ("open", handed["sha256"])
    decide = ("dispute", "decide", str(made["id"]), "--decision", "rejected", "--reason", "证据不足", "--by")
    assert shell(*decide, "bank")[0] == 2
    assert shell.json(*decide, "regulator")[0]["status"] == "rejected"
    assert shell(*decide, "regulator")[0] == 1  # it was decided
    assert [one["id"] for one in shell.json("dispute", "list", "--by", "auditor")] == [made["id"]]
    assert shell.json("dispute", "show", str(made["id"]), "--by", "bank")[0]["decision"] == "证据不足"
    paper.write_bytes(b"#!/bin/sh\n")
    for arguments in ((str(paper),), (str(tmp_path / "none"),), (str(paper), "--kind", "other kind")):
        code, out, err = shell("document", "add", *arguments, "--by", "bank")
        assert (code in (1, 2), out, err.startswith("zhengming: ")) == (True, "", True)


def test_an_alarm_is_acknowledged_once(shell: Shell, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as c:
        c.execute("INSERT INTO alarms (kind, detail) VALUES ('quota', '{}')")
    (alarm,) = shell.json("alarm", "list", "--unseen", "--by", "regulator")
    acknowledge = ("alarm", "acknowledge", str(alarm["id"]), "--by")
    assert shell(*acknowledge, "auditor")[0] == 2
    assert shell.json(*acknowledge, "regulator")[0]["acknowledged_by"] == "regulator"
    assert shell(*acknowledge, "regulator")[0] == 1
    assert shell.json("alarm", "list", "--unseen", "--by", "regulator") == []


def test_imports_are_listed_and_a_broken_glass_is_acknowledged(
    shell: Shell, database: str, tmp_path: Path
) -> None:
    file = tmp_path / "bans.csv"
    file.write_text("number,reason,case_reference\n10690009,r,c\nx,r,c\n")
    assert shell("import", "blacklist", str(file))[0] == 1
    with psycopg.connect(database, autocommit=True) as c:
        c.execute("INSERT INTO import_runs (kind, checker_id, approver_id, case_reference)"
                  " VALUES ('numbers', 1, 2, 'CASE-1')")  # fmt: skip
    brought, broken = shell.json("import-run", "list", "--by", "auditor")[-2:]
    counts = [brought[name] for name in ("rows", "accepted", "rejected")]
    assert (brought["kind"], brought["file_name"], counts) == ("blacklist", "bans.csv", [2, 1, 1])
    wanted = ("import-run", "list", "--break-glass", "--unseen", "--by", "regulator")
    assert shell.json(*wanted)[-1] == broken
    assert shell("import-run", "list", "--by", "bank")[0] == 2
    acknowledge = ("import-run", "acknowledge", str(broken["id"]), "--by")
    assert shell(*acknowledge, "auditor")[0] == 2
    (seen,) = shell.json(*acknowledge, "regulator")
    assert (seen["case_reference"], seen["acknowledged_by"]) == ("CASE-1", "regulator")
    assert shell(*acknowledge, "regulator")[0] == 1
    assert broken["id"] not in [run["id"] for run in shell.json(*wanted)]


def test_every_act_has_a_row(shell: Shell) -> None:
    for what, doing in ACTS:
        code, out, _ = shell(what, doing, "--help")
        assert (code, f"zhengming {what} {doing}" in out) == (0, True)
