"""The command line from outside: exit codes, words, JSON, and the demonstration with its ready.json."""

import asyncio
import contextlib
import datetime
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import any_hour
import psycopg
import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import BANNED, HOST, MARKETING, TEXT, House, eventually, free_ports, refresh, run_cli

from gateway.scenes import CALLS, SCENES
from gateway.simulator.sender import SenderSim

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD, BAD, REFUSED, WRONG = 0, 1, 3, 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(house_of: HouseOf) -> AsyncIterator[House]:
    async with house_of(extra=["900016"]) as house:
        yield house


@pytest.fixture
def house(node: House) -> House:
    refresh(node.carrier)
    return node


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below tmp_path: other pytest runs take the database server's right to pass through that away."""
    path = Path(tempfile.mkdtemp(prefix="zhengming-demo-"))
    yield path
    shutil.rmtree(path)


# judge


async def test_judge_says_pass_or_why_not(house: House) -> None:
    before = len(house.records())
    to = ("--to", "13800000001", "--text", TEXT)
    code, out, err = await house.cli("judge", "--from", MARKETING + "0001", *to)
    assert (code, err) == (GOOD, "")
    assert "pass" in out
    assert "138****0001" in out
    assert "13800000001" not in out
    code, out, _ = await house.cli("judge", "--from", BANNED + "0001", *to, "--account", "900001")
    assert code == REFUSED
    assert "blacklisted" in out
    unseen = ("--account", "900016")  # one that has never logged in here
    code, out, _ = await house.cli("judge", "--from", BANNED + "0001", *to, *unseen, "--json")
    said = json.loads(out)
    assert code == REFUSED
    assert (said["verdict"], said["reason"], said["institution"]) == ("refuse", "blacklisted", "BANK")
    assert said["registry_version"] > 0
    broken = {rule["reason"]: rule["mode"] for rule in said["rules"] if not rule["holds"]}
    assert broken == {"blacklisted": "enforce", "consent_missing": "observe", "no_reply_path": "observe"}
    rules = {rule["reason"]: rule for rule in said["rules"]}
    assert rules["blacklisted"]["fact"]["zh"].startswith("黑名单条目 10690009…：test CASE-1")
    assert rules["blacklisted"]["source"]["en"] == "Zhejiang notice, duty 9: banned for good"
    assert rules["unregistered"]["later"] is None
    assert len(house.records()) == before


async def test_judge_names_facts_and_sources_in_one_language_or_both(house: House) -> None:
    asked = ("judge", "--from", MARKETING + "0001", "--to", "13800000001", "--text", TEXT)
    both, zh, en = [(await house.cli(*asked, *more))[1] for more in ((), ("--lang", "zh"), ("--lang", "en"))]
    chinese = "事实：不在黑名单　依据：浙江通知第9项：黑名单号码永久禁用"
    english = "fact: no blacklist entry  source: Zhejiang notice, duty 9: banned for good"
    assert [(chinese in said, english in said) for said in (both, zh, en)] == [
        (True, True),
        (True, False),
        (False, True),
    ]
    assert both.index(chinese) < both.index(english)


async def test_judge_at_another_time(house: House) -> None:
    arguments = ("judge", "--from", "106900050001", "--to", "13800000001", "--json")
    text = ("--text", "【示例消金】新客理财专享。拒收请回复R", "--account", "900013")
    code, out, _ = await house.cli(*arguments, *text)
    assert (code, json.loads(out)["reason"]) == (REFUSED, "not_effective")
    code, out, _ = await house.cli(*arguments, *text, "--at", "2098-01-02T09:30")
    assert json.loads(out)["reason"] in {None, "not_judgeable"}
    assert "not_effective" not in json.loads(out)["reasons"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("judge", "--from", "hello", "--to", "13800000001"), "hello"),
        (("judge", "--from", MARKETING, "--to", "13800000001", "--at", "soon"), "soon"),
        (("judge", "--from", MARKETING, "--to", "13800000001", "--registry", "-1"), "number from 1"),
        (("judge", "--from", MARKETING), "--to"),
        (("records", "show", "xyz"), "xyz"),
        (("import", "numbers", "nowhere.csv"), "nowhere.csv"),
        (("import", "numbers", "nowhere.csv", "--approve"), "--as"),
        (("blacklist", "add", "10690055"), "--reason"),
        (("frobnicate",), "frobnicate"),
    ],
)
async def test_wrong_usage_is_told_in_one_line_and_2(
    house: House, arguments: tuple[str, ...], word: str
) -> None:
    code, out, err = await house.cli(*arguments)
    assert (code, out) == (WRONG, "")
    assert word in err
    assert "Traceback" not in err


# blacklist, import, export


async def test_blacklist_add_and_list(house: House) -> None:
    add = ("blacklist", "add", "1069003377", "--prefix", "--reason", "冒名营销", "--case", "CASE-7")
    code, out, err = await house.cli(*add)
    assert (code, err) == (GOOD, "")
    assert "1069003377" in out
    code, out, _ = await house.cli(*add)
    assert code == GOOD
    assert "before" in out
    code, out, _ = await house.cli("blacklist", "list", "--json")
    entry = next(row for row in json.loads(out) if row["number"] == "1069003377")
    assert (entry["is_prefix"], entry["reason"], entry["case_reference"]) == (True, "冒名营销", "CASE-7")
    async with house.sender() as sender:

        async def holds() -> bool:
            return (await sender.submit("10690033770001", [house.subscriber()], TEXT)).result == 103

        await eventually(holds)
    code, _, err = await house.cli("blacklist", "add", "110", "--reason", "x", "--case", "y")
    assert code == WRONG
    assert "110" in err


async def test_import_takes_good_lines_and_names_bad_ones(house: House, tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    path.write_text(
        "number,channels,purposes,institution,signatures\n"
        "1069003301,sms,marketing,BANK,示例银行\n"
        "1069003302,sms,gambling,BANK,示例银行\n"
        "1069003303,sms,marketing,NOBODY,示例银行\n",
        "utf-8",
    )
    approve = ("--approve", "--as", "checker", "--by", "approver")
    code, out, err = await house.cli("import", "numbers", str(path), "--dry-run", *approve)
    assert code == BAD, err
    assert house.sql("SELECT FROM numbers WHERE number LIKE '106900330%%'") == []
    code, out, err = await house.cli("import", "numbers", str(path), *approve)
    assert code == BAD
    assert "3 rows, 1 taken in, 0 unchanged, 2 rejected" in out
    rejected = (tmp_path / "numbers.csv.rejected.csv").read_text("utf-8-sig")
    assert "1069003302" in rejected
    assert "NOBODY" in rejected
    assert "1069003301" not in rejected
    path.write_text(path.read_text("utf-8").split("1069003302", maxsplit=1)[0], "utf-8")
    code, out, _ = await house.cli("import", "numbers", str(path), *approve)
    assert (code, "1 unchanged" in out) == (GOOD, True)
    code, _, err = await house.cli("import", "numbers", str(path), "--approve", "--as", "a", "--by", "a")
    assert code == WRONG


@pytest.mark.long
async def test_what_is_exported_can_be_imported(house: House, tmp_path: Path) -> None:
    for kind, suffix, headers in (("numbers", ".csv", "zh"), ("refusals", ".xlsx", "en")):
        path = tmp_path / f"{kind}{suffix}"
        code, out, err = await house.cli("export", kind, str(path), "--headers", headers)
        assert code == GOOD, err
        rows = int(out.split()[1])
        assert rows > 0
        approve = ("--approve", "--as", "checker", "--by", "approver")
        code, out, err = await house.cli("import", kind, str(path), *approve)
        assert code == GOOD, out + err
        assert f"{rows} rows, 0 taken in, {rows} unchanged, 0 rejected" in out


# records


async def test_records_find_and_show(house: House) -> None:
    subscriber, other = house.subscriber(), house.subscriber()
    async with house.sender() as sender:
        house.carrier.report_after = 0.0
        answer = await sender.submit(MARKETING, [subscriber], TEXT, report=True)
        await sender.report_of(answer.message_id)
        assert (await sender.submit(BANNED, [subscriber], TEXT)).result == 103
        assert (await sender.submit(BANNED, [other], TEXT)).result == 103
        assert await house.carrier.deliver(MARKETING, subscriber, "R") == 0
    code, out, err = await house.cli("records", "find", "--subscriber", subscriber, "--json")
    assert (code, err) == (GOOD, "")
    found = json.loads(out)
    attempts = [row for row in found if row["kind"] == "attempt"]
    assert [(row["verdict"], row["reason"], row["number"]) for row in attempts] == [
        ("pass", "", MARKETING),
        ("refuse", "blacklisted", BANNED),
    ]
    assert all(row["subscriber"] == f"138****{subscriber[-4:]}" for row in attempts)
    assert subscriber not in out
    assert all("text" not in row for row in found)  # sealed content takes a reveal
    (reply,) = (row for row in found if row["kind"] == "reply")
    assert reply["meaning"] == "refuse"
    assert (reply["purposes"], reply["channels"]) == (["marketing"], ["sms", "voice"])

    async def complete() -> dict[str, Any]:
        code, out, _ = await house.cli("records", "show", attempts[0]["id"], "--json")
        assert code == GOOD
        shown: dict[str, Any] = json.loads(out)
        return shown if shown["outcomes"] else {}

    shown = await eventually(complete)
    assert shown["outcome"] == 0
    assert shown["outcomes"][0]["message_id"] == answer.message_id.hex()

    code, out, _ = await house.cli("records", "find", "--number", BANNED, "--verdict", "refuse")
    assert code == GOOD
    assert len(out.splitlines()) >= 2
    code, out, _ = await house.cli("records", "find", "--number", BANNED, "--limit", "1", "--json")
    assert len(json.loads(out)) == 1
    code, out, _ = await house.cli(
        "records", "find", "--subscriber", subscriber, "--until", "2020-01-01", "--json"
    )
    assert (code, json.loads(out)) == (GOOD, [])
    code, _, err = await house.cli("records", "show", "00" * 16)
    assert code == BAD
    assert "no attempt" in err


@pytest.mark.long
async def test_replay_says_what_another_profile_would_have_refused(house: House, tmp_path: Path) -> None:
    """By the facts of then: what changed since makes no difference."""
    since = datetime.datetime.now(datetime.UTC).isoformat()
    refuser = house.subscriber()
    async with house.sender() as sender:
        for number, text, result in (
            (MARKETING, TEXT, 0),
            (MARKETING, "【示例银行】新客理财专享", 118),  # no way to refuse
            (MARKETING, "没有签名，拒收请回复R", 116),
            (BANNED, TEXT, 103),
        ):
            assert (await sender.submit(number, [house.subscriber()], text)).result == result
        assert (await sender.submit(MARKETING, [refuser], TEXT)).result == 0
        assert await house.carrier.deliver(MARKETING, refuser, "R") == 0

        async def heard() -> bool:
            return (await sender.submit(MARKETING, [refuser], TEXT)).result == 110

        await eventually(heard)
    house.sql("UPDATE institutions SET status = 'closed' WHERE code = 'BANK'")

    async def replayed(profile: Path) -> dict[str, Any]:
        code, out, err = await house.cli("replay", "--since", since, "--profile", str(profile), "--json")
        assert (code, err) == (GOOD, "")
        return dict(json.loads(out))

    try:
        same = await replayed(house.profile_path)
        assert (same["attempts"] - same["refused"], same["changes"]) == (2, [])
        other = tmp_path / "other.toml"
        rules = {"signature_missing": "off", "blacklisted": "observe", "consent_missing": "enforce"}
        text = "".join(f'[rules.{rule}]\nmode = "{mode}"\n' for rule, mode in rules.items())
        other.write_text(f'extends = "{house.profile_path}"\n{text}', "utf-8")
        said = await replayed(other)
    finally:
        house.sql("UPDATE institutions SET status = 'active' WHERE code = 'BANK'")
    changes = {(one["was"], one["would"]): one["count"] for one in said["changes"]}
    assert changes == {
        ("pass", "consent_missing"): 2,
        ("optout_hint_missing", "consent_missing"): 1,
        ("signature_missing", "consent_missing"): 1,
        ("blacklisted", "consent_missing"): 1,
    }
    assert all(len(one["examples"]) == one["count"] for one in said["changes"])
    code, out, err = await house.cli("replay", "--since", since, "--until", since, "--profile", "zhejiang")
    assert (code, out, "--until" in err) == (WRONG, "", True)


# config, migrate


async def test_config_prints_what_config_check_takes(folder: Path) -> None:
    code, out, _ = await run_cli("config")
    assert code == GOOD
    for word in ("[node]", "[[sms]]", 'dsn = "embedded"', 'max_age = "72h"', "unknown_account"):
        assert word in out
    ports = free_ports(3)
    path = folder / "zhengming.toml"
    for old, port in zip(("0.0.0.0:7890", "127.0.0.1:8080", "127.0.0.1:9464"), ports, strict=True):
        assert old in out
        out = out.replace(old, f"{HOST}:{port}")
    path.write_text(out, "utf-8")
    code, out, err = await run_cli("config", "--check", "-c", str(path))
    assert code == GOOD, err
    assert "good" in out
    assert "note: sms.0.upstream is empty" in out  # accounts may name their own
    assert "not served: evidence.checkpoint_seconds" in out  # the file names it, and it does nothing yet


async def test_config_check_of_a_running_node_is_good(house: House) -> None:
    code, _, err = await house.cli("config", "--check")
    assert (code, err) == (GOOD, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[node]\nworkers = -1", ["node.workers", "-1", "from 0 to 256"]),
        ('[node]\nname = "two words"', ["node.name", "two words"]),
        ("[nodes]\n", ["nodes", "no such setting"]),
        ('[web]\nlisten = "8080"', ["web.listen", "8080", "host:port"]),
        ('[registry]\nmax_age = "3 weeks"', ["registry.max_age", "3 weeks", "72h"]),
        ('[registry]\nunknown_account = "maybe"', ["registry.unknown_account", "maybe", "observe"]),
        ('[[sms]]\nprotocol = "smtp"', ["sms.0.protocol", "smtp", "cmpp"]),
        ('[policy]\nprofile = "atlantis"', ["policy.profile", "atlantis"]),
        (
            '[policy]\nprofile = "atlantis"\n[database]\ndsn = "postgresql://127.0.0.1:1/none"',
            ["policy.profile", "database.dsn"],
        ),
        ("[node\n", ["not TOML"]),
    ],
)
async def test_config_check_names_file_place_value_and_what_is_right(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    web, metrics = free_ports(2)
    if "[web]" not in text:
        text += f'\n[web]\nlisten = "{HOST}:{web}"'
    path = tmp_path / "zhengming.toml"
    path.write_text(f'{text}\n[metrics]\nlisten = "{HOST}:{metrics}"\n', "utf-8")
    code, out, err = await run_cli("config", "--check", "-c", str(path))
    assert (code, out) == (WRONG, "")
    for word in (str(path), *words):
        assert word in err
    assert "Traceback" not in err


async def test_serve_with_a_wrong_file_says_so_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "zhengming.toml"
    path.write_text("[node]\nworkers = -1\n", "utf-8")
    code, _, err = await run_cli("serve", "-c", str(path))
    assert code == WRONG
    assert "node.workers" in err
    code, _, err = await run_cli("serve", "-c", str(tmp_path / "none.toml"))
    assert code == WRONG
    assert "none.toml" in err


@pytest.mark.parametrize("command", ["serve", "demo"])
async def test_too_few_descriptors_are_refused_and_others_raised(
    house: House, folder: Path, command: str
) -> None:
    """2,000 sessions are 4,000 sockets: better said at the start than on the day when they come."""
    words = ["serve", "-c", str(house.path)] if command == "serve" else ["demo", "--dir", str(folder)]

    def run(hard: int) -> subprocess.CompletedProcess[str]:
        shell = f'ulimit -n {hard}; exec "$0" -m gateway "$@"'
        return subprocess.run(
            ["bash", "-c", shell, sys.executable, *words],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    for hard in (256, 8191):
        ended = await asyncio.to_thread(run, hard)
        assert ended.returncode == WRONG
        assert ended.stderr.startswith("zhengming: RLIMIT_NOFILE")
        for word in (str(hard), "8192", "LimitNOFILE", "ulimit"):
            assert word in ended.stderr
        assert "Traceback" not in ended.stderr
    for role in house.roles:
        soft, most = resource.prlimit(house.pid(role), resource.RLIMIT_NOFILE)
        assert soft == min(most, 1 << 20)


async def test_migrate_prints_sql_that_makes_the_same_schema(house: House) -> None:
    code, out, err = await run_cli("migrate", "--sql")
    assert (code, err) == (GOOD, "")
    for table in ("institutions", "numbers", "blacklist", "change_log", "alembic_version"):
        assert f"CREATE TABLE {table} " in out
    code, out, _ = await house.cli("migrate")
    assert (code, "revision" in out) == (GOOD, True)


# demo

KEYS = {
    "config",
    "console",
    "api",
    "metrics",
    "database",
    "journal",
    "listeners",
    "carriers",
    "accounts",
    "pids",
}
"""Of ready.json, those that exist so far (contract.md)."""


class Demo:
    """`zhengming demo` in a folder: `async with Demo(folder, cities) as demo:` once ready.json is there."""

    def __init__(self, folder: Path, cities: Path, *arguments: str) -> None:
        self.folder = folder
        self._cities = cities
        self._arguments = arguments
        self.ready: dict[str, Any] = {}

    async def __aenter__(self) -> "Demo":
        data_dir = self.folder / "var"
        data_dir.mkdir(parents=True, exist_ok=True)
        shutil.copy(self._cities, data_dir / "regions.bin")
        self._launch()
        path = self.folder / "ready.json"

        def there() -> bool:
            assert self.process.poll() is None, (self.folder / "output").read_text("utf-8", "replace")
            return path.exists()

        try:
            await eventually(there, 90.0)
        except BaseException:
            await self.__aexit__()
            raise
        self.ready = json.loads(path.read_text("utf-8"))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.poll() is None:
            await self.stop()

    def _launch(self) -> None:
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "demo", "--dir", str(self.folder), *self._arguments],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code; what it leaves running is killed, and shows in `pids` of the test before that."""
        self.process.send_signal(number)
        try:
            return await asyncio.to_thread(self.process.wait, 40)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            raise
        finally:
            self.process.wait()

    def running(self) -> list[int]:
        """Those of its processes that are there; one that has ended stays until it was waited for."""
        pids = self.ready["pids"]
        single = ("supervisor", "acceptor", "keeper", "web", "database")
        every = {*(pids[name] for name in single), *pids["workers"]}
        return [pid for pid in every if Path(f"/proc/{pid}").exists()]

    async def result(self, source: str, text: str) -> int | None:
        host, port = self.ready["listeners"]["cmpp"].split(":")
        account = self.ready["accounts"]["cmpp"]
        async with SenderSim(host, int(port), account["account"], account["secret"]) as sender:
            return (await sender.submit(source, ["13800000099"], text)).result


SIGNED = "【浙海示例银行】新客理财专享，详询网点。拒收请回复R"


async def page(address: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as client, client.get(address) as answer:
        return answer.status, await answer.text()


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_two_demos_side_by_side(folder: Path, cities: Path) -> None:
    """Each with its own ports, files, database; one goes on when the other stops, and both stop cleanly."""
    profile = str(any_hour.written(folder))
    quiet = Demo(folder / "quiet", cities, "--no-traffic", "--profile", profile)
    lively = Demo(folder / "lively", cities)  # shows all of it at any hour
    async with quiet:
        async with lively:
            assert not set(quiet.running()) & set(lively.running())
            for demo in (quiet, lively):
                assert set(demo.ready) >= KEYS
                assert len(demo.running()) >= 6
                assert await demo.result("106900090001", SIGNED) == 103
                with psycopg.connect(demo.ready["database"]) as connection:
                    (count,) = connection.execute("SELECT count(*) FROM numbers").fetchone() or (0,)
                assert count > 0
                for name in ("healthz", "readyz"):
                    assert (await page(f"{demo.ready['console']}/{name}"))[0] == 200
                assert any(Path(demo.ready["journal"]).iterdir())

            async def every_verdict() -> bool:
                _, text = await page(lively.ready["metrics"])
                lines = [line for line in text.splitlines() if not line.endswith(" 0.0")]
                refused = [line for line in lines if line.startswith("zhengming_intercepts_total{")]
                seen = [line for line in lines if line.startswith("zhengming_observed_total{")]
                calls = [line for line in refused if 'channel="voice"' in line]
                return all(
                    any(f'reason="{call.verdict}"' in line for line in calls)
                    for call in CALLS
                    if call.verdict != "pass" and not call.by_day
                ) and all(
                    any(f'reason="{scene.observed or scene.verdict}"' in line for line in among)
                    for scene in SCENES
                    for among in ([seen] if scene.observed else [refused])
                    if scene.observed or scene.verdict != "pass"
                )

            await eventually(every_verdict, 40.0, every=0.2)
            judge = ("judge", "--from", "106900090001", "--to", "13800000001", "--text", SIGNED)
            code, _, err = await run_cli(*judge, "-c", lively.ready["config"])
            assert code == REFUSED, err
            assert await lively.stop() == GOOD
        await eventually(lambda: not lively.running())
        assert not (lively.folder / "ready.json").exists()
        assert await quiet.result("106900010001", SIGNED) == 0
        assert await quiet.stop(signal.SIGINT) == GOOD
    await eventually(lambda: not quiet.running())
    async with quiet:  # what it kept is still there
        arguments = ("records", "find", "--number", "106900010001", "--json", "-c", quiet.ready["config"])
        code, out, err = await run_cli(*arguments)
        assert code == GOOD, err
        assert [row["verdict"] for row in json.loads(out)] == ["pass"]
    for demo in (quiet, lively):
        assert "Traceback" not in (demo.folder / "output").read_text("utf-8", "replace")


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_demo_takes_another_carrier_and_profile_and_ends_by_itself(
    house: House, folder: Path, cities: Path
) -> None:
    """`--carrier` with the house's carrier, `--profile` a file, `--seconds`."""
    profile = folder / "mine.toml"
    profile.write_text(
        f'extends = "{any_hour.written(folder)}"\n[rules.blacklisted]\nmode = "observe"\n', "utf-8"
    )
    carrier = f"{HOST}:{house.carrier.port}"
    options = ("--carrier", f"cmpp={carrier}", "--profile", str(profile), "--no-traffic", "--seconds", "3")
    async with Demo(folder / "demo", cities, *options) as demo:
        assert demo.ready["carriers"]["cmpp"] == carrier
        demo.ready["accounts"]["cmpp"]["secret"] = "s3cret"  # the carrier's, who alone checks it
        assert await demo.result("106900090001", SIGNED) == 0
        assert house.carrier.counts["submits"] == 1
        assert await asyncio.to_thread(demo.process.wait, 40) == GOOD
    await eventually(lambda: not demo.running())


async def test_a_demo_with_a_carrier_that_is_none_says_so(folder: Path) -> None:
    code, _, err = await run_cli("demo", "--dir", str(folder), "--carrier", "nonsense")
    assert code == WRONG
    assert "nonsense" in err
