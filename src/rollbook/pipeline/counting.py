"""Counting: a note on a column that counts up from row to row, as a cell that is dragged down does.

A spreadsheet program that fills cells so adds one to a number, to the number at the end or the
beginning of a text, and to a date's day, month or year.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline import documents
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.pipeline.normalise import Normalised

#: Rows that count up from which a column is noted. Members come by wards and dates, but hardly ever
#: with one phone number after the other. Addresses do count up, along a street, but not in a number
#: at their ends, as the postal code is, where another one stays.
_LEAST: Final = {
    "cell_number": 4, "landline_number": 4, "email": 6, "membership_amount": 6, "ward": 8,
    "voting_district": 8, "date_joined": 6, "last_payment": 6, "expiry_date": 6,
    "residential_address": 4,
}  # fmt: skip
#: Columns but those of phones are noted where at least one row in so many counts up: a sorted list
#: has short runs.
_ONE_IN: Final = 2
_PHONES: Final = frozenset({"cell_number", "landline_number"})
#: Texts that are one number.
_NUMBERS: Final = frozenset({*_PHONES, "ward", "voting_district"})
_DIGITS: Final = "0123456789"


class _Longest:
    """The most rows of a column that count up one after the other, learned batch by batch."""

    def __init__(self) -> None:
        self.rows = 0
        self.first = self.last = self.length = 0
        #: The last row so far; of the first of those that count up to it, its number and its place.
        self._open: pl.DataFrame | None = None
        self._first = self._start = 0

    def add(self, filled: pl.DataFrame) -> None:
        """Take the filled rows of a batch: ``row_number``, ``person``, ``n`` and ``rest``."""
        if filled.is_empty():
            return
        rows, at = filled, self.rows
        if self._open is not None:
            rows, at = pl.concat([self._open, filled]), at - 1
        self.rows += filled.height
        self._open = filled.tail(1)
        # Hardly a column of a file counts up anywhere.
        if not (rows["n"].diff() == 1).any():
            self._first, self._start = self._open[ROW_NUMBER][0], self.rows - 1
            return
        place = pl.int_range(at, at + rows.height, dtype=pl.Int64)
        is_open = place.eq(at) if rows.height > filled.height else pl.lit(value=False)
        rows = rows.with_columns(
            place=place,
            first=pl.when(is_open).then(pl.lit(self._first, pl.UInt32)).otherwise(ROW_NUMBER),
            start=pl.when(is_open).then(pl.lit(self._start, pl.Int64)).otherwise(place),
        )
        # The payments of one person may have a row each.
        is_next = (
            (pl.col("n").diff() == 1)
            & pl.col("rest").eq_missing(pl.col("rest").shift())
            & pl.col("person").ne_missing(pl.col("person").shift())
        )
        begins = pl.when(is_next.fill_null(value=False).not_())
        rows = rows.with_columns(
            first=begins.then("first").forward_fill(), start=begins.then("start").forward_fill()
        )
        length = rows["place"] - rows["start"] + 1
        longest = length.arg_max()
        if longest is not None and length[longest] > self.length:
            self.length = length[longest]
            self.first, self.last = rows["first"][longest], rows[ROW_NUMBER][longest]
        self._first, self._start = rows["first"][-1], rows["start"][-1]


class Counting:
    """Finds the columns that count up."""

    def __init__(self) -> None:
        self._columns: defaultdict[tuple[str, str], _Longest] = defaultdict(_Longest)
        self._headers: dict[str, str] = {}
        #: The batches with the first filled rows of a field: too few of them can't be noted.
        self._waiting: defaultdict[str, list[pl.DataFrame]] = defaultdict(list)

    def add(self, normalised: Normalised) -> None:
        """Look at the fields of a batch that the file has columns of."""
        frame, headers = normalised.frame, normalised.headers
        fields = [name for name in _LEAST if name in headers and frame[name].count()]
        if fields:
            frame = frame.select(ROW_NUMBER, *fields, person=documents.person())
        for field in fields:
            batches = self._waiting[field]
            batches.append(frame[[ROW_NUMBER, "person", field]].drop_nulls(field))
            height = sum(batch.height for batch in batches)
            if field not in self._headers and height < _LEAST[field]:
                continue
            self._headers[field] = headers[field]
            filled = pl.concat(batches).rename({field: "value"})
            batches.clear()
            for kind, n, rest in _ways(field, filled.schema["value"]):
                rows = filled.select(ROW_NUMBER, "person", n=n.cast(pl.Int64), rest=rest.hash())
                self._columns[field, kind].add(rows.drop_nulls("n"))

    def notes(self) -> Iterator[Note]:
        """A note on each column with enough of such rows."""
        for field, least in _LEAST.items():
            found = [run for (name, _), run in self._columns.items() if name == field]
            run = max(found, key=lambda one: one.length, default=None)
            if run is None or run.length < least:
                continue
            if field in _PHONES or run.length * _ONE_IN >= run.rows:
                values = {"header": self._headers[field], "first": run.first, "last": run.last}
                yield Note("column_counts_up", run.length, values)


def _ways(field: str, kind: pl.DataType) -> Iterator[tuple[str, pl.Expr, pl.Expr]]:
    """The ways in which values of a field may count up: a name, the number, and what stays."""
    value = pl.col("value")
    if kind == pl.Date:
        year, month, day = (
            part.cast(pl.Int64) for part in (value.dt.year(), value.dt.month(), value.dt.day())
        )
        yield "day", value.to_physical(), pl.lit(0)
        yield "month", year * 12 + month, day
        yield "year", year, month * 100 + day
    elif field in _NUMBERS:
        yield "number", value.str.strip_chars_start("+").cast(pl.Int64, strict=False), pl.lit(0)
    elif field == "residential_address":
        found = value.str.extract_groups(r"^(.*[0-9].*[^0-9])([0-9]{1,15})$")
        yield "end", found.struct.field("2"), found.struct.field("1")
    elif kind == pl.String:
        yield "end", value.str.extract(r"([0-9]{1,15})$"), value.str.strip_chars_end(_DIGITS)
        yield "front", value.str.extract(r"^([0-9]{1,15})"), value.str.strip_chars_start(_DIGITS)
    else:
        yield "number", value.floor(), value - value.floor()
