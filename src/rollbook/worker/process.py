"""The worker process: takes jobs off the queue, a few at a time, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from typing import TYPE_CHECKING

import structlog

from rollbook.accounts import audit
from rollbook.backends.database import UNAVAILABLE, queries
from rollbook.folder import retention as folder_retention
from rollbook.notifications.worker import deliver_due
from rollbook.queue.bull_worker import OneCallWorker
from rollbook.queue.loop import options, take_jobs
from rollbook.service import exposition
from rollbook.service.rounds import every
from rollbook.service.system import open_system
from rollbook.telemetry import traces
from rollbook.uploads import retention
from rollbook.voter_roll.worker import VerificationWorker
from rollbook.worker.attempt import Attempts
from rollbook.worker.slots import Slots

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from rollbook.config import Settings
    from rollbook.service.system import System

#: Seconds between two signs of life.
HEARTBEAT_S = 5.0

_SQL = queries("workers")

log = structlog.get_logger(__name__)


async def serve(settings: Settings, metrics_listener: socket.socket | None = None) -> None:
    """Work until SIGTERM or SIGINT; a second one ends the process at once.

    Args:
        settings: with the addresses of both engines.
        metrics_listener: where metrics are asked for, instead of ROLLBOOK_METRICS_PORT.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked_to_stop() -> None:
        if stop.is_set():
            log.warning("stopping at once; running jobs will be picked up by another worker")
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop)
    async with (
        open_system(settings) as system,
        traces.exported(settings, "worker"),
        exposition.served(system, "worker", metrics_listener),
    ):
        await UploadWorker(system).run(stop)


class UploadWorker:
    """Takes jobs of the queue ``bulk-uploads`` and runs each in a slot.

    Beside it, where the organisation has given an account there, the voter roll is asked, and
    notifications are sent where it has said how.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._settings = system.settings
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.slots = Slots(system.settings)
        self.attempts = Attempts(system, self.slots, self.name)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then let running jobs finish or hand them back."""
        audit.origin.set(audit.Origin(agent=self.name))
        async with (
            self.slots,
            every(HEARTBEAT_S, self._beat, service="worker heartbeat"),
            every(retention.LOOK_S, self._purge, service="retention"),
        ):
            log.info("worker started", worker=self.name, concurrency=self._settings.concurrency)
            async with asyncio.TaskGroup() as work:
                work.create_task(
                    take_jobs(self._settings, stop, self._make_worker, self._shut_down)
                )
                if self._settings.asks_voter_roll:
                    roll = VerificationWorker(
                        self._system, self.name, write_report=self.slots.write_report
                    )
                    work.create_task(roll.run(stop))
                if self._settings.notification_channels:
                    work.create_task(deliver_due(self._system, stop))
        await self._leave()
        log.info("worker stopped", worker=self.name)

    async def _shut_down(self) -> None:
        await self.attempts.shut_down(self._settings.shutdown_grace_s)

    async def _beat(self) -> None:
        """Say that this worker lives and what it holds."""
        self.slots.measure()
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

    async def _purge(self) -> None:
        if await retention.run_when_due(self._system) is not None:
            # Last: a share that isn't mounted on this machine holds up nothing else.
            await folder_retention.purge(self._system)

    async def _leave(self) -> None:
        try:
            async with self._system.pool.connection(timeout=2) as connection:
                await connection.execute(_SQL["leave"], {"name": self.name})
        except UNAVAILABLE:
            log.warning("could not sign off, the heartbeat runs out by itself")

    def _make_worker(self, client: Redis) -> OneCallWorker:
        settings = self._settings
        return OneCallWorker(
            settings.queue_name,
            self.attempts.process,
            options(settings, client, name=self.name, concurrency=settings.concurrency),
        )
