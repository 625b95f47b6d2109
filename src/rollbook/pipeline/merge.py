"""Merge: one set-based statement, and the outcome of every row of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl
from psycopg import sql

from rollbook.database import queries
from rollbook.pipeline.match import COPY_ROWS, copy_out
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.scope import EVERYWHERE
from rollbook.uploads import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from psycopg import Connection

    from rollbook.database import Row
    from rollbook.scope import Scope

#: People whom the merge wrote: ``inserted`` or ``updated``.
WRITTEN: Final[dict[str, type[pl.DataType]]] = {"person": pl.Int64, "written": pl.String}
#: People whom it left alone because another office has them.
TAKEN: Final[dict[str, type[pl.DataType]]] = {"person": pl.Int64}

_SQL = queries("members")


def merge(
    connection: Connection[Row], rule: Mapping[str, sql.Composable], *, scope: Scope
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Merge the staged rows into ``members``.

    Args:
        connection: inside the attempt's transaction, after ``match``.
        rule: the same as for ``match``.
        scope: the office that sent the file.

    Returns:
        The people who were written, with ``written``: ``inserted`` or ``updated``; and those who
        weren't because another office has them.
    """
    written = copy_out(connection, sql.SQL(_SQL["merge"]).format(**rule), WRITTEN)
    if scope == EVERYWHERE:
        return written, pl.DataFrame(schema=TAKEN)
    return written, copy_out(connection, sql.SQL(_SQL["taken"]).format(**rule), TAKEN)


def foreseen(ledger: pl.DataFrame, existing: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What ``merge`` will answer, unless another merge comes in between."""
    people = ledger.filter(pl.col("duplicate_of").is_null() & pl.col("person").is_not_null())
    known = people.select("person").join(
        existing.select("person", "taken", "changes"), on="person", how="left"
    )
    is_new = pl.col("changes").is_null()
    written = (
        pl.when(is_new).then(pl.lit("inserted")).when("changes").then(pl.lit("updated"))
    )  # fmt: skip
    return (
        known.select("person", written=written).drop_nulls(),
        known.filter("taken").select("person"),
    )


def known_after(ledger: pl.DataFrame, lines: pl.DataFrame, existing: pl.DataFrame) -> pl.DataFrame:
    """What ``match`` would have said of the members, had it known what the merge answered.

    Args:
        ledger: as ``match`` returned it.
        lines: as ``outcomes`` returned it, from what the merge answered.
        existing: as ``match`` returned it.
    """
    people = ledger.select(ROW_NUMBER, "verdict").join(lines, on=ROW_NUMBER, how="left")
    members = people.filter(
        (pl.col("verdict") == "valid")
        & ~pl.col("outcome").cast(pl.String).is_in(["inserted", "duplicate"])
    ).select("person", taken=pl.col("outcome") == "out_of_scope")
    return members.join(existing.drop("taken"), on="person", how="left").select(existing.columns)


def outcomes(ledger: pl.DataFrame, written: pl.DataFrame, taken: pl.DataFrame) -> pl.DataFrame:
    """The ledger with ``outcome``: exactly one per row.

    Args:
        ledger: as ``match`` returned it.
        written: as ``merge`` returned it.
        taken: likewise.
    """
    marked = taken.with_columns(taken=pl.lit(value=True))
    outcome = (
        pl.when(pl.col("duplicate_of").is_not_null())
        .then(pl.lit("duplicate"))
        .when(pl.col("person").is_null())
        .then(pl.col("verdict").cast(pl.String))
        .when("taken")
        .then(pl.lit("out_of_scope"))
        .otherwise(pl.col("written").fill_null("unchanged"))
        .cast(pl.Enum(OUTCOMES))
    )
    return (
        ledger.lazy()
        .join(written.lazy(), on="person", how="left", maintain_order="left")
        .join(marked.lazy(), on="person", how="left", maintain_order="left")
        .select(ROW_NUMBER, "person", "duplicate_of", outcome=outcome)
        .collect()
    )


def count(ledger: pl.DataFrame) -> dict[str, int]:
    """Rows by outcome; every outcome is there, and they add up to the rows."""
    found = dict(ledger["outcome"].cast(pl.String).value_counts().iter_rows())
    return {name: found.get(name, 0) for name in OUTCOMES}


def keep_rows(
    connection: Connection[Row],
    batches: Iterable[tuple[pl.DataFrame, pl.DataFrame]],
    *,
    upload_id: UUID,
) -> None:
    """Write what became of each row, with its problems, for the API and for later.

    Args:
        connection: inside the attempt's transaction.
        batches: lines of the ledger with their outcomes, and the problems of these rows.
        upload_id: whose rows they are.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SQL["forget_rows"], {"upload_id": upload_id})
        with cursor.copy(_SQL["keep_rows"]) as copy:
            for ledger, problems in batches:
                for piece in _lines(ledger, problems).iter_slices(COPY_ROWS):
                    named = piece.select(pl.lit(str(upload_id)).alias("upload_id"), pl.all())
                    copy.write(named.write_csv(include_header=False))


def _lines(ledger: pl.DataFrame, problems: pl.DataFrame) -> pl.DataFrame:
    by_row = (
        problems.select(
            ROW_NUMBER, text=pl.struct("column", "value", "code", "severity").struct.json_encode()
        )
        .group_by(ROW_NUMBER)
        .agg(pl.col("text").str.join(","))
        .select(ROW_NUMBER, problems="[" + pl.col("text") + "]")
    )
    return ledger.select(ROW_NUMBER, "outcome", "duplicate_of").join(
        by_row, on=ROW_NUMBER, how="left", maintain_order="left"
    )
