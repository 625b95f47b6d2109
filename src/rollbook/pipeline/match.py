"""Match: which rows repeat another, and which people of the file are members already."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from psycopg import sql

from rollbook.backends.database import queries
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from uuid import UUID

    import numpy.typing as npt
    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.model import Scope
    from rollbook.pipeline.spill import Spill

#: The columns of the table ``staged`` behind the row number, in its order.
MEMBER_COLUMNS = (
    "id_number", "firstname", "surname", "date_of_birth", "gender", "citizenship", "race",
    "language", "cell_number", "landline_number", "email", "residential_address", "occupation",
    "qualification", "province", "region", "municipality", "ward", "voting_station",
    "voting_district", "date_joined", "last_payment", "expiry_date", "subscription",
    "membership_amount", "status",
)  # fmt: skip

#: What a file's row may claim of a member: the bits of the column ``filled``, the lowest first.
CLAIMED = MEMBER_COLUMNS[1:]

VERDICTS = pl.Enum(["valid", "invalid", "out_of_scope"])
#: What every row of the file is remembered by until its outcome is known, whatever else is in it.
LEDGER: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    ROW_NUMBER: pl.UInt32,
    "verdict": VERDICTS,
    #: The ID number of a valid row as a number; null in any other.
    "person": pl.Int64,
}
#: What the record says, before the merge, of the person of a row who is a member.
EXISTING: Final[dict[str, type[pl.DataType]]] = {
    ROW_NUMBER: pl.UInt32,
    "existing_firstname": pl.String,
    "existing_surname": pl.String,
    "existing_ward": pl.String,
    "existing_voting_district": pl.String,
}
#: What the merge will make of such a row, unless it repeats another.
KNOWN: Final[dict[str, type[pl.DataType]]] = {
    ROW_NUMBER: pl.UInt32,
    #: The member is another office's, so the row is out of scope.
    "taken": pl.Boolean,
    #: The row would change something.
    "changes": pl.Boolean,
}

#: Rows per piece of a COPY: large enough to be quick, small enough not to double the memory.
COPY_ROWS = 25_000
#: Bytes of an answer that are made columns at once.
_PIECE_BYTES = 4 << 20

_FILLED = pl.sum_horizontal(
    pl.col(name).is_not_null().cast(pl.Int64) * (1 << bit) for bit, name in enumerate(CLAIMED)
)

_SQL = queries("members")


@contextmanager
def staging(
    connection: Connection[Row], *, is_new: bool = True
) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Stage rows for ``match`` and ``merge``, batch by batch.

    PostgreSQL takes a batch in while we make the next one.

    Args:
        connection: inside the attempt's transaction.
        is_new: the staging table isn't there yet.

    Yields:
        What takes validated rows; those that aren't valid are left out.
    """

    def stage(rows: pl.DataFrame) -> None:
        valid = rows.filter(verdict="valid").select(ROW_NUMBER, *MEMBER_COLUMNS, filled=_FILLED)
        for piece in valid.iter_slices(COPY_ROWS):
            copy.write(piece.write_csv(include_header=False))

    with connection.cursor() as cursor:
        if is_new:
            cursor.execute(_SQL["plan_for_many"])
            cursor.execute(_SQL["stage"])
        with cursor.copy(_SQL["fill_staged"]) as copy:
            yield stage


def unstage(connection: Connection[Row], rows: pl.DataFrame) -> None:
    """Take a batch out of the staged rows; it is staged again."""
    first, last = rows[0, ROW_NUMBER], rows[-1, ROW_NUMBER]
    connection.execute(_SQL["unstage"], {"first": first, "last": last})


def ledger_of(rows: pl.DataFrame) -> pl.DataFrame:
    """The lines of the ledger for validated rows; see ``LEDGER``."""
    person = pl.when(verdict="valid").then(pl.col("id_number")).cast(pl.Int64)
    return rows.select(ROW_NUMBER, pl.col("verdict").cast(VERDICTS), person=person)


class People:
    """Finds rows by whom they are about, in 12 bytes for each."""

    def __init__(self, ledger: pl.DataFrame) -> None:
        """See ``LEDGER``."""
        person = ledger["person"]
        by_person = pl.arg_sort_by("person", maintain_order=True, nulls_last=True)
        rows = ledger.select(by_person).to_series().head(len(person) - person.null_count())
        #: In order; a person's rows in that of the file.
        self._numbers = person.gather(rows).to_numpy()
        self._rows = rows.to_numpy()

    @property
    def count(self) -> int:
        """How many different people there are."""
        numbers = self._numbers
        return int(np.count_nonzero(numbers[1:] != numbers[:-1])) + 1 if len(numbers) else 0

    def first_rows(self, numbers: pl.Series) -> npt.NDArray[np.uint32]:
        """Where in the file each of these people comes first; all of them are in it."""
        return self._rows[np.searchsorted(self._numbers, numbers.to_numpy())]

    def repeats(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
        """The places of the rows whose person came before, and those of that person's first."""
        later = np.flatnonzero(self._numbers[1:] == self._numbers[:-1]) + 1
        first = np.searchsorted(self._numbers, self._numbers[later])
        return self._rows[later], self._rows[first]


def match(
    connection: Connection[Row],
    ledger: pl.DataFrame,
    people: People,
    rule: Mapping[str, sql.Composable],
    spill: Spill,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Take repeats out of the staged rows and look up who is a member already.

    Args:
        connection: inside the attempt's transaction, with all valid rows staged.
        ledger: of the whole file.
        people: who they are about.
        rule: see ``merge_rule``.
        spill: takes what the record says of the members; see ``EXISTING``.

    Returns:
        The ledger with ``duplicate_of`` in place of ``person``: in a row that repeats an earlier
        one, the number of that row. And the rows of members; see ``KNOWN``.
    """
    ledger = find_repeats(ledger, people)
    repeats = ledger.filter(pl.col("duplicate_of").is_not_null()).select(ROW_NUMBER)
    known = []

    def names() -> Iterator[pl.DataFrame]:
        query = sql.SQL(_SQL["existing"]).format(**rule)
        for piece in copy_out(connection, query, EXISTING | KNOWN):
            known.append(piece.select(list(KNOWN)))
            yield piece.select(list(EXISTING))

    with connection.cursor() as cursor:
        cursor.execute(_SQL["analyze_staged"])
        spill.add_existing(names())
        if repeats.height:
            cursor.execute(_SQL["repeats"])
            with cursor.copy(_SQL["fill_repeats"]) as copy:
                for piece in repeats.iter_slices(COPY_ROWS):
                    copy.write(piece.write_csv(include_header=False))
            cursor.execute(_SQL["leave_out_repeats"])
    return ledger, pl.concat([pl.DataFrame(schema=KNOWN), *known], rechunk=True)


def merge_rule(scope: Scope, existing: str, upload_id: UUID) -> dict[str, sql.Composable]:
    """What the statements of ``match`` and ``merge`` have in common, so that they can't differ.

    Args:
        scope: the office that sent the file; it takes no member from another one.
        existing: what becomes of members that exist: ``update``, ``fill`` (empty fields only) or
            ``skip``.
        upload_id: what the members' provenance names.
    """
    fields = [sql.Identifier(name) for name in CLAIMED]
    agrees = sql.SQL("CASE WHEN m.{0} = excluded.{0} THEN {1}::bigint ELSE 0 END")
    # The stored value or the file's: which counts where there are both.
    order = "m.{0}, excluded.{0}" if existing == "fill" else "excluded.{0}, m.{0}"
    after = sql.SQL(f"COALESCE({order})")
    return {
        "fields": sql.SQL(", ").join(fields),
        "before": sql.SQL(", ").join(sql.SQL("m.{}").format(name) for name in fields),
        "after": sql.SQL(", ").join(after.format(name) for name in fields),
        "names": sql.Literal(list(CLAIMED)),
        "agreed": sql.SQL(" | ").join(
            agrees.format(name, sql.Literal(1 << bit)) for bit, name in enumerate(fields)
        ),
        "existing": sql.Literal(existing),
        "upload_id": sql.Literal(upload_id),
        "province": sql.Literal(scope.province),
        "municipality": sql.Literal(scope.municipality),
    }


def find_repeats(ledger: pl.DataFrame, people: People) -> pl.DataFrame:
    """Mark the rows that repeat an earlier one that may be merged; see ``match``."""
    row_number = ledger[ROW_NUMBER].to_numpy()
    duplicate_of = np.zeros_like(row_number)
    later, first = people.repeats()
    duplicate_of[later] = row_number[first]
    marked = ledger.select(ROW_NUMBER, "verdict", duplicate_of=duplicate_of)
    return marked.with_columns(pl.col("duplicate_of").replace(0, None))


def copy_out(
    connection: Connection[Row], query: object, schema: Mapping[str, type[pl.DataType]]
) -> Iterator[pl.DataFrame]:
    """Read what a ``COPY ... TO STDOUT (FORMAT csv)`` brings, some rows at a time."""
    with connection.cursor() as cursor, cursor.copy(query) as copy:  # type: ignore[arg-type]
        received = bytearray()
        for line in copy:
            received += line
            if len(received) >= _PIECE_BYTES:
                yield _columns(received, schema)
                received = bytearray()
        if received:
            yield _columns(received, schema)


def _columns(received: bytearray, schema: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    return pl.read_csv(bytes(received), has_header=False, schema=schema)
