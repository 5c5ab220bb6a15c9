"""Rows of a table file, and the two-way disarming of formulas in their cells.

Rules: plain values. It knows no file format, no kind and no database.

A text that a spreadsheet would execute (OWASP "CSV Injection": it begins with = + - @ tab CR, or their
full-width forms) is written with an apostrophe before it. Reading takes one apostrophe away from exactly
such texts, so `rearm(disarm(x)) == x` for every x, and a file written by hand reads as it stands.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from gateway.errors import UsageError, Words

LINE_LIMIT = 1 << 20
"""Octets of the longest CSV line, and characters of the longest cell, that are read."""

ARMED = re.compile(r"['\s]*[=+\-@\t\r＝＋－＠]")
DISARMED = re.compile(r"'['\s]*[=+\-@\t\r＝＋－＠]")


def disarm(text: str) -> str:
    """`text` as a spreadsheet may show it without executing it."""
    return "'" + text if ARMED.match(text) else text


def rearm(text: str) -> str:
    """What `disarm` was given."""
    return text[1:] if text.startswith("'") and DISARMED.match(text) else text


class Flaw(NamedTuple):
    """What is wrong with a cell or line: the cause and what would be right, in both languages."""

    cause: str
    cause_zh: str
    expected: str = ""
    expected_zh: str = ""


HEADER = Words("列出各列名称的首行", "a first line that names the columns")
EMPTY = Flaw("the first line is empty", "首行为空")


class BadFile(UsageError):
    """A file can't be read as a table at all; `flaw` says why, and what would be right."""

    def __init__(self, path: Path, flaw: Flaw) -> None:
        super().__init__(f"{path}: {flaw.cause}; right would be {flaw.expected}")
        self.flaw = flaw


class Bad(Exception):
    """A cell does not hold what its column needs; `flaw` says why and what would be right."""

    def __init__(self, cause: str, cause_zh: str, expected: str = "", expected_zh: str = "") -> None:
        super().__init__(cause)
        self.flaw = Flaw(cause, cause_zh, expected, expected_zh)


class Row(NamedTuple):
    """One line: its number in the file (1 is the header), its cells as text, what makes it unreadable."""

    line: int
    cells: list[str]
    flaw: Flaw | None = None


class Source(Protocol):
    """An open table file. `size` and `position` are in octets and for a progress bar only."""

    header: list[str]
    size: int

    def rows(self) -> Iterator[Row]:
        """The lines below the header that hold anything."""
        ...

    def position(self) -> int: ...

    def close(self) -> None: ...


class Sink(Protocol):
    """A table file that is being written; nothing stands at its path until `close` was called."""

    def write(self, cells: list[str]) -> None: ...

    def close(self) -> None: ...

    def discard(self) -> None:
        """Give up: the path is left as it was."""
        ...


TOO_LONG = Flaw(
    "the line or cell is too long",
    "本行或单元格过长",
    f"at most {LINE_LIMIT} octets",
    f"最多 {LINE_LIMIT} 字节",
)

WIDEST = 256
"""Columns that are read of a line: a cell's address alone can claim thousands, for each row of a file."""

TOO_WIDE = Flaw(
    "a cell stands far beyond the last column",
    "最后一列之后很远处有内容",
    f"at most {WIDEST} columns",
    f"最多 {WIDEST} 列",
)


def row_of(line: int, cells: list[str]) -> Row:
    """A line of these cells; of one that is too wide none, and empty ones beyond are dropped."""
    if len(cells) <= WIDEST:
        return Row(line, cells)
    return Row(line, [], TOO_WIDE) if any(cells[WIDEST:]) else Row(line, cells[:WIDEST])
