"""`zhengming complaint`, `appeal` and `case`, as regulators and holders type them."""

import asyncio
import datetime
from pathlib import Path

import asyncpg
import pytest
from bureau import file_number, settle
from shell import Shell

from gateway import app, config
from gateway.commands import common
from gateway.commands.casework import roles_of
from gateway.registry.keys import load_key
from gateway.web.resources.casework import ENDPOINTS

R1, R2, BANK = ("--by", "r1"), ("--by", "r2"), ("--by", "bank")
COMPLAINT = (
    "--subscriber",
    "138 0000 0404",
    "--number",
    "10690001",
    "--channel",
    "sms",
    "--at",
    "2026-02-13T10:00",
)
ENDS = {
    "complaint receive": "POST /complaints",
    "complaint list": "GET /complaints",
    "complaint show": "GET /complaints/{id}",
    "complaint timeline": "GET /complaints/{id}/timeline",
    "complaint forward": "POST /complaints/{id}/forward",
    "complaint answer": "POST /complaints/{id}/answer",
    "appeal file": "POST /appeals",
    "appeal list": "GET /appeals",
    "appeal show": "GET /appeals/{id}",
    "appeal answer": "POST /appeals/{id}/answer",
    "case open": "POST /cases",
    "case list": "GET /cases",
    "case show": "GET /cases/{id}",
    "case change": "PATCH /cases/{id}",
    "case tie": "POST /cases/{id}/items",
    "case refer": "POST /cases/{id}/referral",
    "case close": "POST /cases/{id}/close",
}
"""Each command, and the endpoint that does the same."""


@pytest.fixture
def shell(tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]) -> Shell:
    made = Shell(tmp_path, database, capsys)

    async def fill() -> None:
        key = app.registry_key(config.load(made.config))
        key.parent.mkdir(parents=True)
        await settle(database, load_key(key))
        c = await asyncpg.connect(database)
        await file_number(c, "10690001", "BANK")
        await c.close()

    asyncio.run(fill())
    return made


def refused(shell: Shell, *arguments: str, code: int = 2) -> str:
    """What is said to wrong usage; with `code` 1 to what is not to be done now, or by him."""
    ended, out, err = shell(*arguments)
    assert (ended, out) == (code, "")
    return err


def test_every_act_is_for_those_who_may_do_it_by_http() -> None:
    roles = {endpoint.label: endpoint.roles for endpoint in ENDPOINTS}
    assert set(roles) == set(ENDS.values())
    for command, label in ENDS.items():
        kind, act = command.split()
        assert roles_of(kind, act) == roles[label], command


def test_a_complaint_and_its_case_go_their_way(shell: Shell) -> None:
    [made] = shell.json("complaint", "receive", *COMPLAINT, "--content", "一再收到", *R1)
    assert (made["subscriber"], made["institution"], made["status"]) == ("138****0404", "BANK", "open")
    number, case = str(made["id"]), str(made["case"])
    [theirs] = shell.json("complaint", "list", *BANK)
    assert (theirs["subscriber"], theirs["case"]) == (None, None)
    assert shell.json("complaint", "list", "--overdue", *R1) == []
    assert "role institution" in refused(shell, "complaint", "forward", number, *BANK)
    assert shell.json("complaint", "forward", number, *R1)[0]["status"] == "forwarded"
    assert "已转办" in refused(shell, "complaint", "forward", number, *R1, code=1)
    [done] = shell.json("complaint", "answer", number, "--answer", "已整改", *R2)
    assert (done["status"], done["answered_by"]) == ("answered", "r2")
    assert shell.json("complaint", "show", number, *R1) == [done]
    [changed] = shell.json("case", "change", case, "--title", "一再发送", "--assign", "r2", *R1)
    assert (changed["title"], changed["assigned_to"]) == ("一再发送", "r2")
    shell.json("case", "tie", case, "--kind", "number", "--reference", "1", "--note", "主叫", *R1)
    [file] = shell.json("case", "refer", case, "--authority", "市公安局", "--reason", "诈骗", *R2)
    assert [item["kind"] for item in file["items"]] == ["complaint", "number"]
    assert (file["status"], file["referrals"][0]["referred_by"]) == ("referred", "r2")
    [closed] = shell.json("case", "close", case, "--outcome", "已处罚", *R1)
    assert (closed["status"], closed["closed_by"]) == ("closed", "r1")
    assert "已结案" in refused(shell, "case", "close", case, "--outcome", "已处罚", *R1, code=1)
    assert shell.json("case", "list", "--status", "open", "--by", "audit") == []


def test_the_timeline_of_a_complaint_takes_a_reason_and_is_audited(shell: Shell) -> None:
    (shell.folder / "data" / "journal").mkdir()
    (made,) = shell.json("complaint", "receive", *COMPLAINT[:-1], days_ago(1), *R1)
    place = ("complaint", "timeline", str(made["id"]))
    assert "--reason" in refused(shell, *place, *R1)
    assert "regulator" in refused(shell, *place, "--reason", "核查", *BANK)
    (event,) = shell.json(*place, "--reason", "核查", *R2)
    assert (event["kind"], event["number"]) == ("complaint", "10690001")
    assert event["at"] == made["at"]
    acts = shell.json("audit", "list", "--subject", f"complaints/{made['id']}")
    assert [one["reason"] for one in acts if one["act"] == "subscriber.timeline"] == ["核查"]


def test_a_complaint_is_in_its_own_timeline_however_old_it_is(shell: Shell) -> None:
    (shell.folder / "data" / "journal").mkdir()
    (old,) = shell.json("complaint", "receive", *COMPLAINT[:-1], days_ago(400), *R1)
    (new,) = shell.json("complaint", "receive", *COMPLAINT[:-1], days_ago(1), *R1)
    for one in (old, new):
        shell.json("complaint", "forward", str(one["id"]), *R1)
    asked = ("--reason", "核查", *R1)
    (first, second) = shell.json("complaint", "timeline", str(new["id"]), *asked)
    assert (first["at"], second["at"]) == (old["at"], new["at"])  # the old one is open still
    shell.json("complaint", "answer", str(old["id"]), "--answer", "已处理", *R1)
    seen = [event["at"] for event in shell.json("complaint", "timeline", str(old["id"]), *asked)]
    assert seen == [old["at"], new["at"]]


def days_ago(days: int) -> str:
    return (datetime.datetime.now(common.SHANGHAI) - datetime.timedelta(days=days)).isoformat()


def test_an_appeal_is_answered_by_another_person(shell: Shell) -> None:
    [imposed] = shell.json("penalty", "impose", "BANK", "--cause", "骚扰", *R1)
    filed = ("appeal", "file", "--kind", "penalty", "--against", str(imposed["id"]), "--grounds", "事实不清")
    assert "role regulator" in refused(shell, *filed, *R1)
    [made] = shell.json(*filed, *BANK)
    answer = ("appeal", "answer", str(made["id"]), "--decision", "rejected", "--answer", "事实清楚")
    for author in ("r1", "r1b"):
        assert "author" in refused(shell, *answer, "--by", author, code=1)
    assert shell.json(*answer, *R2)[0]["status"] == "rejected"
    assert shell.json("appeal", "list", "--by", "fin") == []
    assert "no such appeal" in refused(shell, "appeal", "show", str(made["id"]), "--by", "fin", code=1)
    assert shell.json("appeal", "show", str(made["id"]), *BANK)[0]["answered_by"] is None


def test_a_hold_on_an_institution_is_placed_and_lifted(shell: Shell) -> None:
    (made,) = shell.json("hold", "place", "BANK", "--cause", "许可核查中", "--case", "C-7", *R1)
    assert (made["cause"], made["case_reference"], made["held_by"]) == ("许可核查中", "C-7", "r1")
    assert shell.json("hold", "list", "BANK", *BANK) == [made | {"held_by": "regulator"}]
    assert "role institution" in refused(shell, "hold", "lift", "BANK", "--reason", "x", *BANK)
    assert "'NONE'" in refused(shell, "hold", "place", "NONE", "--cause", "x", *R1)
    assert "cause" in refused(shell, "hold", "place", "BANK", "--cause", " ", *R1)
    over = ("hold", "place", "BANK", "--cause", "x", "--until", days_ago(1))
    assert "until" in refused(shell, *over, *R1)
    assert shell.json("hold", "lift", "BANK", "--reason", "核查完毕", *R2) == []
    assert "nothing suspends it" in refused(shell, "hold", "lift", "BANK", "--reason", "x", *R2, code=1)


WRONG = (
    (("complaint", "receive", *COMPLAINT, "--subscriber", "x", *R1), ("--subscriber 'x'", "such as 138")),
    (("complaint", "receive", *COMPLAINT, "--at", "2999-01-01", *R1), ("at", "past")),
    (("complaint", "receive", *COMPLAINT, "--at", "noon", *R1), ("--at 'noon'", "right would be")),
    (("complaint", "answer", "1", "--answer", " ", *R1), ("--answer", "1 to 4000")),
    (("complaint", "list"), ("--by",)),
    (("case", "open", "--title", " ", *R1), ("--title ' '",)),
    (("case", "open", "--title", "x", "--due", "2026-13-01", *R1), ("--due", "such as 2026-12-31")),
    (("case", "list", *BANK), ("role institution", "auditor or regulator")),
    (("case", "list", "--by", "nobody"), ("nobody", "r1")),
    (("appeal", "file", "--kind", "ban", "--against", "9", "--grounds", "x", *BANK), ("against '9'",)),
    (("appeal", "file", "--kind", "ban", "--against", "§", "--grounds", "x", *BANK), ("--against '§'",)),
)  # fmt: skip
"""What is typed, and words of what is answered."""


def test_what_is_wrong_is_named_with_what_would_be_right(shell: Shell) -> None:
    assert "no such complaint" in refused(shell, "complaint", "show", "77", *R1, code=1)
    for arguments, words in WRONG:
        err = refused(shell, *arguments)
        assert all(word in err for word in words), err


def test_a_case_is_changed_in_something(shell: Shell) -> None:
    [made] = shell.json("case", "open", "--title", "测试", "--due", "2099-01-01", *R1)
    assert made["due"] == "2099-01-01"
    assert "nothing to change" in refused(shell, "case", "change", str(made["id"]), *R1)
    assert "no active regulator" in refused(shell, "case", "change", str(made["id"]), "--assign", "bank", *R1)
    code, out, _ = shell("case", "list", *R1)
    assert (code, "title=测试" in out) == (0, True)
