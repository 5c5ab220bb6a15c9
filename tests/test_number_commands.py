"""`zhengming number`, as an operator types it: the same steps, the same two persons."""

import asyncio
from pathlib import Path

import psycopg
import pytest
from cast import cast_of
from shell import Shell

from gateway.cli import STATES, STEPS
from gateway.registry import workflow


@pytest.fixture
def shell(tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]) -> Shell:
    async def fill() -> None:
        async with cast_of(database):
            pass

    asyncio.run(fill())
    with psycopg.connect(database, autocommit=True) as connection:
        for number in ("10690001", "10690002"):
            connection.execute(
                """INSERT INTO numbers (number, channels, purposes, institution_id, carrier)
                   SELECT %s, 1, 1, id, 'mobile' FROM institutions WHERE code = 'BANK'""",
                [number],
            )
    return Shell(tmp_path, database, capsys, "number")


def test_help_names_every_step_and_state() -> None:
    assert list(STEPS) == [step.name for step in workflow.STEPS]
    assert STATES == workflow.STATES


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
