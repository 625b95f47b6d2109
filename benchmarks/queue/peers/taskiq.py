"""Taskiq on a Redis stream: the broker of taskiq-redis that acknowledges."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchmarks.queue import job, trial
from taskiq_redis import RedisStreamBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

broker = RedisStreamBroker(trial.REDIS_URL, **({"idle_timeout": 10_000} if trial.TUNED else {}))
run = broker.register_task(job.run_async, task_name="run")


@asynccontextmanager
async def open_queue() -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Yield what adds one job."""
    await broker.startup()

    async def add(job_id: str) -> None:
        await run.kiq(job_id)

    yield add
    await broker.shutdown()
