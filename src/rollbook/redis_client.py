"""The connection to Redis or Valkey, made the way the queue needs it."""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError


def make_client(address: str, *, max_connections: int = 32) -> Redis:
    """A client with a pool of its own.

    ``socket_timeout=None`` matters: the worker waits in a blocking pop, and redis-py's default
    time-out cuts that off, after which an idle worker needed seconds instead of milliseconds to
    pick up a job. Broken connections are found by TCP keep-alive and the health check instead.
    """
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        address,
        decode_responses=True,
        max_connections=max_connections,
        timeout=10,
        socket_timeout=None,
        socket_connect_timeout=5,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), 3),
        retry_on_error=[RedisConnectionError],
        **({} if address.startswith("unix:") else {"socket_keepalive": True}),
    )
    return Redis.from_pool(pool)
