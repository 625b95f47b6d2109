"""SAQ: keeps running jobs in a list of their own, which it sweeps for stuck ones."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.queue import job, trial
from saq.queue.redis import RedisQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

queue = RedisQueue.from_url(trial.REDIS_URL)


async def run(_context: dict[str, Any], *, job_id: str) -> None:
    """The job."""
    await job.run_async(job_id)


#: What ``saq`` reads.
settings: dict[str, Any] = {
    "queue": queue,
    "functions": [run],
    "concurrency": trial.CONCURRENCY,
    "timers": {"sweep": 5} if trial.TUNED else {},
}


@asynccontextmanager
async def open_queue() -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Yield what adds one job."""
    await queue.connect()

    async def add(job_id: str) -> None:
        await queue.enqueue("run", job_id=job_id, retries=3, ttl=-1)

    yield add
    await queue.disconnect()
