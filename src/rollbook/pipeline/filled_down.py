"""Filled down: a note on a name that many people of an unsorted list have in a row.

A cell that is dragged or copied down gives its name to all people below it, and each of them is a
member of this name then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import polars as pl

from rollbook.pipeline import documents
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.pipeline.normalise import Normalised

#: People from which a name is noted. A household may be written together.
_LEAST: Final = {"firstname": 8, "surname": 12}
#: Steps from a name to another one that show whether a list is sorted by them, and how many of them
#: go in the other direction in a sorted list at most.
_LEAST_STEPS: Final = 5
_UNSORTED: Final = 0.1


class _Run(NamedTuple):
    """Rows with one name: it, how many people they are, the first and the last row."""

    name: str
    people: int
    first: int
    last: int


class FilledDown:
    """Finds the longest run of each kind of name, batch by batch."""

    def __init__(self) -> None:
        self._headers: dict[str, str] = {}
        self._longest: dict[str, _Run] = {}
        #: The run at the end of the last batch.
        self._open: dict[str, _Run] = {}
        #: By field: how many names sort after the one before them, and before it.
        self._steps: dict[str, tuple[int, int]] = {}

    def add(self, normalised: Normalised) -> None:
        """Look at the names of a batch."""
        # The parts of whole names have one header.
        headers = normalised.headers
        if headers.get("firstname") == headers.get("surname"):
            return
        for field in _LEAST:
            rows = normalised.frame.select(
                ROW_NUMBER, name=pl.col(field).str.to_lowercase(), person=documents.person()
            ).drop_nulls("name")
            if not rows.is_empty():
                self._headers[field] = headers[field]
                self._add(field, rows)

    def _add(self, field: str, rows: pl.DataFrame) -> None:
        runs = rows["name"].rle().struct.unnest()
        ups, downs = self._steps.get(field, (0, 0))
        names = runs["value"]
        self._steps[field] = (
            ups + int((names > names.shift()).sum()),
            downs + int((names < names.shift()).sum()),
        )
        # Hardly a run is as long as those that are noted, but the first may go on from the last
        # batch, and the last into the next one.
        lengths = runs["len"]
        long = (lengths >= _LEAST[field]).arg_true()
        ends = lengths.cum_sum()
        for place in sorted({0, *long, runs.height - 1}):
            end, length = ends[place], lengths[place]
            found = _run(rows[end - length : end], self._open.pop(field, None))
            longest = self._longest.get(field, found)
            self._longest[field] = max(found, longest, key=lambda run: run.people)
        self._open[field] = found

    def notes(self) -> Iterator[Note]:
        """The note on each kind of name."""
        for field, run in self._longest.items():
            ups, downs = self._steps[field]
            is_unsorted = min(ups, downs) > _UNSORTED * (ups + downs)
            if run.people >= _LEAST[field] and ups + downs >= _LEAST_STEPS and is_unsorted:
                values = {"header": self._headers[field][:30], "first": run.first, "last": run.last}
                yield Note("name_filled_down", run.people, {"n": run.people, **values})


def _run(rows: pl.DataFrame, before: _Run | None) -> _Run:
    """The run of these rows, with the one before it if that is the same name's."""
    name, people = rows["name"][0], rows["person"].n_unique()
    numbers = rows[ROW_NUMBER]
    if before is None or before.name != name:
        return _Run(name, people, numbers[0], numbers[-1])
    return _Run(name, before.people + people, before.first, numbers[-1])
