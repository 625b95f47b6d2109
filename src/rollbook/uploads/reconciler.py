"""The reconciler: makes the queue match the record after any loss in the queue.

It runs in ``up`` and ``serve``, in one process at a time, at the start and every
ROLLBOOK_RECONCILE_INTERVAL_S seconds. ``FLUSHALL`` at any moment therefore loses nothing.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from rollbook.accounts import audit
from rollbook.backends.database import exclusive, fetch_all, queries
from rollbook.backends.store import SOURCE_GONE
from rollbook.errors import ServiceUnavailableError
from rollbook.notifications import outbox
from rollbook.queue.uploads import LOOK_AGAIN_MS, OPEN_STATES
from rollbook.service import clocks, store_proof
from rollbook.telemetry import metrics
from rollbook.uploads.control import apply_pause, forget_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import psycopg

    from rollbook.backends.database import Row
    from rollbook.service.system import System

#: Held while one process reconciles (any fixed number will do).
LOCK = 0x7265636F
#: Seconds that Redis and the store may take together between two statements of a round.
IDLE_S = 120.0
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
    #: Whether the store didn't answer, or wasn't the installation's: it is asked once in a round.
    is_store_away: bool = field(default=False, compare=False)
    #: The uploads that it ended, or whose end may not have been announced.
    ended: list[Row] = field(default_factory=list, compare=False)


async def run_once(system: System) -> Reconciled | None:
    """Check every open upload once; None when another process is reconciling.

    Raises:
        ServiceUnavailableError: Redis doesn't answer.
        psycopg.OperationalError: PostgreSQL doesn't.
    """
    done = Reconciled()
    async with exclusive(system.pool, LOCK, idle_s=IDLE_S) as connection:
        if connection is None:
            return None
        await apply_pause(system)  # before any job is added
        lock = {"lock_s": system.settings.lock_duration_ms / 1000}
        found = await _open_uploads(system, connection, lock)
        for upload, state in found:
            await _reconcile_open(system, connection, upload, state, done)
        await _promote(system, [upload["id"] for upload, state in found if state == "delayed"])
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


async def _promote(system: System, delayed: Sequence[UUID]) -> None:
    """Let uploads run that a worker with a wrong clock has delayed for longer than any delay is."""
    settings = system.settings
    longest_s = max(
        settings.longest_backoff_s,
        settings.backoff_ms / 1000 * 2**settings.attempts,
        LOOK_AGAIN_MS / 1000,
    )
    margin_s = longest_s + settings.clock_tolerance_s
    latest = await clocks.now(system.pool) + dt.timedelta(seconds=margin_s)
    if promoted := await system.queue.promote_later_than(latest, delayed):
        log.warning("uploads were delayed by a wrong clock, they run now", uploads=promoted)


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
    if not await _has_source(system, upload, done):
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


async def _has_source(system: System, upload: Row, done: Reconciled) -> bool:
    """Whether the file is there; also True while the store is unreachable or a foreign one."""
    if upload["source_key"] is None:
        return False
    if done.is_store_away:
        return True
    try:
        if await system.store.has(upload["source_key"]):
            return True
        await store_proof.prove(system)
    except ServiceUnavailableError as error:
        log.warning("store not usable", job_id=str(upload["id"]), reason=error.message)
        done.is_store_away = True
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
