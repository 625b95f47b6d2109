"""arq: polls, and keeps a job in the queue until it has run ("pessimistic execution")."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from arq import create_pool
from arq.connections import RedisSettings
from benchmarks.queue import job, trial

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_REDIS = RedisSettings.from_dsn(trial.REDIS_URL)


async def run(_context: dict[str, Any], job_id: str) -> None:
    """The job."""
    await job.run_async(job_id)


class WorkerSettings:
    """What ``arq`` reads."""

    functions: ClassVar = [run]
    redis_settings = _REDIS
    max_jobs = trial.CONCURRENCY
    keep_result = 0
    #: Both are arq's defaults unless the trial says otherwise.
    poll_delay = float(os.environ.get("BENCH_ARQ_POLL_DELAY_S", "0.5"))
    job_timeout = 10 if trial.TUNED else 300


@asynccontextmanager
async def open_queue() -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Yield what adds one job."""
    pool = await create_pool(_REDIS)

    async def add(job_id: str) -> None:
        await pool.enqueue_job("run", job_id)

    yield add
    await pool.aclose()
