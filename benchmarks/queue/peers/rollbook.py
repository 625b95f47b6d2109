"""Rollbook: ``UploadQueue.add``, and BullMQ's worker with the options of ``rollbook.worker``."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID

import uvloop
from benchmarks.queue import job, trial

from rollbook.backends.redis import make_client
from rollbook.config import Settings
from rollbook.model import Role
from rollbook.queue.uploads import UploadQueue
from rollbook.service.system import System
from rollbook.worker.process import UploadWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from bullmq import Job

    from rollbook.backends.database import Pool
    from rollbook.backends.files import FileStore

_TUNED = {"lock_duration_ms": 10_000, "stalled_interval_ms": 5_000}


def _settings() -> Settings:
    settings = Settings(
        redis_url=trial.REDIS_URL,
        data_dir=Path(tempfile.gettempdir()),
        concurrency=trial.CONCURRENCY,
    )
    return settings.model_copy(update=_TUNED) if trial.TUNED else settings


@asynccontextmanager
async def open_queue() -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Yield what adds one job, with the priority that most uploads have."""
    client = make_client(trial.REDIS_URL)
    queue = UploadQueue(_settings(), client)

    async def add(job_id: str) -> None:
        await queue.add(UUID(job_id), priority=Role.MUNICIPALITY_ADMIN.priority)

    yield add
    await client.aclose()


async def _run(job_: Job, _token: str) -> None:
    await job.run_async(job_.data["upload_id"])


async def work() -> None:
    """Run the product's queue worker, with the empty job in place of an attempt at an upload."""
    settings = _settings()
    # Neither the record nor the file store has a part in taking a job off the queue.
    client = make_client(trial.REDIS_URL)
    queue = UploadQueue(settings, client)
    system = System(
        settings, cast("Pool", None), client, queue, cast("FileStore", None), cast("Pool", None)
    )
    worker = UploadWorker(system)._make_worker(client)  # noqa: SLF001
    worker.processor = _run
    await worker.run()


if __name__ == "__main__":
    uvloop.run(work())  # as `rollbook worker` does
