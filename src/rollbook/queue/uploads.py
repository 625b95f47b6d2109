"""The queue service: every operation on the queue ``bulk-uploads`` that isn't a worker's.

The queue dispatches, PostgreSQL remembers: a job's id is its upload's id, its payload holds
nothing else, and every job that is lost here can be added again from the record.

The twelve operations: initialise (``UploadQueue``), get (``job``), add, status (``state``), cancel
(``uploads.cancel``, which writes the record first), retry, statistics (``stats``), recent jobs
(``uploads.history``, see docs/decisions/0005), clean, pause, resume, close.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from bullmq import Job, Queue
from redis.exceptions import RedisError, ResponseError

from rollbook.errors import ServiceUnavailableError
from rollbook.queue.publisher import announce_end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from redis.asyncio import Redis

    from rollbook.backends.database import Row
    from rollbook.config import Settings

JOB_NAME = "bulk-upload"

#: States of a job that has not run yet. A job in another state blocks a new one with its id,
#: because BullMQ ignores an id that it knows.
OPEN_STATES = frozenset({"waiting", "prioritized", "delayed", "active", "paused"})

#: Milliseconds after which an upload that waits for the voter roll checks for answers itself.
LOOK_AGAIN_MS = 3_600_000

#: BullMQ's key for the jobs of each state.
_LISTS = ("wait", "active", "paused")
#: Beside BullMQ's own fields of a queue: Rollbook has paused it.
_OWN_PAUSE = "pausedByRollbook"
_SETS = ("prioritized", "completed", "failed", "delayed")
#: What a statistics answer counts beside the waiting ones.
_COUNTED = ("active", "completed", "failed", "delayed", "paused")

log = structlog.get_logger(__name__)


class UploadQueue:
    """The queue as the API, the command line and the reconciler use it.

    Raises:
        ServiceUnavailableError: from every method, when Redis doesn't answer.
    """

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._settings = settings
        self._redis = redis
        self._queue = Queue(settings.queue_name, {"connection": self._redis})

    async def add(self, upload_id: UUID, *, priority: int) -> None:
        """Queue an upload; one that is queued already stays as it is."""
        options = {
            "jobId": str(upload_id),
            "priority": priority,
            "attempts": self._settings.attempts,
            "backoff": {"type": "exponential", "delay": self._settings.backoff_ms},
            "removeOnComplete": {"count": self._settings.remove_on_complete},
            "removeOnFail": {"count": self._settings.remove_on_fail},
            # A stack trace may quote a cell, and Redis holds no member's data.
            "stackTraceLimit": 0,
        }
        await reached(self._queue.add(JOB_NAME, {"upload_id": str(upload_id)}, options))

    async def state(self, upload_id: UUID) -> str | None:
        """BullMQ's word for where the job is, or None when the queue doesn't know it."""
        state: str = await reached(self._queue.getJobState(str(upload_id)))
        return None if state == "unknown" else state

    async def states(self, upload_ids: Iterable[UUID]) -> list[str | None]:
        """The states of several jobs, in their order."""
        return list(await asyncio.gather(*(self.state(upload_id) for upload_id in upload_ids)))

    async def waiting_ids(self) -> list[UUID]:
        """The uploads whose jobs wait for anything: their turn, a delay, the end of a pause."""
        async with self._redis.pipeline() as look:
            for state in ("wait", "paused"):
                look.lrange(self._queue.toKey(state), 0, -1)
            for state in ("prioritized", "delayed"):
                look.zrange(self._queue.toKey(state), 0, -1)
            found = await reached(look.execute())
        ids = []
        for job_id in itertools.chain.from_iterable(found):
            with contextlib.suppress(ValueError):  # another program's job on the same queue
                ids.append(UUID(job_id))
        return ids

    async def position(self, upload_id: UUID) -> int | None:
        """The place among the waiting jobs, from 1; None when it isn't waiting for its turn."""
        job_id = str(upload_id)
        async with self._redis.pipeline() as look:
            # BullMQ takes from the right end of the list first, which the list of a paused queue
            # replaces, and from the priorities afterwards.
            for name in ("wait", "paused"):
                look.lpos(self._queue.toKey(name), job_id)
                look.llen(self._queue.toKey(name))
            look.zrank(self._queue.toKey("prioritized"), job_id)
            waits, waiting, pauses, paused, rank = await reached(look.execute())
        if waits is not None:
            return int(waiting - waits)
        if pauses is not None:
            return int(paused - pauses)
        return None if rank is None else int(waiting + paused + rank + 1)

    async def order(self, limit: int) -> list[str]:
        """The ids of the next ``limit`` jobs, in the order in which their turn comes."""
        async with self._redis.pipeline() as look:
            for name in ("wait", "paused"):
                look.lrange(self._queue.toKey(name), -limit, -1)
            look.zrange(self._queue.toKey("prioritized"), 0, limit - 1)
            waits, pauses, prioritized = await reached(look.execute())
        return [*reversed(waits), *reversed(pauses), *prioritized][:limit]

    async def delays(self, limit: int) -> dict[str, dt.datetime]:
        """When each of the ``limit`` next delayed jobs is ready, by job id."""
        key = self._queue.toKey("delayed")
        found = await reached(self._redis.zrange(key, 0, limit - 1, withscores=True))
        return {job_id: _due(score) for job_id, score in found}

    async def promote_later_than(self, moment: dt.datetime, upload_ids: Sequence[UUID]) -> int:
        """Let those of these delayed jobs run now whose delay ends after a moment; their number."""
        key, promoted = self._queue.toKey("delayed"), 0
        async with self._redis.pipeline() as look:
            for upload_id in upload_ids:
                look.zscore(key, str(upload_id))
            scores = await reached(look.execute())
        for upload_id, score in zip(upload_ids, scores, strict=True):
            if score is None or _due(score) <= moment:
                continue
            job = await self.job(upload_id)
            if job is not None:
                await reached(job.promote())
                promoted += 1
        return promoted

    async def events(self) -> list[tuple[str, dict[str, str]]]:
        """What the queue's event stream holds: ids in it and fields, oldest first."""
        return list(await reached(self._redis.xrange(self._queue.toKey("events"))))

    async def events_cut_to(self) -> str | None:
        """The oldest event that the stream holds; None where none was cut off before it."""
        try:
            stream = await self._redis.xinfo_stream(self._queue.toKey("events"))
        except ResponseError:  # nothing has happened yet
            return None
        except (RedisError, OSError) as error:
            raise unreachable() from error
        first = stream["first-entry"]
        # Redis counts all entries ever added since its version 7.
        is_whole = stream.get("entries-added") == stream["length"]
        return None if first is None or is_whole else str(first[0])

    async def epoch_ms(self) -> int:
        """Since when Redis has its keys, by its own clock; the same for every process.

        This is one of these keys. The first process that doesn't find it writes it, so a changed
        value means that the keys were lost, and events with them.
        """
        # Among the queue's keys, because Redis' users may be allowed those only.
        key = f"bull:{self._settings.queue_name}:rollbook:epoch"
        seconds, microseconds = await reached(self._redis.time())
        async with self._redis.pipeline(transaction=True) as both:
            both.set(key, seconds * 1000 + microseconds // 1000, nx=True)
            both.get(key)
            _, epoch = await reached(both.execute())
        return int(epoch)

    async def announce_end(self, upload: Row) -> None:
        """Announce to the listeners that an upload has ended, as its record says."""
        await announce_end(self._redis, self._settings.queue_name, upload)

    async def put_first(self, upload_id: UUID) -> bool:
        """Let a job go before every priority; False when it isn't among the prioritized."""
        job = await self.job(upload_id)
        if job is None or await self.state(upload_id) != "prioritized":
            return False
        await reached(job.changePriority({"priority": 0}))
        return True

    async def remove(self, upload_id: UUID) -> bool:
        """Remove a job; False when it is running, because only its worker can release it."""
        return bool(await reached(self._queue.remove(str(upload_id))))

    async def retry(self, upload_id: UUID, *, priority: int) -> None:
        """Queue an upload again, with its attempts and stalls counted from zero."""
        # BullMQ's own retry resets neither the number of stalls nor a changed priority.
        await self.remove(upload_id)
        await self.add(upload_id, priority=priority)

    async def stats(self) -> dict[str, int | bool]:
        """Jobs by state; ``waiting`` counts BullMQ's waiting and prioritized together."""
        counts, _ = await self.snapshot()
        return counts

    async def snapshot(self) -> tuple[dict[str, int | bool], list[str]]:
        """The statistics, and the ids of the jobs that count as active, of one moment."""
        async with self._redis.pipeline(transaction=True) as look:
            for state in _LISTS:
                look.llen(self._queue.toKey(state))
            for state in _SETS:
                look.zcard(self._queue.toKey(state))
            look.lrange(self._queue.toKey("active"), 0, -1)
            look.hexists(self._queue.toKey("meta"), "paused")
            *sizes, active, is_paused = await reached(look.execute())
        size = dict(zip((*_LISTS, *_SETS), sizes, strict=True))
        counts = {
            "waiting": size["wait"] + size["prioritized"],
            **{state: size[state] for state in _COUNTED},
        }
        return {**counts, "total": sum(counts.values()), "is_paused": bool(is_paused)}, active

    async def clean(self, *, grace_period_h: float) -> dict[str, int]:
        """Remove jobs that ended longer ago than the grace period, by Redis' clock."""
        seconds, _ = await reached(self._redis.time())
        now = dt.datetime.fromtimestamp(seconds + 1, dt.UTC)
        return await self.clean_before(now - dt.timedelta(hours=grace_period_h))

    async def clean_before(self, moment: dt.datetime) -> dict[str, int]:
        """Remove jobs that ended before a moment; their records stay."""
        # BullMQ counts back from its own clock.
        grace_ms = round((time.time() - moment.timestamp()) * 1000)
        removed = {}
        for state in ("completed", "failed"):
            ids = await reached(self._queue.clean(grace_ms, 0, state))
            removed[state] = len(ids)
        return removed

    async def ended_before(self, moment: dt.datetime) -> int:
        """How many jobs ``clean_before`` would remove."""
        async with self._redis.pipeline() as look:
            for state in ("completed", "failed"):
                look.zcount(self._queue.toKey(state), "-inf", round(moment.timestamp() * 1000))
            return sum(await reached(look.execute()))

    async def pause(self) -> None:
        """Start no further job anywhere; running jobs continue."""
        await reached(self._redis.hset(self._queue.toKey("meta"), _OWN_PAUSE, 1))
        await reached(self._queue.pause())

    async def resume(self) -> None:
        """Start jobs again."""
        await reached(self._queue.resume())
        await reached(self._redis.hdel(self._queue.toKey("meta"), _OWN_PAUSE))

    async def is_paused(self) -> bool:
        """Whether the queue is paused in Redis."""
        return bool(await reached(self._redis.hexists(self._queue.toKey("meta"), "paused")))

    async def is_paused_by_us(self) -> bool:
        """Whether the queue is paused in Redis, and by Rollbook rather than another program."""
        names = ["paused", _OWN_PAUSE]
        return all(await reached(self._redis.hmget(self._queue.toKey("meta"), names)))

    async def ping(self) -> None:
        """Return when Redis answers."""
        await reached(self._redis.ping())

    async def job(self, upload_id: UUID) -> Job | None:
        """BullMQ's job, or None when the queue doesn't know it."""
        return await reached(Job.fromId(self._queue, str(upload_id)))


def _due(score: float) -> dt.datetime:
    """BullMQ's score is the time in milliseconds, and 12 bits that keep the order of adding."""
    return dt.datetime.fromtimestamp(int(score) // 4096 / 1000, dt.UTC)


async def reached(answer: Awaitable[Any]) -> Any:
    """Await an answer of the queue.

    Raises:
        ServiceUnavailableError: Redis doesn't give one.
    """
    try:
        return await answer
    except (RedisError, OSError) as error:
        raise unreachable() from error


def unreachable() -> ServiceUnavailableError:
    """The error for a Redis that doesn't answer."""
    return ServiceUnavailableError(
        "The queue doesn't answer right now. Uploads that were accepted are recorded and will "
        "be queued as soon as it does; please try again in a moment."
    )
