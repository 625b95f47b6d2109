"""Shared phones: a note on a phone number that many people of a file have.

Such a number is often the office's own, put into the cells to fill them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from rollbook.languages import MOST_LISTED, listed
from rollbook.pipeline import documents
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.pipeline.normalise import Normalised

#: Numbers with a note of their own.
_MOST_NOTED = 5


class SharedPhones:
    """Counts the people of each cell number, in 20 bytes a row."""

    def __init__(self, least: int) -> None:
        """``least`` is the number of people from which a number is noted; 0 notes none."""
        self._least = least
        self._batches: list[pl.DataFrame] = []

    def add(self, normalised: Normalised) -> None:
        """Count the people of a batch."""
        frame = normalised.frame
        if self._least and frame["cell_number"].null_count() < frame.height:
            phones = frame.select(ROW_NUMBER, phone="cell_number", person=documents.person())
            self._batches.append(phones.drop_nulls("phone").with_columns(pl.col("phone").hash()))

    def notes(self) -> Iterator[Note]:
        """The notes on the numbers of the most people, and one on all others."""
        if not self._batches:
            return
        rows = pl.concat(self._batches)
        # Hardly a number is in many rows, and only of these the people are looked at.
        counted = rows["phone"].value_counts(name="n").filter(pl.col("n") >= self._least)
        if counted.is_empty():
            return
        people = (
            rows.join(counted, on="phone", how="semi")
            .group_by("phone", "person")
            .agg(pl.col(ROW_NUMBER).min())
        )
        found = (
            people.group_by("phone")
            .agg(pl.len().alias("n"), pl.col(ROW_NUMBER).sort().head(MOST_LISTED))
            .filter(pl.col("n") >= self._least)
            .sort("n", ROW_NUMBER, descending=[True, False])
        )
        for _, n, numbers in found.head(_MOST_NOTED).iter_rows():
            yield Note("phone_shared", n, {"n": n, "rows": listed(numbers, total=n)})
        if (others := found.slice(_MOST_NOTED)).height:
            values = {"n": others.height, "least": self._least}
            yield Note("phones_shared", int(others["n"].sum()), values)
