"""Shared contacts: a note on a cell number or e-mail address that many people of a file have.

It is often the office's own, put into the cells to fill them, or that of a person who filled in
many forms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.languages import MOST_LISTED, listed
from rollbook.pipeline import documents
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.pipeline.normalise import Normalised

#: The fields that are looked at, with the codes of the notes on one value and on the others.
_CODES: Final = {
    "cell_number": ("phone_shared", "phones_shared"),
    "email": ("email_shared", "emails_shared"),
}
#: Values with a note of their own.
_MOST_NOTED = 5


class SharedContacts:
    """Counts the people of each value of a field, in 20 bytes a row."""

    def __init__(self, field: str, least: int) -> None:
        """``least`` is the number of people from which a value is noted; 0 notes none."""
        self._field, self._least = field, least
        self._batches: list[pl.DataFrame] = []

    def add(self, normalised: Normalised) -> None:
        """Count the people of a batch."""
        frame = normalised.frame
        if self._least and frame[self._field].null_count() < frame.height:
            found = frame.select(ROW_NUMBER, value=self._field, person=documents.person())
            self._batches.append(found.drop_nulls("value").with_columns(pl.col("value").hash()))

    def notes(self) -> Iterator[Note]:
        """The notes on the values of the most people, and one on all others."""
        if not self._batches:
            return
        rows = pl.concat(self._batches)
        # Hardly a value is in many rows, and only of these the people are looked at.
        counted = rows["value"].value_counts(name="n").filter(pl.col("n") >= self._least)
        if counted.is_empty():
            return
        people = (
            rows.join(counted, on="value", how="semi")
            .group_by("value", "person")
            .agg(pl.col(ROW_NUMBER).min())
        )
        found = (
            people.group_by("value")
            .agg(pl.len().alias("n"), pl.col(ROW_NUMBER).sort().head(MOST_LISTED))
            .filter(pl.col("n") >= self._least)
            .sort("n", ROW_NUMBER, descending=[True, False])
        )
        one, more = _CODES[self._field]
        for _, n, numbers in found.head(_MOST_NOTED).iter_rows():
            yield Note(one, n, {"n": n, "rows": listed(numbers, total=n)})
        if (others := found.slice(_MOST_NOTED)).height:
            values = {"n": others.height, "least": self._least}
            yield Note(more, int(others["n"].sum()), values)
