"""One member: the record by its id, which is a uuid so that no ID number is in an address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollbook.accounts import audit
from rollbook.backends.database import fetch_one, queries
from rollbook.errors import NotAllowedError, NotFoundError
from rollbook.members import index

if TYPE_CHECKING:
    from uuid import UUID

    from rollbook.backends.database import Connection, Pool, Row
    from rollbook.model import User
    from rollbook.service.system import System

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
