"""XLSX files by openpyxl: rows of text of the first sheet, and the writing of them.

Rules: rows come and go as a stream. Of a file that is read, openpyxl keeps the shared strings and some 100
octets a row in memory; one that is written it keeps in temporary files until it is packed. Cells come out as
a person sees or typed them: whole numbers digit by digit, dates as ISO 8601, formulas as their last result.
Written cells are typed text in the format "@", so that a spreadsheet neither computes nor rewrites them;
texts other than telephone numbers are disarmed as in CSV, because a user may save the sheet as CSV. It knows
nothing of kinds or the database.
"""

import datetime
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

from openpyxl import Workbook, load_workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.utils.datetime import from_excel
from openpyxl.worksheet._writer import ALL_TEMP_FILES, WorksheetWriter

from gateway.errors import UsageError
from gateway.registry.rows import (
    EMPTY,
    HEADER,
    LINE_LIMIT,
    TOO_LONG,
    TOO_WIDE,
    WIDEST,
    BadFile,
    Flaw,
    Row,
    disarm,
    rearm,
)

BLOCK = 256
ROWS_MAX = 1_048_576
"""Rows that one sheet can hold (ECMA-376 Part 1, 18.3.1.73)."""
TEXT_MAX = 32_767
"""Characters that one cell can hold; openpyxl would cut the rest off."""
DIGITS_KEPT = 15
"""Digits of a number that a spreadsheet keeps."""
UNPACKED_FREE, UNPACKED_RATIO = 1 << 26, 100
"""Octets that a part may always unpack to, and times its packed size beyond; sheets of numbers stay at 30."""

CHINESE_DATES = (*range(27, 37), *range(50, 59))  # formats of zh-cn, 18.8.30; openpyxl takes them for numbers
# ST_Xstring (22.9.2.19), which openpyxl leaves to us. Only what programs do escape is undone: it has turned
# a shared string's _x005F_x0041_ into _x0041_ already, and that is what the user typed.
ESCAPED = re.compile(r"_x(00[01][0-9A-Fa-f]|005[Ff])_")
TO_ESCAPE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")
ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
TELEPHONE = re.compile(r"\+\d+")


class XlsxSource:
    """Rows of the first sheet."""

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        self._path = path
        self._file = path.open("rb")
        try:
            with self._guarded():
                _refuse_bombs(self._file)
                book = load_workbook(self._file, read_only=True, data_only=True, keep_links=False)
                self._epoch = book.epoch
                sheet: Any = book.worksheets[0]
                sheet.reset_dimensions()  # some programs write wrong ones, and rows beyond would be lost
                self._rows = self._parse(sheet.iter_rows())
                first = next(self._rows, None)
            if first is None or first.line != 1 or first.flaw is not None:
                raise BadFile(path, EMPTY._replace(expected=HEADER.en, expected_zh=HEADER.zh))
        except BaseException:
            self._file.close()
            raise
        self.header = first.cells

    def rows(self) -> Iterator[Row]:
        while True:
            with self._guarded():
                block = list(islice(self._rows, BLOCK))
            if not block:
                return
            yield from block

    def position(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._rows.close()
        self._file.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """openpyxl warns of styles, extensions and names that it drops (none is read here), and lets out
        whatever its layers raise at a bad file: KeyError, TypeError, SyntaxError, BadZipFile, OSError …"""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", category=UserWarning, module=r"openpyxl\.")
                yield
        except Exception as problem:
            cause = problem.__cause__ or problem
            raise BadFile(
                self._path,
                Flaw(
                    f"not an XLSX file, damaged, or encrypted: {cause}",
                    f"不是 XLSX 文件，或已损坏、加密：{cause}",
                    "one saved as .xlsx without a password, or a .csv",
                    "不带密码的 .xlsx，或 .csv",
                ),
            ) from None

    def _parse(self, lines: Iterator[tuple[Any, ...]]) -> Any:
        for line, found in enumerate(lines, 1):
            if line > ROWS_MAX:  # a row may claim any number, and openpyxl fills up to it
                raise ValueError(f"line {line}")
            if any(cell.value is not None for cell in found[: WIDEST - 1 : -1]):
                yield Row(line, [], TOO_WIDE)
                continue
            cells = [self._text(cell) for cell in found[:WIDEST]]
            if sum(map(len, cells)) > LINE_LIMIT:
                yield Row(line, [], TOO_LONG)
            elif any(cells):
                yield Row(line, cells)

    def _text(self, cell: Any) -> str:
        """What a cell shows."""
        match cell.value:
            case None:
                return ""
            case str(text):
                return rearm(ESCAPED.sub(lambda found: chr(int(found[1], 16)), text))
            case bool(flag):
                return "true" if flag else "false"
            case int(number) | float(number):
                if cell.style_array.numFmtId in CHINESE_DATES:
                    with suppress(ValueError, OverflowError):
                        return str(from_excel(number, self._epoch).isoformat())
                return _digits(number)
            case datetime.timedelta() as span:
                return str(span)
            case instant:
                return str(instant.isoformat())


class XlsxSink:
    """Writes an XLSX file beside `path` and puts it in place when it is whole."""

    def __init__(self, path: Path, legend: list[list[str]]) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = open(descriptor, "w+b")  # noqa: PTH123, SIM115
        self._book = Workbook(write_only=True)
        self._sheets = [self._book.create_sheet("data"), self._book.create_sheet("columns")]
        self._rows = [path.with_name(f"{self._part.name}.{number}") for number in range(len(self._sheets))]
        for sheet, rows in zip(self._sheets, self._rows, strict=True):
            os.close(os.open(rows, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
            ALL_TEMP_FILES.append(str(rows))
            # left to itself it keeps rows in the machine's temporary folder, where a kill leaves them
            sheet._writer = WorksheetWriter(sheet, str(rows))
            sheet._writer.write_top()
        self._cell = WriteOnlyCell(self._sheets[0])
        self._cell.number_format = "@"
        self._count = 0
        for row in legend:
            self._append(self._sheets[1], row)

    def write(self, cells: list[str]) -> None:
        self._count += 1
        if self._count > ROWS_MAX or max(map(len, cells), default=0) > TEXT_MAX:
            raise UsageError(
                f"{self._path}: an XLSX sheet holds {ROWS_MAX} rows, of cells of {TEXT_MAX} characters; right"
                " would be a .csv file"
            )
        self._append(self._sheets[0], cells)

    def close(self) -> None:
        self._book.save(self._file)
        self._file.close()
        self._part.replace(self._path)

    def discard(self) -> None:
        for sheet in self._sheets:
            with suppress(OSError):  # a full disk may be why
                sheet.close()
        for path in (self._part, *self._rows):
            path.unlink(missing_ok=True)
            with suppress(ValueError):
                ALL_TEMP_FILES.remove(str(path))
        self._file.close()

    def _append(self, sheet: Any, cells: list[str]) -> None:
        # a row is written cell by cell, so one styled cell serves all; a new one each would cost far more
        sheet.append(self._typed(text) for text in cells)

    def _typed(self, text: str) -> Any:
        if not TELEPHONE.fullmatch(text):
            text = disarm(ILLEGAL.sub(" ", text))
        self._cell.value = TO_ESCAPE.sub("_x005F_", text)
        self._cell.data_type = "s" if text else "n"  # left alone, "#N/A" would become an error
        return self._cell


def _refuse_bombs(file: IO[bytes]) -> None:
    with ZipFile(file) as archive:
        for part in archive.infolist():
            if part.file_size > max(UNPACKED_FREE, UNPACKED_RATIO * part.compress_size):
                raise ValueError(f"{part.filename} would unpack to {part.file_size} octets")


def _digits(number: int | float) -> str:
    """A number as digits; in scientific form where the spreadsheet no longer knows all of its digits."""
    digits = str(number).lstrip("-")
    lost = len(digits) > DIGITS_KEPT and not digits[DIGITS_KEPT:].strip("0")
    return f"{number:.{DIGITS_KEPT}g}" if lost or isinstance(number, float) else str(number)
