"""Writes tables as workbooks of each format, by the libraries that offices' programs use."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING, Any, Final

import openpyxl
import xlsxwriter
import xlwt
from openpyxl.utils import datetime as days
from openpyxl.utils import get_column_letter
from tests.binary_workbook import BinarySheet, binary_workbook
from tests.binary_workbook import Formula as BinaryFormula
from tests.open_document import flat_document, open_document

from benchmarks.corpus.cells import Formula

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from benchmarks.corpus.grid import Grid, Value

#: Formats in which dates may be counted from 1904.
WITH_1904: Final = ("xlsx", "xlsm", "xlsb", "xls")
#: Formats in which our writers can write a formula with its result.
WITH_RESULTS: Final = ("xlsx",)


def write(kind: str, sheets: Sequence[Grid], chance: Random, *, is_1904: bool) -> bytes:
    """The workbook's bytes."""
    if kind == "xlsx" and (chance.random() < 0.5 or _has_results(sheets)):
        return _by_xlsxwriter(sheets, is_1904=is_1904)
    if kind in ("xlsx", "xlsm"):
        return _by_openpyxl(sheets, is_1904=is_1904)
    if kind == "xls":
        return _by_xlwt(sheets, is_1904=is_1904)
    plain = [
        BinarySheet(
            sheet.name,
            [[_plain(value) for value in row] for row in sheet.rows],
            int(sheet.is_hidden),
            tuple(sheet.hidden_rows),
            tuple(sheet.hidden_columns),
            tuple(sheet.merged),
        )
        for sheet in sheets
    ]
    if kind == "xlsb":
        return binary_workbook(plain, is_1904=is_1904)
    return (flat_document if kind == "fods" else open_document)(plain)


def _has_results(sheets: Sequence[Grid]) -> bool:
    return any(isinstance(v, Formula) for sheet in sheets for row in sheet.rows for v in row)


def _plain(value: Value) -> Any:
    if isinstance(value, Formula):
        return BinaryFormula(value.result)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _by_xlsxwriter(sheets: Sequence[Grid], *, is_1904: bool) -> bytes:
    target = io.BytesIO()
    book = xlsxwriter.Workbook(target, {"in_memory": True, "date_1904": is_1904})
    as_date = book.add_format({"num_format": "yyyy-mm-dd"})
    visible = None
    for sheet in sheets:
        page = book.add_worksheet(sheet.name)
        if sheet.is_hidden:
            page.hide()
        else:
            visible = visible or page
        for top, bottom, left, right in sheet.merged:
            page.merge_range(top, left, bottom, right, "")
        for r, row in enumerate(sheet.rows):
            for c, value in enumerate(row):
                _write_cell(page, r, c, value, as_date)
        for number in sheet.hidden_rows:
            page.set_row(number - 1, None, None, {"hidden": True})
        for column in sheet.hidden_columns:
            page.set_column(column, column, None, None, {"hidden": True})
    assert visible is not None
    visible.activate()
    visible.set_first_sheet()
    book.close()
    return target.getvalue()


def _write_cell(page: Any, row: int, column: int, value: Value, as_date: Any) -> None:
    if isinstance(value, Formula):
        result = "" if value.result is None else value.result
        page.write_formula(row, column, "=A1", None, result)
    elif isinstance(value, dt.date):
        page.write_datetime(row, column, dt.datetime.combine(value, dt.time()), as_date)
    elif isinstance(value, float):
        page.write_number(row, column, value)
    elif value is not None:
        page.write_string(row, column, value)


def _by_openpyxl(sheets: Sequence[Grid], *, is_1904: bool) -> bytes:
    book = openpyxl.Workbook()
    if is_1904:
        book.epoch = days.CALENDAR_MAC_1904
    book.remove(book.worksheets[0])
    for sheet in sheets:
        page = book.create_sheet(sheet.name)
        for row in sheet.rows:
            page.append([int(v) if isinstance(v, float) and v.is_integer() else v for v in row])
        if sheet.is_hidden:
            page.sheet_state = "hidden"
        for top, bottom, left, right in sheet.merged:
            page.merge_cells(
                start_row=top + 1, end_row=bottom + 1, start_column=left + 1, end_column=right + 1
            )
        for number in sheet.hidden_rows:
            page.row_dimensions[number].hidden = True
        for column in sheet.hidden_columns:
            page.column_dimensions[get_column_letter(column + 1)].hidden = True
    book.active = next(n for n, sheet in enumerate(sheets) if not sheet.is_hidden)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def _by_xlwt(sheets: Sequence[Grid], *, is_1904: bool) -> bytes:
    book = xlwt.Workbook(encoding="utf-8")
    book.dates_1904 = is_1904
    as_date = xlwt.easyxf(num_format_str="yyyy-mm-dd")
    for sheet in sheets:
        page = book.add_sheet(sheet.name)
        page.visibility = int(sheet.is_hidden)
        covered = set()
        for top, bottom, left, right in sheet.merged:
            page.write_merge(top, bottom, left, right, sheet.rows[top][left])
            covered |= {(r, left) for r in range(top, bottom + 1)}
        for r, row in enumerate(sheet.rows):
            for c, value in enumerate(row):
                if (r, c) in covered or value is None:
                    continue
                if isinstance(value, dt.date):
                    page.write(r, c, dt.datetime.combine(value, dt.time()), as_date)
                else:
                    page.write(r, c, value)
        for number in sheet.hidden_rows:
            page.row(number - 1).hidden = True
        for column in sheet.hidden_columns:
            page.col(column).hidden = True
    book.active_sheet = next(n for n, sheet in enumerate(sheets) if not sheet.is_hidden)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()
