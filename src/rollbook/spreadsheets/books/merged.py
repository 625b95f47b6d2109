"""Merged cells: the value of the first cell counts for all cells of the area."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import polars as pl

from rollbook.errors import UnreadableFileError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rollbook.spreadsheets.books.book import Area

#: Cells that merged areas may cover, for each cell of the rows they are in: areas that overlap
#: would cost more with every one of them.
_MOST_COVER: Final = 4
_OVERLAPPING: Final = (
    "Merged cells of the workbook lie on top of each other, which no spreadsheet program writes. "
    "Nothing was changed. Copy the list into a new workbook, save it as .xlsx and send that."
)


class Filled(NamedTuple):
    """Rows in which merged cells have their value everywhere."""

    frame: pl.DataFrame
    #: Row number and column index of cells whose value comes from a cell to their left.
    across: list[tuple[int, int]]


class MergedCells:
    """Fills the merged cells of a sheet, batch by batch."""

    def __init__(self) -> None:
        self._coming: list[Area] = []
        #: Areas that reach further down, with their values.
        self._open: list[tuple[Area, str]] = []

    def add(self, areas: Iterable[Area]) -> None:
        """Note areas, none of which begins in rows that were filled before."""
        before = len(self._coming)
        self._coming += areas
        if len(self._coming) > before:
            self._coming.sort(reverse=True)

    def fill(self, frame: pl.DataFrame, first_row: int) -> Filled:
        """Fill the areas in the next rows, whose columns are those of the sheet.

        Raises:
            UnreadableFileError: areas lie on top of each other.
        """
        last_row = first_row + frame.height - 1
        areas = self._open
        while self._coming and self._coming[-1].first_row <= last_row:
            area = self._coming.pop()
            value = self._value(frame, area, first_row)
            if value is not None:
                areas.append((area, value))
        if not areas:
            return Filled(frame, [])
        rows: dict[int, list[int]] = {}
        values: dict[int, list[str]] = {}
        across: list[tuple[int, int]] = []
        left = _MOST_COVER * (frame.height * frame.width + len(areas))
        for area, value in areas:
            top, bottom = max(area.first_row, first_row), min(area.last_row, last_row)
            right = min(area.last_column, frame.width - 1)
            covered = range(top - first_row, bottom - first_row + 1)
            left -= len(covered) * max(right - area.first_column + 1, 1)
            if left < 0:
                raise UnreadableFileError(_OVERLAPPING)
            for column in range(area.first_column, right + 1):
                rows.setdefault(column, []).extend(covered)
                values.setdefault(column, []).extend([value] * len(covered))
                if column > area.first_column:
                    across += [(first_row + row, column) for row in covered]
        self._open = [one for one in areas if one[0].last_row > last_row]
        columns = list(frame.iter_columns())
        for column, places in rows.items():
            columns[column] = columns[column].scatter(places, values[column])
        return Filled(pl.DataFrame(columns), across)

    @staticmethod
    def _value(frame: pl.DataFrame, area: Area, first_row: int) -> str | None:
        row = area.first_row - first_row
        if row < 0 or area.first_column >= frame.width:
            return None
        value: str | None = frame[row, area.first_column]
        return value
