"""The one subscriber to the queue's event stream: logs, counts and passes events on.

BullMQ's scripts and ``publisher`` write the stream; every API process reads it, so that each can
serve any client, regardless of the machine that the job runs on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import structlog
from bullmq import QueueEvents
from redis.exceptions import RedisError

from rollbook.backends.redis import make_client
from rollbook.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rollbook.config import Settings

#: The events that are passed on, in BullMQ's words.
EVENTS = (
    "waiting", "active", "progress", "completed", "failed", "delayed", "stalled", "removed",
    # Not about a job.
    "paused", "resumed",
    # Rollbook's own: an upload has ended, and its record says how.
    "ended",
    # The voter roll's budget; these two are about no job.
    "rate_limit_warning", "rate_limit_exceeded",
)  # fmt: skip
#: Of these, the ones in which no attempt has begun yet, and the ones that end one.
_BETWEEN_ATTEMPTS = (
    "waiting", "delayed", "active", "paused", "resumed", "rate_limit_warning",
    "rate_limit_exceeded",
)  # fmt: skip
_ENDS = ("completed", "failed", "stalled", "removed")
#: Pause before a broken connection is opened again, in seconds.
RECONNECT_S = 1.0
#: Time for the reader to end when the process stops, in seconds.
STOP_S = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class QueueEvent:
    """Something that happened to a job."""

    #: The id in the stream: it only grows, and reading can resume after it. An error has the
    #: id of the last event before it.
    id: str
    name: str
    #: Empty for an error, which is the stream's and no job's.
    job_id: str
    #: The attempt, where the event says it.
    attempt: int | None = None
    #: What comes with it: progress, result, reason; ids and counts, nothing of a member.
    data: dict[str, Any] = field(default_factory=dict)


class Subscriber:
    """Reads the stream from its present end and calls every listener with each event, in order."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listeners: list[Callable[[QueueEvent], None]] = []
        self._last_id: str | None = None
        #: The attempt that each running job is at: only progress and results say it.
        self._attempts: dict[str, int] = {}
        #: Set while the stream is being read.
        self.reading = asyncio.Event()

    def listen(self, listener: Callable[[QueueEvent], None]) -> None:
        """Call ``listener`` with every event from now on; it must not block."""
        self._listeners.append(listener)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Subscriber]:
        """Read in the background for as long as the context lasts."""
        stop = asyncio.Event()
        task = asyncio.create_task(self._until(stop))
        try:
            yield self
        finally:
            stop.set()
            _, late = await asyncio.wait({task}, timeout=STOP_S)
            for task in late:
                task.cancel()

    async def _until(self, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await self._read(stopping)
                await asyncio.wait({stopping}, timeout=RECONNECT_S)
        finally:
            stopping.cancel()

    async def _read(self, stopping: asyncio.Task[bool]) -> None:
        """Read over one connection until the process stops or the connection breaks."""
        async with make_client(
            self._settings.redis_address, keepalive=self._settings.keepalive
        ) as client:
            if self._last_id is None:
                # Set before reading begins, so that no later event is missed.
                self._last_id = await self._newest(client)
                if self._last_id is None:
                    return
            events = QueueEvents(
                self._settings.queue_name,
                {"connection": client, "autorun": False, "lastEventId": self._last_id},
            )
            for name in EVENTS:
                events.on(name, self._handler(name))
            events.on("error", self._heard_error)
            reading = asyncio.create_task(events.run())
            self.reading.set()
            try:
                await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.reading.clear()
                await events.close()
                with contextlib.suppress(asyncio.CancelledError, RedisError, OSError):
                    await reading

    async def _newest(self, client: Any) -> str | None:
        try:
            found = await client.xrevrange(f"bull:{self._settings.queue_name}:events", count=1)
        except (RedisError, OSError) as error:
            self._heard_error(error)
            return None
        return str(found[0][0]) if found else "0-0"

    def _handler(self, name: str) -> Callable[[dict[str, Any], str], None]:
        def handle(fields: dict[str, Any], event_id: str) -> None:
            self._last_id = event_id
            event = self._with_attempt(decode(name, fields, event_id))
            metrics.QUEUE_EVENTS.labels(event=name).inc()
            level = logging.DEBUG if name == "progress" else logging.INFO
            log.log(level, "queue event", kind=name, job_id=event.job_id, attempt=event.attempt)
            self._pass_on(event)

        return handle

    def _heard_error(self, error: BaseException, *_: Any) -> None:
        """Count and pass on that the stream can't be read now, as an event of no job."""
        kind = type(error).__name__
        metrics.QUEUE_EVENTS.labels(event="error").inc()
        log.warning("event stream not readable, trying again", kind="error", error=kind)
        self._pass_on(QueueEvent(self._last_id or "0-0", "error", "", data={"error": kind}))

    def _pass_on(self, event: QueueEvent) -> None:
        for listener in self._listeners:
            listener(event)

    def _with_attempt(self, event: QueueEvent) -> QueueEvent:
        if event.name in _BETWEEN_ATTEMPTS:
            return event
        attempt = event.attempt
        if attempt is None:
            attempt = self._attempts.get(event.job_id)
        if event.name == "progress" and attempt is not None:
            self._attempts[event.job_id] = attempt
        elif event.name in _ENDS:
            self._attempts.pop(event.job_id, None)
        return replace(event, attempt=attempt)


def decode(name: str, fields: dict[str, Any], event_id: str) -> QueueEvent:
    """An event of the stream from its fields, which may still be as the stream has them."""
    data = dict(fields)
    data.pop("event", None)
    job_id = str(data.pop("jobId", ""))
    inner = data.get("data") if name == "progress" else data.get("returnvalue")
    if isinstance(inner, str):
        with contextlib.suppress(ValueError):  # an event of another program
            inner = json.loads(inner)
    if isinstance(inner, dict):
        data = inner
    attempt = data.get("attempt")
    return QueueEvent(event_id, name, job_id, None if attempt is None else int(attempt), data)
