"""How the voter roll's budget stands, whether the roll answers, and how long the rest takes."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rollbook import clock
from rollbook.voter_roll.budget import Budget
from rollbook.voter_roll.record import VerificationRecord

if TYPE_CHECKING:
    from rollbook.backends.database import Row
    from rollbook.service.system import System

#: Seconds that one request usually takes on the way and back, where the budget doesn't decide.
USUAL_REQUEST_S = 0.2

BudgetState = Literal["off", "ok", "warning", "exceeded", "unavailable"]
RollState = Literal["off", "up", "down"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """Everything that is said of the voter roll outside a single upload."""

    state: BudgetState
    limit: int
    window_s: int
    used: int
    remaining: int
    #: When a request may be sent again; now, if one may.
    reset_at: dt.datetime
    reset_in_s: float
    roll: RollState
    roll_down_since: dt.datetime | None
    #: When a roll that is down is tried next.
    roll_probe_at: dt.datetime | None
    #: Why it is down, in words.
    roll_error: str | None
    roll_last_answer_at: dt.datetime | None
    #: People who are still to be asked about, and those of them about whom asking has failed.
    pending: int
    failing: int
    #: Seconds until they have all been asked about; None when nobody can tell, as while the roll
    #: is down.
    pending_s: float | None


async def look(system: System, *, more: int = 0) -> Outlook:
    """Look at budget, roll and questions as they are now.

    Args:
        system: the opened parts.
        more: people to be asked about after all others, for ``pending_s``.
    """
    settings = system.settings
    if not settings.asks_voter_roll:
        limit, window_s = settings.voter_roll_requests_per_hour, settings.voter_roll_window_s
        return Outlook(
            "off",
            limit,
            window_s,
            0,
            0,
            clock.now(),
            0.0,
            "off",
            None,
            None,
            None,
            None,
            0,
            0,
            None,
        )
    budget = Budget(settings, system.verifications.redis, system.pool)
    record = VerificationRecord(settings, system.pool)
    standing = await budget.standing()
    roll = await record.state()
    pending, _ = await record.ahead(None)
    state: BudgetState = "ok"
    if not standing.is_known:
        state = "unavailable"
    elif standing.wait_s:
        state = "exceeded"
    elif standing.is_warning:
        state = "warning"
    is_down = roll["down_since"] is not None
    return Outlook(
        state=state,
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


async def seconds_left(system: System, upload: Row) -> float | None:
    """Seconds until everybody of an upload has been asked about; None when nobody can tell."""
    if not upload["roll_pending"] or not system.settings.asks_voter_roll:
        return None
    record = VerificationRecord(system.settings, system.pool)
    if (await record.state())["down_since"] is not None:
        return None
    _, up_to = await record.ahead(upload["ordinal"])
    budget = Budget(system.settings, system.verifications.redis, system.pool)
    return await _seconds_for(system, budget, up_to)


async def _seconds_for(system: System, budget: Budget, people: int) -> float | None:
    if people == 0:
        return 0.0
    waited = await budget.wait_for(people)
    if waited is None:
        return None
    burst = min(people, system.settings.voter_roll_requests_per_hour)
    return round(waited + USUAL_REQUEST_S * burst / system.settings.voter_roll_lanes, 1)
