"""Files of every kind and make, read as text."""

from __future__ import annotations

import codecs
import datetime as dt
import errno
from typing import TYPE_CHECKING, Any, TypeAlias

import openpyxl
import pytest
import xlsxwriter
import xlwt
from structlog.testing import capture_logs

from rollbook.errors import MissingColumnsError, NoIdColumnError, NoRowsError, UnreadableFileError
from rollbook.pipeline import csv_encoding, misplaced, tables
from rollbook.pipeline import read as read_module
from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.read import ROW_NUMBER, Sheet, Wanted, read
from rollbook.spreadsheets.books import package
from rollbook.spreadsheets.inspect.archive import Limits
from rollbook.spreadsheets.scan import archive, pieces
from tests.security.files import compound
from tests.unit.pipeline.sheets import read_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import polars as pl

HEADERS = ("ID Number", "Name", "Surname", "Notes")
Table: TypeAlias = "Sequence[Sequence[Any]]"
ROWS: Table = (
    ("8001015009087", "Ayanda", "Nkosi", "a, b"),
    ("0001015009083", "Zoë", "Mbeki", None),
)


def with_openpyxl(path: Path, sheets: dict[str, Table]) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    book.save(path)
    book.close()


def with_xlsxwriter(path: Path, sheets: dict[str, Table]) -> None:
    with xlsxwriter.Workbook(path, {"default_date_format": "yyyy-mm-dd"}) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)


def with_xlwt(path: Path, sheets: dict[str, Table]) -> None:
    book = xlwt.Workbook()
    day = xlwt.easyxf(num_format_str="yyyy-mm-dd")
    for name, rows in sheets.items():
        sheet = book.add_sheet(name)
        for number, row in enumerate(rows):
            for column, value in enumerate(row):
                style = (day,) if isinstance(value, dt.date) else ()
                sheet.write(number, column, value, *style)
    book.save(str(path))


WRITERS: dict[str, tuple[str, Callable[[Path, dict[str, Table]], None]]] = {
    "openpyxl": ("xlsx", with_openpyxl),
    "xlsxwriter": ("xlsx", with_xlsxwriter),
    "xlwt": ("xls", with_xlwt),
}


def table(sheet: Sheet) -> list[tuple[Any, ...]]:
    return sheet.frame.rows()


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "members.csv"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("writer", WRITERS)
def test_every_maker_of_workbooks_gives_the_same_table(writer: str, tmp_path: Path) -> None:
    kind, write = WRITERS[writer]
    path = tmp_path / f"members.{kind}"
    write(path, {"People": [HEADERS, *ROWS]})
    sheet = read_whole(path, kind)
    assert sheet.sheet_name == "People"
    assert sheet.frame.columns == [ROW_NUMBER, *HEADERS]
    assert table(sheet) == [(2, *ROWS[0]), (3, *ROWS[1])]
    assert sheet.columns.unknown == ("Notes",)


@pytest.mark.parametrize("writer", WRITERS)
def test_numbers_and_dates_come_as_text(writer: str, tmp_path: Path) -> None:
    kind, write = WRITERS[writer]
    path = tmp_path / f"members.{kind}"
    write(path, {"S": [HEADERS, (8001015009087, "A", "B", dt.date(2024, 3, 5))]})
    [(_, id_number, _, _, date)] = table(read_whole(path, kind))
    assert id_number.removesuffix(".0") == "8001015009087"
    assert date.startswith("2024-03-05")


def test_the_header_is_found_below_titles_and_row_numbers_are_the_programs(tmp_path: Path) -> None:
    rows: Table = [
        ("Members of the branch", None, None, None),
        (None, None, None, None),
        HEADERS,
        ROWS[0],
        (None, None, "  ", None),
        ROWS[1],
    ]
    path = tmp_path / "members.xlsx"
    with_openpyxl(path, {"S": rows})
    assert [row[0] for row in table(read_whole(path, "xlsx"))] == [4, 6]


def test_the_sheet_with_the_id_column_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "members.xlsx"
    with_openpyxl(path, {"Cover": [("Hello", "there")], "Empty": [], "Data": [HEADERS, *ROWS]})
    assert read_whole(path, "xlsx").sheet_name == "Data"


def test_a_template_in_front_of_the_members_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "members.xlsx"
    template: Table = [("Fill this in", None, None), ("ID Number", "Ward", "Notes")]
    with_openpyxl(path, {"Template": template, "Members": [HEADERS, *ROWS]})
    assert read_whole(path, "xlsx").sheet_name == "Members"
    with_openpyxl(path, {"Template": template, "Cover": [("Hello", "there")]})
    with pytest.raises(MissingColumnsError, match="Firstname and Surname"):
        read_whole(path, "xlsx")
    with_openpyxl(path, {"Template": [HEADERS], "Members": [HEADERS, *ROWS]})
    with pytest.raises(NoRowsError):
        read_whole(path, "xlsx", Wanted(sheet="Template"))


@pytest.mark.parametrize("writer", WRITERS)
def test_a_table_that_begins_in_another_column_has_the_same_fingerprint(
    writer: str, tmp_path: Path
) -> None:
    kind, write = WRITERS[writer]
    path = tmp_path / f"members.{kind}"
    headers = ("ID Number", "Name", None, "Surname")
    found = []
    for gap in (0, 2):
        rows = [headers, ("8001015009087", "Ayanda", "x", "Nkosi")]
        write(path, {"S": [(None,) * gap + row for row in rows]})
        found.append(read_whole(path, kind))
    assert found[0].fingerprint == found[1].fingerprint
    assert list(found[0].columns.known) == list(found[1].columns.known)


def test_the_rows_of_a_file_are_known_before_the_last_is_read(
    file: Callable[[bytes], Path], tmp_path: Path
) -> None:
    path = tmp_path / "members.xlsx"
    with_openpyxl(path, {"S": [("A title",), HEADERS, *(ROWS[0] for _ in range(100))]})
    first = next(read_module.read(path, "xlsx", batch_rows=30))
    assert (first.frame.height, first.rows_expected) == (28, 100)
    lines = ["ID,Name,Surname", *(f'{n},"A\nB",C' for n in range(100))]
    for text in ("\n".join(lines), "\r\n".join(lines) + "\r\n", "\n".join(lines) + "\n"):
        first = next(read_module.read(file(text.encode()), "csv", batch_rows=30))
        assert first.rows_expected == 100


def test_headers_that_repeat_or_lack_get_names_of_their_own(file: Callable[[bytes], Path]) -> None:
    sheet = read_whole(file(b"ID,Name,Surname,,Name,row_number\n1,A,B,x,y,z\n"), "csv")
    assert sheet.frame.columns == [
        ROW_NUMBER, "ID", "Name", "Surname", "Column 4", "Name (2)", "row_number (2)",
    ]  # fmt: skip


def test_headers_that_look_like_patterns_are_names(file: Callable[[bytes], Path]) -> None:
    sheet = read_whole(file(b"^ID$,Name*,*Surname,*\n1,A,B,x\n"), "csv")
    assert table(sheet) == [(2, "1", "A", "B", "x")]
    assert sheet.columns.unknown == ("*",)
    frame = normalise(sheet, dt.date(2026, 11, 24)).frame
    assert frame.select("id_number", "firstname", "surname").rows() == [("1", "A", "B")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_csv_of_any_delimiter_and_encoding_gives_the_same_table(
    delimiter: str, encoding: str, line_end: str, file: Callable[[bytes], Path]
) -> None:
    lines = [HEADERS, ("8001015009087", "Zoë", "O'Nkosi", f'"a{delimiter} ""b"""')]
    text = line_end.join(delimiter.join(line) for line in lines) + line_end
    sheet = read_whole(file(text.encode(encoding)), "csv")
    assert table(sheet) == [(2, "8001015009087", "Zoë", "O'Nkosi", f'a{delimiter} "b"')]


def test_a_csv_with_old_line_ends_short_records_and_an_open_quote_is_read(
    file: Callable[[bytes], Path],
) -> None:
    assert table(read_whole(file(b"ID,Name,Surname\r1,A,B\r2,C,D"), "csv")) == [
        (2, "1", "A", "B"), (3, "2", "C", "D"),
    ]  # fmt: skip
    assert table(read_whole(file(b"ID,Name,Surname,Ward\n1,A,B\n2,C,D,7\n"), "csv"))[0][-1] is None
    rows = table(read_whole(file(b'ID,Name,Surname\n1,"A,B\n2,C,D\n'), "csv"))
    assert [row[0] for row in rows] == [2, 3]


def test_an_open_quote_leaves_the_other_quotes_what_they_are(
    file: Callable[[bytes], Path],
) -> None:
    lines = (
        '"ID","Name","Surname","Notes"',
        '"1","A ""Z""","""B""",x',
        '2,"C",D,"y"',
        '"3",E,F,"5',
    )
    for end in ("\n", "\r\n"):
        rows = table(read_whole(file((end.join(lines) + end).encode()), "csv"))
        assert [row[:4] for row in rows] == [
            (2, "1", 'A "Z"', '"B"'), (3, "2", "C", "D"), (4, "3", "E", "F"),
        ]  # fmt: skip
        assert [row[4].strip() for row in rows] == ["x", "y", '"5']


@pytest.mark.parametrize("header_end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("last_end", ["\r", "\n", "\r\n", ""])
def test_a_csv_whose_line_ends_differ_has_a_row_for_each(
    header_end: str, last_end: str, file: Callable[[bytes], Path]
) -> None:
    # The last cell is one of Excel's "CSV (Macintosh)": rows end with \r, lines of a cell with \n.
    text = f'ID,Name,Surname,Address{header_end}1,A,B,x\r2,C,D,y\r3,E,F,"1 Road\nTown"{last_end}'
    assert table(read_whole(file(text.encode()), "csv")) == [
        (2, "1", "A", "B", "x"), (3, "2", "C", "D", "y"), (4, "3", "E", "F", "1 Road\nTown"),
    ]  # fmt: skip


def test_a_line_end_across_two_pieces_is_one(
    file: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in range(1, 8):
        monkeypatch.setattr(csv_encoding, "PIECE_BYTES", size)
        for text in (
            b"ID,Name,Surname\r\n1,A,B\r\n2,C,D\r\n",
            b"ID,Name,Surname\r1,A,B\r\n2,C,D\r",
        ):
            assert [row[0] for row in table(read_whole(file(text), "csv"))] == [2, 3]


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_an_odd_byte_changes_no_other_name(mark: bytes, file: Callable[[bytes], Path]) -> None:
    text = "ID,Name,Surname\n1,Zoë,Nǃxau\n".encode() + "2,René,Müller\n".encode("cp1252")
    assert [row[2:] for row in table(read_whole(file(mark + text), "csv"))] == [
        ("Zoë", "Nǃxau"), ("René", "Müller"),
    ]  # fmt: skip


def test_a_file_of_odd_bytes_is_windows_1252(
    file: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_encoding, "MOST_ODD_BYTES", 1)
    text = "ID,Name,Surname\n1,Zoë,B\n2,René,Müller\n".encode("cp1252")
    assert [row[2] for row in table(read_whole(file(text), "csv"))] == ["Zoë", "René"]


def test_a_quoted_line_end_stays_in_its_cell(file: Callable[[bytes], Path]) -> None:
    sheet = read_whole(file(b'ID,Name,Surname\n1,"A\nB",C\n2,D,E\n'), "csv")
    assert [row[2] for row in table(sheet)] == ["A\nB", "D"]


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"Name,Surname\nA,B\n", NoIdColumnError, "'Name', 'Surname'"),
        (b"\n\n", NoIdColumnError, "no headers at all"),
        (b"ID,Name,Surname\n", NoRowsError, "headers and no rows"),
        (b"ID,Name,Surname\n,,\n", NoRowsError, "headers and no rows"),
        (b"ID,Ward\n1,2\n", MissingColumnsError, "Firstname and Surname"),
    ],
)
def test_a_file_without_members_is_explained(
    content: bytes, error: type[Exception], says: str, file: Callable[[bytes], Path]
) -> None:
    with pytest.raises(error, match=says) as raised:
        read_whole(file(content), "csv")
    assert "Nothing was changed" in str(raised.value) or "nothing was changed" in str(raised.value)


def test_the_sentence_about_missing_headers_quotes_no_cell_with_digits(
    file: Callable[[bytes], Path],
) -> None:
    with pytest.raises(NoIdColumnError) as raised:
        read_whole(file(b"8001015009087,Nkosi\n"), "csv")
    assert "8001015009087" not in str(raised.value)


@pytest.mark.parametrize("kind", ["xlsx", "xls"])
@pytest.mark.parametrize("content", [b"", b"PK\3\4 torn off", b"no workbook at all" * 100])
def test_a_damaged_workbook_is_explained(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"members.{kind}"
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match="save it as"):
        read_whole(path, kind)


def test_a_workbook_with_a_password_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "members.xlsx"
    path.write_bytes(compound("EncryptionInfo", "EncryptedPackage"))
    with pytest.raises(UnreadableFileError, match="password"):
        read_whole(path, "xlsx")


def test_a_torn_workbook_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "members.xlsx"
    with_openpyxl(path, {"S": [HEADERS, *(row for _ in range(200) for row in ROWS)]})
    whole = path.read_bytes()
    for share in (0.3, 0.6, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UnreadableFileError):
            read_whole(path, "xlsx")


@pytest.mark.parametrize("kind", ["xlsx", "xls", "csv"])
def test_the_character_that_postgresql_refuses_is_left_out(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"members.{kind}"
    # A workbook of today's format writes it as an escape, which the parser resolves.
    nul = "_x0000_" if kind == "xlsx" else "\0"
    rows = [HEADERS[:3], (f"8001015009087{nul}", f"Zo{nul}ë", "B")]
    if kind == "csv":
        path.write_text("\n".join(",".join(row) for row in rows), encoding="utf-16")
    else:
        {"xlsx": with_openpyxl, "xls": with_xlwt}[kind](path, {"S": rows})
    assert table(read_whole(path, kind)) == [(2, "8001015009087", "Zoë", "B")]


def test_what_stands_in_quotes_says_nothing_of_the_delimiter(
    file: Callable[[bytes], Path],
) -> None:
    text = '"List, of; 2026"\nID\tName\tSurname\tAmount\n' + "".join(
        f'{n}\tA\tB\t"R 1,200.00, or\n5,50, or ""8,50"""\n' for n in range(5)
    )
    cell = 'R 1,200.00, or\n5,50, or "8,50"'
    assert [row[1:] for row in table(read_whole(file(text.encode()), "csv"))] == [
        (str(n), "A", "B", cell) for n in range(5)
    ]
    # Nothing but quoted fields is still something.
    text = '"ID"\t"Name"\t"Surname"\t"Amount"\n"1"\t"A"\t"B"\t"10,50"\n'
    assert table(read_whole(file(text.encode()), "csv")) == [(2, "1", "A", "B", "10,50")]


def test_a_sheet_that_turns_out_not_to_be_plain_keeps_its_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scanner counts from column A, calamine from the first column that has a value."""

    def written(name: str, **options: bool) -> Path:
        path = tmp_path / name
        with xlsxwriter.Workbook(path, options) as book:
            sheet = book.add_worksheet("S")
            sheet.write_row(0, 1, HEADERS)
            for number in range(1, 120):
                sheet.write_row(number, 1, (f"80010150{number:05}", f"First{number}", "Last"))
            sheet.write_rich_string(120, 2, "Rich ", book.add_format({"bold": True}), "text")
            sheet.write_row(120, 3, ("Last",))
        return path

    for module in (archive, pieces):
        monkeypatch.setattr(module, "INPUT_BYTES", 512)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 2048)
    # In constant memory its texts stand in the cells, and rich ones aren't plain there.
    with capture_logs() as logs:
        whole, left = (
            read_whole(written(name, constant_memory=constant), "xlsx", batch_rows=40)
            for name, constant in (("shared.xlsx", False), ("inline.xlsx", True))
        )
    assert [entry["rows_before"] for entry in logs] == [120]
    assert left.frame.equals(whole.frame)
    assert left.frame["Name"].to_list()[-2:] == ["First119", "Rich text"]
    assert left.frame[ROW_NUMBER].to_list() == list(range(2, 122))


def test_a_stray_cell_far_below_leaves_the_remembered_columns_alone(
    file: Callable[[bytes], Path],
) -> None:
    lines = ["Lidnr,Name,Surname", *(f"{n},A,B" for n in range(70)), "71,A,B,a note"]
    path = file("\n".join(lines).encode())
    mapping = {"Lidnr": "id_number"}
    first = read_whole(path, "csv", Wanted(columns=mapping), batch_rows=30)
    clean = read_whole(file("\n".join(lines[:-1]).encode()), "csv", Wanted(columns=mapping))
    assert first.fingerprint == clean.fingerprint
    again = Wanted(remembered={clean.fingerprint: mapping})
    sheet = read_whole(file("\n".join(lines).encode()), "csv", again, batch_rows=30)
    assert sheet.frame.height == 71
    assert sheet.columns.known["Lidnr"] == "id_number"
    assert sheet.frame["Column 4"].to_list()[-1] == "a note"


def test_a_record_over_several_lines_may_have_most_fields(file: Callable[[bytes], Path]) -> None:
    sheet = read_whole(file(b'ID,Name,Surname\n1,"A\nB",C,\n2,D,E,x\n'), "csv")
    assert [row[1:4] for row in table(sheet)] == [("1", "A\nB", "C"), ("2", "D", "E")]


@pytest.mark.parametrize(
    ("lines", "rows"),
    [
        (
            ['1,"Open,B,here', '2,C,D,"1 Main, Durban"', "3,E,F,there"],
            [("1", '"Open', "B", "here"), ("2", "C", "D", "1 Main, Durban"),
             ("3", "E", "F", "there")],
        ),
        # The second quotation mark would end what the first one began, a whole row between them.
        (
            ['1,"Open,B,here', "8001015009087,C,D,there", '2,E,",x'],
            [("1", '"Open', "B", "here"), ("8001015009087", "C", "D", "there"),
             ("2", "E", '"', "x")],
        ),
        # The same where all cells are in quotation marks, or the ID number isn't the first.
        (
            ['"1","C","D","', '"8001015009087","E","F",5"'],
            [("1", "C", "D", '"'), ("8001015009087", "E", "F", '5"')],
        ),
        (
            ['"1","Open,B,here', '"2",C,8001015009087,there', '3,E,",x'],
            [("1", '"Open', "B", "here"), ("2", "C", "8001015009087", "there"),
             ("3", "E", '"', "x")],
        ),
        (
            ['1,"Open,B,here', '2,C,D,"1 ""A"" Road, Durban"', "3,E,F,there"],
            [("1", '"Open', "B", "here"), ("2", "C", "D", '1 "A" Road, Durban'),
             ("3", "E", "F", "there")],
        ),
    ],
)  # fmt: skip
def test_a_quotation_mark_that_is_never_closed_is_text_where_each_line_then_is_a_row(
    lines: list[str], rows: list[tuple[str, ...]], file: Callable[[bytes], Path]
) -> None:
    text = "\n".join(["ID,Name,Surname,Address", *lines, ""])
    sheet = read_whole(file(text.encode()), "csv")
    assert [row[1:] for row in table(sheet)] == rows


def test_a_note_of_several_lines_may_name_another_member(file: Callable[[bytes], Path]) -> None:
    for note in ("Repeats\n8502140123081", "Brother:\nJan, 8502140123081", "8502140123081,\nJan"):
        text = f'ID,Name,Surname,Notes\n8001015009087,A,B,"{note}"\n'
        assert table(read_whole(file(text.encode()), "csv"))[0][-1] == note


def test_a_full_disk_is_not_the_files_fault(
    file: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables, "csv_text", full)
    with pytest.raises(OSError, match="No space"):
        read_whole(file(b"ID,Name,Surname\n1,A,B\n"), "csv")


def test_more_columns_than_the_limit_are_refused(
    file: Callable[[bytes], Path], tmp_path: Path
) -> None:
    table: Table = [["ID", "Name", "Surname", "Ward"], ["1", "A", "B", "2"]]
    with_xlsxwriter(tmp_path / "wide.xlsx", {"S": table})
    text = file(b"ID,Name,Surname,Ward\n1,A,B,2\n")
    for path, kind in ((text, "csv"), (tmp_path / "wide.xlsx", "xlsx")):
        with pytest.raises(UnreadableFileError, match="more than 3 columns"):
            list(read(path, kind, limits=Limits(columns=3)))
        assert list(read(path, kind, limits=Limits(columns=4)))


def test_a_table_that_is_too_wide_is_refused_before_its_columns_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("it takes each column by itself")

    monkeypatch.setattr("rollbook.pipeline.misplaced.notes", fail)
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["ID Number", "Firstname", "Surname", *[None] * 150, "Ward"])
    sheet.append(["8001015009087", "Ann", "Nkosi"])
    book.save(tmp_path / "wide.xlsx")
    with pytest.raises(UnreadableFileError, match="more than 100 columns"):
        list(read(tmp_path / "wide.xlsx", "xlsx", limits=Limits(columns=100)))


def test_a_wide_sheet_without_headers_is_looked_at_up_to_the_most_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []
    hold_people = misplaced.hold_people

    def counted(rows: pl.DataFrame) -> bool:
        looked_at.append(rows.width)
        return hold_people(rows)

    monkeypatch.setattr(misplaced, "hold_people", counted)
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["8001015009087", "Ann", "Nkosi", *[None] * 150, "x"])
    members = book.create_sheet("Members")
    members.append(["ID Number", "Firstname", "Surname"])
    members.append(["8001015009087", "Ann", "Nkosi"])
    book.save(tmp_path / "wide.xlsx")
    *_, last = read(tmp_path / "wide.xlsx", "xlsx", limits=Limits(columns=100))
    assert set(looked_at) == {100}
    # The sheet is neither refused nor passed over without a word.
    assert [note.code for note in last.reading.notes] == ["sheets_without_headers"]


def with_struck_part(path: Path, row: int, sheet: str, *, are_shared: bool) -> None:
    """Two sheets of 200 members; in one row of one of them a part of the surname is struck."""
    # Without all rows in memory, texts are in their cells instead of a table.
    with xlsxwriter.Workbook(path, {"constant_memory": not are_shared}) as book:
        struck = book.add_format({"font_strikeout": True})
        for name in ("A", "B"):
            members = book.add_worksheet(name)
            members.write_row(0, 0, HEADERS)
            for number in range(1, 201):
                members.write_row(number, 0, ("8001015009087", "Ann"))
                if (number + 1, name) == (row, sheet):
                    members.write_rich_string(number, 2, struck, "Smith ", "Jones")
                else:
                    members.write_string(number, 2, "Nkosi")


@pytest.mark.parametrize("are_shared", [False, True])
def test_a_part_struck_through_is_noted_wherever_it_is_and_only_of_the_sheet_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, are_shared: bool
) -> None:
    monkeypatch.setattr(package, "PIECE_BYTES", 1 << 10)
    path = tmp_path / "members.xlsx"
    with_struck_part(path, 190, "A", are_shared=are_shared)

    def noted(wanted: Wanted | None = None) -> list[bool]:
        return [
            "struck_texts" in [note.code for note in batch.reading.notes]
            for batch in read(path, "xlsx", wanted, batch_rows=40)
        ]

    first, *_, last = noted()
    assert (first, last) == (False, True)
    assert not any(noted(Wanted(sheet="B")))
    with_struck_part(path, 20, "B", are_shared=are_shared)
    assert not any(noted())
