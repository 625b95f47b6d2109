"""The one publisher of progress; BullMQ's own scripts publish everything else that happens."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from bullmq import Job

    from rollbook.pipeline.stages import Progress

#: Seconds that a Redis which doesn't answer may hold up the heartbeat of an attempt.
PATIENCE_S = 2.0

log = structlog.get_logger(__name__)


async def announce_progress(job: Job, attempt: int, progress: Progress) -> None:
    """Tell the queue's listeners how far an attempt is.

    A listener isn't worth the attempt: when Redis is away, the file goes on.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            await job.updateProgress({"attempt": attempt, **asdict(progress)})
    except (RedisError, OSError, TypeError) as error:  # TypeError: the queue has lost the job
        log.warning("progress not announced", error=type(error).__name__)
