"""Corrects what an interrupted worker left between uploads, questions and answers.

It runs in ``up`` and ``serve``, in one process at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rollbook.backends.database import exclusive
from rollbook.voter_roll.budget import Budget
from rollbook.voter_roll.record import VerificationRecord

if TYPE_CHECKING:
    from rollbook.service.system import System

#: The advisory lock that one process holds while it reconciles (any fixed number will do).
LOCK = 0x766F7465

log = structlog.get_logger(__name__)


async def run_once(system: System) -> int | None:
    """Reconcile once.

    Returns:
        The number of uploads that are merged now because all their answers are in, or None when
        another process reconciles.

    Raises:
        ServiceUnavailableError: Redis doesn't answer.
        psycopg.OperationalError: PostgreSQL doesn't.
    """
    if not system.settings.asks_voter_roll:
        return 0
    record = VerificationRecord(system.settings, system.pool)
    async with exclusive(system.pool, LOCK) as connection:
        if connection is None:
            return None
        await Budget(system).forget()
        await record.give_up()
        await record.ask_missing()
        if corrected := await record.recount():
            log.warning("counts of pending rows corrected", uploads=corrected)
        woken = 0
        for upload in await record.ready_to_merge():
            # Its last answer came, and the worker that received it was cut off.
            if await system.queue.state(upload["id"]) == "delayed":
                await system.queue.retry(upload["id"], priority=upload["priority"])
                woken += 1
    if woken:
        log.info("uploads queued for their merge", uploads=woken)
    return woken
