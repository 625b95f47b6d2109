"""Read: the table with the members, as text, from a workbook or a CSV file, batch by batch."""

from __future__ import annotations

import re
from collections import deque
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

import polars as pl

from rollbook.errors import (
    MissingColumnsError,
    NoIdColumnError,
    NoRowsError,
    NoSuchHeaderError,
    NoSuchSheetError,
    RollbookError,
    UnreadableFileError,
)
from rollbook.masking import masked
from rollbook.pipeline import totals
from rollbook.pipeline.columns import (
    ColumnMap,
    fingerprint,
    key,
    map_headers,
    own,
    unique_headers,
    variants,
)
from rollbook.pipeline.csv_text import CsvText, csv_text
from rollbook.pipeline.reading import ColumnUsed, How, Reading, SheetNotRead
from rollbook.spreadsheets.books.book import Rows
from rollbook.spreadsheets.books.merged import MergedCells
from rollbook.spreadsheets.books.opening import open_book
from rollbook.spreadsheets.inspect.archive import Limits, inspect
from rollbook.spreadsheets.inspect.compound import DAMAGED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence, Set
    from pathlib import Path

    from rollbook.spreadsheets.books.book import Book

ROW_NUMBER = "row_number"
#: The header row is looked for in so many rows: titles and notes may stand above it.
HEADER_SEARCH_ROWS = 30
#: Rows that go through the pipeline together: enough for polars to be quick, few enough that the
#: memory is that of a few batches, however long the file is.
BATCH_ROWS = 50_000
_NUL = "\0"

#: Of a sheet's name in Excel.
MOST_NAME_CHARS = 31
#: A cell of Excel has 32,767 characters, of four bytes at most.
MOST_CELL_BYTES = 128 << 10
TOO_LONG = (
    f"A cell of the file holds more than {MOST_CELL_BYTES >> 10} KB of text, which no list of "
    "members has. Nothing was changed. Check that you sent the right file, and shorten the cell."
)
OPEN_QUOTE = (
    "A quotation mark is opened in the file and never closed, so it can't be told where its cells "
    "end. Nothing was changed. Open the file in Excel or LibreOffice, look for cells that run over "
    "several rows, mend them, save it as .xlsx and send that."
)

#: In place of a sheet's name: all visible sheets with members.
ALL_SHEETS: Final = "*"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A batch of a table as it stands in the file."""

    #: ``row_number`` (UInt32, as the spreadsheet program counts), then the file's own columns in
    #: their order, all of them text. Rows without any value are left out. A later batch may have
    #: more columns behind those of an earlier one, never fewer.
    frame: pl.DataFrame
    sheet_name: str
    columns: ColumnMap
    #: Of the header row; see ``columns.fingerprint``.
    fingerprint: str
    #: Rows of the whole table as the file says it: an estimate. None where it says nothing.
    rows_expected: int | None = None
    #: Columns of the file up to where its header row ends, in a CSV file; what stands in those
    #: behind them has been moved there. A workbook's cells stand where they were put.
    headed_columns: int | None = None
    #: Of the file up to this batch.
    reading: Reading = field(default_factory=Reading)
    #: Whether the workbook counts days from 1904.
    is_1904: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the sender said of the file, and what the office said of earlier ones."""

    #: The name of the sheet; None stands for the first visible one that has a column of ID numbers,
    #: ``ALL_SHEETS`` for all of these.
    sheet: str | None = None
    #: The field by header; see ``columns.map_headers``.
    columns: Mapping[str, str | None] | None = None
    #: The same for earlier files, by the fingerprint of their headers.
    remembered: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)

    def map(self, headers: Sequence[str]) -> ColumnMap:
        """Find the field of each header."""
        return map_headers(headers, self._mapping(headers)[0])

    def used(self, headers: Sequence[str], columns: ColumnMap) -> Mapping[str, ColumnUsed]:
        """The columns that are read, and why each is read as its field."""
        mapping, how = self._mapping(headers)
        named = {key(header) for header, field in mapping.items() if field}
        return {
            header: ColumnUsed(field, how if key(header) in named else "known")
            for header, field in columns.known.items()
        }

    def check(self, headers: Sequence[str]) -> None:
        """Raise ``NoSuchHeaderError`` where the sender's mapping names a header that is not here.

        Such a mapping has a typing error or is another file's, and would teach nothing true.
        """
        there = {key(header) for header in headers}
        missing = [header for header in self.columns or () if key(header) not in there]
        if missing:
            raise NoSuchHeaderError(
                f"The file has no column {_quoted(missing)}, which your columns name, so nothing "
                f"was changed. Its headers are {_quoted(own(headers))}. Name the header as it is "
                "in the file, and send it again."
            )

    def _mapping(self, headers: Sequence[str]) -> tuple[Mapping[str, str | None], How]:
        if self.columns is not None:
            return self.columns, "given"
        if not self.remembered:
            return {}, "known"
        return self.remembered.get(fingerprint(headers), {}), "remembered"


def read(
    path: Path,
    kind: str,
    wanted: Wanted | None = None,
    *,
    batch_rows: int = BATCH_ROWS,
    limits: Limits | None = None,
) -> Iterator[Sheet]:
    """Read the wanted sheet, or the first that has a column of ID numbers.

    Args:
        path: the file.
        kind: ``xlsx``, ``xls`` or ``csv``.
        wanted: what the sender said of it.
        batch_rows: how many rows a batch has at most.
        limits: what a workbook may hold, see ``inspection``, which judges it first.

    Yields:
        The table's batches; none of them is empty, and there is one at least.

    Raises:
        UnreadableFileError: the parser can't make anything of it, or it has a password.
        NoSuchSheetError: the workbook has no sheet of the wanted name.
        NoIdColumnError: no sheet has a column of ID numbers.
        MissingColumnsError: the first names or surnames are missing.
        NoRowsError: there is nothing below the headers.
    """
    wanted, limits = wanted or Wanted(), limits or Limits()
    inspected = inspect(path, kind, limits)
    batch_rows = max(batch_rows, HEADER_SEARCH_ROWS)
    try:
        if kind == "csv":
            yield from _Reading([_csv_table(path, limits)], wanted, batch_rows, limits).sheets()
            return
        with closing(open_book(path, inspected.tails)) as book:
            tables = [_book_table(book, index) for index in range(len(book.sheets))]
            yield from _Reading(tables, wanted, batch_rows, limits).sheets()
    except (RollbookError, GeneratorExit, KeyboardInterrupt, SystemExit, MemoryError, OSError):
        raise  # OSError: no room on the disk says nothing about the file
    except BaseException as error:  # polars' panics are no Exceptions
        raise UnreadableFileError(DAMAGED) from error


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the file: a sheet of a workbook, or a CSV file."""

    name: str
    #: Opens its rows from the first on, so many at a time.
    open: Callable[[int], Iterator[Rows]]
    #: What the file says of their number, the header row and those above it included.
    rows: Callable[[], int | None]
    is_hidden: bool = False
    is_1904: bool = False
    #: What is known of it before it is read.
    reading: Reading = field(default_factory=Reading)
    text: CsvText | None = None


def _csv_table(path: Path, limits: Limits) -> _Table:
    text = csv_text(path)
    # The time of polars, and of the report, grows with the columns more than with the rows.
    if text.width > limits.columns:
        raise _too_wide(limits.columns)
    return _Table(
        "CSV",
        lambda rows: map(Rows, _csv_batches(text, rows)),
        lambda: text.records,
        reading=Reading(encoding=text.encoding, delimiter=text.delimiter),
        text=text,
    )


def _book_table(book: Book, index: int) -> _Table:
    sheet = book.sheets[index]
    return _Table(
        sheet.name,
        lambda rows: book.batches(index, rows=rows),
        lambda: book.claimed_rows(index),
        is_hidden=sheet.is_hidden,
        is_1904=book.is_1904,
    )


class _Opened(NamedTuple):
    """A table whose header row is found."""

    table: _Table
    #: All its rows, from the first on.
    batches: Iterator[_Batch]
    header_index: int


class _Batch(NamedTuple):
    """Some rows of a table."""

    first_row: int
    #: The cells, where merged ones have their value everywhere.
    frame: pl.DataFrame
    #: The cells as they are in the file.
    own: pl.DataFrame
    #: Numbers of hidden rows.
    hidden: list[int]
    #: Row number and column index of cells whose value comes from a merged cell to their left.
    across: list[tuple[int, int]]
    hidden_columns: list[range]


class _Reading:
    """Finds the table with the members among those of a file, and reads it."""

    def __init__(
        self, tables: Sequence[_Table], wanted: Wanted, batch_rows: int, limits: Limits
    ) -> None:
        self._tables, self._wanted = tables, wanted
        self._batch_rows, self._most_columns = batch_rows, limits.columns
        #: Headers of tables without a column of ID numbers, for the sentence.
        self._seen: list[str] = []
        #: Of the first table that has such a column and nothing in it, such as a template.
        self._empty: ColumnMap | None = None

    def sheets(self) -> Iterator[Sheet]:
        """The batches of the wanted table, or of the first visible one that holds members."""
        for table in self._wanted_tables():
            opened = self._opened(table)
            if opened is None:
                continue
            others: tuple[SheetNotRead, ...] | None = None
            for sheet in _sheets(opened, self._wanted, self._most_columns):
                self._empty = self._empty or sheet.columns
                if sheet.frame.is_empty():
                    continue
                self._wanted.check(sheet.frame.columns[1:])
                if sheet.columns.missing:
                    raise MissingColumnsError(_missing(sheet.columns))
                if others is None:
                    others = tuple(self._other(one) for one in self._tables if one is not table)
                yield replace(sheet, reading=replace(sheet.reading, sheets_not_read=others))
            if others is not None:
                return
        self._refuse()

    def _wanted_tables(self) -> list[_Table]:
        wanted = self._wanted.sheet
        if wanted is None:
            return [table for table in self._tables if not table.is_hidden]
        found = [table for table in self._tables if _sheet_key(table.name) == _sheet_key(wanted)]
        if not found:
            # A hostile workbook's names may be as long as it likes.
            names = [masked(table.name)[:MOST_NAME_CHARS] for table in self._tables[:20]]
            listed = ", ".join(f"'{name}'" for name in names)
            raise NoSuchSheetError(
                f"The workbook has no sheet '{wanted}', so nothing was changed. It has {listed}. "
                "Name one of these, or none."
            )
        exact = [table for table in found if table.name == wanted]
        return exact or found

    def _opened(self, table: _Table, batch_rows: int | None = None) -> _Opened | None:
        """The table with its header row; None where it has none."""
        batches = table.open(batch_rows or self._batch_rows)
        first = _first(batches)
        prepared = _prepared(chain([first], batches))
        start = next(prepared)
        header_index = _header_row(start.frame, self._wanted)
        if header_index is None:
            self._seen.extend(_first_texts(start.own))
            return None
        return _Opened(table, chain([start], prepared), header_index)

    def _other(self, table: _Table) -> SheetNotRead:
        """What is said of a table that isn't read."""
        rows, holds_members = None, False
        # What isn't read may be damaged.
        with suppress(UnreadableFileError):
            rows = table.rows()
            opened = self._opened(table, 2 * HEADER_SEARCH_ROWS)
            if opened is not None:
                rows = None if rows is None else max(rows - opened.header_index - 1, 0)
                found = _sheets(opened, self._wanted, self._most_columns)
                heights = (sheet.frame.height for sheet in found)
                holds_members = any(heights)
                if holds_members and rows is None:
                    rows = self._count(table)
        return SheetNotRead(table.name, rows, table.is_hidden, holds_members)

    def _count(self, table: _Table) -> int:
        opened = self._opened(table)
        assert opened is not None
        return sum(
            sheet.frame.height for sheet in _sheets(opened, self._wanted, self._most_columns)
        )

    def _refuse(self) -> NoReturn:
        """Say why no table can be read."""
        if self._empty is not None:
            if self._empty.missing:
                raise MissingColumnsError(_missing(self._empty))
            raise NoRowsError(
                "The file has headers and no rows below them. Nothing was changed. Check that you "
                "sent the right file."
            )
        for table in self._tables:
            if table.is_hidden and self._wanted.sheet is None and self._other(table).holds_members:
                name = masked(table.name)[:MOST_NAME_CHARS]
                raise NoIdColumnError(
                    "No visible sheet has a column with ID numbers, so nothing was changed. The "
                    f"hidden sheet '{name}' has one: name it as the sheet to read when you send "
                    "the file, or show it in Excel, save the file and send that."
                )
        headers = ", ".join(f"'{header}'" for header in self._seen[:10]) or "no headers at all"
        raise NoIdColumnError(
            "No column with ID numbers was found, so nothing was changed. The file must have a "
            f"column with the header 'ID Number' (seen: {headers}). If another column holds them, "
            "say so when you send the file."
        )


def _first(batches: Iterator[Rows]) -> Rows:
    """Enough rows to find the header row in, or all there are."""
    first = next(batches, None) or Rows(pl.DataFrame())
    while first.frame.height < HEADER_SEARCH_ROWS and (more := next(batches, None)) is not None:
        first.frame = pl.concat([first.frame, more.frame], how="diagonal")
        first.hidden += more.hidden
        first.merged += more.merged
        first.hidden_columns += more.hidden_columns
    return first


def _prepared(batches: Iterator[Rows]) -> Iterator[_Batch]:
    """The rows with their numbers, and with the values of merged cells."""
    merged = MergedCells()
    hidden_columns: list[range] = []
    first_row = 1
    for rows in batches:
        hidden_columns += rows.hidden_columns
        merged.add(rows.merged)
        own = _with_short_cells(_without_nul(rows.frame))
        frame, across = merged.fill(own, first_row)
        yield _Batch(first_row, frame, own, rows.hidden, across, hidden_columns)
        first_row += own.height


def _sheet_key(name: str) -> str:
    """A sheet's name as it is compared."""
    return " ".join(name.split()).casefold()


def _quoted(headers: Sequence[str]) -> str:
    """Some headers, as a person reads them; a hostile file's may be as long as it likes."""
    listed = ", ".join(f"'{header[:MOST_NAME_CHARS]}'" for header in headers[:10])
    return f"{listed} and {len(headers) - 10} more" if len(headers) > 10 else listed


def _missing(columns: ColumnMap) -> str:
    words = " and ".join(variants()[name][0] for name in columns.missing)
    return (
        f"The file has no column {words}, which every member needs. Nothing was changed. Add it, "
        "or give the column that holds it that header, and send the file again."
    )


def _with_short_cells(batch: pl.DataFrame) -> pl.DataFrame:
    """The batch, which has no cell that takes minutes to look at."""
    longest = batch.select(pl.all().str.len_bytes().max())
    if any((column.item() or 0) > MOST_CELL_BYTES for column in longest):
        raise UnreadableFileError(TOO_LONG)
    return batch


def _without_nul(table: pl.DataFrame) -> pl.DataFrame:
    """The table without a character that a workbook may hold and PostgreSQL refuses in a text."""
    holds = table.select(pl.all().str.contains(_NUL, literal=True).any())
    at_fault = [column.name for column in holds if column.item()]
    return table.with_columns(pl.col(at_fault).str.replace_all(_NUL, "", literal=True))


def _csv_batches(text: CsvText, batch_rows: int) -> Iterator[pl.DataFrame]:
    """The records of a CSV file; short ones end in nulls."""
    if not text.width:
        return
    quote: str | None = '"'
    if text.quotes % 2:
        # A quote that is never closed would swallow the rest of the file, which shows only where
        # the rest begins: take quotes as text then.
        try:
            deque(_parsed(text, batch_rows, quote), maxlen=0)
        except pl.exceptions.ComputeError:
            if text.has_quoted_delimiter():
                raise UnreadableFileError(OPEN_QUOTE) from None
            quote = None
    yield from _parsed(text, batch_rows, quote)


def _parsed(text: CsvText, batch_rows: int, quote: str | None) -> Iterator[pl.DataFrame]:
    width = 0
    records = pl.scan_csv(
        text.path,
        has_header=False,
        separator=text.delimiter,
        quote_char=quote,
        schema={f"column_{n}": pl.String for n in range(text.width)},
        missing_columns="insert",
    )
    for batch in records.collect_batches(chunk_size=batch_rows, maintain_order=True):
        # The width is a bound, since delimiters inside quotes count too: what nobody uses goes.
        used = [n for n, column in enumerate(batch) if column.null_count() < batch.height]
        width = max(width, used[-1] + 1 if used else 0)
        if text.quotes and quote and _has_rows_in_a_cell(batch, text.delimiter):
            raise UnreadableFileError(OPEN_QUOTE)
        yield batch[:, :width] if quote else batch[:, :width].with_columns(_unquoted(pl.all()))


def _unquoted(cell: pl.Expr) -> pl.Expr:
    """The text of a cell that stands in quotes, in a file in which another quote is none."""
    text = cell.str.strip_chars_end("\r")
    inner = text.str.replace(r'(?s)^"(.*)"$', "$1").str.replace_all('""', '"', literal=True)
    return pl.when(text.str.contains(r'^"(?:[^"]|"")*"$')).then(inner).otherwise(cell)


def _has_rows_in_a_cell(batch: pl.DataFrame, delimiter: str) -> bool:
    """Did a quote that isn't closed swallow rows, up to the next quote that is opened?"""
    long = batch.select(pl.all().str.contains("\n", literal=True).any())
    suspects = [column.name for column in long if column.item()]
    if not suspects:
        return False
    sign, number = re.escape(delimiter), '"*[0-9]{13}'
    row = "|".join(
        (
            # A line that begins with an ID number and goes on, or that begins with one in quotes,
            rf'\n\s*{number}"*\s*{sign}',
            rf'\n\s*"{number}',
            # or in which one stands behind other cells.
            rf'\n[^\n]*{sign}{number}(?:["\n{sign}]|$)',
        )
    )
    return bool(batch.select(pl.any_horizontal(pl.col(suspects).str.contains(row).any())).item())


def _header_row(raw: pl.DataFrame, wanted: Wanted) -> int | None:
    """The index of the row that has an ID column and the most known headers; None if none has."""
    best: tuple[int, int] | None = None
    for index, row in enumerate(raw.head(HEADER_SEARCH_ROWS).iter_rows()):
        known = wanted.map(_headers(row)).known
        if "id_number" in known.values() and (best is None or len(known) > best[0]):
            best = (len(known), index)
    return best[1] if best else None


def _too_wide(most_columns: int) -> UnreadableFileError:
    return UnreadableFileError(
        f"The table has more than {most_columns:,} columns, which no list of members has. Nothing "
        "was changed. Check that you sent the right file, and that no cell far on the right is "
        "filled."
    )


def _sheets(opened: _Opened, wanted: Wanted, most_columns: int) -> Iterator[Sheet]:
    """The batches below the header row; those above and the row itself count as rows only."""
    table, header_index = opened.table, opened.header_index
    claimed = table.rows()
    expected = None if claimed is None else max(claimed - header_index - 1, 0)
    headed = None if table.text is None else table.text.fields_of(header_index)
    header_row: Sequence[str | None] = ()
    headers: list[str] = []
    hidden_rows = 0
    filled: set[str] = set()
    total_rows: list[int] = []
    for batch in opened.batches:
        first_row, skipped = batch.first_row, 0
        if first_row == 1:
            header_row = batch.frame.row(header_index)
            first_row, skipped = header_index + 2, header_index + 1
        if batch.frame.width > most_columns:
            raise _too_wide(most_columns)
        if batch.frame.width > len(headers):
            gap = [None] * (batch.frame.width - len(header_row))
            headers = _headers([*header_row, *gap])
        columns, printed = wanted.map(headers), fingerprint(headers)
        body = _of_width(batch.frame.slice(skipped), headers)
        # A row in which merged cells alone have a value is none.
        # Headers are the person's: as names in an expression, "*" and "^...$" would be patterns.
        has_value = (
            batch.own.slice(skipped)
            .select(pl.any_horizontal(pl.all().str.strip_chars().fill_null("") != ""))
            .to_series()
        )
        numbered = body.with_row_index(ROW_NUMBER, offset=first_row)
        if (are := totals.are_totals(body, columns)) is not None:
            total_rows += numbered.filter(are)[ROW_NUMBER].to_list()
            has_value &= ~are
        frame = numbered.filter(has_value)
        if batch.hidden:
            hidden_rows += int(frame[ROW_NUMBER].is_in(batch.hidden).sum())
        filled |= _filled(frame, set(columns.unknown) - filled)
        reading = replace(
            table.reading,
            header_row=header_index + 1,
            columns_used=wanted.used(headers, columns),
            columns_not_read=tuple(name for name in own(headers) if name in filled),
            hidden_rows=hidden_rows,
            hidden_columns=_hidden_headers(header_row, headers, batch.hidden_columns),
            notes=(totals.note(total_rows),) if total_rows else (),
        )
        yield Sheet(frame, table.name, columns, printed, expected, headed, reading, table.is_1904)


def _filled(frame: pl.DataFrame, names: Set[str]) -> set[str]:
    """Those of the columns that hold any text but blanks."""
    # By position: in an expression, a header such as "^ID$" would be a pattern.
    places = [n for n, name in enumerate(frame.columns) if name in names]
    texts = frame.select(pl.nth(places).str.strip_chars()) if places else pl.DataFrame()
    return {column.name for column in texts if (column != "").any()}


def _hidden_headers(
    header_row: Sequence[str | None], headers: Sequence[str], hidden: list[range]
) -> tuple[str, ...]:
    """The headers of the hidden columns, where the file names them."""
    named = [n for n, cell in enumerate(header_row) if _text(cell)]
    return tuple(headers[n] for n in named if any(n in columns for columns in hidden))


def _of_width(batch: pl.DataFrame, headers: Sequence[str]) -> pl.DataFrame:
    missing = headers[batch.width :]
    batch.columns = list(headers[: batch.width])
    empty = (pl.Series(name, [None], pl.String).new_from_index(0, batch.height) for name in missing)
    return batch.hstack(list(empty)) if missing else batch


def _headers(row: Sequence[str | None]) -> list[str]:
    """A row as headers that differ from each other and from our own column, none of them empty."""
    named = [_text(cell) or f"Column {number}" for number, cell in enumerate(row, start=1)]
    return unique_headers(named, taken={ROW_NUMBER})


def _text(cell: str | None) -> str:
    return " ".join((cell or "").split())


def _first_texts(raw: pl.DataFrame) -> list[str]:
    """What stands in the first row that has anything: what the person would call the headers."""
    for row in raw.head(HEADER_SEARCH_ROWS).iter_rows():
        texts = [text for cell in row if (text := _text(cell))]
        if texts:
            # Digits may be a member's; headers have none to speak of.
            return [text[:30] for text in texts if not any(c.isdigit() for c in text)]
    return []
