"""Aliases: what an office means by a text that Rollbook doesn't know, such as "Gautang" for GP.

A sender keeps one when fixing rows. It is put in place of the text before a cell is read, in fields
whose values are known; a note on the upload says how often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import polars as pl

from rollbook import places
from rollbook.accounts import audit
from rollbook.backends.database import queries
from rollbook.languages import listed, phrase
from rollbook.model import User
from rollbook.pipeline import cells
from rollbook.pipeline.columns import title
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.model import Scope

#: Fields that may have aliases: those with known values.
FIELDS: Final = ("province", "municipality", "gender", "citizenship", "race", "language")
#: Of an alias and of its value.
MOST_CHARS: Final = 100
#: Aliases that the note names.
_MOST_NAMED: Final = 20

#: The value by clean text in small letters, by field.
Aliases: TypeAlias = "Mapping[str, Mapping[str, str]]"

_SQL, _USERS = queries("aliases"), queries("users")


def aliases_of(connection: Connection[Row], scope: Scope) -> Aliases:
    """The aliases of an office."""
    office = {"province": scope.province, "municipality": scope.municipality}
    found: dict[str, dict[str, str]] = {}
    for row in connection.execute(_SQL["of_office"], office):
        found.setdefault(row["field"], {})[row["text"]] = row["value"]
    connection.commit()
    return found


def remember(connection: Connection[Row], upload: Row) -> None:
    """Store the aliases that the sender of a follow-up asked for, and say so in the audit trail.

    In the transaction that completes it, since a follow-up that fails teaches the office nothing.

    Args:
        connection: of that transaction.
        upload: the follow-up as it was recorded; ``grid`` has the ``aliases``.
    """
    # An older version of Rollbook has stored them itself.
    wanted = upload["grid"].get("aliases", ())
    if not wanted:
        return
    owner = connection.execute(_USERS["by_id"], {"id": upload["owner_id"]}).fetchone()
    who = None if owner is None else User.from_row(owner)
    for alias in wanted:
        values = {
            **alias,
            "province": upload["province"],
            "municipality": upload["municipality"],
            "upload_id": upload["id"],
            "by": upload["owner_email"],
        }
        connection.execute(_SQL["keep"], values)
        about = f"{alias['field']}: '{alias['text']}' as {alias['value']}"
        entry = audit.entry(
            "keep_alias", who=who, job_id=upload["id"], about=about, agent=upload["worker"]
        )
        connection.execute(*entry)


def key_of(text: str | None) -> str | None:
    """A sender's text as cells are compared with it: clean, in small letters; None if empty."""
    if text is None:
        return None
    cleaned = cells.clean(cells.shown(pl.Series("cell", [text], pl.String)))
    key: str | None = cleaned.str.to_lowercase().item()
    return key


def is_known(field: str, text: str) -> bool:
    """Whether a text is a known value of a field, and so may be what an alias means."""
    if field == "province":
        found = places.find_province(text)
        return found is not None and found.how == "known"
    if field == "municipality":
        municipality = places.find_municipality(text)
        return municipality is not None and municipality.how == "known"
    if field not in FIELDS:
        return False
    return cells.known_spelling(field, pl.Series([text], dtype=pl.String)).item() is not None


def note(used: Mapping[tuple[str, str], int], aliases: Aliases) -> Note:
    """The note on cells that were read by aliases."""
    most = sorted(used.items(), key=lambda entry: (-entry[1], entry[0]))
    named = [
        phrase(
            "note.aliases.one",
            alias=alias,
            value=aliases[field][alias],
            column=title(field),
            rows=rows,
        )
        for (field, alias), rows in most[:_MOST_NAMED]
    ]
    words = listed(named, _MOST_NAMED, len(most))
    return Note("aliases", sum(used.values()), {"words": words})
