"""A demo node without traffic of its own, in front of one port for each protocol, where carriers' ends come
and go."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import any_hour
from peers import serving
from playbook import free_ports

from gateway.config import PROTOCOLS

ZHENGMING = Path(sys.executable).parent / "zhengming"
SECRET = "s3cret"


@dataclass(frozen=True)
class Node:
    folder: Path
    ready: dict[str, Any]
    carriers: Mapping[str, int]
    """Ports to which it dials, by protocol."""

    def port(self, protocol: str) -> int:
        """Where its senders log in."""
        return int(self.ready["listeners"][protocol].rpartition(":")[2])

    def callback(self, protocol: str) -> int:
        """Where its carrier calls."""
        return int(self.ready["callbacks"][protocol].rpartition(":")[2])

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

    def records(self, number: str, *words: str) -> list[dict[str, Any]]:
        """What the journal has of one sending number."""
        found: list[dict[str, Any]] = json.loads(
            self.command("records", "find", "--number", number, "--json", "--limit", "10000", *words)
        )
        return found

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
    def carrier(self, protocol: str, *words: str) -> Iterator[dict[str, Any]]:
        """`zhengming simulate carrier`; what it counted is there when it has ended."""
        port = self.carriers[protocol]
        command = [str(ZHENGMING), "simulate", "carrier", "--protocol", protocol, *words]
        command += ["--port", str(port), "--secret-file", str(self.folder / "shared")]
        with serving(command, port) as counts:
            yield counts


@contextlib.contextmanager
def standing(folder: Path, **settings: str) -> Iterator[Node]:
    """The node, from its start to its end; marketing passes at any hour. `settings`: of the environment."""
    (folder / "shared").write_text(SECRET, "ascii")
    protocols = (*PROTOCOLS, "sip")
    carriers = dict(zip(protocols, free_ports(len(protocols)), strict=True))
    command: list[str | Path] = [ZHENGMING, "demo", "--no-traffic", "--dir", folder]
    command += ["--profile", any_hour.written(folder)]
    for protocol, port in carriers.items():
        command += ["--carrier", f"{protocol}=127.0.0.1:{port}"]
    with (folder / "output").open("wb") as output:
        demo = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | settings)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "ready.json").exists():
            said = (folder / "output").read_text("utf-8", "replace")
            assert demo.poll() is None, said[-3000:]
            assert time.monotonic() < deadline, said[-3000:]
            time.sleep(0.1)
        yield Node(folder, json.loads((folder / "ready.json").read_text("utf-8")), carriers)
    finally:
        demo.send_signal(signal.SIGTERM)
        demo.wait(60)
