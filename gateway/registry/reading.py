"""A table file as batches of checked rows: what the file alone tells, before the database is asked.

Rules: memory does not grow with the file; which rows have come before is kept on disk, under keyed hashes
whose key is forgotten at the end. Blocking, made for a thread. It knows no database.
"""

import mmap
import os
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from gateway.errors import NotReady
from gateway.registry.kinds import REQUIRED, Column, Kind, Misfit, columns_of
from gateway.registry.rows import Bad, BadFile, Flaw, Row, Source

CHUNK = 2_000
"""Rows of one transaction: nobody who bans a number waits longer than for these."""

REPORT = ["line", "column", "value", "cause", "expected", "原因", "正确写法"]
"""The columns of FILE.rejected.csv before those of the file itself; passed over when it comes in again."""

ABSENT = 1 << 30
"""The place of a column that a file leaves out."""

BEYOND = Flaw(
    "stands beyond the last column that the first line names",
    "超出首行所列的列数",
    'a comma inside a cell only between quotation marks: "…,…"',
    '单元格内的逗号须置于英文引号之间："…,…"',
)

KNOWN_TEXTS = 1_000
"""Texts of a column whose values are kept."""

FINGERPRINT = (1 << 64) - 1
FIRST_SLOTS = 1 << 14
"""Slots of the table of seen rows to begin with; it doubles when it is half full."""


class Good(NamedTuple):
    """A line whose cells are right: its values by column, and its cells as they came."""

    line: int
    values: dict[str, Any]
    cells: list[str]


class Problem(NamedTuple):
    """One line that does not go in: what is wrong with which columns' cells, and all its cells."""

    line: int
    flaws: list[tuple[str, str, Flaw]]
    cells: list[str]


@dataclass(slots=True)
class Batch:
    """Up to `CHUNK` lines; `position` is how far the file has been read, as its source counts."""

    good: list[Good] = field(default_factory=list)
    bad: list[Problem] = field(default_factory=list)
    position: int = 0


def without_report(header: list[str]) -> list[str]:
    """The header as the user's own: a corrected FILE.rejected.csv has the report's columns before it."""
    return header[len(REPORT) :] if header[: len(REPORT)] == REPORT else header


def places_of(path: Path, kind: Kind, header: list[str]) -> dict[str, int]:
    """Where in a line each column stands. BadFile when the header does not say."""
    own = without_report(header)
    try:
        places = columns_of(kind, own)
    except Bad as bad:
        cause, cause_zh, expected, expected_zh = bad.flaw
        raise BadFile(path, Flaw(f"header: {cause}", f"表头：{cause_zh}", expected, expected_zh)) from None
    return {name: place + len(header) - len(own) for name, place in places.items()}


class Parser:
    """Turns the cells of a line into values by column. Texts that come again and again are parsed once."""

    def __init__(self, kind: Kind, places: Mapping[str, int], width: int = ABSENT) -> None:
        self.width = width  # of the header
        self._kind = kind
        self._places = places
        self._plan = [(c, places.get(c.name, ABSENT), {"": c.default}) for c in kind.columns]

    def row(self, cells: list[str]) -> tuple[dict[str, Any], list[tuple[str, str, Flaw]]]:
        """The values of a line, and what is wrong: (column, cell, flaw)."""
        values: dict[str, Any] = {}
        flaws: list[tuple[str, str, Flaw]] = []
        width = len(cells)
        for column, place, known in self._plan:
            cell = cells[place] if place < width else ""
            value = known.get(cell, REQUIRED)
            if value is REQUIRED:
                try:
                    value = self._parse(column, cell.strip())
                except Bad as bad:
                    flaws.append((column.name, cell, _complete(bad.flaw, column)))
                    continue
                if len(known) < KNOWN_TEXTS:
                    known[cell] = value
            values[column.name] = value
        if not flaws and self._kind.check is not None:
            try:
                self._kind.check(values)
            except Misfit as misfit:
                column = next(c for c in self._kind.columns if c.name == misfit.column)
                flaws.append(
                    (column.name, cell_of(cells, self._places, column.name), _complete(misfit.flaw, column))
                )
        return values, flaws

    def _parse(self, column: Column, cell: str) -> Any:
        if cell:
            return column.form.parse(cell)
        if column.default is REQUIRED:
            raise Bad("empty", "不能为空")
        return column.default


def parse_row(kind: Kind, cells: Mapping[str, str]) -> tuple[dict[str, Any], list[tuple[str, str, Flaw]]]:
    """One row given by column name: its values, and what is wrong: (column, cell, flaw)."""
    return Parser(kind, {name: place for place, name in enumerate(cells)}).row(list(cells.values()))


class Seen:
    """Which rows of a file have come, by the columns that a row is found again by.

    An open hash table in an unnamed file: 16 octets a slot (fingerprint, line), at most half full. A row's
    fingerprint is its 64-bit hash, keyed by this process; among 10⁶ rows two are taken for one in 1 file of
    4 × 10⁷.
    """

    def __init__(self, kind: Kind, places: Mapping[str, int]) -> None:
        self._columns = kind.key
        self._places = places
        self._count = 0
        self._make(FIRST_SLOTS)

    def sift(self, batch: Batch) -> None:
        """Turn the rows of `batch` that came before into problems."""
        kept: list[Good] = []
        for good in batch.good:
            fingerprint = hash(tuple([good.values[name] for name in self._columns])) & FINGERPRINT
            before = self._put(fingerprint or 1, good.line)
            if before == 0:
                kept.append(good)
            else:
                column = self._columns[0]
                cell = cell_of(good.cells, self._places, column)
                batch.bad.append(Problem(good.line, [(column, cell, _repeated(before))], good.cells))
        batch.good = kept

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._slots.release()
        self._map.close()

    def _make(self, slots: int) -> None:
        self._mask = slots - 1
        try:
            with tempfile.TemporaryFile() as file:
                os.posix_fallocate(file.fileno(), 0, slots * 16)  # a page without room would kill the process
                self._map = mmap.mmap(file.fileno(), slots * 16)
        except OSError as error:
            raise NotReady(
                f"{tempfile.gettempdir()}: cannot be written: {error.strerror}; right would be room for"
                f" {slots * 16} octets, or another TMPDIR"
            ) from None
        self._slots = memoryview(self._map).cast("Q")

    def _put(self, fingerprint: int, line: int) -> int:
        """0, and `line` is noted; or the line that had this fingerprint before."""
        slots, mask = self._slots, self._mask
        at = fingerprint & mask
        while found := slots[2 * at]:
            if found == fingerprint:
                return slots[2 * at + 1]
            at = (at + 1) & mask
        slots[2 * at], slots[2 * at + 1] = fingerprint, line
        self._count += 1
        if 2 * self._count > mask:
            self._grow()
        return 0

    def _grow(self) -> None:
        old, full = self._map, self._slots
        self._count = 0
        self._make(2 * (self._mask + 1))
        for at in range(0, len(full), 2):
            if full[at]:
                self._put(full[at], full[at + 1])
        full.release()
        old.close()


def batches(source: Source, kind: Kind, places: Mapping[str, int]) -> Generator[Batch, None, None]:
    """All lines below the header, in order."""
    parser = Parser(kind, places, len(source.header))
    with Seen(kind, places) as seen:
        batch = Batch()
        for row in source.rows():
            _sort_in(batch, row, parser)
            if len(batch.good) + len(batch.bad) >= CHUNK:
                batch.position = source.position()
                seen.sift(batch)
                yield batch
                batch = Batch()
        batch.position = source.size
        seen.sift(batch)
        yield batch


def cell_of(cells: list[str], places: Mapping[str, int], column: str) -> str:
    """The cell of `column` in a line that may be too short, or of a file that leaves it out."""
    place = places.get(column, len(cells))
    return cells[place] if place < len(cells) else ""


def _sort_in(batch: Batch, row: Row, parser: Parser) -> None:
    if row.flaw is not None:
        batch.bad.append(Problem(row.line, [("", "".join(row.cells), row.flaw)], []))
        return
    values, flaws = parser.row(row.cells)
    if len(row.cells) > parser.width and (over := ",".join(row.cells[parser.width :]).strip(" ,")):
        flaws.append(("", over, BEYOND))
    if flaws:
        batch.bad.append(Problem(row.line, flaws, row.cells))
    else:
        batch.good.append(Good(row.line, values, row.cells))


def _complete(flaw: Flaw, column: Column) -> Flaw:
    if flaw.expected:
        return flaw
    return flaw._replace(expected=column.form.expected, expected_zh=column.form.expected_zh)


def _repeated(line: int) -> Flaw:
    return Flaw(
        f"says again what line {line} says",
        f"与第 {line} 行重复",
        "each row once in a file",
        "同一文件中每行只出现一次",
    )
