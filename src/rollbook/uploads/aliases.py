"""Aliases that an office keeps when it fixes rows: listed and forgotten like column mappings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rollbook.accounts import audit
from rollbook.backends.database import fetch_one, fetch_page, queries
from rollbook.errors import NotFoundError

if TYPE_CHECKING:
    from uuid import UUID

    from rollbook.backends.database import Listed, Paging
    from rollbook.model import User
    from rollbook.service.system import System

_SQL = queries("aliases")
log = structlog.get_logger(__name__)


async def aliases(system: System, user: User, paging: Paging) -> Listed:
    """A page of the aliases in the reader's scope, the newest first."""
    return await fetch_page(system.pool, _SQL["list"], user.scope.parameters(), paging)


async def forget(system: System, user: User, alias_id: UUID) -> None:
    """Delete an alias; later files with this text are read without it.

    Raises:
        NotFoundError: there is none of this id in the reader's scope.
    """
    parameters = {"id": alias_id, **user.scope.parameters()}
    async with system.pool.connection() as connection:
        gone = await fetch_one(connection, _SQL["forget"], parameters)
        if gone is None:
            raise NotFoundError(
                "There is no such alias. It may have been replaced or forgotten already: load the "
                "list again."
            )
        await audit.record(connection, "forget_alias", who=user, job_id=gone["upload_id"])
    log.info("alias deleted", alias_id=str(alias_id))
