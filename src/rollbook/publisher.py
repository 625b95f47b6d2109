"""The one publisher of progress; BullMQ's own scripts publish everything else that happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from bullmq import Job

    from rollbook.slots import Progress

log = structlog.get_logger(__name__)


async def announce_progress(job: Job, attempt: int, progress: Progress) -> None:
    """Tell the queue's listeners how far an attempt is.

    A listener isn't worth the attempt: when Redis is away, the file goes on.
    """
    message = {
        "attempt": attempt,
        "stage": progress.stage,
        "percent": progress.percent,
        "rows_done": progress.rows_done,
        "rows_total": progress.rows_total,
    }
    try:
        await job.updateProgress(message)
    except (RedisError, OSError, TypeError) as error:  # TypeError: the queue has lost the job
        log.warning("progress not announced", error=type(error).__name__)
