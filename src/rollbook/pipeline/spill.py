"""Keeps the batches of a file until they are needed again: a short file's in memory, else on disk.

Beside what is kept, only one batch is in memory at a time, so a long file needs no more memory than
a short one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import polars as pl

from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: The facts about rows that are known once all of them were staged: see ``match.EXISTING``,
#: ``match.DIFFERING`` and ``match.MADE``.
PieceKind: TypeAlias = Literal["existing", "differing", "made"]
Kind: TypeAlias = Literal["rows", "problems"] | PieceKind
#: Arrow's older layout: it writes texts without the larger buffers that they are slices of.
_LAYOUT = pl.CompatLevel.oldest()
#: Bytes of frames that are kept in memory: most files need no more, and are read back at once.
KEPT_BYTES = 8 * 2**20


class Spill:
    """Batches of rows with the problems of these rows."""

    def __init__(self, folder: Path) -> None:
        """Begin without any; ``folder`` is where they go, and is the caller's to remove."""
        self._folder = folder
        self._kept: dict[tuple[Kind, int], pl.DataFrame] = {}
        #: Bytes that may still be kept.
        self._room: float = KEPT_BYTES
        #: Rows of each batch, and the number of the last of them.
        self._heights: list[int] = []
        self._lasts: list[int] = []

    def add(self, rows: pl.DataFrame, problems: pl.DataFrame) -> None:
        """Store the next batch."""
        self._write("rows", len(self._heights), rows)
        self._write("problems", len(self._heights), problems)
        self._heights.append(rows.height)
        self._lasts.append(rows[-1, ROW_NUMBER])

    def add_pieces(
        self,
        kind: PieceKind,
        schema: Mapping[str, type[pl.DataType]],
        pieces: Iterator[pl.DataFrame],
    ) -> None:
        """Store facts about some rows, in the order of the rows, in pieces of any size."""
        waiting, number = pl.DataFrame(schema=schema), 0
        for piece in pieces:
            waiting = pl.concat([waiting, piece])
            while waiting[-1, ROW_NUMBER] > self._lasts[number]:
                end = waiting[ROW_NUMBER].search_sorted(self._lasts[number], side="right")
                self._write(kind, number, waiting[:end])
                waiting, number = waiting[end:], number + 1
        for later in range(number, len(self._lasts)):
            self._write(kind, later, waiting)
            waiting = waiting.clear()

    def replace(self, kind: Kind, number: int, frame: pl.DataFrame) -> None:
        """Replace a batch's frame by another one; a thread that reads it meanwhile gets either."""
        if (before := self._kept.get((kind, number))) is not None:
            self._room += before.estimated_size()
        self._write(kind, number, frame)

    def of(self, kind: Kind, number: int) -> pl.DataFrame:
        """One kind of facts about the rows of one batch, counted from 0."""
        kept = self._kept.get((kind, number))
        return pl.read_ipc(self._path(kind, number)) if kept is None else kept

    def batches(
        self, *kinds: Kind, beside: pl.DataFrame | None = None
    ) -> Iterator[tuple[pl.DataFrame, ...]]:
        """These kinds of facts about the rows of every batch, in order.

        ``beside`` has one line for each row; those of the batch come first in its tuple.
        """
        start = 0
        for number, height in enumerate(self._heights):
            lines = () if beside is None else (beside.slice(start, height),)
            start += height
            yield (*lines, *(self.of(kind, number) for kind in kinds))

    def _write(self, kind: Kind, number: int, frame: pl.DataFrame) -> None:
        if (size := frame.estimated_size()) <= self._room:
            self._kept[kind, number] = frame
            self._room -= size
            return
        # Frames that were read may be mapped from the existing file.
        path = self._path(kind, number)
        beside = path.with_suffix(".new")
        frame.write_ipc(beside, compat_level=_LAYOUT)
        beside.replace(path)
        self._kept.pop((kind, number), None)

    def _path(self, kind: Kind, number: int) -> Path:
        return self._folder / f"{kind}-{number}.arrow"
