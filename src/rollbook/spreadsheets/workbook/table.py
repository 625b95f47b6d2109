"""Tables that grow at the same time: their deflated rows are stored until the sheets are written.

Rows become XML and are deflated on other threads, a few chunks ahead of the stored ones.
"""

from __future__ import annotations

import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.spreadsheets.workbook.worksheet import (
    FILL,
    MARK,
    columns_of,
    numbered,
    rows_xml,
    widths_of,
)
from rollbook.spreadsheets.workbook.zip_stream import Block, deflated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from rollbook.spreadsheets.workbook.worksheet import Column, RowStyles

#: The rows of a worksheet (Excel's limit), less the one of the headers.
MOST_ROWS: Final = 1_048_575
MOST_COLUMNS: Final = 16_384
#: Rows of a chunk: enough for polars to be fast, few enough for the memory, which holds one chunk
#: more than there are threads.
CHUNK_ROWS: Final = 10_000

_THREADS: Final = 2
#: Bytes of a sheet, deflated, that stay in memory; the rest is in a temporary file.
_IN_MEMORY: Final = 4 << 20


class SheetRows:
    """The rows of one sheet, as blocks of a zip archive's part."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, mode="w+b", dir=str(folder))  # noqa: SIM115 - see close
        #: Of each block the length, and the CRC-32 and size of its content.
        self._stored: list[tuple[int, int, int]] = []
        #: Rows that have been given to it, put away or not.
        self.height = 0

    def put(self, block: Block) -> None:
        """Store the next rows."""
        self._file.write(block.data)
        self._stored.append((len(block.data), block.crc, block.size))

    def blocks(self) -> Iterator[Block]:
        """All stored blocks, in their order."""
        self._file.seek(0)
        for length, crc, size in self._stored:
            yield Block(self._file.read(length), crc, size)

    def close(self) -> None:
        """Forget the rows."""
        self._file.close()


class Making:
    """Makes blocks on other threads and stores them in the order of the requests.

    A further request waits until all but a few blocks are stored, so that the memory is bounded.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="workbook")
        self._waiting: deque[tuple[list[SheetRows], Future[list[Block]]]] = deque()

    def ask(self, sheets: list[SheetRows], make: Callable[[], list[Block]]) -> None:
        """Request the blocks of the next rows of some sheets: one for each."""
        self._waiting.append((sheets, self._pool.submit(make)))
        self._put_away(but=_THREADS)

    def finish(self) -> None:
        """Store every requested block."""
        self._put_away(but=0)

    def stop(self) -> None:
        """Begin nothing more, and wait for what is being made."""
        self._pool.shutdown(cancel_futures=True)

    def _put_away(self, *, but: int) -> None:
        while len(self._waiting) > but:
            sheets, blocks = self._waiting.popleft()
            for sheet, block in zip(sheets, blocks.result(), strict=True):
                sheet.put(block)


class GrowingTable:
    """The sheets of one table: its first one, and more where that is full."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        #: Of the header row, and the widths of the columns in characters: as the first rows have
        #: them.
        self.titles: list[str] = []
        self.widths: list[float] = []
        self.sheets = [SheetRows(folder)]

    def places_for(self, rows: int) -> Iterator[tuple[SheetRows, int, int]]:
        """Where the next rows go: the sheet, the number there of the first, and how many."""
        while rows:
            if self.sheets[-1].height == MOST_ROWS:
                self.sheets.append(SheetRows(self._folder))
            sheet = self.sheets[-1]
            taken = min(rows, MOST_ROWS - sheet.height)
            yield sheet, sheet.height + 2, taken
            sheet.height += taken
            rows -= taken

    def close(self) -> None:
        """Forget the rows."""
        for sheet in self.sheets:
            sheet.close()


class TableGroup:
    """Tables of the same columns; see ``WorkbookWriter.begin_tables``."""

    def __init__(
        self, making: Making, styles: RowStyles, tables: list[GrowingTable], row_fill: str | None
    ) -> None:
        self._making = making
        self._styles = styles
        self._tables = tables
        self._row_fill = row_fill

    def add(
        self,
        frame: pl.DataFrame,
        parts: Sequence[pl.Expr] | None = None,
        marks: Mapping[int, pl.Series] | None = None,
    ) -> None:
        """Add rows; all that are added have the same columns.

        ``parts`` says which of the rows go into each table; without it, all do. ``marks`` says
        which cells have the workbook's colour ``MARKED``, by the place of their column.

        Raises:
            TypeError: a column's type has no place in a worksheet.
            ValueError: there are more columns than a worksheet has.
        """
        fill = self._row_fill
        shown = frame.drop(fill) if fill else frame
        if shown.width > MOST_COLUMNS:
            raise ValueError(f"a worksheet has {MOST_COLUMNS} columns, not {shown.width}")
        titles = shown.columns
        # Even within a method of a series, polars takes a name such as "*" or "^[$" for a pattern.
        shown = pl.DataFrame(
            [series.alias(str(index)) for index, series in enumerate(shown.iter_columns())]
        )
        columns = columns_of(shown)
        if not self._tables[0].titles:
            widths = widths_of(shown, titles)
            for table in self._tables:
                table.titles, table.widths = titles, widths
        no_fill = pl.repeat(None, frame.height, dtype=pl.String, eager=True)
        named = pl.DataFrame(
            [
                *shown.iter_columns(),
                (frame[fill] if fill else no_fill).alias(FILL),
                *(series.alias(f"{MARK}{place}") for place, series in (marks or {}).items()),
            ]
        )
        every = pl.repeat(value=True, n=frame.height, dtype=pl.Boolean, eager=True)
        masks = [every]
        if parts:
            masks = frame.select(
                part.alias(str(place)) for place, part in enumerate(parts)
            ).get_columns()
        for start in range(0, named.height, CHUNK_ROWS):
            chosen = [mask.slice(start, CHUNK_ROWS).arg_true() for mask in masks]
            self._ask(named.slice(start, CHUNK_ROWS), columns, chosen)

    def _ask(self, chunk: pl.DataFrame, columns: list[Column], chosen: Sequence[pl.Series]) -> None:
        sheets: list[SheetRows] = []
        pieces: list[tuple[pl.Series, int]] = []
        for table, indices in zip(self._tables, chosen, strict=True):
            done = 0
            for sheet, first_row, rows in table.places_for(len(indices)):
                sheets.append(sheet)
                pieces.append((indices.slice(done, rows), first_row))
                done += rows
        styles = self._styles

        def make() -> list[Block]:
            xml = rows_xml(chunk, columns, styles)
            return [
                deflated(numbered(_taken(xml, indices), first_row)) for indices, first_row in pieces
            ]

        self._making.ask(sheets, make)


def _taken(rows: pl.Series, indices: pl.Series) -> pl.Series:
    return rows if len(indices) == len(rows) else rows.gather(indices)
