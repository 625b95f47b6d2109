"""Giving a running job back to the queue at the front of its priority, for another worker.

BullMQ ships the script for it, and the Python port (bullmq 3.4) has no call of it: its own way to
let go of a job without counting an attempt is a delay, after which the job goes behind all others
of its priority and until which it has no place in the queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bullmq.redis_connection import loadScript

if TYPE_CHECKING:
    from bullmq import Job

_SCRIPT = loadScript("moveJobFromActiveToWait-9.lua")
_KEYS = (
    "active", "wait", "stalled", "paused", "meta", "limiter", "prioritized", "marker", "events",
)  # fmt: skip


async def hand_back(job: Job, token: str) -> None:
    """Let go of a job; ``DelayedError`` is to be raised afterwards.

    Raises:
        TypeError: the lock isn't ours any more, or the queue has lost the job.
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
    """Does BullMQ say that the job's lock isn't ours any more, or that the job is gone?

    That is how the attempt that was fenced off ends: another one has the job, and nobody needs to
    act.
    """
    return isinstance(error, TypeError) and str(error).startswith(
        ("Missing lock for job", "Lock mismatch for job", "Missing key for job")
    )
