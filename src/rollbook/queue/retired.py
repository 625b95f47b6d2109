"""Removes the Redis keys of version 0.1.0 whose data is in PostgreSQL now.

These were the queues of notifications and verifications, and the voter roll's budget. A worker of
0.1.0 that still runs loses nothing: its reconciler adds the jobs again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    from redis.asyncio import Redis

PATTERNS: Final = (
    "bull:notifications:*",
    "bull:voter-verification:*",
    "{rollbook:voter-roll}:*",
)
#: Before the time in this key, no worker of 0.1.0 asks the voter roll. It doesn't see the requests
#: that PostgreSQL counts, and would pass the budget (docs/how-to/upgrade.md).
HOLD_KEY: Final = "{rollbook:voter-roll}:until"
HOLD_S: Final = 30 * 24 * 3600
UNREACHABLE: Final = (RedisConnectionError, RedisTimeoutError, OSError)
#: Pause between two tries while Redis is away, in seconds.
RETRY_S: Final = 5.0

log = structlog.get_logger(__name__)


async def remove_keys(redis: Redis, stop: asyncio.Event) -> None:
    """Remove the keys; while Redis is away, try again until ``stop`` is set."""
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            try:
                await _remove(redis)
            except UNREACHABLE:
                await asyncio.wait({stopping}, timeout=RETRY_S)
            else:
                return
    except RedisError as error:  # such as a right that the account doesn't have
        log.warning("keys of version 0.1.0 not removed", error=str(error))
    finally:
        stopping.cancel()


async def _remove(redis: Redis) -> None:
    removed = 0
    for pattern in PATTERNS:
        async for key in redis.scan_iter(match=pattern, count=1000):
            if key != HOLD_KEY:
                removed += await redis.unlink(key)
    if removed:
        seconds, _ = await redis.time()
        until_ms = (seconds + HOLD_S) * 1000
        await redis.set(HOLD_KEY, until_ms, pxat=until_ms)
        log.info("keys of version 0.1.0 removed", keys=removed)
