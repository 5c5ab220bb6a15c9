"""Foreign CMPP senders work unchanged: against a plain carrier end, and through the gateway.

The plain carrier end (tests/bench/smscsim.c, which nobody here wrote either) proves the peers themselves, so
that what differs through the gateway is the gateway's doing.
"""

import contextlib
import csv
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import any_hour
import pytest
from peers import PEERS, Peer

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parent.parent.parent
ZHENGMING = Path(sys.executable).parent / "zhengming"
TEXT = "【示例银行】新户专享利率，拒收请回复R"
LONG = "".join(f"【示例银行】第{line}条：您的账单已出，请于到期日前还款。" for line in range(1, 7))
LONG_REPLY = "您好，我已经还清了全部欠款，请核实以后再联系我。" * 4
MESSAGES = 30
CASES = [
    pytest.param(peer, version, id=f"{peer.name}-{version}") for peer in PEERS for version in peer.versions
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(port: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < deadline, f"nothing listens on port {port}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def plain_carrier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("carrier") / "smscsim"
    source = ROOT / "tests/bench/smscsim.c"
    subprocess.run(["gcc", "-O2", "-w", "-o", program, source], check=True)
    return program


@contextlib.contextmanager
def carrier_end(program: Path, version: str, port: int) -> Iterator[dict[str, int]]:
    """smscsim refusing every third submit and reporting the others; counts are filled in when it ends."""
    stats = program.with_name("stats")
    words = [
        "--proto",
        f"cmpp{version[0]}",
        "--port",
        str(port),
        "--secret",
        "s3cret",
        "--max-seconds",
        "120",
    ]
    words += ["--dlr", "--reject-every", "3", "--stats", str(stats)]
    counts: dict[str, int] = {}
    with subprocess.Popen([program, *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            await_port(port)
            yield counts
        finally:
            process.send_signal(signal.SIGTERM)
            counts.update(json.loads(process.communicate(timeout=30)[0]))


@pytest.mark.parametrize(("peer", "version"), CASES)
def test_peer_agrees_with_a_plain_carrier_end(peer: Peer, version: str, plain_carrier: Path) -> None:
    peer.command()
    port = free_port()
    with carrier_end(plain_carrier, version, port) as carrier:
        sender = peer.drive(
            port=port, account="900001", secret="s3cret", version=version, verify="no", text=TEXT,
            from_="10690001", refused_from="10699999", messages=MESSAGES, seconds=30,
        )  # fmt: skip
    assert sender["submitted"] == MESSAGES == carrier["submits"]
    assert sender["results"] == {"0": 20, "9": 10}
    assert sender["reports"] == {"DELIVRD": 20}
    assert carrier["dlr_acked"] == 20
    assert sender["active_tests"] >= 1
    assert sender["terminated"]


@dataclass
class Node:
    """A demo node without traffic of its own, in front of whatever listens on `carrier_port`."""

    folder: Path
    ready: dict[str, Any]
    carrier_port: int

    def command(self, *words: str | Path) -> str:
        run = subprocess.run(
            [ZHENGMING, *words, "-c", self.ready["config"]], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, f"{words}: {run.stdout}{run.stderr}"
        return run.stdout

    def fill(self, kind: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        path = self.folder / f"{kind}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        self.command("import", kind, path, "--approve", "--as", "checker", "--by", "approver")

    def counters(self) -> Counter[str]:
        """Attempts by verdict and replies by kind, as /metrics adds them up."""
        with urllib.request.urlopen(self.ready["metrics"], timeout=10) as answer:
            text = answer.read().decode()
        found: Counter[str] = Counter()
        for labels, value in re.findall(r"^zhengming_attempts_total\{(.*)\} (\S+)$", text, re.MULTILINE):
            found[re.search(r'verdict="(\w+)"', labels)[1]] += int(float(value))  # type: ignore[index]
        for labels, value in re.findall(r"^zhengming_replies_total\{(.*)\} (\S+)$", text, re.MULTILINE):
            found["reply " + re.search(r'kind="(\w+)"', labels)[1]] += int(float(value))  # type: ignore[index]
        return found

    def gained(self, before: Counter[str], expected: dict[str, int]) -> Counter[str]:
        """What was counted since; workers add up four times a second, so this waits for `expected`."""
        deadline = time.monotonic() + 10
        while (gained := self.counters() - before) != expected and time.monotonic() < deadline:
            time.sleep(0.1)
        return gained

    @contextlib.contextmanager
    def carrier(self, *words: str) -> Iterator[dict[str, Any]]:
        """`zhengming simulate carrier`; what it counted is there when it has ended."""
        command = [str(ZHENGMING), "simulate", "carrier", "--protocol", "cmpp", *words]
        command += ["--port", str(self.carrier_port), "--secret-file", str(self.folder / "shared")]
        counts: dict[str, Any] = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                await_port(self.carrier_port)
                yield counts
            finally:
                process.send_signal(signal.SIGTERM)
                counts.update(json.loads(process.communicate(timeout=30)[0]))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("demo")
    (folder / "shared").write_text("s3cret", "ascii")
    carrier_port = free_port()
    profile = any_hour.written(folder)  # marketing that passes by day must pass in a nightly run too
    command: list[str | Path] = [ZHENGMING, "demo", "--no-traffic", "--dir", folder, "--profile", profile]
    with (folder / "output").open("wb") as output:
        demo = subprocess.Popen(
            [*command, "--carrier", f"cmpp=127.0.0.1:{carrier_port}"], stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 120
        while not (folder / "ready.json").exists():
            said = (folder / "output").read_text("utf-8", "replace")
            assert demo.poll() is None, said[-3000:]
            assert time.monotonic() < deadline, said[-3000:]
            time.sleep(0.1)
        node = Node(folder, json.loads((folder / "ready.json").read_text("utf-8")), carrier_port)
        names = range(len(CASES))
        node.fill(
            "institutions",
            ["code", "name", "kind", "licence_scope"],
            [[f"IOP{n}", f"互通示例银行{n}", "bank", "marketing;service"] for n in names],
        )
        node.fill(
            "accounts",
            ["carrier", "protocol", "account", "holder", "refusal_manner"],
            [
                *(["mobile", "cmpp", f"88000{n}", f"IOP{n}", "result"] for n in names),
                *(["mobile", "cmpp", f"88100{n}", f"IOP{n}", "report"] for n in names),
            ],
        )
        node.fill(
            "numbers",
            ["number", "channels", "purposes", "institution", "signatures"],
            [
                *([f"1068800{n}", "sms", "marketing", f"IOP{n}", "示例银行"] for n in names),
                *([f"1068900{n}", "sms", "service", f"IOP{n}", "示例银行"] for n in names),
            ],
        )
        yield node
    finally:
        demo.send_signal(signal.SIGTERM)
        demo.wait(60)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> int:
    """The number of a peer and version, which has accounts and numbers of its own."""
    return [param.id for param in CASES].index(request.node.callspec.id)


def through(node: Node, version: str, account: str, number: str, **others: object) -> dict[str, object]:
    """What a peer is told so that it sends through the gateway."""
    return {
        "port": node.ready["listeners"]["cmpp"].rpartition(":")[2], "account": account, "secret": "s3cret",
        "version": version, "text": TEXT, "from_": number, "refused_from": "10697777",
        "messages": MESSAGES, "seconds": 30,
    } | others  # fmt: skip


@pytest.mark.parametrize(("peer", "version"), CASES)
def test_peer_works_unchanged_through_the_gateway(peer: Peer, version: str, node: Node, case: int) -> None:
    peer.command()
    number = f"1068800{case}"
    options = through(node, version, f"88000{case}", number)

    before = node.counters()
    with node.carrier("--reply-every", "10") as carrier:
        sender = peer.drive(**options, replies=2)

    assert sender["submitted"] == MESSAGES
    assert sender["results"].pop("0") == 20
    assert sum(sender["results"].values()) == 10, "every third number is not registered"
    assert all(100 <= int(code) < 200 for code in sender["results"]), "refused by us, not by the carrier"
    assert sender["reports"] == {"DELIVRD": 20}
    assert sender["replies"] == ["R", "R"]
    assert sender["active_tests"] >= 1
    assert sender["terminated"]
    assert carrier["submits"] == 20
    assert carrier["reports_answered"] == 20
    assert carrier["replies_answered"] == 2
    assert carrier["closed_terminated"] == 1
    expected = {"pass": 20, "refuse": 10, "reply refuse": 2}
    assert node.gained(before, expected) == expected

    # the two who said R are shielded at once: the same messages again, two fewer pass
    with node.carrier() as carrier:
        sender = peer.drive(**options)
    assert sender["results"].pop("0") == 18 == carrier["submits"]
    assert sum(sender["results"].values()) == 12
    records = json.loads(node.command("records", "find", "--number", number, "--json", "--limit", "1000"))
    again = {"pass": 38, "refuse": 22, "reply refuse": 2}
    assert node.gained(before, again) == again
    verdicts = Counter(record["reason"] or "pass" for record in records if record["kind"] == "attempt")
    assert verdicts == {"pass": 38, "refused_by_subscriber": 2}


@pytest.mark.parametrize(("peer", "version"), CASES)
def test_peer_hears_of_refusals_by_report(peer: Peer, version: str, node: Node, case: int) -> None:
    """Our own reports stand among the carrier's: read, counted and acknowledged like them."""
    peer.command()
    with node.carrier() as carrier:
        sender = peer.drive(**through(node, version, f"88100{case}", f"1068900{case}"))
    assert sender["results"] == {"0": MESSAGES}
    assert sender["reports"] == {"DELIVRD": 20, "REJECTD": 10}
    assert sender["terminated"]
    assert carrier["reports_answered"] == carrier["submits"] == 20


@pytest.mark.parametrize(("peer", "version"), CASES)
def test_peer_reads_a_long_reply(peer: Peer, version: str, node: Node, case: int) -> None:
    peer.command()
    options = through(node, version, f"88000{case}", f"1068900{case}", replies=2 if peer.joins else 4)
    with node.carrier("--reply-every", "10", "--reply-text", LONG_REPLY) as carrier:
        sender = peer.drive(**options)
    assert "".join(sender["replies"]) == LONG_REPLY * 2
    assert carrier["replies"] == carrier["replies_answered"] == 4
    assert sender["terminated"]


@pytest.mark.parametrize(("peer", "version"), [case for case in CASES if case.values[0].splits])
def test_peer_sends_a_long_text(peer: Peer, version: str, node: Node, case: int) -> None:
    """Its parts are forwarded, answered and reported one by one, and what they say is one attempt."""
    peer.command()
    number, parts = f"1068900{case}", 3
    since = datetime.now(UTC).isoformat()
    with node.carrier() as carrier:
        sender = peer.drive(**through(node, version, f"88000{case}", number, text=LONG, parts=parts))
    assert sender["submitted"] == MESSAGES
    assert sender["results"].pop("0") == 20 * parts == carrier["submits"]
    assert sum(sender["results"].values()) == 10 * parts
    assert sender["reports"] == {"DELIVRD": 20 * parts}
    words = ("--number", number, "--subscriber", "13800000000", "--since", since, "--json")
    words = (*words, "--reveal", "--reason", "interop", "--by", "regulator")
    records = [r for r in json.loads(node.command("records", "find", *words)) if r["kind"] == "attempt"]
    assert [(r["pk_number"], r["pk_total"], r["text"]) for r in records] == [(0, parts, LONG)]
