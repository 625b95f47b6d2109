"""Celery: acknowledges late, takes no job before it can run it, pre-forked processes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from benchmarks.queue import job, trial
from celery import Celery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


def _address() -> str:
    url = urlsplit(trial.REDIS_URL)
    return f"redis+socket://{url.path}?virtual_host={parse_qs(url.query)['db'][0]}"


app = Celery("bench", broker=_address())
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": 10} if trial.TUNED else {},
)
run = app.task(job.run, name="run")


@asynccontextmanager
async def open_queue() -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Yield what adds one job."""

    async def add(job_id: str) -> None:
        run.delay(job_id)

    yield add
