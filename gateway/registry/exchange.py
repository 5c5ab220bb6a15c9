"""Registry tables in from files and out to files (contract.md "Files that come in").

Rules: a file of any length in constant memory; what is good goes in and what is bad comes back, line by line,
in FILE.rejected.csv, whose lines can be corrected and imported as they are; a file imported twice changes
nothing the second time; a batch of at most `reading.CHUNK` rows is a transaction, so that nobody's ban waits
for an import. Lines are read in a thread while two connections bring earlier ones in. It knows no SQL, and
no terminal but the progress on stderr.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Never, Self

from tqdm import tqdm

from gateway.errors import NotReady, UsageError
from gateway.registry.acting import Actor
from gateway.registry.deadlines import Terms
from gateway.registry.intake import LOST, Intake, Outgo, Persons, Taken
from gateway.registry.keys import RegistryKey
from gateway.registry.kinds import KINDS, Kind
from gateway.registry.loading import LEFT_OUT, own_kind
from gateway.registry.reading import (
    REPORT,
    Batch,
    Problem,
    batches,
    cell_of,
    places_of,
    without_report,
)
from gateway.registry.rows import Sink
from gateway.registry.sheets import CsvSink, create_table, open_table

CONNECTIONS = 2
"""Batches under way at once: while one waits for the disk, the other is copied."""

LINE_SECONDS = 5.0
"""Between two lines that say how far it is, where there is no terminal for a bar."""

VALUE_SHOWN = 2_000
"""Characters of a bad value that FILE.rejected.csv repeats."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What became of a file's lines: `rows` = `accepted` + `unchanged` + `rejected`.

    `rejected_path` is where the rejected ones were written, None if there were none; `waiting`: bans of the
    file that a second person has to agree to.
    """

    rows: int
    accepted: int
    rejected: int
    unchanged: int
    rejected_path: Path | None
    waiting: int = 0


OPEN_KINDS = ("institutions", "mandates", "accounts", "account_numbers", "numbers", "blacklist")
"""Kinds without subscribers."""
_OWN = ("institutions", "accounts", "account_numbers", "blacklist")
_ALL = (*OPEN_KINDS, "refusals", "consents", "recipients", "released", "complaints")
EXPORTS: dict[str, tuple[str, ...]] = {
    "regulator": _ALL,
    "auditor": _ALL,
    "carrier": OPEN_KINDS,
    "institution": (*OPEN_KINDS, "refusals", "consents", "recipients"),
    "agency": (*_OWN, "mandates", "numbers"),
    "provider": _OWN,
}
"""The kinds of which a role takes out what it sees; an institution is not told who complained."""


class ExportResult(NamedTuple):
    """How many rows a file has, and how many stand beside them: `left_out`, and `which` those are."""

    rows: int
    left_out: int
    which: str


async def import_file(
    kind: str,
    path: Path,
    dsn: str,
    key: RegistryKey,
    *,
    dry_run: bool = False,
    approve: tuple[str, str] | None = None,
    break_glass: str = "",
    terms: Terms | None = None,
    progress: bool | None = None,
    actor: Actor | None = None,
) -> ImportResult:
    """Bring the rows of `path` into the registry; `dry_run`: only say what would become of each.

    `approve`: checker and approver, two persons by name; numbers come in approved instead of submitted.
    `break_glass`: the case under which this is done although regulators have signed in. `terms`: when
    complaints are due; None: the regulation's. `progress`: a bar on stderr; None: if that is a terminal, and
    else a line every `LINE_SECONDS`.
    `actor`: whose file it is, and whose rows alone it may hold: what does not say whose it is, is his.
    UsageError: kind, file, header, persons or key are wrong; nothing has been changed then.
    """
    table = kind_of(kind)
    persons = Persons.of(approve, break_glass)
    source = await asyncio.to_thread(open_table, path)
    try:
        table = own_kind(table, actor, source.header)
        places = places_of(path, table, source.header)
        report = _Report(path, source.header, keep=dry_run)
        rows = accepted = unchanged = waiting = 0
        read = batches(source, table, places)
        with report, _bar(source.size, f"{kind} ← {path.name}", progress) as bar:
            async with (
                _Lanes(dsn, table, key, persons, dry_run, path.name, terms, actor) as lanes,
                aclosing(lanes.through(read)) as done,
            ):
                async for batch, taken in done:
                    rows += len(batch.good) + len(batch.bad)
                    accepted += taken.changed
                    unchanged += taken.unchanged
                    waiting += taken.waiting
                    cells = {good.line: good.cells for good in batch.good}
                    for line, column, flaw in taken.refused:
                        value = cell_of(cells[line], places, column)
                        batch.bad.append(Problem(line, [(column, value, flaw)], cells[line]))
                    report.add(sorted(batch.bad))
                    lanes.count(rows, accepted, report.count)
                    bar.update(batch.position - bar.n)
    finally:
        source.close()
    rejected = report.path if report.count else None
    return ImportResult(rows, accepted, report.count, unchanged, rejected, waiting)


async def export_file(
    kind: str,
    path: Path,
    dsn: str,
    key: RegistryKey,
    *,
    headers: str = "en",
    progress: bool | None = None,
    actor: Actor | None = None,
    reason: str = "",
) -> ExportResult:
    """Write the rows of `kind` to `path` (.csv or .xlsx), with English ("en") or Chinese ("zh") headers and
    words. What is written is one snapshot, and changes nothing when it comes in again; rows of which that
    would not be true, such as drafts, are left out. Subscribers go out in full, which stands in the audit,
    with the `reason`. `actor`: whose rows these are; None: all, for an operator."""
    table = kind_of(kind)
    if headers not in ("en", "zh"):
        raise UsageError(f"headers {headers!r}; right would be en or zh")
    chinese = headers == "zh"
    legend = [["column", "列名", "cells", "单元格内容"]]
    legend += [[c.name, c.chinese, c.form.expected, c.form.expected_zh] for c in table.columns]
    sink = create_table(path, legend)
    count = 0
    try:
        sink.write([c.chinese if chinese else c.name for c in table.columns])
        async with Outgo.open(dsn, table, key, actor) as outgo:
            left_out = outgo.left_out
            with _bar(outgo.total, f"{kind} → {path.name}", progress) as bar:
                async for values in outgo.chunks():
                    lines = [
                        [
                            "" if v is None else c.form.write(v, chinese)
                            for c, v in zip(table.columns, row, strict=True)
                        ]
                        for row in values
                    ]
                    with _told(path):
                        await asyncio.to_thread(_write_all, sink, lines)
                    count += len(lines)
                    bar.update(len(lines))
        await Outgo.audit(dsn, table, count, actor, reason)  # before the file is there
        with _told(path):
            await asyncio.to_thread(sink.close)  # packs a whole sheet
    except BaseException:
        with contextlib.suppress(OSError):  # what could not be written can't be flushed either
            sink.discard()
        raise
    return ExportResult(count, left_out, LEFT_OUT.get(kind, ""))


def kind_of(name: str) -> Kind:
    """The kind called `name`; UsageError otherwise."""
    if name not in KINDS:
        raise UsageError(f"kind {name!r}; right would be one of {', '.join(KINDS)}")
    return KINDS[name]


class _Lanes:
    """Connections that bring batches in side by side; a second one is made when there is a second batch."""

    def __init__(
        self,
        dsn: str,
        kind: Kind,
        key: RegistryKey,
        persons: Persons,
        dry_run: bool,
        file_name: str,
        terms: Terms | None,
        actor: Actor | None,
    ) -> None:
        self._open = partial(
            Intake.open,
            dsn,
            kind,
            key,
            persons,
            dry_run=dry_run,
            file_name=file_name,
            terms=terms,
            actor=actor,
        )
        self._dry_run = dry_run
        self._run = 0
        self._counts = (0, 0, 0)
        self._opener: Intake | None = None
        self._stack = AsyncExitStack()
        self._free: list[Intake] = []
        self._connections = 0
        self._under_way: deque[tuple[Batch, asyncio.Task[Taken]]] = deque()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        try:
            # a database that can't be reached, or a glass that stands, is said before reading
            self._opener = await self._add()
            if not self._dry_run:
                self._run = await self._opener.open_run()
            self._free.append(self._opener)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        tasks = [task for _, task in self._under_way]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            if self._run and self._opener is not None:  # an import that broke off is closed with what it did
                rows, accepted, rejected = self._counts
                # nothing hides what ended the import; a run that can't be closed stays open, and is seen
                with contextlib.suppress(*(LOST if kind is not None else ())):
                    await self._opener.close_run(self._run, rows=rows, accepted=accepted, rejected=rejected)
        finally:
            await self._stack.aclose()

    def count(self, rows: int, accepted: int, rejected: int) -> None:
        """What has become of the file so far."""
        self._counts = (rows, accepted, rejected)

    async def through(self, read: Generator[Batch, None, None]) -> AsyncGenerator[tuple[Batch, Taken], None]:
        """Each batch with what became of it, in order."""
        coming = asyncio.create_task(asyncio.to_thread(next, read, None))
        try:
            while (batch := await coming) is not None:
                coming = asyncio.create_task(asyncio.to_thread(next, read, None))
                while not self._free and self._connections >= CONNECTIONS:
                    yield await self._first_done()
                intake = self._free.pop() if self._free else await self._add()
                self._under_way.append((batch, asyncio.create_task(self._take(intake, batch))))
            while self._under_way:
                yield await self._first_done()
        finally:
            await asyncio.wait([coming])  # its thread still reads the source
            read.close()

    async def _first_done(self) -> tuple[Batch, Taken]:
        batch, task = self._under_way.popleft()
        return batch, await task

    async def _take(self, intake: Intake, batch: Batch) -> Taken:
        taken = await intake.take(batch.good)
        if self._run:
            rejected = len(taken.refused) + len(batch.bad)
            rows = len(batch.good) + len(batch.bad)
            await intake.go_on(self._run, rows=rows, accepted=taken.changed, rejected=rejected)
        self._free.append(intake)
        return taken

    async def _add(self) -> Intake:
        self._connections += 1
        intake = await self._stack.enter_async_context(self._open())
        if self._run:
            await intake.take_on(self._run)
        return intake


class _Report:
    """FILE.rejected.csv: begun with the first bad line; one of an earlier run does not outlive a good one,
    unless it is to be kept: somebody may still be correcting it."""

    def __init__(self, source: Path, header: list[str], *, keep: bool) -> None:
        self.path = source.with_name(source.name + ".rejected.csv")
        if not os.access(source.parent, os.W_OK):
            raise UsageError(f"{source.parent}: not writable; right would be a place for {self.path.name}")
        self.count = 0
        self._keep = keep
        self._own = without_report(header)
        self._before = len(header) - len(self._own)
        self._sink: CsvSink | None = None

    def add(self, problems: list[Problem]) -> None:
        with _told(self.path):
            self._add(problems)

    def _add(self, problems: list[Problem]) -> None:
        for problem in problems:
            if self._sink is None:
                self._sink = CsvSink(self.path)
                self._sink.write(REPORT + self._own)
            self.count += 1
            columns, values, flaws = zip(*problem.flaws, strict=True)
            self._sink.write(
                [
                    str(problem.line),
                    "; ".join(columns),
                    "; ".join(values)[:VALUE_SHOWN],
                    "; ".join(flaw.cause for flaw in flaws),
                    "; ".join(dict.fromkeys(flaw.expected for flaw in flaws)),
                    "；".join(flaw.cause_zh for flaw in flaws),
                    "；".join(dict.fromkeys(flaw.expected_zh for flaw in flaws)),
                    *problem.cells[self._before :],
                ]
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with _told(self.path):
            if self._sink is not None:
                self._sink.close()
            elif not self._keep:
                self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the disk says against writing `path` becomes NotReady, with the name of the file."""
    try:
        yield
    except OSError as problem:
        raise NotReady(f"{path}: cannot be written: {problem.strerror or problem}") from None


def _write_all(sink: Sink, lines: list[list[str]]) -> None:
    for line in lines:
        sink.write(line)


class _Lines:
    """What the bar shows, said in a line every few seconds: for a log, and whoever reads along."""

    def __init__(self, total: int, words: str) -> None:
        self.n: float = 0
        self._total = total
        self._words = words
        self._next = time.monotonic() + LINE_SECONDS

    def update(self, more: float) -> None:
        self.n += more
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LINE_SECONDS
            share = self.n / self._total if self._total else 1
            print(f"{self._words}: {share:.0%}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _bar(total: int, words: str, progress: bool | None) -> "tqdm[Never] | _Lines":
    if progress is None and not sys.stderr.isatty():
        return _Lines(total, words)
    shown = progress is not False
    bar: tqdm[Never] = tqdm(total=total, desc=words, disable=not shown, file=sys.stderr, unit_scale=True)
    return bar
