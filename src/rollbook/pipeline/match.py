"""Match: finds rows that repeat another, and people in the file who are already members."""

from __future__ import annotations

import os
from binascii import hexlify
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from psycopg import sql

from rollbook import fields
from rollbook.backends.database import queries
from rollbook.pipeline import own_fields
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy.typing as npt
    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.pipeline.spill import Spill

#: The columns of the table ``staged`` after the row number, in its order.
MEMBER_COLUMNS = (
    "id_number", "firstname", "surname", "date_of_birth", "gender", "citizenship", "race",
    "language", "cell_number", "landline_number", "email", "residential_address", "occupation",
    "qualification", "province", "region", "municipality", "ward", "voting_station",
    "voting_district", "date_joined", "last_payment", "expiry_date", "subscription",
    "membership_amount", "status", "expiry_is_derived",
)  # fmt: skip

#: The built-in fields of a member that a row may claim; see ``claimed``.
CLAIMED = tuple(name for name in MEMBER_COLUMNS if name not in {"id_number", "expiry_is_derived"})

VERDICTS = pl.Enum(["valid", "invalid", "out_of_scope"])
#: The facts that are stored for every row of the file until its outcome is known.
LEDGER: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    ROW_NUMBER: pl.UInt32,
    "verdict": VERDICTS,
    #: The ID number of a valid row as a number; null in any other.
    "person": pl.Int64,
}
#: The member's record before the merge, for each row whose person is a member.
EXISTING: Final[dict[str, type[pl.DataType]]] = {
    ROW_NUMBER: pl.UInt32,
    "existing_firstname": pl.String,
    "existing_surname": pl.String,
    "existing_ward": pl.String,
    "existing_voting_district": pl.String,
    #: Of a member whom the row changes: the name in the API, and ``{"field": [before, after]}`` as
    #: JSON, both as text.
    "member_id": pl.String,
    "changed_fields": pl.String,
    #: The member's future expiry date, where it is before the last payment.
    "expiry_before_payment": pl.String,
    #: The member's stored payment, where it is later than the row's. The row's counts.
    "later_payment": pl.String,
    #: The row's own.
    "payment": pl.String,
    #: The row's names, where neither of them is the member's.
    "other_name": pl.String,
}
#: The earlier row's values in the fields in which a repeat differs, as ``{"field": value}`` in
#: JSON.
DIFFERING: Final[dict[str, type[pl.DataType]]] = {ROW_NUMBER: pl.UInt32, "differing": pl.String}
#: What the merge has changed, as in ``EXISTING``.
MADE: Final = {name: EXISTING[name] for name in (ROW_NUMBER, "member_id", "changed_fields")}
#: The outcome of such a row in the merge, unless it repeats another.
KNOWN: Final[dict[str, type[pl.DataType]]] = {
    ROW_NUMBER: pl.UInt32,
    #: The member is another office's, so the row is out of scope.
    "taken": pl.Boolean,
    #: The row would change something.
    "changes": pl.Boolean,
    #: When such a member was changed last, in microseconds; null where nothing would change.
    "version": pl.Int64,
    #: What its dates say, see the query ``flags`` of renewals; null where the file has none.
    "dates": pl.UInt8,
}

#: Rows in a piece of a COPY: large enough to be fast, small enough not to double the memory.
COPY_ROWS = 25_000
#: Bytes of a result that are converted to columns at a time.
_PIECE_BYTES = 4 << 20

_SQL = queries("members")


def claimed() -> tuple[str, ...]:
    """The fields that a row may claim: the bits of the column ``filled``, lowest first."""
    return (*CLAIMED, *fields.current().by_key)


def compared() -> tuple[str, ...]:
    """The fields in which a row and a member, or two rows, may differ."""
    return (*MEMBER_COLUMNS, *fields.current().by_key)


@contextmanager
def staging(
    connection: Connection[Row], *, is_new: bool = True
) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Stage rows for ``match`` and ``merge``, batch by batch, inside the attempt's transaction.

    PostgreSQL stores a batch while the next one is prepared. ``is_new``: the staging table isn't
    there yet.

    Yields:
        What takes validated rows; those that aren't valid are left out.
    """

    def stage(rows: pl.DataFrame) -> None:
        # A field whose bit is set and that has no value was emptied on purpose.
        filled = _filled(rows) | pl.col("emptied")
        own = [own_fields.as_json(rows).alias("own_fields")] if has_own else []
        found = rows.filter(verdict="valid").select(
            ROW_NUMBER, *MEMBER_COLUMNS, filled.alias("filled"), "document", *own
        )
        valid = found.with_columns(_new_ids(found.height))
        for piece in valid.iter_slices(COPY_ROWS):
            copy.write(piece.write_csv(include_header=False))

    has_own = bool(fields.current().fields)
    with connection.cursor() as cursor:
        if is_new:
            cursor.execute(_SQL["plan_for_many"])
            column = sql.SQL("own_fields jsonb," if has_own else "")
            cursor.execute(sql.SQL(_SQL["stage"]).format(own_fields=column))
        with cursor.copy(_SQL["fill_staged"]) as copy:
            yield stage


def _filled(rows: pl.DataFrame) -> pl.Expr:
    """The bits of the fields that a row has a value of and claims."""
    there = tuple(name if name in rows.columns else None for name in claimed())
    return _bits(there)


@lru_cache(16)
def _bits(names: tuple[str | None, ...]) -> pl.Expr:
    """The bits of the columns with these names, lowest first, as ``_filled`` has them."""
    claims = {name: pl.col(name).is_not_null() for name in names if name is not None}
    # A derived expiry date may differ from the record, so only the payment is claimed.
    claims["expiry_date"] &= ~pl.col("expiry_is_derived").fill_null(value=False)
    return pl.sum_horizontal(
        is_claimed.cast(pl.Int64) * (1 << names.index(name)) for name, is_claimed in claims.items()
    )


def unstage(connection: Connection[Row], rows: pl.DataFrame) -> None:
    """Take a batch out of the staged rows; it is staged again."""
    first, last = rows[0, ROW_NUMBER], rows[-1, ROW_NUMBER]
    connection.execute(_SQL["unstage"], {"first": first, "last": last})


def _new_ids(count: int) -> pl.Series:
    """A random UUID (version 4) for each row that may become a member, as 32 digits.

    PostgreSQL makes them one by one, which takes a quarter of the time of a merge.
    """
    octets = np.frombuffer(os.urandom(16 * count), np.uint8).reshape(count, 16).copy()
    octets[:, 6] = octets[:, 6] & 0x0F | 0x40
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    digits = np.frombuffer(hexlify(octets.tobytes()), "S32")
    return pl.Series("member_id", digits).cast(pl.String)


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
    *,
    existing: str = _SQL["existing"],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Remove repeats from the staged rows and look up the existing members.

    The transaction is the attempt's, with all valid rows staged. What the record says of the
    members, and in what repeats differ, goes into the spill; see ``EXISTING`` and ``DIFFERING``.
    The former are read by the query ``existing``.

    Returns:
        The ledger with ``duplicate_of`` in place of ``person``: in a row that repeats an earlier
        one, the number of that row. And the rows of members; see ``KNOWN``.
    """
    ledger = find_repeats(ledger, people)
    repeats = ledger.filter(pl.col("duplicate_of").is_not_null())[[ROW_NUMBER]]
    known = []

    def names() -> Iterator[pl.DataFrame]:
        query = sql.SQL(existing).format(**rule)
        for piece in copy_out(connection, query, EXISTING | KNOWN):
            known.append(piece[list(KNOWN)])
            yield piece[list(EXISTING)]

    def differing() -> Iterator[pl.DataFrame]:
        if repeats.height:
            query = sql.SQL(_SQL["differing"]).format(**rule)
            yield from copy_out(connection, query, DIFFERING)

    with connection.cursor() as cursor:
        cursor.execute(_SQL["analyze_staged"])
        spill.add_pieces("existing", EXISTING, names())
        if repeats.height:
            cursor.execute(_SQL["repeats"])
            with cursor.copy(_SQL["fill_repeats"]) as copy:
                for piece in repeats.iter_slices(COPY_ROWS):
                    copy.write(piece.write_csv(include_header=False))
        spill.add_pieces("differing", DIFFERING, differing())
        if repeats.height:
            cursor.execute(_SQL["leave_out_repeats"])
    return ledger, pl.concat([pl.DataFrame(schema=KNOWN), *known], rechunk=True)


def find_repeats(ledger: pl.DataFrame, people: People) -> pl.DataFrame:
    """Mark the rows that repeat an earlier one that may be merged; see ``match``."""
    row_number = ledger[ROW_NUMBER].to_numpy()
    duplicate_of = np.zeros_like(row_number)
    later, first = people.repeats()
    duplicate_of[later] = row_number[first]
    found = pl.lit(pl.Series(duplicate_of))
    return ledger.select(ROW_NUMBER, "verdict", duplicate_of=pl.when(found != 0).then(found))


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
