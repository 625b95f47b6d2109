"""BullMQ's worker, with one call to Redis for each job of a full queue instead of two.

BullMQ's script that finishes a job can hand out the next one in the same step, and the Node library
has it do so. The Python port (bullmq 3.4, ``Worker.processJob``) asks for the next one in a call of
its own. This class adds what is missing, mends how the port closes, and goes when it does both.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bullmq import Worker
from redis.exceptions import RedisError

from rollbook.hand_back import hand_back

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bullmq import Job


class OneCallWorker(Worker):  # type: ignore[misc]
    """A worker whose finished job brings the next one along."""

    def __init__(
        self,
        name: str,
        processor: Callable[[Job, str], Awaitable[Any]],
        options: dict[str, Any],
    ) -> None:
        super().__init__(name, processor, options)
        #: What the script handed out beside the end of a job, its data and its id, by the token
        #: that locked the one and now locks the other.
        self._handed_out: dict[str, tuple[dict[str, str], str]] = {}
        self._finish = self.backend.moveToCompleted
        self.backend.moveToCompleted = self._finish_and_fetch

    async def close(self, force: bool = False) -> None:
        """Take no more jobs, and give the connections back when running ones have ended.

        The port's own close awaits its work, shielded, until it has ended, whatever cancels the
        wait. Where the event loop ends first (Redis doesn't answer) that work is cancelled too, and
        the wait for it then ends at once, again and again: the process never ended, at full load.
        """
        self.closing = True
        self.paused = False
        self.resume_event.set()
        if self.waiting:
            self.waiting.cancel()
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

    async def _finish_and_fetch(
        self,
        job: Job,
        return_value: Any,
        keep: Any,
        token: str,
        fetch_next: bool = False,  # noqa: ARG002 - the port's signature
    ) -> Any:
        goes_on = not (self.closing or self.paused)
        done = await self._finish(job, return_value, keep, token, fetch_next=goes_on)
        if goes_on and (found := done["result"]) and found[0]:
            self._handed_out[token] = (found[0], found[1])
        return done

    async def processJob(self, job: Job, token: str) -> Job | None:  # noqa: N802 - the port's name
        """Process a job; the next one, if its end brought one along."""
        await super().processJob(job, token)
        # The port renews locks by job alone, and of two attempts that are here it stops with the
        # first that ends: the other, which has the lock, would lose it.
        for other, its_token in self.jobs:
            if other.id == job.id:
                self.lockManager.track_job(other.id, its_token, 0)
        handed_out = self._handed_out.pop(token, None)
        if handed_out is None:
            return None
        following: Job | None = await self.nextJobFromJobData(*handed_out, token=token)
        if following is not None and (self.closing or self.paused):
            # Nobody here will take it any more: another worker shall, and not only when its lock
            # has run out.
            await hand_back(following, token)
            return None
        return following
