"""The queue ``voter-verification``: who is to be asked about stands in PostgreSQL, not in it.

Two kinds of job, both with nothing but an upload's id in them. A *lane* asks one question after the
other, in the order of the uploads, until its own upload has none left; an upload has a few, so that
a few requests are under way at a time, on whichever workers are free. The *report* job writes an
upload's report again when the last answer is in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bullmq import Queue

from rollbook.backends.redis import make_client
from rollbook.queue.uploads import ANSWER_S, OPEN_STATES, reached

if TYPE_CHECKING:
    from uuid import UUID

    from rollbook.config import Settings

LANE = "lane"
REPORT = "report"
#: How often writing a report again is tried; time in which a part isn't reachable doesn't count.
REPORT_TRIES = 3


class VerificationQueue:
    """The queue as the workers and the reconciler use it.

    Raises:
        ServiceUnavailableError: from every method, when Redis doesn't answer.
    """

    def __init__(self, settings: Settings, redis_address: str) -> None:
        self._settings = settings
        self.redis = make_client(
            redis_address, socket_timeout_s=ANSWER_S, keepalive=settings.keepalive
        )
        self._queue = Queue(settings.voter_roll_queue_name, {"connection": self.redis})

    async def ask(self, upload_id: UUID, *, pending: int) -> int:
        """Add the lanes that an upload lacks; how many these were."""
        lanes = range(min(self._settings.voter_roll_lanes, pending))
        added = 0
        for lane in lanes:
            added += await self._ensure(LANE, f"{upload_id}.{lane}", upload_id)
        return added

    async def write_report(self, upload_id: UUID) -> int:
        """Add the job that writes the report again; 1 unless it is there."""
        return await self._ensure(REPORT, f"{upload_id}.report", upload_id)

    async def _ensure(self, name: str, job_id: str, upload_id: UUID) -> int:
        state = await reached(self._queue.getJobState(job_id))
        if state in OPEN_STATES:
            return 0
        if state != "unknown":  # kept as ended, which would block the id
            await reached(self._queue.remove(job_id))
        options = {
            "jobId": job_id,
            # A lane that fails is added again by the reconciler.
            "attempts": REPORT_TRIES if name == REPORT else 1,
            "backoff": {"type": "exponential", "delay": self._settings.backoff_ms},
            "removeOnComplete": True,
            "removeOnFail": True,
            "stackTraceLimit": 0,
        }
        await reached(self._queue.add(name, {"upload_id": str(upload_id)}, options))
        return 1

    async def close(self) -> None:
        """Give the connections back."""
        await self._queue.close()
