"""The interface of all workbook readers: sheets, and batches of rows with their properties."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import polars as pl

from rollbook.spreadsheets.refusals import damaged, spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Rows and columns of a sheet, by the formats.
MOST_ROWS: Final = 1_048_576
MOST_COLUMNS: Final = 16_384
#: The most blank cells in the rectangles around the values: in all, and for each value.
MOST_BLANKS: Final = 1 << 23
MOST_BLANKS_PER_VALUE: Final = 64


class Area(NamedTuple):
    """A rectangle of merged cells; both ends count. Rows are counted from 1, columns from 0."""

    first_row: int
    first_column: int
    last_row: int
    last_column: int


@dataclass(frozen=True, slots=True)
class SheetInfo:
    """A sheet of a workbook."""

    name: str
    #: Hidden or very hidden: the person who sends the file may not know that it is there.
    is_hidden: bool = False


@dataclass(slots=True)
class Rows:
    """Some rows of a sheet, and what is known about them."""

    #: Texts. The columns are named 0, 1, ... by the index of the sheet's column; the n-th row of
    #: all batches is row n + 1 of the sheet. Rows after the last value are left out.
    frame: pl.DataFrame
    #: Numbers of the rows that the program hides, such as those that a filter leaves out.
    hidden: list[int] = field(default_factory=list)
    #: Merged cells that begin in these rows, or in later ones.
    merged: list[Area] = field(default_factory=list)
    #: Indices of hidden columns, each range with its end.
    hidden_columns: list[range] = field(default_factory=list)


class Book(Protocol):
    """An opened workbook."""

    @property
    def sheets(self) -> Sequence[SheetInfo]:
        """All sheets with cells, in their order."""

    @property
    def is_1904(self) -> bool:
        """Whether days are counted from 1904."""

    def claimed_rows(self, index: int) -> int | None:
        """The number of the last row that a sheet says it has; None where that is unknown."""

    def batches(self, index: int, *, rows: int) -> Iterator[Rows]:
        """The rows of a sheet, in batches of ``rows``; only the last may be shorter."""

    def close(self) -> None:
        """Close the file."""


class Grid:
    """Gathers cells row by row into batches, and refuses cells that lie too far apart."""

    def __init__(self, batch_rows: int) -> None:
        self._batch_rows = batch_rows
        self._rows: list[Mapping[int, str]] = []
        self._last = self._values = self._blanks = 0
        self._width = 1
        self._pending = Rows(pl.DataFrame())
        self._ready: list[Rows] = []

    def add(self, number: int, cells: Mapping[int, str]) -> None:
        """Add a row, which must come after the last one; its cells by the column's index.

        Raises:
            UnreadableFileError: the row is out of order, or too far from the others.
        """
        if not self._last < number <= MOST_ROWS:
            raise damaged()
        if not cells:
            return
        gap = number - self._last - 1
        # Whole batches of nothing cost as much as a row each.
        while gap:
            step = min(gap, self._batch_rows - len(self._rows))
            self._rows += [_NO_CELLS] * step
            gap -= step
            self._cut()
        self._rows.append(cells)
        self._last = number
        self._width = max(self._width, max(cells) + 1)
        self._values += len(cells)
        self._cut()

    def hide(self, number: int) -> None:
        """Note that a row is hidden."""
        self._pending.hidden.append(number)

    def merge(self, area: Area) -> None:
        """Note merged cells."""
        self._pending.merged.append(area)

    def hide_columns(self, columns: range) -> None:
        """Note hidden columns."""
        self._pending.hidden_columns.append(columns)

    def ready(self) -> Iterator[Rows]:
        """The batches that are whole by now."""
        yield from self._ready
        self._ready.clear()

    def rest(self) -> Iterator[Rows]:
        """The batches that are left, at the end of the sheet."""
        if self._rows:
            self._finish()
        yield from self.ready()

    def _cut(self) -> None:
        if len(self._rows) >= self._batch_rows:
            self._finish()

    def _finish(self) -> None:
        height, width = len(self._rows), self._width
        self._blanks += height * width
        if self._blanks - self._values > MOST_BLANKS + MOST_BLANKS_PER_VALUE * self._values:
            raise spread()
        rows = self._rows
        self._pending.frame = pl.DataFrame(
            [
                pl.Series(str(column), [row.get(column) for row in rows], pl.String)
                for column in range(width)
            ]
        )
        self._ready.append(self._pending)
        self._pending = Rows(pl.DataFrame())
        self._rows, self._width = [], 1


_NO_CELLS: Final[Mapping[int, str]] = {}
