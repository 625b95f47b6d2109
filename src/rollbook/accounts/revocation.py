"""Ending all sessions of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollbook import clock
from rollbook.backends.database import fetch_row, queries

if TYPE_CHECKING:
    import datetime as dt
    from uuid import UUID

    from rollbook.backends.database import Connection

_SQL = queries("users")


async def end_sessions(connection: Connection, user_id: UUID) -> dt.datetime:
    """End all sessions of an account, in the transaction of what ends them.

    Sessions began by the clocks of several machines, so their own times count, and not only ours.

    Returns:
        When a session must begin at the earliest so as not to be one of them.
    """
    row = await fetch_row(connection, _SQL["end_sessions"], {"id": user_id, "now": clock.now()})
    tokens_from: dt.datetime = row["tokens_from"]
    return tokens_from
