"""Cells that are known by their places, as batches of rows: for formats that are read in arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from rollbook.spreadsheets.books.book import MOST_BLANKS, MOST_BLANKS_PER_VALUE, Rows
from rollbook.spreadsheets.books.values import number_text
from rollbook.spreadsheets.refusals import spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rollbook.spreadsheets.books.formats import Format

Ints: TypeAlias = npt.NDArray[np.integer[Any]]
#: Whole numbers up to here are exact, and short enough to be shown digit by digit.
_MOST_WHOLE: Final = 1e15
_NULL: Final = pl.Series([None], dtype=pl.String)


class Record(NamedTuple):
    """A record of a binary workbook."""

    kind: int
    #: Where its content begins and ends.
    start: int
    end: int


def number_texts(values: npt.NDArray[np.float64]) -> pl.Series:
    """The texts of numbers; see ``values.number_text``."""
    is_whole = (np.abs(values) < _MOST_WHOLE) & (values == np.trunc(values))
    whole = pl.Series(np.where(is_whole, values, 0).astype(np.int64)).cast(pl.String)
    rest = np.flatnonzero(~is_whole)
    if not len(rest):
        return whole
    texts = [number_text(value) if np.isfinite(value) else None for value in values[rest].tolist()]
    return whole.scatter(rest, pl.Series(texts, dtype=pl.String))


def value_texts(
    values: npt.NDArray[np.float64],
    styles: Ints,
    formats: Sequence[Format | None],
    *,
    is_1904: bool,
) -> pl.Series:
    """The texts of numbers by the format of their style; see ``formats.format_of``."""
    numbers: dict[Format | None, int] = {None: 0}
    kinds = [numbers.setdefault(one, len(numbers)) for one in formats]
    kind_of_cell = np.array([*kinds, 0], np.int64)[np.minimum(styles, len(formats))]
    # One sort puts the cells of each format side by side: a file may have thousands of formats.
    order = np.argsort(kind_of_cell, kind="stable")
    ends = np.cumsum(np.bincount(kind_of_cell, minlength=len(numbers)))
    pieces, start = [], 0
    for form, end in zip(numbers, ends.tolist(), strict=True):
        if start < end:
            some = values[order[start:end]]
            pieces.append(form.texts(some, is_1904=is_1904) if form else number_texts(some))
        start = end
    if not pieces:
        return _NULL.clear()
    places = np.empty(len(order), np.uint32)
    places[order] = np.arange(len(order), dtype=np.uint32)
    return pl.concat(pieces, rechunk=True).gather(pl.Series(places))


def with_notes(frames: Iterator[pl.DataFrame], notes: Rows) -> Iterator[Rows]:
    """Batches of rows, the first of them with what is known about the whole sheet."""
    for frame in frames:
        notes.frame = frame
        yield notes
        notes = Rows(frame)


def frames(rows: Ints, columns: Ints, texts: pl.Series, batch_rows: int) -> Iterator[pl.DataFrame]:
    """Batches of rows, from the first row of the sheet to the last with a cell.

    Rows and columns of the cells are counted from 0; of two texts in one place the last counts.

    Raises:
        UnreadableFileError: the cells lie too far apart.
    """
    if not len(rows):
        return
    order = np.argsort(rows, kind="stable")
    rows, columns = rows[order].astype(np.int64), columns[order].astype(np.int64)
    texts = texts.gather(order.astype(np.uint32))
    blanks = 0
    for first in range(0, int(rows[-1]) + 1, batch_rows):
        start, stop = np.searchsorted(rows, [first, first + batch_rows])
        height = min(batch_rows, int(rows[-1]) + 1 - first)
        if start == stop:
            yield pl.DataFrame({"0": _NULL.new_from_index(0, height)})
            continue
        width = int(columns[start:stop].max()) + 1
        blanks += height * width - (stop - start) * (1 + MOST_BLANKS_PER_VALUE)
        if blanks > MOST_BLANKS:
            raise spread()
        grid = np.full(height * width, stop - start, np.uint32)
        grid[columns[start:stop] * height + (rows[start:stop] - first)] = np.arange(stop - start)
        cells = pl.concat([texts[start:stop], _NULL], rechunk=True).gather(pl.Series(grid))
        yield pl.DataFrame(
            [cells.slice(column * height, height).alias(str(column)) for column in range(width)]
        )


def numbers_of(packed: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """Numbers that are packed in four bytes (RK)."""
    is_whole, is_hundredfold = (packed & 2) != 0, (packed & 1) != 0
    whole = (packed.view(np.int32) >> 2).astype(np.float64)
    real = ((packed & np.uint32(0xFFFFFFFC)).astype(np.uint64) << np.uint64(32)).view(np.float64)
    values = np.where(is_whole, whole, real)
    return np.where(is_hundredfold, values / 100, values)
