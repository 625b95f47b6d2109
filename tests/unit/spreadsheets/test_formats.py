"""Number formats that show something else than the number, and those that don't."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, cast

import numpy as np
import openpyxl
import pytest
import xlwt
from hypothesis import given, settings
from hypothesis import strategies as st

from rollbook.spreadsheets.books.cells import value_texts
from rollbook.spreadsheets.books.formats import DATE, Format, built_in, format_of
from rollbook.spreadsheets.books.opening import open_book
from rollbook.spreadsheets.books.values import HIDDEN
from rollbook.spreadsheets.books.xlsx import XlsxBook
from rollbook.spreadsheets.scan import open_workbook
from tests.binary_workbook import BinarySheet, Shown, binary_workbook
from tests.examples import few

if TYPE_CHECKING:
    from pathlib import Path

    from rollbook.spreadsheets.books.book import Book

SERIAL = 45_352  # 1 March 2024


def form(code: str) -> Format:
    found = format_of(code)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("code", "value", "text"),
    [
        ("0000000000000", 101015009087, "0101015009087"),
        ("000000\\ 0000\\ 000", 101015009087, "010101 5009 087"),
        ("0##########", 821234567, "0821234567"),
        ('"27"000000000', 821234567, "27821234567"),
        ('"0"#', 821234567, "0821234567"),
        ('"27"General', 821234567, "27821234567"),
        ('"+27 "00 000 0000', 821234567, "+27 82 123 4567"),
        ("000 000 0000", 821234567, "082 123 4567"),
        ("(000) 000-0000", 821234567, "(082) 123-4567"),
        ("[<=999999999]000 000 0000;[>999999999]0", 821234567, "082 123 4567"),
        ("[Red]00000", 12, "00012"),
        ('"M"0000', 12, "M0012"),
        ('"R5"0.00', 1.5, "R51.5"),
        # 50 is ten times as much.
        ('0.0"0"', 5, "5.00"),
        ('0.0"0"', 5.25, "5.250"),
        (";;;", 5, HIDDEN),
        (";;;", -5, HIDDEN),
        (";;;@", 5, HIDDEN),
        ("0;-0;;@", 0, None),
        (";;;", -0.0, None),
        ("0%", -0.0, "0%"),
        ("0%", 0.5, "50%"),
        ("0.0%", 0.125, "12.5%"),
        ("0%", -0.5, "-50%"),
        ('[=1]"Male";[=2]"Female";General', 2, "Female"),
        ('"Paid";;"Not paid"', 0, "Not paid"),
        # The number itself has these digits, or more exact ones.
        ("0;-0;;@", 7, "7"),
        ("000 000 0000", 27821234567, "27821234567"),
        ("0000", 12345, "12345"),
        ("0000", 12.5, "12.5"),
        ("0000", -12, "-12"),
    ],
)
def test_what_a_format_shows_is_read(code: str, value: float, text: str | None) -> None:
    found = form(code)
    assert found.text(value) == text
    assert found.texts(np.array([value, value], np.float64)).to_list() == [text, text]


@given(
    parts=st.lists(
        st.sampled_from(["0", "00", "0000", "#", "###", '"27"', '"a"', "\\ ", "-", '" "']),
        max_size=6,
    ),
    some=st.lists(st.integers(1, 10**14), min_size=1, max_size=5),
)
@settings(max_examples=few(12, more=60), deadline=None)
def test_many_numbers_are_shown_as_each_of_them(parts: list[str], some: list[int]) -> None:
    # A few numbers are shown one by one.
    numbers = [*some, *range(1, 60)]
    found = format_of("".join([*parts, "00"]))
    if found is not None:
        each = [found.text(number) for number in numbers]
        assert found.texts(np.array(numbers, np.float64)).to_list() == each


@pytest.mark.parametrize(
    "code",
    [
        "General", "@", "0", "0.00", "#,##0", '#,##0.00 "R"', '"R" #,##0.00', "[$R-1C09] #,##0.00",
        "#\\ ##0.00", "# ##0", "0.00E+00", "##0.0E+0", "# ?/?", "[Red]-0.00", "R0.00", "",
        # A fraction, thousands and a power of ten, whatever digits stand beside them.
        "# ?/2", "# ?/4", "#\\ ?/4", "# ??/16", "# ?/10", "?/2", '"27"# ?/2', '# ?/4" x2"', "0,",
        "#,##0,", '0.0,,"M"', '0,"000"', '#,##0,"000"', "0,.00", '0E+0"5"', '0.00E+00" x2"',
        '[>=1000]0,"k"', '[>=1000]0,"000";0', "#,##0.00_);(#,##0.00)", "_-* #,##0", 'General" kg"',
        "?0", '@" x"', '0;-0;0;@" x2"',
        '_-* #,##0.00_-;-* #,##0.00_-;_-* "-"??_-;_-@_-', "0" * 300,
    ],
)  # fmt: skip
def test_a_format_that_only_rounds_or_adds_signs_leaves_the_number_as_it_is(code: str) -> None:
    found = format_of(code)
    values = [0.0, 7.0, 1200.5, 8001015009087.0, -3.0]
    plain = ["0", "7", "1200.5", "8001015009087", "-3"]
    assert found is None or [found.text(value) for value in values] == plain


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("mmm-yy", "2024-03-01 (Mar 24)"),
        ("[$-409]mmm\\-yy;@", "2024-03-01 (Mar 24)"),
        ("mmmm yyyy", "2024-03-01 (March 2024)"),
        ("yyyy", "2024-03-01 (2024)"),
        ("d-mmm", "2024-03-01 (1 Mar)"),
        ("dd/mm", "2024-03-01 (01 03)"),
    ],
)
def test_a_date_that_is_shown_in_part_says_what_is_shown(code: str, text: str) -> None:
    assert form(code).text(SERIAL) == text


@pytest.mark.parametrize(
    "code",
    [
        "dd/mm/yyyy", "d mmm yy", "[$-1C09]dddd, d mmmm yyyy;@", "yyyy/mm/dd hh:mm", "h:mm AM/PM",
        "[h]:mm", "mm:ss", "yyyy\\-mm\\-dd", "y" * 300,
    ],
)  # fmt: skip
def test_a_whole_date_or_time_is_plain(code: str) -> None:
    assert format_of(code) is DATE


def test_formats_of_the_program_itself_are_known_by_their_number() -> None:
    assert [built_in(number) for number in (0, 1, 2, 4, 11, 44, 49)] == [None] * 7
    assert [built_in(number) for number in (14, 15, 20, 22)] == [DATE] * 4
    assert built_in(9) == form("0%")
    assert built_in(17) == form("mmm-yy")


def test_a_hostile_code_takes_no_time() -> None:
    for code in ("y" + "\\" * 250, 'y["' * 80, '"' * 250 + "y", "[" * 254, ";" * 254, "0;" * 127):
        found = format_of(code)
        assert found is None or found.text(1.0) is None or isinstance(found.text(1.0), str)


SHOWN = [
    ("0000000000000", 101015009087, "0101015009087"),
    ("0000000000000", 8001015009087, "8001015009087"),
    ('"27"000000000', 821234567, "27821234567"),
    (";;;", 5, HIDDEN),
    ("0;-0;;@", 0, None),
    ("0%", 0.5, "50%"),
    ("0.00%", 0.125, "12.50%"),
    ("mmm-yy", SERIAL, "2024-03-01 (Mar 24)"),
    ("dd/mm/yyyy", SERIAL, "2024-03-01 00:00:00"),
    ("General", 1200.5, "1200.5"),
    ("0000", 12.5, "12.5"),
    ("0000", 7, "0007"),
    ("# ?/4", 5, "5"),
    ("mmmm", SERIAL, "2024-03-01 (March)"),
]


def first_column(book: Book) -> list[str | None]:
    with closing(book) as opened:
        [rows] = opened.batches(0, rows=100)
    return rows.frame["0"].to_list()


def test_every_reader_of_xlsx_reads_what_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "shown.xlsx"
    book = openpyxl.Workbook()
    assert book.active is not None
    for row, (code, value, _) in enumerate(SHOWN, start=1):
        book.active.cell(row, 1, value).number_format = code
        # A row without any value is left out at the end.
        book.active.cell(row, 2, "x")
    book.save(path)
    texts = [text for _, _, text in SHOWN]
    assert first_column(open_workbook(path)) == texts
    assert first_column(XlsxBook(path)) == texts


def test_more_formats_than_the_scanner_tells_apart_are_read_element_by_element(
    tmp_path: Path,
) -> None:
    path = tmp_path / "many.xlsx"
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in range(1, 251):
        book.active.cell(row, 1, row).number_format = f'"{row}-"00'
    book.save(path)
    with closing(open_book(path, "xlsx")) as opened:
        found = [text for rows in opened.batches(0, rows=300) for text in rows.frame["0"]]
    assert found == [f"{row}-{row:02}" for row in range(1, 251)]


def test_many_formats_take_no_longer_than_few() -> None:
    """The cells of each format are found in one pass, and formats aren't compared in pairs."""
    formats = [Counted(f'"{number}-"00') for number in range(400)]
    Counted.compared = 0
    styles = np.array([*range(399, -1, -1), 1000, 0], np.int64)
    values = np.arange(402, dtype=np.float64)
    found = value_texts(values, styles, cast("list[Format | None]", formats), is_1904=False)
    assert found.to_list() == [
        *(f"{399 - number}-{number:02}" for number in range(400)), "400", "0-401",
    ]  # fmt: skip
    assert Counted.compared < 2 * len(formats)
    assert value_texts(values[:0], styles[:0], [None, DATE], is_1904=False).to_list() == []


class Counted:
    """A format that counts how often it is compared with another."""

    compared = 0

    def __init__(self, code: str) -> None:
        self._form = form(code)
        self.texts = self._form.texts

    def __eq__(self, other: object) -> bool:
        type(self).compared += 1
        return self is other

    def __hash__(self) -> int:
        return hash(self._form.code)


def test_binary_workbooks_are_read_alike(tmp_path: Path) -> None:
    rows = [[Shown(value, number), "x"] for number, (_, value, _) in enumerate(SHOWN)]
    path = tmp_path / "shown.xlsb"
    sheet = BinarySheet("S", rows)
    path.write_bytes(binary_workbook([sheet], formats=[code for code, _, _ in SHOWN]))
    assert first_column(open_book(path, "xlsb")) == [text for _, _, text in SHOWN]


def test_old_workbooks_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "shown.xls"
    book = xlwt.Workbook()
    sheet = book.add_sheet("S")
    for row, (code, value, _) in enumerate(SHOWN):
        style = xlwt.XFStyle()
        style.num_format_str = code
        sheet.write(row, 0, value, style)
        sheet.write(row, 1, "x")
    book.save(path)
    assert first_column(open_book(path, "xls")) == [text for _, _, text in SHOWN]


@pytest.mark.parametrize(
    ("attributes", "shown", "text"),
    [
        ('value-type="float" office:value="821234567"', "0821234567", "0821234567"),
        ('value-type="float" office:value="821234567"', "082 123 4567", "082 123 4567"),
        ('value-type="float" office:value="821234567"', "27821234567", "27821234567"),
        ('value-type="float" office:value="1200.5"', "R 1,200.50", "1200.5"),
        ('value-type="float" office:value="8001015009087"', "8.00E+12", "8001015009087"),
        ('value-type="float" office:value="1200"', "1 200", "1200"),
        ('value-type="float" office:value="12.7"', "13", "12.7"),
        ('value-type="float" office:value="5"', "", HIDDEN),
        ('value-type="float" office:value="0"', "", None),
        ('value-type="float" office:value="1"', "Yes", "Yes"),
        ('value-type="float" office:value="5"', "###", "5"),
        ('value-type="percentage" office:value="0.5"', "50%", "50%"),
        # The numbers as halves and in thousands.
        ('value-type="float" office:value="2"', "4/2", "2"),
        ('value-type="float" office:value="5"', "0.005", "5"),
        ('value-type="float" office:value="12345"', "0123/45", "0123/45"),
        ('value-type="date" office:date-value="2024-03-01"', "March", "2024-03-01 (March)"),
        ('value-type="date" office:date-value="2024-03-01"', "as agreed", "2024-03-01 00:00:00"),
        ('value-type="date" office:date-value="2024-03-01"', "M", "2024-03-01 (M)"),
        ('value-type="date" office:date-value="2024-03-01"', "(Mar) 24", "2024-03-01 (Mar 24)"),
        ('value-type="date" office:date-value="2024-03-01"', "###", "2024-03-01 00:00:00"),
        ('value-type="date" office:date-value="2024-03-01"', "Mar 24", "2024-03-01 (Mar 24)"),
        ('value-type="date" office:date-value="2024-03-01"', "2024", "2024-03-01 (2024)"),
        ('value-type="date" office:date-value="2024-03-01"', "1 March 2024", "2024-03-01 00:00:00"),
        ('value-type="date" office:date-value="2024-03-01"', "20240301", "2024-03-01 00:00:00"),
        ('value-type="date" office:date-value="2024-03-01"', "01/03/24", "2024-03-01 00:00:00"),
    ],
)
def test_open_documents_say_what_is_shown(
    attributes: str, shown: str, text: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "shown.fods"
    cells = f"<table:table-cell office:{attributes}><text:p>{shown}</text:p></table:table-cell>"
    other = '<table:table-cell office:value-type="string"><text:p>x</text:p></table:table-cell>'
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><office:document '
        'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
        'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
        'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body>'
        '<office:spreadsheet><table:table table:name="S"><table:table-row>'
        f"{cells}{other}</table:table-row></table:table></office:spreadsheet></office:body>"
        "</office:document>",
        encoding="utf-8",
    )
    assert first_column(open_book(path, "fods")) == [text]
