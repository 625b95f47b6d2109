"""What version 0.1.0 kept in Redis does no harm, and is removed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bullmq import Queue

from rollbook.backends.redis import make_client
from rollbook.queue import retired
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from rollbook.service.system import System


async def test_the_old_queues_and_the_old_budget_are_removed_and_all_other_keys_stay(
    system: System,
) -> None:
    redis = system.redis
    for name in ("notifications", "voter-verification", "bulk-uploads"):
        queue = Queue(name, {"connection": redis})
        await queue.add("job", {"id": "x"}, {"jobId": "job-of-0.1.0", "delay": 3_600_000})
    await redis.zadd("{rollbook:voter-roll}:requests", {"a": 1})
    await redis.set("{rollbook:voter-roll}:whole", "run")
    await redis.set("bull:notifications-of-another:x", "1")
    await retired.remove_keys(redis, asyncio.Event())
    left = set(await redis.keys("*"))
    assert not [key for key in left if str(key).startswith(("bull:notifications:", "bull:voter-"))]
    assert {"bull:bulk-uploads:job-of-0.1.0", "bull:notifications-of-another:x"} <= left
    # A worker of 0.1.0 that is still running keeps away from the roll, for a month.
    assert [key for key in left if str(key).startswith("{rollbook")] == [retired.HOLD_KEY]
    assert 29 * 86_400 < await redis.ttl(retired.HOLD_KEY) <= 30 * 86_400


async def test_an_installation_that_was_never_0_1_0_gets_no_key(system: System) -> None:
    await retired.remove_keys(system.redis, asyncio.Event())
    assert await system.redis.keys("*") == []


async def test_while_redis_is_away_the_worker_goes_on_and_can_be_stopped() -> None:
    stop = asyncio.Event()
    async with make_client("redis://127.0.0.1:1/0") as away:
        task = asyncio.create_task(retired.remove_keys(away, stop))
        done, _ = await asyncio.wait({task}, timeout=0.5)
        assert not done
        stop.set()
        await asyncio.wait_for(task, PATIENCE_S)
