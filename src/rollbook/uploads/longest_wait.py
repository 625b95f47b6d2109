"""Bounds how long an upload waits while uploads of higher priority arrive.

An upload that has waited for ROLLBOOK_MAX_WAIT_MIN runs before all others; among such uploads the
longest waiting is first. 0 switches the bound off, and priorities are strict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rollbook.backends.database import fetch_all, queries

if TYPE_CHECKING:
    from rollbook.service.system import System

_SQL = queries("longest_wait")
log = structlog.get_logger(__name__)


async def run_once(system: System) -> int:
    """Move uploads that have waited too long to the front of the queue; returns their number.

    Raises:
        ServiceUnavailableError: Redis doesn't answer.
        psycopg.OperationalError: PostgreSQL doesn't.
    """
    minutes = system.settings.max_wait_min
    if not minutes:
        return 0
    waiting = await fetch_all(system.pool, _SQL["waiting_too_long"], {"minutes": minutes})
    moved = 0
    for upload in waiting:
        if await system.queue.put_first(upload["id"]):
            moved += 1
            log.info("upload moved to the front", job_id=str(upload["id"]), minutes=minutes)
    return moved
