"""The installation's metrics, read from Redis and PostgreSQL at a scrape.

Every API process has the same values, so a query takes their ``max``. A part that is away fails no
scrape: its metrics are left out, and ``rollbook_up`` says so.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import psycopg
from prometheus_client.core import GaugeMetricFamily

from rollbook.backends.database import UNAVAILABLE, fetch_all, queries
from rollbook.model import STATUSES
from rollbook.uploads import days
from rollbook.voter_roll.budget import Budget

if TYPE_CHECKING:
    from prometheus_client import Metric

    from rollbook.backends.database import Row
    from rollbook.service.system import System

#: Seconds for which the values are cached.
KEPT_S: Final = 3.0
#: Timeout for each part, in seconds.
PATIENCE_S: Final = 3.0

#: Labels and description by name.
FAMILIES: Final = {
    "rollbook_up": (
        ["part"],
        "1 while the part answers: postgresql, redis, other processes.",
    ),
    "rollbook_queue_jobs": (["state"], "Jobs in the queue, by state."),
    "rollbook_queue_paused": ([], "1 while the queue is paused."),
    "rollbook_uploads": (["status"], "Uploads in the record, by status."),
    "rollbook_oldest_waiting_seconds": (
        [],
        "For how long the upload that has waited longest has been waiting; 0 when none waits.",
    ),
    "rollbook_workers": ([], "Workers with a heartbeat in the last 30 seconds."),
    "rollbook_worker_slots": ([], "Attempts that all of them make at a time."),
    "rollbook_worker_slots_in_use": ([], "Attempts that all of them are making."),
    "rollbook_lock_waits": (
        [],
        "Sessions of ours that wait for a lock, such as merges of the same members.",
    ),
    "rollbook_lock_wait_seconds": ([], "For how long the first of them has been waiting; 0: none."),
    "rollbook_voter_roll_budget_limit": ([], "Requests to the voter roll in one window, at most."),
    "rollbook_voter_roll_budget_used": ([], "Requests that the current window counts."),
    "rollbook_voter_roll_budget_wait_seconds": ([], "For how long nothing may be sent; 0: now."),
}
_SQL = queries("gauges")


def family(name: str) -> GaugeMetricFamily:
    """An empty family of that name."""
    labels, about = FAMILIES[name]
    return GaugeMetricFamily(name, about, labels=labels or None)


def up(part: str, *, is_up: bool) -> GaugeMetricFamily:
    """``rollbook_up`` for one part."""
    found = family("rollbook_up")
    found.add_metric([part], int(is_up))
    return found


class Gauges:
    """The shared metrics, cached because each reading costs five queries."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._lock = asyncio.Lock()
        self._families: list[Metric] = []
        self._until = 0.0

    async def families(self) -> list[Metric]:
        """All metrics that can be read now; a part that is away raises nothing."""
        async with self._lock:
            if time.monotonic() >= self._until:
                self._families = await self._read()
                self._until = time.monotonic() + KEPT_S
            return self._families

    async def _read(self) -> list[Metric]:
        found: list[Metric] = []
        for part, read in (("postgresql", self._record), ("redis", self._queue)):
            try:
                async with asyncio.timeout(PATIENCE_S):
                    found += await read()
            except (*UNAVAILABLE, psycopg.Error, TimeoutError):
                found.append(up(part, is_up=False))
            else:
                found.append(up(part, is_up=True))
        return found

    async def _record(self) -> list[Metric]:
        async with self._system.pool.connection(timeout=PATIENCE_S) as connection:
            counts = await days.by_status(connection, zone=self._system.settings.time_zone)
            [oldest] = await fetch_all(connection, _SQL["oldest_waiting"])
            [workers] = await fetch_all(connection, _SQL["workers"])
            [locks] = await fetch_all(connection, _SQL["lock_waits"])
        uploads = family("rollbook_uploads")
        for status in STATUSES:  # a status without uploads is 0
            uploads.add_metric([status], counts.get(status, 0))
        found: list[Metric] = [uploads, *_of(workers)]
        found.append(_one("rollbook_oldest_waiting_seconds", oldest["seconds"]))
        found.append(_one("rollbook_lock_waits", locks["waits"]))
        found.append(_one("rollbook_lock_wait_seconds", locks["seconds"]))
        if self._system.settings.asks_voter_roll:
            standing = await Budget(self._system).standing()
            found.append(_one("rollbook_voter_roll_budget_limit", standing.limit))
            found.append(_one("rollbook_voter_roll_budget_used", standing.used))
            found.append(_one("rollbook_voter_roll_budget_wait_seconds", standing.wait_s))
        return found

    async def _queue(self) -> list[Metric]:
        stats = await self._system.queue.stats()
        is_paused, _ = stats.pop("is_paused"), stats.pop("total")
        jobs = family("rollbook_queue_jobs")
        for state, count in stats.items():
            jobs.add_metric([state], count)
        return [jobs, _one("rollbook_queue_paused", is_paused)]


def _of(workers: Row) -> list[Metric]:
    return [
        _one("rollbook_workers", workers["workers"]),
        _one("rollbook_worker_slots", workers["slots"]),
        _one("rollbook_worker_slots_in_use", workers["in_use"]),
    ]


def _one(name: str, value: float) -> GaugeMetricFamily:
    found = family(name)
    found.add_metric([], value)
    return found
