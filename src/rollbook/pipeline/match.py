"""Match: which people of the file are members already."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import polars as pl

from rollbook.database import queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from rollbook.database import Row

#: The columns of the table ``staged``, in its order.
MEMBER_COLUMNS = (
    "id_number", "firstname", "surname", "date_of_birth", "gender", "citizenship", "race",
    "language", "cell_number", "landline_number", "email", "residential_address", "occupation",
    "qualification", "province", "region", "municipality", "ward", "voting_station",
    "voting_district", "date_joined", "last_payment", "expiry_date", "subscription",
    "membership_amount", "status",
)  # fmt: skip

EXISTING = {
    "id_number": pl.String,
    "existing_firstname": pl.String,
    "existing_surname": pl.String,
    "existing_province": pl.String,
    "existing_municipality": pl.String,
    "existing_ward": pl.String,
    "existing_voting_district": pl.String,
}

#: Rows per piece of a COPY: large enough to be quick, small enough not to double the memory.
COPY_ROWS = 50_000

_SQL = queries("members")


def match(connection: Connection[Row], rows: pl.DataFrame) -> pl.DataFrame:
    """Stage the rows that may be merged and join what is known of their people.

    Args:
        connection: inside the attempt's transaction.
        rows: validated rows.

    Returns:
        The rows with the columns of ``EXISTING``; null where the person isn't a member yet.
    """
    mergeable = rows.filter((pl.col("verdict") == "valid") & ~pl.col("elsewhere"))
    with connection.cursor() as cursor:
        cursor.execute(_SQL["stage"])
        with cursor.copy(_SQL["fill_staged"]) as copy:
            for piece in mergeable.select(MEMBER_COLUMNS).iter_slices(COPY_ROWS):
                copy.write(piece.write_csv(include_header=False))
        cursor.execute(_SQL["analyze_staged"])
    existing = copy_out(connection, _SQL["existing"], EXISTING)
    return rows.join(existing, on="id_number", how="left", maintain_order="left")


def copy_out(
    connection: Connection[Row], query: object, schema: Mapping[str, type[pl.DataType]]
) -> pl.DataFrame:
    """Read what a ``COPY ... TO STDOUT (FORMAT csv)`` brings."""
    received = io.BytesIO()
    with connection.cursor() as cursor, cursor.copy(query) as copy:  # type: ignore[arg-type]
        for piece in copy:
            received.write(piece)
    if received.tell() == 0:
        return pl.DataFrame(schema=schema)
    received.seek(0)
    return pl.read_csv(received, has_header=False, schema=schema)
