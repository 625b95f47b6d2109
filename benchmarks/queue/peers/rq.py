"""RQ: a fork per job, and three more tries for a job whose worker died."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchmarks.queue import job, trial
from redis import Redis
from rq import Queue, Retry, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_TUNED = {"job_monitoring_interval": 5, "maintenance_interval": 5}


@asynccontextmanager
async def open_queue() -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Yield what adds one job."""
    queue = Queue(connection=Redis.from_url(trial.REDIS_URL))
    retry = Retry(max=3)

    async def add(job_id: str) -> None:
        queue.enqueue(job.run, job_id, retry=retry, result_ttl=0)

    yield add


def work() -> None:
    """Run one worker, as ``rq worker`` does."""
    redis = Redis.from_url(trial.REDIS_URL)
    worker = Worker(["default"], connection=redis, **(_TUNED if trial.TUNED else {}))
    worker.work(logging_level="WARNING")


if __name__ == "__main__":
    work()
