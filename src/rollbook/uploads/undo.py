"""Undoes an upload: deletes the members it created and restores those it changed.

Members whom a later upload changed or confirmed, or who were edited by hand, are left unchanged
and listed. A dry run counts and lists the same and changes nothing. All of it is one transaction.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from psycopg import sql
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from rollbook import clock
from rollbook.accounts import audit
from rollbook.backends.database import (
    execute,
    fetch_all,
    fetch_listed,
    fetch_one,
    fetch_row,
    lock,
    queries,
)
from rollbook.errors import BusyError, ConflictError, NotFoundError, ServerLimitError
from rollbook.service import clocks
from rollbook.uploads.receive import lock_of_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from psycopg import AsyncConnection

    from rollbook.backends.database import Listed, Paging, Row
    from rollbook.model import User
    from rollbook.service.system import System

#: How it is decided, in this order.
_DECISIONS: Final = (
    "find_records", "analyze_records", "find_stored", "find_claims", "keep_claimed", "find_held",
    "find_successors", "decide", "analyze",
)  # fmt: skip
_SQL, _VERIFICATIONS = queries("undo"), queries("verifications")
#: What undoing writes, in this order.
_WRITES: Final = (
    "remove", "restore", "restore_stored", "restore_joined", "bring_back", "note_unwanted",
    "note_unwanted_joins", "replace_unwanted", "hand_over", "forget_changes", "withdraw_claim",
    "keep_list", "note_written",
)  # fmt: skip
#: Shared by all that may make a member of a stored record again, or store a member's record: by
#: undoing, and by joining and separating members. An erasure that deletes stored records has it for
#: itself, so that nobody has read what it deletes.
RECORDS_LOCK: Final = "stored records"
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """What undoing does, or has done, by members."""

    #: Created by the upload, and deleted.
    removed: int
    #: Changed by the upload, and restored; also in the record that is stored of a former member.
    restored: int
    #: Left unchanged, because a later upload changed them or holds the same values.
    later_upload: int
    #: Left unchanged, because they were edited by hand.
    edited: int
    #: Created or changed by the upload, and deleted since, so there is no record to undo.
    gone: int
    #: Left unchanged, because another member was joined to them by hand.
    joined: int = 0
    #: Removed by the upload, and not brought back: the upload that created them was undone since.
    creation_undone: int = 0

    @property
    def kept(self) -> int:
        """The number of members that were left unchanged."""
        return self.later_upload + self.edited + self.joined + self.creation_undone


@dataclass(frozen=True, slots=True)
class Undone:
    """The result of undoing an upload, or of its dry run."""

    #: The row of the table ``uploads``, afterwards.
    upload: Row
    counts: Counts
    is_dry_run: bool


async def undo(system: System, user: User, upload_id: UUID, *, dry_run: bool) -> Undone:
    """Undo an upload, or with ``dry_run`` only count what undoing it would do.

    Raises:
        NotFoundError: there is none of this id in the reader's scope.
        ConflictError: it has merged nothing, was undone before, or completed too long ago.
    """
    now = await clocks.now(system.pool)
    async with _transaction(system) as connection:
        if not dry_run:
            await lock(connection, RECORDS_LOCK, is_shared=True)
            # The second of two waits here, and sees then that the upload is undone.
            await _lock_makers(connection, upload_id)
            _check(await _upload(connection, user, upload_id), system, now=now)
            # Fixed rows that are being sent are recorded before, or see that the upload is undone.
            await lock(connection, lock_of_rows(upload_id))
            await execute(connection, _SQL["lock_members"], {"id": upload_id})
            # A list that was undone meanwhile may have handed records over to this upload.
            await _lock_makers(connection, upload_id)
        upload = await _upload(
            connection, user, upload_id, query="upload" if dry_run else "lock_upload"
        )
        _check(upload, system, now=now)
        counts = await _decide(connection, upload_id)
        if dry_run:
            about = "dry run"
        else:
            upload = await _carry_out(connection, user, upload, counts)
            about = f"{counts.removed} removed, {counts.restored} restored, {counts.kept} kept"
        await audit.record(connection, "undo", who=user, job_id=upload_id, about=about)
    if not dry_run:
        log.info("upload undone", job_id=str(upload_id), **asdict(counts))
    return Undone(upload, counts, dry_run)


def lock_of_undo(upload_id: UUID) -> str:
    """Held while an upload is undone, and while records that it has created are brought back."""
    return f"undo {upload_id}"


async def _lock_makers(connection: AsyncConnection[Row], upload_id: UUID) -> None:
    for maker in await fetch_all(connection, _SQL["makers"], {"id": upload_id}):
        await lock(connection, lock_of_undo(maker["id"]))


async def kept(system: System, user: User, upload_id: UUID, paging: Paging) -> Listed:
    """A page of the members whom undoing left unchanged, or would.

    Returns:
        Rows of ``id_number``, ``reason`` and ``later_upload``, in the order of the ID numbers.

    Raises:
        What ``undo`` raises, but for an upload that was undone before.
    """
    async with _listing(system, user, upload_id) as (connection, query):
        return await fetch_listed(connection, _SQL, query, {"id": upload_id}, paging, most=None)


async def kept_csv(system: System, user: User, upload_id: UUID) -> bytes:
    """All of them as CSV: the same columns, with a header.

    Raises:
        What ``kept`` raises.
    """
    async with _listing(system, user, upload_id) as (connection, query):
        statement = sql.SQL(_SQL[f"{query}_csv"]).format(upload_id=sql.Literal(upload_id))
        async with connection.cursor().copy(statement) as rows:
            content = b"".join([bytes(chunk) async for chunk in rows])
        await audit.record(connection, "download_kept", who=user, job_id=upload_id)
        return content


@contextlib.asynccontextmanager
async def _listing(
    system: System, user: User, upload_id: UUID
) -> AsyncIterator[tuple[AsyncConnection[Row], str]]:
    """A transaction, and the query that lists in it the members whom undoing leaves unchanged."""
    now = await clocks.now(system.pool)
    async with _transaction(system) as connection:
        upload = await _upload(connection, user, upload_id)
        if upload["undone_at"] is not None:
            yield connection, "kept"
            return
        _check(upload, system, now=now)
        await _decide(connection, upload_id)
        yield connection, "would_keep"


async def _upload(
    connection: AsyncConnection[Row], user: User, upload_id: UUID, *, query: str = "upload"
) -> Row:
    parameters = {"id": upload_id, **user.scope.parameters()}
    found = await fetch_one(connection, _SQL[query], parameters)
    if found is None:
        raise NotFoundError("There is no such upload. Check the job id.")
    return found


@contextlib.asynccontextmanager
async def _transaction(system: System) -> AsyncIterator[AsyncConnection[Row]]:
    """A transaction on one of the few connections for undoing: the others stay free.

    Raises:
        BusyError: others are being undone, or the members are locked for longer than we wait.
        ServerLimitError: it takes longer than it may.
    """
    settings = system.settings
    try:
        async with system.undo_pool.connection() as connection:
            yield connection
    except PoolTimeout as error:
        raise BusyError(
            f"{settings.undo_at_a_time} other uploads are being undone, or counted for that. "
            "Nothing was changed; please try again in a minute."
        ) from error
    except (LockNotAvailable, DeadlockDetected) as error:
        raise BusyError(
            "Members of this upload are being changed by a merge or another program, for longer "
            f"than {settings.undo_lock_wait_s:g} seconds. Nothing was changed; please try again "
            "in a minute."
        ) from error
    except QueryCanceled as error:
        raise ServerLimitError(
            f"Undoing took longer than {settings.undo_timeout_s:g} seconds and was stopped. "
            "Nothing was changed. Ask the operator to raise ROLLBOOK_UNDO_TIMEOUT_S."
        ) from error


def _check(upload: Row, system: System, *, now: dt.datetime) -> None:
    days, zone = system.settings.undo_days, system.settings.time_zone
    if upload["undone_at"] is not None:
        raise ConflictError(
            f"This upload was undone at {clock.in_words(upload['undone_at'], zone)} by "
            f"{upload['undone_by']}. Nothing was changed now."
        )
    if upload["status"] != "completed":
        raise ConflictError(
            f"This upload is {upload['status']}: it has changed no member, so there is nothing to "
            "undo."
        )
    if upload["dry_run"]:
        raise ConflictError("A dry run has changed no member, so there is nothing to undo.")
    if upload["changes_forgotten_at"] is not None:
        raise ConflictError(
            f"The values that members had before this upload were stored until "
            f"{clock.in_words(upload['changes_forgotten_at'], zone)} and are gone. Nothing was "
            "changed; send a file with the right values instead."
        )
    if upload["finished_at"] < now - dt.timedelta(days=days):
        raise ConflictError(
            f"This upload completed at {clock.in_words(upload['finished_at'], zone)}, and an "
            f"upload can be undone within {days} days. Nothing was changed; send a file with the "
            "right values instead."
        )


async def _decide(connection: AsyncConnection[Row], upload_id: UUID) -> Counts:
    """Fill this transaction's table ``undoing`` with what happens to each member.

    Raises:
        ConflictError: the members of a later upload weren't recorded.
    """
    own = {"id": upload_id}
    await connection.execute(_SQL["plan_for_sets"])
    unrecorded = await fetch_row(connection, _SQL["unrecorded"], own)
    if unrecorded["uploads"]:
        raise ConflictError(
            "A version of Rollbook that didn't record which members a file confirms has merged "
            f"later uploads ({unrecorded['uploads']}). Undoing this one might remove members whom "
            "they hold, so nothing was changed; send a file with the right values instead."
        )
    for query in _DECISIONS:
        await connection.execute(_SQL[query], own)
    found = await fetch_row(connection, _SQL["count"], own)
    return Counts(**found)


async def _carry_out(
    connection: AsyncConnection[Row], user: User, upload: Row, counts: Counts
) -> Row:
    own: dict[str, Any] = {"id": upload["id"]}
    await connection.execute(_SQL["say_that_we_undo"])
    for query in _WRITES:
        await connection.execute(_SQL[query], own)
    if upload["verification"] == "pending":
        # Withdraw the questions about members that only this upload contains.
        await connection.execute(_VERIFICATIONS["forget"], own)
        await connection.execute(
            _VERIFICATIONS["count_nobody"], {**own, "attempt": upload["attempt"]}
        )
    final = {**own, "undone_by": user.email, "counts": Jsonb(asdict(counts))}
    marked = await fetch_row(connection, _SQL["mark"], final)
    return {**upload, **marked}
