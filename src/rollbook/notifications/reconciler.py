"""Brings the queue of notifications in line with the outbox, as ``reconciler`` does with uploads.

``FLUSHALL`` at any moment loses no notification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rollbook.backends.database import queries
from rollbook.errors import ServiceUnavailableError
from rollbook.notifications import outbox

if TYPE_CHECKING:
    from uuid import UUID

    from rollbook.service.system import System

#: Held while one process reconciles (any fixed number will do).
LOCK = 0x6E6F7469

_SQL = queries("notifications")
log = structlog.get_logger(__name__)


async def run_once(system: System) -> int | None:
    """Queue whatever is due; how much that is, or None when another process is at it.

    Raises:
        ServiceUnavailableError: Redis doesn't answer.
        psycopg.OperationalError: PostgreSQL doesn't.
    """
    async with system.pool.connection() as connection:
        row = await (await connection.execute(_SQL["lock"], {"lock": LOCK})).fetchone()
        if row is None or not row["locked"]:
            return None
        await connection.execute(_SQL["forget"])
        return await _queue_due(system, None)


async def tell(system: System, upload_id: UUID) -> None:
    """Queue what an upload that has just ended is to tell; the next round does it otherwise."""
    if not system.settings.notification_channels:
        return
    try:
        await _queue_due(system, upload_id)
    except ServiceUnavailableError:
        log.warning("queue not reachable, the reconciler will tell")


async def _queue_due(system: System, upload_id: UUID | None) -> int:
    channels = system.settings.notification_channels
    ids = await outbox.due(system.pool, channels, upload_id=upload_id) if channels else []
    for notification_id in ids:
        await system.notifications.add(notification_id)
    return len(ids)
