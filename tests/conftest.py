"""Real engines for all tests: one PostgreSQL and one Valkey a session, an empty database a test."""

from __future__ import annotations

import tests.no_garbage  # noqa: F401

# isort: split

import asyncio
import contextlib
import gc
import itertools
import logging
import os
import sys
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import bullmq.redis_connection
import httpx
import pytest
import redis.utils
import structlog
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr
from redis import Redis

from rollbook.accounts.users import add as add_user
from rollbook.config import Settings
from rollbook.engines import Addresses, Engines
from rollbook.model import Role, Scope, User
from rollbook.service.system import open_system
from tests import (
    cluster,
    hashes,
    in_memory,
    kept_connections,
    order,
    skips,
    timeouts,
    waiting,
    warm_child,
)
from tests.databases import Databases, administer

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
    from pathlib import Path

    from rollbook.service.system import System

PASSWORD = "a long enough password"
#: Each minute, autovacuum would start a process for each database.
QUIET = {"autovacuum_naptime": "10min"}
_numbers = itertools.count()

# The gate tries the same examples in every run: what a new example finds is a bug of long standing,
# and no reason to refuse a change that has nothing to do with it. `make properties` draws others.
hypothesis_settings.register_profile("gate", derandomize=True, deadline=None)
hypothesis_settings.register_profile("explore", deadline=None)
hypothesis_settings.load_profile("explore" if "ROLLBOOK_EXPLORE" in os.environ else "gate")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(timeouts)
    config.pluginmanager.register(skips)
    config.pluginmanager.register(order)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        cluster.share()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect five thousand tests without looking for garbage, nor look at them again afterwards.

    Each full collection of garbage would go through them, and through the modules, which stay. The
    tests themselves would spend a twentieth of their time on it, at the usual thresholds.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        gc.enable()


@pytest.fixture(scope="session")
def engines() -> Iterator[Addresses]:
    """The engines of this session; `fast_unsafe` is for data that nobody will miss."""
    with in_memory.folder() as folder:
        cluster.put(folder)
        with Engines(folder, fast_unsafe=True, options=QUIET) as addresses:
            yield addresses


@pytest.fixture(scope="session", autouse=True)
def cheap_hashes() -> Iterator[None]:
    """Cheap hashes of passwords, as in tests/warm_process.py; what starts cold hashes as always."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rollbook.accounts.passwords._hasher", hashes.CHEAP)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_tls_context() -> Iterator[None]:
    """One context for all clients of httpx, each of which loads all certificates, in 20 ms."""
    contexts: dict[tuple[bool, str | None, str | None], ssl.SSLContext] = {}

    def context(verify: Any = True, cert: Any = None, *, trust_env: bool = True) -> ssl.SSLContext:
        if verify is not True or cert is not None:
            return httpx.create_ssl_context(verify, cert, trust_env)
        key = (trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        if key not in contexts:
            contexts[key] = httpx.create_ssl_context(trust_env=trust_env)
        return contexts[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", context)
        yield


@pytest.fixture(scope="session", autouse=True)
def warm_connections() -> Iterator[None]:
    """What the product closes is used for what it opens next (tests/kept_connections.py)."""
    with pytest.MonkeyPatch.context() as patch:
        kept_connections.use(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def files_of_libraries() -> Iterator[None]:
    """What redis-py and BullMQ read from files for each connection and queue is read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("redis.utils.get_lib_version", cache(redis.utils.get_lib_version))
        patch.setattr(
            "bullmq.redis_connection.loadScript", cache(bullmq.redis_connection.loadScript)
        )
        yield


@pytest.fixture(scope="session", autouse=True)
def no_search_for_sniffio() -> Iterator[None]:
    """With each request httpx looks for sniffio in all folders of packages, and it isn't there."""
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("sniffio") is None:
            patch.setitem(sys.modules, "sniffio", None)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_kept_loggers() -> Iterator[None]:
    """Loggers follow each configuration: a kept one would escape ``capture_logs`` later."""
    configure = structlog.configure

    def without_keeping(*given: Any, **named: Any) -> None:
        configure(*given, **{**named, "cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("structlog.configure", without_keeping)
        yield


@pytest.fixture(scope="session", autouse=True)
def named_transports() -> Iterator[None]:
    """A connection that nobody closed fails some later test, as garbage: it says whose it is."""
    kind = asyncio.selector_events._SelectorTransport  # type: ignore[attr-defined]
    begin, shown = kind.__init__, kind.__repr__

    def begun(transport: Any, *given: Any, **named: Any) -> None:
        transport.made_in = os.environ.get("PYTEST_CURRENT_TEST")
        begin(transport, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "__init__", begun)
        patch.setattr(
            kind, "__repr__", lambda one: f"{shown(one)} of {getattr(one, 'made_in', None)}"
        )
        yield


@pytest.fixture(autouse=True)
def same_log() -> Iterator[None]:
    """A test leaves the handlers of the log as they are: one of its own writes where nobody looks.

    Such a handler's stream is closed with the test, and each later line is an error.
    """

    def handlers() -> list[logging.Handler]:
        found = logging.getLogger().handlers
        return [one for one in found if type(one).__module__ != "_pytest.logging"]

    before = handlers()
    yield
    if handlers() != before:
        logging.getLogger().handlers[:] = before
        pytest.fail("the test left handlers in the log of this process, or took them away")


@pytest.fixture
def log_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command configures the log of its process, which is that of all tests here."""
    monkeypatch.setattr("rollbook.telemetry.logs.configure", lambda *_, **__: None)


@pytest.fixture(scope="session", autouse=True)
def no_rounds_by_themselves() -> Iterator[None]:
    """An application in this process has no rounds of maintenance in the middle of a test.

    What they are about, tests run as the rounds do, or they use ``rounds``. A server in a process
    of its own has them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rollbook.api.app.FIRST_ROUNDS_S", 3600)
        yield


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an application in this process have its rounds of maintenance, from its start."""
    monkeypatch.setattr("rollbook.api.app.FIRST_ROUNDS_S", 0)


@pytest.fixture(autouse=True)
def warm_children(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of this process use kept children (tests/warm_child.py), but where they may not."""
    is_subject = request.node.get_closest_marker("cold_child") is not None
    # What a kept child writes goes where the standard error of the test that started it went.
    if not is_subject and not {"capfd", "capfdbinary"} & set(request.fixturenames):
        warm_child.use(monkeypatch)


@pytest.fixture(scope="session", autouse=True)
def kept_children() -> Iterator[None]:
    """End the kept children with the session."""
    yield
    warm_child.end()


@pytest.fixture(scope="session")
def template(engines: Addresses) -> str:
    """The name of a migrated, empty database to copy."""
    administer(engines, "CREATE DATABASE template_rollbook TEMPLATE rollbook")
    return "template_rollbook"


@pytest.fixture(scope="session")
def databases(engines: Addresses, template: str) -> Iterator[Databases]:
    """The databases of the tests."""
    with contextlib.closing(Databases(engines, template)) as opened:
        yield opened


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """An empty database for this test only."""
    with databases.one() as address:
        yield address


@pytest.fixture
def one_day() -> None:
    """The test doesn't run over midnight, in South Africa or in UTC."""
    waiting.one_day("Africa/Johannesburg", "UTC")


@pytest.fixture
def long_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits per minute count an hour: no request's share comes back on a slow machine."""
    monkeypatch.setattr("rollbook.api.limits.MINUTE_MS", 3_600_000)
    monkeypatch.setattr("rollbook.api.limits.ANSWER_S", waiting.PATIENCE_S)


@pytest.fixture
def redis_url(engines: Addresses) -> str:
    """An empty Valkey."""
    return emptied_redis(engines)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to be watched."""
    path = tmp_path / "watched"
    path.mkdir()
    return path


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings of this test's own database, queue and store; everything quick."""
    own = {
        "database_url": SecretStr(database_url),
        "redis_url": SecretStr(redis_url),
        "data_dir": tmp_path / "data",
    }
    return _read_settings().model_copy(update=own)


@cache
def _read_settings() -> Settings:
    """The settings that all tests share: reading them takes 5 ms of a processor."""
    return Settings(
        _env_file=None,
        secret_key=SecretStr("a-key-that-only-the-tests-know-of-32-bytes"),
        concurrency=1,
        backoff_ms=10,
        # A check's child may start cold, beside busy processes.
        check_timeout_s=waiting.PATIENCE_S,
    )


@pytest.fixture
async def system(settings: Settings) -> AsyncIterator[System]:
    """The opened parts."""
    async with open_system(settings) as opened:
        yield opened


@pytest.fixture
def make_user(system: System) -> Callable[..., Awaitable[User]]:
    """Make accounts: ``await make_user(Role.PROVINCE_ADMIN, "GP")``."""

    async def make(
        role: Role = Role.SUPER_ADMIN, province: str | None = None, municipality: str | None = None
    ) -> User:
        return await add_user(
            system.pool,
            email=f"user{next(_numbers)}@example.org",
            password=PASSWORD,
            role=role,
            scope=Scope(province, municipality),
        )

    return make


def emptied_redis(engines: Addresses) -> str:
    """The address of the Valkey, with nothing in it."""
    assert engines.redis_url is not None
    _redis(engines.redis_url).flushall()
    return engines.redis_url


@cache
def _redis(url: str) -> Redis:
    """One client for the session: a new connection takes 2 ms of a processor."""
    return Redis.from_url(url)
