"""`zhengming user`, `token` and `audit`, as an operator types them."""

from pathlib import Path

import psycopg
import pytest
from shell import Shell


@pytest.fixture
def shell(tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, database, capsys)


def test_users_tokens_and_the_audit(shell: Shell, database: str) -> None:
    identity, password = shell.folder / "id", shell.folder / "password"
    identity.write_text("ID-1\n")
    password.write_text("a long enough password\n")
    secrets = ("--identity", str(identity), "--password", str(password))
    [made] = shell.json("user", "add", "reg", "--role", "regulator", "--person", "R1", *secrets)
    assert (made["login"], made["person"], made["proven"]) == ("reg", "R1", True)
    assert len(made["totp_secret"]) == 32
    [token] = shell.json("token", "create", "--role", "regulator", "--days", "5", "--scope", "read")
    assert (token["user"], token["scopes"]) == ("reg", ["read"])
    [other] = shell.json("token", "create", "--role", "carrier", "--carrier", "mobile")
    assert other["user"] == "carrier-mobile"
    assert [user["login"] for user in shell.json("user", "list")] == ["reg", "carrier-mobile"]
    listed = shell("token", "list", "--json")[1]
    assert token["token"] not in listed
    assert shell("token", "revoke", str(token["id"]))[0] == 0
    [disabled] = shell.json("user", "disable", "reg")
    assert disabled["status"] == "disabled"
    [enabled] = shell.json("user", "enable", "reg")
    assert enabled["status"] == "active"
    [renewed] = shell.json("user", "renew", "reg", "--password", str(password), "--totp")
    assert renewed["totp_secret"] != made["totp_secret"]
    [only] = shell.json("user", "renew", "reg", "--password", str(password))
    assert "totp_secret" not in only
    assert [act["act"] for act in shell.json("audit", "list")] == [
        *("user.add", "user.password", "user.totp", "token.create", "user.add", "token.create"),
        *("token.revoke", "user.change", "user.change", "user.password", "user.totp", "user.password"),
    ]
    assert shell("audit", "verify")[:2] == (0, "the audit's chain holds\n")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE audit DISABLE TRIGGER is_kept")
        connection.execute("UPDATE audit SET subject = 'users/9' WHERE id = 4")
    assert shell("audit", "verify")[:2] == (1, "the audit's chain does not hold at place 4\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("user", "add", "--role", "auditor"), "needs a login"),
        (("user", "add", "x", "--role", "king"), "right would be one of regulator, carrier"),
        (
            ("user", "add", "x", "--role", "institution", "--institution", "NONE"),
            "no institution has this code",
        ),
        (("user", "add", "x", "--role", "auditor", "--identity", "nowhere"), "right would be a text file"),
        (("token", "create"), "--role R or --user LOGIN"),
        (("token", "create", "--role", "auditor", "--days", "401"), "1 to 400"),
        (("token", "create", "--role", "auditor", "--scope", "all"), "one of read, write"),
        (("token", "revoke", "x"), "the id that `token list` shows"),
    ],
)
def test_wrong_usage_is_said(shell: Shell, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = shell(*arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_what_is_not_there_is_no_wrong_usage(shell: Shell) -> None:
    for arguments, words in (
        (("user", "disable", "x"), "there is no such user"),
        (("user", "renew", "x"), "there is no such user"),
        (("token", "revoke", "7"), "there is no such row"),
    ):
        code, out, err = shell(*arguments)
        assert (code, out, words in err) == (1, "", True)
