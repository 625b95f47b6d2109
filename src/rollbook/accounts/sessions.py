"""Sessions of people, by tokens, and of programs, by keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollbook.accounts import keys, users

if TYPE_CHECKING:
    from collections.abc import Collection

    from rollbook.backends.database import Pool
    from rollbook.config import Settings
    from rollbook.model import Session


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
