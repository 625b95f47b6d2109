"""BullMQ's worker, with one call to Redis for each job of a full queue instead of two.

BullMQ's script that finishes a job can return the next one in the same step, and the Node library
uses that. The Python port (bullmq 3.4, ``Worker.processJob``) asks for the next one in a call of
its own. This class adds what is missing and corrects how the port closes; it can go when the port
does both.

BullMQ also ships a script that puts a running job back at the front of its priority, and the Python
port never calls it. The port releases a job without counting an attempt only by a delay. The job
has no place in the queue during the delay, and goes to the end of its priority afterwards.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bullmq import Worker
from bullmq.redis_connection import loadScript
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bullmq import Job

#: Seconds between two checks whether an unfit worker may take jobs again.
MAY_TAKE_S = 0.1
#: Seconds after which a wait for a job that goes on is cancelled again.
CANCEL_AGAIN_S = 0.05

_SCRIPT = loadScript("moveJobFromActiveToWait-9.lua")
_KEYS = (
    "active", "wait", "stalled", "paused", "meta", "limiter", "prioritized", "marker", "events",
)  # fmt: skip


class OneCallWorker(Worker):  # type: ignore[misc]
    """A worker that receives the next job in the call that finishes one."""

    def __init__(
        self,
        name: str,
        processor: Callable[[Job, str], Awaitable[Any]],
        options: dict[str, Any],
        *,
        may_take: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(name, processor, options)
        self._may_take = may_take
        #: How many jobs were taken off the queue.
        self.taken = 0
        #: The next job that the script returned when one finished, as data and id, by the token
        #: that locked the finished job and now locks the next one.
        self._handed_out: dict[str, tuple[dict[str, str], str]] = {}
        self._finish = self.backend.moveToCompleted
        self.backend.moveToCompleted = self._finish_and_fetch

    async def close(self, force: bool = False) -> None:
        """Take no more jobs, and close the connections when the running jobs have ended.

        The port's own close awaits its shielded work until that has ended, and ignores every
        cancellation of the wait. If the event loop ends first (Redis doesn't answer), that work is
        cancelled too and each wait for it returns at once: the process would loop at full load.
        """
        self.closing = True
        self.paused = False
        self.resume_event.set()
        # The client of Redis may swallow a cancellation: it sends by ``asyncio.wait_for``, which
        # does so in Python 3.11 when the sending ends in the same step.
        while self.waiting and not self.waiting.done():
            self.waiting.cancel()
            await asyncio.wait({self.waiting}, timeout=CANCEL_AGAIN_S)
        if force:
            self.forceClosing = True
            self.lockManager.cancel_all_jobs("worker force-closed")
            self.cancelProcessing()
        elif self.processing:
            await asyncio.wait(self.processing)
        await self.lockManager.close()
        try:
            await self.backend.close(force=force)
        except (RedisError, OSError) as error:
            self.emit("error", error)
        self.closed = True
        self.emit("closed")

    @property
    def has_room(self) -> bool:
        """Whether it would take a job now."""
        goes_on = self.running and not self.closing and not self.paused
        return goes_on and len(self.jobs) < self.opts["concurrency"] and self._may_take()

    async def getNextJob(self, token: str) -> Job | None:  # noqa: N802 - the port's name
        """Take the next job, when this worker may take any."""
        while not self._may_take():
            if self.closing or self.paused:
                return None
            await asyncio.sleep(MAY_TAKE_S)
        return await super().getNextJob(token)

    async def waitForJob(self) -> int:  # noqa: N802 - the port's name
        """Wait until a job comes along; not in a worker that closes.

        ``close`` cancels the wait of an idle worker. Where it was called just before the wait
        began, nothing would, and the process would end five seconds late.
        """
        if self.closing or self.paused:
            raise asyncio.CancelledError  # which the port expects then
        until_ms: int = await super().waitForJob()
        return until_ms

    async def moveToActive(self, token: str) -> Job | None:  # noqa: N802 - the port's name
        """Take a job off the queue; none when something came up while there was none."""
        if not self._may_take():
            return None
        taken: Job | None = await super().moveToActive(token)
        self.taken += taken is not None
        return taken

    async def _finish_and_fetch(
        self,
        job: Job,
        return_value: Any,
        keep: Any,
        token: str,
        fetch_next: bool = False,  # noqa: ARG002 - the port's signature
    ) -> Any:
        goes_on = not (self.closing or self.paused) and self._may_take()
        done = await self._finish(job, return_value, keep, token, fetch_next=goes_on)
        if goes_on and (found := done["result"]) and found[0]:
            self._handed_out[token] = (found[0], found[1])
        return done

    async def processJob(self, job: Job, token: str) -> Job | None:  # noqa: N802 - the port's name
        """Process a job; returns the next one, if finishing this one returned one."""
        await super().processJob(job, token)
        # The port renews locks by job id only. If two attempts of a job are here, it stops renewing
        # when the first one ends, and the other, which has the lock, would lose it.
        for other, its_token in self.jobs:
            if other.id == job.id:
                self.lockManager.track_job(other.id, its_token, 0)
        handed_out = self._handed_out.pop(token, None)
        if handed_out is None:
            return None
        following: Job | None = await self.nextJobFromJobData(*handed_out, token=token)
        self.taken += following is not None
        if following is not None and (self.closing or self.paused):
            # This worker won't process it any more. Releasing it now lets another worker take it
            # before the lock expires.
            await hand_back(following, token)
            return None
        return following


async def hand_back(job: Job, token: str) -> None:
    """Release a job; the caller raises ``DelayedError`` afterwards.

    Raises:
        TypeError: the worker no longer holds the lock, or the queue has lost the job.
        redis.exceptions.RedisError: Redis doesn't answer.
    """
    scripts = job.backend.scripts
    client = scripts.redisClient
    move = client.register_script(_SCRIPT)
    async with client.pipeline(transaction=True) as both:
        arguments = [job.id, token, scripts.toKey(job.id)]
        await move(scripts.getKeys(_KEYS), arguments, client=both)
        # The script wakes no idle worker for a job that has a priority.
        both.zadd(scripts.toKey("marker"), {"0": 0})
        code, _ = await both.execute()
    if code < 0:
        raise scripts.finishedErrors({"code": code, "jobId": job.id, "command": "hand_back"})


def is_let_go(error: BaseException) -> bool:
    """Whether BullMQ says that the worker has lost the job's lock, or that the job is gone.

    This is how a fenced attempt ends: another attempt has the job, and no action is needed.
    """
    return isinstance(error, TypeError) and str(error).startswith(
        ("Missing lock for job", "Lock mismatch for job", "Missing key for job")
    )
