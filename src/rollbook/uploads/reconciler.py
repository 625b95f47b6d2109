"""The reconciler: makes the queue match the record after any loss in the queue.

It runs in ``up`` and ``serve``, in one process at a time, at the start and every
ROLLBOOK_RECONCILE_INTERVAL_S seconds. ``FLUSHALL`` at any moment therefore loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from rollbook.accounts import audit
from rollbook.backends.database import exclusive, fetch_all, queries
from rollbook.backends.files import SOURCE_GONE
from rollbook.errors import ServiceUnavailableError
from rollbook.notifications import outbox
from rollbook.queue.uploads import OPEN_STATES
from rollbook.service import store_proof
from rollbook.telemetry import metrics
from rollbook.uploads.control import forget_source, put_pause_back

if TYPE_CHECKING:
    import psycopg

    from rollbook.backends.database import Row
    from rollbook.service.system import System

#: Held while one process reconciles (any fixed number will do).
LOCK = 0x7265636F
#: Jobs whose state is read from the queue in one request.
BATCH = 500

STALLED = (
    "Processing was cut short several times because its worker died. Nothing of the file was "
    "merged. Try it again, and contact the operator if it happens again."
)
ACCOUNT_CLOSED = (
    "The sender's account was closed while the file was waiting, so it was not processed. Nothing "
    "was changed; an operator can retry it."
)

_SQL = queries("reconciler")
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Reconciled:
    """What one round did."""

    added: int = 0
    failed: int = 0
    removed: int = 0
    #: The uploads that it ended, or whose end may not have been announced.
    ended: list[Row] = field(default_factory=list, compare=False)


async def run_once(system: System) -> Reconciled | None:
    """Check every open upload once; None when another process is reconciling.

    Raises:
        ServiceUnavailableError: Redis doesn't answer.
        psycopg.OperationalError: PostgreSQL doesn't.
    """
    done = Reconciled()
    async with exclusive(system.pool, LOCK) as connection:
        if connection is None:
            return None
        await put_pause_back(system)  # before any job is added
        lock = {"lock_s": system.settings.lock_duration_ms / 1000}
        for upload, state in await _open_uploads(system, connection, lock):
            await _reconcile_open(system, connection, upload, state, done)
        waiting = {"ids": await system.queue.waiting_ids()}
        for upload in await fetch_all(connection, _SQL["ended_of"], waiting):
            done.removed += await system.queue.remove(upload["id"])
            done.ended.append(upload)
        for upload in await fetch_all(connection, _SQL["sources_left"]):
            await forget_source(system, upload)
        await audit.write_counts(connection)
    for upload in done.ended:  # after the commit: the listeners read the record
        await system.queue.announce_end(upload)
    for action in ("added", "failed", "removed"):
        metrics.RECONCILED.labels(action=action).inc(getattr(done, action))
    metrics.JOBS.labels(result="failed").inc(done.failed)
    if done.added or done.failed or done.removed:
        log.info("reconciled", added=done.added, failed=done.failed, removed=done.removed)
    return done


async def _open_uploads(
    system: System, connection: psycopg.AsyncConnection[Row], parameters: dict[str, Any]
) -> list[tuple[Row, str | None]]:
    """The open uploads, each with the queue's state of its job."""
    found = await fetch_all(connection, _SQL["open"], parameters)
    pairs: list[tuple[Row, str | None]] = []
    for batch in (found[i : i + BATCH] for i in range(0, len(found), BATCH)):
        states = await system.queue.states(upload["id"] for upload in batch)
        pairs.extend(zip(batch, states, strict=True))
    return pairs


async def _reconcile_open(
    system: System,
    connection: psycopg.AsyncConnection[Row],
    upload: Row,
    state: str | None,
    done: Reconciled,
) -> None:
    if upload["is_closed"]:
        if state is not None:
            await system.queue.remove(upload["id"])
        await _fail(system, connection, upload, done, "account_closed", ACCOUNT_CLOSED)
        return
    if state in OPEN_STATES:
        return
    if not await _has_source(system, upload):
        await _fail(system, connection, upload, done, "source_gone", SOURCE_GONE)
    elif state == "failed" and upload["status"] == "processing":
        # Its workers died more often than maxStalledCount allows, so none of them recorded it.
        await _fail(system, connection, upload, done, "stalled", STALLED)
    else:
        # Unknown to the queue, or stored there as ended, which would block the id.
        if state is not None:
            await system.queue.remove(upload["id"])
        await system.queue.add(upload["id"], priority=upload["priority"])
        done.added += 1
        log.warning("upload was not queued, added again", job_id=str(upload["id"]), state=state)


async def _has_source(system: System, upload: Row) -> bool:
    """Whether the file is there; also True while the store is unreachable or a foreign one."""
    if upload["source_key"] is None:
        return False
    try:
        if await system.store.has(upload["source_key"]):
            return True
        await store_proof.prove(system)
    except ServiceUnavailableError as error:
        log.warning("store not usable", job_id=str(upload["id"]), reason=error.message)
        return True
    return False


async def _fail(
    system: System,
    connection: psycopg.AsyncConnection[Row],
    upload: Row,
    done: Reconciled,
    code: str,
    message: str,
) -> None:
    parameters = {
        "id": upload["id"],
        "attempt": upload["attempt"],
        "error_code": code,
        "error": message,
    }
    failed = await fetch_all(connection, _SQL["fail"], parameters)
    if failed:
        await audit.record(
            connection, "end", who=None, job_id=upload["id"], failed=code, agent="reconciler"
        )
        channels = system.settings.notification_channels
        await connection.execute(*outbox.entry(upload["id"], "failed", channels))
    done.failed += len(failed)
    done.ended += failed
