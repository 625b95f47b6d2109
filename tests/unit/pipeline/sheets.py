"""Sheets as ``read`` gives them, without a file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from rollbook.pipeline.columns import fingerprint, map_headers
from rollbook.pipeline.read import BATCH_ROWS, ROW_NUMBER, Sheet, Wanted, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def sheet_of(rows: Iterable[Mapping[str, str | None]]) -> Sheet:
    """A sheet whose headers are the keys; its first row has number 2."""
    content = [dict(row) for row in rows]
    headers = list(dict.fromkeys(header for row in content for header in row))
    frame = pl.DataFrame(
        [[row.get(header) for header in headers] for row in content],
        schema=dict.fromkeys(headers, pl.String),
        orient="row",
    ).with_row_index(ROW_NUMBER, offset=2)
    return Sheet(frame, "Sheet1", map_headers(headers), fingerprint(headers))


def read_whole(
    path: Path, kind: str, wanted: Wanted | None = None, *, batch_rows: int = BATCH_ROWS
) -> Sheet:
    """All batches of a file as one."""
    sheets = list(read(path, kind, wanted, batch_rows=batch_rows))
    frame = pl.concat([sheet.frame for sheet in sheets], how="diagonal")
    problems = pl.concat([sheet.row_problems for sheet in sheets])
    return replace(sheets[-1], frame=frame, row_problems=problems)
