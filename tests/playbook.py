"""A running node for tests: `House` starts one with a small registry and a carrier, and looks at it.

It knows the node by its commands, files, sockets and /metrics only (contract.md); the registry is filled by
the ordinary import. Nothing here sleeps for a fixed time: simulators are awaited by event, everything else
is looked at again and again until a deadline (`eventually`).
"""

import asyncio
import contextlib
import dataclasses
import inspect
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp
import any_hour
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from gateway import status
from gateway.evidence import half_read
from gateway.evidence import record as rec
from gateway.evidence.found import Found
from gateway.evidence.seal import Keys
from gateway.evidence.search import Search
from gateway.protocols.cmpp import V20
from gateway.registry import exchange
from gateway.registry.keys import load_key
from gateway.simulator.carrier import CarrierSim, Faults
from gateway.simulator.sender import SenderSim
from gateway.telemetry import LOG_VARIABLE

HOST = "127.0.0.1"
SECRET = "s3cret"
PERSONS = ("checker", "approver")
OPEN_RUN = """WITH two AS (
    INSERT INTO persons (name) VALUES ('checker'), ('approver')
    ON CONFLICT (name) WHERE identity_hash IS NULL DO UPDATE SET name = excluded.name RETURNING id)
INSERT INTO import_runs (kind, checker_id, approver_id) SELECT 'numbers', min(id), max(id) FROM two"""
"""SQL: an import of two persons is open, so that rows may be approved."""
BY_RUN = "(SELECT id, checker_id, approver_id FROM import_runs ORDER BY id DESC LIMIT 1)"
"""SQL: the run that was opened last, for run_id, checked_person and approved_person."""
GUARDS = [
    *((name, f"{name}_guarded") for name in ("blacklist", "holds", "penalties", "refusals")),
    *((name, "is_kept") for name in ("blacklist", "holds", "penalties", "refusals")),
    *(
        (name, "is_kept")
        for name in ("referrals", "case_items", "cases", "complaints", "appeals", "disputes")
    ),
]
UNGUARDED = ";".join(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}" for table, trigger in GUARDS)
"""SQL: as a DBA may who owns the tables, switch off what keeps rows from being rewritten and deleted."""
GUARDED = ";".join(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}" for table, trigger in GUARDS)
DEADLINE = 20.0
GATEWAY_CODE = 4242
BIND = "127.0.0.9"
"""Where the second listener's connections to its carrier come from; they carry the PROXY protocol."""

MARKETING, SERVICE, COLLECTION = "10690001", "10690002", "10690003"
"""Numbers that pass: of BANK, of BANK, of FIN used by AGENT."""

BANNED, UNFILED = "10690009", "10699999"
TEXT = "【示例银行】新客理财专享，详询网点。拒收请回复R"
COLLECTING = "【示例消金】您的账单已逾期，请尽快处理"

INSTITUTIONS = """
code,name,kind,licence_scope,licence_until
BANK,示例银行,bank,marketing;collection;service,
FIN,示例消金,consumer_finance,marketing;collection;service,
LEND,示例小贷,micro_lender,marketing;collection;service,2024-12-31
AGENT,示例催收,agency,marketing;collection;service,
SHOP,示例服务商,provider,marketing;collection;service,
COURT,示例人民法院,authority,service,
"""
MANDATES = """
institution,agency,channels,purposes,valid_from,valid_until
FIN,AGENT,sms;voice,collection,2024-01-01,2099-01-01
"""
NUMBERS = """
number,extension_digits,channels,purposes,institution,agency,signatures,effective_from,effective_until
10690001,4,sms,marketing,BANK,,示例银行,2024-01-01,
10690002,4,sms,service,BANK,,示例银行,2024-01-01,
10690003,4,sms,collection,FIN,AGENT,示例消金,2024-01-01,
10690004,4,sms,marketing,FIN,AGENT,示例消金,2024-01-01,
10690005,4,sms,marketing,FIN,,示例消金,2098-01-01,
10690006,4,sms,marketing,LEND,,示例小贷,2024-01-01,
10690007,4,sms,marketing,FIN,,示例消金,2024-01-01,
10690008,0,sms,marketing,BANK,,示例银行,2024-01-01,
10690009,4,sms,marketing,BANK,,示例银行,2024-01-01,
1069000155,2,sms,service,BANK,,示例银行,2024-01-01,
10690010,4,sms,marketing,BANK,,示例银行,2024-01-01,
"""
BLACKLIST = """
number,is_prefix,reason,case_reference
10690009,true,test,CASE-1
"""
REFUSALS = """
subscriber,institution,purposes,channels,source,at
13800009999,BANK,marketing,sms;voice,12321,2024-10-01
"""
ACCOUNT_NUMBERS = """
carrier,protocol,account,number,is_prefix
mobile,cmpp,900012,10690001,true
"""


@dataclasses.dataclass(frozen=True)
class Upstreams:
    """Ports of carriers beside the main one; a test that needs one listens there itself."""

    second: int
    third: int
    raw: int


def accounts(upstreams: Upstreams, extra: Sequence[str]) -> str:
    """The access accounts; `extra` ones are BANK's, without peculiarities."""
    second, third, raw = (f"{HOST}:{port}" for port in dataclasses.astuple(upstreams))
    rows = [
        "carrier,protocol,account,holder,scope,refusal_manner,mass_manner,upstream,allowed_ips,max_connections",
        "mobile,cmpp,900001,BANK,financial,result,whole,,,0",
        "mobile,cmpp,900002,AGENT,financial,result,whole,,,0",
        "mobile,cmpp,900003,BANK,financial,report,whole,,,0",
        "mobile,cmpp,900004,LEND,financial,result,whole,,,0",
        "mobile,cmpp,900005,SHOP,other,result,reduce,,,0",
        "mobile,cmpp,900006,COURT,authority,result,whole,,,0",
        "mobile,cmpp,900007,BANK,financial,result,reduce,,,0",
        "mobile,cmpp,900008,BANK,financial,result,whole,,127.0.0.2;127.0.1.0/24,0",
        "mobile,cmpp,900009,BANK,financial,result,whole,,,1",
        f"mobile,cmpp,900010,BANK,financial,result,whole,{second};{third},,0",
        f"mobile,cmpp,900011,BANK,financial,result,whole,{second},,0",
        "mobile,cmpp,900012,BANK,financial,result,whole,,,0",
        "mobile,cmpp,900013,FIN,financial,result,whole,,,0",
        f"mobile,cmpp,900014,BANK,financial,result,whole,{raw},,0",
        f"mobile,cmpp,900015,BANK,financial,report,whole,{raw},,0",
        *(f"mobile,cmpp,{account},BANK,financial,result,whole,,,0" for account in extra),
    ]
    return "\n".join(rows)


async def eventually(check: Callable[[], Any], seconds: float = DEADLINE, every: float = 0.02) -> Any:
    """What `check()` (awaited if need be) gives as soon as that is true; AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            what = inspect.getsource(check).strip() if inspect.isfunction(check) else repr(check)
            raise AssertionError(f"not within {seconds} s: {what}; last: {found!r}")
        await asyncio.sleep(every)


_BELOW_EPHEMERAL = range(10_000, 32_000)
_candidates = itertools.cycle(random.sample(_BELOW_EPHEMERAL, len(_BELOW_EPHEMERAL)))


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has now, and that no connection gets by itself until they are used.

    Tests run in several processes at once: each goes through them in an order of its own.
    """
    found: list[int] = []
    while len(found) < count:
        port = next(_candidates)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            found.append(port)
    return found


HOUSES: list["House"] = []
"""Those that stand now: a failing test shows what their nodes said last (conftest.py)."""


def listening(ports: Mapping[str, int], carriers: Mapping[str, CarrierSim]) -> str:
    """Settings: each protocol on its port, in front of its carrier."""
    return "\n".join(
        f'[[sms]]\nprotocol = "{protocol}"\nlisten = "{HOST}:{ports[protocol]}"\n'
        f'upstream = ["{HOST}:{carrier.port}"]'
        for protocol, carrier in carriers.items()
    )


class House:
    """A node with its carrier end. `async with House(…) as house:` is ready for traffic.

    With `beside` it is a further node of that one's registry, by a `name` of its own. `settings` is TOML
    added to the configuration; `profile` that of the profile file, over any_hour.py's; `filed` are
    rows of further accounts; `environment` is given to the node's processes.
    """

    def __init__(
        self,
        directory: Path,
        dsn: str,
        regions: Path,
        *,
        workers: int = 1,
        settings: str = "",
        profile: str = "",
        extra: Sequence[str] = (),
        filed: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        carrier: CarrierSim | None = None,
        name: str = "house",
        beside: "House | None" = None,
    ) -> None:
        self.name = name
        self.beside = beside
        self.directory = directory
        self.dsn = dsn
        self.workers = workers
        self.data_dir = directory / "var"
        self.path = directory / "zhengming.toml"
        self.profile_path = directory / "profile.toml"
        self.logs = directory / "log"
        self.carrier = carrier or CarrierSim(secret=SECRET, report_after=None)
        self.port, self.proxied_port, self._web, self._metrics, *others = free_ports(7)
        self.upstreams = Upstreams(*others)
        self.extra = tuple(extra)
        self.filed = tuple(filed)
        self._regions = regions
        self._settings = settings
        self.environment = dict(environment or {})
        self._subscribers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._client: aiohttp.ClientSession | None = None
        self.write_profile(profile)

    async def __aenter__(self) -> Self:
        await self.carrier.__aenter__()
        HOUSES.append(self)
        try:
            self._write_config()
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
            if not (self.data_dir / "regions.bin").exists():
                shutil.copy(self._regions, self.data_dir / "regions.bin")
            self._client = aiohttp.ClientSession()
            if self.beside is None:
                await self.fill()
            else:
                shutil.copytree(self.beside.data_dir / "keys", self.data_dir / "keys", ignore=_node_keys)
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        HOUSES.remove(self)
        try:
            await self.stop()
        finally:
            if self._client is not None:
                await self._client.close()
            await self.carrier.__aexit__()

    # The node's processes

    async def start(self) -> None:
        """Start the node and wait until it takes traffic."""
        self.launch()
        await self.ready()

    def launch(self) -> None:
        environment = dict(os.environ) | {LOG_VARIABLE: str(self.logs)} | self.environment
        environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "-c", str(self.path)],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    async def ready(self, seconds: float = 90.0) -> None:
        """Wait until all parts have said that they are ready, and /readyz says yes.

        What a part said before may be a second old, and not true any more.
        """
        why = "nothing"
        began = time.time_ns()

        async def answers() -> bool:
            nonlocal why
            if self._process is not None and self._process.poll() is not None:
                output = (self.directory / "output").read_text("utf-8", "replace")
                raise AssertionError(f"the node ended with {self._process.returncode}: {output}")
            code, why = await self.readyz()
            return code == 200 and all(self._said_at(role) > began for role in self.roles)

        try:
            await eventually(answers, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {why}; {self.log_lines()[-20:]}") from None

    def _said_at(self, role: str) -> int:
        """When a part last said how it is (ns)."""
        try:
            return (self.data_dir / "run" / f"{role}.status").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    async def readyz(self) -> tuple[int, str]:
        """Status and body of /readyz; (0, "") while nobody answers."""
        assert self._client is not None
        try:
            async with self._client.get(f"http://{HOST}:{self._web}/readyz") as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, OSError):
            return 0, ""

    async def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM to the supervisor; its exit code once everything has ended."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.terminate()
        try:
            return await asyncio.to_thread(process.wait, seconds)
        finally:
            process.kill()
            process.wait()

    @property
    def started(self) -> bool:
        return self._process is not None

    @property
    def supervisor(self) -> int:
        assert self._process is not None
        return self._process.pid

    def forget_supervisor(self) -> None:
        """After a test has ended it by itself."""
        assert self._process is not None
        self._process.wait()
        self._process = None

    @property
    def roles(self) -> list[str]:
        return status.roles(self.workers, relay=True)

    def pid(self, role: str) -> int:
        """Process id of acceptor, worker-N, keeper or web; 0 while it is not up."""
        said = status.read(self.data_dir / "run", role)
        return said.pid if said.ready else 0

    def running(self, role: str) -> int:
        """Process id of a role, ready or not; 0 while there is no such process."""
        return status.read(self.data_dir / "run", role).pid

    def pids(self) -> dict[str, int]:
        return {role: self.pid(role) for role in self.roles}

    def signal(self, role: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to one process of the node; which it was."""
        pid = self.running(role)
        assert pid, f"{role} does not run"
        os.kill(pid, number)
        return pid

    async def back(self, role: str, old: int) -> int:
        """The new process of a role whose `old` one died."""
        found: int = await eventually(lambda: pid if (pid := self.pid(role)) not in (0, old) else 0)
        return found

    # Registry

    async def fill(self) -> None:
        """Import the registry above."""
        tables = {
            "institutions": INSTITUTIONS,
            "mandates": MANDATES,
            "numbers": NUMBERS,
            "accounts": "\n".join((accounts(self.upstreams, self.extra), *self.filed)),
            "account_numbers": ACCOUNT_NUMBERS,
            "blacklist": BLACKLIST,
            "refusals": REFUSALS,
        }
        for kind, text in tables.items():
            await self.bring(kind, text)

    async def bring(self, kind: str, text: str) -> None:
        """Import a CSV."""
        path = self.directory / f"{kind}.csv"
        path.write_text(text.strip() + "\n", "utf-8")
        result = await exchange.import_file(kind, path, self.dsn, self.key, approve=PERSONS)
        assert not result.rejected, result.rejected_path.read_text("utf-8") if result.rejected_path else ""

    @property
    def key(self) -> Any:
        return load_key(self.data_dir / "keys" / "registry.key")

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement, committed at once."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(query, values)  # type: ignore[arg-type]  # a test's own SQL
            return cursor.fetchall() if cursor.description else []

    def write_profile(self, rules: str) -> None:
        self.profile_rules = rules
        base = any_hour.written(self.directory)
        self.profile_path.write_text(f'extends = "{base}"\n{rules}\n', "utf-8")

    def hang_up(self) -> None:
        """SIGHUP to the supervisor."""
        os.kill(self.supervisor, signal.SIGHUP)

    async def reload(self) -> None:
        """SIGHUP, and wait until every process has read the configuration again."""
        before = len(self.log_lines("configuration reloaded"))
        self.hang_up()
        wanted = before + len(self.roles)
        await eventually(lambda: len(self.log_lines("configuration reloaded")) >= wanted)

    def subscriber(self) -> str:
        """A number that no other test of this house sends to."""
        return f"1380000{next(self._subscribers):04d}"

    # Traffic

    def sender(self, account: str = "900001", version: int = V20, **settings: Any) -> SenderSim:
        """`async with house.sender(…) as sender:`"""
        return SenderSim(HOST, self.port, account, SECRET, version, **settings)

    # What it leaves behind

    def records(self, kind: type = rec.Attempt, **wanted: Any) -> list[Found]:
        """Records of the journal, oldest first; `subscriber`, `number` and what else `Search.find` takes."""
        if "subscriber" in wanted:
            wanted["subscriber"] = "+86" + wanted["subscriber"].removeprefix("+86")
        search = Search(self.data_dir / "journal", Keys(self.data_dir / "keys"))
        return [found for found in search.find(**wanted) if isinstance(found.record, kind)]

    def reasons(self, **wanted: Any) -> list[str]:
        """Of the attempts recorded: "" for a passed one."""
        return [found.record.judged.reason for found in self.records(**wanted)]  # type: ignore[union-attr]

    async def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """All samples of /metrics by name and labels."""
        assert self._client is not None
        async with self._client.get(f"http://{HOST}:{self._metrics}/metrics") as answer:
            text = await answer.text()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of zhengming_`name` that have these labels."""
        wanted = frozenset(labels.items())
        samples = (await self.metrics()).items()
        return sum(value for (found, has), value in samples if found == f"zhengming_{name}" and wanted <= has)

    @contextlib.asynccontextmanager
    async def counted(self, name: str, by: float = 1, **labels: str) -> AsyncIterator[None]:
        """What is done inside moves this metric by so much; that it is no more, `counts_are_true` says.

        Workers hand their counts over a few times a second: those of an earlier test may arrive inside.
        """
        before = await self.metric(name, **labels)
        yield

        async def moved() -> bool:
            return await self.metric(name, **labels) >= before + by

        await eventually(moved, every=0.1)

    async def counts_are_true(self) -> None:
        """What /metrics counts is what the journal holds: nothing counted twice, nothing forgotten."""
        wanted: Counter[tuple[str, ...]] = Counter()
        for found in self.records():
            judged = found.record.judged  # type: ignore[union-attr]
            if judged.verdict == rec.PASS and half_read.continues(found.record):  # type: ignore[arg-type]
                continue  # more of an attempt that was counted when it began
            wanted["attempts_total", judged.purpose, judged.verdict] += 1
            if judged.reason:
                wanted["intercepts_total", judged.institution, judged.reason] += 1
            for reason, _, enforced in judged.findings:
                if not enforced:
                    wanted["observed_total", reason] += 1
        for found in self.records(rec.Reply):
            if not half_read.is_part(found.record):  # type: ignore[arg-type]
                wanted["replies_total", found.record.meaning] += 1  # type: ignore[union-attr]
        labels = {
            "attempts_total": ("purpose", "verdict"),
            "intercepts_total": ("institution", "reason"),
            "observed_total": ("reason",),
            "replies_total": ("kind",),
        }

        async def agree() -> bool:
            counted: Counter[tuple[str, ...]] = Counter()
            for (name, has), value in (await self.metrics()).items():
                metric = name.removeprefix("zhengming_")
                if metric in labels and value:
                    counted[metric, *(dict(has)[label] for label in labels[metric])] += int(value)
            assert all(value <= wanted[key] for key, value in counted.items()), (counted, wanted)
            return counted == wanted

        await eventually(agree, every=0.1)

    def log_lines(self, what: str = "", **fields: Any) -> list[dict[str, Any]]:
        """Lines of all processes' logs, with this in `what` and these fields."""
        lines = []
        for path in sorted(self.logs.glob("*.log")):
            written, _, _ = path.read_bytes().rpartition(b"\n")  # a line being written may show its beginning
            for text in written.splitlines():
                line = json.loads(text)
                if what in line["what"] and all(line.get(name) == value for name, value in fields.items()):
                    lines.append(line)
        return lines

    async def lose_counts(self, attempt: Callable[[], Awaitable[object]]) -> None:
        """Take this node's counts away under it, and try until they are made again. Until a worker looks
        after its file, for a moment, it counts on in the one that is gone: an answer alone proves nothing."""
        before = len(self.log_lines("recounted"))
        for path in (self.data_dir / "counters").iterdir():
            path.unlink()

        async def again() -> bool:
            await attempt()
            return len(self.log_lines("recounted")) > before

        await eventually(again)

    async def cli(self, *arguments: str, config: bool = True) -> tuple[int, str, str]:
        """Exit code and output of a command against this node."""
        return await run_cli(*arguments, *(["-c", str(self.path)] if config else []))

    def _write_config(self) -> None:
        self.path.write_text(
            f"""[node]
name = "{self.name}"
carrier = "mobile"
data_dir = "var"
workers = {self.workers}
[database]
dsn = {json.dumps(self.dsn)}
[[sms]]
protocol = "cmpp"
listen = "{HOST}:{self.port}"
upstream = ["{HOST}:{self.carrier.port}"]
gateway_code = {GATEWAY_CODE}
[[sms]]
protocol = "cmpp"
listen = "{HOST}:{self.proxied_port}"
upstream = ["{HOST}:{self.upstreams.raw}"]
upstream_bind = "{BIND}"
proxy_protocol = true
[web]
listen = "{HOST}:{self._web}"
[metrics]
listen = "{HOST}:{self._metrics}"
[policy]
profile = {json.dumps(str(self.profile_path))}
{self._settings}
""",
            "utf-8",
        )


def _node_keys(_: str, names: list[str]) -> list[str]:
    """What is in a folder of keys and no other node has."""
    return [name for name in names if name != "registry.key"]


async def run_cli(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `zhengming ARGUMENTS`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def refresh(carrier: CarrierSim) -> None:
    """Make a carrier that several tests use behave well again, and forget what it got."""
    carrier.faults = Faults()
    carrier.report_after, carrier.stat, carrier.reply = None, "DELIVRD", None
    carrier.submits.clear()
    carrier.counts.clear()


@contextlib.contextmanager
def database_of(dsn: str, template: str, name: str) -> Iterator[str]:
    """A fresh database of the embedded server, migrated and empty. Its files are copied: the default writes
    every page of them into the log too."""
    made = f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(made)  # type: ignore[call-overload]
        try:
            yield dsn.replace("/zhengming?", f"/{name}?")
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]
