"""Column mappings that were learnt from an office's earlier uploads.

Only a completed upload that was no dry run adds a mapping (``pipeline.run``). It applies to every
later file of the office with the same headers, so each mapping can be listed, changed and deleted
here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from psycopg.types.json import Json

from rollbook.accounts import audit
from rollbook.backends.database import fetch_one, fetch_page, fetch_row, queries
from rollbook.errors import InvalidRequestError, NotFoundError
from rollbook.masking import masked
from rollbook.uploads.options import Choices

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from rollbook.backends.database import Listed, Paging, Row
    from rollbook.model import User
    from rollbook.service.system import System

_SQL = queries("mappings")
_GONE = (
    "There is no such mapping. It may have been changed or forgotten already: load the list again."
)
log = structlog.get_logger(__name__)


async def mappings(system: System, user: User, paging: Paging) -> Listed:
    """A page of the mappings in the reader's scope, the newest first."""
    return await fetch_page(system.pool, _SQL["list"], user.scope.parameters(), paging)


async def change(
    system: System, user: User, mapping_id: UUID, columns: Mapping[str, str | None]
) -> Row:
    """Change what the headers of a mapping mean; the changed mapping has a new id.

    ``columns`` has the field by header, as the list shows the headers; null leaves a column out,
    and a header that isn't named is read by its own name again.

    Raises:
        NotFoundError: there is none of this id in the reader's scope.
        InvalidRequestError: it has no such header, or there is no such field.
    """
    parameters = {"id": mapping_id, **user.scope.parameters()}
    wanted = Choices.of(columns=dict(columns)).columns
    if not wanted:
        raise InvalidRequestError("Name a header with its field, or forget the mapping instead.")
    async with system.pool.connection() as connection:
        before = await fetch_one(connection, _SQL["lock"], parameters)
        if before is None:
            raise NotFoundError(_GONE)
        # The list masks ID numbers in headers.
        unknown = wanted.keys() - {masked(header) for header in before["columns"]}
        if unknown:
            raise InvalidRequestError(
                f"The mapping has no header {min(unknown)!r}, so nothing was changed. Name its "
                "headers as the list shows them."
            )
        changed = {h: wanted[masked(h)] for h in before["columns"] if masked(h) in wanted}
        written = {"id": mapping_id, "columns": Json(changed), "changed_by": user.email}
        after = await fetch_row(connection, _SQL["change"], written)
        await audit.record(connection, "change_mapping", who=user, job_id=before["upload_id"])
    log.info("mapping changed", mapping_id=str(mapping_id))
    return {**before, **after}


async def forget(system: System, user: User, mapping_id: UUID) -> Row:
    """Delete a mapping; later files are read by their headers again.

    Raises:
        NotFoundError: there is none of this id in the reader's scope.
    """
    parameters = {"id": mapping_id, **user.scope.parameters()}
    async with system.pool.connection() as connection:
        gone = await fetch_one(connection, _SQL["forget"], parameters)
        if gone is None:
            raise NotFoundError(_GONE)
        await audit.record(connection, "forget_mapping", who=user, job_id=gone["upload_id"])
    log.info("mapping deleted", mapping_id=str(mapping_id))
    return gone
