"""The voter roll's budget: how many requests all workers together may make in a sliding window.

The count is exact as the roll counts (docs/decisions/0041): a request counts from its reservation
until a whole window after its end. So it counts here for at least as long as it counts there,
however long it was under way. Requests are rows in PostgreSQL, and the clock is PostgreSQL's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from rollbook.backends.database import UNAVAILABLE, execute, fetch_row, queries
from rollbook.errors import BudgetSpentError
from rollbook.queue.publisher import announce_budget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import psycopg

    from rollbook.backends.database import Row, Where
    from rollbook.service.system import System

#: The share of the budget at which ``rate_limit_warning`` is announced.
WARNING_SHARE: Final = 0.9
#: How far ahead a request may be reserved, in seconds. So its worker has all at hand when it may be
#: sent, and no time of the budget is lost.
AHEAD_S: Final = 2.0
#: Seconds before a reserved request is sent at which it is checked that the roll still wants
#: requests. No later, because the check takes time.
CHECK_S: Final = 0.25
#: A request that is late by this many seconds is not sent: its hold may end before it does.
MOST_LATE_S: Final = 2.0
#: Seconds beyond the roll's time limit after which a request without a recorded end counts as
#: ended: its worker has died.
HOLD_MARGIN_S: Final = 5.0

_SQL = queries("voter_roll")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of the budget."""

    limit: int
    window_s: int
    used: int
    #: Seconds until a request may be sent; 0 when one may be sent now.
    wait_s: float
    #: Seconds for which the roll itself wants no requests.
    refrain_s: float = 0.0

    @property
    def remaining(self) -> int:
        """Requests that may be sent now."""
        return 0 if self.wait_s else self.limit - self.used

    @property
    def is_warning(self) -> bool:
        """Is nine tenths of the budget used?"""
        return self.used >= self.limit * WARNING_SHARE


class Budget:
    """The one budget of all workers.

    Raises:
        psycopg.OperationalError, psycopg_pool.PoolTimeout: from every method, when PostgreSQL
            doesn't answer; nothing may be sent then.
    """

    def __init__(self, system: System) -> None:
        settings = system.settings
        self._pool = system.pool
        self._redis = system.redis
        self._queue_name = settings.queue_name
        self._limit = settings.voter_roll_requests_per_hour
        self._window_s = settings.voter_roll_window_s
        self._hold_s = settings.voter_roll_timeout_s + HOLD_MARGIN_S

    @contextlib.asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """Send one request within the context, which is entered when it may be sent.

        Raises:
            BudgetSpentError: none may be sent within ``AHEAD_S``.
        """
        request_id, wait_s = await self._reserve()
        if wait_s:
            await self._wait(request_id, wait_s)
        try:
            yield
        finally:
            ended = time.monotonic()
            # A request without a recorded end counts for longer than it needs to.
            with contextlib.suppress(*UNAVAILABLE):
                async with self._pool.connection() as connection:
                    parameters = {"id": request_id, "ago_s": time.monotonic() - ended}
                    await connection.execute(_SQL["end_request"], parameters)

    async def standing(self) -> Standing:
        """The state of the budget now."""
        return self._standing(await self._look(self._pool))

    async def refrain(self, seconds: float) -> None:
        """Let no worker send a request for these seconds, as the roll demands (``Retry-After``)."""
        log.warning("voter roll limits requests", seconds=round(seconds, 1))
        await execute(self._pool, _SQL["refrain"], {"seconds": seconds})

    async def forget(self) -> None:
        """Delete requests that no window counts any more."""
        parameters = {"window_s": self._window_s, "hold_s": self._hold_s}
        await execute(self._pool, _SQL["forget_requests"], parameters)

    async def wait_for(self, requests: int) -> float:
        """Seconds until the last of this many requests can be sent."""
        async with self._pool.connection() as connection:
            standing = self._standing(await self._look(connection))
            beyond = requests - standing.remaining
            if beyond <= 0:
                return 0.0
            # Each further request replaces one that leaves the window, a window later again.
            windows, place = divmod(beyond - 1, self._limit)
            leaves_in_s = (await self._look(connection, place=place))["leaves_in_s"]
        first_s = self._window_s if leaves_in_s is None else float(leaves_in_s)
        return max(windows * self._window_s + first_s, standing.wait_s)

    async def _reserve(self) -> tuple[int, float]:
        """Reserve the next request; its id, and the seconds after which it may be sent."""
        async with self._pool.connection() as connection:
            # Reservations wait for each other here, and each sees those before it.
            await connection.execute(_SQL["lock_budget"])
            found = await self._look(connection)
            wait_s = found["wait_s"]
            # A window from now is when a request may leave that hasn't ended yet: not a promise.
            if wait_s > AHEAD_S or wait_s >= self._window_s:
                raise _spent(wait_s)
            reserved = await fetch_row(connection, _SQL["reserve_request"], {"wait_s": wait_s})
            used = min(found["used"] + 1, self._limit)
            event = await self._event(connection, used)
        if event is not None:
            log.warning("voter roll budget", event_name=event, used=used, limit=self._limit)
            await announce_budget(
                self._redis, self._queue_name, event, used=used, limit=self._limit
            )
        return reserved["id"], wait_s

    async def _wait(self, request_id: int, wait_s: float) -> None:
        """Wait until a reserved request may be sent; withdraw it if it isn't sent."""
        allowed_at = time.monotonic() + wait_s
        try:
            await asyncio.sleep(wait_s - CHECK_S)
            refrain_s = (await self.standing()).refrain_s
            left_s = allowed_at - time.monotonic()
            if refrain_s > max(left_s, 0.0) or left_s < -MOST_LATE_S:
                raise _spent(refrain_s)
            await asyncio.sleep(left_s)
        except BaseException:
            await execute(self._pool, _SQL["withdraw_request"], {"id": request_id})
            raise

    async def _event(self, connection: psycopg.AsyncConnection[Row], used: int) -> str | None:
        """The event to announce at this count; None if it was announced within the window."""
        if used >= self._limit:
            event = "rate_limit_exceeded"
        elif used >= int(self._limit * WARNING_SHARE):
            event = "rate_limit_warning"
        else:
            return None
        noted = await execute(connection, _SQL[f"note_{event}"], {"window_s": self._window_s})
        return event if noted else None

    async def _look(self, where: Where, *, place: int = 0) -> Row:
        parameters = {
            "limit": self._limit,
            "window_s": self._window_s,
            "hold_s": self._hold_s,
            "place": place,
        }
        return await fetch_row(where, _SQL["budget"], parameters)

    def _standing(self, found: Row) -> Standing:
        used = min(found["used"], self._limit)  # reservations may be more, for a moment
        return Standing(self._limit, self._window_s, used, found["wait_s"], found["refrain_s"])


def _spent(wait_s: float) -> BudgetSpentError:
    return BudgetSpentError("The voter roll's budget is spent.", wait_s=wait_s)
