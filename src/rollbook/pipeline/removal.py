"""Removal: members whom a list names are removed, or get another status, in place of a merge.

Of the file only the ID number counts, or the passport in its place. A row names a member or is
invalid, and a member of another office stays: a list takes nobody from another office.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from psycopg import sql

from rollbook import fields
from rollbook.backends.database import queries
from rollbook.errors import TooManyRemovalsError
from rollbook.languages import phrase
from rollbook.model import EVERYWHERE
from rollbook.pipeline import remarks
from rollbook.pipeline.columns import ColumnMap
from rollbook.pipeline.match import MEMBER_COLUMNS, copy_out
from rollbook.pipeline.merge import (
    OUT_OF_SCOPE,
    OUTCOME,
    TAKEN,
    UNCHANGED,
    UPDATED,
    WRITTEN,
    note_written,
)
from rollbook.pipeline.merge_rule import merge_rule
from rollbook.pipeline.renewals import refuse
from rollbook.pipeline.stays import with_those_who_stay
from rollbook.pipeline.validate import validate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.model import Scope
    from rollbook.pipeline.match import People
    from rollbook.pipeline.normalise import Normalised
    from rollbook.pipeline.read import Sheet
    from rollbook.pipeline.spill import Spill
    from rollbook.pipeline.validate import Validated

#: The kind of such an upload.
KIND: Final = "removal"
#: The columns that count.
_NAMES: Final = ("id_number", "passport_number", "passport_country")
_UNKNOWN: Final = "member_unknown"
#: The warnings that say why a member goes.
_EXPECTED: Final = (remarks.LEFT, remarks.NO_MEMBER)

_SQL = queries("removal")


def own_fields_for(upload: Row) -> fields.OwnFields:
    """The own fields and rules that count for an upload: a list of removals has none."""
    return fields.NONE if upload["kind"] == KIND else fields.current()


def only_identity(sheet: Sheet) -> Sheet:
    """The sheet with no other column known than those that name a person."""
    columns = sheet.columns
    known = {header: name for header, name in columns.known.items() if name in _NAMES}
    others = tuple(header for header in sheet.frame.columns[1:] if header not in known)
    headers = {name: found for name, found in columns.headers.items() if name in _NAMES}
    return replace(sheet, columns=ColumnMap(known, others, headers, columns.left_out))


def validated(normalised: Normalised, sheet: Sheet, status: str | None) -> Validated:
    """The rows by who they name; the place and the names of a member are the record's.

    That they may have left is what such a list says, so it is no warning. A row which says that the
    member stays is refused.

    Args:
        normalised: of a sheet of ``only_identity``.
        sheet: likewise.
        status: the members' new status; None where they are removed.
    """
    named = normalised.frame.with_columns(firstname=pl.lit("-"), surname=pl.lit("-"))
    normalised = with_those_who_stay(normalised, sheet)
    warnings = normalised.warnings.filter(~pl.col("code").is_in(_EXPECTED))
    found = validate(replace(normalised, frame=named, warnings=warnings), sheet, EVERYWHERE)
    nothing = [
        pl.lit(None, found.rows.schema[name]).alias(name)
        for name in MEMBER_COLUMNS
        if name not in {"id_number", "status"}
    ]
    rows = found.rows.with_columns(*nothing, status=pl.lit(status, pl.String))
    return replace(found, rows=rows)


def check_size(rows: int, most: int) -> None:
    """Check that a list isn't longer than it may be.

    Raises:
        TooManyRemovalsError: it is.
    """
    if rows > most:
        raise TooManyRemovalsError(phrase("refusal.file.removals", rows=rows, most=most))


def rule(scope: Scope, upload: Row) -> dict[str, sql.Composable]:
    """What the statements of a removal share, beside what those of every merge do."""
    return {
        **merge_rule(scope, "update", upload["id"]),
        "status": sql.Literal(upload["new_status"]),
        "removes": sql.Literal(upload["new_status"] is None),
    }


def refuse_unknown(
    connection: Connection[Row], ledger: pl.DataFrame, spill: Spill, header: str | None
) -> pl.DataFrame:
    """Refuse the rows that name nobody who is a member; see ``renewals.refuse``.

    All valid rows are staged, and the connection is inside the attempt's transaction.
    """
    connection.execute(_SQL["analyze_staged"])
    found = connection.execute(_SQL["unstage_unknown"]).fetchall()
    return refuse(ledger, spill, header, found, _UNKNOWN)


def carry_out(
    connection: Connection[Row],
    rule_: Mapping[str, sql.Composable],
    *,
    removes: bool,
    rows: int,
    people: People,
) -> pl.Series:
    """Remove the staged members, or set their status, in place of ``merge``.

    Args:
        connection: inside the attempt's transaction, after ``match``.
        rule_: see ``rule``.
        removes: they are removed.
        rows: of the file.
        people: who they are about.

    Returns:
        As ``merge``.
    """
    answers = np.full(rows, UNCHANGED, np.uint8)
    connection.execute(sql.SQL(_SQL["lock_members"]).format(**rule_))
    statement = sql.SQL(_SQL["remove" if removes else "set_status"]).format(**rule_)
    written = []
    for piece in copy_out(connection, statement, WRITTEN):
        answers[people.first_rows(piece["person"])] = UPDATED
        written.append(piece["person"])
    for piece in copy_out(connection, sql.SQL(_SQL["of_others"]).format(**rule_), TAKEN):
        answers[people.first_rows(piece["person"])] = OUT_OF_SCOPE
    connection.execute(sql.SQL(_SQL["claim"]).format(**rule_))
    note_written(connection, rule_, written)
    return pl.Series(answers).cat.to(OUTCOME)
