"""Read: the table with the members, as text, from a workbook or a CSV file, batch by batch."""

from __future__ import annotations

import re
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import fastexcel
import polars as pl
import structlog

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
from rollbook.spreadsheets.inspect.archive import Limits, inspect
from rollbook.spreadsheets.inspect.compound import DAMAGED, LOCKED
from rollbook.spreadsheets.inspect.extent import check_extent
from rollbook.spreadsheets.scan import NotPlainError, Workbook, open_workbook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence, Set
    from pathlib import Path

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

log = structlog.get_logger(__name__)


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the sender said of the file, and what the office said of earlier ones."""

    #: The name of the sheet; None stands for the first that has a column of ID numbers.
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
        limits: what a workbook may hold, see ``spreadsheets.inspect``, which looks at it first.

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
    inspect(path, kind, limits)
    try:
        yield from _read(path, kind, wanted, max(batch_rows, HEADER_SEARCH_ROWS), limits.columns)
    except (RollbookError, GeneratorExit, KeyboardInterrupt, SystemExit, MemoryError, OSError):
        raise  # OSError: no room on the disk says nothing about the file
    except BaseException as error:  # calamine's and polars' panics are no Exceptions
        # calamine has a word for it, and no class
        has_password = "password protected" in str(error)
        raise UnreadableFileError(LOCKED if has_password else DAMAGED) from error


def _read(
    path: Path, kind: str, wanted: Wanted, batch_rows: int, most_columns: int
) -> Iterator[Sheet]:
    seen: list[str] = []
    #: Of the first sheet that has a column of ID numbers and nothing in it, such as a template.
    empty: ColumnMap | None = None
    for table in _tables(path, kind, wanted.sheet, batch_rows, most_columns):
        found = table._replace(batches=map(_with_short_cells, table.batches))
        first = _first(found.batches)
        header_index = _header_row(first, wanted)
        if header_index is None:
            seen.extend(_first_texts(first))
            continue
        whole = found._replace(batches=chain([first], found.batches))
        is_empty = True
        for sheet in _sheets(whole, header_index, wanted, most_columns):
            empty = empty or sheet.columns
            if sheet.frame.is_empty():
                continue
            wanted.check(sheet.frame.columns[1:])
            if sheet.columns.missing:
                raise MissingColumnsError(_missing(sheet.columns))
            is_empty = False
            yield sheet
        if not is_empty:
            return
    if empty is not None:
        if empty.missing:
            raise MissingColumnsError(_missing(empty))
        raise NoRowsError(
            "The file has headers and no rows below them. Nothing was changed. Check that you "
            "sent the right file."
        )
    headers = ", ".join(f"'{header}'" for header in seen[:10]) or "no headers at all"
    raise NoIdColumnError(
        "No column with ID numbers was found, so nothing was changed. The file must have a column "
        f"with the header 'ID Number' (seen: {headers}). If another column holds them, say so when "
        "you send the file."
    )


def _first(batches: Iterator[pl.DataFrame]) -> pl.DataFrame:
    """Enough rows to find the header row in, or all there are."""
    first = next(batches, pl.DataFrame())
    while first.height < HEADER_SEARCH_ROWS and (more := next(batches, None)) is not None:
        first = pl.concat([first, more], how="diagonal")
    return first


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


class _Table(NamedTuple):
    """A table of the file, as text, with all its rows from the first on."""

    name: str
    #: What the file says, the header row and those above it included.
    rows: int | None
    batches: Iterator[pl.DataFrame]
    #: What its reader has found so far. Asked after each batch.
    reading: Callable[[], Reading] = Reading
    text: CsvText | None = None


def _tables(
    path: Path, kind: str, wanted_sheet: str | None, batch_rows: int, most_columns: int
) -> Iterator[_Table]:
    """The wanted table of the file, or all."""
    if kind == "csv":
        text = csv_text(path)
        # The time of polars, and of the report, grows with the columns more than with the rows.
        if text.width > most_columns:
            raise _too_wide(most_columns)
        reading = Reading(encoding=text.encoding, delimiter=text.delimiter)
        batches = _csv_batches(text, batch_rows)
        yield _Table("CSV", text.records, batches, lambda: reading, text)
        return
    with ExitStack() as opened:
        scanned = None
        if kind == "xlsx":
            with suppress(NotPlainError):
                scanned = opened.enter_context(open_workbook(path))
            if scanned is None:
                check_extent(path)
        names = scanned.sheet_names if scanned else fastexcel.read_excel(path).sheet_names
        for name in _wanted_names(names, wanted_sheet):
            rows = None
            if scanned is not None:
                with suppress(NotPlainError):
                    rows = scanned.claimed_rows(name)
            others = Reading(
                sheets_not_read=tuple(SheetNotRead(other) for other in names if other != name)
            )
            batches = _sheet_batches(path, scanned, name, batch_rows)
            yield _Table(name, rows, batches, partial(replace, others))


def _wanted_names(names: list[str], wanted: str | None) -> list[str]:
    if wanted is None:
        return names
    found = [name for name in names if name.casefold() == wanted.casefold()]
    if not found:
        # A hostile workbook's names may be as long as it likes.
        listed = ", ".join(f"'{masked(name)[:MOST_NAME_CHARS]}'" for name in names[:20])
        raise NoSuchSheetError(
            f"The workbook has no sheet '{wanted}', so nothing was changed. It has {listed}. Name "
            "one of these, or none."
        )
    return found


def _sheet_batches(
    path: Path, scanned: Workbook | None, name: str, batch_rows: int
) -> Iterator[pl.DataFrame]:
    """The rows of a sheet: as many as can be from the scanner, the others from calamine."""
    done = 0
    #: The row and the column of the first value, both counted from 0.
    first: tuple[int, int] | None = None
    if scanned is not None:
        try:
            for batch in scanned.batches(name, rows=batch_rows):
                first = first or _first_value(batch, done)
                done += batch.height
                yield _without_nul(batch)
        except NotPlainError as reason:
            log.info("a sheet isn't plain, calamine reads it", reason=str(reason), rows_before=done)
            check_extent(path)
        else:
            return
    sheet = fastexcel.read_excel(path).load_sheet(
        name, header_row=None, skip_rows=0, dtypes="string"
    )
    table = _aligned(sheet.to_polars(), first)
    for batch in table.slice(done).iter_slices(batch_rows):
        yield _without_nul(batch)


def _first_value(batch: pl.DataFrame, rows_before: int) -> tuple[int, int] | None:
    has_value = batch.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    if not len(has_value):
        return None
    row = int(has_value[0])
    column = next(n for n, cell in enumerate(batch.row(row)) if cell is not None)
    return rows_before + row, column


def _aligned(table: pl.DataFrame, first: tuple[int, int] | None) -> pl.DataFrame:
    """The table with empty columns on the left, which the scanner counts and calamine doesn't.

    Args:
        table: the whole sheet.
        first: where the scanner saw the first value.
    """
    if first is None:
        return table
    row, column = first
    here = next(n for n, cell in enumerate(table.row(row)) if cell is not None)
    empty = (pl.Series(f"left {n}", [None], pl.String) for n in range(column - here))
    left = [series.new_from_index(0, table.height) for series in empty]
    return pl.DataFrame([*left, *table.iter_columns()])


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


def _sheets(table: _Table, header_index: int, wanted: Wanted, most_columns: int) -> Iterator[Sheet]:
    """The batches below the header row; those above and the row itself count as rows only."""
    expected = None if table.rows is None else max(table.rows - header_index - 1, 0)
    headed = None if table.text is None else table.text.fields_of(header_index)
    row_number = 1
    header_row: Sequence[str | None] = ()
    headers: list[str] = []
    filled: set[str] = set()
    for batch in table.batches:
        first_row, skipped = row_number, 0
        row_number += batch.height
        if first_row == 1:
            header_row = batch.row(header_index)
            first_row, skipped = header_index + 2, header_index + 1
        if batch.width > most_columns:
            raise _too_wide(most_columns)
        if batch.width > len(headers):
            gap = [None] * (batch.width - len(header_row))
            headers = _headers([*header_row, *gap])
        columns, printed = wanted.map(headers), fingerprint(headers)
        body = _of_width(batch.slice(skipped), headers)
        # Headers are the person's: as names in an expression, "*" and "^...$" would be patterns.
        has_value = body.select(
            pl.any_horizontal(pl.all().str.strip_chars().fill_null("") != "")
        ).to_series()
        frame = body.with_row_index(ROW_NUMBER, offset=first_row).filter(has_value)
        filled |= _filled(frame, set(columns.unknown) - filled)
        reading = replace(
            table.reading(),
            header_row=header_index + 1,
            columns_used=wanted.used(headers, columns),
            columns_not_read=tuple(name for name in own(headers) if name in filled),
        )
        yield Sheet(frame, table.name, columns, printed, expected, headed, reading)


def _filled(frame: pl.DataFrame, names: Set[str]) -> set[str]:
    """Those of the columns that hold any text but blanks."""
    # By position: in an expression, a header such as "^ID$" would be a pattern.
    places = [n for n, name in enumerate(frame.columns) if name in names]
    texts = frame.select(pl.nth(places).str.strip_chars()) if places else pl.DataFrame()
    return {column.name for column in texts if (column != "").any()}


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
