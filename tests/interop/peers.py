"""Senders and carriers' ends that nobody here wrote, installed from package registries, built once per
checkout.

Each peer is a small program around a foreign library; all of them take the same arguments, pass over those
that they have no use for, and print one JSON line. Both ends take

    --protocol --port --account --secret --version 20|30|34|…

A sender (`--end sender`) takes besides

    --host --text TEXT --from NUMBER --refused-from NUMBER --messages N --replies N --seconds N --parts N

submits N messages to 13800000000 and following with a report asked for, every third one from the number that
is to be refused, waits for all answers, reports and `--replies` replies, tests the link, takes its leave and
says

    {"connected", "submitted", "results": {code: n}, "reports": {stat: n}, "replies": [text],
     "active_tests", "terminated"}

`--parts` is how many submits, and answers, it makes of one text. A carrier's end (`--end carrier`) takes

    --refuse-every N --reply-every N --reply-text TEXT

lets that account in, refuses every N-th submit, reports the others as delivered, lets the subscriber of
every N-th reply, and says when it gets SIGTERM

    {"logins", "submits", "reports", "reports_answered", "replies", "replies_answered", "closed_terminated"}
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
BUILD = HERE.parent.parent / "build" / "interop"
RUN_SECONDS = 120


@dataclass(frozen=True)
class Peer:
    """A foreign library, the tools that its program needs, and how to build and start it.

    CI installs the tools of those that are `expected`; the others are tried where their tools stand. One that
    `joins` tells its user of a long reply once; one that `sums`, one result and report of a text in parts.
    """

    name: str
    library: str
    tools: tuple[str, ...]
    build: Callable[[Path], list[str]]
    expected: bool = True
    joins: bool = False
    sums: bool = False

    @cache  # noqa: B019 - as many as there are peers
    def command(self) -> list[str]:
        """How to start it, once it is built. Skips the test where it can't be had, saying why."""
        absent = [tool for tool in self.tools if shutil.which(tool) is None]
        if absent:
            awaited = self.expected and os.environ.get("CI")
            assert not awaited, f"{self.name} needs {', '.join(absent)}, which CI must install"
            pytest.skip(f"{self.library} is not tried: {', '.join(absent)} is not on this machine")
        folder = BUILD / self.name
        shutil.copytree(HERE / self.name, folder, dirs_exist_ok=True)
        return self.build(folder)

    def send(self, **options: object) -> dict[str, Any]:
        """Be the sender, to the end; what it counted."""
        run = subprocess.run(
            [*self.command(), "--end", "sender", *words_of(options)],
            capture_output=True, text=True, check=False, timeout=RUN_SECONDS,
        )  # fmt: skip
        assert run.returncode == 0, f"{self.name}: {run.stderr[-4000:]}"
        counted: dict[str, Any] = json.loads(run.stdout)
        return counted

    @contextlib.contextmanager
    def carry(self, **options: object) -> Iterator[dict[str, Any]]:
        """Be the carrier's end on `port`; what it counted is there when it has ended."""
        with serving([*self.command(), "--end", "carrier", *words_of(options)], options["port"]) as counts:
            yield counts


def words_of(options: dict[str, object]) -> list[str]:
    return [
        word
        for key, value in options.items()
        for word in (f"--{key.strip('_').replace('_', '-')}", str(value))
    ]


@contextlib.contextmanager
def serving(command: list[str], port: object) -> Iterator[dict[str, Any]]:
    """A program that listens on `port` until SIGTERM; what it then prints is filled in."""
    counts: dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            await_port(int(str(port)))
            yield counts
        finally:
            process.send_signal(signal.SIGTERM)
            counts.update(json.loads(process.communicate(timeout=30)[0]))


def await_port(port: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < deadline, f"nothing listens on port {port}"
        time.sleep(0.05)


def _run(folder: Path, *command: str) -> None:
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=900)
    assert built.returncode == 0, built.stdout + built.stderr


def _gocmpp(folder: Path) -> list[str]:
    _run(folder, "go", "build", "-o", "peer", ".")
    return [str(folder / "peer")]


def _smsgate(folder: Path) -> list[str]:
    classpath = folder / "classpath"
    peer = folder / "target/classes/Peer.class"
    newest = max(path.stat().st_mtime for path in (HERE / "smsgate").rglob("*") if path.is_file())
    if not classpath.exists() or not peer.exists() or peer.stat().st_mtime < newest:
        _run(
            folder,
            "mvn", "--quiet", "--batch-mode", "--strict-checksums", "compile",
            "dependency:build-classpath", f"-Dmdep.outputFile={classpath}",
        )  # fmt: skip
    # each refused message is an error to its log
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=off"
    # one short run after the other: what a compiler learns is of no use to the next
    fast = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    return ["java", quiet, *fast, "-cp", f"{folder}/target/classes:{classpath.read_text().strip()}", "Peer"]


def _cmppprotocol(folder: Path) -> list[str]:
    _run(folder, "cargo", "build", "--quiet")
    return [str(folder / "target/debug/cmppprotocol-peer")]


def _npmsmpp(folder: Path) -> list[str]:
    _run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    return ["node", str(folder / "peer.js")]


def _python(folder: Path) -> list[str]:
    return [sys.executable, str(folder / "sender.py")]


KANNEL = ("/usr/sbin/bearerbox", "/usr/sbin/smsbox")
PEERS = {
    peer.name: peer
    for peer in (
        Peer("smsgate", "SMSGate sms-core 2.1.13.5 (Java)", ("mvn", "java", "javac"), _smsgate, joins=True),
        Peer("cmppprotocol", "cmppprotocol 0.1 (Rust)", ("cargo",), _cmppprotocol, expected=False),
        Peer("gocmpp", "bigwhite/gocmpp e611134 (Go)", ("go",), _gocmpp),
        Peer("smpplib", "python-smpplib 2.2.4", (), _python),
        Peer("npmsmpp", "npm smpp 0.5.1", ("node", "npm"), _npmsmpp),
        Peer("kannel", "Kannel 1.4.5 (Debian)", KANNEL, _python, joins=True, sums=True),
    )
}
