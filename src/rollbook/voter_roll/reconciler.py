"""Brings the queue of verifications in line with the record, as ``reconciler`` does with uploads.

It runs beside that one, one at a time over all processes. ``FLUSHALL`` at any moment loses no
question, and the budget is counted anew from the record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rollbook.backends.database import queries
from rollbook.voter_roll.record import VerificationRecord

if TYPE_CHECKING:
    from rollbook.service.system import System

#: Held while one process reconciles (any fixed number will do).
LOCK = 0x766F7465

_SQL = queries("reconciler")
log = structlog.get_logger(__name__)


async def run_once(system: System) -> int | None:
    """Add what the queue lacks; how many jobs, or None when another process is at it.

    Raises:
        ServiceUnavailableError: Redis doesn't answer.
        psycopg.OperationalError: PostgreSQL doesn't.
    """
    if not system.settings.asks_voter_roll:
        return 0
    record = VerificationRecord(system.settings, system.pool)
    added = 0
    async with system.pool.connection() as connection:
        row = await (await connection.execute(_SQL["lock"], {"lock": LOCK})).fetchone()
        if row is None or not row["locked"]:
            return None
        await record.forget_requests()
        await record.give_up()
        await record.reask()
        if mended := await record.recount():
            log.warning("uploads waited for rows that didn't wait, counted anew", uploads=mended)
        for upload in await record.unverified():
            if upload["roll_pending"]:
                added += await system.verifications.ask(
                    upload["id"], pending=upload["roll_pending"]
                )
            elif upload["status"] == "completed":
                added += await system.verifications.write_report(upload["id"])
            elif upload["status"] != "pending" or upload["error_code"] is not None:
                # It runs, or waits after an attempt that failed: waking it now would give it all
                # its attempts anew.
                continue
            elif await system.queue.state(upload["id"]) == "delayed":
                # It waits for answers that are all in: who ought to have woken it was cut off.
                await system.queue.retry(upload["id"], priority=upload["priority"])
                added += 1
    if added:
        log.info("verifications reconciled", added=added)
    return added
