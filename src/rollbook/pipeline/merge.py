"""Merge: one set-based statement, and the outcome of every row of the file."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from psycopg import sql

from rollbook.backends.database import queries
from rollbook.model import EVERYWHERE, OUTCOMES
from rollbook.pipeline.match import COPY_ROWS, MADE, copy_out
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.model import Scope
    from rollbook.pipeline.match import People
    from rollbook.pipeline.spill import Spill

#: People whom the merge wrote, and whether it knew them before.
WRITTEN: Final[dict[str, type[pl.DataType]]] = {"person": pl.Int64, "is_new": pl.Boolean}
#: People whom it left unchanged because they are another office's members.
TAKEN: Final[dict[str, type[pl.DataType]]] = {"person": pl.Int64}
#: A merge's result for a row, as the place of its outcome: one byte a row.
INSERTED, UPDATED, UNCHANGED, OUT_OF_SCOPE = map(
    OUTCOMES.index, ("inserted", "updated", "unchanged", "out_of_scope")
)
#: Members in one line of ``member_index_due``: indexing them takes about a second.
INDEXED_AT_ONCE: Final = 20_000
OUTCOME: Final = pl.Enum(OUTCOMES)

_SQL = queries("members")


def merge(
    connection: Connection[Row],
    rule: Mapping[str, sql.Composable],
    *,
    scope: Scope,
    existing: str,
    rows: int,
    people: People,
) -> pl.Series:
    """Merge the staged rows into ``members``, and record which members they hold.

    Runs inside the attempt's transaction after ``match``, with the same rule.

    Returns:
        What became of each row's person, as an ``OUTCOME``; it means nothing in rows that
        weren't to be merged.
    """
    answers = np.full(rows, UNCHANGED, np.uint8)
    written = taken = 0
    to_index: list[pl.Series] = []
    for piece in copy_out(connection, sql.SQL(_SQL["merge"]).format(**rule), WRITTEN):
        is_new = piece["is_new"].to_numpy()
        answers[people.first_rows(piece["person"])] = np.where(is_new, INSERTED, UPDATED)
        written += piece.height
        to_index.append(piece["person"])
    if scope != EVERYWHERE:
        for piece in copy_out(connection, sql.SQL(_SQL["taken"]).format(**rule), TAKEN):
            answers[people.first_rows(piece["person"])] = OUT_OF_SCOPE
            taken += piece.height
    if written == people.count:
        claim = "claim_nobody"
    elif existing == "update" and not taken:
        claim = "claim"
    else:
        claim = "claim_compared"
    connection.execute(sql.SQL(_SQL[claim]).format(**rule))
    note_written(connection, rule, to_index)
    return pl.Series(answers).cat.to(OUTCOME)


def note_written(
    connection: Connection[Row], rule: Mapping[str, sql.Composable], written: list[pl.Series]
) -> None:
    """Note whom to index after the merge: one line at least, which says that all are noted."""
    people = pl.concat([pl.Series(dtype=pl.Int64), *written])
    for start in range(0, max(people.len(), 1), INDEXED_AT_ONCE):
        numbers = people.slice(start, INDEXED_AT_ONCE).cast(pl.String).str.join(",").item()
        statement = sql.SQL(_SQL["note_written"]).format(**rule, people=f"{{{numbers}}}")
        connection.execute(statement)


def renew_changes(
    connection: Connection[Row],
    rule: Mapping[str, sql.Composable],
    *,
    upload_id: UUID,
    known: pl.DataFrame,
    spill: Spill,
) -> bool:
    """Reread the fields that the merge has changed, if another merge came in between.

    Runs after ``merge``, before anything of it is rolled back. ``known`` are the rows that were
    merged, see ``match.KNOWN``; the spill's ``existing`` are renewed.

    Returns:
        Whether they were.
    """
    query, own = _SQL["former_versions"], {"upload_id": upload_id}
    found = connection.execute(query, own).fetchone()
    if found is None or int(found["versions"]) == (known["version"].sum() or 0):
        return False
    spill.add_pieces(
        "made", MADE, copy_out(connection, sql.SQL(_SQL["changes_made"]).format(**rule), MADE)
    )
    for number, (existing, made) in enumerate(spill.batches("existing", "made")):
        others = existing.drop(name for name in MADE if name != ROW_NUMBER)
        joined = others.join(made, on=ROW_NUMBER, how="full", coalesce=True)
        renewed = joined.select(existing.columns).sort(ROW_NUMBER)
        spill.replace("existing", number, renewed)
    return True


def foreseen(ledger: pl.DataFrame, known: pl.DataFrame) -> pl.Series:
    """The expected result of ``merge`` after ``match``, unless another merge comes in between."""
    answers = np.full(ledger.height, INSERTED, np.uint8)
    taken, changes = known["taken"].to_numpy(), known["changes"].to_numpy()
    places = np.searchsorted(ledger[ROW_NUMBER].to_numpy(), known[ROW_NUMBER].to_numpy())
    answers[places] = np.where(taken, OUT_OF_SCOPE, np.where(changes, UPDATED, UNCHANGED))
    return pl.Series(answers).cat.to(OUTCOME)


def outcomes(ledger: pl.DataFrame, answers: pl.Series) -> pl.DataFrame:
    """The ledger of ``match`` with the ``outcome`` that follows from the answers of ``merge``.

    Returns:
        ``row_number``, ``duplicate_of``, ``outcome``, and ``taken``: whether the row's person is
        another office's member. Null where the person was no member before, or isn't known.
    """
    if ledger["duplicate_of"].null_count() < ledger.height:
        # A row that repeats another is about the same person.
        repeats = ledger["duplicate_of"].is_not_null().arg_true()
        first = ledger[ROW_NUMBER].search_sorted(ledger["duplicate_of"].gather(repeats))
        codes = answers.to_physical().to_numpy().copy()
        codes[repeats.to_numpy()] = codes[first.to_numpy()]
        answers = pl.Series(codes).cat.to(OUTCOME)
    return ledger.hstack([answers.alias("answer")]).select(
        ROW_NUMBER, "duplicate_of", **_by_answer()
    )


@cache
def _by_answer() -> Mapping[str, pl.Expr]:
    """The columns ``outcome`` and ``taken`` of ``outcomes``."""
    answer, verdict = pl.col("answer"), pl.col("verdict")
    outcome = (
        pl.when(pl.col("duplicate_of").is_not_null())
        .then(pl.lit("duplicate", OUTCOME))
        .when(verdict == "invalid")
        .then(pl.lit("invalid", OUTCOME))
        .when(verdict == "out_of_scope")
        .then(pl.lit("out_of_scope", OUTCOME))
        .otherwise(answer)
    )
    is_member = (verdict == "valid") & (answer != "inserted")
    return {"outcome": outcome, "taken": pl.when(is_member).then(answer == "out_of_scope")}


def count(ledger: pl.DataFrame) -> dict[str, int]:
    """Rows by outcome; every outcome is there, and they add up to the rows."""
    found = dict(ledger["outcome"].value_counts().iter_rows())
    return {name: found.get(name, 0) for name in OUTCOMES}


def keep_rows(
    connection: Connection[Row],
    batches: Iterable[tuple[pl.DataFrame, ...]],
    *,
    upload_id: UUID,
) -> None:
    """Store each row's outcome and problems, for the API and for later stages.

    A batch has lines of the ledger with their outcomes, the problems of these rows, and what the
    record says of their members.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SQL["forget_rows"], {"upload_id": upload_id})
        with cursor.copy(_SQL["keep_rows"]) as copy:
            for ledger, problems, existing in batches:
                of_upload = ledger.select(
                    pl.lit(str(upload_id)).alias("upload_id"),
                    ROW_NUMBER,
                    "outcome",
                    "duplicate_of",
                )
                for piece in _lines(of_upload, problems, existing).iter_slices(COPY_ROWS):
                    copy.write(piece.write_csv(include_header=False))


def _lines(lines: pl.DataFrame, problems: pl.DataFrame, existing: pl.DataFrame) -> pl.DataFrame:
    """The lines with the columns ``problems``, as JSON, ``member_id`` and ``changed_fields``."""
    if problems.is_empty() and not existing["changed_fields"].count():
        nothing = pl.lit(None, pl.String)
        return lines.with_columns(problems=nothing, member_id=nothing, changed_fields=nothing)
    by_row = (
        problems.select(
            ROW_NUMBER,
            text=pl.struct("column", "value", "code", "severity", "kept").struct.json_encode(),
        )
        .group_by(ROW_NUMBER)
        .agg(pl.col("text").str.join(","))
        .select(ROW_NUMBER, problems="[" + pl.col("text") + "]")
    )
    changes = existing.filter(pl.col("changed_fields").is_not_null()).select(list(MADE))
    for more in (by_row, changes):
        lines = lines.join(more, on=ROW_NUMBER, how="left", maintain_order="left")
    # Nothing was changed for a repeat or another office's member.
    is_updated = pl.col("outcome") == "updated"
    return lines.with_columns(
        pl.when(is_updated).then(pl.col(name)).alias(name)
        for name in ("member_id", "changed_fields")
    )
