"""The XML of a worksheet's rows, built by polars for many rows at a time.

A cell at a time costs Python a microsecond or more for each of millions of cells. Here a whole
chunk of rows is one string expression over the columns: references, styles and the clean-up of
text are columns too.

The form of each value:

- Text stays text with any first character: an inline string, never a formula, in a cell that is
  formatted as text. What a spreadsheet could take for a formula (``= + - @``, a tab or a line end
  first) also has Excel's quote prefix, so that it stays inert when the cell is edited. For the
  clean-up of text see ``cell_text``; empty text is an empty cell.
- A column of whole numbers or decimals that has one of more than 15 digits is text, because Excel
  would round it.
- A date before 1900-03-01, where Excel's calendar is a day off, or after 9999 is text.
- A datetime that knows its zone is shown in UTC. What is finer than a millisecond is dropped.
- A null, a NaN and an infinity are empty cells, which keep their row's colour.
"""

from __future__ import annotations

import datetime as dt
import math
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import polars as pl

from rollbook.spreadsheets.workbook import cell_text
from rollbook.spreadsheets.workbook.cell_text import Traits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: What a cell of a free-form sheet may hold.
CellValue: TypeAlias = str | bool | int | float | dt.date | dt.datetime | None

#: Excel stores no more digits of a number than this.
MOST_DIGITS: Final = 15
FIRST_DATE: Final = dt.date(1900, 3, 1)
LAST_DATE: Final = dt.date(9999, 12, 31)
#: Excel's number for 1970-01-01.
EPOCH_SERIAL: Final = 25_569

#: What Excel's numbers of days are counted from, for dates from 1900-03-01 on.
_SERIAL_ZERO: Final = dt.datetime(1899, 12, 30, tzinfo=dt.UTC)

#: The bounds of a measured width, in characters, and the rows it is measured on.
NARROWEST, WIDEST, MEASURED_ROWS = 8, 48, 1_000

#: The column of a chunk that names the row's colour.
FILL: Final = "fill"
#: Before a column's name: the column of a chunk that says which of its cells are marked.
MARK: Final = "mark of "
#: The key of the colour of a marked cell among the styles.
MARKED: Final = "marked"
#: Placeholder for a row's number until it is known: no text in XML has this character.
_NUMBER_MARK: Final = "\x01"
_DAY_MS: Final = 86_400_000
_DATE_FORMAT: Final = "%Y-%m-%d"
_DATETIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"

_EMPTY: Final = '"/>'
_TEXT: Final = '" t="inlineStr"><is><t>'
_SPACED_TEXT: Final = '" t="inlineStr"><is><t xml:space="preserve">'
_TEXT_END: Final = "</t></is></c>"
_NUMBER: Final = '"><v>'
_BOOLEAN: Final = '" t="b"><v>'
_VALUE_END: Final = "</v></c>"


class Kind(Enum):
    """What a cell holds, which decides its number format."""

    TEXT = "text"
    ACTIVE_TEXT = "active text"
    WHOLE = "whole"
    REAL = "real"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"


#: The index of the style for each kind of cell, by the key of the row's colour (None: no colour).
RowStyles: TypeAlias = "Mapping[str | None, Mapping[Kind, int]]"


class Column(NamedTuple):
    """A column of a table as its sheet will have it."""

    #: Its name within a chunk: a number, so that no title from a file collides with another name.
    name: str
    letters: str
    kind: Kind
    #: Whether a date in it is out of Excel's range.
    odd_dates: bool = False


def letters_of(index: int) -> str:
    """The letters of the column at ``index``, counted from 0: A, B, ... Z, AA."""
    letters = ""
    while index >= 0:
        letters = chr(ord("A") + index % 26) + letters
        index = index // 26 - 1
    return letters


def columns_of(frame: pl.DataFrame) -> list[Column]:
    """What the cells of each column will be; the frame's columns are named by numbers from 0.

    Raises:
        TypeError: A column's type has no place in a worksheet, such as a list.
    """
    columns = []
    for index, series in enumerate(frame.iter_columns()):
        kind = _kind_of(series)
        odd_dates = (
            kind in (Kind.DATE, Kind.DATETIME)
            and not series.cast(pl.Date).is_between(FIRST_DATE, LAST_DATE).all()
        )
        columns.append(Column(series.name, letters_of(index), kind, odd_dates))
    return columns


def _kind_of(series: pl.Series) -> Kind:
    dtype = series.dtype
    if dtype.is_integer() or dtype.is_decimal():
        if _has_too_many_digits(series):
            return Kind.TEXT
        return Kind.WHOLE if dtype.is_integer() else Kind.REAL
    if dtype.is_float():
        return Kind.REAL
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Time, pl.Null):
        return Kind.TEXT
    kinds = {pl.Boolean: Kind.BOOLEAN, pl.Date: Kind.DATE, pl.Datetime: Kind.DATETIME}
    try:
        return kinds[dtype.base_type()]
    except KeyError:
        raise TypeError(f"a column of type {dtype} has no place in a worksheet") from None


def _has_too_many_digits(numbers: pl.Series) -> bool:
    if numbers.dtype.is_integer():
        ends = numbers.to_frame("n").select(least=pl.col("n").min(), most=pl.col("n").max())
        return any(abs(end) >= 10**MOST_DIGITS for end in ends.row(0) if end is not None)
    # Zeros at the end of a decimal's fraction are its type's, not its value's.
    texts = numbers.cast(pl.String).str.replace(r"\.(\d*?)0*$", "$1")
    return (texts.str.strip_chars_start("-0").str.len_chars() > MOST_DIGITS).any()


def widths_of(frame: pl.DataFrame, titles: Sequence[str]) -> list[float]:
    """A width in characters for each column: the longest of a sample, or the title."""
    widths = []
    for series, title in zip(frame.head(MEASURED_ROWS).iter_columns(), titles, strict=True):
        # The cell shows neither a float's full digits nor a datetime's fraction.
        shown = series.round(2) if series.dtype.is_float() else series
        if series.dtype == pl.Datetime:
            shown = series.dt.to_string(_DATETIME_FORMAT)
        longest = max(shown.cast(pl.String).str.len_chars().drop_nulls(), default=0)
        # The filter's button is beside the title.
        widths.append(max(NARROWEST, min(WIDEST, max(longest + 2, len(title) + 5))))
    return widths


def rows_xml(chunk: pl.DataFrame, columns: Sequence[Column], styles: RowStyles) -> pl.Series:
    """The ``row`` elements of some rows of a table, without their numbers; see ``numbered``.

    The chunk's columns have the names in ``columns``, and one named ``fill`` holds keys of
    ``styles``. A boolean column with ``MARK`` before a column's name says which of its cells have
    the colour ``MARKED``.
    """
    texts = [column.name for column in columns if column.kind is Kind.TEXT]
    chunk = chunk.with_columns(pl.col(texts).cast(pl.String))
    traits = cell_text.traits_of(chunk, texts)
    pieces: list[str | pl.Expr] = [f'<row r="{_NUMBER_MARK}">']
    for column in columns:
        pieces.append(f'<c r="{column.letters}')
        start, *rest = _cell(column, chunk[column.name], traits.get(column.name, Traits()))
        if MARK + column.name in chunk.columns:
            start = (
                pl.when(pl.col(MARK + column.name)).then(_marked(column, styles)).otherwise(start)
            )
        pieces += [start, *rest]
    pieces.append("</row>")
    return (
        chunk.lazy()
        .with_columns(_start(kind, styles) for kind in Kind)
        .select(pl.concat_str(_merged(pieces)))
        .collect()
        .to_series()
    )


def numbered(rows: pl.Series, first_row: int) -> bytes:
    """The XML of rows that come one after the other in a sheet, counted from 1.

    The same rows may be in several sheets, and differ only in their numbers, which are part of
    every cell's address.
    """
    numbers = pl.int_range(first_row, first_row + len(rows), eager=True).cast(pl.String)
    made = (
        pl.DataFrame([rows.alias("xml"), numbers.alias("number")])
        .select(
            pl.col("xml")
            .str.replace_all(_NUMBER_MARK, pl.col("number"), literal=True)
            .cast(pl.Binary)
        )
        .to_series()
    )
    # Half the time of a join in polars, which grows its result again and again.
    return b"".join(made.to_list())


def _start(kind: Kind, styles: RowStyles) -> pl.Expr:
    """What follows the column's letters in each row's cell of this kind: row and style."""
    fills = [fill for fill in styles if fill is not None]
    return (
        pl.col(FILL)
        .replace_strict(
            fills,
            [f'{_NUMBER_MARK}" s="{styles[fill][kind]}' for fill in fills],
            default=f'{_NUMBER_MARK}" s="{styles[None][kind]}',
            return_dtype=pl.String,
        )
        .alias(kind.value)
    )


def _marked(column: Column, styles: RowStyles) -> pl.Expr:
    """What follows the column's letters in a marked cell; a text stays inert there too."""
    marked = {kind: pl.lit(f'{_NUMBER_MARK}" s="{styles[MARKED][kind]}') for kind in Kind}
    if column.kind is not Kind.TEXT:
        return marked[column.kind]
    is_active = cell_text.is_active(pl.col(column.name)).fill_null(value=False)
    return pl.when(is_active).then(marked[Kind.ACTIVE_TEXT]).otherwise(marked[Kind.TEXT])


def _cell(column: Column, values: pl.Series, traits: Traits) -> list[str | pl.Expr]:
    """The pieces of a column's cells that follow the column's letters."""
    value = pl.col(column.name)
    start = pl.col(column.kind.value)
    if values.null_count() == len(values):
        return [start, _EMPTY]
    if column.kind is Kind.TEXT:
        if traits.active:
            active = pl.col(Kind.ACTIVE_TEXT.value)
            start = pl.when(cell_text.is_active(value)).then(active).otherwise(start)
        before = _SPACED_TEXT if traits.edge else _TEXT
        text = cell_text.xml_texts(value, traits)
        return [start, *_body(before, text, _TEXT_END, gaps=traits.gaps)]
    if column.odd_dates:
        return _cell_of_odd_date(column)
    before = _BOOLEAN if column.kind is Kind.BOOLEAN else _NUMBER
    gaps = values.has_nulls() or values.dtype.is_float()
    return [start, *_body(before, _number(column, values.dtype), _VALUE_END, gaps=gaps)]


def _cell_of_odd_date(column: Column) -> list[str | pl.Expr]:
    # Without its zone, it is in UTC.
    moment = pl.col(column.name).cast(pl.Datetime("us"))
    is_date = moment.dt.date().is_between(FIRST_DATE, LAST_DATE)
    shown = moment.dt.to_string(_DATE_FORMAT if column.kind is Kind.DATE else _DATETIME_FORMAT)
    text = _body(_TEXT, shown, _TEXT_END, gaps=True)
    number = _body(_NUMBER, _number(column, pl.Date()), _VALUE_END, gaps=True)
    return [
        pl.when(is_date)
        .then(pl.col(column.kind.value))
        # A year of five digits has a sign.
        .when(cell_text.is_active(shown))
        .then(pl.col(Kind.ACTIVE_TEXT.value))
        .otherwise(pl.col(Kind.TEXT.value)),
        pl.when(is_date).then(*number).otherwise(*text),
    ]


def _number(column: Column, dtype: pl.DataType) -> pl.Expr:
    """The text of a number's ``v`` element; null for what isn't a number."""
    value = pl.col(column.name)
    match column.kind:
        case Kind.BOOLEAN:
            value = value.cast(pl.UInt8)
        case Kind.DATE:
            value = value.cast(pl.Int32) + EPOCH_SERIAL
        case Kind.DATETIME:
            # Microseconds would make the last moment of 9999 the year 10000, which is no date.
            value = value.dt.epoch("ms") / _DAY_MS + EPOCH_SERIAL
        case Kind.REAL if dtype.is_float():
            value = pl.when(value.is_finite()).then(value)
    return value.cast(pl.String)


def _body(before: str, value: pl.Expr, after: str, *, gaps: bool) -> list[str | pl.Expr]:
    """What follows a cell's style; with ``gaps``, a null makes an empty cell."""
    if not gaps:
        return [before, value, after]
    return [pl.concat_str(pl.lit(before), value, pl.lit(after)).fill_null(_EMPTY)]


def _merged(pieces: Iterable[str | pl.Expr]) -> list[pl.Expr]:
    """The pieces as expressions, with neighbouring strings made one."""
    merged: list[pl.Expr] = []
    for is_text, group in groupby(pieces, lambda piece: isinstance(piece, str)):
        if is_text:
            merged.append(pl.lit("".join(str(text) for text in group)))
        else:
            merged += [piece for piece in group if isinstance(piece, pl.Expr)]
    return merged


def cell_xml(reference: str, style: int, value: CellValue) -> str:
    """The XML of one cell of a free-form sheet."""
    start = f'<c r="{reference}" s="{style}'
    if isinstance(value, dt.date):
        value = _serial(value)
    if isinstance(value, bool):
        return f"{start}{_BOOLEAN}{value:d}{_VALUE_END}"
    if isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        value = str(value)
    if isinstance(value, str):
        text = cell_text.xml_text(value)
        return f"{start}{_SPACED_TEXT}{text}{_TEXT_END}" if text else start + _EMPTY
    if value is None or not math.isfinite(value):
        return start + _EMPTY
    return f"{start}{_NUMBER}{value!r}{_VALUE_END}"


def _serial(value: dt.date) -> float | str:
    """Excel's number for a date or datetime, or its text if that is out of Excel's range."""
    moment = value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())
    moment = moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    if moment.date() < FIRST_DATE:
        timed = isinstance(value, dt.datetime)
        return str(moment.replace(tzinfo=None, microsecond=0) if timed else value)
    return (moment - _SERIAL_ZERO) / dt.timedelta(days=1)
