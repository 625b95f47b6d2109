"""The batches of a file on local disk, between the first time they are needed and the next.

What a file holds stands in memory one batch at a time, so that a long file takes no more of it than
a short one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: As Arrow's older layout: its texts are written without what they were cut out of.
_LAYOUT = pl.CompatLevel.oldest()


class Spill:
    """Batches of rows with the problems of these rows."""

    def __init__(self, folder: Path) -> None:
        """Begin without any; ``folder`` is where they go, and is the caller's to remove."""
        self._folder = folder
        #: Rows of each batch.
        self.heights: list[int] = []

    def add(self, rows: pl.DataFrame, problems: pl.DataFrame) -> None:
        """Put the next batch away."""
        for kind, frame in (("rows", rows), ("problems", problems)):
            frame.write_ipc(self._path(kind, len(self.heights)), compat_level=_LAYOUT)
        self.heights.append(rows.height)

    def rows(self) -> Iterator[pl.DataFrame]:
        """The rows of every batch, in order."""
        return self._all("rows")

    def problems(self) -> Iterator[pl.DataFrame]:
        """The problems of every batch, in order."""
        return self._all("problems")

    def _all(self, kind: str) -> Iterator[pl.DataFrame]:
        for number in range(len(self.heights)):
            yield pl.read_ipc(self._path(kind, number))

    def slices(self, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """A frame that has one line for each row, cut as the batches are."""
        start = 0
        for height in self.heights:
            yield frame.slice(start, height)
            start += height

    def _path(self, kind: str, number: int) -> Path:
        return self._folder / f"{kind}-{number}.arrow"
