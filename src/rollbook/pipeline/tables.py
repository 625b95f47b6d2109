"""The tables of a file: the sheets of a workbook, or the one of a text file."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from rollbook.errors import RollbookError, UnreadableFileError
from rollbook.languages import phrase
from rollbook.pipeline import header as header_rows
from rollbook.pipeline.csv_text import CsvText, csv_text
from rollbook.pipeline.reading import Reading
from rollbook.spreadsheets.books.book import Rows
from rollbook.spreadsheets.books.marks import Marks
from rollbook.spreadsheets.books.opening import are_parts_struck, marks_of, open_book
from rollbook.spreadsheets.inspect.archive import Limits, inspect
from rollbook.spreadsheets.inspect.protected import unprotected
from rollbook.spreadsheets.refusals import damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rollbook.pipeline.csv_dialect import FindHeader
    from rollbook.spreadsheets.books.book import Book

#: A cell of Excel has 32,767 characters, of four bytes at most.
MOST_CELL_BYTES = 128 << 10
_NUL = "\0"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the file: a sheet of a workbook, or a CSV file."""

    name: str
    #: Opens its rows from the first on, in batches of the given size.
    open: Callable[[int], Iterator[Rows]]
    #: The file's own count of them, including the header row and those above it.
    rows: Callable[[], int | None]
    is_hidden: bool = False
    is_1904: bool = False
    #: What is known about it before it is read.
    reading: Reading = field(default_factory=Reading)
    text: CsvText | None = None
    #: Reads what is struck through and has comments.
    marks: Callable[[], Marks] = Marks
    #: Whether parts of texts in the rows up to here were left out, because they are struck through.
    are_parts_struck: Callable[[], bool] = bool


@contextmanager
def opened(path: Path, kind: str, find: FindHeader, limits: Limits) -> Iterator[list[Table]]:
    """Open a file; its tables can be read as long as the context lasts.

    ``find`` finds the header row of a text file. ``inspection`` has checked the limits of a
    workbook's content before.

    Raises:
        UnreadableFileError: the parser can't read it, or it has a password; also while it is read.
    """
    try:
        if kind == "csv":
            yield [_csv_table(path, find, limits)]
            return
        with unprotected(path) as plain:
            inspected = inspect(plain, kind, limits)
            with closing(open_book(plain, inspected.kind, inspected.tails)) as book:
                yield [_book_table(book, index) for index in range(len(book.sheets))]
    except (RollbookError, GeneratorExit, KeyboardInterrupt, SystemExit, MemoryError, OSError):
        raise  # OSError: no room on the disk says nothing about the file
    except BaseException as error:  # polars' panics are no Exceptions
        raise damaged() from error


def _csv_table(path: Path, find: FindHeader, limits: Limits) -> Table:
    text = csv_text(path, find)
    # The time of polars, and of the report, grows with the columns more than with the rows.
    if text.width > limits.columns:
        raise too_wide(limits.columns)
    return Table(
        "CSV",
        lambda rows: map(Rows, text.batches(rows)),
        lambda: text.records,
        reading=Reading(text.encoding, text.delimiter, notes=text.notes),
        text=text,
    )


def _book_table(book: Book, index: int) -> Table:
    sheet = book.sheets[index]
    return Table(
        sheet.name,
        lambda rows: map(_without_nul, book.batches(index, rows=rows)),
        lambda: book.claimed_rows(index),
        is_hidden=sheet.is_hidden,
        is_1904=book.is_1904,
        marks=lambda: marks_of(book, index),
        are_parts_struck=lambda: are_parts_struck(book, index),
    )


def first_rows(batches: Iterator[Rows]) -> Rows:
    """Enough rows to find the header row in, or all there are."""
    first = next(batches, None) or Rows(pl.DataFrame())
    while (
        first.frame.height < header_rows.SEARCH_ROWS and (more := next(batches, None)) is not None
    ):
        first.frame = pl.concat([first.frame, more.frame], how="diagonal")
        first.hidden += more.hidden
        first.merged += more.merged
        first.hidden_columns += more.hidden_columns
    return first


def with_short_cells(batch: pl.DataFrame) -> pl.DataFrame:
    """The batch, which has no cell that takes minutes to look at."""
    longest = batch.select(pl.all().str.len_bytes().max())
    if any((column.item() or 0) > MOST_CELL_BYTES for column in longest):
        raise UnreadableFileError(phrase("refusal.file.long_cell", most=MOST_CELL_BYTES >> 10))
    return batch


def _without_nul(rows: Rows) -> Rows:
    """The rows without a character that a workbook may hold and PostgreSQL refuses in a text."""
    holds = rows.frame.select(pl.all().str.contains(_NUL, literal=True).any())
    at_fault = [column.name for column in holds if column.item()]
    if at_fault:
        without = pl.col(at_fault).str.replace_all(_NUL, "", literal=True)
        rows.frame = rows.frame.with_columns(without)
    return rows


def too_wide(most_columns: int) -> UnreadableFileError:
    """The error for a table with more columns than are read."""
    return UnreadableFileError(phrase("refusal.file.wide", most=most_columns))
