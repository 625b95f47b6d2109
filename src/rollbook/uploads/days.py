"""Statistics by day and office: summed up once a day has ended, counted one by one until then.

The worker sums up days in the background. A change of an upload withdraws the sums of its day in
the same transaction (a trigger), so what is read is exact at every moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from rollbook.backends.database import exclusive, execute, fetch_all, fetch_one, queries, unbounded

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from rollbook.backends.database import Connection, Row
    from rollbook.model import Scope, User
    from rollbook.service.system import System

#: Seconds between two looks for days that have ended or were withdrawn.
LOOK_S = 5 * 60
#: Each bucket of durations is so much wider than the one before (``duration_bucket`` in SQL).
GROWTH = 1.05
#: Seconds that one process may take to sum up all days of an old installation.
LONGEST_S = 600.0
#: Held while one process sums up.
LOCK = "upload_days"
#: What is counted of a day.
COUNTS = (
    "uploads", "pending", "processing", "completed", "failed", "cancelled", "rows", "inserted",
    "updated", "unchanged", "invalid", "duplicate", "out_of_scope", "seconds", "new_members",
    "renewed", "early", "expired",
)  # fmt: skip

_SQL = queries("days")
log = structlog.get_logger(__name__)


async def run_once(system: System) -> int | None:
    """Sum up the days that have ended and aren't; returns how many, or None while another does it.

    A day of which an upload is being changed at this moment is left for the next round.
    """
    zone = {"zone": system.settings.time_zone}
    async with exclusive(system.pool, LOCK, idle_s=LONGEST_S) as held:
        if held is None:
            return None
        await execute(system.pool, _SQL["forget_unusable"], zone)
        summed_up = 0
        for day in await fetch_all(system.pool, _SQL["due"], zone):
            async with system.pool.connection() as connection:
                unbounded(connection)
                locked = await fetch_one(connection, _SQL["lock"], day)
                if locked is not None and locked["locked"]:
                    await connection.execute(_SQL["sum_up"], day)
                    summed_up += 1
    if summed_up:
        log.info("days summed up", days=summed_up)
    return summed_up


async def rebuild(system: System) -> int | None:
    """Remove all sums and make them from the uploads; returns the days, None while another does."""
    async with exclusive(system.pool, LOCK, idle_s=LONGEST_S) as held:
        if held is None:
            return None
        await execute(system.pool, _SQL["forget_all"])
    return await run_once(system)


async def counts(connection: Connection, scope: Scope, *, zone: str) -> tuple[Row, dict[str, Any]]:
    """``COUNTS`` of all uploads in a scope, and the parameters of their days."""
    period = await fetch_one(connection, _SQL["period"], {"zone": zone})
    assert period is not None
    parameters = _parameters(scope, zone, period["first"], period["last"])
    days = await fetch_all(connection, _SQL["by_day"], parameters)
    return {name: sum(day[name] for day in days) for name in COUNTS}, parameters


async def totals(system: System, user: User) -> Row:
    """What all uploads in the reader's scope come to.

    Returns:
        ``COUNTS``, and ``mean_seconds`` and ``median_seconds`` of those that completed, which are
        None where none has. The median is right within 2.5 %.
    """
    async with system.pool.connection() as connection:
        found, parameters = await counts(connection, user.scope, zone=system.settings.time_zone)
        took = await _durations(connection, parameters, stages=False)
    done = found["completed"]
    found["mean_seconds"] = found["seconds"] / done if done else None
    found["median_seconds"] = quantile(took[""], 0.5) if "" in took else None
    return found


async def by_status(connection: Connection, *, zone: str) -> dict[str, int]:
    """The number of uploads of all offices in each status that any is in."""
    rows = await fetch_all(connection, _SQL["by_status"], {"zone": zone})
    return {row["status"]: row["uploads"] for row in rows}


async def over_time(
    connection: Connection, scope: Scope, *, zone: str, first: dt.date, last: dt.date
) -> tuple[list[Row], dict[str, Row]]:
    """The days of a period in a scope, and how long each stage took in it.

    Returns:
        ``COUNTS`` of each day, oldest first, and by stage ``stage``, ``uploads``,
        ``median_seconds`` and ``p95_seconds``, which are right within 2.5 %.
    """
    parameters = _parameters(scope, zone, first, last)
    days = await fetch_all(connection, _SQL["by_day"], parameters)
    took = await _durations(connection, parameters, stages=True)
    stages = {
        stage: {
            "stage": stage,
            "uploads": sum(buckets.values()),
            "median_seconds": quantile(buckets, 0.5),
            "p95_seconds": quantile(buckets, 0.95),
        }
        for stage, buckets in took.items()
    }
    return days, stages


def quantile(buckets: Mapping[int, int], part: float) -> float:
    """The duration, in seconds, within which a part of the uploads was done.

    Args:
        buckets: uploads by bucket, at least one.
        part: 0 to 1.
    """
    wanted, seen, bucket = part * sum(buckets.values()), 0, 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= wanted:
            break
    return float(GROWTH ** (bucket + 0.5))


def _parameters(
    scope: Scope, zone: str, first: dt.date | None, last: dt.date | None
) -> dict[str, Any]:
    places = scope.parameters()
    place = "everywhere"
    if places["scope_province"] is not None:
        place = "province" if places["scope_municipality"] is None else "municipality"
    return {"zone": zone, "first": first, "last": last, "place": place, **places}


async def _durations(
    connection: Connection, parameters: Mapping[str, Any], *, stages: bool
) -> dict[str, dict[int, int]]:
    rows: Sequence[Row] = await fetch_all(
        connection, _SQL["durations"], {**parameters, "stages": stages}
    )
    found: dict[str, dict[int, int]] = {}
    for row in rows:
        found.setdefault(row["stage"], {})[row["bucket"]] = row["uploads"]
    return found
