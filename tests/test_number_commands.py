"""`zhengming number`, as an operator types it: the same steps, the same two persons."""

from pathlib import Path
from typing import get_args

import psycopg
import pytest
from cast import fill
from shell import Shell

from gateway.commands.registry_arguments import FILED, STATES, STEPS
from gateway.registry import workflow
from gateway.registry.filings import FilingChange, FilingFilter


@pytest.fixture
def shell(tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]) -> Shell:
    fill(database)
    with psycopg.connect(database, autocommit=True) as connection:
        for number in ("10690001", "10690002"):
            connection.execute(
                """INSERT INTO numbers (number, channels, purposes, institution_id, carrier)
                   SELECT %s, 1, 1, id, 'mobile' FROM institutions WHERE code = 'BANK'""",
                [number],
            )
        connection.execute(
            "INSERT INTO users (login, person_id, role) SELECT 'admin', id, 'admin' FROM persons LIMIT 1"
        )
    return Shell(tmp_path, database, capsys, "number")


def test_help_names_every_step_and_state() -> None:
    assert list(STEPS) == [step.name for step in workflow.STEPS]
    assert STATES == workflow.STATES == get_args(FilingFilter.model_fields["status"].annotation)[1:]
    fields = [name.removesuffix("_sha256") for name in FilingChange.model_fields]
    assert list(FILED) == fields


def test_filing_is_begun_changed_and_amended_by_command_line(shell: Shell) -> None:
    by = ("--by", "bank")
    code, (made,) = shell.tried(
        "draft", "1069 0003", "--purposes", "service", "--channels", "sms", "--signatures", "示例银行",
        "--carrier", "mobile", "--effective-from", "2026-01-01", "--extension-digits", "2", *by,
    )  # fmt: skip
    assert (code, made["number"], made["status"], made["purposes"]) == (0, "10690003", "draft", ["service"])
    identity = str(made["id"])
    for more, words in (
        (("--purposes", "spam"), "--purposes"),
        (("--agency", "NOBODY"), "agency"),
        (("--effective-from", "soon"), "--effective-from"),
        (("--extension-digits", "-1"), "--extension-digits"),
        (("--document", "x"), "--document"),
    ):
        code, out, err = shell("change", identity, *more, *by)
        assert (code, out, words in err) == (2, "", True), err
    assert shell.tried("change", identity, "--purposes", "marketing", "--signatures", "", *by)[0] == 0
    (shown,) = shell.json("show", identity, *by)
    assert (shown["purposes"], shown["signatures"], shown["extension_digits"]) == (["marketing"], [], 2)
    assert shell("amend", identity, *by)[0] == 1  # a draft is changed
    for step, who in (("submit", "bank"), ("check", "checker"), ("approve", "approver")):
        assert shell.tried(step, identity, "--by", who)[0] == 0
    code, (amended,) = shell.tried("amend", identity, "--purposes", "service", *by)
    assert (code, amended["status"], amended["purposes"]) == (0, "draft", ["service"])
    (shown,) = shell.json("show", str(amended["id"]), *by)
    assert (shown["supersedes"], shown["carrier"], shown["extension_digits"]) == (made["id"], "mobile", 2)
    assert shell("amend", identity, *by)[0] == 1  # one is under way
    for who in ("checker", "regulator", "auditor"):
        assert shell("draft", "10690009", "--purposes", "service", "--by", who)[0] == 2
    assert shell("draft", "0", "--purposes", "service", *by)[0] == 2


def test_number_lives_by_command_line(shell: Shell) -> None:
    code, drafts = shell.tried("list", "--by", "bank", "--status", "draft")
    ids = [str(row["id"]) for row in drafts]
    assert (code, len(ids)) == (0, 2)
    assert shell.tried("submit", *ids, "--by", "bank")[0] == 0
    assert shell.tried("check", *ids, "--by", "checker")[0] == 0
    code, said = shell.tried("approve", *ids, "--by", "checker.again")
    assert code == 1
    assert "another person" in said[0]["refused"]
    code, said = shell.tried("approve", ids[0], "--by", "approver")
    assert (code, said[0]["standing"]) == (0, "effective")
    code, said = shell.tried("suspend", ids[0], "--by", "regulator", "--cause", "投诉集中")
    assert (code, said[0]["standing"], said[0]["causes"]) == (0, "suspended", "held")
    assert shell("resume", ids[0], "--by", "regulator")[0] == 2  # no reason
    assert shell.tried("resume", ids[0], "--by", "regulator", "--reason", "已整改")[1][0]["causes"] == ""
    _, (shown,) = shell.tried("show", ids[0], "--by", "auditor")
    assert [one.split()[1] for one in shown["steps"]] == ["submit", "check", "approve"]
    code, _, err = shell("suspend", ids[0], "--by", "bank", "--cause", "x")
    assert code == 2
    assert "regulator" in err
    code, _, err = shell("list", "--by", "nobody")
    assert code == 2
    assert "checker" in err
    for doing in ("list", "show", "history", "approve"):  # it has no business role
        code, _, err = shell(doing, *ids[: doing != "list"], "--by", "admin")
        assert (code, "is of role admin" in err) == (2, True), err
