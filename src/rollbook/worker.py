"""The worker process: takes jobs off the queue, a few at a time, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from typing import TYPE_CHECKING, Any

import psycopg
import structlog
from psycopg_pool import PoolTimeout
from redis.exceptions import RedisError

from rollbook.attempt import Attempts
from rollbook.database import queries
from rollbook.hand_back import is_let_go
from rollbook.maintenance import every
from rollbook.one_call_worker import OneCallWorker
from rollbook.redis_client import make_client
from rollbook.slots import Slots
from rollbook.system import open_system

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from rollbook.config import Settings
    from rollbook.system import System

#: Seconds before a BullMQ worker that gave up (Redis away) is started anew.
RESTART_PAUSE_S = 2.0
#: BullMQ skips a check when the last one, by whichever worker, is less than its interval ago, so
#: that timers of nearly the same length can skip every other one. Checking more often keeps the
#: promise that the setting makes: a job whose lock ran out is found within the interval.
CHECKS_PER_INTERVAL = 3
#: Seconds between two signs of life.
HEARTBEAT_S = 5.0

_SQL = queries("workers")

log = structlog.get_logger(__name__)


async def serve(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT; a second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked_to_stop() -> None:
        if stop.is_set():
            log.warning("stopping at once; running jobs will be picked up by another worker")
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop)
    async with open_system(settings) as system:
        await UploadWorker(system).run(stop)


class UploadWorker:
    """Takes jobs of the queue ``bulk-uploads`` and runs each in a slot."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._settings = system.settings
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.slots = Slots(system.settings)
        self.attempts = Attempts(system, self.slots, self.name)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then let running jobs finish or hand them back."""
        stopping = asyncio.create_task(stop.wait())
        async with self.slots, every(HEARTBEAT_S, self._beat, service="worker heartbeat"):
            log.info("worker started", worker=self.name, concurrency=self._settings.concurrency)
            while not stop.is_set():
                await self._take_jobs(stopping)
        stopping.cancel()
        await self._leave()
        log.info("worker stopped", worker=self.name)

    async def _take_jobs(self, stopping: asyncio.Task[bool]) -> None:
        """One life of a BullMQ worker: until we stop, or until it gives up on Redis."""
        client = make_client(self._settings.redis_address)
        worker = self._make_worker(client)
        running = asyncio.create_task(worker.run())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            error = running.exception() if running.done() else None
            log.error("queue worker ended, starting it again", error=type(error).__name__)
            await asyncio.wait({stopping}, timeout=RESTART_PAUSE_S)
            await client.aclose()
            return
        closing = asyncio.create_task(worker.close())
        await self.attempts.shut_down(self._settings.shutdown_grace_s)
        await asyncio.wait({closing, running}, timeout=10)
        await client.aclose()

    async def _beat(self) -> None:
        """Say that this worker lives and what it holds."""
        parameters = {
            "name": self.name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slots": self._settings.concurrency,
            "jobs": self.attempts.running,
        }
        async with self._system.pool.connection() as connection:
            await connection.execute(_SQL["beat"], parameters)
            await connection.execute(_SQL["bury"])

    async def _leave(self) -> None:
        try:
            async with self._system.pool.connection(timeout=2) as connection:
                await connection.execute(_SQL["leave"], {"name": self.name})
        except (psycopg.OperationalError, PoolTimeout):
            log.warning("could not sign off, the heartbeat runs out by itself")

    def _make_worker(self, client: Redis) -> OneCallWorker:
        settings = self._settings
        worker = OneCallWorker(
            settings.queue_name,
            self.attempts.process,
            {
                "connection": client,
                "autorun": False,
                "name": self.name,
                "concurrency": settings.concurrency,
                "lockDuration": settings.lock_duration_ms,
                "stalledInterval": settings.stalled_interval_ms // CHECKS_PER_INTERVAL,
                "maxStalledCount": settings.max_stalled_count,
                "runRetryDelay": 1000,
            },
        )
        worker.on("error", _log_error)
        worker.on("stalled", _log_stalled)
        return worker


def _log_error(error: Any, *_: Any) -> None:
    if is_let_go(error):
        log.info("the queue had let go of the job before", reason=str(error))
        return
    away = isinstance(error, RedisError | OSError)
    log.log(
        30 if away else 40,
        "queue not reachable" if away else "queue error",
        error=type(error).__name__,
        text=str(error),
    )


def _log_stalled(job_id: str, *_: Any) -> None:
    log.warning("job stalled, it will run again", job_id=job_id)
