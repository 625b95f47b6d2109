"""All that Redis holds, as one text to look for what must not be there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rollbook.backends.redis import make_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from rollbook.config import Settings


async def everything(settings: Settings) -> str:
    """Every key with its content, a line each."""
    async with make_client(settings.redis_address) as client:
        keys: list[Any] = await client.keys("*")
        return "".join([f"{key} {await _content(client, key)}\n" for key in keys])


async def _content(client: Redis, key: Any) -> object:
    reads: dict[str, Callable[[Any], Awaitable[object]]] = {
        "hash": client.hgetall,
        "stream": client.xrange,
        "zset": lambda key: client.zrange(key, 0, -1),
        "list": lambda key: client.lrange(key, 0, -1),
        "set": client.smembers,
        "string": client.get,
    }
    kind = str(await client.type(key))
    # A key that expired after the keys were listed has no kind, and no content.
    return None if kind == "none" else await reads[kind](key)
