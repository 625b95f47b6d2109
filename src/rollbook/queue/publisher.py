"""The one publisher of progress, of ends and of the voter roll's budget.

BullMQ's own scripts publish everything else that happens.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from bullmq import Job
    from redis.asyncio import Redis

    from rollbook.backends.database import Row
    from rollbook.model import Progress

#: Longest delay of an attempt's heartbeat by a Redis that doesn't answer, in seconds.
PATIENCE_S = 2.0
#: Approximate length of the stream, in events; BullMQ's own bound.
STREAM_LENGTH = 10_000

log = structlog.get_logger(__name__)


async def announce_progress(
    job: Job, attempt: int, progress: Progress, waits: dict[str, Any] | None = None
) -> None:
    """Announce an attempt's progress, and what it waits for, to the queue's listeners.

    A failure is only logged: the attempt continues while Redis is away.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            await job.updateProgress({"attempt": attempt, **asdict(progress), "waits": waits})
    except (RedisError, OSError, TypeError) as error:  # TypeError: the queue has lost the job
        log.warning("progress not announced", error=type(error).__name__)


async def announce_end(redis: Redis, queue_name: str, upload: Row) -> None:
    """Announce to the queue's listeners that an upload has ended, as its record says.

    BullMQ's own events aren't enough: its retries and removals of a job look alike, and it has no
    event for a job that it has lost (``FLUSHALL``). Announcing the same end twice does no harm.
    """
    fields: dict[Any, Any] = {
        "event": "ended",
        "jobId": str(upload["id"]),
        "status": upload["status"],
        "attempt": upload["attempt"],
        "code": upload["error_code"] or "",
    }
    await _add(redis, queue_name, fields)


async def announce_budget(
    redis: Redis, queue_name: str, event: str, *, used: int, limit: int
) -> None:
    """Announce to the queue's listeners that the voter roll's budget is nearly or wholly spent.

    ``event`` is ``rate_limit_warning`` or ``rate_limit_exceeded``.
    """
    await _add(redis, queue_name, {"event": event, "used": used, "limit": limit})


async def _add(redis: Redis, queue_name: str, fields: dict[Any, Any]) -> None:
    """Add one of Rollbook's events to the queue's stream; without Redis it is only logged."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            key = f"bull:{queue_name}:events"
            await redis.xadd(key, fields, maxlen=STREAM_LENGTH, approximate=True)
    except (RedisError, OSError) as error:
        log.warning("event not announced", kind=fields["event"], error=type(error).__name__)
