"""The voter roll's budget, its availability, and how long the pending questions take."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from rollbook import clock
from rollbook.voter_roll.budget import Budget
from rollbook.voter_roll.record import VerificationRecord

if TYPE_CHECKING:
    from rollbook.backends.database import Row
    from rollbook.service.system import System
    from rollbook.voter_roll.budget import Standing

#: Usual round trip of a request in seconds, where the budget isn't the limit.
USUAL_REQUEST_S: Final = 0.2

BudgetState = Literal["off", "ok", "warning", "exceeded"]
RollState = Literal["off", "up", "down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is known of the voter roll beyond a single upload."""

    state: BudgetState
    limit: int
    window_s: int
    used: int = 0
    remaining: int = 0
    #: When a request may be sent; now, if one may be sent.
    reset_at: dt.datetime
    reset_in_s: float = 0.0
    roll: RollState
    roll_down_since: dt.datetime | None = None
    #: When a roll that is down is tried next.
    roll_probe_at: dt.datetime | None = None
    #: Why it is down, as a sentence.
    roll_error: str | None = None
    roll_last_answer_at: dt.datetime | None = None
    #: People whom the roll is still to be asked about, and how many of them it failed on.
    pending: int = 0
    failing: int = 0
    #: Seconds until all of them have been asked about; None while the roll is down or off.
    pending_s: float | None = None


async def look(system: System, *, more: int = 0) -> Outlook:
    """The outlook now, for ``pending_s`` with ``more`` people to be asked about after all others.

    Raises:
        psycopg.OperationalError, psycopg_pool.PoolTimeout: PostgreSQL doesn't answer.
    """
    settings = system.settings
    if not settings.asks_voter_roll:
        return Outlook(
            state="off",
            limit=settings.voter_roll_requests_per_hour,
            window_s=settings.voter_roll_window_s,
            reset_at=clock.now(),
            roll="off",
        )
    budget, record = Budget(system), VerificationRecord(settings, system.pool)
    standing = await budget.standing()
    roll = await record.state()
    pending, _ = await record.ahead(None)
    is_down = roll["down_since"] is not None
    return Outlook(
        state=_state(standing),
        limit=standing.limit,
        window_s=standing.window_s,
        used=standing.used,
        remaining=standing.remaining,
        reset_at=clock.now() + dt.timedelta(seconds=standing.wait_s),
        reset_in_s=standing.wait_s,
        roll="down" if is_down else "up",
        roll_down_since=roll["down_since"],
        roll_probe_at=roll["probe_at"] if is_down else None,
        roll_error=roll["error"] if is_down else None,
        roll_last_answer_at=roll["last_answer_at"],
        pending=pending,
        failing=await record.failing(),
        pending_s=None if is_down else await _seconds_for(system, budget, pending + more),
    )


def _state(standing: Standing) -> BudgetState:
    if standing.wait_s:
        return "exceeded"
    return "warning" if standing.is_warning else "ok"


async def seconds_left(system: System, upload: Row) -> float | None:
    """Seconds until all people of an upload have been asked about; None if that isn't known."""
    if not upload["roll_pending"] or not system.settings.asks_voter_roll:
        return None
    record = VerificationRecord(system.settings, system.pool)
    if (await record.state())["down_since"] is not None:
        return None
    _, up_to = await record.ahead(upload["ordinal"])
    return await _seconds_for(system, Budget(system), up_to)


async def _seconds_for(system: System, budget: Budget, people: int) -> float:
    if people == 0:
        return 0.0
    settings = system.settings
    burst = min(people, settings.voter_roll_requests_per_hour)
    burst_s = USUAL_REQUEST_S * burst / settings.voter_roll_lanes
    return round(await budget.wait_for(people) + burst_s, 1)
