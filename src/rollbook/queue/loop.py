"""Restarts the BullMQ worker after failures of Redis until the process stops."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from rollbook.backends.redis import make_client
from rollbook.queue.bull_worker import is_let_go
from rollbook.telemetry import logs, metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from rollbook.config import Settings
    from rollbook.queue.bull_worker import OneCallWorker

#: Pause before a BullMQ worker that failed is restarted, in seconds.
RESTART_PAUSE_S = 2.0
#: BullMQ skips a check when the last one, by any worker, is less than its interval ago, so
#: that timers of nearly the same length can skip every other one. Checking more often keeps the
#: promise that the setting makes: a job whose lock ran out is found within the interval.
CHECKS_PER_INTERVAL = 3
#: Seconds that the last calls to Redis get when the process stops.
CLOSE_S = 10
#: Longest interval between two checks for waiting jobs that no worker takes, in seconds.
WATCH_S = 5.0

log = structlog.get_logger(__name__)


async def run_jobs(
    settings: Settings,
    stop: asyncio.Event,
    make_worker: Callable[[Redis], OneCallWorker],
    shut_down: Callable[[], Awaitable[None]],
) -> None:
    """Run jobs until ``stop`` is set.

    ``make_worker`` makes a BullMQ worker on a connection, again after each one that gave up.
    ``shut_down`` lets running jobs finish or hands them back; it is called once, at the end.
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
    """Run one BullMQ worker until the process stops, or the worker fails or takes no jobs."""
    client = make_client(settings.redis_address, keepalive=settings.keepalive)
    worker = make_worker(client)
    worker.on("error", _heard_error)
    worker.on("stalled", _heard_stalled)
    running = asyncio.create_task(worker.run())
    watching = asyncio.create_task(watch(settings, worker, client))
    await asyncio.wait({running, stopping, watching}, return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    if running.done() and not stopping.done():
        error = None if running.cancelled() else running.exception()
        metrics.WORKER_EVENTS.labels(event="error").inc()
        log.error("queue worker ended, restarting it", error=type(error).__name__)
        await asyncio.wait({stopping}, timeout=RESTART_PAUSE_S)
    # What a worker that is given up waits for may never end, so only its running jobs go on.
    is_given_up = not stopping.done()
    if is_given_up:
        running.cancel()
    closing = asyncio.create_task(worker.close(force=is_given_up and not worker.jobs))
    if not is_given_up:
        await shut_down()
    limit_s = RESTART_PAUSE_S if is_given_up else CLOSE_S
    await asyncio.wait({closing, running}, timeout=limit_s)
    if is_given_up and not worker.jobs:
        closing.cancel()
    await asyncio.wait({asyncio.create_task(client.aclose())}, timeout=RESTART_PAUSE_S)


async def watch(settings: Settings, worker: OneCallWorker, client: Redis) -> None:
    """Wait until a worker takes nothing although jobs wait and it has room.

    Its connections may have died unnoticed, or a wake-up got lost. While jobs of it run, they are
    reconnected; otherwise this returns, for another worker to be started.
    """
    waits = f"bull:{worker.name}:wait", f"bull:{worker.name}:prioritized"
    interval_s = min(settings.deaf_after_s / 3, WATCH_S)
    async with make_client(
        settings.redis_address, answer_s=settings.redis_answer_s, keepalive=settings.keepalive
    ) as own:
        since, taken = time.monotonic(), worker.taken
        while not worker.closing:  # the client of Redis may swallow a cancellation
            await asyncio.sleep(interval_s)
            try:
                is_idle = worker.has_room and worker.taken == taken and await _is_any(own, *waits)
            except (RedisError, OSError):  # Redis is away: the worker reconnects by itself
                is_idle = False
            except Exception as error:  # noqa: BLE001 - a fault here says nothing about the worker
                is_idle = False
                where = logs.places(error)
                log.error("watch over the queue failed", error=type(error).__name__, where=where)
            if not is_idle:
                since, taken = time.monotonic(), worker.taken
            elif time.monotonic() - since >= settings.deaf_after_s:
                metrics.RECONNECTED.inc()
                log.error("jobs wait and slots are free, reconnecting to the queue")
                if not worker.jobs:
                    return
                await client.connection_pool.disconnect(inuse_connections=True)
                since = time.monotonic()


async def _is_any(client: Redis, wait: str, prioritized: str) -> bool:
    """Whether there is a job that a worker with room should take."""
    async with client.pipeline() as look:
        look.llen(wait)
        look.zcard(prioritized)
        look.hexists(f"{wait.rpartition(':')[0]}:meta", "paused")
        waiting, by_priority, is_paused = await look.execute()
    return bool(waiting + by_priority) and not is_paused


def options(settings: Settings, client: Redis, *, name: str, concurrency: int) -> dict[str, Any]:
    """The options of every BullMQ worker in Rollbook."""
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


# The subscriber counts the events of the stream. These two events are local to the worker, and
# reach no other process while Redis is away.
def _heard_error(error: Any, *_: Any) -> None:
    if is_let_go(error):
        log.info("job already released by the queue", reason=str(error))
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
