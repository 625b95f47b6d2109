"""Dramatiq: acknowledges late by itself; another worker takes over after missed heartbeats."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import dramatiq
from benchmarks.queue import job, trial
from dramatiq.brokers.redis import RedisBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_TUNED = {"heartbeat_timeout": 10_000, "maintenance_chance": 100_000}

broker = RedisBroker(url=trial.REDIS_URL, **(_TUNED if trial.TUNED else {}))
dramatiq.set_broker(broker)
run = dramatiq.actor(job.run, actor_name="run")


@asynccontextmanager
async def open_queue() -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Yield what adds one job."""

    async def add(job_id: str) -> None:
        run.send(job_id)

    yield add
