"""One member, by its id, which is a uuid so that no ID number is in an address."""

from __future__ import annotations

import datetime as dt
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql
from psycopg.errors import LockNotAvailable
from psycopg.types.json import Jsonb

from rollbook.accounts import audit
from rollbook.backends.database import execute, fetch_all, fetch_one, fetch_row, queries
from rollbook.errors import BusyError, NotAllowedError, NotFoundError
from rollbook.members import history, index

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from rollbook.backends.database import Connection, Pool, Row
    from rollbook.model import User
    from rollbook.service.system import System

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

_SQL = queries("member_profile")


async def get(where: Pool | Connection, user: User, member_id: UUID) -> Row:
    """The row of the table ``members``.

    Members who aren't indexed yet are found too, only slower.

    Raises:
        NotFoundError: there is none of this id in the reader's scope.
    """
    own = {"member_id": member_id, **user.scope.parameters()}
    found = await fetch_one(where, _SQL["by_index"], own)
    if found is None:
        behind = await index.behind(where)
        if behind.is_filling:
            found = await fetch_one(where, _SQL["by_reading_all"], own)
        elif behind.uploads:
            found = await fetch_one(where, _SQL["by_due"], own)
            # The round may have indexed the member between the two looks.
            found = found or await fetch_one(where, _SQL["by_index"], own)
    if found is None:
        raise NotFoundError("There is no such member. Search for the member again.")
    return found


@asynccontextmanager
async def changing(
    system: System, who: str = "This member", done: str = "changed"
) -> AsyncIterator[Connection]:
    """A transaction that changes members, and waits for a merge that has locked one.

    Raises:
        BusyError: a merge has locked one for too long.
    """
    seconds = system.settings.member_lock_wait_s
    try:
        async with system.pool.connection() as connection:
            await connection.execute(_SQL["bound_lock"], {"milliseconds": round(seconds * 1000)})
            yield connection
    except LockNotAvailable as error:
        raise BusyError(
            f"{who} is being changed by an upload or another program, for longer than "
            f"{seconds:g} seconds. Nothing was {done}; please try again in a minute."
        ) from error


async def write(connection: Connection, user: User, id_number: str, values: dict[str, Any]) -> Row:
    """Set columns of a member in the user's scope; returns the row, with its ``state``."""
    literals = (Jsonb(value) if isinstance(value, dict) else value for value in values.values())
    statement = sql.SQL(_SQL["correct"]).format(
        fields=sql.SQL(", ").join(map(sql.Identifier, values)),
        values=sql.SQL(", ").join(map(sql.Literal, literals)),
        id_number=sql.Literal(id_number),
        **{name: sql.Literal(value) for name, value in user.scope.parameters().items()},
    )
    return await fetch_row(connection, statement)


async def note_correction(
    connection: Connection, user: User, row: Row, reason: str, changes: dict[str, list[Any]]
) -> None:
    """Add to the history what was corrected in a row, with ``[before, after]`` by field."""
    note: dict[str, Any] = {
        "id_number": row["id_number"],
        "at": row["changed_at"],
        "user_id": user.id,
        "email": user.email,
        "reason": reason,
        "changes": Jsonb(changes),
    }
    await execute(connection, _SQL["note_correction"], note)


@dataclass(frozen=True, slots=True)
class Profile:
    """All that is known of a member."""

    #: The row of the table ``members``.
    member: Row
    history: history.History
    #: The uploads of the reader's scope that held the member, the latest first.
    uploads: list[Row]


async def profile(system: System, user: User, member_id: UUID) -> Profile:
    """A member with sources, history and uploads.

    Raises:
        NotFoundError: there is none of this id in the reader's scope.
    """
    async with system.pool.connection() as connection:
        # Member and history are of one moment.
        await connection.execute(_SQL["one_moment"])
        member = await get(connection, user, member_id)
        own = {name: member[name] for name in ("id_number", "created_by_upload", "created_by_row")}
        uploads = await fetch_all(
            connection,
            _SQL["uploads_of"],
            {**own, "member_id": member_id, **user.scope.parameters()},
        )
        return Profile(member, await history.read(connection, user, member), uploads)


def version_of(member: Row) -> int:
    """The version of a row of the table ``members``: when it changed, in microseconds."""
    changed: dt.datetime = member["changed_at"]
    return (changed - _EPOCH) // dt.timedelta(microseconds=1)


async def open_id_number(system: System, user: User, member_id: UUID) -> str:
    """The member's whole ID number, or that of the passport; each time is audited.

    Raises:
        NotAllowedError: the user's role may not open ID numbers.
        NotFoundError: there is no member of this id in the reader's scope.
    """
    async with system.pool.connection() as connection:
        member = await get(connection, user, member_id)
        if not system.settings.may_open_id_numbers(user.role):
            raise NotAllowedError(
                "Your role may not open whole ID numbers. Ask a national administrator, who can "
                "also change that (ROLLBOOK_ID_NUMBER_ROLES)."
            )
        await audit.record(connection, "open_id_number", who=user, member_id=member_id)
        number: str = member["identity_number"] or member["id_number"]
    return number
