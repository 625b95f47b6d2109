"""The queue board: counts and the waiting jobs' order and expected starts, for each audience."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from rollbook import clock
from rollbook.contract import QueueStats
from rollbook.live.messages import timestamp
from rollbook.uploads import lookup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from rollbook.live.client import Audience
    from rollbook.model import Scope
    from rollbook.service.system import System
    from rollbook.uploads.forecast import Estimate, Forecaster

#: How many places of the queue are shown.
PLACES: Final = 200
#: An expected start is sent again when it has moved by these seconds, and by this part of the wait.
MOVED_S: Final = 3.0
MOVED_PART: Final = 0.1
#: Looks after which the counts are read again although no event has changed them.
LOOKS_AT_MOST: Final = 10
#: What is counted; a queue's statistics say more.
_COUNTS: Final = tuple(
    name for name, field in QueueStats.model_fields.items() if field.annotation is int
)


class QueueBoard:
    """The latest counts and places, and what each audience was last sent of them."""

    def __init__(
        self,
        system: System,
        forecaster: Forecaster,
        places_of: Callable[[Collection[str]], Awaitable[dict[str, Scope | None]]],
    ) -> None:
        """``places_of`` returns where each job was sent from; None for another program's job."""
        self._system = system
        self._forecaster = forecaster
        self._places_of = places_of
        self._counts: dict[str, int | bool] = {}
        self._places: dict[str, Scope | None] = {}
        #: The estimates that clients were sent, by job id.
        self._estimates: dict[str, Estimate] = {}
        self._looks = LOOKS_AT_MOST
        self._sent: dict[Audience, dict[str, Any]] = {}

    def expire(self) -> None:
        """Read the counts at the next look: an event has changed them."""
        self._looks = LOOKS_AT_MOST

    def is_due(self) -> bool:
        """Count a look; are the counts to be read at this one?"""
        self._looks += 1
        return self._looks >= LOOKS_AT_MOST

    async def read(self) -> None:
        """Read counts and places.

        Raises:
            ServiceUnavailableError: Redis doesn't answer.
            psycopg.OperationalError, psycopg_pool.PoolTimeout: PostgreSQL doesn't answer.
        """
        self._looks = 0  # first: an event during the reading makes it due again
        try:
            counts = await lookup.whole_queue(self._system)
            places = await self._places_of(await self._system.queue.order(PLACES))
            estimates = await self._estimated(
                [job_id for job_id, place in places.items() if place is not None]
            )
        except BaseException:
            self.expire()
            raise
        self._counts, self._places, self._estimates = counts, places, estimates

    async def _estimated(self, job_ids: Collection[str]) -> dict[str, Estimate]:
        """The estimates of these jobs, as before where they haven't changed noticeably."""
        if not job_ids:
            return {}
        forecast = await self._forecaster.latest(is_fresh=True)
        found = {}
        for job_id in job_ids:
            known, newest = self._estimates.get(job_id), forecast.of(UUID(job_id))
            found[job_id] = newest if known is None or _differs(known, newest) else known
        return found

    def view(self, audience: Audience) -> dict[str, Any]:
        """The data of ``queue_stats`` for an audience."""
        own = {
            job_id: place
            for place, (job_id, sent_from) in enumerate(self._places.items(), start=1)
            if sent_from is not None and audience.scope.includes(sent_from)
        }
        counts = {name: self._counts[name] for name in _COUNTS} if audience.is_operator else None
        return {
            "is_paused": bool(self._counts["is_paused"]),
            "positions": own,
            "estimates": {job_id: _shown(self._estimates[job_id]) for job_id in own},
            "counts": counts,
        }

    def changed_for(self, audience: Audience) -> dict[str, Any] | None:
        """An audience's view where it differs from what this audience was last sent."""
        view = self.view(audience)
        sent = self._sent.get(audience)
        if sent is not None and is_same(view, sent):
            return None
        self._sent[audience] = view
        return view

    def forget(self, audience: Audience) -> None:
        """Forget what an audience was sent: its last client has left."""
        self._sent.pop(audience, None)

    def forget_all(self) -> None:
        """Forget what every audience was sent."""
        self._sent.clear()


def is_same(view: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two views say the same; the seconds to an expected start always differ."""
    return _without_waits(view) == _without_waits(other)


def _without_waits(view: dict[str, Any]) -> dict[str, Any]:
    estimates = {
        job_id: (one["estimated_start_at"], one["estimate_unknown"])
        for job_id, one in view["estimates"].items()
    }
    return {**view, "estimates": estimates}


def _differs(known: Estimate, newest: Estimate) -> bool:
    """Whether an estimate has changed so much that clients are sent it."""
    if known.start_at is None or newest.start_at is None or newest.wait_s is None:
        return known != newest
    moved = abs((newest.start_at - known.start_at).total_seconds())
    return moved > max(MOVED_S, newest.wait_s * MOVED_PART)


def _shown(estimate: Estimate) -> dict[str, Any]:
    facts = estimate.facts()
    start = estimate.start_at
    if start is not None:
        left_s = max((start - clock.now()).total_seconds(), 0.0)
        facts["estimated_start_at"] = timestamp(start)
        facts["estimated_wait_seconds"] = round(left_s, 1)
    return facts
