"""Table files: what is written reads back, bad lines stay alone, nothing in them is executed."""

import datetime
import zipfile
from contextlib import closing
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.registry.rows import LINE_LIMIT, Row, disarm, rearm
from gateway.registry.sheets import create_table, encoding_of, open_table

ARMED = ["=1+1", "+8613800000000", "-1", "@x", "\t=x", "＝1", " =1", "'=1", "''+x", "'", "plain", "'quoted'"]
CELLS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12)


def written(path: Path, *rows: list[str]) -> Path:
    sink = create_table(path, [["column", "列名"]])
    for row in rows:
        sink.write(row)
    sink.close()
    return path


def rows_of(path: Path) -> list[Row]:
    with closing(open_table(path)) as source:
        return list(source.rows())


def read(path: Path) -> list[list[str]]:
    with closing(open_table(path)) as source:
        return [source.header, *(row.cells for row in source.rows())]


@pytest.mark.parametrize("text", ARMED)
def test_disarming_is_undone_and_leaves_nothing_to_execute(text: str) -> None:
    assert rearm(disarm(text)) == text
    assert disarm(text).lstrip()[:1] not in tuple("=+-@＝")


@given(st.text())
def test_disarming_is_undone_for_every_text(text: str) -> None:
    assert rearm(disarm(text)) == text


@settings(max_examples=40)
@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3).filter(any), max_size=5))
@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_what_is_written_reads_back(
    suffix: str, rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sheet") / f"t{suffix}"
    assert read(written(path, ["a", "b", "c"], *rows)) == [["a", "b", "c"], *rows]


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_texts_that_spreadsheets_execute_read_back(suffix: str, tmp_path: Path) -> None:
    rows = [[text, "_x0041_"] for text in ARMED if "\t" not in text]
    assert read(written(tmp_path / f"t{suffix}", ["a", "b"], *rows))[1:] == rows


def test_an_xlsx_holds_no_formula_and_opens_elsewhere(tmp_path: Path) -> None:
    path = written(tmp_path / "t.xlsx", ["a"], *([text] for text in ARMED))
    book = openpyxl.load_workbook(path)
    cells = [row[0] for row in book["data"].iter_rows(min_row=2)]
    assert all(cell.data_type == "s" and cell.number_format == "@" for cell in cells)
    assert [c.value for c in cells if str(c.value)[0] in "=-@＝"] == []
    assert book["columns"]["A1"].value == "column"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv_encodings_are_told_apart(encoding: str, newline: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(newline.join(["机构代码,name", 'B1,"浙海,示例""银行"""', ""]).encode(encoding))
    assert read(path) == [["机构代码", "name"], ["B1", '浙海,示例"银行"']]


def test_one_damaged_line_does_not_change_the_encoding_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("code,name\nB1,示例银行\nB2,示".encode() + b"\xe4\xbe\n" + "B3,例\n".encode())
    assert encoding_of(path) == "utf-8"
    rows = rows_of(path)
    assert [(row.line, row.flaw is None) for row in rows] == [(2, True), (3, False), (4, True)]
    assert rows[2].cells == ["B3", "例"]


def test_a_stray_quotation_mark_costs_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,"x\n2,y\n3,"z"z\n4,"w"\n\n,,\n')
    rows = rows_of(path)
    assert [(row.line, row.flaw is None) for row in rows] == [(2, False), (3, True), (4, False), (5, True)]


def test_a_line_without_end_is_one_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a\n" + b"x" * (3 * LINE_LIMIT) + b"\ny\n")
    rows = rows_of(path)
    assert [(row.line, row.cells, row.flaw is None) for row in rows] == [(2, [], False), (3, ["y"], True)]


@pytest.mark.parametrize(
    ("name", "octets", "words"),
    [
        ("t.txt", b"a", r"extension '\.txt'; right would be \.csv or \.xlsx"),
        ("t.csv", b"", "the first line is empty"),
        ("t.csv", b",,\n", "the first line is empty"),
        ("t.csv", "a,b\n".encode("utf-16"), "UTF-16; right would be UTF-8 or GB18030"),
        ("t.csv", b"a,b\r1,2\r", "CR alone"),
        ("t.xlsx", b"a,b\n", "not an XLSX file"),
        ("t.xlsx", b"PK\x05\x06" + b"\0" * 18, "not an XLSX file"),
    ],
)
def test_files_that_cannot_be_read_are_named(name: str, octets: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(octets)
    with pytest.raises(UsageError, match=words):
        open_table(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv: no such file"):
        open_table(tmp_path / "none.csv")


def test_xlsx_of_a_spreadsheet_reads_as_a_person_sees_it(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["code", "until", "flag", "number", "text"])
    sheet.append(["B1", datetime.date(2026, 1, 31), True, 13800000000, "示例"])
    sheet.append(["B2", datetime.datetime.fromisoformat("2026-01-31T09:30"), False, 10690001.0, None])
    sheet.append([])
    sheet.append([None, None, None, 106900012345678901234, "'=x"])
    sheet["B6"] = 45000
    sheet["B6"].number_format = 'yyyy"年"m"月"d"日"'
    book.save(tmp_path / "t.xlsx")
    assert read(tmp_path / "t.xlsx")[1:] == [
        ["B1", "2026-01-31T00:00:00", "true", "13800000000", "示例"],
        ["B2", "2026-01-31T09:30:00", "false", "10690001"],
        ["", "", "", "1.069000123456789e+20", "=x"],
        ["", "2023-03-15T00:00:00"],
    ]
    assert [row.line for row in rows_of(tmp_path / "t.xlsx")] == [2, 3, 5, 6]


def test_shared_strings_with_runs_and_phonetic_hints(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.save(tmp_path / "base.xlsx")
    names = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    runs = "<x:r><x:t>浙</x:t></x:r><x:r><x:t>海</x:t></x:r><x:rPh><x:t>z</x:t></x:rPh>"
    strings = f'<x:sst xmlns:x="{names}"><x:si>{runs}</x:si></x:sst>'
    rows = '<x:row><x:c t="s"><x:v>0</x:v></x:c></x:row>'
    sheet = f'<x:worksheet xmlns:x="{names}"><x:sheetData>{rows}</x:sheetData></x:worksheet>'
    with zipfile.ZipFile(tmp_path / "base.xlsx") as old, zipfile.ZipFile(tmp_path / "t.xlsx", "w") as new:
        for name in old.namelist():
            if name not in ("xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"):
                new.writestr(name, old.read(name))
        new.writestr("xl/sharedStrings.xml", strings)
        new.writestr("xl/worksheets/sheet1.xml", sheet)
    assert read(tmp_path / "t.xlsx") == [["浙海"]]


def test_an_xlsx_that_declares_entities_is_refused(tmp_path: Path) -> None:
    openpyxl.Workbook().save(tmp_path / "base.xlsx")
    with zipfile.ZipFile(tmp_path / "base.xlsx") as old, zipfile.ZipFile(tmp_path / "t.xlsx", "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name == "xl/worksheets/sheet1.xml":
                text = b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + text
            new.writestr(name, text)
    with pytest.raises(UsageError, match="document type"):
        open_table(tmp_path / "t.xlsx")
