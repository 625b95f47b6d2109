"""Match: which rows repeat another, and which people of the file are members already."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import polars as pl
from psycopg import sql

from rollbook.database import queries
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from uuid import UUID

    from psycopg import Connection

    from rollbook.database import Row
    from rollbook.scope import Scope

#: The columns of the table ``staged`` behind the row number, in its order.
MEMBER_COLUMNS = (
    "id_number", "firstname", "surname", "date_of_birth", "gender", "citizenship", "race",
    "language", "cell_number", "landline_number", "email", "residential_address", "occupation",
    "qualification", "province", "region", "municipality", "ward", "voting_station",
    "voting_district", "date_joined", "last_payment", "expiry_date", "subscription",
    "membership_amount", "status",
)  # fmt: skip

VERDICTS = pl.Enum(["valid", "invalid", "out_of_scope"])
#: What every row of the file is remembered by until its outcome is known, whatever else is in it.
LEDGER: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    ROW_NUMBER: pl.UInt32,
    "verdict": VERDICTS,
    #: The ID number of a valid row as a number; null in any other.
    "person": pl.Int64,
}
#: What the record says of a person before the merge.
EXISTING: Final[dict[str, type[pl.DataType]]] = {
    "person": pl.Int64,
    "existing_firstname": pl.String,
    "existing_surname": pl.String,
    "existing_ward": pl.String,
    "existing_voting_district": pl.String,
    #: The member is another office's, so the row is out of scope.
    "taken": pl.Boolean,
    #: The row would change something.
    "changes": pl.Boolean,
}

#: Rows per piece of a COPY: large enough to be quick, small enough not to double the memory.
COPY_ROWS = 25_000

_SQL = queries("members")


@contextmanager
def staging(connection: Connection[Row]) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Stage rows for ``match`` and ``merge``, batch by batch.

    PostgreSQL takes a batch in while we make the next one.

    Args:
        connection: inside the attempt's transaction.

    Yields:
        What takes validated rows; those that aren't valid are left out.
    """

    def stage(rows: pl.DataFrame) -> None:
        valid = rows.filter(verdict="valid").select(ROW_NUMBER, *MEMBER_COLUMNS)
        for piece in valid.iter_slices(COPY_ROWS):
            copy.write(piece.write_csv(include_header=False))

    with connection.cursor() as cursor:
        cursor.execute(_SQL["plan_for_many"])
        cursor.execute(_SQL["stage"])
        with cursor.copy(_SQL["fill_staged"]) as copy:
            yield stage


def ledger_of(rows: pl.DataFrame) -> pl.DataFrame:
    """The lines of the ledger for validated rows; see ``LEDGER``."""
    person = pl.when(verdict="valid").then(pl.col("id_number")).cast(pl.Int64)
    return rows.select(ROW_NUMBER, pl.col("verdict").cast(VERDICTS), person=person)


def match(
    connection: Connection[Row], ledger: pl.DataFrame, rule: Mapping[str, sql.Composable]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Take repeats out of the staged rows and look up who is a member already.

    Args:
        connection: inside the attempt's transaction, with all valid rows staged.
        ledger: of the whole file.
        rule: see ``merge_rule``.

    Returns:
        The ledger with ``duplicate_of``: in a row that repeats an earlier one, the number of that
        row. And one line per person who is a member; see ``EXISTING``.
    """
    ledger = find_repeats(ledger)
    repeats = ledger.filter(pl.col("duplicate_of").is_not_null()).select(ROW_NUMBER)
    with connection.cursor() as cursor:
        if repeats.height:
            cursor.execute(_SQL["repeats"])
            with cursor.copy(_SQL["fill_repeats"]) as copy:
                for piece in repeats.iter_slices(COPY_ROWS):
                    copy.write(piece.write_csv(include_header=False))
            cursor.execute(_SQL["leave_out_repeats"])
        cursor.execute(_SQL["analyze_staged"])
    existing = copy_out(connection, sql.SQL(_SQL["existing"]).format(**rule), EXISTING)
    return ledger, existing


def merge_rule(scope: Scope, existing: str, upload_id: UUID) -> dict[str, sql.Composable]:
    """What the statements of ``match`` and ``merge`` have in common, so that they can't differ.

    Args:
        scope: the office that sent the file; it takes no member from another one.
        existing: what becomes of members that exist: ``update``, ``fill`` (empty fields only) or
            ``skip``.
        upload_id: what the members' provenance names.
    """
    fields = [sql.Identifier(name) for name in MEMBER_COLUMNS if name != "id_number"]
    # The stored value or the file's: which counts where there are both.
    order = "m.{0}, excluded.{0}" if existing == "fill" else "excluded.{0}, m.{0}"
    after = sql.SQL(f"COALESCE({order})")
    return {
        "fields": sql.SQL(", ").join(fields),
        "before": sql.SQL(", ").join(sql.SQL("m.{}").format(name) for name in fields),
        "after": sql.SQL(", ").join(after.format(name) for name in fields),
        "existing": sql.Literal(existing),
        "upload_id": sql.Literal(upload_id),
        "province": sql.Literal(scope.province),
        "municipality": sql.Literal(scope.municipality),
    }


def find_repeats(ledger: pl.DataFrame) -> pl.DataFrame:
    """Mark the rows that repeat an earlier one that may be merged."""
    people = ledger.lazy().filter(pl.col("person").is_not_null())
    first = (
        people.group_by("person")
        .agg(first_row=pl.col(ROW_NUMBER).min(), rows=pl.len())
        .filter(pl.col("rows") > 1)
        .select("person", "first_row")
    )
    repeated = (
        people.join(first, on="person", how="inner")
        .filter(pl.col("first_row") != pl.col(ROW_NUMBER))
        .select(ROW_NUMBER, duplicate_of="first_row")
    )
    return ledger.lazy().join(repeated, on=ROW_NUMBER, how="left", maintain_order="left").collect()


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
