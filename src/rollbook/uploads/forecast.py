"""When each waiting upload is expected to start (docs/decisions/0045).

The queue is played forward: the slots of all living workers, what runs, and the waiting uploads in
their order, each for as long as recent uploads of its size took. What is sent later isn't known, so
an upload of a lower priority may start later than expected.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from rollbook.backends.database import fetch_all, fetch_row, queries
from rollbook.errors import ServiceUnavailableError
from rollbook.uploads.durations import Durations

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from rollbook.backends.database import Row
    from rollbook.service.system import System

#: Uploads that are played forward: those whose turn comes first.
LIMIT: Final = 1000
#: Recent uploads whose durations count, of how many that were sent last, and of how many days.
RECENT: Final = 300
LATEST: Final = 2000
DAYS: Final = 14
#: Seconds for which one forecast serves all requests, and one reading of durations all forecasts.
KEPT_S: Final = 2.0
DURATIONS_KEPT_S: Final = 20.0
#: Percent from which the progress of an attempt says how long it still takes.
TELLING_PERCENT: Final = 20
#: An attempt that takes longer than expected is expected to go on for this part of its time so far.
OVERTIME: Final = 0.2

#: Why there is no estimate. no_durations: no upload has completed lately. far_back: over 1,000
#: uploads are before it.
Reason = Literal["paused", "no_worker", "no_durations", "voter_roll", "account_closed", "far_back"]

_SQL = queries("forecast")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Estimate:
    """When an upload is expected to start, or why nobody can say."""

    #: None where it isn't known, and for an upload that doesn't wait.
    start_at: dt.datetime | None = None
    wait_s: float | None = None
    unknown: Reason | None = None

    def facts(self) -> dict[str, Any]:
        """The members of an upload's status."""
        return {
            "estimated_start_at": self.start_at,
            "estimated_wait_seconds": None if self.wait_s is None else round(self.wait_s, 1),
            "estimate_unknown": self.unknown,
        }


@dataclass(slots=True)
class Waiting:
    """A waiting upload, as it is played forward."""

    id: UUID
    #: Its place among the uploads that are ready; lower is first.
    rank: tuple[float, float]
    #: Seconds from now at which it has waited so long that it goes before all others.
    overdue_s: float
    #: Seconds from now before which it doesn't start.
    ready_s: float = 0.0
    #: Seconds that it takes; infinite where unknown.
    takes_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected starts of the waiting uploads, as of one moment."""

    now: dt.datetime
    #: ``time.monotonic()`` at that moment.
    read_at: float
    #: Seconds from that moment to the start of each; infinite where unknown.
    starts_s: Mapping[UUID, float] = field(default_factory=dict)
    #: Why one has no estimate.
    unknown: Mapping[UUID, Reason] = field(default_factory=dict)
    #: Why none has one.
    all_unknown: Reason | None = None
    #: Were there more waiting uploads than are played forward?
    is_cut: bool = False

    def knows(self, upload_ids: Iterable[UUID]) -> bool:
        """Was each of these uploads among the waiting ones?"""
        if self.all_unknown is not None or self.is_cut:
            return True  # as far as that can be said
        return all(one in self.starts_s or one in self.unknown for one in upload_ids)

    def of(self, upload_id: UUID) -> Estimate:
        """The estimate for an upload that waits."""
        if self.all_unknown is not None:
            return Estimate(unknown=self.all_unknown)
        if upload_id in self.unknown:
            return Estimate(unknown=self.unknown[upload_id])
        seconds = self.starts_s.get(upload_id)
        if seconds is None:  # where all were played forward, it has just begun
            return Estimate(unknown="far_back" if self.is_cut else None)
        if math.isinf(seconds):
            return Estimate(unknown="no_durations")
        passed = time.monotonic() - self.read_at
        wait_s = max(seconds - passed, 0.0)
        return Estimate(self.now + dt.timedelta(seconds=passed + wait_s), wait_s)


class Forecaster:
    """The latest forecast of this process, which all its requests share."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._lock = asyncio.Lock()
        self._latest: Forecast | None = None
        self._durations = Durations(())
        self._durations_until = 0.0

    async def estimates(self, uploads: Sequence[Row]) -> list[Estimate]:
        """The estimate for each upload; an empty one where it doesn't wait.

        Raises:
            psycopg.OperationalError, psycopg_pool.PoolTimeout: PostgreSQL doesn't answer.
        """
        waiting = [upload["id"] for upload in uploads if upload["status"] == "pending"]
        if not waiting:
            return [Estimate()] * len(uploads)
        forecast = await self.latest()
        if not forecast.knows(waiting):  # one was sent or retried since
            forecast = await self.latest(is_fresh=True)
        return [
            forecast.of(upload["id"]) if upload["status"] == "pending" else Estimate()
            for upload in uploads
        ]

    async def latest(self, *, is_fresh: bool = False) -> Forecast:
        """A forecast that is at most KEPT_S seconds old, or a new one where ``is_fresh``."""
        async with self._lock:
            age_s = math.inf if self._latest is None else time.monotonic() - self._latest.read_at
            if self._latest is None or is_fresh or age_s > KEPT_S:
                self._latest = await self._read()
            return self._latest

    async def _read(self) -> Forecast:
        is_paused, order, delays = await self._queue()
        parameters = {"limit": LIMIT, "latest": LATEST, "days": DAYS}
        async with self._system.pool.connection() as connection:
            read_at = time.monotonic()
            capacity = await fetch_row(connection, _SQL["capacity"])
            if capacity["is_paused"] or is_paused:
                return Forecast(capacity["now"], read_at, all_unknown="paused")
            if not capacity["slots"]:
                return Forecast(capacity["now"], read_at, all_unknown="no_worker")
            running = await fetch_all(connection, _SQL["running"], parameters)
            waiting = await fetch_all(connection, _SQL["waiting"], parameters)
            if read_at >= self._durations_until:
                recent = await fetch_all(
                    connection, _SQL["durations"], {**parameters, "limit": RECENT}
                )
                self._durations = Durations(recent)
                self._durations_until = read_at + DURATIONS_KEPT_S
        return self._play(capacity, running, waiting, order, delays, read_at)

    async def _queue(self) -> tuple[bool, list[str], dict[str, dt.datetime]]:
        """Whether Redis has a pause, the next jobs in their order, and until when others wait."""
        queue = self._system.queue
        try:
            return await queue.is_paused(), await queue.order(LIMIT), await queue.delays(LIMIT)
        except ServiceUnavailableError:
            log.warning("forecast made from the record")
            return False, [], {}  # the record's order is nearly the same

    def _play(
        self,
        capacity: Row,
        running: Sequence[Row],
        waiting: Sequence[Row],
        order: Sequence[str],
        delays: Mapping[str, dt.datetime],
        read_at: float,
    ) -> Forecast:
        now: dt.datetime = capacity["now"]
        workers = set(capacity["workers"] or ())
        slots: list[float] = []
        lost = []
        for upload in running:
            if not upload["is_alive"]:
                lost.append(upload)
            elif upload["worker"] in workers:
                slots.append(self._left_s(upload))
        slots += [0.0] * max(capacity["slots"] - len(slots), 0)
        unknown: dict[UUID, Reason] = {}
        queued = []
        places = {job_id: place for place, job_id in enumerate(order)}
        for upload in waiting:
            if upload["waits_for_roll"]:
                unknown[upload["id"]] = "voter_roll"
            elif upload["is_closed"]:
                unknown[upload["id"]] = "account_closed"
            else:
                queued.append(upload)
        turns = [*lost, *queued]
        ready = {
            upload["id"]: self._ready_s(upload, delays.get(str(upload["id"])), now)
            for upload in turns
        }
        jobs = [
            Waiting(
                id=upload["id"],
                rank=rank,
                overdue_s=self._overdue_s(upload, now),
                ready_s=ready[upload["id"]],
                takes_s=self._takes_s(upload),
            )
            for upload, rank in zip(turns, ranks(turns, places), strict=True)
        ]
        is_cut = len(waiting) >= LIMIT
        return Forecast(now, read_at, play(slots, jobs), unknown, is_cut=is_cut)

    def _takes_s(self, upload: Row) -> float:
        expected = self._durations.expected(upload["file_kind"], upload["file_bytes"])
        return math.inf if expected is None else expected

    def _left_s(self, upload: Row) -> float:
        """Seconds until a running attempt ends."""
        passed = max(upload["seconds"], 0.0)
        if upload["progress"] >= TELLING_PERCENT:
            return float(passed * (100 - upload["progress"]) / upload["progress"])
        return float(max(self._takes_s(upload) - passed, passed * OVERTIME))

    def _overdue_s(self, upload: Row, now: dt.datetime) -> float:
        minutes = self._system.settings.max_wait_min
        if not minutes:
            return math.inf
        overdue: dt.datetime = upload["waiting_since"] + dt.timedelta(minutes=minutes)
        return (overdue - now).total_seconds()

    def _ready_s(self, upload: Row, delayed_to: dt.datetime | None, now: dt.datetime) -> float:
        """Seconds until an upload that waits for another attempt is ready."""
        ready = delayed_to or upload.get("retry_at")
        return 0.0 if ready is None else max((ready - now).total_seconds(), 0.0)


def ranks(uploads: Sequence[Row], places: Mapping[str, int]) -> list[tuple[float, float]]:
    """The order of uploads: the queue's, and by priority for those that aren't in the queue.

    The uploads are in the order of the record; ``places`` are those in the queue, by job id. An
    upload that waits for another attempt has none.
    """
    last_of: dict[int, int] = {}
    for upload in uploads:
        place = places.get(str(upload["id"]))
        if place is not None:
            last_of[upload["priority"]] = max(place, last_of.get(upload["priority"], -1))
    found = []
    for number, upload in enumerate(uploads):
        place = places.get(str(upload["id"]))
        if place is not None:
            found.append((float(place), 0.0))
            continue
        before = [last for priority, last in last_of.items() if priority <= upload["priority"]]
        found.append((max(before, default=-1) + 0.5, float(number)))
    return found


def play(slots: Iterable[float], jobs: Iterable[Waiting]) -> dict[UUID, float]:
    """Play the queue forward: seconds from now at which each job starts, infinite where unknown.

    ``slots`` are the seconds from now at which each becomes free; infinite where unknown.
    """
    free = list(slots)
    heapq.heapify(free)
    coming = sorted(jobs, key=lambda job: job.ready_s, reverse=True)
    in_order: list[tuple[tuple[float, float], int, Waiting]] = []
    by_wait: list[tuple[float, int, Waiting]] = []
    starts: dict[UUID, float] = {}
    number = 0
    while free and (coming or len(starts) < number):
        at = heapq.heappop(free)
        if len(starts) == number:  # nothing is ready: the slot waits
            at = max(at, coming[-1].ready_s)
        while coming and coming[-1].ready_s <= at:
            job = coming.pop()
            heapq.heappush(in_order, (job.rank, number, job))
            heapq.heappush(by_wait, (job.overdue_s, number, job))
            number += 1
        while by_wait[0][2].id in starts:
            heapq.heappop(by_wait)
        if by_wait[0][0] <= at:
            job = heapq.heappop(by_wait)[2]
        else:
            while in_order[0][2].id in starts:
                heapq.heappop(in_order)
            job = heapq.heappop(in_order)[2]
        starts[job.id] = at
        heapq.heappush(free, at + job.takes_s)
    return starts
