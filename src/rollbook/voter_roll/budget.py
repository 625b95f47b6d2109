"""The budget: how many requests the roll allows all workers together in a window that slides.

Exact as the roll itself counts (docs/decisions/0009): a request counts from before it is sent until
a whole window after its answer is in, so that it counts here for as long as it can count there,
however long it was on its way. The clock is Redis'. Redis down, emptied, or started again (it may
have come back with an older snapshot): the budget counts as spent, until it can be told from the
record which requests a window still counts.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import structlog
from redis.exceptions import RedisError

from rollbook.backends.database import queries
from rollbook.errors import BudgetSpentError
from rollbook.queue.publisher import announce_budget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from rollbook.backends.database import Pool
    from rollbook.config import Settings

#: The share of the budget from which on ``rate_limit_warning`` is said.
WARNING_SHARE = 0.9
#: Seconds until a Redis that doesn't answer is asked again.
UNREACHABLE_WAIT_S = 5.0
#: Beyond the roll's time-out, the seconds in which a request must have ended: who made it may have
#: died, and from then on it ages like any other.
HOLD_MARGIN_S = 5.0

#: The keys, in one slot of a cluster: the requests by the time from which the window counts them,
#: the run of Redis in which they are all there, the time before which nothing may be sent, and what
#: has been said.
_KEYS = tuple(
    f"{{rollbook:voter-roll}}:{name}"
    for name in ("requests", "whole", "until", "warned", "exceeded")
)

_NOW = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
#: This run of the server. Whatever another run left may be an older snapshot, in which requests are
#: missing that the roll still counts.
_RUN = "local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')\n"
#: How it stands: is it whole, how much is used, for how long is nothing allowed. A request that is
#: under way counts from now: it can't end before.
_STANDS = (
    _NOW
    + _RUN
    + """
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
if redis.call('GET', KEYS[2]) ~= run then return {0, limit, 0, 0} end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
local used = redis.call('ZCARD', KEYS[1])
local wait = 0
if used >= limit then
    local first = redis.call('ZRANGE', KEYS[1], used - limit, used - limit, 'WITHSCORES')
    wait = math.max(math.min(tonumber(first[2]), now) + window - now, 1)
end
local til = tonumber(redis.call('GET', KEYS[3]) or '0')
if til > now then wait = math.max(wait, til - now) end
"""
)
#: Take one, unless nothing is allowed; what is to be said is said once in a window.
_TAKE = (
    _STANDS
    + """
local hold, member, warn_at = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
if wait > 0 then return {1, used, wait, 0} end
redis.call('ZADD', KEYS[1], now + hold, member)
used = used + 1
local say = 0
if used >= limit and redis.call('SET', KEYS[5], 1, 'NX', 'PX', window) then
    say = 2
elseif used >= warn_at and used < limit
        and redis.call('SET', KEYS[4], 1, 'NX', 'PX', window) then
    say = 1
end
return {1, used, 0, say}
"""
)
_LOOK = _STANDS + "return {1, used, wait, 0}"
#: The request has ended: it was at the roll at some moment up to now, and a window after now it
#: certainly counts no more. One millisecond more, because now is cut off to one.
_SETTLE = _NOW + "return redis.call('ZADD', KEYS[1], 'XX', now + 1, ARGV[1])"
#: Count what the record has of the last window, for a Redis that was emptied or started again; the
#: first to come does it. What is there already the record has too.
_REBUILD = (
    _NOW
    + _RUN
    + """
if redis.call('GET', KEYS[2]) == run then return 0 end
redis.call('DEL', KEYS[1])
for i = 2, #ARGV do
    redis.call('ZADD', KEYS[1], now - tonumber(ARGV[i]) + tonumber(ARGV[1]), 'recorded:' .. i)
end
redis.call('SET', KEYS[2], run)
return 1
"""
)
_REFRAIN = (
    _NOW
    + """
local til = math.max(tonumber(redis.call('GET', KEYS[3]) or '0'), now + tonumber(ARGV[1]))
redis.call('SET', KEYS[3], til, 'PXAT', til)
return til
"""
)
#: Milliseconds, less a window, until the n-th of the requests that count leaves the window.
_LEAVES = (
    _NOW
    + """
local entry = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[1], 'WITHSCORES')
if not entry[2] then return 0 end
return math.min(tonumber(entry[2]), now) - now
"""
)

_SQL = queries("voter_roll")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """How the budget stands."""

    limit: int
    window_s: int
    used: int
    #: Seconds for which nothing may be sent; 0 when something may.
    wait_s: float
    #: False when Redis doesn't answer or has been emptied: it then counts as spent.
    is_known: bool = True

    @property
    def remaining(self) -> int:
        """Requests that may be sent now."""
        return 0 if self.wait_s else max(self.limit - self.used, 0)

    @property
    def is_warning(self) -> bool:
        """Is nine tenths of it used?"""
        return self.used >= self.limit * WARNING_SHARE


class Budget:
    """The one budget of all workers, in Redis."""

    def __init__(self, settings: Settings, redis: Redis, pool: Pool) -> None:
        self._settings = settings
        self._redis = redis
        self._pool = pool
        self._limit = settings.voter_roll_requests_per_hour
        self._window_ms = settings.voter_roll_window_s * 1000
        self._hold_ms = int((settings.voter_roll_timeout_s + HOLD_MARGIN_S) * 1000)

    @contextlib.asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """Hold one request of the budget for as long as the context lasts.

        Raises:
            BudgetSpentError: none is left, or Redis doesn't answer; nothing may be sent.
        """
        standing = await self.standing()
        if standing.wait_s:
            raise _spent(standing)
        member = str(uuid4())
        await self._take(member)
        try:
            yield
        finally:
            # Not settled, it counts for longer than it need.
            with contextlib.suppress(RedisError, OSError):
                await self._run(_SETTLE, member)

    async def standing(self) -> Standing:
        """How it stands now; counted anew from the record if Redis was emptied."""
        try:
            is_whole, used, wait_ms, _ = await self._run(_LOOK, self._limit, self._window_ms)
            if not is_whole:
                await self._rebuild()
                is_whole, used, wait_ms, _ = await self._run(_LOOK, self._limit, self._window_ms)
        except (RedisError, OSError) as error:
            log.warning("budget not readable, it counts as spent", error=type(error).__name__)
            return self._unknown()
        if not is_whole:
            return self._unknown()
        return self._standing(used, wait_ms)

    async def refrain(self, seconds: float) -> None:
        """Let nobody send anything for so long: the roll itself has said so (``Retry-After``)."""
        log.warning("the voter roll wants no requests", seconds=round(seconds, 1))
        with contextlib.suppress(RedisError, OSError):
            await self._run(_REFRAIN, int(seconds * 1000))

    async def wait_for(self, requests: int) -> float | None:
        """Seconds until so many requests can all have been sent; None when that can't be told."""
        standing = await self.standing()
        if not standing.is_known:
            return None
        beyond = requests - standing.remaining
        if beyond <= 0:
            return 0.0
        # Each request that is sent takes the place of one that leaves the window.
        windows, place = divmod(beyond - 1, standing.limit)
        try:
            left_ms = int(await self._run(_LEAVES, place))
        except (RedisError, OSError):
            return None
        first = max((windows + 1) * standing.window_s + left_ms / 1000, 0.0)
        return max(first, standing.wait_s)

    async def _take(self, member: str) -> None:
        """Take one request, which the record knows of before the budget does.

        In the other order, one that was taken at the moment at which Redis is emptied would be
        missing in what is counted anew.
        """
        async with self._pool.connection() as connection:
            noted = await (await connection.execute(_SQL["note_request"])).fetchone()
        assert noted is not None
        try:
            is_whole, used, wait_ms, say = await self._run(
                _TAKE,
                self._limit,
                self._window_ms,
                self._hold_ms,
                member,
                int(self._limit * WARNING_SHARE),
            )
        except (RedisError, OSError) as error:
            # It may have been taken, and only the answer be lost: the record keeps it.
            raise _spent(self._unknown()) from error
        standing = self._standing(used, wait_ms) if is_whole else self._unknown()
        if standing.wait_s:
            async with self._pool.connection() as connection:
                await connection.execute(_SQL["unnote_request"], {"request_id": noted["id"]})
            raise _spent(standing)
        if say:
            event = ("rate_limit_warning", "rate_limit_exceeded")[say - 1]
            log.warning("voter roll budget", event_name=event, used=used, limit=self._limit)
            await announce_budget(
                self._redis, self._settings.queue_name, event, used=used, limit=self._limit
            )

    async def _rebuild(self) -> None:
        window_s = (self._window_ms + self._hold_ms) / 1000
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL["requests"], {"window_s": window_s})
            ages = [row["age_ms"] for row in await cursor.fetchall()]
        # One may have been under way for as long as the roll gets to answer.
        if await self._run(_REBUILD, self._hold_ms, *ages):
            log.info("budget counted anew from the record", used=len(ages))

    async def _run(self, script: str, *arguments: Any) -> Any:
        return await self._redis.eval(script, len(_KEYS), *_KEYS, *map(str, arguments))

    def _standing(self, used: int, wait_ms: int) -> Standing:
        return Standing(self._limit, self._window_ms // 1000, int(used), int(wait_ms) / 1000)

    def _unknown(self) -> Standing:
        return Standing(
            self._limit,
            self._window_ms // 1000,
            self._limit,
            UNREACHABLE_WAIT_S,
            is_known=False,
        )


def _spent(standing: Standing) -> BudgetSpentError:
    why = "is spent" if standing.is_known else "can't be read, so it counts as spent"
    return BudgetSpentError(f"The voter roll's budget {why}.", wait_s=standing.wait_s)
