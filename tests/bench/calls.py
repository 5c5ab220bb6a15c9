"""`make bench` calls: the proxy on one worker beside Kamailio's own stateless relay on one process, in turns,
with the same callers and callees (callgen.c).

Both refuse the calls of one line and forward those of another. Ours judges by all rules and has each record
on disk before the call goes on; Kamailio compares a name. A run counts only if every call had its answer, the
carrier got each forwarded one and no refused one, and of ours /metrics counted as many attempts.
"""

import json
import shutil
import socket
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rig

LINE, REFUSED_LINE = "057188886666", "057187654321"  # as callgen.c has them
LEAST_FORWARDED, LEAST_REFUSED, MOST_P99 = 1_500, 6_000, 20.0
KAMAILIO = "/usr/sbin/kamailio"
RELAY = """#!KAMAILIO
listen=udp:127.0.0.1:{port}
children=1
disable_tcp=yes
log_stderror=yes
debug=0
mpath="{modules}"
loadmodule "pv.so"
loadmodule "sl.so"
loadmodule "textops.so"
request_route {{
    if (is_method("INVITE") && $fU == "{refused}") {{ sl_send_reply("603", "Decline"); exit; }}
    if (is_method("ACK") && $fU == "{refused}") exit;
    $du = "sip:127.0.0.1:{carrier}";
    forward();
}}
"""


@dataclass
class Runs:
    """Calls a second, CPU of all processes in µs a call, p99 in ms."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)


class Rig:
    """callgen between a SIP element and itself."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "callgen"
        self.carrier = rig.free_port(socket.SOCK_DGRAM)
        source = Path(__file__).parent / "callgen.c"
        subprocess.run(["gcc", "-O2", "-w", "-o", self._program, source], check=True)

    def call(
        self, port: int, calls: int, *, refused: bool, rate: float = 0, window: int = 64
    ) -> dict[str, Any]:
        words = [
            "--port",
            port,
            "--listen",
            self.carrier,
            "--calls",
            calls,
            "--window",
            window,
            "--rate",
            rate,
        ]
        words += ["--refused-every", int(refused)] + ([] if refused else ["--full"])
        run = subprocess.run([self._program, *map(str, words)], capture_output=True, text=True, check=False)
        said: dict[str, Any] = json.loads(run.stdout or "{}")
        wanted = {"done": calls, "passed": 0 if refused else calls, "refused": calls if refused else 0}
        if (
            run.returncode
            or {key: said.get(key) for key in wanted} != wanted
            or (said["invites"] < calls if not refused else said["invites"])
        ):
            raise RuntimeError(f"a run that does not count: {said} {run.stderr}")
        return said


@contextmanager
def kamailio(carrier: int, folder: Path) -> Iterator[tuple[int, list[int]]]:
    """Its native relay, by the allocator that it is fast with; port and process ids."""
    port = rig.free_port(socket.SOCK_DGRAM)
    (modules,) = Path("/usr/lib").glob("*/kamailio/modules")
    path = folder / "kamailio.cfg"
    path.write_text(RELAY.format(port=port, carrier=carrier, refused=REFUSED_LINE, modules=modules), "ascii")
    command = [KAMAILIO, "-f", path, "-x", "fm", "-X", "fm", "-m", "256", "-M", "64", "-DD", "-E"]
    with (folder / "kamailio.log").open("wb") as log:
        words = [*command, "-Y", folder, "-P", folder / "kamailio.pid"]
        with rig.running(*words, stdout=log, stderr=log) as process:
            rig.await_udp(port)
            yield port, [process.pid]


def measure(
    one: Rig, port: int, pids: Callable[[], Sequence[int]], runs: Runs, calls: int, *, refused: bool,
    settle: Callable[[int], None],
) -> None:  # fmt: skip
    """One run as fast as it goes; what follows it belongs to it. Then one at half that rate, for p99."""
    before = rig.cpu_seconds(pids())
    said = one.call(port, calls, refused=refused)
    settle(calls)
    runs.cpu.append((rig.cpu_seconds(pids()) - before) * 1e6 / calls)
    runs.rates.append(said["per_second"])
    paced = one.call(port, calls // 2, refused=refused, rate=said["per_second"] / 2, window=4096)
    settle(calls // 2)
    runs.p99.append(paced["p99_ms"])


def calls(options: Any, report: Any, spread: Callable[..., str]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="zhengming-calls-"))
    try:
        one = Rig(folder)
        gateway, port = _node(one, folder)
        sides = {(who, refused): Runs() for refused in (False, True) for who in ("ours", "Kamailio")}
        try:
            gateway.start()
            gateway.await_ready()
            gateway.fill(options.numbers, options.refusals)
            _file_lines(gateway)
            gateway.await_registry()
            counted = int(gateway.metric("zhengming_attempts_total"))

            def settle(calls: int) -> None:
                nonlocal counted
                gateway.await_shipped()
                gateway.await_metric("zhengming_attempts_total", counted + calls)
                counted += calls

            with kamailio(one.carrier, folder) as (relay, pids):
                for run in range(options.runs + 1):  # the first warms up
                    for (who, refused), side in sides.items():
                        into = side if run else Runs()
                        number = options.calls * (3 if refused else 1)
                        if who == "ours":
                            measure(one, port, gateway.pids, into, number, refused=refused, settle=settle)
                        else:
                            measure(
                                one, relay, lambda: pids, into, number, refused=refused, settle=lambda _: None
                            )
        finally:
            gateway.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for refused, word, least in ((False, "forwarded", LEAST_FORWARDED), (True, "refused", LEAST_REFUSED)):
        ours, theirs = sides["ours", refused], sides["Kamailio", refused]
        for what, goal, a, b, met in (
            (f"calls {word} a second, one worker", f"≥ {least:,}", ours.rates, theirs.rates,
             statistics.median(ours.rates) >= least),
            (f"calls {word}: CPU µs a call, everything", "", ours.cpu, theirs.cpu, None),
            (f"calls {word}: p99 of the answer at half that load, ms", f"≤ {MOST_P99:.0f}",
             ours.p99, theirs.p99, statistics.median(ours.p99) <= MOST_P99),
        ):  # fmt: skip
            form = "{:.1f}" if "ms" in what else "{:,.0f}"
            report.alone(what, goal, f"{spread(a, form)}; Kamailio's own relay {spread(b, form)}", met=met)


def _node(one: Rig, folder: Path) -> tuple[rig.Gateway, int]:
    """A node with calls alone, and where they come in."""
    port = rig.free_port(socket.SOCK_DGRAM)
    gateway = rig.Gateway(rig.Bench(folder, rig.free_port(), folder / "texts"), 1, folder / "node")
    with gateway.config.open("a", encoding="utf-8") as file:
        file.write(
            f'[voice]\nlisten = ["udp://127.0.0.1:{port}"]\nnext_hop = "sip:127.0.0.1:{one.carrier}"\n'
            'deadline = "2s"\n'  # so that what is slow is measured, and not refused
        )
    return gateway, port


def _file_lines(gateway: rig.Gateway) -> None:
    for kind, rows in (
        ("accounts", "carrier,protocol,account,holder\nmobile,sip,127.0.0.1,BENCH\n"),
        ("numbers", f"number,channels,purposes,institution\n{LINE},voice,marketing,BENCH\n"),
    ):
        path = gateway.folder / f"calls-{kind}.csv"
        path.write_text(rows, "utf-8")
        gateway.command("import", kind, path, "--approve", "--as", "checker", "--by", "approver")
