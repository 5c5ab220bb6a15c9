"""XLSX (ECMA-376), written as a stream of rows of text.

Rules: memory does not grow with the file. Every cell is typed text in the format "@", so that a spreadsheet
neither computes nor rewrites it; texts other than telephone numbers are disarmed as in CSV too, because a
user may save the sheet as CSV. It knows nothing of kinds or the database.
"""

import os
import re
import zipfile
from pathlib import Path
from typing import IO
from xml.sax.saxutils import escape

from gateway.errors import UsageError
from gateway.registry.rows import disarm

ROWS_MAX = 1_048_576
"""Rows that one sheet can hold (ECMA-376 Part 1, 18.3.1.73)."""

TO_ESCAPE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")  # ST_Xstring, ECMA-376 Part 1, 22.9.2.19
ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
TELEPHONE = re.compile(r"\+\d+")


class XlsxSink:
    """Writes an XLSX file beside `path` and puts it in place when it is whole."""

    def __init__(self, path: Path, legend: list[list[str]]) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = open(descriptor, "w+b")  # noqa: PTH123, SIM115
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        for name, text in PARTS.items():
            self._zip.writestr(name, text)
        with self._zip.open("xl/worksheets/sheet2.xml", "w") as second:
            second.write(SHEET_HEAD + b"".join(_row_xml(row) for row in legend) + SHEET_TAIL)
        self._sheet: IO[bytes] = self._zip.open("xl/worksheets/sheet1.xml", "w", force_zip64=True)
        self._sheet.write(SHEET_HEAD)
        self._count = 0

    def write(self, cells: list[str]) -> None:
        self._count += 1
        if self._count > ROWS_MAX:
            raise UsageError(f"{self._path}: an XLSX sheet holds {ROWS_MAX} rows; right would be a .csv file")
        self._sheet.write(_row_xml(cells))

    def close(self) -> None:
        self._sheet.write(SHEET_TAIL)
        self._sheet.close()
        self._zip.close()
        self._file.close()
        self._part.replace(self._path)

    def discard(self) -> None:
        self._sheet.close()
        self._zip.close()
        self._file.close()
        self._part.unlink(missing_ok=True)


def _row_xml(cells: list[str]) -> bytes:
    return ("<row>" + "".join(map(_cell_xml, cells)) + "</row>").encode("utf-8", "replace")


def _cell_xml(text: str) -> str:
    if not text:
        return "<c/>"
    if not TELEPHONE.fullmatch(text):
        text = disarm(ILLEGAL.sub(" ", text))
    text = escape(TO_ESCAPE.sub("_x005F_", text))
    return f'<c t="inlineStr" s="1"><is><t xml:space="preserve">{text}</t></is></c>'


_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"
SHEET_HEAD = f"{_XML}<worksheet {_MAIN}><sheetData>".encode()
SHEET_TAIL = b"</sheetData></worksheet>"
PARTS = {
    "[Content_Types].xml": f'{_XML}<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPES}.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_TYPES}.styles+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPES}.worksheet+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet2.xml" ContentType="{_TYPES}.worksheet+xml"/></Types>',
    "_rels/.rels": f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'{_XML}<workbook {_MAIN} xmlns:r="{_OFFICE}"><sheets>'
    '<sheet name="data" sheetId="1" r:id="rId1"/><sheet name="columns" sheetId="2" r:id="rId2"/>'
    "</sheets></workbook>",
    "xl/_rels/workbook.xml.rels": f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_OFFICE}/worksheet" Target="worksheets/sheet2.xml"/>'
    f'<Relationship Id="rId3" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>',
    "xl/styles.xml": f"{_XML}<styleSheet {_MAIN}>"
    "<fonts><font/></fonts><fills><fill><patternFill/></fill></fills><borders><border/></borders>"
    '<cellStyleXfs><xf/></cellStyleXfs><cellXfs><xf/><xf numFmtId="49" applyNumberFormat="1"/></cellXfs>'
    '<cellStyles><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>',
}
