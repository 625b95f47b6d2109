"""Column mappings that were learnt from an office's earlier uploads.

Only a completed upload that was no dry run adds a mapping (``pipeline.run``). It applies to every
later file of the office with the same headers, so each mapping can be listed and deleted here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rollbook.accounts import audit
from rollbook.backends.database import fetch_one, fetch_page, queries
from rollbook.errors import NotFoundError

if TYPE_CHECKING:
    from uuid import UUID

    from rollbook.backends.database import Row
    from rollbook.model import User
    from rollbook.service.system import System

_SQL = queries("mappings")
log = structlog.get_logger(__name__)


async def mappings(
    system: System, user: User, *, page: int, page_size: int
) -> tuple[list[Row], int]:
    """A page of the mappings in the reader's scope, the newest first, and how many there are."""
    parameters = {
        "limit": page_size,
        "offset": (page - 1) * page_size,
        **user.scope.parameters(),
    }
    return await fetch_page(system.pool, _SQL["list"], parameters)


async def forget(system: System, user: User, mapping_id: UUID) -> Row:
    """Delete a mapping; later files are read by their headers again.

    Raises:
        NotFoundError: there is none of this id in the reader's scope.
    """
    parameters = {"id": mapping_id, **user.scope.parameters()}
    async with system.pool.connection() as connection:
        gone = await fetch_one(connection, _SQL["forget"], parameters)
        if gone is None:
            raise NotFoundError("There is no such mapping. It may have been forgotten already.")
        await audit.record(connection, "forget_mapping", who=user, job_id=gone["upload_id"])
    log.info("mapping deleted", mapping_id=str(mapping_id))
    return gone
