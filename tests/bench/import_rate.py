"""How fast `import numbers` is: seconds, rows a second, and memory, for N generated rows.

    python tests/bench/import_rate.py [--rows 1000000] [--format csv|xlsx] [--dsn DSN]

Without --dsn an embedded database is made in a temporary folder and removed again. Half of the numbers are
message codes, half fixed lines and mobiles, of 100 institutions; the second run of the same file shows what
an import costs that changes nothing.
"""

import argparse
import asyncio
import contextlib
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from gateway.registry.embedded import EmbeddedPostgres
from gateway.registry.exchange import export_file, import_file
from gateway.registry.keys import load_key
from gateway.registry.kinds import KINDS
from gateway.registry.migrate import upgrade
from gateway.registry.sheets import create_table

INSTITUTIONS = 100


def make_files(folder: Path, rows: int, suffix: str) -> tuple[Path, Path]:
    """institutions and numbers, `rows` of them, as files of the kind `suffix`."""
    institutions, numbers = folder / f"institutions.{suffix}", folder / f"numbers.{suffix}"
    sink = create_table(institutions, [])
    sink.write(["code", "name", "kind"])
    for index in range(INSTITUTIONS):
        sink.write([f"BENCH{index:03}", f"示例银行{index}", "bank"])
    sink.close()
    sink = create_table(numbers, [])
    sink.write([column.name for column in KINDS["numbers"].columns])
    for index in range(rows):
        stem = index // 4
        number = (f"10690{stem:08}", f"10691{stem:08}", f"+861380{stem:07}", f"+86571{80000000 + stem:08}")[
            index % 4
        ]
        purpose = ("marketing", "collection", "service")[index % 3]
        institution = f"BENCH{index % INSTITUTIONS:03}"
        cells = [
            number,
            "0",
            "sms",
            purpose,
            institution,
            "",
            "示例银行",
            "mobile",
            "2026-01-01",
            "",
            f"{index:064x}",
        ]
        sink.write(cells)
    sink.close()
    return institutions, numbers


class Measured(NamedTuple):
    """One import: seconds; CPU seconds of this process and of PostgreSQL; this process's peak RSS in MiB."""

    seconds: float
    ours: float
    server: float
    peak: int


async def measure(folder: Path, dsn: str, rows: int, suffix: str, server: int) -> Measured:
    """Import, import again, export; the first of them."""
    key = load_key(folder / "registry.key")
    institutions, numbers = make_files(folder, rows, suffix)
    print(f"{numbers.name}: {rows} rows, {numbers.stat().st_size / 1e6:.0f} MB")
    await import_file("institutions", institutions, dsn, key)
    runs = []
    for run in ("first", "again"):
        start, used, served = time.perf_counter(), time.process_time(), _cpu(server)
        result = await import_file("numbers", numbers, dsn, key, approve=("checker", "approver"))
        measured = Measured(
            time.perf_counter() - start, time.process_time() - used, _cpu(server) - served, _peak()
        )
        runs.append(measured)
        print(
            f"{run}: {measured.seconds:.1f} s, {rows / measured.seconds:.0f} rows/s,"
            f" accepted {result.accepted}, unchanged {result.unchanged}, rejected {result.rejected},"
            f" CPU s: import {measured.ours:.1f}, PostgreSQL {measured.server:.1f};"
            f" peak RSS {measured.peak} MiB",
            flush=True,
        )
        if result.rejected:
            raise RuntimeError(f"{result.rejected} rows were rejected: {result.rejected_path}")
    start = time.perf_counter()
    count = (await export_file("numbers", folder / f"out.{suffix}", dsn, key)).rows
    print(f"export: {time.perf_counter() - start:.1f} s, {count} rows, peak RSS {_peak()} MiB", flush=True)
    return runs[0]


def fresh(rows: int, suffix: str, dsn: str = "") -> Measured:
    """Measure in the database of `dsn`, or in an embedded one that is made for it."""
    with tempfile.TemporaryDirectory(prefix="zhengming-bench-") as name:
        folder = Path(name)
        server = None if dsn else EmbeddedPostgres(folder / "database")
        try:
            if server is not None:
                server.start()
                upgrade(server.dsn)
                return asyncio.run(measure(folder, server.dsn, rows, suffix, server.pid))
            return asyncio.run(measure(folder, dsn, rows, suffix, 0))
        finally:
            if server is not None:
                server.stop()


def _cpu(server: int) -> float:
    """Seconds of CPU of a PostgreSQL server with all its processes, also those that have ended; 0: none."""
    if not server:
        return 0.0
    ticks = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            if status.parent.name == str(server):
                ticks += sum(map(int, fields[11:15]))
            elif fields[1] == str(server):
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--format", choices=["csv", "xlsx"], default="csv")
    parser.add_argument("--dsn", default="")
    arguments = parser.parse_args()
    fresh(arguments.rows, arguments.format, arguments.dsn)


if __name__ == "__main__":
    main()
