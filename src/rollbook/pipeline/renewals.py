"""Renewals: what a file's dates say of memberships, and people whom the roll calls deceased."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl
from psycopg import sql

from rollbook.backends.database import queries
from rollbook.pipeline.match import VERDICTS
from rollbook.pipeline.problem_table import completed
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.pipeline.columns import ColumnMap
    from rollbook.pipeline.spill import Spill

#: What is counted, in the order in which it is shown.
COUNTED: Final = ("new", "renewed", "early", "expired")
#: Columns without which a file says nothing of renewals.
_DATES: Final = frozenset({"date_joined", "last_payment", "expiry_date"})
_DECEASED: Final = "person_deceased"

_SQL = queries("renewals")


def flags(columns: ColumnMap, rule: Mapping[str, sql.Composable], today: dt.date) -> sql.Composable:
    """The column ``dates`` of ``match.KNOWN``, by the file's columns and the rule of the merge."""
    if _DATES.isdisjoint(columns.headers):
        return sql.SQL("NULL")
    return sql.SQL(_SQL["flags"]).format(**rule, today=sql.Literal(today))


def count(
    connection: Connection[Row],
    columns: ColumnMap,
    rule: Mapping[str, sql.Composable],
    today: dt.date,
    known: pl.DataFrame,
) -> dict[str, int] | None:
    """New, renewed, early and expired members of the file, as they are after the merge.

    The staged rows are counted as if everybody were new, and those who are members are counted
    again by what ``match`` has found: a join of both tables takes four times as long.

    Args:
        connection: inside the attempt's transaction, after ``match`` and before the merge.
        columns: of the file.
        rule: see ``merge_rule``.
        today: by PostgreSQL's clock.
        known: the rows of members that are merged, see ``match.KNOWN``.

    Returns:
        The counts by name; None where the file has none of the dates.
    """
    if _DATES.isdisjoint(columns.headers):
        return None
    statement = sql.SQL(_SQL["count"]).format(**rule, today=sql.Literal(today))
    everybody = connection.execute(statement).fetchone()
    assert everybody is not None  # counts have a row
    dates = known["dates"]

    def of_known(flag: int) -> int:
        return int(((dates & flag) > 0).sum())

    renewed_new = everybody["renewed"] - of_known(1)
    return {
        "new": everybody["rows"] - known.height - renewed_new,
        "renewed": renewed_new + of_known(4),
        "early": of_known(8),
        "expired": everybody["expired"] - of_known(2) + of_known(16),
    }


def refuse_deceased(
    connection: Connection[Row], ledger: pl.DataFrame, spill: Spill, header: str | None
) -> pl.DataFrame:
    """Refuse new people whom the roll calls deceased, and make those who are members inactive.

    All valid rows are staged, and the connection is inside the attempt's transaction.
    """
    connection.execute(_SQL["end_deceased"])
    found = connection.execute(_SQL["unstage_deceased"]).fetchall()
    return refuse(ledger, spill, header, found, _DECEASED)


def refuse(
    ledger: pl.DataFrame, spill: Spill, header: str | None, found: list[Row], code: str
) -> pl.DataFrame:
    """Refuse rows that were staged, for a reason that only the record knows.

    Args:
        ledger: of the whole file; see ``match.LEDGER``.
        spill: takes the problems.
        header: of the column of ID numbers.
        found: the rows, by their ``row_number``.
        code: see ``problems.toml``.

    Returns:
        The ledger with these rows as invalid ones.
    """
    if not found:
        return ledger
    numbers = pl.Series([row["row_number"] for row in found], dtype=pl.UInt32)
    for number, (rows, known) in enumerate(spill.batches("rows", "problems")):
        of_batch = rows.filter(pl.col(ROW_NUMBER).is_in(numbers.implode()))
        if of_batch.is_empty():
            continue
        said = of_batch.select(ROW_NUMBER, column=pl.lit(header), code=pl.lit(code))
        if header in of_batch.columns:
            said = said.with_columns(of_batch[header].alias("value"))
        both = pl.concat([known, completed(said)])
        spill.replace("problems", number, both.sort(ROW_NUMBER, maintain_order=True))
    is_refused = pl.col(ROW_NUMBER).is_in(numbers.implode())
    return ledger.with_columns(
        verdict=pl.when(is_refused).then(pl.lit("invalid", VERDICTS)).otherwise("verdict"),
        person=pl.when(~is_refused).then("person"),
    )
