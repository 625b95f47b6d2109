"""The queue ``notifications``: what is told to whom stands in PostgreSQL, not in it.

A job's id is its notification's id, and its payload holds nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bullmq import Queue

from rollbook.backends.redis import make_client
from rollbook.queue.uploads import ANSWER_S, reached

if TYPE_CHECKING:
    from rollbook.config import Settings


class NotificationQueue:
    """The queue as whoever ends an upload and the reconciler use it.

    Raises:
        ServiceUnavailableError: from every method, when Redis doesn't answer.
    """

    def __init__(self, settings: Settings, redis_address: str) -> None:
        redis = make_client(redis_address, socket_timeout_s=ANSWER_S)
        self._queue = Queue(settings.notification_queue_name, {"connection": redis})

    async def add(self, notification_id: str) -> None:
        """Queue a notification; one that is queued already stays as it is."""
        options = {
            "jobId": notification_id,
            # How often it is tried, and when, stands in the outbox.
            "attempts": 1,
            "removeOnComplete": True,
            "removeOnFail": True,
            "stackTraceLimit": 0,
        }
        payload = {"notification_id": notification_id}
        await reached(self._queue.add("notification", payload, options))

    async def close(self) -> None:
        """Give the connections back."""
        await self._queue.close()
