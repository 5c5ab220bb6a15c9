"""XLSX (ECMA-376), read as a stream of rows of text.

Rules: memory does not grow with the file: the sheet is parsed as it is unpacked, shared strings lie in a
temporary file. Only the first sheet is read. Cells come out as the text that a person sees or typed: whole
numbers digit by digit, dates as ISO 8601, formulas as their last result. openpyxl would take 170 µs a row
and hold all strings in memory; this takes a tenth of it. It knows nothing of kinds or the database.
"""

import mmap
import re
import tempfile
import zipfile
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.parsers import expat

from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900, from_excel

from gateway.errors import UsageError
from gateway.registry.rows import LINE_LIMIT, TOO_LONG, Row, rearm

BLOCK = 1 << 16
ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")  # ST_Xstring, ECMA-376 Part 1, 22.9.2.19
CHINESE_DATES = (*range(27, 37), *range(50, 59))  # built-in formats of zh-cn, 18.8.30
DIGITS_KEPT = 15
"""Digits of a number that a spreadsheet keeps."""


class XlsxSource:
    """Rows of the first sheet."""

    def __init__(self, path: Path) -> None:
        self._strings: _Strings | None = None
        try:
            self._zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile:
            raise UsageError(
                f"{path}: not an XLSX file; right would be one saved as .xlsx, or a .csv"
            ) from None
        try:
            book = _book(self._zip)
            self._dates = _date_styles(self._zip)
            self._epoch = CALENDAR_MAC_1904 if book.from_1904 else CALENDAR_WINDOWS_1900
            if "xl/sharedStrings.xml" in self._zip.namelist():
                self._strings = _Strings(self._zip)
            self.size = self._zip.getinfo(book.sheet).file_size
            self._stream = self._zip.open(book.sheet)
            self._rows = self._parse()
            first = next(self._rows, None)
        except (KeyError, ValueError, zipfile.BadZipFile, expat.ExpatError) as problem:
            self.close()
            raise UsageError(f"{path}: damaged, or not an XLSX file: {problem}") from None
        if first is None or first.line != 1 or first.flaw is not None:
            self.close()
            raise UsageError(f"{path}: the first line is empty; right would be a line that names the columns")
        self.header = first.cells

    def rows(self) -> Iterator[Row]:
        try:
            yield from self._rows
        except (ValueError, zipfile.BadZipFile, expat.ExpatError) as problem:
            raise UsageError(f"the XLSX file is damaged: {problem}") from None

    def position(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        if self._strings is not None:
            self._strings.close()
        self._zip.close()

    def _parse(self) -> Iterator[Row]:
        sheet = _Sheet(self._text)
        parser = _parser(sheet.start, sheet.end, sheet.characters)
        while block := self._stream.read(BLOCK):
            parser.Parse(block, False)
            if sheet.done:
                ready, sheet.done = sheet.done, []
                yield from ready
        parser.Parse(b"", True)
        yield from sheet.done

    def _text(self, kind: str, style: str, raw: str) -> str:
        """What a cell shows. `kind` is ST_CellType (18.18.11)."""
        if kind == "s":
            if self._strings is None:
                raise ValueError("a shared string, but no table of them")
            return self._strings[int(raw)]
        if kind in ("str", "inlineStr"):
            return _unescaped(raw)
        if kind == "b":
            return "true" if raw == "1" else "false"
        if kind != "n" or not raw:
            return raw
        if style in self._dates:
            return _date(float(raw), self._epoch)
        return _number(raw)


class _Sheet:
    """Turns the elements of a worksheet into rows (18.3.1.73 row, 18.3.1.4 c)."""

    def __init__(self, text: Callable[[str, str, str], str]) -> None:
        self.done: list[Row] = []
        self._text = text
        self._columns: dict[str, int] = {}
        self._line = 0
        self._cells: list[str] = []
        self._kind = self._style = ""
        self._parts: list[str] = []
        self._length = 0
        self._taking = False
        self._phonetic = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "c":
            self._kind = attributes.get("t", "n")
            self._style = attributes.get("s", "")
            self._parts = []
            self._length = 0
            if reference := attributes.get("r"):
                column = self._column(reference)
                while len(self._cells) < column:
                    self._cells.append("")
        elif name in ("v", "t"):
            self._taking = not self._phonetic
        elif name == "row":
            self._line = int(attributes.get("r") or self._line + 1)
            self._cells = []
        elif name == "rPh":
            self._phonetic = True

    def end(self, name: str) -> None:
        if name == "c":
            raw = "".join(self._parts)
            self._cells.append(rearm(self._text(self._kind, self._style, raw)) if raw else "")
        elif name in ("v", "t"):
            self._taking = False
        elif name == "row":
            if self._length > LINE_LIMIT:
                self.done.append(Row(self._line, [], TOO_LONG))
            elif any(self._cells):
                self.done.append(Row(self._line, self._cells))
        elif name == "rPh":
            self._phonetic = False

    def characters(self, data: str) -> None:
        if self._taking:
            self._length += len(data)
            if self._length <= LINE_LIMIT:
                self._parts.append(data)

    def _column(self, reference: str) -> int:
        letters = reference.rstrip("0123456789")
        column = self._columns.get(letters)
        if column is None:
            column = 0
            for letter in letters:
                column = column * 26 + ord(letter) - 64
            column -= 1
            if not 0 <= column < 16_384:
                raise ValueError(f"cell {reference!r}")
            self._columns[letters] = column
        return column


class _Strings:
    """The shared strings (18.4.9), in a temporary file that has no name."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._ends = array("Q", [0])
        self._parts: list[str] = []
        self._taking = self._phonetic = False
        parser = _parser(self._start, self._end, self._characters)
        with archive.open("xl/sharedStrings.xml") as stream:
            while block := stream.read(BLOCK):
                parser.Parse(block, False)
            parser.Parse(b"", True)
        self._file.flush()
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) if self._ends[-1] else None

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self._ends) - 1:
            raise ValueError(f"shared string {index}")
        if self._map is None:
            return ""
        return self._map[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogatepass")

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
        self._file.close()

    def _start(self, name: str, _: dict[str, str]) -> None:
        if name == "si":
            self._parts = []
        elif name == "t":
            self._taking = not self._phonetic
        elif name == "rPh":
            self._phonetic = True

    def _end(self, name: str) -> None:
        if name == "si":
            octets = _unescaped("".join(self._parts)).encode("utf-8", "surrogatepass")
            self._file.write(octets)
            self._ends.append(self._ends[-1] + len(octets))
        elif name == "t":
            self._taking = False
        elif name == "rPh":
            self._phonetic = False

    def _characters(self, data: str) -> None:
        if self._taking:
            self._parts.append(data)


class _Book:
    """What the workbook part says: its first sheet, and where its dates begin."""

    def __init__(self) -> None:
        self.relation = ""
        self.from_1904 = False
        self.targets: dict[str, str] = {}
        self.sheet = ""


def _book(archive: zipfile.ZipFile) -> _Book:
    book = _Book()

    def of_workbook(name: str, attributes: dict[str, str]) -> None:
        if name == "sheet" and not book.relation:
            book.relation = next((value for key, value in attributes.items() if key.endswith(":id")), "")
        elif name == "workbookPr":
            book.from_1904 = attributes.get("date1904") in ("1", "true")

    def of_relations(name: str, attributes: dict[str, str]) -> None:
        if name == "Relationship":
            book.targets[attributes["Id"]] = attributes["Target"]

    _parse_part(archive, "xl/workbook.xml", of_workbook)
    _parse_part(archive, "xl/_rels/workbook.xml.rels", of_relations)
    target = book.targets[book.relation]
    book.sheet = target.lstrip("/") if target.startswith("/") else "xl/" + target
    return book


def _date_styles(archive: zipfile.ZipFile) -> frozenset[str]:
    """The cell styles (indices into cellXfs, 18.8.10) that show a number as a date or time."""
    formats = dict(BUILTIN_FORMATS) | dict.fromkeys(CHINESE_DATES, "yyyy-mm-dd")
    styles: set[str] = set()
    inside = [False, 0]

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "numFmt":
            formats[int(attributes["numFmtId"])] = attributes["formatCode"]
        elif name in ("cellXfs", "cellStyleXfs"):
            inside[0] = name == "cellXfs"
        elif name == "xf" and inside[0]:
            if is_date_format(formats.get(int(attributes.get("numFmtId", "0")), "General")):
                styles.add(str(inside[1]))
            inside[1] += 1

    if "xl/styles.xml" in archive.namelist():
        _parse_part(archive, "xl/styles.xml", start)
    return frozenset(styles)


def _parse_part(archive: zipfile.ZipFile, name: str, start: Callable[[str, dict[str, str]], None]) -> None:
    parser = _parser(start, lambda _: None, lambda _: None)
    parser.Parse(archive.read(name), True)


def _parser(
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    characters: Callable[[str], None],
) -> expat.XMLParserType:
    """A parser that hands on local names, and takes no document type (entities could grow without end)."""

    def refuse(*_: object) -> None:
        raise ValueError("a document type declaration")

    def plain_start(name: str, attributes: dict[str, str]) -> None:
        start(name.rpartition(":")[2] if ":" in name else name, attributes)

    def plain_end(name: str) -> None:
        end(name.rpartition(":")[2] if ":" in name else name)

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = plain_start
    parser.EndElementHandler = plain_end
    parser.CharacterDataHandler = characters
    return parser


def _unescaped(text: str) -> str:
    return ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def _number(raw: str) -> str:
    """A number as digits; in scientific form where the spreadsheet no longer knows all of its digits."""
    digits = raw.lstrip("-")
    if digits.isdigit():
        if len(digits) > DIGITS_KEPT and not digits[DIGITS_KEPT:].strip("0"):
            return f"{float(raw):.14E}"
        return raw
    value = float(raw)
    return str(int(value)) if value.is_integer() and abs(value) < 10**DIGITS_KEPT else raw


def _date(serial: float, epoch: object) -> str:
    try:
        return str(from_excel(serial, epoch).isoformat())
    except (ValueError, OverflowError, AttributeError):
        return str(serial)
