"""The connection to Redis or Valkey, made the way the queue needs it."""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError


def make_client(
    address: str, *, max_connections: int = 32, socket_timeout_s: float | None = None
) -> Redis:
    """A client with a pool of its own.

    Args:
        address: a URL.
        max_connections: who wants one more waits for ten seconds.
        socket_timeout_s: None for who waits in a blocking pop or read. It matters: redis-py's
            default time-out cuts such a wait off, after which an idle worker needed seconds instead
            of milliseconds to pick up a job. Broken connections are then found by TCP keep-alive
            and the health check.
    """
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        address,
        decode_responses=True,
        max_connections=max_connections,
        timeout=10,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=5,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), 3),
        retry_on_error=[RedisConnectionError],
        **({} if address.startswith("unix:") else {"socket_keepalive": True}),
    )
    return Redis.from_pool(pool)
