"""Shared phones: a note on a phone number that many rows of a file have.

Such a number is often the office's own, put into the cells to fill them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from rollbook.languages import phrase
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.pipeline.normalise import Normalised

#: Rows that a note names.
_MOST_LISTED = 5


class SharedPhones:
    """Counts the rows of each cell number, in 12 bytes a row."""

    def __init__(self, least: int) -> None:
        """``least`` is the number of rows from which a number is noted; 0 notes none."""
        self._least = least
        self._batches: list[pl.DataFrame] = []

    def add(self, normalised: Normalised) -> None:
        """Count the rows of a batch."""
        phones = normalised.frame.select(ROW_NUMBER, phone="cell_number")
        if self._least and phones["phone"].null_count() < phones.height:
            self._batches.append(phones.drop_nulls().with_columns(pl.col("phone").hash()))

    def notes(self) -> Iterator[Note]:
        """The note on each number, those of the most rows first."""
        if not self._batches:
            return
        rows = pl.concat(self._batches)
        counted = rows["phone"].value_counts(name="n").filter(pl.col("n") >= self._least)
        if counted.is_empty():
            return
        found = (
            rows.join(counted, on="phone")
            .group_by("phone", "n")
            .agg(pl.col(ROW_NUMBER).sort().head(_MOST_LISTED))
            .sort("n", ROW_NUMBER, descending=[True, False])
        )
        for _, n, numbers in found.iter_rows():
            listed, more = ", ".join(map(str, numbers)), n - len(numbers)
            which = phrase("list.more", listed=listed, more=more) if more > 0 else listed
            yield Note("phone_shared", n, {"n": n, "rows": which})
