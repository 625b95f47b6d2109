"""Writes a workbook: tables of many rows, and sheets of cells put one by one."""

from __future__ import annotations

import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

import polars as pl

from rollbook.workbook import parts
from rollbook.workbook.cell_text import legal
from rollbook.workbook.parts import HEAD, RELATIONS, SHEET_NAMESPACE, BarChart, Look
from rollbook.workbook.worksheet import (
    FILL,
    NARROWEST,
    CellValue,
    Column,
    cell_xml,
    columns_of,
    letters_of,
    rows_xml,
    widths_of,
)
from rollbook.workbook.zip_stream import Block, ZipStream, deflated

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

#: The rows of a worksheet (Excel's limit), less the one of the headers.
MOST_ROWS: Final = 1_048_575
MOST_COLUMNS: Final = 16_384
#: Rows whose XML is made at once: enough for polars to be quick, few enough for the memory, in
#: which there are as many chunks as threads and one more.
CHUNK_ROWS: Final = 10_000
LONGEST_NAME: Final = 31

_THREADS: Final = 2
_NO_NAME: Final = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
#: What a sheet's name neither starts nor ends with.
_NO_END: Final = " '"


class Cell(NamedTuple):
    """A value with a look."""

    value: CellValue
    look: Look = Look.PLAIN


AnyCell: TypeAlias = "Cell | CellValue"


class WorkbookWriter:
    """Writes a workbook to a path, which holds either the whole of it or what it held before.

    A context manager; the sheets come in the order in which they are added.
    """

    def __init__(
        self, path: Path, *, title: str, fills: Mapping[str, str], created: dt.datetime
    ) -> None:
        """Begin a workbook.

        Args:
            path: where it goes.
            title: for the file's properties.
            fills: the colours that rows may have, as ARGB by key.
            created: for the file's properties.
        """
        self._path = path
        self._title = title
        self._created = created
        self._fills = fills
        self._looks = parts.look_styles()
        self._row_styles = parts.row_styles(fills)
        self._sheets: list[parts.Sheet] = []

    def __enter__(self) -> Self:
        self._partial = self._path.with_name(f"{self._path.name}.partial")
        self._file = self._partial.open("wb")
        self._zip = ZipStream(self._file)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="workbook")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        try:
            if error is None:
                self._finish()
        finally:
            self._file.close()
            self._partial.unlink(missing_ok=True)

    def add_table(self, name: str, frame: pl.DataFrame, *, row_fill: str | None = None) -> None:
        """Add a table with a header row that stays in sight and a filter.

        A table with more rows than a sheet has goes on in sheets of its own, ``name (2)`` and so
        on.

        Args:
            name: of the sheet; what Excel doesn't take is taken out of it.
            frame: the rows; see ``worksheet`` for what becomes of each type.
            row_fill: the column that holds each row's key in ``fills``. It isn't shown itself.

        Raises:
            TypeError: a column's type has no place in a worksheet.
            ValueError: there are more columns than a worksheet has.
        """
        shown = frame.drop(row_fill) if row_fill else frame
        if shown.width > MOST_COLUMNS:
            raise ValueError(f"a worksheet has {MOST_COLUMNS} columns, not {shown.width}")
        columns = columns_of(shown)
        widths = widths_of(shown)
        no_fill = pl.repeat(None, frame.height, dtype=pl.String, eager=True)
        # Series, not expressions: a title such as "*" would stand for every column.
        named = pl.DataFrame(
            [
                *(
                    series.alias(column.name)
                    for series, column in zip(shown.iter_columns(), columns, strict=True)
                ),
                (frame[row_fill] if row_fill else no_fill).alias(FILL),
            ]
        )
        for start in range(0, max(named.height, 1), MOST_ROWS):
            self._add_sheet(name, shown.columns, columns, widths, named.slice(start, MOST_ROWS))

    def add_cells(
        self,
        name: str,
        rows: Sequence[Sequence[AnyCell]],
        *,
        chart: BarChart | None = None,
    ) -> None:
        """Add a sheet of single cells, row by row from A1 on."""
        body = []
        for number, row in enumerate(rows, start=1):
            cells = (
                cell_xml(f"{letters_of(index)}{number}", self._looks[cell.look], cell.value)
                for index, cell in enumerate(_cell(given) for given in row)
            )
            body.append(f'<row r="{number}">{"".join(cells)}</row>')
        xml = (
            self._sheet_start(_widths_of_cells(rows), frozen=False)
            + "".join(body)
            + "</sheetData>"
            + _PAGE_SETUP
            + ('<drawing r:id="rId1"/>' if chart else "")
            + "</worksheet>"
        )
        self._zip.add_small(self._next_part(), xml.encode())
        self._sheets.append(parts.Sheet(self._unique_name(name), None, chart))

    def _add_sheet(
        self,
        name: str,
        headers: Sequence[str],
        columns: Sequence[Column],
        widths: Sequence[float],
        rows: pl.DataFrame,
    ) -> None:
        last = letters_of(max(len(columns), 1) - 1)
        header = "".join(
            cell_xml(f"{letters_of(index)}1", self._looks[Look.HEADER], title)
            for index, title in enumerate(headers)
        )
        start = self._sheet_start(widths, frozen=True) + f'<row r="1">{header}</row>'
        end = "</sheetData>"
        filtered = None
        if columns and rows.height:
            end += f'<autoFilter ref="A1:{last}{rows.height + 1}"/>'
            filtered = f"$A$1:${last}${rows.height + 1}"
        end += _PAGE_SETUP
        if columns and rows.height:
            # Numbers that are text are so on purpose: no green corners.
            end += (
                f'<ignoredErrors><ignoredError sqref="A2:{last}{rows.height + 1}"'
                ' numberStoredAsText="1"/></ignoredErrors>'
            )
        end += "</worksheet>"

        def block(offset: int) -> Block:
            chunk = rows.slice(offset, CHUNK_ROWS)
            xml = rows_xml(chunk, columns, first_row=offset + 2, styles=self._row_styles)
            return deflated(xml)

        blocks = self._ahead(block, range(0, rows.height, CHUNK_ROWS))
        self._zip.add(
            self._next_part(), chain([deflated(start.encode())], blocks, [deflated(end.encode())])
        )
        self._sheets.append(parts.Sheet(self._unique_name(name), filtered))

    def _ahead(self, block: Callable[[int], Block], offsets: Iterable[int]) -> Iterator[Block]:
        """Blocks in their order, made on other threads, a few of them ahead."""
        waiting: deque[Future[Block]] = deque()
        for offset in offsets:
            waiting.append(self._pool.submit(block, offset))
            while len(waiting) > _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _sheet_start(self, widths: Sequence[float], *, frozen: bool) -> str:
        selected = "" if self._sheets else ' tabSelected="1"'
        pane = '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>'
        columns = "".join(
            f'<col min="{number}" max="{number}" width="{width:g}" customWidth="1"/>'
            for number, width in enumerate(widths, start=1)
        )
        return (
            f'{HEAD}<worksheet xmlns="{SHEET_NAMESPACE}" xmlns:r="{RELATIONS}">'
            '<sheetPr><pageSetUpPr fitToPage="1"/></sheetPr>'
            f'<sheetViews><sheetView workbookViewId="0"{selected}>{pane if frozen else ""}'
            '</sheetView></sheetViews><sheetFormatPr defaultRowHeight="15"/>'
            + (f"<cols>{columns}</cols>" if columns else "")
            + "<sheetData>"
        )

    def _next_part(self) -> str:
        return f"xl/worksheets/sheet{len(self._sheets) + 1}.xml"

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
        self._zip.add_small("xl/styles.xml", parts.styles(self._fills))
        small = parts.small_parts(self._sheets, title=self._title, created=self._created)
        for name, content in small.items():
            self._zip.add_small(name, content)
        self._zip.finish()
        self._file.close()
        self._partial.replace(self._path)


#: In characters: single cells hold sentences to be read, and there is room for them.
_WIDEST_ALONE: Final = 80
#: Printed, a sheet is as wide as a page.
_PAGE_SETUP: Final = '<pageSetup orientation="landscape" fitToHeight="0"/>'


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
