"""The routes of statistics over the uploads of a scope."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from rollbook.api.access import SystemParam, UserParam, routes
from rollbook.contract import Answer, DayStats, StageDuration, Stats, StatsOverTime
from rollbook.uploads import lookup

router = routes("/bulk-upload/stats", "statistics", 401, 422)


@router.get("")
async def stats(system: SystemParam, user: UserParam) -> Answer[Stats]:
    """Sum up the uploads of your scope."""
    return Answer(
        message="The uploads of your scope.", data=Stats.of(await lookup.stats(system, user))
    )


@router.get("/over-time")
async def stats_over_time(
    system: SystemParam, user: UserParam, days: Annotated[int, Query(ge=1, le=366)] = 30
) -> Answer[StatsOverTime]:
    """Sum up the uploads of your scope day by day, and the durations of the stages."""
    by_day, stages = await lookup.stats_over_time(system, user, number=days)
    data = StatsOverTime(
        days=[DayStats.of(day) for day in by_day],
        stages=[StageDuration.model_validate(stage) for stage in stages],
    )
    return Answer(message=f"The last {days} days of your scope.", data=data)
