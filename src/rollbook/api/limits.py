"""Limits on the requests per minute of a user and of an office (docs/decisions/0026).

The algorithm is the generic cell rate algorithm. Each key holds the time up to which its requests
are paid for. A request adds its share of a minute, and is refused when the result is more than a
minute ahead. So a minute's worth of requests may come at once, and then one at a time.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from rollbook.errors import TooManyRequestsError
from rollbook.languages import phrase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

    from rollbook.config import Settings
    from rollbook.model import User

MINUTE_MS = 60_000
#: Timeout for Redis, in seconds; a limit isn't worth a longer wait.
ANSWER_S = 0.5
#: Seconds before a Redis that didn't answer is tried again.
PAUSE_S = 5.0
#: Keys that this process counts while Redis is away.
REMEMBERED = 10_000

#: Count a request against all keys; or against none, and return the refusing key and the wait.
_COUNT = """
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local minute, paid = tonumber(ARGV[1]), {}
for i, key in ipairs(KEYS) do
    local share = minute / tonumber(ARGV[i + 1])
    local before = tonumber(redis.call('GET', key) or '0')
    -- Nobody pays more than a minute ahead: this was written before the clock was set back.
    if before > now + minute + share then before = now end
    paid[i] = math.max(now, before) + share
    -- Half a share more, for what rounding adds up to.
    local over = paid[i] - now - minute
    if over > share / 2 then return {i, math.ceil(over)} end
end
for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.4f', paid[i]), 'PX', math.ceil(paid[i] - now))
end
return {0, 0}
"""

log = structlog.get_logger(__name__)


class RequestLimits:
    """The limits over all API processes, counted in Redis; in this process while Redis is away."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._per_user = settings.requests_per_minute
        self._per_office = settings.office_requests_per_minute
        # Among the queue's keys, because Redis' users may be allowed those only.
        self._prefix = f"bull:{settings.queue_name}:rollbook:limits"
        self._script = redis.register_script(_COUNT)
        self._away_until = 0.0
        self._paid: dict[str, float] = {}

    async def count(self, user: User) -> None:
        """Count a request of a user and of the user's office.

        Raises:
            TooManyRequestsError: one of the two has made too many; this one isn't counted.
        """
        place = user.scope
        office = f"{place.province or ''}/{(place.municipality or '').lower()}"
        limits = {f"user:{user.id}": self._per_user, f"office:{office}": self._per_office}
        refused_by, wait_ms = await self._count(limits)
        if refused_by:
            wait_s = max(math.ceil(wait_ms / 1000), 1)
            whose = "user" if refused_by == 1 else "office"
            raise TooManyRequestsError(
                phrase(f"refusal.too_many_requests.{whose}", n=wait_s),
                wait_s=wait_s,
            )

    async def _count(self, limits: Mapping[str, int]) -> tuple[int, float]:
        if time.monotonic() >= self._away_until:
            keys = [f"{self._prefix}:{key}" for key in limits]
            try:
                async with asyncio.timeout(ANSWER_S):
                    answer: Any = await self._script(keys, [MINUTE_MS, *limits.values()])
                return int(answer[0]), float(answer[1])
            except (RedisError, OSError, TimeoutError) as error:
                self._away_until = time.monotonic() + PAUSE_S
                log.warning("request limits counted in this process", error=type(error).__name__)
        return self._count_here(limits, time.monotonic() * 1000)

    def _count_here(self, limits: Mapping[str, int], now: float) -> tuple[int, float]:
        """The same as the script, in this process."""
        paid = {}
        for number, (key, limit) in enumerate(limits.items(), 1):
            share = MINUTE_MS / limit
            paid[key] = max(now, self._paid.get(key, 0.0)) + share
            over = paid[key] - now - MINUTE_MS
            if over > share / 2:
                return number, over
        self._paid.update(paid)
        if len(self._paid) > REMEMBERED:
            self._paid = {key: until for key, until in self._paid.items() if until > now}
        return 0, 0
