"""The processes that a benchmark is made of: carrier end, load generator, bare relay, gateway.

Everything listens on 127.0.0.1 and is ended by whoever started it. Times are seconds, memory MiB. It knows
the gateway by its commands, files and /metrics only (contract.md), so that it measures what a user runs.
"""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ZHENGMING = Path(sys.executable).parent / "zhengming"
TICK = os.sysconf("SC_CLK_TCK")

PASSING, REFUSED = "1069", "1060"  # the harness's senders are <prefix>NNNNNN; only the first is registered
SIGNATURES = ["示例银行", "浙海示例银行", "西湖示例小贷", "钱塘示例消金"]
ACCOUNTS = [f"77000{n}" for n in range(8)]


HOURS = '{ marketing = "00:00-24:00", collection = "00:00-24:00" }'

EVERY_RULE = (
    f"[rules.quiet_hours]\nsms = {HOURS}\nvoice = {HOURS}\n"
    '[rules.over_frequency]\nmode = { marketing = "observe", collection = "observe" }\n'
)
"""What differs from `zhejiang` so that every rule is asked of every message, at whatever hour this runs; caps
are counted but only watched, as each run has the same recipients."""

LATER_RULES = ("consent_missing", "third_party", "no_reply_path", "quiet_hours", "over_frequency")
"""The rules that came with the issue on when a message may come at all."""

SPINE = "".join(f'[rules.{rule}]\nmode = "off"\n' for rule in LATER_RULES)
"""What differs so that the rules of the spine are asked alone."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def compile_harness(into: Path) -> None:
    for program, source in (("bench-senders", "loadgen.c"), ("bench-carrier", "smscsim.c")):
        subprocess.run(["gcc", "-O2", "-w", "-o", into / program, source], check=True, cwd=HERE)


@contextlib.contextmanager
def running(*command: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_port(port: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port} after {seconds} s")


def await_udp(port: int, seconds: float = 30) -> None:
    """Until the kernel lists a socket there."""
    deadline = time.monotonic() + seconds
    while f":{port:04X} " not in Path("/proc/net/udp").read_text("ascii"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens on UDP port {port} after {seconds} s")
        time.sleep(0.02)


def family(pid: int) -> Iterator[int]:
    """A process and all that it started."""
    yield pid
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from family(int(child))


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of these processes, of what they started, and of what of that has ended."""
    total = 0
    for pid in {member for root in pids for member in family(root)}:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(field) for field in fields[11:15])
    return total / TICK


def anonymous_mib(pid: int) -> float:
    found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


@dataclass
class Bench:
    """One folder with the compiled harness and the texts, one carrier end on `carrier_port`."""

    folder: Path
    carrier_port: int
    texts: Path

    @property
    def stats(self) -> Path:
        return self.folder / "carrier.stats"

    @contextlib.contextmanager
    def carrier(self, protocol: str) -> Iterator[tuple[int, Path]]:
        """One more carrier end, of another protocol; its port and its counters."""
        port, stats = free_port(), self.folder / f"{protocol}.stats"
        command = ["--proto", protocol, "--port", str(port), "--max-seconds", "7200", "--stats", str(stats)]
        with running(self.folder / "bench-carrier", *command, stdout=subprocess.DEVNULL):
            await_port(port)
            yield port, stats

    def load(self, port: int, *arguments: str) -> dict[str, Any]:
        """One run of the load generator, CMPP 2.0 unless told otherwise; what it prints, as a dictionary."""
        run = subprocess.run(
            [
                self.folder / "bench-senders", "--proto", "cmpp2", "--port", str(port), "--pass", "secret",
                "--user", "77000%d", "--text", "signed", "--texts", self.texts, "--from", PASSING,
                "--refuse-from", REFUSED, "--refuse-every", "10", "--repeat-every", "5",
                "--stats", self.stats, "--max-seconds", "120", *arguments,
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if run.returncode or not run.stdout.strip():
            raise RuntimeError(f"loadgen ended with {run.returncode}: {run.stderr.strip()}")
        report: dict[str, Any] = json.loads(run.stdout)
        return report


@contextlib.contextmanager
def bench(passes: Any) -> Iterator[Bench]:
    """`passes(text)` says which texts of the corpus a registered sender may send."""
    folder = Path(tempfile.mkdtemp(prefix="zhengming-bench-"))
    try:
        compile_harness(folder)
        with (ROOT / "tests/vectors/messages.csv").open(encoding="utf-8", newline="") as file:
            corpus = [row["text"] for row in csv.DictReader(file)]
        texts = folder / "texts"
        texts.write_text(
            "\n".join(text for text in corpus if len(text) <= 70 and passes(text)) + "\n", "utf-8"
        )
        port = free_port()
        one = Bench(folder, port, texts)
        command = [
            "--proto",
            "cmpp2",
            "--port",
            str(port),
            "--max-seconds",
            "7200",
            "--stats",
            str(one.stats),
        ]
        with running(folder / "bench-carrier", *command, stdout=subprocess.DEVNULL):
            await_port(port)
            yield one
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def relay(one: Bench, processes: int = 1) -> Iterator[tuple[int, list[int]]]:
    """The bare relay at level 2; with several processes they share the port. Yields port and pids."""
    port = free_port()
    command = [
        sys.executable,
        str(HERE / "relay.py"),
        "--proto",
        "cmpp2",
        "--level",
        "2",
        "--seconds",
        "7200",
    ]
    ports = ["--listen", str(port), "--up", str(one.carrier_port)]
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(running(*command, *ports)) for _ in range(processes)]
        await_port(port)
        time.sleep(1)  # the second one's listening socket
        yield port, [process.pid for process in started]


class Gateway:
    """A whole node in a folder of its own: `zhengming serve` with the embedded PostgreSQL.

    It carries CMPP to the bench's carrier end, and what `others` names to the ports given there.
    """

    def __init__(self, one: Bench, workers: int, folder: Path, others: dict[str, int] | None = None) -> None:
        self.web, self._metrics = free_port(), free_port()
        self._upstreams = {"cmpp": one.carrier_port, **(others or {})}
        self.ports = {protocol: free_port() for protocol in self._upstreams}
        self.port = self.ports["cmpp"]
        self.folder = folder
        self.config = folder / "zhengming.toml"
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(workers)

    def configure(self, workers: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._workers = workers
        self.judge_by(EVERY_RULE)
        listeners = "".join(
            f"""[[sms]]
protocol = "{protocol}"
listen = "127.0.0.1:{self.ports[protocol]}"
upstream = ["127.0.0.1:{upstream}"]
"""
            for protocol, upstream in self._upstreams.items()
        )
        self.config.write_text(
            f"""[node]
name = "bench"
carrier = "mobile"
data_dir = "var"
workers = {workers}
{listeners}[web]
listen = "127.0.0.1:{self.web}"
[metrics]
listen = "127.0.0.1:{self._metrics}"
[policy]
profile = "{self.folder / "bench.toml"}"
[evidence]
durability = "disk"
""",
            "utf-8",
        )
        assert tomllib.loads(self.config.read_text("utf-8"))

    def judge_by(self, profile: str) -> None:
        """The profile's text, from the next start on."""
        (self.folder / "bench.toml").write_text(f'extends = "zhejiang"\n{profile}', "utf-8")

    def start(self) -> None:
        with (self.folder / "serve.log").open("ab") as log:
            self._process = subprocess.Popen([ZHENGMING, "serve", "-c", self.config], stdout=log, stderr=log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
            self._process = None

    def await_ready(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.web}/readyz", timeout=2).close()
                return
            time.sleep(0.05)
        log = (self.folder / "serve.log").read_text("utf-8", "replace")
        raise RuntimeError(f"the node is not ready:\n{log[-3000:]}")

    def command(self, *words: str | Path) -> float:
        """Run `zhengming …` against this node; seconds that it took."""
        began = time.monotonic()
        self.said(*words)
        return time.monotonic() - began

    def said(self, *words: str | Path) -> str:
        """What `zhengming …` prints."""
        run = subprocess.run(
            [ZHENGMING, *words, "-c", self.config], capture_output=True, text=True, check=False
        )
        if run.returncode:
            raise RuntimeError(f"zhengming {' '.join(map(str, words))}: {run.stdout}{run.stderr}")
        return run.stdout

    def started(self, *words: str | Path) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        """`zhengming …` under way beside this node."""
        return running(ZHENGMING, *words, "-c", self.config, stdout=subprocess.DEVNULL)

    def token(self, *whose: str) -> str:
        """A token to the API, for a user of this role."""
        (made,) = json.loads(self.said("token", "create", *whose, "--json"))
        return str(made["token"])

    def asked(self, path: str, token: str, body: dict[str, Any] | None = None) -> Any:
        """What the API answers to a GET, or with a body to a POST."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        asking = urllib.request.Request(f"http://127.0.0.1:{self.web}{path}", data, headers)
        with urllib.request.urlopen(asking, timeout=120) as answer:
            return json.loads(answer.read())

    def part(self, role: str) -> int:
        """Process id of acceptor, keeper or web."""
        return int(json.loads((self.folder / "var" / "run" / f"{role}.status").read_text())["pid"])

    def pids(self) -> list[int]:
        """Supervisor with all its parts, and PostgreSQL's postmaster wherever it was started from."""
        assert self._process is not None
        found = [self._process.pid]
        for lock in self.folder.rglob("postmaster.pid"):
            found.append(int(lock.read_text().split()[0]))
        return found

    def workers(self) -> list[int]:
        files = sorted((self.folder / "var" / "run").glob("worker-*.status"))
        return [int(json.loads(file.read_text())["pid"]) for file in files[: self._workers]]

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))

    def await_shipped(self, seconds: float = 300) -> None:
        """Until everything recorded has reached PostgreSQL: what it costs belongs to the run."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.metric("zhengming_journal_unshipped_records") == 0:
                return
            time.sleep(0.2)
        raise TimeoutError("records are still not in PostgreSQL")

    def await_metric(self, name: str, value: float, seconds: float = 10) -> None:
        """Until it is exactly so much: workers add up a few times a second."""
        deadline = time.monotonic() + seconds
        while (found := self.metric(name)) != value:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} is {found:,.0f}; right would be {value:,.0f}")
            time.sleep(0.1)

    def await_indexed(self, writer: str, seconds: float = 600) -> None:
        """Until each segment of a writer who is gone has its index."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            paths = (self.folder / "var" / "journal" / writer).glob("*.seg")
            if all(path.with_suffix(".idx").exists() for path in paths):
                return
            time.sleep(0.5)
        raise TimeoutError(f"segments of {writer} are still without an index")

    def await_registry(self) -> None:
        """Until the node's replica has followed the imports: its version has not moved for three seconds."""
        version, since = -1.0, time.monotonic()
        while time.monotonic() - since < 3:
            now = self.metric("zhengming_registry_version")
            if now != version:
                version, since = now, time.monotonic()
            time.sleep(0.2)

    def fill(self, numbers: int, refusals: int) -> dict[str, float]:
        """The registry that the goals name, through `zhengming import`; seconds by kind."""
        tables = {
            "institutions": (
                ["code", "name", "kind", "licence_scope"],
                [["BENCH", "示例银行", "bank", "marketing;collection;service"]]
                + [[f"B{n:03}", f"示例机构{n:03}", "bank", "marketing;service"] for n in range(100)],
            ),
            "accounts": (
                ["carrier", "protocol", "account", "holder"],
                [["mobile", protocol, account, "BENCH"] for protocol in self.ports for account in ACCOUNTS],
            ),
            "numbers": (
                ["number", "extension_digits", "channels", "purposes", "institution", "signatures"],
                [[PASSING, "6", "sms", "marketing", "BENCH", ";".join(SIGNATURES)]]
                + [
                    [f"10681{n:06}", "0", "sms", "marketing", f"B{n % 100:03}", "示例机构"]
                    for n in range(numbers)
                ],
            ),
            "refusals": (
                ["subscriber", "institution", "purposes", "channels"],
                ([f"139{n:08}", f"B{n % 100:03}", "marketing", "sms;voice"] for n in range(refusals)),
            ),
        }  # fmt: skip
        took = {}
        for kind, (header, rows) in tables.items():
            path = self.folder / f"{kind}.csv"
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(header)
                writer.writerows(rows)
            took[kind] = self.command(
                "import", kind, path, "--approve", "--as", "checker", "--by", "approver"
            )
            rejected = path.with_name(path.name + ".rejected.csv")
            if rejected.exists():
                raise RuntimeError(f"{kind}: rows were rejected:\n{rejected.read_text('utf-8')[:1000]}")
        return took
