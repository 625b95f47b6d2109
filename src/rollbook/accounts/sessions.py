"""Sessions of people, by tokens, and of programs, by keys.

People's are recorded when they begin and when their token is renewed, for their owner's list.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from rollbook import clock
from rollbook.accounts import audit, keys, users
from rollbook.backends.database import execute, fetch_all, fetch_one, queries
from rollbook.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from rollbook.backends.database import Pool, Row
    from rollbook.config import Settings
    from rollbook.model import Session

_SQL = queries("open_sessions")
_USERS = queries("users")


async def session(pool: Pool, settings: Settings, credential: str) -> Session:
    """The session of a token or a key, with its account as it is now.

    Raises:
        NotAuthenticatedError: it isn't valid, or no longer.
    """
    if credential.startswith(keys.PREFIX):
        return await keys.session(pool, credential)
    return await users.session(pool, settings, credential)


async def changed(pool: Pool, sessions: Collection[Session]) -> set[Session]:
    """Which of these sessions have ended, or belong to accounts that have changed since."""
    of_keys = {one for one in sessions if one.scopes is not None}
    of_people = set(sessions) - of_keys
    return (await users.changed(pool, of_people) if of_people else set()) | (
        await keys.changed(pool, of_keys) if of_keys else set()
    )


async def note(pool: Pool, settings: Settings, used: Session) -> None:
    """Record a session that has begun, or whose token was renewed."""
    origin, now = audit.origin.get(), clock.now()
    parameters = {
        "id": used.id,
        "user_id": used.user.id,
        "begun_at": used.begun,
        "until": _until(settings, used.begun),
        "now": now,
        "via": used.via,
        "address": origin.address,
        "agent": origin.agent,
    }
    async with pool.connection() as connection:
        await execute(connection, _SQL["note"], parameters)
        await execute(connection, _SQL["forget_old"], {"now": now})


async def listed(pool: Pool, owner: Session) -> list[Row]:
    """The open sessions of an account, the last used first; ``is_this`` marks the owner's own."""
    parameters = {"user_id": owner.user.id, "id": None, "now": clock.now()}
    rows = await fetch_all(pool, _SQL["open"], parameters)
    return [{**row, "session_id": row["id"], "is_this": row["id"] == owner.id} for row in rows]


async def end(pool: Pool, settings: Settings, owner: Session, session_id: UUID) -> None:
    """End one of the account's sessions: its tokens are refused, and live connections end.

    Raises:
        NotFoundError: the account has no such open session.
    """
    parameters = {"user_id": owner.user.id, "id": session_id, "now": clock.now()}
    async with pool.connection() as connection:
        row = await fetch_one(connection, _SQL["open"], parameters)
        if row is None:
            raise NotFoundError("You have no such session, or it has ended.")
        until = _until(settings, row["begun_at"])
        await connection.execute(_USERS["end_session"], {"id": session_id, "until": until})
        about = " ".join(part for part in (row["address"], row["agent"]) if part)
        await audit.record(connection, "session_end", who=owner.user, about=about or None)


def _until(settings: Settings, begun: dt.datetime) -> dt.datetime:
    """When a session ends by itself."""
    return begun + dt.timedelta(minutes=settings.session_lifetime_min)
