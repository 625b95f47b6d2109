"""Checked files: stored and looked at, but not yet sent to be processed.

A check has the id that its upload will have, and its file lies where that upload's file will lie.
So sending it needs no copy, and sending it twice makes one upload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from psycopg.types.json import Json

from rollbook.backends.database import execute, fetch_all, fetch_one, queries
from rollbook.backends.files import source_key
from rollbook.errors import NotFoundError, TooManyUploadsError
from rollbook.uploads import receive
from rollbook.uploads.receive import StoredFile

if TYPE_CHECKING:
    from uuid import UUID

    from psycopg import AsyncConnection

    from rollbook.backends.database import Row
    from rollbook.model import User
    from rollbook.service.system import System
    from rollbook.uploads.options import Options

_SQL = queries("file_checks")
log = structlog.get_logger(__name__)


async def add(system: System, user: User, stored: StoredFile, options: Options) -> None:
    """Record a stored file that is to be checked.

    Of the options, ``sheet``, ``columns``, ``empty_text`` and ``allow_duplicate`` count.

    Raises:
        DuplicateUploadError: the same content came within the window.
        TooManyUploadsError: the user has too many checked files.
    """
    parameters = {
        "id": stored.upload_id,
        "owner_id": user.id,
        "file_name": stored.name,
        "file_kind": stored.kind,
        "file_bytes": stored.bytes,
        "file_sha256": stored.sha256,
        "sheet": options.sheet,
        "columns": Json(options.columns) if options.columns else None,
        "empty_text": options.empty_text,
    }
    async with system.pool.connection() as connection:
        await refuse_many(system, connection, user, stored.upload_id)
        if not options.allow_duplicate:
            await receive.refuse_repeat(system, connection, user, stored, options)
        await execute(connection, _SQL["add"], parameters)


async def refuse_many(
    system: System, connection: AsyncConnection[Row], user: User, file_id: UUID
) -> None:
    """Refuse one more file that isn't sent.

    Raises:
        TooManyUploadsError: as many as may be are checked or coming in, besides this one.
    """
    most = system.settings.waiting_uploads_per_user
    own = {"id": file_id, "owner_id": user.id}
    unsent = await fetch_one(connection, _SQL["unsent"], own)
    if unsent is not None and unsent["files"] >= most:
        raise TooManyUploadsError(
            f"You have {most} files that are checked or coming in, and not sent. Send some of "
            f"them, or wait: a checked file is removed after {system.settings.check_hours} h. "
            "Nothing was kept."
        )


async def change(system: System, user: User, check_id: UUID, options: Options) -> StoredFile:
    """Have a stored file checked with another ``sheet``, ``empty_text`` and other ``columns``.

    Raises:
        DuplicateUploadError: the same content came within the window, and ``options`` don't allow
            it. The file stays.
        NotFoundError: the user has no such check (any more), or it has become an upload.
    """
    wanted = {
        "id": check_id,
        "owner_id": user.id,
        "sheet": options.sheet,
        "columns": Json(options.columns) if options.columns else None,
        "empty_text": options.empty_text,
    }
    async with system.pool.connection() as connection:
        found = await fetch_one(connection, _SQL["change"], wanted)
        if found is None:
            raise _no_such_check()
        stored = _stored(found)
        if not options.allow_duplicate:
            await receive.refuse_repeat(system, connection, user, stored, options)
    return stored


async def use(system: System, user: User, check_id: UUID) -> tuple[StoredFile, Row]:
    """The file of a check, to be sent now, and the check's row with what it was made with.

    Raises:
        NotFoundError: the user has no such check (any more).
    """
    own = {"id": check_id, "owner_id": user.id}
    found = await fetch_one(system.pool, _SQL["use"], own)
    if found is None:
        raise _no_such_check()
    return _stored(found), found


def _no_such_check() -> NotFoundError:
    return NotFoundError(
        "There is no such check; a checked file is removed when nobody sends it. Nothing was "
        "changed. Check the file again, or send it without a check."
    )


def _stored(check: Row) -> StoredFile:
    return StoredFile(
        check["id"], check["file_name"], check["file_kind"], check["file_bytes"],
        check["file_sha256"],
    )  # fmt: skip


async def remove_unused(system: System) -> int:
    """Remove the files that nobody has sent for ROLLBOOK_CHECK_HOURS; returns how many.

    Raises:
        ServiceUnavailableError: the store doesn't answer; its orphans are removed later.
    """
    hours = {"hours": system.settings.check_hours}
    found = await fetch_all(system.pool, _SQL["unused"], hours)
    removed = [row for row in found if not row["is_upload"]]
    for row in removed:
        await system.store.remove(source_key(row["id"], row["file_kind"]))
    if removed:
        log.info("unsent checked files removed", files=len(removed))
    return len(removed)


async def discard(system: System, stored: StoredFile) -> None:
    """Remove a file that can't be read, and its check."""
    await execute(system.pool, _SQL["forget"], {"id": stored.upload_id})
    await receive.discard(system, stored)
