"""The routes of the voter roll's budget."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from rollbook.api.access import SystemParam, UserParam, routes
from rollbook.contract import Answer, CanUpload, VoterRollStanding
from rollbook.uploads.receive import whose_uploads_wait
from rollbook.voter_roll.outlook import look

router = routes("/bulk-upload", "voter roll", 401)


@router.get("/rate-limit-status")
async def rate_limit_status(system: SystemParam) -> Answer[VoterRollStanding]:
    """Return the state of the voter roll's budget, and the time until all answers are in."""
    data = VoterRollStanding.of(await look(system))
    return Answer(message=_in_words(data), data=data)


@router.get("/can-upload")
async def can_upload(
    system: SystemParam,
    user: UserParam,
    rows: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Answer[CanUpload]:
    """Return whether a file may be sent, and when that many rows of it would be verified.

    A spent budget is no reason to refuse a file: its rows are merged, and stay pending. Too many
    waiting uploads are a reason.
    """
    outlook = await look(system, more=rows)
    async with system.pool.connection() as connection:
        whose = await whose_uploads_wait(system.settings, connection, user)
    at_once = outlook.roll == "up" and outlook.remaining >= outlook.pending + rows
    data = CanUpload(
        can_upload=whose is None,
        is_verified_at_once=at_once,
        rows=rows,
        verified_in_seconds=outlook.pending_s,
        remaining=outlook.remaining,
        reset_at=outlook.reset_at,
    )
    if whose is not None:
        message = f"{whose} uploads are still waiting. Send a file when some of them are through."
    elif outlook.roll == "off":
        message = "You can send a file. The voter roll isn't asked."
    elif at_once:
        message = "You can send a file. The voter roll has room for its rows."
    else:
        message = "You can send a file. Its rows are merged; verifying them will take a while."
    return Answer(message=message, data=data)


def _in_words(standing: VoterRollStanding) -> str:
    if standing.roll == "down":
        return f"The voter roll is down: {standing.roll_error} It is tried again automatically."
    match standing.state:
        case "off":
            return "The voter roll isn't asked: no account for it is set."
        case "exceeded":
            return (
                f"All {standing.limit} requests of the window are used. More can be made in "
                f"{standing.reset_in_seconds:.0f} seconds; nothing is lost."
            )
        case "warning" | "ok":
            return f"{standing.remaining} of {standing.limit} requests are left."
