"""Connections to Redis or Valkey, with the timeouts that the queue needs.

An address is a URL: ``unix:``, ``redis:`` or ``rediss:`` as redis-py reads them, or, for a server
whose place Sentinels know, ``redis+sentinel:`` or ``rediss+sentinel:`` (TLS, to the Sentinels
too): ``redis+sentinel://:password@host:26379,host:26379/0?master=mymaster``.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from rollbook.config.bounds import KeepAlive
from rollbook.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Seconds for which commands fail at once after one that Redis didn't answer: a request of many
#: commands waits for a frozen Redis once, and not once for each command.
REST_S = 1.0
#: Timeout for a Sentinel, in seconds, before the next one is asked.
SENTINEL_ANSWER_S = 1.0
#: Seconds after which a blocking pop or read that nobody answers is given up. BullMQ's own end
#: after ten at most: over that, the server hangs, or its machine is gone without a word.
HANGING_S = 30.0
SENTINEL_PORT = 26379
_SENTINEL = "+sentinel"
#: What each connection says of the library. By itself, each reads the installed packages for it.
_DRIVER = DriverInfo()


class NoAnswerError(RedisTimeoutError):
    """Redis doesn't answer within the time that a command gets."""


class _Bound:
    """The time limit of every command of a client, with its retries and new connections."""

    def __init__(self, answer_s: float) -> None:
        self._answer_s = answer_s
        self._rests_until = 0.0

    @asynccontextmanager
    async def command(self) -> AsyncIterator[None]:
        if time.monotonic() < self._rests_until:
            raise NoAnswerError("Redis didn't answer a moment ago")
        try:
            async with asyncio.timeout(self._answer_s):
                yield
        except (TimeoutError, RedisTimeoutError) as error:
            self._rests_until = time.monotonic() + REST_S
            raise NoAnswerError(f"no answer within {self._answer_s:g} s") from error


class _BoundedPipeline(Pipeline):
    bound: _Bound

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        async with self.bound.command():
            return await super().execute(raise_on_error)


class _BoundedRedis(Redis):
    bound: _Bound

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async with self.bound.command():
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        made = _BoundedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        made.bound = self.bound
        return made


def make_client(
    address: str,
    *,
    max_connections: int = 32,
    answer_s: float | None = None,
    keepalive: KeepAlive = KeepAlive(),  # noqa: B008 - frozen
) -> Redis:
    """A client with a pool of its own; at its limit, a caller waits for ten seconds.

    A command gets ``answer_s`` seconds, with retries and new connections. None is for a client that
    blocks: its reads get HANGING_S, because redis-py's default cuts a blocking pop off, after which
    an idle worker needed seconds instead of milliseconds to pick up a job.

    Raises:
        ConfigurationError: the address isn't a URL of Redis.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "max_connections": max_connections,
        "timeout": 10,
        "socket_timeout": answer_s or HANGING_S,
        "socket_connect_timeout": 5,
        "health_check_interval": 30,
        "retry": Retry(ExponentialBackoff(cap=1, base=0.05), 3),
        "retry_on_error": [RedisConnectionError],
        "driver_info": _DRIVER,
    }
    try:
        pool = _pool(address, options, keepalive)
    except ValueError as error:
        raise ConfigurationError(
            f"REDIS_URL (or what REDIS_HOST or REDIS_SENTINELS make of it) can't be used: {error}"
        ) from error
    if answer_s is None:
        return Redis.from_pool(pool)
    client = _BoundedRedis(connection_pool=pool)
    client.auto_close_connection_pool = True  # as from_pool does
    client.bound = _Bound(answer_s)
    return client


def _pool(address: str, options: dict[str, Any], keepalive: KeepAlive) -> BlockingConnectionPool:
    scheme = urlsplit(address).scheme
    if scheme != "unix":
        options["socket_keepalive"] = True
        options["socket_keepalive_options"] = _socket_options(keepalive)
    if scheme.endswith(_SENTINEL):
        return _watched_pool(read_sentinel_address(address), options)
    return BlockingConnectionPool.from_url(address, **options)


def _socket_options(keepalive: KeepAlive) -> dict[int, int]:
    """The kernel's options; macOS has other names for some, and not all of them."""
    wanted = {
        "TCP_KEEPIDLE": keepalive.idle_s,
        "TCP_KEEPINTVL": keepalive.interval_s,
        "TCP_KEEPCNT": keepalive.count,
        "TCP_USER_TIMEOUT": keepalive.user_timeout_s * 1000,
    }
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """The parts of an address with Sentinels."""

    #: Host and port of each.
    sentinels: tuple[tuple[str, int], ...]
    #: The name of the master in the Sentinels.
    master: str
    #: The password of the Sentinels, which may differ from the server's.
    password: str | None
    #: A ``redis:`` or ``rediss:`` URL without a host, for the server.
    server: str


def read_sentinel_address(address: str) -> SentinelAddress:
    """Parse an address with Sentinels.

    Raises:
        ValueError: it names no Sentinel, or a port is no number.
    """
    parts = urlsplit(address)
    login, at, hosts = parts.netloc.rpartition("@")
    sentinels = tuple(_host_and_port(host) for host in hosts.split(",") if host.strip())
    if not sentinels:
        raise ValueError("no Sentinel is named")
    query = dict(parse_qsl(parts.query))
    master = query.pop("master", "mymaster")
    password = query.pop("sentinel_password", None)
    scheme = parts.scheme.removesuffix(_SENTINEL)
    server = urlunsplit((scheme, f"{login}{at}", parts.path, urlencode(query), ""))
    return SentinelAddress(sentinels, master, password, server)


def _host_and_port(text: str) -> tuple[str, int]:
    """``host``, ``host:port``, ``[::1]:port``."""
    parts = urlsplit(f"//{text.strip()}")
    if not parts.hostname:
        raise ValueError(f"{text!r} is not the address of a Sentinel")
    return parts.hostname, parts.port or SENTINEL_PORT


def _watched_pool(address: SentinelAddress, options: dict[str, Any]) -> _WatchedPool:
    """A pool that asks the Sentinels for the master at each new connection."""
    server: dict[str, Any] = dict(parse_url(address.server))
    has_tls = server.pop("connection_class", None) is not None
    tls = {"ssl": True, **{k: v for k, v in server.items() if k.startswith("ssl_")}}
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        list(address.sentinels),
        sentinel_kwargs={
            "password": address.password,
            "decode_responses": True,
            "socket_timeout": SENTINEL_ANSWER_S,
            "socket_connect_timeout": SENTINEL_ANSWER_S,
            # The next one is asked instead; retries on each would add up to more than a minute.
            "retry": Retry(NoBackoff(), 0),
            "driver_info": _DRIVER,
            **(tls if has_tls else {}),
        },
    )
    return _WatchedPool(  # type: ignore[no-untyped-call]
        address.master, sentinels, **options, **server, ssl=has_tls
    )


class _WatchedPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the current master; blocks when all are in use."""

    async def aclose(self) -> None:
        """Close the connections to the Sentinels too, which redis-py doesn't close."""
        await super().aclose()
        await self.sentinel_manager.aclose()
