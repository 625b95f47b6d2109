"""What a report is written from, in one file, so that it can be written again."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from rollbook.workbook import BarChart, Cell, Look

if TYPE_CHECKING:
    from pathlib import Path

    from rollbook.workbook import AnyCell

#: The name of the summary in the file's own metadata.
_SUMMARY = "rollbook.summary"


@dataclass(frozen=True, slots=True)
class Tables:
    """What a report is written from."""

    #: The rows as the sheet of all rows has them, with the colour of each.
    table: pl.DataFrame
    summary: list[list[AnyCell]]
    chart: BarChart


def keep(path: Path, tables: Tables) -> None:
    """Write the tables down, as one Parquet file."""
    cells = [[_plain(cell) for cell in row] for row in tables.summary]
    summary = json.dumps({"cells": cells, "chart": tables.chart._asdict()})
    tables.table.write_parquet(path, metadata={_SUMMARY: summary})


def kept(path: Path) -> Tables:
    """Read what ``keep`` wrote."""
    found = json.loads(pl.read_parquet_metadata(path)[_SUMMARY])
    chart: dict[str, Any] = found["chart"]
    chart["bars"] = [tuple(bar) for bar in chart["bars"]]
    chart["corners"] = tuple(tuple(corner) for corner in chart["corners"])
    summary: list[list[AnyCell]] = [[_cell(*cell) for cell in row] for row in found["cells"]]
    return Tables(pl.read_parquet(path), summary, BarChart(**chart))


def _plain(cell: AnyCell) -> tuple[Any, str]:
    """A cell's value and its look, for JSON; of the dates, the summary has only moments."""
    value, look = cell if isinstance(cell, Cell) else (cell, Look.PLAIN)
    return value.isoformat() if isinstance(value, dt.date) else value, look.value


def _cell(value: Any, look: str) -> Cell:
    if look == Look.DATETIME.value:
        value = dt.datetime.fromisoformat(value)
    return Cell(value, Look(look))
