"""All that Redis holds, as one text to look for what must not be there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rollbook.backends.redis import make_client

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from rollbook.config import Settings


async def everything(settings: Settings) -> str:
    """Every key with its content, a line each."""
    async with make_client(settings.redis_address) as client:
        keys: list[Any] = await client.keys("*")
        return "".join([f"{key} {await _content(client, key)}\n" for key in keys])


async def _content(client: Redis, key: Any) -> object:
    match await client.type(key):
        case "hash":
            return await client.hgetall(key)
        case "stream":
            return await client.xrange(key)
        case "zset":
            return await client.zrange(key, 0, -1)
        case "list":
            return await client.lrange(key, 0, -1)
        case "set":
            return await client.smembers(key)
        case "string":
            return await client.get(key)
        case other:
            raise AssertionError(f"{key!r} is a {other!r}, which nobody reads here")
