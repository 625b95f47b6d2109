"""Queries over uploads: single ones, history, statistics, rows, changes and problems.

Each function takes the reader and is limited to that reader's scope. An id outside the scope is
treated as one that doesn't exist.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import structlog
from psycopg.types.json import Jsonb

from rollbook import clock
from rollbook.backends.database import (
    FIRST_PAGE,
    Listed,
    Paging,
    fetch_all,
    fetch_listed,
    fetch_one,
    fetch_row,
    queries,
)  # fmt: skip
from rollbook.errors import NotFoundError, ServiceUnavailableError
from rollbook.languages import phrase
from rollbook.model import FINAL, OUTCOMES, REFUSED, STAGES
from rollbook.pipeline.problems import catalogue
from rollbook.uploads import days

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from rollbook.backends.database import Row
    from rollbook.model import User
    from rollbook.service.system import System


_SQL = queries("uploads")
log = structlog.get_logger(__name__)


async def get(system: System, user: User, upload_id: UUID) -> Row:
    """One upload.

    Raises:
        NotFoundError: there is none of this id in the reader's scope.
    """
    found = await fetch_one(
        system.pool, _SQL["visible"], {"id": upload_id, **user.scope.parameters()}
    )
    if found is None:
        raise NotFoundError(phrase("refusal.no_upload"))
    return found


async def position(system: System, upload: Row) -> int | None:
    """The upload's place in the queue, from 1; None when it isn't waiting for its turn.

    The place comes from the record when the queue doesn't know the job (not yet added, or not
    reachable).
    """
    if upload["status"] != "pending":
        return None
    try:
        state = await system.queue.state(upload["id"])
        if state is not None:
            return await system.queue.position(upload["id"])
    except ServiceUnavailableError:
        log.warning("queue position taken from the record", job_id=str(upload["id"]))
    row = await fetch_one(system.pool, _SQL["ahead"], {"id": upload["id"]})
    return row["ahead"] + 1 if row else None


async def is_queued(system: System, upload: Row) -> bool:
    """Whether the queue has the upload's job, or has had it; False when it doesn't answer."""
    if upload["status"] != "pending":
        return True
    try:
        return await system.queue.state(upload["id"]) is not None
    except ServiceUnavailableError:
        return False


async def positions(system: System, found: Sequence[Row]) -> list[int | None]:
    """Each upload's place in the queue; see ``position``."""
    return await asyncio.gather(*(position(system, upload) for upload in found))


async def history(
    system: System,
    user: User,
    *,
    status: str | None = None,
    search: str | None = None,
    after: int | None = None,
    paging: Paging = FIRST_PAGE,
) -> Listed:
    """A page of uploads in the user's scope, newest first, from before the ordinal ``after``.

    ``search`` is a text, in any case, in the file's name or the owner's address, or a job id.
    """
    parameters = {
        "status": status,
        "search": search or None,
        "after": after,
        **user.scope.parameters(),
    }
    most = system.settings.list_most_counted
    return await fetch_listed(system.pool, _SQL, "history", parameters, paging, most=most)


async def stats(system: System, user: User) -> Row:
    """Totals over the uploads in the reader's scope."""
    totals = await days.totals(system, user)
    ended = totals["completed"] + totals["failed"]
    renewals = {
        "new": totals["new_members"],
        **{name: totals[name] for name in ("renewed", "early", "expired")},
    }
    return {
        **totals,
        "renewals": renewals,
        "success_rate": totals["completed"] / ended if ended else None,
    }


async def stats_over_time(
    system: System, user: User, *, number: int
) -> tuple[list[Row], list[Row]]:
    """The last days of the reader's scope, and how long the stages took in them.

    Returns:
        Totals of each day up to today in the settings' time zone, and the durations of each stage
        in order.
    """
    zone = system.settings.time_zone
    today = clock.now().astimezone(ZoneInfo(zone)).date()
    first = today - dt.timedelta(days=number - 1)
    async with system.pool.connection() as connection:
        by_day, found = await days.over_time(
            connection, user.scope, zone=zone, first=first, last=today
        )
    return by_day, [found[stage] for stage in STAGES if stage in found]


async def oldest_waiting_since(system: System, user: User) -> dt.datetime | None:
    """The time since which the longest waiting upload waits; None if none waits."""
    row = await fetch_one(system.pool, _SQL["oldest_waiting"], user.scope.parameters())
    return row["since"] if row else None


async def queue_stats(system: System, user: User) -> dict[str, int | bool]:
    """The queue's statistics: of the whole queue for operators, of their scope for the others.

    The record leads the queue by a moment: an upload that has ended counts as ended, also while the
    queue still holds its job.
    """
    if not user.role.is_operator:
        counts = await whole_queue(system)
        async with system.pool.connection() as connection:
            zone = system.settings.time_zone
            own, _ = await days.counts(connection, user.scope, zone=zone)
        numbers = {
            "waiting": own["pending"],
            "active": own["processing"],
            "completed": own["completed"],
            "failed": own["failed"],
            "delayed": 0,
            "paused": 0,
        }
        return {**numbers, "total": sum(numbers.values()), "is_paused": counts["is_paused"]}
    return await whole_queue(system)


async def whole_queue(system: System) -> dict[str, int | bool]:
    """The statistics of the whole queue, in which the record leads."""
    counts, active = await system.queue.snapshot()
    async with system.pool.connection() as connection:
        for row in await fetch_all(connection, _SQL["ended_of"], {"ids": active}):
            counts["active"] -= row["uploads"]
            if row["status"] in counts:
                counts[row["status"]] += row["uploads"]
            else:  # a cancelled job leaves the queue
                counts["total"] -= row["uploads"]
        # No attempt begins during a pause, even if Redis has lost the pause.
        if (await fetch_row(connection, _SQL["queue_state"]))["is_paused"]:
            counts["is_paused"] = True
    return counts


async def queue_states(system: System, found: Sequence[Row]) -> list[str | None]:
    """The queue's state of each upload's job; None where the queue doesn't know it.

    The record leads here too: a job that the queue still holds as active has ended with its upload.
    """
    states = await system.queue.states(upload["id"] for upload in found)
    return [
        upload["status"] if state is not None and upload["status"] in FINAL else state
        for upload, state in zip(found, states, strict=True)
    ]


async def rows(
    system: System,
    upload: Row,
    *,
    outcome: Sequence[str] | None,
    paging: Paging = FIRST_PAGE,
    after: int | None = None,
    verification: str | None = None,
    problem: str | None = None,
    attention: str | None = None,
) -> Listed:
    """A page of an upload's rows with their outcomes, from after the row number ``after``.

    Each filter that isn't None leaves out other rows: by outcome, by what the voter roll says, by
    the code of a problem. ``attention`` is ``refused``, ``doubtful`` (with a warning), ``left_out``
    (a cell was), or ``any`` of these.
    """
    parameters = {
        "id": upload["id"],
        "outcomes": list(outcome) if outcome else None,
        "problem": None if problem is None else Jsonb([{"code": problem}]),
        "attention": attention,
        "refused": list(REFUSED),
        "left_out": [code for code, kind in catalogue().items() if kind.leaves_out],
        "verification": verification,
        "after": after,
    }
    is_known = verification is None and problem is None
    return await fetch_listed(
        system.pool, _SQL, "rows", parameters, paging,
        most=system.settings.list_most_counted,
        known=_counted_rows(upload, outcome, attention) if is_known else None,
    )  # fmt: skip


def _counted_rows(upload: Row, outcome: Sequence[str] | None, attention: str | None) -> int | None:
    """How many rows the merge, or the dry run, has counted; None where it hasn't."""
    if upload["status"] != "completed" or rows_removed_at(upload) is not None:
        return None
    if attention is None:
        return int(sum(upload[name] for name in set(outcome or OUTCOMES)))
    if outcome:
        return None
    counted: dict[str, int | None] = {
        "any": upload["rows_needing_attention"],
        "refused": sum(upload[name] for name in REFUSED),
        "doubtful": upload["rows_with_warnings"],
    }
    return counted.get(attention)


async def changes(
    system: System, upload: Row, paging: Paging, *, after: int | None = None
) -> Listed:
    """A page of the rows that changed a member, or would, from after the row number ``after``.

    Returns:
        Rows of ``row_number``, ``member_id`` and ``changes``: ``[before, after]`` by field.
    """
    parameters = {"id": upload["id"], "after": after}
    most = system.settings.list_most_counted
    return await fetch_listed(system.pool, _SQL, "changes", parameters, paging, most=most)


def rows_per_second(upload: Row) -> float | None:
    """The rows of its last attempt by time; None before it has any."""
    if upload["started_at"] is None or not upload["rows_done"]:
        return None
    until = upload["finished_at"] or clock.now()
    seconds: float = (until - upload["started_at"]).total_seconds()
    rate: float = upload["rows_done"] / max(seconds, 1e-3)
    return round(rate, 1)


def rows_removed_at(upload: Row) -> dt.datetime | None:
    """When retention removed the outcomes of an upload's rows; None while they stay."""
    removed, ended = upload["rows_removed_at"], upload["finished_at"]
    # An upload that was retried since has rows again.
    return removed if removed and ended and removed >= ended else None


async def problems(system: System, upload: Row, *, outcome: Sequence[str] | None) -> list[Row]:
    """The number of an upload's rows with each problem, over these outcomes or all."""
    parameters = {"id": upload["id"], "outcomes": list(outcome) if outcome else None}
    return await fetch_all(system.pool, _SQL["problems"], parameters)
