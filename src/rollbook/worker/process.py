"""The worker process: takes jobs off the queue and runs them until it is asked to stop."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from rollbook.accounts import audit
from rollbook.backends.database import queries
from rollbook.folder import retention as folder_retention
from rollbook.members import duplicates, erase, export, index
from rollbook.notifications.worker import deliver_due
from rollbook.queue import retired
from rollbook.queue.bull_worker import OneCallWorker
from rollbook.queue.loop import options, run_jobs
from rollbook.service import clocks
from rollbook.service.process import beat, leave, new_name, running
from rollbook.service.rounds import services
from rollbook.uploads import days, retention
from rollbook.voter_roll.worker import VerificationWorker
from rollbook.worker.attempt import Attempts
from rollbook.worker.fitness import LOOK_S, Fitness
from rollbook.worker.slots import Slots

if TYPE_CHECKING:
    import socket

    from redis.asyncio import Redis

    from rollbook.config import Settings
    from rollbook.service.system import System

#: Seconds between two looks for exports that have expired.
EXPIRY_S = 300.0
#: Seconds between two heartbeats.
HEARTBEAT_S = 5.0

_SQL = queries("workers")

log = structlog.get_logger(__name__)


async def serve(settings: Settings, metrics_listener: socket.socket | None = None) -> None:
    """Work until SIGTERM or SIGINT; a second one ends the process at once.

    Without a listening socket, metrics are served on ROLLBOOK_METRICS_PORT.
    """
    async with running(settings, "worker", metrics_listener) as (system, stop):
        await UploadWorker(system).run(stop)


class UploadWorker:
    """Takes jobs of the queue ``bulk-uploads`` and runs each in a slot.

    It also asks the voter roll, where an account is configured, and delivers notifications, unless
    they are switched off.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._settings = system.settings
        self.name = new_name()
        self.slots = Slots(system.settings)
        self.fitness = Fitness(system)
        self.attempts = Attempts(system, self.slots, self.name, self.fitness)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then let running jobs finish or hand them back."""
        audit.origin.set(audit.Origin(agent=self.name))
        system, index_s = self._system, self._settings.members_index_interval_s
        async with (
            self.slots,
            services(
                ("worker fitness", LOOK_S, partial(self.fitness.look, self.slots)),
                ("worker heartbeat", HEARTBEAT_S, self._beat),
                ("clocks", clocks.INTERVAL_S, partial(clocks.compare, system)),
                ("retention", retention.LOOK_S, self._purge),
                ("statistics", days.LOOK_S, partial(days.run_once, system)),
                ("index of members", index_s, partial(index.run_once, system)),
                ("possible duplicates", index_s, partial(duplicates.run_once, system)),
                ("expired files of members", EXPIRY_S, partial(export.forget_expired, system)),
            ),
        ):
            log.info("worker started", worker=self.name, concurrency=self._settings.concurrency)
            async with asyncio.TaskGroup() as work:
                work.create_task(retired.remove_keys(system.redis, stop))
                work.create_task(run_jobs(self._settings, stop, self._make_worker, self._shut_down))
                slots, beside = self.slots, self.slots.beside
                make = slots.make_members_file
                work.create_task(export.make_due(system, make, stop, turn=beside))
                work.create_task(erase.carry_out_due(system, slots.erase, stop, turn=beside))
                if self._settings.asks_voter_roll:
                    roll = VerificationWorker(
                        system, write_report=slots.write_report, report_turn=beside
                    )
                    work.create_task(roll.run(stop))
                if self._settings.notification_channels:
                    work.create_task(deliver_due(system, stop))
        await leave(system.pool, _SQL, self.name)
        log.info("worker stopped", worker=self.name)

    async def _shut_down(self) -> None:
        await self.attempts.shut_down(self._settings.shutdown_grace_s)

    async def _beat(self) -> None:
        """Write this worker's heartbeat and the jobs it holds."""
        self.slots.measure()
        await beat(
            self._system.pool,
            _SQL,
            self.name,
            slots=self._settings.concurrency,
            jobs=self.attempts.running,
            problems=self.fitness.problems,
        )

    async def _purge(self) -> None:
        if await retention.run_when_due(self._system) is not None:
            # Last: a share that isn't mounted on this machine delays nothing else.
            await folder_retention.purge(self._system)

    def _make_worker(self, client: Redis) -> OneCallWorker:
        settings = self._settings
        return OneCallWorker(
            settings.queue_name,
            self.attempts.process,
            options(settings, client, name=self.name, concurrency=settings.concurrency),
            may_take=self.fitness.is_fit,
        )
