"""Whether the file store that this process sees is the installation's.

Each installation has a file of its id in its store (``installations/``). It is written once, by
the process that comes first, and PostgreSQL remembers that it was: a store without it is another
one, an empty folder where a mount is missing, or one that was emptied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rollbook.backends.database import execute, fetch_all, fetch_row, queries
from rollbook.errors import WrongStoreError

if TYPE_CHECKING:
    from uuid import UUID

    from rollbook.service.system import System

_SQL = queries("store")
log = structlog.get_logger(__name__)


async def prove(system: System) -> UUID:
    """Return the installation's id when the store is shown to be the installation's.

    The first process of a new installation marks the store. One without the mark is taken for the
    installation's, and marked, where it holds any of the newest files that the record knows.

    Raises:
        WrongStoreError: it is another one.
        ServiceUnavailableError: it doesn't answer.
    """
    store = system.store
    # No connection is held while the store is asked: one that hangs would use up the pool.
    row = await fetch_row(system.pool, _SQL["installation"])
    installation: UUID = row["id"]
    is_marked = await store.is_of(installation)
    if not (is_marked and row["is_marked"]):
        keys = [file["key"] for file in await fetch_all(system.pool, _SQL["newest_files"])]
        if not is_marked and (keys or row["is_marked"]) and not await _holds(system, keys):
            raise WrongStoreError(
                f"The file store that this process sees ({store.url}) is not the one of this "
                f"installation: it has no file installations/{installation}, and none of the "
                "files of its uploads. Is it mounted, and is ROLLBOOK_STORE_URL the same on "
                "all machines? Nothing was changed; work resumes automatically when it is right. "
                "Where the store was lost or moved without this file, put the file there."
            )
        # One at a time: a second process waits here for the first one's commit.
        async with system.pool.connection() as connection:
            first = await execute(connection, _SQL["mark"]) == 1
            if not is_marked and (first or keys):
                await store.say_installation(installation)
                log.info("file store marked", installation=str(installation))
        if not is_marked and not (first or keys):
            return await prove(system)
    store.expect(installation)
    return installation


async def _holds(system: System, keys: list[str]) -> bool:
    for key in keys:
        if await system.store.has(key):
            return True
    return False
