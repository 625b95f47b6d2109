"""The tables of a report in one file, so that the report can be written again."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import polars as pl

from rollbook.pipeline.read import BATCH_ROWS
from rollbook.spreadsheets.workbook import BarChart, Cell, Look

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rollbook.spreadsheets.workbook import AnyCell

#: The name of the summary in the file's own metadata.
_SUMMARY = "rollbook.summary"
#: The changed fields of a row, as a list.
_CHANGES = "__changes"


class TablesKeeper:
    """Stores the table of all rows while the report is written, batch by batch."""

    def __init__(self, folder: Path) -> None:
        """Begin; the batches and the file that they end as go into the folder."""
        self._folder = folder
        self._batches: list[Path] = []

    def add(self, table: pl.DataFrame, changes: pl.DataFrame) -> None:
        """Store the next batch, with the changed fields of its rows."""
        path = self._folder / f"table-{len(self._batches)}.arrow"
        by_row = changes.group_by(pl.col("Row").alias("__row"), maintain_order=True).agg(
            pl.struct(changes.columns).alias(_CHANGES)
        )
        kept = table.join(
            by_row, left_on="Row", right_on="__row", how="left", maintain_order="left"
        )
        kept.write_ipc(path, compat_level=pl.CompatLevel.oldest())
        self._batches.append(path)

    def finish(self, cells: list[list[AnyCell]], chart: BarChart) -> Path:
        """Join them into one Parquet file, with the summary in its metadata."""
        summary = json.dumps(
            {"cells": [[_plain(cell) for cell in row] for row in cells], "chart": chart._asdict()}
        )
        path = self._folder / "tables.parquet"
        pl.scan_ipc(self._batches).sink_parquet(path, metadata={_SUMMARY: summary})
        for batch in self._batches:
            batch.unlink()
        return path


def rows_of(path: Path) -> Iterator[pl.DataFrame]:
    """The table that ``TablesKeeper`` stored, batch by batch."""
    for batch in _batches(pl.scan_parquet(path)):
        yield batch.drop(_CHANGES, strict=False)


def changes_of(path: Path) -> Iterator[pl.DataFrame]:
    """The changed fields of the rows, batch by batch; nothing from a version that had none."""
    kept = pl.scan_parquet(path)
    if _CHANGES in kept.collect_schema():
        for batch in _batches(kept.select(_CHANGES)):
            yield batch.drop_nulls().explode(_CHANGES).unnest(_CHANGES)


def _batches(kept: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    height = kept.select(pl.len()).collect().item()
    for start in range(0, height, BATCH_ROWS):
        yield kept.slice(start, BATCH_ROWS).collect()


def summary_of(path: Path) -> tuple[list[list[AnyCell]], BarChart]:
    """The summary's cells and its chart."""
    found = json.loads(pl.read_parquet_metadata(path)[_SUMMARY])
    chart: dict[str, Any] = found["chart"]
    chart["bars"] = [tuple(bar) for bar in chart["bars"]]
    chart["corners"] = tuple(tuple(corner) for corner in chart["corners"])
    cells: list[list[AnyCell]] = [[_cell(*cell) for cell in row] for row in found["cells"]]
    return cells, BarChart(**chart)


def _plain(cell: AnyCell) -> tuple[Any, str]:
    """A cell's value and its look, for JSON; of the dates, the summary has only moments."""
    value, look = cell if isinstance(cell, Cell) else (cell, Look.PLAIN)
    return value.isoformat() if isinstance(value, dt.date) else value, look.value


def _cell(value: Any, look: str) -> Cell:
    if look == Look.DATETIME.value:
        value = dt.datetime.fromisoformat(value)
    return Cell(value, Look(look))
