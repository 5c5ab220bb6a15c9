"""The command line given what is wrong: exit code 2 for the caller's mistake and 1 for what failed, one
message that names the place, the value and what would be right. Nothing is made on the way.
"""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from playbook import free_ports

from gateway.cli import main
from gateway.commands import common
from gateway.evidence.seal import Keys
from gateway.registry import store
from gateway.registry.embedded import EmbeddedPostgres
from gateway.registry.keys import RegistryKey, load_key

FAILED, WRONG = 1, 2
SENDER = ("simulate", "sender", "--account", "900001")
CARRIER = ("simulate", "carrier", "--seconds", "0.1")
BAN = ("--reason", "冒名", "--case", "C-1")
JUDGE = ("judge", "--from", "10690001", "--to", "13800000000")

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs a command here: its exit code, and what it said on standard error."""
    before = signal.getsignal(signal.SIGTERM)

    def runs(*arguments: str) -> tuple[int, str]:
        try:
            code = main(arguments)
        except SystemExit as stop:  # argparse
            code = int(str(stop.code))
        return code, capsys.readouterr().err

    yield runs
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose node has never run."""
    path = tmp_path / "zhengming.toml"
    path.write_text("")
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["COMMAND"]),
        (("frobnicate",), ["frobnicate", "judge"]),
        (("judge", "--from", "x", "--to", "13800000000"), ["--from 'x'", "right would be"]),
        (("judge", "--from", "10690001", "--to", "1380000"), ["--to '1380000'", "right would be"]),
        ((*JUDGE, "--at", "soon"), ["--at 'soon'", "ISO 8601"]),
        ((*JUDGE, "--channel", "fax"), ["--channel", "fax", "sms", "voice"]),
        ((*JUDGE, "--protocol", "xmpp"), ["--protocol", "xmpp", "cmpp"]),
        ((*JUDGE, "--text", "\udcff"), ["text", "UTF-8"]),
        (("records",), ["ACT"]),
        (("records", "find", "--limit", "-1"), ["--limit", "'-1'", "from 1"]),
        (("records", "find", "--limit", "0"), ["--limit", "'0'", "from 1"]),
        (("records", "find", "--verdict", "maybe"), ["--verdict", "maybe", "refuse"]),
        (("records", "show"), ["id"]),
        (("blacklist", "add"), ["number", "--reason", "--case"]),
        (("blacklist", "add", "10690001", "--reason", "冒名"), ["--case"]),
        (("blacklist", "remove", "1"), ["remove", "add", "list"]),
        (("import", "numbers", "nowhere.csv", "--approve", "--as", "a"), ["--as", "--by"]),
        (("import", "numbers", "nowhere.csv", "--as", "a", "--by", "b"), ["--as", "--approve"]),
        (("demo", "--seconds", "-1"), ["--seconds", "'-1'", "from 0"]),
        (("demo", "--seconds", "nan"), ["--seconds", "'nan'"]),
        (("demo", "--carrier", "cmpp=10.0.0.5"), ["--carrier", "cmpp=10.0.0.5", "host:port"]),
        (("demo", "--carrier", "cmpp=a:1", "--carrier", "cmpp=b:2"), ["cmpp=b:2", "twice"]),
        (("serve", "everything"), ["everything", "relay"]),
        (("simulate",), ["SIDE"]),
        (("simulate", "sender"), ["--account"]),
        (("simulate", "sender", "--account", "9000011"), ["--account", "'9000011'", "1 to 6"]),
        (("simulate", "sender", "--account", "浙江"), ["--account", "浙江", "ASCII"]),
        ((*SENDER, "--port", "70000"), ["--port", "'70000'", "1 to 65535"]),
        ((*SENDER, "--window", "0"), ["--window", "'0'", "from 1"]),
        ((*SENDER, "--connections", "0"), ["--connections", "'0'", "from 1"]),
        ((*SENDER, "--messages", "-1"), ["--messages", "'-1'", "from 0"]),
        ((*SENDER, "--messages", "²"), ["--messages", "from 0"]),
        ((*SENDER, "--rate", "-1"), ["--rate", "'-1'", "from 0"]),
        ((*SENDER, "--wait", "soon"), ["--wait", "'soon'", "from 0"]),
        ((*SENDER, "--from", "1" * 25), ["--from", "1" * 25, "0 to 21"]),
        ((*SENDER, "--to", "浙江"), ["--to", "浙江", "ASCII"]),
        ((*SENDER, "--to", *["13800000000"] * 100), ["--to", "100", "99"]),
        ((*SENDER, "--text", "长" * 20_000), ["--text", "255", "shorter"]),
        ((*SENDER, "--secret-file", "/nowhere"), ["--secret-file /nowhere", "No such file"]),
        ((*SENDER, "--secret-file", sys.executable), ["--secret-file", "not text"]),
        ((*CARRIER, "--stat", "TOOLONGSTAT"), ["--stat", "TOOLONGSTAT", "1 to 7"]),
        ((*CARRIER, "--refuse-with", "256"), ["--refuse-with", "256", "0 to 255"]),
        ((*CARRIER, "--protocol", "smgp", "--refuse-with", "99999999999"), ["--refuse-with", "0 to 65535"]),
        ((*CARRIER, "--reply-text", "长" * 17_100), ["--reply-text", "255", "shorter"]),
        ((*CARRIER, "--reply-every", "-1"), ["--reply-every", "'-1'"]),
        ((*CARRIER, "--callback", "127.0.0.1:8811"), ["--callback", "right would be none", "sgip"]),
        ((*CARRIER, "--protocol", "sgip", "--callback", "8811"), ["--callback", "'8811'", "host:port"]),
        ((*SENDER, "--listen", "127.0.0.1:8811"), ["--listen", "right would be none", "sgip"]),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], words: list[str]) -> None:
    code, said = run(*arguments)
    assert code == WRONG
    for word in words:
        assert word in said


@pytest.mark.parametrize("identity", ["zz", "00", "0" * 31, "0" * 33, "²" * 32, ""])
def test_an_id_that_is_none(run: Run, config: Path, identity: str) -> None:
    (config.parent / "var" / "journal").mkdir(parents=True)
    code, said = run("records", "show", identity, "-c", str(config))
    assert code == WRONG
    assert "32 hexadecimal digits" in said


def test_a_time_that_ends_before_it_begins(run: Run, config: Path) -> None:
    (config.parent / "var" / "journal").mkdir(parents=True)
    code, said = run("records", "find", "--since", "2026-11-23", "--until", "2026-11-20", "-c", str(config))
    assert code == WRONG
    for word in ("--until '2026-11-20'", "--since '2026-11-23'", "right would be"):
        assert word in said


def test_what_came_over_the_wire_stays_in_its_cell(capsys: pytest.CaptureFixture[str]) -> None:
    """A text can neither forge a record, nor a cell of its own, nor give orders to the terminal."""
    forged = "【示例银行】\x1b[2J\nkind=attempt  verdict=pass\u202e\x9b1m"
    common.print_all([{"text": forged, "verdict": "refuse", "findings": ["\x1b"]}], as_json=False)
    out = capsys.readouterr().out
    assert out.endswith('  verdict=refuse  findings=["\\u001b"]\n')
    assert all(letter.isprintable() for letter in out[:-1])
    cell = out.removeprefix("text=").partition("  verdict=refuse")[0]
    assert json.loads(cell) == forged
    common.print_all([{"text": "【示例银行】退订　回T", "count": 3}], as_json=False)
    assert capsys.readouterr().out == "text=【示例银行】退订　回T  count=3\n"


@pytest.mark.parametrize("writer", ["nobody", "../w0", ""])
def test_a_writer_that_is_none(run: Run, config: Path, writer: str) -> None:
    (config.parent / "var" / "journal" / "w0").mkdir(parents=True)
    code, said = run("journal", "clear", writer, "-c", str(config))
    assert code == WRONG
    assert repr(writer) in said
    assert "right would be one of w0" in said


@pytest.mark.parametrize(
    "arguments", [JUDGE, ("records", "find"), ("records", "show", "0" * 32), ("journal", "clear", "w0")]
)
def test_where_no_node_has_run_nothing_is_made(run: Run, config: Path, arguments: tuple[str, ...]) -> None:
    """A wrong -c must not leave a folder, or a registry key, behind."""
    code, said = run(*arguments, "-c", str(config))
    assert code == FAILED
    assert str(config.parent / "var") in said
    assert "right would be" in said
    assert list(config.parent.iterdir()) == [config]


BY = ("--by", "r1")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nodes", "list"),
        ("blacklist", "list"),
        ("user", "list"),
        ("token", "list"),
        ("audit", "list"),
        ("audit", "verify"),
        ("number", "list", *BY),
        ("complaint", "list", *BY),
        ("alarm", "list", *BY),
        ("export", "numbers", "out.csv"),
        ("import", "numbers", "in.csv", "--dry-run"),
        ("judge", "--from", "10690001", "--to", "13800000000", "--at", "2026-01-01"),
    ],
)
def test_a_command_that_reads_begins_no_database(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """As with `-c` of another folder: what is there stays as it was, and the message says what is missing."""
    monkeypatch.chdir(config.parent)
    code, said = run(*arguments, "-c", str(config))
    assert (code, list(config.parent.iterdir())) == (WRONG, [config]), said
    assert f"node.data_dir = '{config.parent}/var'" in said
    assert "right would be" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("migrate",),
        ("blacklist", "list"),
        ("blacklist", "add", "10690001", *BAN),
        ("import", "numbers", "numbers.csv"),
        ("export", "numbers", "numbers.csv"),
    ],
)
def test_a_database_that_is_away(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(config.parent)
    (port,) = free_ports(1)
    config.write_text(f'[database]\ndsn = "postgresql://zm:pa:ss@127.0.0.1:{port}/zm"\n')
    (config.parent / "numbers.csv").write_text("number,purposes,institution\n10690001,marketing,BANK\n")
    code, said = run(*arguments, "-c", str(config))
    assert code == FAILED
    assert said.startswith(f"zhengming: database.dsn = 'postgresql://zm:…@127.0.0.1:{port}/zm': ")
    assert "pa:ss" not in said


@pytest.mark.parametrize("arguments", [("blacklist", "list"), ("blacklist", "add", "10690001", *BAN)])
def test_a_database_without_our_schema(
    run: Run, config: Path, embedded: EmbeddedPostgres, arguments: tuple[str, ...]
) -> None:
    config.write_text(f'[database]\ndsn = "{embedded.dsn}"\n')
    code, said = run(*arguments, "-c", str(config))
    assert code == FAILED
    assert "zhengming migrate" in said


def test_what_only_a_start_would_have_found_is_told_before(run: Run, config: Path) -> None:
    web, metrics, sms, voice = free_ports(4)
    (config.parent / "days.csv").write_text("day,workday\n2027-02-30,true\n")
    config.write_text(f"""
        [web]
        listen = "nosuchhost.invalid:{web}"
        [metrics]
        listen = "127.0.0.1:{metrics}"
        [[sms]]
        protocol = "cmpp"
        listen = "127.0.0.1:{sms}"
        upstream = ["nosuchhost.invalid:7890", "127.0.0.1:{sms}"]
        [voice]
        listen = ["tls://127.0.0.1:{voice}"]
        next_hop = ["sips:nosuchhost.invalid", "sip:127.0.0.1:{voice};transport=tcp"]
        tls_certificate = "none.pem"
        tls_key = "none.key"
        [cases]
        workdays_file = "days.csv"
    """)
    code, said = run("config", "--check", "-c", str(config))
    assert code == WRONG
    for words in (
        f"cases.workdays_file {config.parent}/days.csv: line 2: '2027-02-30,true'",
        f"web.listen = 'nosuchhost.invalid:{web}': cannot listen there: ",
        "sms.0.upstream = 'nosuchhost.invalid:7890': no such host: ",
        f"sms.0.upstream = '127.0.0.1:{sms}': this node itself listens there",
        "voice.next_hop = 'sips:nosuchhost.invalid': no such host: ",
        f"voice.next_hop = 'sip:127.0.0.1:{voice};transport=tcp': this node itself listens there",
        "voice.tls_certificate: ",
    ):
        assert words in said
    assert "Unknown error" not in said
    assert all("right would be" in line for line in said.splitlines())


def test_no_message_says_the_databases_password(run: Run, config: Path) -> None:
    (port,) = free_ports(1)
    (config.parent / "var" / "keys").mkdir(parents=True)
    load_key(config.parent / "var" / "keys" / "registry.key")
    config.write_text(f'[database]\ndsn = "postgresql://zm:pa:ss@127.0.0.1:{port}/zm"\n')
    code, said = run(*JUDGE, "--at", "2020-01-01", "-c", str(config))
    assert (code, f"postgresql://zm:…@127.0.0.1:{port}/zm" in said) == (FAILED, True)
    assert "pa:ss" not in said
    config.write_text('[database]\ndsn = "postgres:/zm:pa:ss@127.0.0.1/zm"\n')
    code, said = run("config", "--check", "-c", str(config))
    assert (code, 'database.dsn = "postgres:…@127.0.0.1/zm"' in said) == (WRONG, True)
    assert "pa:ss" not in said


def test_a_data_dir_that_cannot_be_made(run: Run, config: Path) -> None:
    config.write_text('[node]\ndata_dir = "zhengming.toml/var"\n')
    for arguments in (("migrate",), ("serve",), ("config", "--check")):
        code, said = run(*arguments, "-c", str(config))
        assert code == WRONG
        assert f"node.data_dir = '{config}/var'" in said
        assert "right would be" in said


def test_a_carrier_s_port_that_is_taken(run: Run, free: list[int]) -> None:
    code, said = run(*CARRIER, "--port", str(free[0]))
    assert code == FAILED
    assert f"--port {free[0]}" in said
    assert "already in use" in said


@pytest.fixture
def free() -> Iterator[list[int]]:
    """A port that is taken while the test runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield [taken.getsockname()[1]]


def test_options_may_come_before_what_they_belong_to(run: Run, config: Path) -> None:
    (config.parent / "var" / "journal").mkdir(parents=True)
    for arguments in (
        ("records", "-c", str(config), "show", "--json", "0" * 32),
        ("records", "show", "--json", "-c", str(config), "0" * 32),
    ):
        code, said = run(*arguments)
        assert (code, "no attempt" in said) == (FAILED, True)
    code, said = run("serve", "-c", str(config.with_name("none.toml")), "relay")
    assert (code, "none.toml" in said) == (WRONG, True)
    code, said = run("blacklist", "add", "--prefix", "abc", *BAN, "-c", str(config.with_name("none.toml")))
    assert (code, "none.toml" in said) == (WRONG, True)


async def known_to(dsn: str, key: RegistryKey) -> None:
    connection = await asyncpg.connect(dsn)
    await store.register_key(connection, key.fingerprint)
    await connection.close()


def test_keys_that_are_not_this_node_s_or_not_this_database_s(run: Run, config: Path, database: str) -> None:
    """A registry key of one's own making would find nobody's refusal; a wrong master key opens no record."""
    web, metrics = free_ports(2)
    text = f'[web]\nlisten = "127.0.0.1:{web}"\n[metrics]\nlisten = "127.0.0.1:{metrics}"\n'
    config.write_text(f'{text}[database]\ndsn = "{database}"\n')
    keys = config.parent / "var" / "keys"
    registry_key, master = keys / "registry.key", keys / "master.key"
    asyncio.run(known_to(database, load_key(registry_key)))
    Keys(keys).data_key("2026-11-21")
    check = ("config", "--check", "-c", str(config))
    assert run(*check) == (0, "")
    for path, octets, words in (
        (registry_key, b"x" * 32, "not the key of this database"),
        (registry_key, b"x" * 5, "32 octets, not 5"),
        (master, b"x" * 32, "another master key"),
        (master, b"", "0 octets, expected 32"),
    ):
        kept = path.read_bytes()
        path.write_bytes(octets)
        code, said = run(*check)
        assert (code, str(path) in said, words in said) == (WRONG, True, True), said
        path.write_bytes(kept)
    registry_key.chmod(0o644)
    code, said = run(*check)
    assert (code, f"{registry_key}: others may read it; right would be mode 0600" in said) == (WRONG, True)
