"""Huey: takes a job off the list and runs it; nothing remembers it in between."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchmarks.queue import job, trial
from huey import RedisHuey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

huey = RedisHuey("bench", url=trial.REDIS_URL, results=False)
run = huey.task(name="run")(job.run)


@asynccontextmanager
async def open_queue() -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Yield what adds one job."""

    async def add(job_id: str) -> None:
        run(job_id)

    yield add
