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


@dataclass(frozen=True, slots=True)
class System:
    """Settings, record, queues and file store of this process."""

    settings: Settings
    pool: Pool
    queue: UploadQueue
    store: FileStore
    verifications: VerificationQueue


@asynccontextmanager
async def open_system(settings: Settings) -> AsyncIterator[System]:
    """Open the parts; PostgreSQL and Redis may still be down, they are called when needed.

    ``settings`` must name both (see ``engines``, which fills in the embedded ones).
    """
    pool = make_pool(settings.database_address)
    await pool.open(wait=False)
    queue = UploadQueue(settings, settings.redis_address)
    verifications = VerificationQueue(settings, settings.redis_address)
    store = FileStore.of(settings)
    try:
        yield System(settings, pool, queue, store, verifications)
    finally:
        await verifications.close()
        await queue.close()
        await pool.close()
