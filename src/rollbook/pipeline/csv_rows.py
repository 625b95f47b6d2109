"""Compares a text file's rows with its header row: too many cells, too few, or cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from rollbook.languages import listed
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Counts = npt.NDArray[np.uint32]

BEYOND: Final = "cells_beyond_headers"
CUT_OFF: Final = "row_cut_off"
#: The share and the number of rows with one delimiter more than the header row from which on the
#: file is regarded as written that way.
_TRAILING_SHARE: Final = 0.95
_LEAST_TRAILING: Final = 5
#: Excel omits the empty cells at the end of this many rows together, or of none of them.
_BLOCK: Final = 16
#: Rows of full width from which on a short last row shows that the file was cut off.
_FULL_ROWS: Final = 10


class Rows:
    """How many cells the rows below the header row have."""

    def __init__(
        self, counts: Counts, header_index: int, named: int, *, ends_with_line: bool
    ) -> None:
        """Look at the cells of each record, the header row and those above it included.

        ``named`` is the number of the header's cells without empty ones at its end;
        ``ends_with_line``: there is a line end after the last row.
        """
        self._counts = counts
        self._first = header_index + 1
        self._below = counts[self._first :]
        self._headed = int(counts[header_index])
        self._named = named
        self._ends_with_line = ends_with_line
        self._is_trailing = self._has_trailing_delimiters()

    def problems(self) -> Iterator[tuple[int, str]]:
        """The index of each record that has a cell too many or is cut off, and the code."""
        allowed = self._headed + self._is_trailing
        beyond = np.flatnonzero(self._below > allowed)
        if len(beyond) and not self._are_blocks():
            for index in beyond.tolist():
                yield self._first + index, BEYOND
        if self._is_cut_off():
            yield len(self._counts) - 1, CUT_OFF

    def notes(self) -> Iterator[Note]:
        """The notes on the file."""
        short = np.flatnonzero((self._below > 1) & (self._below < self._named))
        if len(short):
            rows = listed((short + self._first + 1).tolist())
            yield Note("short_rows", len(short), {"n": len(short), "rows": rows})
        if self._is_trailing:
            yield Note("trailing_delimiter")

    def _has_trailing_delimiters(self) -> bool:
        filled = self._below[self._below > 1]
        trailing = int((filled == self._headed + 1).sum())
        return trailing >= max(_LEAST_TRAILING, _TRAILING_SHARE * len(filled))

    def _are_blocks(self) -> bool:
        """Have rows their numbers of cells in blocks, as in a file that Excel saved?"""
        whole = len(self._counts) // _BLOCK * _BLOCK
        blocks = self._counts[:whole].reshape(-1, _BLOCK)
        rest = self._counts[whole:]
        return bool(len(blocks) and (blocks == blocks[:, :1]).all() and (rest == rest[:1]).all())

    def _is_cut_off(self) -> bool:
        """Is the last row the only one that has too few cells, and without a line end?"""
        if self._ends_with_line or len(self._below) <= _FULL_ROWS:
            return False
        return bool(self._below[-1] < self._named and (self._below[:-1] >= self._named).all())
