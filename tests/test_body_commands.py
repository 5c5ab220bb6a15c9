"""`zhengming institution`, `mandate`, `account`, `consent`, `refusal`, `export`, by who may type them."""

import asyncio
import csv
import getpass
from pathlib import Path

import psycopg
import pytest
from bureau import settle
from shell import Shell

from gateway import app, config
from gateway.registry.keys import load_key

R1, BANK, FIN, C1 = ("--by", "r1"), ("--by", "bank"), ("--by", "fin"), ("--by", "c1")
SUBSCRIBER, MASKED = "13800000404", "138****0404"


@pytest.fixture
def shell(tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]) -> Shell:
    made = Shell(tmp_path, database, capsys)
    key = app.registry_key(config.load(made.config))
    key.parent.mkdir(parents=True)
    asyncio.run(settle(database, load_key(key)))
    return made


def refused(shell: Shell, *arguments: str, code: int = 2) -> str:
    ended, out, err = shell(*arguments)
    assert (ended, out) == (code, "")
    return err


def test_an_institution_is_registered_and_changed(shell: Shell) -> None:
    new = ("institution", "add", "NEW", "--name", "新示例银行", "--kind", "bank", "--region", "浙江省温州市")
    (made,) = shell.json(*new, "--licence-scope", "service", "--licence-until", "2027-12-31", *R1)
    assert (made["code"], made["licence_scope"], made["region"]) == ("NEW", ["service"], "浙江省温州市")
    assert "--licence-scope" in refused(shell, *new, "--licence-scope", "all", *R1)
    assert "--kind" in refused(shell, "institution", "add", "X", "--name", "x", "--kind", "shop", *R1)
    assert "like it already" in refused(shell, *new, *R1, code=1)
    assert "role institution" in refused(shell, *new, *BANK)
    (changed,) = shell.json("institution", "change", "NEW", "--licence-until", "", "--status", "closed", *C1)
    assert (changed["licence_until"], changed["status"], changed["name"]) == (None, "closed", "新示例银行")
    assert shell.json("institution", "show", "NEW", "--by", "audit") == [changed]
    assert "nothing to change" in refused(shell, "institution", "change", "NEW", *C1)
    assert "'NONE'" in refused(shell, "institution", "show", "NONE", *C1)
    assert [one["code"] for one in shell.json("institution", "list", *BANK)] == ["BANK"]  # what one sees


def test_a_mandate_is_given_lengthened_and_revoked(shell: Shell) -> None:
    new = ("mandate", "add", "AGENT", "--purposes", "collection", "--valid-until", "2027-01-01")
    (made,) = shell.json(*new, *BANK)
    assert (made["institution"], made["agency"], made["channels"]) == ("BANK", "AGENT", ["sms", "voice"])
    place = str(made["id"])
    (changed,) = shell.json("mandate", "change", place, "--valid-until", "2028-01-01", *BANK)
    assert changed["valid_until"] == "2028-01-01T00:00:00+08:00"
    assert "no such thing" in refused(shell, "mandate", "show", place, *FIN, code=1)
    assert shell.json("mandate", "show", place, "--by", "agent") == [changed]
    (gone,) = shell.json("mandate", "revoke", place, "--reason", "合同终止", *BANK)
    assert gone["status"] == "revoked"
    assert "revoked" in refused(shell, "mandate", "revoke", place, *BANK, code=1)
    assert [one["status"] for one in shell.json("mandate", "list", "--by", "audit")] == ["revoked"]
    assert "agency 'SHOP'" in refused(shell, "mandate", "add", "SHOP", "--purposes", "service", *BANK)


def test_an_account_and_what_it_may_show(shell: Shell) -> None:
    new = ("account", "add", "900009", "--protocol", "cmpp", "--holder", "BANK", "--max-connections", "2")
    (made,) = shell.json(*new, "--allowed-ips", "192.0.2.0/24", *C1)
    assert (made["carrier"], made["max_connections"], made["scope"]) == ("mobile", 2, "financial")
    place = str(made["id"])
    (changed,) = shell.json("account", "change", place, "--scope", "other", "--allowed-ips", "", *C1)
    assert (changed["scope"], changed["allowed_ips"], changed["max_connections"]) == ("other", [], 2)
    numbers = shell.json("account", "set-numbers", place, "10690001", "1069*", "--until", "2027-01-01", *C1)
    assert [(one["number"], one["is_prefix"]) for one in numbers] == [("10690001", False), ("1069", True)]
    assert shell.json("account", "numbers", place, *BANK) == numbers
    assert "--number 'x'" in refused(shell, "account", "set-numbers", place, "x", *C1)
    assert shell.json("account", "set-numbers", place, *C1) == []
    (held,) = shell.json("account", "suspend", place, "--cause", "许可核查中", "--case", "C-7", *R1)
    assert shell.json("account", "holds", place, *BANK) == [held]
    assert shell.json("account", "resume", place, "--reason", "核查完毕", *R1) == []
    assert [one["account"] for one in shell.json("account", "list", *BANK)] == ["900009"]
    assert shell.json("account", "list", *FIN) == []


def test_a_consent_is_kept_and_changed(shell: Shell) -> None:
    (made,) = shell.json("consent", "add", SUBSCRIBER, "--source", "app", "--at", "2026-01-31", *BANK)
    assert (made["subscriber"], made["institution"]) == (MASKED, "BANK")
    (changed,) = shell.json("consent", "change", str(made["id"]), "--until", "2027-01-31", *BANK)
    assert changed["until"] == "2027-01-31T00:00:00+08:00"
    assert shell.json("consent", "show", str(made["id"]), "--by", "audit") == [changed]
    assert shell.json("consent", "list", *FIN) == []


def test_a_refusal_is_entered_found_and_ended(shell: Shell) -> None:
    (own,) = shell.json("refusal", "add", SUBSCRIBER, "--purposes", "marketing", "--source", "call", *BANK)
    (to_all,) = shell.json("refusal", "add", SUBSCRIBER, *R1)
    assert (own["institution"], to_all["institution"]) == ("BANK", None)
    find = ("refusal", "find", "+86 138 0000 0404", "--reason", "用户来电")
    assert [one["id"] for one in shell.json(*find, *R1)] == [own["id"], to_all["id"]]
    assert shell.json(*find, *BANK) == shell.json("refusal", "list", *BANK) == [own]
    assert shell.json("refusal", "show", str(own["id"]), *BANK) == [own]
    both = ("refusal", "lift", str(own["id"]), str(to_all["id"]))
    assert "--reason" in refused(shell, *both, *R1)
    assert "role institution" in refused(shell, *both, "--reason", "x", *BANK)
    ended = shell.json(*both, "--reason", "录入有误", *R1)
    assert [(one["lifted_by"], one["lifted_reason"]) for one in ended] == [("r1", "录入有误")] * 2
    assert "has ended" in refused(shell, *both, "--reason", "x", *R1, code=1)
    acts = shell.json("audit", "list", "--subject", f"refusals/{own['id']}")
    assert [(one["act"], one["reason"]) for one in acts] == [
        ("refusal.add", ""), ("refusal.lift", "录入有误"),
    ]  # fmt: skip
    (reply,) = shell.json("refusal", "add", SUBSCRIBER, "--source", "reply", *BANK)
    lift = ("refusal", "lift", str(reply["id"]), "--reason", "x", *R1)
    assert "a case" in refused(shell, *lift)
    assert shell.json(*lift, "--case", "C-9")[0]["lifted_case"] == "C-9"


def test_a_plain_export_is_the_contracts_and_on_the_audit(shell: Shell, tmp_path: Path) -> None:
    for who in (BANK, FIN):
        shell.json("refusal", "add", SUBSCRIBER, "--purposes", "marketing", *who)
    path = tmp_path / "out.csv"

    def exported(*more: str) -> list[str]:
        code, out, err = shell("export", "refusals", str(path), *more)
        assert (code, "rows written to" in out) == (0, True), err
        return [row["institution"] for row in csv.DictReader(path.read_text("utf-8-sig").splitlines())]

    assert exported() == ["BANK", "FIN"]
    assert exported(*BANK, "--reason", "核对") == ["BANK"]
    acts = shell.json("audit", "list", "--subject", "refusals")
    assert [(one["reason"], one.get("user", "")) for one in acts] == [
        (f"export by command line ({getpass.getuser()})", ""), ("核对", "bank"),
    ]  # fmt: skip
    assert "role agency" in refused(shell, "export", "refusals", str(path), "--by", "agent")


def test_a_user_gets_another_territory(shell: Shell) -> None:
    (changed,) = shell.json("user", "change", "r1", "--territory", "浙江省宁波市")
    assert changed["territory"] == "浙江省宁波市"
    assert shell.json("user", "change", "r1", "--territory", "")[0]["territory"] == ""
    assert "--territory" in refused(shell, "user", "change", "r1")


def test_what_a_filing_has_been_a_document_and_a_penalty_are_shown(
    shell: Shell, tmp_path: Path, database: str
) -> None:
    (draft,) = shell.json("number", "draft", "10690003", "--purposes", "service", *BANK)
    shell.json("number", "change", str(draft["id"]), "--purposes", "marketing", *BANK)
    was = shell.json("number", "history", str(draft["id"]), *BANK)
    assert [one["purposes"] for one in was] == [["service"], ["marketing"]]
    assert "no such number" in refused(shell, "number", "history", str(draft["id"]), *FIN, code=1)
    paper, copy = tmp_path / "proof.pdf", tmp_path / "copy.pdf"
    paper.write_bytes(b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer<<>>\nstartxref\n9\n%%EOF\n")
    (handed,) = shell.json("document", "add", str(paper), *BANK)
    assert shell("document", "get", handed["sha256"], str(copy), *BANK)[0] == 0
    assert copy.read_bytes() == paper.read_bytes()
    assert shell("document", "get", handed["sha256"], str(copy), *FIN)[0] == 1
    assert "SHA-256" in refused(shell, "document", "get", "x", str(copy), *BANK)
    (imposed,) = shell.json("penalty", "impose", "BANK", "--cause", "骚扰", *R1)
    assert shell.json("penalty", "show", str(imposed["id"]), *BANK)[0]["cause"] == "骚扰"
    with psycopg.connect(database, autocommit=True) as c:
        c.execute("INSERT INTO allocations (carrier, number, provider_id) SELECT 'mobile', '1069', id"
                  " FROM institutions WHERE code = 'SHOP'")  # fmt: skip
    assert shell.json("allocation", "show", "1", *C1)[0]["provider"] == "SHOP"
