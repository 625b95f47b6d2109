"""Rows with cells that are struck through, in workbooks other than .xlsx."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import xlwt

from rollbook.spreadsheets.books.opening import marks_of, open_book

if TYPE_CHECKING:
    from pathlib import Path


def struck_rows(path: Path, kind: str, index: int = 0) -> tuple[int, ...]:
    with closing(open_book(path, kind)) as book:
        next(iter(book.batches(index, rows=100)))
        return marks_of(book, index).struck_rows


def test_an_old_workbook_says_which_rows_are_struck_through(tmp_path: Path) -> None:
    path = tmp_path / "struck.xls"
    book = xlwt.Workbook()
    struck, bold = xlwt.easyxf("font: struck_out on"), xlwt.easyxf("font: bold on")
    for name in ("One", "Two"):
        sheet = book.add_sheet(name)
        for row in range(6):
            is_struck = name == "Two" and row in {1, 4}
            sheet.write(row, 0, f"text {row}", struck if is_struck and row == 1 else bold)
            sheet.write(row, 1, row, struck if is_struck else bold)
    book.save(path)
    assert struck_rows(path, "xls") == ()
    assert struck_rows(path, "xls", 1) == (2, 5)


def test_an_open_document_says_which_rows_are_struck_through(tmp_path: Path) -> None:
    path = tmp_path / "struck.fods"

    def row(style: str, text: str, times: int = 1) -> str:
        value = f'office:value-type="string"><text:p>{text}</text:p>' if text else ">"
        return (
            f'<table:table-row table:number-rows-repeated="{times}">'
            f'<table:table-cell table:style-name="{style}" {value}</table:table-cell>'
            "</table:table-row>"
        )

    def style(name: str, line: str) -> str:
        return (
            f'<style:style style:name="{name}" style:family="table-cell">'
            f'<style:text-properties style:text-line-through-style="{line}"/></style:style>'
        )

    rows = [row("a", "x", 3), row("b", ""), row("b", "y"), row("c", "z"), row("b", "w")]
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><office:document '
        'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
        'xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0" '
        'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
        'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0">'
        f"<office:automatic-styles>{style('b', 'solid')}{style('c', 'none')}"
        "</office:automatic-styles><office:body><office:spreadsheet>"
        f'<table:table table:name="S">{"".join(rows)}</table:table>'
        f'<table:table table:name="T">{row("a", "x")}</table:table>'
        "</office:spreadsheet></office:body></office:document>",
        encoding="utf-8",
    )
    # A cell without a value says nothing.
    assert struck_rows(path, "fods") == (5, 7)
    assert struck_rows(path, "fods", 1) == ()
