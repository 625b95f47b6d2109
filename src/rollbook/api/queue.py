"""The routes of the queue, for operators; others see their own jobs."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body
from pydantic import BaseModel, Field

from rollbook.accounts import audit
from rollbook.api.access import (
    ForecasterParam,
    OperatorParam,
    SystemParam,
    UserParam,
    audited,
    routes,
)
from rollbook.api.pages import AfterParam, LongPage, Pages20, listed
from rollbook.api.uploads import SearchParam, statuses
from rollbook.backends.database import fetch_all, fetch_row, queries
from rollbook.contract import (
    Answer,
    QueueStats,
    UploadStatus,
    VoterRollStanding,
    WorkerState,
)
from rollbook.model import Status
from rollbook.uploads import control, lookup
from rollbook.voter_roll.outlook import look

router = routes("/bulk-upload/queue", "queue", 401, 403, 503)


_SQL = queries("workers")


class Cleaned(BaseModel):
    """How many jobs the queue has forgotten."""

    completed: int
    failed: int


class CleanRequest(BaseModel, strict=True):
    """How long an ended job is kept in the queue."""

    grace_period_hours: float = Field(24, ge=0, le=24 * 365)


@router.get("/stats")
async def stats(system: SystemParam, user: UserParam) -> Answer[QueueStats]:
    """Count the jobs by state: all jobs for operators, those of their scope for others."""
    data = QueueStats.model_validate(await lookup.queue_stats(system, user))
    data.workers = (await fetch_row(system.pool, _SQL["taking"]))["workers"]
    data.oldest_waiting_since = await lookup.oldest_waiting_since(system, user)
    message = "The queue's counts."
    if system.settings.asks_voter_roll:
        data.voter_roll = VoterRollStanding.of(await look(system))
        if data.voter_roll.roll == "down":
            message += f" The voter roll is down: {data.voter_roll.roll_error}"
    return Answer(message=message, data=data)


@router.get("/jobs")
async def jobs(
    system: SystemParam,
    user: UserParam,
    forecaster: ForecasterParam,
    paging: Pages20,
    status: Status | None = None,
    search: SearchParam = None,
    after: AfterParam = None,
) -> Answer[LongPage[UploadStatus]]:
    """List the jobs of your scope, of all states or one, newest first."""
    found = await lookup.history(
        system, user, status=status, search=search, after=after, paging=paging
    )
    states = await lookup.queue_states(system, found.rows)
    items = await statuses(system, user, forecaster, found.rows, states)
    return listed(LongPage[UploadStatus], items, found, paging, "{} jobs.", key="ordinal")


@router.get("/workers")
async def workers(system: SystemParam, _: OperatorParam) -> Answer[list[WorkerState]]:
    """List the living workers, their slots and their jobs."""
    living = await fetch_all(system.pool, _SQL["living"])
    return Answer(
        message=f"{len(living)} workers.", data=[WorkerState.model_validate(w) for w in living]
    )


@router.post("/retry/{job_id}", **audited("retry", 404, 409))
async def retry(
    job_id: UUID, system: SystemParam, user: OperatorParam, forecaster: ForecasterParam
) -> Answer[UploadStatus]:
    """Retry a failed upload; its attempts are counted from 1 again."""
    await control.retry(system, user, job_id)
    upload = await lookup.get(system, user, job_id)
    position = await lookup.position(system, upload)
    [estimate] = await forecaster.estimates([upload])
    data = UploadStatus.of(upload, queue_position=position, **estimate.facts())
    return Answer(message="The upload waits for another run.", data=data)


@router.post("/clean", **audited("clean"))
async def clean(
    system: SystemParam, user: OperatorParam, request: Annotated[CleanRequest | None, Body()] = None
) -> Answer[Cleaned]:
    """Remove ended jobs from the queue; the history keeps their uploads."""
    wanted = request or CleanRequest(grace_period_hours=24)
    about = f"jobs that ended more than {wanted.grace_period_hours:g} hours ago"
    async with audit.noting(system.pool, "clean", who=user, about=about):
        removed = await system.queue.clean(grace_period_h=wanted.grace_period_hours)
    return Answer(
        message=f"{sum(removed.values())} ended jobs forgotten. The history keeps the uploads.",
        data=Cleaned.model_validate(removed),
    )


@router.post("/pause", **audited("pause"))
async def pause(system: SystemParam, user: OperatorParam) -> Answer[QueueStats]:
    """Pause the queue; running jobs continue."""
    await control.pause(system, by=user)
    counts = await lookup.queue_stats(system, user)
    return Answer(
        message="The queue is paused. Files are still accepted, and running jobs continue.",
        data=QueueStats.model_validate(counts),
    )


@router.post("/resume", **audited("resume"))
async def resume(system: SystemParam, user: OperatorParam) -> Answer[QueueStats]:
    """Resume the queue."""
    await control.resume(system, by=user)
    counts = await lookup.queue_stats(system, user)
    return Answer(message="The queue runs.", data=QueueStats.model_validate(counts))
