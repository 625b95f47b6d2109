"""A client of Socket.IO, as the first system's clients are: python-socketio's own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import aiohttp
import socketio

from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

Event = tuple[str, dict[str, Any]]

#: The fields of each event.
FIELDS = {
    "bulk_upload_progress": {"job_id", "stage", "progress", "message", "status", "timestamp"},
    "bulk_upload_complete": {
        "job_id", "status", "validation_stats", "database_stats", "report_path",
        "processing_duration_ms", "timestamp",
    },
    "bulk_upload_failed": {"job_id", "error", "stage", "status", "timestamp"},
    "queue_position_update": {"job_id", "position", "estimated_wait_minutes"},
}  # fmt: skip
STAGES = [
    "initialization", "file_reading", "pre_validation", "iec_verification", "database_operations",
    "report_generation",
]  # fmt: skip


class Ear:
    """Keeps all that a client receives."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.client = socketio.AsyncClient(reconnection=False, http_session=http)
        self.events: list[Event] = []
        #: Set when the connection has ended.
        self.ended = asyncio.Event()
        self._news = asyncio.Condition()
        self.client.on("*", self._hear)
        self.client.on("disconnect", self._end)

    async def _hear(self, name: str, data: dict[str, Any]) -> None:
        assert set(data) == FIELDS[name], name
        async with self._news:
            self.events.append((name, data))
            self._news.notify_all()

    async def _end(self, *_: object) -> None:
        self.ended.set()

    async def until(self, name: str, job_id: object = None, times: int = 1) -> dict[str, Any]:
        """The latest event of this name, of this job or any, once there are so many."""

        def found() -> list[dict[str, Any]]:
            return [
                data for kind, data in self.events
                if kind == name and (job_id is None or data["job_id"] == str(job_id))
            ]  # fmt: skip

        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: len(found()) >= times)
        return found()[-1]

    async def end(self) -> None:
        """Wait until the connection has ended."""
        await asyncio.wait_for(self.ended.wait(), PATIENCE_S)

    def jobs(self) -> set[str]:
        """The jobs whose events it has received."""
        return {data["job_id"] for _, data in self.events}

    async def call(self, name: str, data: object) -> dict[str, Any]:
        """Emit an event, and return the server's answer to it."""
        answer: dict[str, Any] = await self.client.call(name, data, timeout=PATIENCE_S)
        return answer


@contextlib.asynccontextmanager
async def listening(
    host: str, token: object, *transports: str, headers: dict[str, str] | None = None
) -> AsyncIterator[Ear]:
    """A connected client."""
    # The library leaves its own session open where it is refused.
    async with aiohttp.ClientSession() as http:
        ear = Ear(http)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await ear.client.connect(
                    f"http://{host}",
                    headers=headers or {},
                    auth={"token": token},
                    transports=list(transports) or None,
                    wait_timeout=PATIENCE_S,
                )
            yield ear
        finally:
            async with asyncio.timeout(PATIENCE_S):
                await ear.client.disconnect()


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition of the server, which says nothing by itself."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the server says no more
            await asyncio.sleep(0.01)
