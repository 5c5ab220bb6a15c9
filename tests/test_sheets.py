"""Table files: what is written reads back, bad lines stay alone, nothing in them is executed."""

import datetime
import tempfile
import zipfile
from contextlib import closing, suppress
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.registry.rows import LINE_LIMIT, TOO_LONG, TOO_WIDE, WIDEST, Row, disarm, rearm
from gateway.registry.sheets import create_table, encoding_of, open_table
from gateway.registry.xlsx import UNPACKED_FREE

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


def test_a_byte_order_mark_of_gb18030_is_no_letter_of_the_first_column(tmp_path: Path) -> None:
    """What converts a spreadsheet's UTF-8 to GB18030 converts its mark, too."""
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeff机构代码,name\nB1,示例\n".encode("gb18030"))
    assert read(path) == [["机构代码", "name"], ["B1", "示例"]]


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


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_a_line_as_wide_as_a_sheet_costs_no_more_than_another(suffix: str, tmp_path: Path) -> None:
    """A cell's address alone can claim 18,278 columns: a file of some KB would fill the memory."""
    rows = [["1"], ["2", *[""] * 16_000], ["3", *[""] * 16_000, "x"]]
    if suffix == ".csv":
        text = "\n".join(",".join(row) for row in (["a"], *rows))
        (path := tmp_path / "t.csv").write_text(text)
    else:
        places = ("", '<c r="WQK3"/>', '<c r="ZZZ4"><v>9</v></c>')
        cell = '<row r="{0}"><c r="A{0}" t="inlineStr"><is><t>{1}</t></is></c>{2}</row>'
        given = "".join(cell.format(n + 2, n + 1, place) for n, place in enumerate(places))
        path = with_sheet(tmp_path / "t.xlsx", sheet_of(HEAD + given))
    one, two, three = rows_of(path)
    assert [one.cells[0], two.cells[0], one.flaw, two.flaw] == ["1", "2", None, None]
    assert len(two.cells) <= WIDEST
    assert (three.line, three.cells, three.flaw) == (4, [], TOO_WIDE)


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
        ("t.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 504, r"old \.xls.*without a password"),
        ("t.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 504, r"old \.xls.*saved as \.xlsx"),
        ("t.csv", b"PK\x03\x04" + b"\0" * 18, r"an XLSX workbook; .* called \.xlsx"),
        ("t.csv", b"%PDF-1.4\n", "a PDF; right would be a table"),
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
        ["", "", "", "1.06900012345679e+20", "=x"],
        ["", "2023-03-15T00:00:00"],
    ]
    assert [row.line for row in rows_of(tmp_path / "t.xlsx")] == [2, 3, 5, 6]


def test_shared_strings_with_runs_and_phonetic_hints(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.save(tmp_path / "base.xlsx")
    names = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    runs = '<x:r><x:t>浙</x:t></x:r><x:r><x:t>海</x:t></x:r><x:rPh sb="0" eb="2"><x:t>z</x:t></x:rPh>'
    strings = f'<x:sst xmlns:x="{names}"><x:si>{runs}</x:si></x:sst>'
    rows = '<x:row><x:c t="s"><x:v>0</x:v></x:c></x:row>'
    sheet = f'<x:worksheet xmlns:x="{names}"><x:sheetData>{rows}</x:sheetData></x:worksheet>'
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    listed = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
    with zipfile.ZipFile(tmp_path / "base.xlsx") as old, zipfile.ZipFile(tmp_path / "t.xlsx", "w") as new:
        for name in old.namelist():
            if name != "xl/worksheets/sheet1.xml":
                new.writestr(name, old.read(name).decode().replace("</Types>", listed))
        new.writestr("xl/sharedStrings.xml", strings)
        new.writestr("xl/worksheets/sheet1.xml", sheet)
    assert read(tmp_path / "t.xlsx") == [["浙海"]]


def with_sheet(path: Path, sheet: str) -> Path:
    """An XLSX file whose first sheet is the XML text `sheet`."""
    base = path.with_name("base.xlsx")
    openpyxl.Workbook().save(base)
    with zipfile.ZipFile(base) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, sheet if name == "xl/worksheets/sheet1.xml" else old.read(name))
    return path


def sheet_of(rows: str, prolog: str = "", tail: str = "") -> str:
    names = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return f'{prolog}<worksheet xmlns="{names}"><sheetData>{rows}</sheetData>{tail}</worksheet>'


HEAD = '<row r="1"><c r="A1" t="inlineStr"><is><t>a</t></is></c></row>'


def test_entities_that_grow_without_end_are_refused(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 20}">' for n in range(1, 9))
    prolog = f'<!DOCTYPE x [<!ENTITY e0 "aaaaaaaaaa">{entities}]>'
    cell = '<row><c t="inlineStr"><is><t>&e8;</t></is></c></row>'
    with pytest.raises(UsageError, match=r"damaged.*amplification"):
        open_table(with_sheet(tmp_path / "t.xlsx", sheet_of(cell, prolog)))


def test_a_part_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path: Path) -> None:
    path = with_sheet(tmp_path / "t.xlsx", " " * (UNPACKED_FREE + 1))
    with pytest.raises(UsageError, match=r"sheet1\.xml would unpack to"):
        open_table(path)


def test_a_row_number_beyond_the_sheet_is_damage(tmp_path: Path) -> None:
    path = with_sheet(tmp_path / "t.xlsx", sheet_of(HEAD + '<row r="9999999999"/>'))
    with pytest.raises(UsageError, match="damaged"):
        rows_of(path)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("<c><f>1+1</f><v>13800000000</v></c>", "13800000000"),
        ('<c t="str"><f>"b"</f><v>b</v></c>', "b"),
        ('<c t="e"><f>1/0</f><v>#DIV/0!</v></c>', "#DIV/0!"),
        ("<c><v>1.38E10</v></c>", "13800000000"),
        ("<c><v>10690001234567800000</v></c>", "1.06900012345678e+19"),
        ("<c><v>-0.10000000000000001</v></c>", "-0.1"),
        ('<c t="d"><v>2026-01-31T09:30:00</v></c>', "2026-01-31T09:30:00"),
        ('<c t="inlineStr"><is><t>a_x000D_b</t></is></c>', "a\rb"),
        (f'<c t="inlineStr"><is><t>{"a" * (LINE_LIMIT + 1)}</t></is></c>', None),
    ],
)
def test_cells_come_out_as_a_person_sees_them(cell: str, text: str | None, tmp_path: Path) -> None:
    extension = '<extLst><ext uri="{CCE6A557-97BC-4B89-ADB6-D9C93CAAB3DF}"/></extLst>'  # openpyxl warns of it
    dimension = '<dimension ref="A1"/>'  # wrong, as some programs write it
    sheet = sheet_of(f"{HEAD}<row>{cell}</row>", tail=extension).replace(
        "<sheetData>", dimension + "<sheetData>"
    )
    rows = rows_of(with_sheet(tmp_path / "t.xlsx", sheet))
    assert rows == [Row(2, [], TOO_LONG) if text is None else Row(2, [text])]


def test_dates_in_the_formats_of_chinese_spreadsheets(tmp_path: Path) -> None:
    path = with_sheet(tmp_path / "base2.xlsx", sheet_of(HEAD + '<row><c s="0"><v>45000</v></c></row>'))
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "t.xlsx", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'<xf numFmtId="0"', b'<xf numFmtId="31"'))
    assert read(tmp_path / "t.xlsx") == [["a"], ["2023-03-15T00:00:00"]]


def test_damaged_files_are_refused_and_nothing_else_comes_out(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.xlsx", ["a", "b"], ["1", "示例"]).read_bytes()
    path = tmp_path / "t.xlsx"
    for at in range(0, len(whole), 97):
        for octets in (whole[:at], whole[:at] + bytes(8) + whole[at + 8 :]):
            path.write_bytes(octets)
            with suppress(UsageError):
                read(path)


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_a_file_that_is_given_up_leaves_the_old_one_and_nothing_else(
    suffix: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    path = written(tmp_path / f"t{suffix}", ["a"], ["1"])
    before = path.read_bytes()
    sink = create_table(path, [])
    sink.write(["b"])
    assert list(elsewhere.iterdir()) == []  # where a kill would leave subscribers' numbers
    sink.discard()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_a_text_too_long_for_a_cell_is_not_cut(tmp_path: Path) -> None:
    sink = create_table(tmp_path / "t.xlsx", [])
    with pytest.raises(UsageError, match=r"32767 characters; right would be a \.csv"):
        sink.write(["x" * 32_768])
    sink.discard()
