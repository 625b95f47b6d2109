"""Several sheets of a workbook as one table: below one another, under one set of headers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline.cells import nulls
from rollbook.pipeline.columns import ColumnMap, key, unique_headers
from rollbook.pipeline.header import ROW_NUMBER

if TYPE_CHECKING:
    from rollbook.pipeline.read import Sheet
    from rollbook.pipeline.reading import Reading

#: The columns that say where a row is from.
SHEET: Final = "Sheet"
SHEET_ROW: Final = "Sheet row"


class Stack:
    """Puts sheets below one another, batch by batch.

    A column of a later sheet goes below the one of the same field, or of the same header; a new
    one is added at the end. Rows are numbered on from one sheet to the next, and keep the name of
    their sheet and their number there in columns of their own.
    """

    def __init__(self) -> None:
        self._names: list[str] = [SHEET, SHEET_ROW]
        self._fields: dict[str, str] = {}
        self._headers: dict[str, tuple[str, ...]] = {}
        self._left_out: frozenset[str] = frozenset()
        self._sheets: list[str] = []
        self._offset = self._last = 0
        #: Of the sheets before.
        self._before: Reading | None = None
        self._current: Reading | None = None
        self._fingerprint = ""

    def begin(self, name: str) -> None:
        """Begin the next sheet."""
        self._sheets.append(name)
        self._offset, self._before = self._last, self._current

    def add(self, sheet: Sheet) -> Sheet:
        """The next rows of the sheet that was begun, as rows of the whole."""
        self._fingerprint = self._fingerprint or sheet.fingerprint
        places = self._places(sheet)
        numbers = sheet.frame[ROW_NUMBER]
        columns: dict[str, pl.Series] = {
            SHEET: pl.Series([sheet.sheet_name]).new_from_index(0, sheet.frame.height),
            SHEET_ROW: numbers.cast(pl.String),
        }
        for header, name in places.items():
            columns[name] = sheet.frame[header]
        if len(numbers):
            self._last = self._offset + int(numbers[-1])
        empty = nulls(sheet.frame.height)
        frame = pl.DataFrame(
            [
                (numbers + self._offset).alias(ROW_NUMBER),
                *(columns.get(name, empty).alias(name) for name in self._names),
            ]
        )
        self._current = self._reading(sheet.reading, places)
        unknown = tuple(name for name in self._names if name not in self._fields)
        self._left_out |= {places[header] for header in sheet.columns.left_out}
        return replace(
            sheet,
            frame=frame,
            sheet_name=", ".join(self._sheets),
            columns=ColumnMap(
                dict(self._fields), unknown, self._by_field(sheet, places), self._left_out
            ),
            fingerprint=self._fingerprint,
            rows_expected=None,
            row_problems=sheet.row_problems.with_columns(pl.col(ROW_NUMBER) + self._offset),
            reading=self._current,
        )

    def _by_field(self, sheet: Sheet, places: dict[str, str]) -> dict[str, tuple[str, ...]]:
        """The columns of each field, in the order in which their values count."""
        for field, headers in sheet.columns.headers.items():
            names = [*self._headers.get(field, ()), *(places[header] for header in headers)]
            self._headers[field] = tuple(dict.fromkeys(names))
        return dict(self._headers)

    def _places(self, sheet: Sheet) -> dict[str, str]:
        """The column of the whole below which each column of a sheet goes."""
        headers, known = sheet.frame.columns[1:], sheet.columns.known
        # Of a field's columns, the one whose values count first goes below that of the others.
        rank = {name: n for names in sheet.columns.headers.values() for n, name in enumerate(names)}
        found: dict[str, str] = {}
        for header in sorted(headers, key=lambda header: rank.get(header, 0)):
            name = self._below(header, known.get(header), {SHEET, SHEET_ROW, *found.values()})
            if name is not None:
                found[header] = name
        return {
            header: found.get(header) or self._added(header, known.get(header))
            for header in headers
        }

    def _below(self, header: str, field: str | None, taken: set[str]) -> str | None:
        """The column of the same field or header that isn't taken; None where there is none."""
        if field is not None:
            names = [*self._headers.get(field, ())]
        else:
            unknown = (name for name in self._names if name not in self._fields)
            names = [name for name in unknown if key(name) == key(header)]
        return next((name for name in names if name not in taken), None)

    def _added(self, header: str, field: str | None) -> str:
        """A new column of the whole."""
        [name] = unique_headers([header], taken={ROW_NUMBER, *self._names})
        self._names.append(name)
        if field is not None:
            self._fields[name] = field
        return name

    def _reading(self, reading: Reading, places: dict[str, str]) -> Reading:
        """What is known of all sheets up to here."""
        used = {places[header]: how for header, how in reading.columns_used.items()}
        not_read = tuple(places[header] for header in reading.columns_not_read)
        before = self._before
        if before is None:
            return replace(reading, columns_used=used, columns_not_read=not_read)
        return replace(
            before,
            hidden_rows=before.hidden_rows + reading.hidden_rows,
            hidden_columns=tuple(dict.fromkeys((*before.hidden_columns, *reading.hidden_columns))),
            columns_used={**used, **before.columns_used},
            columns_not_read=tuple(dict.fromkeys((*before.columns_not_read, *not_read))),
            notes=(*before.notes, *reading.notes),
        )
