"""CMPP senders that nobody here wrote, installed from package registries and built once per checkout.

Each peer is a small program around a foreign library; all of them take the same arguments and print the same
JSON line:

    --host --port --account --secret --version 20|30 --text TEXT --from NUMBER --refused-from NUMBER
    --messages N --replies N --seconds N --parts N

    {"connected", "submitted", "results": {code: n}, "reports": {stat: n}, "replies": [text],
     "active_tests", "terminated"}

They submit N messages to 13800000000 and following with a report asked for, every third one from the number
that is to be refused, wait for all answers, reports and `--replies` replies, test the link and terminate.
`--parts` is how many submits, and answers, the library makes of one text.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
BUILD = HERE.parent.parent / "build" / "interop"


@dataclass(frozen=True)
class Peer:
    """A foreign sender: its library, the tools that build it, the CMPP versions that it speaks.

    CI installs the tools of those that are `expected`; the others are tried where their tools stand. Some
    libraries split long texts, and join the parts of long replies, by themselves.
    """

    name: str
    library: str
    tools: tuple[str, ...]
    versions: tuple[str, ...]
    build: Callable[[Path], list[str]]
    expected: bool = True
    splits: bool = False
    joins: bool = False

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

    def drive(self, **options: object) -> dict[str, Any]:
        """Run it to its end; what it counted."""
        words = [
            word
            for key, value in options.items()
            for word in (f"--{key.strip('_').replace('_', '-')}", str(value))
        ]
        run = subprocess.run(
            [*self.command(), *words], capture_output=True, text=True, check=False, timeout=180
        )
        assert run.returncode == 0, f"{self.name}: {run.stderr[-4000:]}"
        counted: dict[str, Any] = json.loads(run.stdout)
        return counted


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=900)


def _gocmpp(folder: Path) -> list[str]:
    built = _run(folder, "go", "build", "-o", "peer", ".")
    assert built.returncode == 0, built.stderr
    return [str(folder / "peer")]


def _smsgate(folder: Path) -> list[str]:
    classpath = folder / "classpath"
    peer = folder / "target/classes/Peer.class"
    newest = max(path.stat().st_mtime for path in (HERE / "smsgate").rglob("*") if path.is_file())
    if not classpath.exists() or not peer.exists() or peer.stat().st_mtime < newest:
        built = _run(
            folder,
            "mvn", "--quiet", "--batch-mode", "--strict-checksums", "compile",
            "dependency:build-classpath", f"-Dmdep.outputFile={classpath}",
        )  # fmt: skip
        assert built.returncode == 0, built.stdout + built.stderr
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
    return ["java", quiet, "-cp", f"{folder}/target/classes:{classpath.read_text().strip()}", "Peer"]


def _cmppprotocol(folder: Path) -> list[str]:
    built = _run(folder, "cargo", "build", "--quiet")
    assert built.returncode == 0, built.stderr
    return [str(folder / "target/debug/cmppprotocol-peer")]


PEERS = (
    Peer(
        "smsgate",
        "SMSGate sms-core 2.1.13 (Java)",
        ("mvn", "java", "javac"),
        ("20", "30"),
        _smsgate,
        splits=True,
        joins=True,
    ),
    Peer(
        "cmppprotocol",
        "cmppprotocol 0.1 (Rust)",
        ("cargo",),
        ("20",),
        _cmppprotocol,
        expected=False,
        splits=True,
    ),
    Peer("gocmpp", "bigwhite/gocmpp (Go)", ("go",), ("20", "21", "30"), _gocmpp),
)
