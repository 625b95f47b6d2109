"""Keeps a BullMQ worker running, whatever becomes of Redis, until the process is to stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from rollbook.backends.redis import make_client
from rollbook.queue.bull_worker import is_let_go
from rollbook.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from rollbook.config import Settings
    from rollbook.queue.bull_worker import OneCallWorker

#: Seconds before a BullMQ worker that gave up (Redis away) is started anew.
RESTART_PAUSE_S = 2.0
#: BullMQ skips a check when the last one, by whichever worker, is less than its interval ago, so
#: that timers of nearly the same length can skip every other one. Checking more often keeps the
#: promise that the setting makes: a job whose lock ran out is found within the interval.
CHECKS_PER_INTERVAL = 3
#: Seconds that the last calls to Redis get when the process stops.
CLOSE_S = 10

log = structlog.get_logger(__name__)


async def take_jobs(
    settings: Settings,
    stop: asyncio.Event,
    make_worker: Callable[[Redis], OneCallWorker],
    shut_down: Callable[[], Awaitable[None]],
) -> None:
    """Take jobs until ``stop`` is set.

    Args:
        settings: where Redis is.
        stop: ends it.
        make_worker: a BullMQ worker on a connection; called again after each one that gave up.
        shut_down: lets running jobs finish or hands them back; called once, at the end.
    """
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            await _one_life(settings, stopping, make_worker, shut_down)
    finally:
        stopping.cancel()


async def _one_life(
    settings: Settings,
    stopping: asyncio.Task[bool],
    make_worker: Callable[[Redis], OneCallWorker],
    shut_down: Callable[[], Awaitable[None]],
) -> None:
    """One life of a BullMQ worker: until we stop, or until it gives up on Redis."""
    client = make_client(settings.redis_address)
    worker = make_worker(client)
    worker.on("error", _heard_error)
    worker.on("stalled", _heard_stalled)
    running = asyncio.create_task(worker.run())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        error = running.exception() if running.done() else None
        metrics.WORKER_EVENTS.labels(event="error").inc()
        log.error("queue worker ended, starting it again", error=type(error).__name__)
        await asyncio.wait({stopping}, timeout=RESTART_PAUSE_S)
        await client.aclose()
        return
    closing = asyncio.create_task(worker.close())
    await shut_down()
    await asyncio.wait({closing, running}, timeout=CLOSE_S)
    await client.aclose()


def options(settings: Settings, client: Redis, *, name: str, concurrency: int) -> dict[str, Any]:
    """The options of every BullMQ worker of ours."""
    return {
        "connection": client,
        "autorun": False,
        "name": name,
        "concurrency": concurrency,
        "lockDuration": settings.lock_duration_ms,
        "stalledInterval": settings.stalled_interval_ms // CHECKS_PER_INTERVAL,
        "maxStalledCount": settings.max_stalled_count,
        "runRetryDelay": 1000,
    }


# The subscriber counts what the event stream tells; these two are heard by the worker that met
# them, and by nobody else when Redis is away.
def _heard_error(error: Any, *_: Any) -> None:
    if is_let_go(error):
        log.info("the queue had let go of the job before", reason=str(error))
        return
    metrics.WORKER_EVENTS.labels(event="error").inc()
    away = isinstance(error, RedisError | OSError)
    log.log(
        30 if away else 40,
        "queue not reachable" if away else "queue error",
        error=type(error).__name__,
        text=str(error),
    )


def _heard_stalled(job_id: str, *_: Any) -> None:
    metrics.WORKER_EVENTS.labels(event="stalled").inc()
    log.warning("job stalled, it will run again", job_id=job_id)
