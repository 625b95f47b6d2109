"""Export: the members of a scope as a file in the template's form, made by a worker.

A request is a row of ``member_files``, which is the queue too (docs/decisions/0034). A worker has
the file made by a child process, whose memory doesn't grow with the number of members. Only its
owner can download it, and it is removed after ROLLBOOK_EXPORT_HOURS.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID, uuid4

import structlog
from psycopg.types.json import Jsonb

from rollbook.accounts import audit
from rollbook.backends import files
from rollbook.backends.database import UNAVAILABLE, execute, fetch_all, fetch_one, queries
from rollbook.errors import (
    ConflictError,
    NotFoundError,
    RollbookError,
    TooManyRequestsError,
)
from rollbook.members import index, profile, search
from rollbook.service.due import claim_row, work_on_due
from rollbook.service.rounds import every
from rollbook.telemetry import logs

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable

    from rollbook.backends.database import Connection, Row
    from rollbook.members.search import Filters
    from rollbook.model import Progress, User
    from rollbook.service.system import System

    Make = Callable[[UUID, int, Callable[[Progress], None]], Awaitable[object]]

Format = Literal["xlsx", "csv"]
#: Seconds of a claim's lease, and between two notes of how far it is, which renew it.
LEASE_S: Final = 60.0
NOTE_S: Final = 1.0
#: Times that a file is tried, when making it failed for a reason of its own.
TRIES: Final = 3

_SQL = queries("member_files")
log = structlog.get_logger(__name__)


async def ask(system: System, user: User, filters: Filters, *, file_format: Format) -> Row:
    """Ask for an export; a worker makes it.

    Raises:
        InvalidRequestError: a filter can't be understood.
        TooManyRequestsError: too many of the user's files are still to be made.
    """
    async with search.bounded(system) as connection:
        query = await search.text_query(connection, filters, user.scope)
    # What is stored is what a worker needs; a place that is unknown was refused above.
    wanted: dict[str, Any] = {name: value for name, value in asdict(filters).items() if value}
    if filters.expires_before is not None:
        wanted["expires_before"] = filters.expires_before.isoformat()
    async with system.pool.connection() as connection:
        row = await record(
            system,
            connection,
            user,
            kind="export",
            file_format=file_format,
            filters={**wanted, "query": query},
        )
        await audit.record(connection, "export_members", who=user, about=file_format)
    log.info("export requested", file_id=str(row["id"]), format=file_format)
    return row


async def record(
    system: System,
    connection: Connection,
    user: User,
    *,
    kind: Literal["export", "access"],
    file_format: str,
    filters: dict[str, Any] | None = None,
    member_id: UUID | None = None,
) -> Row:
    """Record a file that a worker is to make, in the transaction of the request.

    Raises:
        TooManyRequestsError: too many of the user's files are still to be made.
    """
    waiting = await fetch_one(connection, _SQL["waiting"], {"owner_id": user.id})
    most = system.settings.exports_per_user
    if waiting is not None and waiting["files"] >= most:
        raise TooManyRequestsError(
            f"{most} of your files are still being made. Nothing was requested now; please wait "
            "until one of them is ready.",
            wait_s=30,
        )
    values = {
        "id": uuid4(),
        "kind": kind,
        "owner_id": user.id,
        "format": file_format,
        "filters": Jsonb(filters or {}),
        "member_id": member_id,
        **user.scope.parameters(),
    }
    row = await fetch_one(connection, _SQL["ask"], values)
    assert row is not None  # RETURNING
    return row


async def ask_for_person(
    system: System, user: User, member_id: UUID, *, file_format: Literal["xlsx", "json"]
) -> Row:
    """Ask for everything that is held about a member; a worker makes it.

    Raises:
        NotFoundError: there is no member of this id in the reader's scope.
        TooManyRequestsError: too many of the user's files are still to be made.
    """
    async with system.pool.connection() as connection:
        member = await profile.get(connection, user, member_id)
        row = await record(
            system, connection, user, kind="access", file_format=file_format, member_id=member_id
        )
        await audit.record(
            connection, "access_member", who=user, member_id=member_id, about=file_format
        )
        # The worker finds the member by the index.
        await index.write(connection, [int(member["id_number"])])
    log.info("person's file requested", file_id=str(row["id"]), member_id=str(member_id))
    return row


async def get(system: System, user: User, file_id: UUID) -> Row:
    """The state of the user's own file.

    Raises:
        NotFoundError: the user has none of this id, or another scope by now.
    """
    own = {"id": file_id, "owner_id": user.id, **user.scope.parameters()}
    found = await fetch_one(system.pool, _SQL["of_owner"], own)
    if found is None:
        raise NotFoundError(
            "There is no such file of yours. It may have expired; ask for it again."
        )
    return found


async def download(
    system: System, user: User, file_id: UUID
) -> tuple[Row, int, AsyncIterator[bytes]]:
    """The finished file with its size in bytes; each download is audited.

    Raises:
        NotFoundError: the user has no such file.
        ConflictError: it isn't ready, or failed.
    """
    row = await get(system, user, file_id)
    if row["status"] != "completed":
        said = {
            "pending": "The file is still being made. Please ask again in a moment.",
            "removed": "The file was removed, since a person was erased. Ask for it again.",
        }
        raise ConflictError(said.get(row["status"], f"The file was not made. {row['error']}"))
    try:
        size, chunks = await _opened(system, row)
    except FileNotFoundError as error:
        raise NotFoundError("The file is no longer stored. Please ask for it again.") from error
    act: audit.Act = "download_export" if row["kind"] == "export" else "download_person"
    await audit.record(
        system.pool, act, who=user, member_id=row["member_id"], about=f"{row['rows_done']} rows"
    )
    return row, size, chunks


async def _opened(system: System, row: Row) -> tuple[int, AsyncIterator[bytes]]:
    key = files.members_key(row["id"], row["format"], row["tries"])
    try:
        return await system.store.open(key)
    except FileNotFoundError:
        return await system.store.open(files.first_members_key(row["id"], row["format"]))


async def forget_expired(system: System) -> int:
    """Remove the files whose time has ended, of all their attempts; returns their number."""
    gone = await fetch_all(system.pool, _SQL["over"])
    for row in gone:
        async for file in system.store.each(row["id"]):
            await system.store.remove(file.key)
    return len(gone)


async def make_due(
    system: System, make: Make, stop: asyncio.Event, *, turn: asyncio.Semaphore | None = None
) -> None:
    """Make the files that are due, one at a time, until ``stop`` is set.

    ``make`` makes the file of an id in the attempt of a number, and says how far it is. A file
    under way at the end is made again by another process. ``turn`` is that of ``work_on_due``.
    """
    claim = partial(claim_row, system.pool, _SQL, LEASE_S)
    work = partial(_work, system, make)
    await work_on_due(
        stop, claim, work, concurrency=1, grace_s=0, service="files of members", turn=turn
    )


async def _work(system: System, make: Make, claimed: Row) -> None:
    own = {"id": claimed["id"], "tries": claimed["tries"]}
    how_far: dict[str, int | None] = {"rows_done": 0, "rows_total": None}

    def learn(progress: Progress) -> None:
        how_far.update(rows_done=progress.rows_done, rows_total=progress.rows_total)

    async def note() -> None:
        await execute(system.pool, _SQL["renew"], {**own, **how_far, "lease_s": LEASE_S})

    try:
        async with every(NOTE_S, note, service="lease of a file of members"):
            await make(claimed["id"], claimed["tries"], learn)
        log.info("file of members made", file_id=str(claimed["id"]))
    except UNAVAILABLE as error:
        log.warning("file of members postponed", reason=type(error).__name__)
        wait_s = system.settings.backoff_ms / 1000
        await execute(system.pool, _SQL["postpone"], {**own, "wait_s": wait_s})
    except RollbookError as error:
        log.error("file of members failed", code=error.code)
        await _failed(system, claimed, error.message)
    except Exception as error:  # noqa: BLE001 - its text may quote a cell
        log.error("file of members failed", error=type(error).__name__, where=logs.places(error))
        await _failed(system, claimed, "Making it failed unexpectedly. The log has the details.")


async def _failed(system: System, claimed: Row, error: str) -> None:
    """Try again later; after the last try, say why not."""
    own = {"id": claimed["id"], "tries": claimed["tries"]}
    if claimed["tries"] < TRIES:
        wait_s = system.settings.backoff_ms / 1000 * 2 ** claimed["tries"]
        await execute(system.pool, _SQL["postpone"], {**own, "wait_s": wait_s})
        return
    values = {**own, "error": error, "hours": system.settings.export_hours}
    await execute(system.pool, _SQL["fail"], values)
