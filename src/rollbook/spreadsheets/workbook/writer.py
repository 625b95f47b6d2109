"""Writes a workbook: tables of many rows, and sheets of cells put one by one.

A zip archive holds one part after the other, so a sheet is put into it when the workbook is
finished; until then its rows wait, deflated, in ``table``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias
from xml.sax.saxutils import escape, quoteattr

from rollbook.spreadsheets.workbook import parts
from rollbook.spreadsheets.workbook.cell_text import legal
from rollbook.spreadsheets.workbook.parts import HEAD, RELATIONS, SHEET_NAMESPACE, BarChart, Look
from rollbook.spreadsheets.workbook.table import (
    MOST_ROWS,
    GrowingTable,
    Making,
    SheetRows,
    TableGroup,
)
from rollbook.spreadsheets.workbook.worksheet import (
    NARROWEST,
    CellValue,
    Kind,
    cell_xml,
    letters_of,
)
from rollbook.spreadsheets.workbook.zip_stream import ZipStream, deflated

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from rollbook.spreadsheets.workbook.zip_stream import Block

LONGEST_NAME: Final = 31

_NO_NAME: Final = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
#: What a sheet's name neither starts nor ends with.
_NO_END: Final = " '"


class Cell(NamedTuple):
    """A value with a look."""

    value: CellValue
    look: Look = Look.PLAIN


AnyCell: TypeAlias = "Cell | CellValue"


class _Cells(NamedTuple):
    """A sheet of single cells that isn't in the archive yet."""

    rows: Sequence[Sequence[AnyCell]]
    chart: BarChart | None
    is_hidden: bool = False


class FormColumn(NamedTuple):
    """A column of a form: an empty table that a person fills in."""

    title: str
    #: The format of its cells. As TEXT, an ID number keeps its zeros.
    kind: Kind = Kind.TEXT
    #: Offered in a drop-down list. Another value is accepted after a question.
    choices: Sequence[str] = ()


class _Form(NamedTuple):
    """A form that isn't in the archive yet."""

    columns: Sequence[FormColumn]
    #: The ranges of the choices by the place of their column, and what a person is asked.
    ranges: Mapping[int, str]
    question: str


class WorkbookWriter:
    """Writes a workbook to a path, which holds either the whole of it or what it held before.

    A context manager; the sheets come in the order in which they are added.
    """

    def __init__(
        self, path: Path, *, title: str, fills: Mapping[str, str], created: dt.datetime
    ) -> None:
        """Begin a workbook; ``fills`` are the colours that rows may have, as ARGB by key."""
        self._path = path
        self._title = title
        self._created = created
        self._fills = fills
        self._looks = parts.look_styles()
        self._row_styles = parts.row_styles(fills)
        #: The sheets that are in the archive, and everything that is to be in it, in their order.
        self._sheets: list[parts.Sheet] = []
        self._contents: list[tuple[str, _Cells | _Form | GrowingTable]] = []

    def __enter__(self) -> Self:
        self._partial = self._path.with_name(f"{self._path.name}.partial")
        self._file = self._partial.open("wb")
        self._zip = ZipStream(self._file)
        self._making = Making()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._making.stop()
            for _, content in self._contents:
                if isinstance(content, GrowingTable):
                    content.close()
            self._file.close()
            self._partial.unlink(missing_ok=True)

    def add_table(self, name: str, frame: pl.DataFrame, *, row_fill: str | None = None) -> None:
        """Add a complete table; see ``begin_tables``.

        Raises:
            TypeError: a column's type has no place in a worksheet.
            ValueError: there are more columns than a worksheet has.
        """
        self.begin_tables([name], row_fill=row_fill).add(frame)

    def begin_tables(self, names: Sequence[str], *, row_fill: str | None = None) -> TableGroup:
        """Add tables of the same columns, each with a header row that stays in sight and a filter.

        Their rows come later, and one row may go into several of them, which costs little more than
        into one. A table with more rows than a sheet has continues in further sheets, ``name (2)``
        and so on. Characters that Excel refuses are left out of the names. ``row_fill`` is the
        column that holds each row's key in ``fills``; it isn't shown itself.
        """
        tables = [GrowingTable(self._path.parent) for _ in names]
        self._contents += zip(names, tables, strict=True)
        return TableGroup(self._making, self._row_styles, tables, row_fill)

    def add_cells(
        self,
        name: str,
        rows: Sequence[Sequence[AnyCell]],
        *,
        chart: BarChart | None = None,
        first: bool = False,
    ) -> None:
        """Add a sheet of single cells, row by row from A1 on; ``first`` before all others."""
        entry = (name, _Cells(rows, chart))
        self._contents.insert(0 if first else len(self._contents), entry)

    def add_form(
        self, name: str, columns: Sequence[FormColumn], *, lists: str, question: str
    ) -> None:
        """Add an empty table to be filled in, with formats and drop-down lists.

        ``lists`` is the name of a hidden sheet, added after it, that holds the choices of each
        column. ``question`` is asked where a person writes something else; spreadsheet programs
        add the answers.
        """
        chosen = {index: column for index, column in enumerate(columns) if column.choices}
        ranges = {
            index: f"{parts.quoted(lists)}!${letters_of(place)}$2"
            f":${letters_of(place)}${len(column.choices) + 1}"
            for place, (index, column) in enumerate(chosen.items())
        }
        self._contents.append((name, _Form(columns, ranges, question)))
        if chosen:
            titles = [Cell(column.title, Look.HEADER) for column in chosen.values()]
            rows = zip_longest(*(column.choices for column in chosen.values()))
            self._contents.append((lists, _Cells([titles, *rows], None, is_hidden=True)))

    def _add_form(self, name: str, form: _Form) -> None:
        titles = [column.title for column in form.columns]
        lists = "".join(
            '<dataValidation type="list" errorStyle="warning" allowBlank="1" showErrorMessage="1"'
            f" error={quoteattr(legal(form.question))}"
            f' sqref="{letters_of(index)}2:{letters_of(index)}{MOST_ROWS + 1}">'
            f"<formula1>{escape(place)}</formula1></dataValidation>"
            for index, place in form.ranges.items()
        )
        self._put(
            parts.Sheet(name),
            [max(NARROWEST, len(title) + 4) for title in titles],
            titles,
            styles=[self._row_styles[None][column.kind] for column in form.columns],
            before=f"<dataValidations>{lists}</dataValidations>" if lists else "",
        )

    def _add_cells(self, name: str, cells: _Cells) -> None:
        body = []
        for number, row in enumerate(cells.rows, start=1):
            texts = (
                cell_xml(f"{letters_of(index)}{number}", self._looks[cell.look], cell.value)
                for index, cell in enumerate(_cell(given) for given in row)
            )
            body.append(f'<row r="{number}">{"".join(texts)}</row>')
        self._put(
            parts.Sheet(name, None, cells.chart, cells.is_hidden),
            _widths_of_cells(cells.rows),
            rows=[deflated("".join(body).encode())],
            after='<drawing r:id="rId1"/>' if cells.chart else "",
        )

    def _add_sheet(self, name: str, table: GrowingTable, rows: SheetRows) -> None:
        filtered, before, after = None, "", ""
        if table.titles and rows.height:
            letters, last = letters_of(len(table.titles) - 1), rows.height + 1
            filtered = f"$A$1:${letters}${last}"
            before = f'<autoFilter ref="A1:{letters}{last}"/>'
            # Numbers that are text are so on purpose: no green corners.
            after = (
                f'<ignoredErrors><ignoredError sqref="A2:{letters}{last}"'
                ' numberStoredAsText="1"/></ignoredErrors>'
            )
        sheet = parts.Sheet(name, filtered)
        self._put(sheet, table.widths, table.titles, rows=rows.blocks(), before=before, after=after)

    def _put(
        self,
        sheet: parts.Sheet,
        widths: Sequence[float],
        titles: Sequence[str] | None = None,
        *,
        styles: Sequence[int] = (),
        rows: Iterable[Block] = (),
        before: str = "",
        after: str = "",
    ) -> None:
        """Put a sheet into the archive; with ``titles``, it has a header row that stays in sight.

        ``before`` and ``after`` are elements around the setup of its page.
        """
        selected = "" if self._sheets else ' tabSelected="1"'
        pane = '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>'
        columns = "".join(
            f'<col min="{number}" max="{number}" width="{width:g}" customWidth="1"'
            + (f' style="{style}"/>' if style is not None else "/>")
            for number, (width, style) in enumerate(zip_longest(widths, styles), start=1)
        )
        header = _header(tuple(titles or ()), self._looks[Look.HEADER])
        start = (
            f'{HEAD}<worksheet xmlns="{SHEET_NAMESPACE}" xmlns:r="{RELATIONS}">'
            '<sheetPr><pageSetUpPr fitToPage="1"/></sheetPr>'
            f'<sheetViews><sheetView workbookViewId="0"{selected}>{"" if titles is None else pane}'
            '</sheetView></sheetViews><sheetFormatPr defaultRowHeight="15"/>'
            + (f"<cols>{columns}</cols>" if columns else "")
            + "<sheetData>"
            + ("" if titles is None else f'<row r="1">{header}</row>')
        )
        end = f"</sheetData>{before}{_PAGE_SETUP}{after}</worksheet>"
        blocks = chain([deflated(start.encode())], rows, [deflated(end.encode())])
        self._zip.add(f"xl/worksheets/sheet{len(self._sheets) + 1}.xml", blocks)
        self._sheets.append(sheet._replace(name=self._unique_name(sheet.name)))

    def _unique_name(self, wanted: str) -> str:
        """A name that Excel takes: short, without its special characters, and unique."""
        clean = _NO_NAME.sub(" ", legal(wanted)).strip(_NO_END) or "Sheet"
        taken = {sheet.name.casefold() for sheet in self._sheets} | {"history"}
        name, copy = _shortened(clean, LONGEST_NAME), 1
        while name.casefold() in taken:
            copy += 1
            ending = f" ({copy})"
            name = _shortened(clean, LONGEST_NAME - len(ending)) + ending
        return name

    def _finish(self) -> None:
        self._making.finish()
        for name, content in self._contents:
            if isinstance(content, _Cells):
                self._add_cells(name, content)
            elif isinstance(content, _Form):
                self._add_form(name, content)
            else:
                for rows in content.sheets:
                    self._add_sheet(name, content, rows)
        self._zip.add_small("xl/styles.xml", parts.styles(self._fills))
        small = parts.small_parts(self._sheets, title=self._title, created=self._created)
        for name, part in small.items():
            self._zip.add_small(name, part)
        self._zip.finish()
        self._file.close()
        self._partial.replace(self._path)


#: In characters: single cells hold sentences to be read, and there is room for them.
_WIDEST_ALONE: Final = 80
#: Printed, a sheet is as wide as a page.
_PAGE_SETUP: Final = '<pageSetup orientation="landscape" fitToHeight="0"/>'


@lru_cache(maxsize=4)
def _header(titles: tuple[str, ...], style: int) -> str:
    """The cells of a header row; the tables of a workbook often share one."""
    return "".join(
        cell_xml(f"{letters_of(index)}1", style, title) for index, title in enumerate(titles)
    )


def _shortened(name: str, units: int) -> str:
    """The start of a sheet's name, in UTF-16 units as Excel counts."""
    return name.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore").rstrip(_NO_END)


def _cell(given: AnyCell) -> Cell:
    return given if isinstance(given, Cell) else Cell(given)


def _widths_of_cells(rows: Sequence[Sequence[AnyCell]]) -> list[float]:
    widths: list[float] = []
    for row in rows:
        for index, cell in enumerate(map(_cell, row)):
            # A title may run over the cells beside it.
            text = "" if cell.look is Look.TITLE or cell.value is None else str(cell.value)
            if index == len(widths):
                widths.append(0)
            widths[index] = max(widths[index], NARROWEST, min(len(text) + 2, _WIDEST_ALONE))
    return widths
