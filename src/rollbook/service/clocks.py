"""PostgreSQL's clock, from which every cut-off comes, and how far this machine's differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rollbook import clock
from rollbook.backends.database import fetch_row, queries
from rollbook.errors import ClockDiffersError
from rollbook.telemetry import metrics

if TYPE_CHECKING:
    import datetime as dt

    from rollbook.backends.database import Pool
    from rollbook.service.system import System

#: Seconds between two comparisons.
INTERVAL_S = 60

_SQL = queries("clock")
log = structlog.get_logger(__name__)


async def now(pool: Pool) -> dt.datetime:
    """The present moment, as PostgreSQL says it."""
    moment: dt.datetime = (await fetch_row(pool, _SQL["now"]))["now"]
    return moment


async def today(pool: Pool) -> dt.date:
    """The day in South Africa, by PostgreSQL's clock."""
    return (await now(pool)).astimezone(clock.SOUTH_AFRICA).date()


def ahead_s(before: dt.datetime, there: dt.datetime, after: dt.datetime) -> float:
    """Seconds that this machine is ahead, by a moment that PostgreSQL gave between two of ours."""
    if there < before:
        return (before - there).total_seconds()
    return min((after - there).total_seconds(), 0)


async def compare(system: System) -> float:
    """By how many seconds this machine's clock is ahead; a metric, and logged where it is too far.

    The answer was made at some moment while it was waited for: within that, there is no difference.
    """
    before = clock.now()
    there = await now(system.pool)
    difference = ahead_s(before, there, clock.now())
    metrics.CLOCK_DIFFERENCE.set(difference)
    if abs(difference) > system.settings.clock_tolerance_s:
        log.error("clock differs from PostgreSQL's", ahead_s=round(difference, 1))
    return difference


async def agreed(system: System) -> dt.datetime:
    """The present moment, as PostgreSQL says it, where this machine's clock agrees.

    Raises:
        ClockDiffersError: it differs by more than ROLLBOOK_CLOCK_TOLERANCE_S. One of the two is
            wrong, and what is removed by a wrong clock is gone.
    """
    difference = await compare(system)
    if abs(difference) > system.settings.clock_tolerance_s:
        side = "ahead of" if difference > 0 else "behind"
        raise ClockDiffersError(
            f"The clock of this machine is {abs(difference):.0f} seconds {side} PostgreSQL's, so "
            "nothing was removed. Set both clocks (NTP does it automatically), then try again."
        )
    return await now(system.pool)
