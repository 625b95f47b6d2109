"""Waiting for what the system says of itself, instead of sleeping."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from rollbook.backends.redis import make_client

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from rollbook.config import Settings

#: Nothing in a test takes this long; who waits longer waits for something that will not come.
PATIENCE_S = 60


async def job_event(settings: Settings, job_id: UUID | str, *events: str) -> str:
    """Wait for the first of these events of BullMQ's stream that is the job's, and name it."""
    found = await _first(settings, job_id, lambda fields: fields["event"] in events)
    return found["event"]


async def job_under_way(settings: Settings, job_id: UUID | str) -> None:
    """Wait until the job has told that it is through with some of its rows.

    Not for a stage by its name: a quick one may come and go between two heartbeats.
    """

    def has_rows(fields: dict[str, str]) -> bool:
        return fields["event"] == "progress" and json.loads(fields["data"])["rows_done"] > 0

    await _first(settings, job_id, has_rows)


async def _first(
    settings: Settings, job_id: UUID | str, wanted: Callable[[dict[str, str]], bool]
) -> dict[str, str]:
    key = f"bull:{settings.queue_name}:events"
    last = "0"
    async with asyncio.timeout(PATIENCE_S), make_client(settings.redis_address) as client:
        while True:
            streams: Any = await client.xread({key: last}, block=0)
            for entry_id, fields in streams[0][1]:
                last = entry_id
                if fields.get("jobId") == str(job_id) and wanted(fields):
                    return dict(fields)
