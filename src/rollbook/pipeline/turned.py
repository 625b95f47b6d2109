"""Turned names: notes on columns of first names and surnames that hold what the other is to hold.

A list is put together from others, of which some name the surname first, and cells are deleted so
that the rest of a row moves. The file itself shows it: the names of one column come in the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.languages import listed
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.pipeline.normalise import Normalised

#: Rows with a usual surname as the first name: from this share on, the columns are turned as a
#: whole. A usual surname is that of about every third person.
_SHARE: Final = 0.15
_LEAST_ROWS: Final = 5
#: One row of so many has such names by chance.
_PER_ROW: Final = 2_000
#: So often a name is in one column, and so many times more often than in the other, that it is a
#: surname for certain, or a first name.
_LEAST_TIMES: Final = 3
_TIMES: Final = 5
#: Names in both columns, each twice at least, that show where the columns change.
_LEAST_NAMES: Final = 5
_CHANGING: Final = 0.8
#: The rows of a file that are compared: more show nothing new.
_MOST_ROWS: Final = 200_000


class Turned:
    """Gathers the names of a file, in 20 bytes a row."""

    def __init__(self) -> None:
        self._batches: list[pl.DataFrame] = []
        self._rows = self._swapped = 0
        self._headers = ("", "")

    def add(self, normalised: Normalised) -> None:
        """Take in the names of the next rows."""
        frame, headers = normalised.frame, normalised.headers
        first, surname = headers.get("firstname"), headers.get("surname")
        # One column of whole names is split, and not turned.
        if first is None or surname is None or first == surname:
            return
        self._headers = first, surname
        self._rows += frame.height
        self._swapped += int((normalised.warnings["code"] == "names_swapped").sum())
        if self._rows - frame.height < _MOST_ROWS:
            names = (pl.col("firstname", "surname")).str.to_lowercase().hash()
            self._batches.append(
                frame.filter(
                    pl.col("firstname").is_not_null() & pl.col("surname").is_not_null()
                ).select(ROW_NUMBER, names)
            )

    def notes(self) -> Iterator[Note]:
        """The note on the first of these signs: all rows, the rows from one on, some rows."""
        first, surname = (header[:30] for header in self._headers)
        if self._swapped >= max(_LEAST_ROWS, _SHARE * self._rows):
            values = {"n": self._swapped, "of": self._rows, "first": first, "surname": surname}
            yield Note("names_turned", self._swapped, values)
            return
        if not self._batches:
            return
        rows = pl.concat(self._batches)
        counted = _counted(rows)
        if counted.is_empty():
            return
        changed = _changed_from(counted)
        if changed is not None:
            values = {"row": changed, "first": first, "surname": surname}
            yield Note("names_turn", values=values)
            return
        found = _turned_rows(rows, counted)
        if len(found) >= max(_LEAST_ROWS, self._rows // _PER_ROW):
            values = {"n": len(found), "rows": listed(found), "first": first, "surname": surname}
            yield Note("names_turned_rows", len(found), values)


def _counted(rows: pl.DataFrame) -> pl.DataFrame:
    """The names that are in both columns: how often, in which rows first and last."""
    number = pl.col(ROW_NUMBER)

    def of(column: str) -> pl.DataFrame:
        return rows.group_by(pl.col(column).alias("name")).agg(
            pl.len().alias(column),
            number.min().alias(f"{column}_from"),
            number.max().alias(f"{column}_to"),
        )

    # Family names are first names too, and each of them is in one row.
    return of("firstname").join(of("surname"), on="name")


def _changed_from(counted: pl.DataFrame) -> int | None:
    """The row from which on the columns hold each other's names; None where there is none."""
    often = counted.filter((pl.col("firstname") > 1) & (pl.col("surname") > 1))
    if often.height < _LEAST_NAMES:
        return None
    is_after = pl.col("firstname_from") > pl.col("surname_to")
    is_before = pl.col("surname_from") > pl.col("firstname_to")
    apart = often.filter(is_after | is_before).select(
        last=pl.when(is_after).then("surname_to").otherwise("firstname_to"),
        first=pl.when(is_after).then("firstname_from").otherwise("surname_from"),
    )
    if apart.height < max(_LEAST_NAMES, _CHANGING * often.height):
        return None
    # One row is between the two places of each name, but for a few.
    row = int(apart["first"].quantile(1 - _CHANGING, "lower") or 0)
    fits = (apart["last"] < row) & (row <= apart["first"])
    return row if int(fits.sum()) >= _CHANGING * _CHANGING * apart.height else None


def _turned_rows(rows: pl.DataFrame, counted: pl.DataFrame) -> list[int]:
    """The rows whose first name is a surname of others, and whose surname a first name of others.

    Such a row is one of few: most rows show which name is which.
    """
    first, surname = pl.col("firstname"), pl.col("surname")
    surnames = counted.filter((surname >= _LEAST_TIMES) & (surname >= _TIMES * first))["name"]
    firsts = counted.filter((first >= _LEAST_TIMES) & (first >= _TIMES * surname))["name"]
    if surnames.is_empty() or firsts.is_empty():
        return []
    found = rows.filter(first.is_in(surnames.implode()) & surname.is_in(firsts.implode()))
    return found[ROW_NUMBER].sort().to_list()
