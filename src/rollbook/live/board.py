"""The queue board: counts and the order of the waiting jobs, as each audience may see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rollbook.contract import QueueStats
from rollbook.uploads import lookup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from rollbook.live.client import Audience
    from rollbook.model import Scope
    from rollbook.service.system import System

#: How many places of the queue are shown.
PLACES: Final = 200
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
        places_of: Callable[[Collection[str]], Awaitable[dict[str, Scope | None]]],
    ) -> None:
        """Make an empty board.

        Args:
            system: has the queue and the record.
            places_of: where each of these jobs was sent from; None for another program's job.
        """
        self._system = system
        self._places_of = places_of
        self._counts: dict[str, int | bool] = {}
        self._places: dict[str, Scope | None] = {}
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
            self._places = await self._places_of(await self._system.queue.order(PLACES))
        except BaseException:
            self.expire()
            raise
        self._counts = counts

    def view(self, audience: Audience) -> dict[str, Any]:
        """The data of ``queue_stats`` for an audience."""
        own = {
            job_id: place
            for place, (job_id, sent_from) in enumerate(self._places.items(), start=1)
            if sent_from is not None and audience.scope.includes(sent_from)
        }
        counts = {name: self._counts[name] for name in _COUNTS} if audience.is_operator else None
        return {"is_paused": bool(self._counts["is_paused"]), "positions": own, "counts": counts}

    def changed_for(self, audience: Audience) -> dict[str, Any] | None:
        """An audience's view where it differs from what this audience was last sent."""
        view = self.view(audience)
        if view == self._sent.get(audience):
            return None
        self._sent[audience] = view
        return view

    def forget(self, audience: Audience) -> None:
        """Forget what an audience was sent: its last client has left."""
        self._sent.pop(audience, None)

    def forget_all(self) -> None:
        """Forget what every audience was sent."""
        self._sent.clear()
