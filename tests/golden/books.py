"""Makes the golden workbooks about how workbooks are read; see ``make.py``."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING, Any, Final

import openpyxl
import xlwt
from openpyxl.utils import get_column_letter
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from tests.binary_workbook import BinarySheet, binary_workbook
from tests.open_document import flat_document, open_document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openpyxl.worksheet.worksheet import Worksheet

NAMES: Final = ("ID Number", "Firstname", "Surname")
MADE: Final = dt.datetime(2026, 11, 24, 8, 0)  # noqa: DTZ001 - the writers take no zone


def formulas() -> bytes:
    """Formulas that were never calculated, and errors of later versions."""

    def write(book: Any) -> None:
        sheet: Worksheet = book.active
        sheet.append([*NAMES, "Cell", "Ward", "Province"])
        sheet.append(["8001015009087", "Ayanda", "Nkosi", '="082"&"1234567"', "#SPILL!", "GP"])
        sheet.append(['="850214"&"0123180"', "Lerato", "Mokoena", None, None, "GP"])
        sheet.append(["9006305500082", "=PROPER(B3)", "=B4", None, "#FIELD!", "#BUSY!"])
        sheet.append(["9202290077083", "Sipho", "#CALC!", "#UNKNOWN!", "#N/A", "#REF!"])
        sheet.append(["=A2", "=B2", "=C2"])
        for row in sheet.iter_rows():
            for cell in row:
                if isinstance(cell.value, str) and cell.value.startswith("#"):
                    cell.data_type = "e"

    return _with_openpyxl(write)


#: A workbook with a hidden sheet before the members, and other members after them.
_HIDDEN: Final = BinarySheet("Archive", [NAMES, ("9202290077083", "Never", "Read")], state=1)
_MEMBERS: Final = BinarySheet(
    "Members ",
    [
        ("MEMBERS OF THE BRANCH", None, None, None, None, None, None),
        (*NAMES, "Province", "Cell", "Home Tel", "Joined"),
        ("8001015009087", "Ayanda", "Nkosi", "GP", "0821234567", None, 42_460),
        ("8502140123180", "Lerato", "Mokoena", None, "0837654321", "0112345678", None),
        (9006305500082, "Sipho", "Dlamini", None, None, None, None),
        (None, None, None, None, None, None, None),
        ("TOTAL", None, None, None, 3, None, None),
    ],
    hidden_rows=[4],
    hidden_columns=[5],
    merged=[(2, 4, 3, 3), (2, 2, 4, 5), (0, 0, 0, 5)],
)
_OTHERS: Final = BinarySheet(
    "Ward 7", [("Id no", "Name", "Van"), ("0001015010083", "Zoë", "Zeros"),
               ("0102030044089", "One", "Zero")]
)  # fmt: skip
_LAYOUT: Final = (_HIDDEN, _MEMBERS, _OTHERS)


def layout_xlsx() -> bytes:
    """Hidden sheets, rows and columns, merged cells and the 1904 system, by openpyxl."""

    def write(book: Any) -> None:
        book.remove(book.active)
        book.epoch = CALENDAR_MAC_1904
        for given in _LAYOUT:
            sheet = book.create_sheet(given.name)
            for row in given.rows:
                sheet.append(row)
            sheet.sheet_state = "hidden" if given.state else "visible"
            for number in given.hidden_rows:
                sheet.row_dimensions[number].hidden = True
            for column in given.hidden_columns:
                sheet.column_dimensions[get_column_letter(column + 1)].hidden = True
            for top, bottom, left, right in given.merged:
                sheet.merge_cells(
                    start_row=top + 1, end_row=bottom + 1, start_column=left + 1,
                    end_column=right + 1,
                )  # fmt: skip

    return _with_openpyxl(write)


def layout_xls() -> bytes:
    """The same by xlwt."""
    book = xlwt.Workbook()
    book.dates_1904 = True
    for given in _LAYOUT:
        sheet = book.add_sheet(given.name)
        sheet.visibility = given.state
        for number, row in enumerate(given.rows):
            for column, value in enumerate(row):
                if value is not None:
                    sheet.write(number, column, value)
        for number in given.hidden_rows:
            sheet.row(number - 1).hidden = True
        for column in given.hidden_columns:
            sheet.col(column).hidden = True
        for area in given.merged:
            sheet.merge(*area)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def layout_xlsb() -> bytes:
    """The same as a binary workbook."""
    return binary_workbook(_LAYOUT, is_1904=True)


def layout_ods() -> bytes:
    """The same as an OpenDocument spreadsheet."""
    return open_document(_LAYOUT, is_1904=True)


def layout_fods() -> bytes:
    """The same in one XML file."""
    return flat_document(_LAYOUT, is_1904=True)


FILES: Final[Mapping[str, Callable[[], bytes]]] = {
    "formulas.xlsx": formulas,
    "layout.xlsx": layout_xlsx,
    "layout.xls": layout_xls,
    "layout.xlsb": layout_xlsb,
    "layout.ods": layout_ods,
    "layout.fods": layout_fods,
}


def _with_openpyxl(write: Callable[[Any], None]) -> bytes:
    book = openpyxl.Workbook()
    book.properties.created = book.properties.modified = MADE
    write(book)
    target = io.BytesIO()
    book.save(target)
    book.close()
    return target.getvalue()
