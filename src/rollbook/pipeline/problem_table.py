"""Tables of the problems in rows, which all stages add to."""

from __future__ import annotations

from typing import Final

import polars as pl

from rollbook.pipeline.header import ROW_NUMBER
from rollbook.pipeline.problems import catalogue

#: The columns of a table of problems. ``column`` is the file's header and ``value`` the cell's
#: text; both are null where the file has no such column.
PROBLEMS: Final[dict[str, type[pl.DataType]]] = {
    ROW_NUMBER: pl.UInt32,
    "column": pl.String,
    "value": pl.String,
    "code": pl.String,
    "severity": pl.String,
    #: The value that a doubtful cell was read as; null where it was left out.
    "kept": pl.String,
}


def select(
    raw: pl.DataFrame, where: pl.Series, field: str, code: str, kept: pl.Series | None = None
) -> pl.DataFrame:
    """The problem ``code`` of ``field`` in the rows of ``raw`` where it holds.

    ``kept`` has what the cell was read as, for each row; None where nothing was.
    """
    severity = catalogue()[code].severity
    read_as = pl.lit(None, pl.String) if kept is None else kept.cast(pl.String)
    return (
        raw.select(ROW_NUMBER, field, read_as.alias("kept"))
        .filter(where)
        .select(
            ROW_NUMBER,
            pl.lit(field).alias("column"),
            pl.col(field).alias("value"),
            pl.lit(code).alias("code"),
            pl.lit(severity).alias("severity"),
            pl.col("kept"),
        )
    )


def completed(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with a ``code`` as a table of problems: the columns that they lack are null."""
    severities = {code: problem.severity for code, problem in catalogue().items()}
    severity = pl.col("code").replace_strict(severities, return_dtype=pl.String)
    rows = rows.with_columns(severity=severity)
    lacking = {name: pl.lit(None) for name in PROBLEMS if name not in rows.columns}
    return rows.with_columns(**lacking).select(
        pl.col(name).cast(kind) for name, kind in PROBLEMS.items()
    )
