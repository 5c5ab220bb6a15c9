"""`make bench`: what the goals say, measured on whole nodes; prints and keeps the figures.

    python tests/bench/run.py [wire|protocols|rules|calls|carried|replies|counters|numbers|attempts|ban|import
        |find …]
        [--messages N …]

`wire`: the gateway beside a bare relay, in turns, with the same load (performance.md's table of goals): the
whole gateway (all rules enforced, records durable before sending, acceptor, keeper and PostgreSQL counted in
the CPU) against relay.py at level 2. One submit in ten is refused, one recipient in five repeated, half of
the texts are those of vectors/messages.csv. A run counts only if `equal` is true: every submit answered, and
sent = arrived at the carrier + refused by us. `protocols`: this load over each protocol, in turns. `rules`:
the same load with all rules in force and with those of the spine alone, in turns. `calls`:
calls.py's, `carried`: carried.py's. `replies` and `counters`
need no node; the others are registry.py's.
"""

import argparse
import contextlib
import datetime
import os
import platform
import re
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import calls
import carried
import counting
import registry
import replies
import rig

from gateway import COMPILED
from gateway.policy.content import offers_refusal, signature
from gateway.protocols import WIRES

RESULTS = Path(__file__).parent / "RESULTS.md"


def passes(text: str) -> bool:
    return signature(text) in rig.SIGNATURES and offers_refusal(text)


@dataclass
class Side:
    """The runs of one of the two that are compared."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def add(self, report: dict[str, Any], cpu: float) -> None:
        if not report["equal"]:
            raise RuntimeError(f"a run that does not count: {report}")
        self.rates.append(report["msgs_s"])
        self.cpu.append(cpu * 1e5 / report["sent"])
        self.p50.append(report["e2e_p50_ms"])
        self.p99.append(report["e2e_p99_ms"])


def spread(values: list[float], form: str = "{:,.0f}") -> str:
    shown = [form.format(value) for value in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]}–{shown[2]})"


def in_turns(
    one: rig.Bench, gateway: rig.Gateway, processes: int, runs: int, *load: str
) -> tuple[Side, Side]:
    """Gateway, relay, gateway, relay … with the same load; the first pair warms up and is not counted."""
    ours, bare = Side(), Side()
    with rig.relay(one, processes) as (port, pids):
        for run in range(runs + 1):
            before = rig.cpu_seconds(gateway.pids())
            report = one.load(gateway.port, *load)
            gateway.await_shipped()
            used = rig.cpu_seconds(gateway.pids()) - before
            if run:
                ours.add(report, used)
            before = rig.cpu_seconds(pids)
            report = one.load(port, *load)
            used = rig.cpu_seconds(pids) - before
            if run:
                bare.add(report, used)
    return ours, bare


class Report:
    """Rows of the table, printed as they come and appended to RESULTS.md in the end."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def say(self, line: str) -> None:
        print(line, flush=True)
        self._lines.append(line)

    def head(self) -> None:
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        now = datetime.datetime.now(datetime.UTC)
        self.say(f"## {now:%Y-%m-%d %H:%M} UTC")
        self.say("")
        self.say(
            f"{os.cpu_count()} × {cpu[1] if cpu else platform.processor()}, {memory:.0f} GiB, "
            f"Linux {platform.release()}, Python {platform.python_version()}, "
            f"hot modules {'compiled' if COMPILED else 'as they stand'}, "
            f"load average before the first run {os.getloadavg()[0]:.1f}; "
            f"`python tests/bench/run.py {shlex.join(sys.argv[1:])}`"
        )
        self.say("")
        self.say("| what | goal | gateway | relay, same run | ratio | met |")
        self.say("|---|---|---|---|---|---|")

    def row(self, what: str, goal: str, ours: str, bare: str, ratio: str, *, met: bool | None) -> None:
        said = {True: "yes", False: "**no**", None: ""}[met]  # None: there is no goal
        self.say(f"| {what} | {goal} | {ours} | {bare} | {ratio} | {said} |")

    def alone(self, what: str, goal: str, ours: str, *, met: bool | None) -> None:
        """A row that has nothing to do with the relay."""
        self.row(what, goal, ours, "", "", met=met)

    def rate(self, what: str, least: float, share: float, pair: tuple[Side, Side]) -> None:
        ours, bare = pair
        ratios = [a / b for a, b in zip(ours.rates, bare.rates, strict=True)]
        goal = f"≥ {least:,.0f} msgs/s" + (f" and ≥ {share} × relay" if share else "")
        met = statistics.median(ours.rates) >= least and statistics.median(ratios) >= share
        self.row(what, goal, spread(ours.rates), spread(bare.rates), spread(ratios, "{:.2f}"), met=met)
        cpu = statistics.median(ours.cpu) <= 5
        used = spread(ours.cpu, "{:.2f}"), spread(bare.cpu, "{:.2f}")
        self.row(f"{what}: CPU s per 100k, everything", "≤ 5", *used, "", met=cpu)

    def paced(self, pair: tuple[Side, Side]) -> None:
        for name, most in (("p50", 1.5), ("p99", 8.0)):
            ours, bare = (getattr(side, name) for side in pair)
            above = [a - b for a, b in zip(ours, bare, strict=True)]
            what = f"paced 5,000/s, client → carrier, {name} ms"
            shown = spread(ours, "{:.2f}"), spread(bare, "{:.2f}"), f"+{spread(above, '{:.2f}')}"
            self.row(what, f"≤ {most} above the relay's", *shown, met=statistics.median(above) <= most)

    def keep(self) -> None:
        old = RESULTS.read_text("utf-8") if RESULTS.exists() else "# Results of `make bench`\n"
        RESULTS.write_text(old + "\n" + "\n".join(self._lines) + "\n", "utf-8")


def start_seconds(one: rig.Bench, gateway: rig.Gateway) -> float:
    """From exec until a submit is answered through the carrier."""
    began = time.monotonic()
    gateway.start()
    while time.monotonic() - began < 120:
        try:
            if one.load(gateway.port, "--conns", "1", "--messages", "1", "--max-seconds", "5")["sent"] == 1:
                return time.monotonic() - began
        except RuntimeError:
            time.sleep(0.02)
    raise TimeoutError("the node takes no traffic")


def registered(options: argparse.Namespace, one: rig.Bench, folder: Path, report: Report) -> None:
    """A node with the registry that the goals name, for those of registry.py that were asked for."""
    gateway = rig.Gateway(one, 1, folder)
    try:
        gateway.start()
        gateway.await_ready()
        gateway.fill(options.numbers, 0)
        gateway.await_registry()
        for name in options.names:
            if name in registry.ALL:
                registry.ALL[name](gateway, one, report.alone)
    finally:
        gateway.stop()


def wire(options: argparse.Namespace, one: rig.Bench, folder: Path, report: Report) -> None:
    gateway = rig.Gateway(one, 1, folder)
    turns: Callable[..., tuple[Side, Side]] = in_turns
    messages = str(options.messages)
    try:
        gateway.start()
        gateway.await_ready()
        took = gateway.fill(options.numbers, options.refusals)
        gateway.await_registry()
        print("import:", ", ".join(f"{kind} {seconds:.0f} s" for kind, seconds in took.items()), flush=True)
        load = ["--conns", "4", "--messages", messages]
        report.rate(
            "c4 w16, one worker", 20_000, 0.35, turns(one, gateway, 1, options.runs, *load, "--window", "16")
        )
        report.rate(
            "c4 w100, one worker", 40_000, 0.4, turns(one, gateway, 1, options.runs, *load, "--window", "100")
        )
        pace = ["--conns", "4", "--window", "100", "--rate", "5000", "--messages", "50000"]
        report.paced(turns(one, gateway, 1, options.runs, *pace))
        anonymous = [rig.anonymous_mib(pid) for pid in gateway.workers()]
        what = f"RssAnon per worker, {options.numbers:,} numbers, {options.refusals:,} refusals, MiB"
        report.row(what, "≤ 150", f"{max(anonymous):.0f}", "", "", met=max(anonymous) <= 150)

        gateway.stop()
        starts = []
        for _ in range(options.runs):
            starts.append(start_seconds(one, gateway))
            gateway.await_ready()
            gateway.stop()
        what = f"node start until it takes traffic, {options.refusals:,} refusals, s"
        report.row(what, "≤ 3", spread(starts, "{:.1f}"), "", "", met=statistics.median(starts) <= 3)

        gateway.configure(2)
        gateway.start()
        gateway.await_ready()
        load = ["--conns", "8", "--window", "100", "--messages", messages]
        report.rate("two workers, 8 accounts, w100", 50_000, 0, turns(one, gateway, 2, options.runs, *load))
    finally:
        gateway.stop()


def protocols(options: argparse.Namespace, one: rig.Bench, folder: Path, report: Report) -> None:
    """The same load over each protocol that this node carries, in turns, on one worker."""
    load = ["--conns", "4", "--window", "100", "--messages", str(options.messages)]
    with contextlib.ExitStack() as stack:
        ends = {name: stack.enter_context(one.carrier(name)) for name in WIRES if name != "cmpp"}
        gateway = rig.Gateway(one, 1, folder, {name: port for name, (port, _) in ends.items()})
        loads = {"cmpp": load}
        loads |= {name: [*load, "--proto", name, "--stats", str(stats)] for name, (_, stats) in ends.items()}
        sides = {name: Side() for name in loads}
        try:
            gateway.start()
            gateway.await_ready()
            gateway.fill(options.numbers, options.refusals)
            gateway.await_registry()
            for run in range(options.runs + 1):  # the first warms up
                for name, words in loads.items():
                    before = rig.cpu_seconds(gateway.pids())
                    said = one.load(gateway.ports[name], *words)
                    gateway.await_shipped()
                    if run:
                        sides[name].add(said, rig.cpu_seconds(gateway.pids()) - before)
        finally:
            gateway.stop()
    base = sides.pop("cmpp")
    for name, side in sides.items():
        for what, ours, cmpp, least in (
            ("msgs/s", side.rates, base.rates, 0.8),
            ("messages for a second of CPU", [1e5 / s for s in side.cpu], [1e5 / s for s in base.cpu], None),
        ):
            ratios = [a / b for a, b in zip(ours, cmpp, strict=True)]
            report.alone(
                f"{name.upper()} beside CMPP, c4 w100, one worker: {what}",
                f"≥ {least} × CMPP" if least else "",
                f"{spread(ours)} against {spread(cmpp)}: {spread(ratios, '{:.2f}')} ×",
                met=statistics.median(ratios) >= least if least else None,
            )


def rules(options: argparse.Namespace, one: rig.Bench, folder: Path, report: Report) -> None:
    """All rules against those of the spine alone, on the same node in turns, each freshly started."""
    gateway = rig.Gateway(one, 1, folder)
    load = ["--conns", "4", "--window", "100", "--messages", str(options.messages)]
    sides = {rig.EVERY_RULE: Side(), rig.SPINE: Side()}
    try:
        gateway.start()
        gateway.await_ready()
        gateway.fill(options.numbers, options.refusals)
        gateway.await_registry()
        for _ in range(options.runs):
            for profile, side in sides.items():
                gateway.stop()
                gateway.judge_by(profile)
                gateway.start()
                gateway.await_ready()
                one.load(gateway.port, *load)  # warms up
                gateway.await_shipped()
                before = rig.cpu_seconds(gateway.pids())
                report_of_run = one.load(gateway.port, *load)
                gateway.await_shipped()
                side.add(report_of_run, rig.cpu_seconds(gateway.pids()) - before)
    finally:
        gateway.stop()
    every, spine = sides.values()
    ratios = [a / b for a, b in zip(every.cpu, spine.cpu, strict=True)]
    report.alone(
        "all rules against the spine's alone, c4 w100: CPU s per 100k, everything",
        "≤ 1.5 ×",
        f"{spread(every.cpu, '{:.2f}')} against {spread(spine.cpu, '{:.2f}')}: {spread(ratios, '{:.2f}')} ×",
        met=statistics.median(ratios) <= 1.5,
    )


def nodes(options: argparse.Namespace, report: Report) -> None:
    with rig.bench(passes) as one:
        if "wire" in options.names:
            with tempfile.TemporaryDirectory(prefix="zhengming-node-") as folder:
                wire(options, one, Path(folder), report)
        if "protocols" in options.names:
            with tempfile.TemporaryDirectory(prefix="zhengming-node-") as folder:
                protocols(options, one, Path(folder), report)
        if "rules" in options.names:
            with tempfile.TemporaryDirectory(prefix="zhengming-node-") as folder:
                rules(options, one, Path(folder), report)
        if set(options.names) & set(registry.ALL):
            with tempfile.TemporaryDirectory(prefix="zhengming-node-") as folder:
                registered(options, one, Path(folder), report)


def classification(options: argparse.Namespace, report: Report) -> None:
    count, rates = replies.rates(options.runs)
    what = f"replies understood, {count:,} texts of which none comes twice"
    met = statistics.median(rates) >= 50_000
    report.alone(what, "≥ 50,000/s of one core", spread(rates), met=met)


def reserving(options: argparse.Namespace, report: Report) -> None:
    for batch in (16, 100):
        costs = counting.costs(batch, options.runs)
        what = f"a message reserved, µs of CPU, batches of {batch}"
        report.alone(what, "≤ 3 µs", spread(costs, "{:.2f}"), met=statistics.median(costs) <= 3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ["wire", "protocols", "rules", "calls", "carried", "replies", "counters", *registry.ALL]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--runs", type=int, default=3, help="counted runs of each, after one that warms up")
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument(
        "--calls", type=int, default=10_000, help="forwarded; three times as many are refused"
    )
    parser.add_argument("--numbers", type=int, default=100_000)
    parser.add_argument("--refusals", type=int, default=1_000_000)
    parser.add_argument(
        "--keep", action=argparse.BooleanOptionalAction, default=True, help="write RESULTS.md"
    )
    options = parser.parse_args()
    options.names = options.names or known
    if unknown := set(options.names) - set(known):
        parser.error(f"{', '.join(sorted(unknown))}: right would be of {', '.join(known)}")
    report = Report()
    report.head()
    if "replies" in options.names:
        classification(options, report)
    if "counters" in options.names:
        reserving(options, report)
    if "calls" in options.names:
        calls.calls(options, report, spread)
    if "carried" in options.names:
        carried.carried(options, report, spread)
    if set(options.names) - {"replies", "counters", "calls", "carried"}:
        nodes(options, report)
    if options.keep:
        report.keep()


if __name__ == "__main__":
    main()
