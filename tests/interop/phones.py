"""Callers and callees that nobody here wrote: SIPp (Debian's sip-tester) by the scenarios in sipp/, and
baresip, a phone. Both are programs that stand on the machine; CI installs them.
"""

import contextlib
import csv
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
HOST = "127.0.0.1"
RUN_SECONDS = 240
NAMES = {
    "From": "f",
    "To": "t",
    "Call-ID": "i",
    "Contact": "m",
    "Content-Type": "c",
    "Content-Length": "l",
}
"""Compact ones of the rows that scenarios send (RFC 3261 §7.3.3). Not of Via: below ours, SIPp as a
callee answers without it."""


def needed(program: str) -> str:
    """Its path. Skips the test where it is not, saying so; CI must have it."""
    found = shutil.which(program)
    assert found or not os.environ.get("CI"), f"CI must install {program}"
    return found or pytest.skip(f"{program} is not on this machine")


@dataclass(frozen=True)
class Counted:
    """What SIPp's statistics say at the end. `counters`: of the scenario's counter 1, 2, 3."""

    calls: int
    good: int
    failed: int
    repeats: int
    counters: tuple[int, ...]


@dataclass(frozen=True)
class Sipp:
    """SIPp in a folder of its own runs; `transport`: what callers use, udp or tcp; callees use UDP."""

    folder: Path
    transport: str = "udp"

    def call(
        self,
        node: int,
        numbers: Sequence[tuple[str, str]],
        *,
        scenario: str = "caller",
        compact: bool = False,
        rate: int = 100,
        lost: int = 0,
    ) -> Counted:
        """Make these calls (who, whom), and wait for their ends."""
        name = f"{scenario}-{self.transport}-{compact}-{lost}"
        path = self.folder / f"{name}.xml"
        text = (HERE / "sipp" / f"{scenario}.xml").read_text("utf-8")
        if compact:
            for row, letter in NAMES.items():
                text = text.replace(f"\n{row}: ", f"\n{letter}: ")
        path.write_text(text, "utf-8")
        values = self.folder / f"{name}.csv"
        values.write_text("SEQUENTIAL\n" + "".join(f"{a};{b}\n" for a, b in numbers), "utf-8")
        words = ["-inf", values, "-m", str(len(numbers)), "-r", str(rate), "-lost", str(lost)]
        run = subprocess.run(
            [*self._command(path, name, self.transport), *words, f"{HOST}:{node}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=RUN_SECONDS,
            cwd=self.folder,
        )  # fmt: skip
        counted = self._counted(name)
        assert run.returncode in (0, 1), f"{counted} {run.stderr[-3000:]}"
        return counted

    @contextlib.contextmanager
    def called(self, port: int, scenario: str = "callee", *, lost: int = 0) -> Iterator[list[Counted]]:
        """Take calls at `port`; what was counted is there when it has ended."""
        name = f"{scenario}-{self.transport}-{lost}"
        command = self._command(HERE / "sipp" / f"{scenario}.xml", name)
        words = ["-p", str(port), "-lost", str(lost)]
        counts: list[Counted] = []
        with subprocess.Popen(
            [*command, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=self.folder
        ) as process:
            try:
                _await_udp(port)
                yield counts
            finally:
                process.send_signal(signal.SIGUSR1)  # ends when the calls have
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()
                counts.append(self._counted(name))

    def _command(self, scenario: Path, name: str, transport: str = "udp") -> list[str | Path]:
        kind = {"udp": "u1", "tcp": "t1"}[transport]
        stat = self.folder / f"{name}.stat"
        return [
            needed("sipp"), "-sf", scenario, "-i", HOST, "-t", kind, "-nostdin", "-nd",
            "-trace_stat", "-stf", stat, "-fd", "1", "-recv_timeout", "20000",
        ]  # fmt: skip

    def _counted(self, name: str) -> Counted:
        with (self.folder / f"{name}.stat").open(encoding="utf-8", newline="") as file:
            *_, last = csv.DictReader(file, delimiter=";")
        counters = [int(value) for key, value in last.items() if key and key.startswith("GenericCounter")]
        return Counted(
            int(last["TotalCallCreated"]),
            int(last["SuccessfulCall(C)"]),
            int(last["FailedCall(C)"]),
            int(last["Retransmissions(C)"]),
            tuple(counters[1::2]),
        )


def _await_udp(port: int, seconds: float = 20) -> None:
    """Until the kernel lists a socket there."""
    deadline = time.monotonic() + seconds
    wanted = f":{port:04X} "
    while wanted not in Path("/proc/net/udp").read_text("ascii"):
        assert time.monotonic() < deadline, f"nothing listens on port {port}"
        time.sleep(0.02)


@contextlib.contextmanager
def phone(folder: Path, user: str, port: int, *, outbound: int = 0, seconds: int = 60,
          commands: Sequence[str] = ()) -> Iterator["Phone"]:  # fmt: skip
    """baresip with one account, `user`, at `port`; what it calls goes by the node at `outbound`. It picks up
    by itself."""
    program = needed("baresip")
    folder.mkdir()
    (folder / "config").write_text(
        f"sip_listen {HOST}:{port}\nmodule_path /usr/lib/baresip/modules\n"
        "audio_player aubridge,a\naudio_source aubridge,b\naudio_alert aubridge,c\n"
        "module g711.so\nmodule aubridge.so\nmodule_app account.so\nmodule_app menu.so\n"
        f"rtp_ports {port + 2}-{port + 20}\n",
        "ascii",
    )
    by = f';outbound="sip:{HOST}:{outbound}"' if outbound else ""
    (folder / "accounts").write_text(f"<sip:{user}@{HOST}>;regint=0;answermode=auto{by}\n", "ascii")
    (folder / "contacts").write_text("", "ascii")
    words = [word for command in commands for word in ("-e", command)]
    output = folder / "output"
    with output.open("wb") as file, subprocess.Popen(
        [program, "-f", folder, "-4", "-t", str(seconds), *words],
        stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            _await_udp(port)
            yield Phone(output)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


@dataclass(frozen=True)
class Phone:
    output: Path

    def says(self, words: str, seconds: float = 30) -> bool:
        """Whether it says these words in time."""
        deadline = time.monotonic() + seconds
        while words not in self.output.read_text("utf-8", "replace"):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True
