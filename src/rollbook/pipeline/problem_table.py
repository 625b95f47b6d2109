"""Tables of the problems in rows, which all stages add to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline.header import ROW_NUMBER
from rollbook.pipeline.problems import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable

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
#: The table of no problem.
NONE: Final = pl.DataFrame(schema=PROBLEMS)


def select(
    raw: pl.DataFrame, where: pl.Series, field: str, code: str, kept: pl.Series | None = None
) -> pl.DataFrame:
    """The problem ``code`` of ``field`` in the rows of ``raw`` where it holds.

    ``kept`` has what the cell was read as, for each row; None where nothing was.
    """
    if not where.any():
        return NONE
    value = raw[field].filter(where)
    columns = {"column": field, "code": code, "severity": catalogue()[code].severity, "kept": None}
    same = {
        name: pl.Series(name, [text], pl.String).new_from_index(0, len(value))
        for name, text in columns.items()
    }
    if kept is not None:
        same["kept"] = kept.filter(where).cast(pl.String)
    found = {ROW_NUMBER: raw[ROW_NUMBER].filter(where), "value": value, **same}
    return pl.DataFrame([found[name].alias(name) for name in PROBLEMS])


def joined(tables: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Tables of problems, one after the other."""
    return pl.concat([NONE, *(table for table in tables if table.height)])


def by_severity(tables: Iterable[pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The warnings in tables of problems, and the errors."""
    found = joined(tables)
    if found.is_empty():
        return NONE, NONE
    is_warning = found["severity"] == "warning"
    return found.filter(is_warning), found.filter(~is_warning)


def completed(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with a ``code`` as a table of problems: the columns that they lack are null."""
    if rows.is_empty():
        return NONE
    severities = {code: problem.severity for code, problem in catalogue().items()}
    severity = pl.col("code").replace_strict(severities, return_dtype=pl.String)
    rows = rows.with_columns(severity=severity)
    lacking = {name: pl.lit(None) for name in PROBLEMS if name not in rows.columns}
    return rows.with_columns(**lacking).select(
        pl.col(name).cast(kind) for name, kind in PROBLEMS.items()
    )
