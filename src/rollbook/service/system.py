"""The parts of a process, opened and closed together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rollbook.backends.database import Pool, make_pool
from rollbook.backends.files import FileStore
from rollbook.queue.uploads import UploadQueue
from rollbook.queue.verifications import VerificationQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rollbook.config import Settings

#: Seconds after PostgreSQL's own limit that its answer may take.
ANSWER_MARGIN_S = 10


@dataclass(frozen=True, slots=True)
class System:
    """Settings, record, queues and file store of this process."""

    settings: Settings
    pool: Pool
    queue: UploadQueue
    store: FileStore
    verifications: VerificationQueue
    #: A few connections for undoing, which may wait for locks and take long: opened when needed.
    undo_pool: Pool


@asynccontextmanager
async def open_system(settings: Settings) -> AsyncIterator[System]:
    """Open the parts; PostgreSQL and Redis may still be down, they are called when needed.

    ``settings`` must name both (see ``engines``, which fills in the embedded ones).
    """
    pool = make_pool(
        settings.database_address,
        keepalive=settings.keepalive,
        answer_s=settings.database_answer_s,
    )
    undo_pool = make_pool(
        settings.database_address,
        min_size=0,
        max_size=settings.undo_at_a_time,
        keepalive=settings.keepalive,
        answer_s=settings.undo_timeout_s + ANSWER_MARGIN_S,
        statement_timeout_s=settings.undo_timeout_s,
        lock_timeout_s=settings.undo_lock_wait_s,
    )
    await pool.open(wait=False)
    await undo_pool.open(wait=False)
    queue = UploadQueue(settings, settings.redis_address)
    verifications = VerificationQueue(settings, settings.redis_address)
    store = FileStore.of(settings)
    try:
        yield System(settings, pool, queue, store, verifications, undo_pool)
    finally:
        await verifications.close()
        await queue.close()
        await undo_pool.close()
        await pool.close()
