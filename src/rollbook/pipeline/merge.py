"""Merge: one set-based statement, and the outcome of every row of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from psycopg import sql

from rollbook.database import queries
from rollbook.pipeline.match import COPY_ROWS, MEMBER_COLUMNS, copy_out
from rollbook.uploads import OUTCOMES

if TYPE_CHECKING:
    from uuid import UUID

    from psycopg import Connection

    from rollbook.database import Row
    from rollbook.scope import Scope

_SQL = queries("members")


def merge(
    connection: Connection[Row],
    rows: pl.DataFrame,
    *,
    upload_id: UUID,
    scope: Scope,
    existing: str,
) -> pl.DataFrame:
    """Merge the staged rows into ``members``.

    Args:
        connection: inside the attempt's transaction, with the rows staged by ``match``.
        rows: the matched rows, one per row of the file.
        upload_id: what the members' provenance names.
        scope: the office that sent the file; it takes no member from another one.
        existing: what becomes of members that exist: ``update``, ``fill`` (empty fields only) or
            ``skip``.

    Returns:
        The rows with ``outcome``: exactly one per row.
    """
    fields = [sql.Identifier(name) for name in MEMBER_COLUMNS if name != "id_number"]
    # The stored value or the file's: which counts where there are both.
    order = "m.{0}, excluded.{0}" if existing == "fill" else "excluded.{0}, m.{0}"
    after = sql.SQL(f"COALESCE({order})")
    values = {
        "fields": sql.SQL(", ").join(fields),
        "before": sql.SQL(", ").join(sql.SQL("m.{}").format(name) for name in fields),
        "after": sql.SQL(", ").join(after.format(name) for name in fields),
        "existing": sql.Literal(existing),
        "upload_id": sql.Literal(upload_id),
        "province": sql.Literal(scope.province),
        "municipality": sql.Literal(scope.municipality),
    }
    written = copy_out(
        connection,
        sql.SQL(_SQL["merge"]).format(**values),
        {"id_number": pl.String, "written": pl.String},
    )
    taken = copy_out(
        connection, sql.SQL(_SQL["taken"]).format(**values), {"id_number": pl.String}
    ).with_columns(taken=pl.lit(value=True))
    joined = rows.join(written, on="id_number", how="left", maintain_order="left").join(
        taken, on="id_number", how="left", maintain_order="left"
    )
    outcome = (
        pl.when(pl.col("verdict") != "valid")
        .then(pl.col("verdict"))
        .when(pl.col("elsewhere") | pl.col("taken"))
        .then(pl.lit("out_of_scope"))
        .otherwise(pl.col("written").fill_null("unchanged"))
    )
    return joined.with_columns(outcome=outcome).drop("written", "taken")


def count(rows: pl.DataFrame) -> dict[str, int]:
    """Rows by outcome; every outcome is there, and they add up to the rows."""
    found = dict(rows["outcome"].value_counts().iter_rows())
    return {name: found.get(name, 0) for name in OUTCOMES}


def keep_rows(
    connection: Connection[Row], rows: pl.DataFrame, problems: pl.DataFrame, *, upload_id: UUID
) -> None:
    """Write what became of each row, with its problems, for the API and for later."""
    by_row = (
        problems.select(
            "row_number", text=pl.struct("column", "value", "code", "severity").struct.json_encode()
        )
        .group_by("row_number")
        .agg(pl.col("text").str.join(","))
        .select("row_number", problems="[" + pl.col("text") + "]")
    )
    lines = rows.select("row_number", "outcome", "duplicate_of").join(
        by_row, on="row_number", how="left", maintain_order="left"
    )
    with connection.cursor() as cursor:
        cursor.execute(_SQL["forget_rows"], {"upload_id": upload_id})
        with cursor.copy(_SQL["keep_rows"]) as copy:
            for piece in lines.iter_slices(COPY_ROWS):
                named = piece.select(
                    pl.lit(str(upload_id)), "row_number", "outcome", "duplicate_of", "problems"
                )
                copy.write(named.write_csv(include_header=False))
