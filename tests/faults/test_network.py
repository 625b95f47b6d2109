"""Connections that die without a word: nobody waits on them without a bound."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import psycopg
import pytest
from pydantic import SecretStr

from rollbook.backends import database, watched
from rollbook.backends.database import connect, fetch_one, make_pool
from rollbook.backends.redis import make_client
from rollbook.engines.postgres import SOCKET_NAME
from rollbook.service.system import open_system
from tests.faults.proxy import Swallower
from tests.faults.site import IS_LONG
from tests.files import csv_file
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, sent, working

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

#: Seconds within which an idle worker takes a job again.
SOON_S = 60.0


@pytest.fixture
def redis_proxy(settings: Settings, tmp_path: Path) -> Iterator[tuple[Swallower, str]]:
    """A proxy before Redis, and the address through it."""
    path = tmp_path / "redis.sock"
    with Swallower(urlsplit(settings.redis_address).path, path) as proxy:
        yield proxy, f"unix://{path}"


@pytest.fixture
def database_proxy(settings: Settings, tmp_path: Path) -> Iterator[tuple[Swallower, str]]:
    """A proxy before PostgreSQL, and the address through it."""
    parts = urlsplit(settings.database_address)
    [host] = parse_qs(parts.query)["host"]
    folder = tmp_path / "pg"
    folder.mkdir()
    with Swallower(f"{unquote(host)}/{SOCKET_NAME}", folder / SOCKET_NAME) as proxy:
        yield proxy, f"postgresql://{parts.netloc}{parts.path}?host={quote(str(folder))}"


async def test_an_idle_worker_whose_redis_connections_died_takes_jobs_again(
    system: System,
    make_user: MakeUser,
    settings: Settings,
    redis_proxy: tuple[Swallower, str],
    normal_after: Callable[..., None],
) -> None:
    proxy, address = redis_proxy
    user = await make_user()
    through = settings.model_copy(update={"redis_url": SecretStr(address), "deaf_after_s": 2})
    async with open_system(through) as opened, working(opened):
        first = await sent(system, user, csv_file(3))
        await ended(system, user, first)
        await until(lambda: _is_let_go(system, first))  # or it still announces its end to the queue
        proxy.swallow()
        assert proxy.lost > 0
        began = time.monotonic()
        async with asyncio.timeout(SOON_S):
            upload = await ended(system, user, await sent(system, user, csv_file(4)))
        assert upload["status"] == "completed"
        normal_after(time.monotonic() - began)


async def test_a_worker_whose_postgresql_connections_died_takes_jobs_again(
    system: System,
    make_user: MakeUser,
    settings: Settings,
    database_proxy: tuple[Swallower, str],
    normal_after: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not IS_LONG:  # which measures it
        monkeypatch.setattr(database, "CHECK_S", 1)
    proxy, address = database_proxy
    user = await make_user()
    through = settings.model_copy(
        update={"database_url": SecretStr(address), "concurrency": 2, "database_answer_s": 2}
    )
    async with open_system(through) as opened, working(opened):
        await ended(system, user, await sent(system, user, csv_file(3)))
        proxy.swallow()
        assert proxy.lost > 0
        began = time.monotonic()
        uploads = [await sent(system, user, csv_file(rows)) for rows in (4, 5)]
        async with asyncio.timeout(SOON_S):
            for upload_id in uploads:
                assert (await ended(system, user, upload_id))["status"] == "completed"
        normal_after(time.monotonic() - began)


async def test_a_statement_that_nobody_answers_ends(
    database_proxy: tuple[Swallower, str],
) -> None:
    """A server that is frozen still acknowledges what it gets: no keepalive finds that."""
    proxy, address = database_proxy
    async with make_pool(address, answer_s=2) as pool, pool.connection() as connection:
        await connection.execute("SELECT 1")
        proxy.swallow(new=True)
        began = time.monotonic()
        with pytest.raises(Exception, match="no answer"):
            await connection.execute("SELECT 2")
        assert time.monotonic() - began < SOON_S


async def test_a_pool_does_not_wait_for_a_connection_that_is_dead(
    database_proxy: tuple[Swallower, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CHECK_S", 1)
    proxy, address = database_proxy
    async with make_pool(address) as pool:
        await fetch_one(pool, "SELECT 1")
        proxy.swallow()
        async with asyncio.timeout(SOON_S):
            await until(lambda: _answers(pool))


async def test_a_pool_connects_soon_after_new_connections_were_swallowed_too(
    database_proxy: tuple[Swallower, str],
    monkeypatch: pytest.MonkeyPatch,
    normal_after: Callable[..., None],
) -> None:
    """A connection that nobody answers is given up, and not waited for two minutes."""
    monkeypatch.setattr(database, "CONNECT_TIMEOUT_S", 2)
    proxy, address = database_proxy
    proxy.swallow(new=True)
    async with make_pool(address, min_size=4) as pool:

        async def all_connect() -> bool:  # as many as the pool has workers
            return proxy.lost >= 3

        await until(all_connect)
        proxy.swallow()
        began = time.monotonic()
        async with asyncio.timeout(SOON_S):
            await until(lambda: _answers(pool))
        normal_after(time.monotonic() - began, "new connections are served, with 2 s to connect")


async def _is_let_go(system: System, upload_id: UUID) -> bool:
    return await system.queue.state(upload_id) == "completed"


async def _answers(pool: object) -> bool:
    try:
        return await fetch_one(pool, "SELECT 1 AS one") == {"one": 1}  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - the first connection is dead
        return False


async def test_every_connection_to_postgresql_and_redis_has_keepalives_in_seconds(
    settings: Settings,
) -> None:
    """The default of the kernel is two hours."""
    client = make_client("redis://127.0.0.1:1", keepalive=settings.keepalive)
    options = client.connection_pool.connection_kwargs
    assert options["socket_keepalive"]
    assert sorted(options["socket_keepalive_options"].values()) == [3, 5, 10, 25_000]
    assert options["socket_timeout"] == 30
    async with make_pool(settings.database_address, keepalive=settings.keepalive) as pool:
        async with pool.connection() as connection:
            given = connection.info.get_parameters()
        names = ("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
        assert [given[name] for name in names] == ["10", "5", "3", "25000"]


async def test_a_merge_whose_answer_was_lost_on_the_way_does_not_wait_for_it(
    database_proxy: tuple[Swallower, str], normal_after: Callable[..., None]
) -> None:
    """The proxy keeps both ends up, so that no keepalive finds it."""
    proxy, address = database_proxy
    with connect(address, answer_s=1) as connection:
        connection.execute("SELECT 1")
        proxy.swallow()
        began = time.monotonic()
        waiting = asyncio.to_thread(connection.execute, "SELECT pg_sleep(0.1)")
        async with asyncio.timeout(SOON_S):
            with pytest.raises(psycopg.OperationalError):
                await waiting
        normal_after(time.monotonic() - began, "an answer to a merge was lost, with 1 s to ask")


async def test_a_merge_that_takes_long_or_waits_for_a_lock_is_not_ended(settings: Settings) -> None:
    address = settings.database_address
    with connect(address, answer_s=1) as working, connect(address) as holding:
        found = await asyncio.to_thread(working.execute, "SELECT pg_sleep(2.1), 1 AS one")
        row = found.fetchone()
        assert row is not None
        assert row["one"] == 1
        working.commit()
        await asyncio.to_thread(holding.execute, "LOCK TABLE members")
        waiting = asyncio.create_task(asyncio.to_thread(working.execute, "LOCK TABLE members"))
        done, _ = await asyncio.wait({waiting}, timeout=2.1)
        assert done == set()
        holding.rollback()
        async with asyncio.timeout(SOON_S):
            await waiting


async def test_an_answer_that_came_just_before_a_look_is_not_lost(settings: Settings) -> None:
    """A busy machine hasn't read it yet, and PostgreSQL has ended its work."""
    looks = 0

    def look() -> bool:
        nonlocal looks
        looks += 1
        return looks > 1

    async def is_looked_at_again() -> bool:
        return looks >= 3

    address = settings.database_address
    with connect(address) as working, connect(address) as holding:
        assert isinstance(working, watched.WatchedConnection)
        watched.watch(working, look, 0.2)
        await asyncio.to_thread(holding.execute, "LOCK TABLE members")
        waiting = asyncio.create_task(asyncio.to_thread(working.execute, "LOCK TABLE members"))
        await until(is_looked_at_again)
        assert not waiting.done()
        holding.rollback()
        async with asyncio.timeout(SOON_S):
            await waiting


async def test_a_round_whose_answer_was_lost_on_the_way_does_not_wait_for_it(
    database_proxy: tuple[Swallower, str],
    monkeypatch: pytest.MonkeyPatch,
    normal_after: Callable[..., None],
) -> None:
    """Retention, the index, duplicates and the days work on whole tables, without a clock."""
    monkeypatch.setattr(watched, "SURE_S", 0.5)
    proxy, address = database_proxy
    async with make_pool(address, answer_s=1) as pool, pool.connection() as connection:
        database.unbounded(connection)
        await connection.execute("SELECT 1")
        proxy.swallow()
        began = time.monotonic()
        async with asyncio.timeout(SOON_S):
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("SELECT pg_sleep(0.1)")
        normal_after(time.monotonic() - began, "an answer to a round was lost, with 1 s to ask")


async def test_a_round_that_works_long_or_waits_for_a_lock_is_not_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool | None] = []
    is_at_work = database._is_at_work

    def looked(*asked: Any) -> bool | None:
        looks.append(is_at_work(*asked))
        return looks[-1]

    monkeypatch.setattr(database, "_is_at_work", looked)

    async def is_looked_at_twice() -> bool:
        return looks.count(True) >= 2

    address = settings.database_address
    # Half of it is what a transaction gets between two statements.
    async with make_pool(address, answer_s=2) as pool:
        with connect(address) as holding:
            await asyncio.to_thread(holding.execute, "LOCK TABLE members")
            async with pool.connection() as connection:
                database.unbounded(connection)
                waiting = asyncio.create_task(connection.execute("LOCK TABLE members"))
                await until(is_looked_at_twice)
                assert not waiting.done()
                holding.rollback()
                async with asyncio.timeout(SOON_S):
                    await waiting
        async with pool.connection() as connection:
            assert isinstance(connection, database._Bounded)
            assert not connection.is_unbounded


async def test_a_look_whose_own_answer_is_lost_ends_too(
    database_proxy: tuple[Swallower, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CHECK_S", 0.5)
    proxy, address = database_proxy
    execute = watched.WatchedConnection.execute

    def swallowed(connection: Any, *asked: Any) -> Any:
        proxy.swallow()
        return execute(connection, *asked)

    monkeypatch.setattr(watched.WatchedConnection, "execute", swallowed)
    async with asyncio.timeout(SOON_S):
        assert await asyncio.to_thread(database._is_at_work, address, 1) is None


async def test_a_connection_that_is_closed_is_watched_no_more(settings: Settings) -> None:
    before = threading.active_count()
    for _ in range(5):
        with connect(settings.database_address, answer_s=3600) as connection:
            connection.execute("SELECT 1")

    async def are_ended() -> bool:
        return threading.active_count() <= before

    await until(are_ended)
