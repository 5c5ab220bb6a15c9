"""Table files, opened by their extension; and CSV, in UTF-8 (with or without BOM) or GB18030.

Rules: memory does not grow with a CSV file; a line that cannot be read is given back as such and never takes
its neighbours with it. A record is one physical line: a cell cannot hold a line break, so a stray quotation
mark costs one line and not the rest of the file. Written files carry a BOM, as spreadsheets need it to
recognise UTF-8. It knows nothing of kinds, of what columns mean, or of the database.
"""

import codecs
import csv
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import UsageError
from gateway.registry.rows import (
    EMPTY,
    HEADER,
    LINE_LIMIT,
    TOO_LONG,
    BadFile,
    Flaw,
    Row,
    Sink,
    Source,
    disarm,
    rearm,
    row_of,
)

UNCLOSED = Flaw(
    "quotation marks do not pair up on this line",
    "本行引号不配对",
    'each cell on one line; a quotation mark inside a quoted cell is doubled: ""',
    '每个单元格写在同一行内；带引号的单元格中，引号须写两次：""',
)
UNDECODABLE = {
    name: Flaw(
        f"the line is not readable as {name}",
        f"本行无法按 {name} 编码读取",
        "the whole file in one encoding, UTF-8 or GB18030",
        "整个文件使用同一种编码：UTF-8 或 GB18030",
    )
    for name in ("utf-8", "gb18030")
}


OTHERS = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": Flaw(  # an OLE2 file: Excel 97, or what a password encrypts
        "an old .xls workbook, or one with a password",
        "旧格式（.xls）或带密码的工作簿",
        "one saved as .xlsx without a password, or as .csv",
        "另存为不带密码的 .xlsx，或 .csv",
    ),
    b"%PDF-": Flaw("a PDF", "PDF 文件", "a table saved as .xlsx or .csv", "另存为 .xlsx 或 .csv 的表格"),
}
"""By their first octets, what is brought as a table and is none."""
WORKBOOK = Flaw("an XLSX workbook", "XLSX 工作簿", "the same file called .xlsx", "将文件扩展名改为 .xlsx")


def open_table(path: Path) -> Source:
    """Open `path` by its extension, .csv or .xlsx. UsageError: neither, missing, empty, or not readable."""
    try:
        if path.suffix.lower() in {".csv", ".xlsx"}:
            _refuse_others(path)
        match path.suffix.lower():
            case ".csv":
                return CsvSource(path)
            case ".xlsx":
                from gateway.registry.xlsx import XlsxSource  # noqa: PLC0415  # openpyxl: a tenth of a start

                return XlsxSource(path)
            case other:
                raise UsageError(f"{path}: extension {other!r}; right would be .csv or .xlsx")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror or problem}") from None


def _refuse_others(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(8)
    for beginning, flaw in OTHERS.items():
        if head.startswith(beginning):
            raise BadFile(path, flaw)
    if head.startswith(b"PK\x03\x04") and path.suffix.lower() == ".csv":
        raise BadFile(path, WORKBOOK)


def create_table(path: Path, legend: list[list[str]]) -> Sink:
    """Start writing `path`; `legend` (rows that explain the columns) goes where the format has room."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        match path.suffix.lower():
            case ".csv":
                return CsvSink(path)
            case ".xlsx":
                from gateway.registry.xlsx import XlsxSink  # noqa: PLC0415

                return XlsxSink(path, legend)
            case other:
                raise UsageError(f"{path}: extension {other!r}; right would be .csv or .xlsx")
    except OSError as problem:
        raise UsageError(f"{path}: cannot be written: {problem.strerror or problem}") from None


def encoding_of(path: Path) -> str:
    """The encoding that reads most of the lines that are not plain ASCII: "utf-8" or "gb18030".

    A file of one encoding is recognised as such; and in a UTF-8 file one damaged line stays one damaged
    line, instead of turning every Chinese word of the file into others.
    """
    readable = unreadable = 0
    whole = True
    with path.open("rb") as file:
        if (head := file.read(4)).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise BadFile(
                path, Flaw("encoded in UTF-16", "编码为 UTF-16", "UTF-8 or GB18030", "UTF-8 或 GB18030")
            )
        if head.startswith(codecs.BOM_UTF8):
            return "utf-8"
        file.seek(0)
        while line := file.readline(LINE_LIMIT):
            before, whole = whole, line.endswith(b"\n")
            if (not whole and len(line) == LINE_LIMIT) or not before:
                continue  # a piece of a line too long may begin or end inside a character
            if not line.isascii():
                try:
                    line.decode()
                    readable += 1
                except UnicodeDecodeError:
                    unreadable += 1
    return "utf-8" if readable >= unreadable else "gb18030"


class CsvSource:
    """Rows of a CSV file."""

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        self.encoding = encoding_of(path)
        self._file = path.open("rb")
        octets = self._file.readline(LINE_LIMIT)
        first = self._read(1, octets.removeprefix("\ufeff".encode(self.encoding)))
        self.header = first.cells
        flaw = first.flaw
        if len(octets) == LINE_LIMIT and not octets.endswith(b"\n"):
            flaw = TOO_LONG
        if flaw is None and not any(first.cells):
            flaw = EMPTY
        if flaw is None and any("\r" in cell for cell in first.cells):
            flaw = Flaw("its lines end in CR alone", "行末仅有 CR")
        if flaw is not None:
            self._file.close()
            raise BadFile(
                path,
                flaw._replace(expected=f"{HEADER.en}, by commas", expected_zh=f"{HEADER.zh}，以逗号分隔"),
            )

    def rows(self) -> Iterator[Row]:
        line = 1
        while octets := self._file.readline(LINE_LIMIT):
            line += 1
            if len(octets) == LINE_LIMIT and not octets.endswith(b"\n"):
                while (more := self._file.readline(LINE_LIMIT)) and not more.endswith(b"\n"):
                    pass
                yield Row(line, [], TOO_LONG)
                continue
            row = self._read(line, octets)
            if row.flaw is not None or any(row.cells):
                yield row

    def position(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    def _read(self, line: int, octets: bytes) -> Row:
        try:
            text = octets.decode(self.encoding)
        except UnicodeDecodeError:
            shown = octets.decode(self.encoding, "replace").rstrip("\r\n")
            return Row(line, [shown], UNDECODABLE[self.encoding])
        text = text.rstrip("\r\n")
        if '"' not in text:
            cells = text.split(",")
        else:
            try:
                cells = next(csv.reader([text], strict=True))
            except csv.Error:
                return Row(line, [text], UNCLOSED)
        row = row_of(line, cells)
        if "'" in text:
            row = row._replace(cells=[rearm(cell) for cell in row.cells])
        return row


class WholeFile:
    """Text that is written beside `path` and put in place when it is whole."""

    def __init__(self, path: Path, mode: int = 0o600, encoding: str = "utf-8") -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        self._file = open(descriptor, "w", encoding=encoding, newline="")  # noqa: PTH123, SIM115

    def close(self) -> None:
        self._file.close()
        self._part.replace(self._path)

    def discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._file.close()


class CsvSink(WholeFile):
    """A CSV file; formulas are disarmed."""

    def __init__(self, path: Path, mode: int = 0o600) -> None:
        super().__init__(path, mode, "utf-8-sig")
        self._writer = csv.writer(self._file)

    def write(self, cells: list[str]) -> None:
        self._writer.writerow([disarm(" ".join(cell.splitlines())) if cell else cell for cell in cells])
