"""Rows with cells that are struck through, and comments, in all spellings of workbooks."""

from __future__ import annotations

import zipfile
from contextlib import closing
from typing import TYPE_CHECKING

import openpyxl
import pytest
import xlwt
from openpyxl.comments import Comment
from openpyxl.styles import Font

from rollbook.spreadsheets.books.opening import marks_of, open_book

if TYPE_CHECKING:
    from collections.abc import Callable
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


def spelled(path: Path, respell: Callable[[str, bytes], tuple[str, bytes]]) -> Path:
    """A workbook with every part as ``respell`` gives its name and content."""
    target = path.with_name("spelled.xlsx")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            archive.writestr(*respell(name, source.read(name)))
    return target


def in_other_letters(name: str, content: bytes) -> tuple[str, bytes]:
    """Names of parts have no case, and some programs write ``xl/SharedStrings.xml``."""
    names = ("xl/styles.xml", "xl/sharedStrings.xml", "xl/worksheets/_rels/sheet1.xml.rels")
    return name.title().replace("Xl/", "xl/") if name in names else name, content


def in_strict_terms(name: str, content: bytes) -> tuple[str, bytes]:
    """The relationships of the strict variant, but for the worksheets'."""
    transitional = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
    strict = b"http://purl.oclc.org/ooxml/officeDocument/relationships/"
    for kind in (b"styles", b"sharedStrings", b"comments"):
        content = content.replace(transitional + kind, strict + kind)
    return name, content


@pytest.mark.parametrize("respell", [lambda *part: part, in_other_letters, in_strict_terms])
@pytest.mark.parametrize(("is_struck", "has_comment"), [(True, False), (False, True)])
def test_a_workbook_says_what_is_struck_through_and_has_comments_in_any_spelling(
    respell: Callable[[str, bytes], tuple[str, bytes]],
    is_struck: bool,
    has_comment: bool,
    tmp_path: Path,
) -> None:
    path = tmp_path / "marked.xlsx"
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in (["Name", "Number"], ["Thandi", 1], ["Sipho", 2]):
        sheet.append(row)
    if is_struck:
        sheet["A3"].font = Font(strike=True)
    if has_comment:
        sheet["B2"].comment = Comment("left", "somebody")
    book.save(path)
    with closing(open_book(spelled(path, respell), "xlsx")) as opened:
        rows = [row for batch in opened.batches(0, rows=100) for row in batch.frame.rows()]
        found = marks_of(opened, 0)
    assert rows == [("Name", "Number"), ("Thandi", "1"), ("Sipho", "2")]
    assert found.struck_rows == ((3,) if is_struck else ())
    assert found.comments == (("B2",) if has_comment else ())
