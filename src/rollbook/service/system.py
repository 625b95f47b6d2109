"""The parts of a process, opened and closed together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rollbook.backends.database import Pool, make_pool
from rollbook.backends.files import FileStore
from rollbook.backends.redis import make_client
from rollbook.queue.uploads import UploadQueue
from rollbook.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from rollbook.config import Settings

#: Seconds after PostgreSQL's own limit that its answer may take.
ANSWER_MARGIN_S = 10


@dataclass(frozen=True, slots=True)
class System:
    """Settings, record, Redis, queue and file store of this process.

    Blocking reads from Redis last longer than a command may, so ``queue.loop`` and
    ``queue.subscriber`` make a client of their own. All other commands go through ``redis``.
    """

    settings: Settings
    pool: Pool
    redis: Redis
    queue: UploadQueue
    store: FileStore
    #: A few connections for undoing, which may wait for locks and take long: opened when needed.
    undo_pool: Pool


@asynccontextmanager
async def open_system(settings: Settings) -> AsyncIterator[System]:
    """Open the parts, whose addresses the settings have; PostgreSQL and Redis may still be down."""
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
    _measure("main", pool)
    _measure("undo", undo_pool)
    redis = make_client(
        settings.redis_address, answer_s=settings.redis_answer_s, keepalive=settings.keepalive
    )
    try:
        queue = UploadQueue(settings, redis)
        yield System(settings, pool, redis, queue, FileStore.of(settings), undo_pool)
    finally:
        await redis.aclose()
        await undo_pool.close()
        await pool.close()


#: Names of our metrics, and psycopg's for the same.
_STATES = {"open": "pool_size", "idle": "pool_available", "wanted": "requests_waiting"}


def _measure(name: str, pool: Pool) -> None:
    """Show the pool's connections in the metrics, as they are at each scrape."""

    def count(figure: str) -> float:
        return pool.get_stats().get(figure, 0)

    for state, figure in _STATES.items():
        gauge = metrics.DATABASE_CONNECTIONS.labels(pool=name, state=state)
        gauge.set_function(partial(count, figure))
    metrics.DATABASE_CONNECTIONS_MAX.labels(pool=name).set(pool.max_size)
