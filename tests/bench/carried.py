"""`make bench` carried: calls that Kamailio carries and the node judges, beside Kamailio's own stateless
relay, in turns, with the same callers and callees (callgen.c).

CPU is that of all processes of both: Kamailio, and the whole node with its database. A run counts as calls.py
says. A core carries what its million microseconds are enough for.
"""

import os
import shutil
import socket
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import calls as bare
import rig

LEAST = 2_500
PROCESSES = 16
DEPLOYED = rig.ROOT / "deploy" / "kamailio"


@contextmanager
def screening(carrier: int, folder: Path, run_dir: Path) -> Iterator[tuple[int, list[int]]]:
    """Kamailio by this project's configuration; port and process ids."""
    port = rig.free_port(socket.SOCK_DGRAM)
    defined = {
        "LISTEN_AT": f"udp:127.0.0.1:{port}",
        "NEXT_HOP": f'"127.0.0.1:{carrier}"',
        "RUN_DIR": f'"{run_dir}"',
        "DEADLINE": '"2000"',  # so that what is slow is measured, and not refused
        "PROCESSES": str(PROCESSES),
        "SCRIPT": f'"{DEPLOYED / "zhengming.py"}"',
    }
    words = [word for name, value in defined.items() for word in ("-A", f"{name}={value}")]
    command = [
        bare.KAMAILIO,
        "-f",
        DEPLOYED / "kamailio.cfg",
        "-x",
        "fm",
        "-X",
        "fm",
        "-m",
        "256",
        "-M",
        "64",
    ]
    place = ["-DD", "-E", "-w", folder, "-Y", folder, "-P", folder / "screening.pid"]
    environment = os.environ | {"PYTHONPATH": str(rig.ROOT)}
    with (
        (folder / "screening.log").open("wb") as log,
        rig.running(*command, *place, *words, stdout=log, stderr=log, env=environment) as process,
    ):
        rig.await_udp(port)
        yield port, [process.pid]


def carried(options: Any, report: Any, spread: Callable[..., str]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="zhengming-carried-"))
    try:
        one = bare.Rig(folder)
        gateway, _ = bare._node(one, folder)
        sides = {(who, refused): bare.Runs() for refused in (False, True) for who in ("ours", "Kamailio")}
        try:
            gateway.start()
            gateway.await_ready()
            gateway.fill(options.numbers, options.refusals)
            bare._file_lines(gateway)
            gateway.await_registry()
            counted = int(gateway.metric("zhengming_attempts_total"))

            def settle(calls: int) -> None:
                nonlocal counted
                gateway.await_shipped()
                gateway.await_metric("zhengming_attempts_total", counted + calls)
                counted += calls

            with (
                bare.kamailio(one.carrier, folder) as (relay, pids),
                screening(one.carrier, folder, gateway.folder / "var" / "run") as (front, asking),
            ):
                for run in range(options.runs + 1):  # the first warms up
                    for (who, refused), side in sides.items():
                        into = side if run else bare.Runs()
                        ways = (front, lambda: [*asking, *gateway.pids()], settle)
                        port, whose, after = ways if who == "ours" else (relay, lambda: pids, lambda _: None)
                        bare.measure(one, port, whose, into, options.calls, refused=refused, settle=after)
        finally:
            gateway.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for refused, word in ((False, "forwarded"), (True, "refused")):
        ours, theirs = sides["ours", refused], sides["Kamailio", refused]
        ours_per_core, theirs_per_core = ([1e6 / cpu for cpu in side.cpu] for side in (ours, theirs))
        met = None if refused else statistics.median(ours_per_core) >= LEAST
        of = f"calls through Kamailio {word}"
        for what, a, b in (
            (f"{of}: a second and core", ours_per_core, theirs_per_core),
            (f"{of}: CPU µs a call, everything", ours.cpu, theirs.cpu),
            (f"{of}: a second, beside their callers on this machine", ours.rates, theirs.rates),
            (f"{of}: p99 of the answer at half that load, ms", ours.p99, theirs.p99),
        ):
            form, first = ("{:.1f}" if "ms" in what else "{:,.0f}"), a is ours_per_core
            said = f"{spread(a, form)}; Kamailio's own relay {spread(b, form)}"
            report.alone(
                what, f"≥ {LEAST:,}" if first and not refused else "", said, met=met if first else None
            )
