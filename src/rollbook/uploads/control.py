"""Cancel, pause and retry uploads, and remove source files that are no longer needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rollbook.accounts import audit
from rollbook.backends.database import execute, fetch_one, fetch_row, lock, queries
from rollbook.backends.store import SOURCE_GONE
from rollbook.errors import ConflictError, NotAllowedError, ServiceUnavailableError, SourceGoneError
from rollbook.telemetry import metrics
from rollbook.uploads import receive
from rollbook.uploads.lookup import get

if TYPE_CHECKING:
    from uuid import UUID

    from rollbook.backends.database import Row
    from rollbook.model import User
    from rollbook.service.system import System

_SQL, _NOTIFICATIONS = queries("uploads"), queries("notifications")
log = structlog.get_logger(__name__)


async def cancel(system: System, user: User, upload_id: UUID) -> Row:
    """Cancel an upload that waits or runs; nothing of it is merged.

    Raises:
        NotFoundError: no such upload in the reader's scope.
        NotAllowedError: it is a colleague's.
        ConflictError: it has ended already.
    """
    upload = await get(system, user, upload_id)
    if upload["owner_id"] != user.id and not user.is_operator:
        raise NotAllowedError("Only the person who sent the file, or an operator, can cancel it.")
    async with system.pool.connection() as connection:
        cancelled = await fetch_one(connection, _SQL["cancel"], {"id": upload_id})
        if cancelled is not None:
            await audit.record(connection, "cancel", who=user, job_id=upload_id)
            # The uploader gets a mail about another user's cancellation.
            channels = [
                channel for channel in system.settings.notification_channels
                if channel != "email" or upload["owner_id"] != user.id
            ]  # fmt: skip
            note = {"upload_id": upload_id, "kind": "cancelled", "channels": channels}
            await connection.execute(_NOTIFICATIONS["add"], note)
    if cancelled is None:
        latest = await get(system, user, upload_id)
        raise ConflictError(
            f"The upload is already {latest['status']}, so there is nothing left to cancel."
        )
    metrics.JOBS.labels(result="cancelled").inc()
    log.info("upload cancelled", job_id=str(upload_id), was=upload["status"])
    await system.queue.announce_end(cancelled)
    try:
        # A running job stays in the queue until its worker reads the record and releases it.
        await system.queue.remove(upload_id)
    except ServiceUnavailableError:
        log.warning("queue not reachable, the reconciler will remove it", job_id=str(upload_id))
    await forget_source(system, cancelled)
    return cancelled


async def pause(system: System, *, by: User | None) -> None:
    """Start no further job anywhere; running jobs continue.

    The record is written first, so that a Redis that loses its keys loses no pause.

    Raises:
        ServiceUnavailableError: Redis doesn't answer; the record says so anyway, and no job
            is started.
    """
    await _set_paused(system, by, is_paused=True)
    try:
        await apply_pause(system, is_asked=True)
    except ServiceUnavailableError:
        raise ServiceUnavailableError(
            "The queue is paused: no further job is started. But Redis doesn't answer right now, "
            "so its own figures don't say so yet."
        ) from None


async def resume(system: System, *, by: User | None) -> None:
    """Start jobs again.

    Raises:
        ServiceUnavailableError: Redis doesn't answer. If it answered at first, the record says that
            the queue runs, and the reconciler resumes it in Redis.
    """
    await system.queue.ping()
    await _set_paused(system, by, is_paused=False)
    await apply_pause(system, is_asked=True)


async def apply_pause(system: System, *, is_asked: bool = False) -> None:
    """Pause or resume the queue in Redis as the record says.

    ``is_asked``: by an operator. Otherwise only what Redis has lost or missed is applied: a Redis
    that was restored from an older copy may hold an earlier pause of ours, and a queue that another
    program has paused in Redis stays paused.

    Raises:
        ServiceUnavailableError: Redis doesn't answer.
    """
    if not is_asked and not await _is_pause_missed(system):
        return
    async with system.pool.connection() as connection:
        # Where several meet, the last one to get the lock reads the last record.
        await lock(connection, "queue pause")
        is_paused = (await fetch_row(connection, _SQL["queue_state"]))["is_paused"]
        if not is_asked:
            log.warning("queue corrected, Redis had lost its state", is_paused=is_paused)
        await (system.queue.pause() if is_paused else system.queue.resume())
        await connection.execute(_SQL["note_applied"], {"is_paused": is_paused})


async def _is_pause_missed(system: System) -> bool:
    """Whether Redis has lost or missed that the queue is paused or resumed; without the lock."""
    row = await fetch_row(system.pool, _SQL["queue_state"])
    if row["is_paused"]:
        return not await system.queue.is_paused()
    return not row["is_applied"] or await system.queue.is_paused_by_us()


async def _set_paused(system: System, by: User | None, *, is_paused: bool) -> None:
    """Write the record and the audit entry: what Redis does with it is no part of the act."""
    async with system.pool.connection() as connection:
        wanted = {"is_paused": is_paused, "by": by and by.email}
        await connection.execute(_SQL["set_paused"], wanted)
        await audit.record(connection, "pause" if is_paused else "resume", who=by)


async def forget_source(system: System, upload: Row) -> None:
    """Remove the upload's source file, which is no longer needed."""
    if upload["source_key"] is None:
        return
    try:
        await system.store.remove(upload["source_key"])
    except ServiceUnavailableError:
        log.warning("store not reachable, source file is removed later", job_id=str(upload["id"]))
        return
    await execute(system.pool, _SQL["source_removed"], {"id": upload["id"]})


async def retry(system: System, user: User, upload_id: UUID) -> Row:
    """Let a failed upload run again, with its attempts counted from zero.

    Raises:
        NotFoundError: no such upload in the reader's scope.
        ConflictError: it hasn't failed, or another follow-up has taken a row that it fixes.
        SourceGoneError: the stored file's retention has ended.
        WrongStoreError: the store isn't there, or isn't the installation's.
    """
    upload = await get(system, user, upload_id)
    if upload["status"] != "failed":
        raise ConflictError(
            f"Only a failed upload can be retried, and this one is {upload['status']}."
        )
    if upload["source_key"] is None:
        raise SourceGoneError(SOURCE_GONE)
    if not await system.store.has(upload["source_key"]):
        await system.store.check()  # one that isn't mounted has no file at all
        raise SourceGoneError(SOURCE_GONE)
    async with system.pool.connection() as connection:
        if upload["mends"] is not None:
            await receive.claim_again(connection, upload)
        reopened = await fetch_one(connection, _SQL["reopen"], {"id": upload_id})
        if reopened is not None:
            await audit.record(connection, "retry", who=user, job_id=upload_id)
    if reopened is None:
        latest = await get(system, user, upload_id)
        if latest["source_key"] is None:  # retention has just removed it
            raise SourceGoneError(SOURCE_GONE)
        raise ConflictError("Another user has just retried this upload.")
    metrics.RETRIES.labels(by="operator").inc()
    log.info("upload reopened", job_id=str(upload_id))
    try:
        await system.queue.retry(upload_id, priority=reopened["priority"])
    except ServiceUnavailableError:
        log.warning("queue not reachable, the reconciler will add it", job_id=str(upload_id))
    return reopened
