"""A part that takes no writes: Redis without memory or as a replica, PostgreSQL read-only."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import sql
from pydantic import SecretStr
from redis.exceptions import ResponseError

from rollbook.backends.database import connect
from rollbook.backends.redis import make_client
from rollbook.engines import Engines
from rollbook.service.system import open_system
from rollbook.uploads import lookup, reconciler
from tests.faults.test_retries import small_disk
from tests.files import csv_file
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, grow_old, in_members, sent, working

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from uuid import UUID

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


@contextlib.asynccontextmanager
async def without_writes(settings: Settings, how: str) -> AsyncIterator[None]:
    """A Redis that refuses every write, and says why."""
    async with make_client(settings.redis_address) as client:
        if how == "memory":
            await client.config_set("maxmemory-policy", "noeviction")
            await client.config_set("maxmemory", 1)
        else:
            await client.replicaof("127.0.0.1", "1")
        try:
            yield
        finally:
            await client.config_set("maxmemory", 0)
            await client.replicaof("NO", "ONE")


@pytest.mark.parametrize("how", ["memory", "replica"])
async def test_an_upload_goes_on_when_redis_takes_writes_again(
    make_user: MakeUser, settings: Settings, how: str
) -> None:
    await goes_on(settings, await make_user(), lambda: without_writes(settings, how))


async def test_an_upload_goes_on_when_the_disk_of_redis_has_room_again(
    make_user: MakeUser, settings: Settings, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "redis" / "valkey", 2000):
        engines = Engines(tmp_path / "redis", postgres=False)
        address = engines.start().redis_url
        assert address is not None
        ballast = tmp_path / "redis" / "valkey" / "ballast"

        @contextlib.asynccontextmanager
        async def full() -> AsyncIterator[None]:
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:  # no bound: it ends with the disk
                    file.write(b"x" * 4096)
            async with make_client(address) as client:

                async def is_refused() -> bool:
                    try:
                        await client.set("a key of nobody", "x" * 5000)
                    except ResponseError:
                        return True
                    return False

                await until(is_refused)
                yield
                ballast.unlink()
                await until(lambda: _takes(client))

        try:
            own = settings.model_copy(update={"redis_url": SecretStr(address)})
            await goes_on(own, await make_user(), full)
        finally:
            engines.stop()


async def _takes(client: Any) -> bool:
    try:
        return bool(await client.set("a key of nobody", "y"))
    except ResponseError:
        return False


async def goes_on(
    settings: Settings, user: User, refusing: Callable[[], AbstractAsyncContextManager[None]]
) -> None:
    """An upload that runs meanwhile is merged once, and one that comes meanwhile is recorded."""
    quick = settings.model_copy(update={"lock_duration_ms": 1500, "stalled_interval_ms": 500})
    async with open_system(quick) as opened, working(opened):
        with connect(settings.database_address) as holding:
            await asyncio.to_thread(holding.execute, "LOCK TABLE members IN SHARE MODE")
            running = await sent(opened, user, csv_file(3))
            await until(lambda: _is(opened, user, running, "processing"))
            async with refusing():
                waiting = await sent(opened, user, csv_file(4))
                holding.rollback()
                await until(lambda: _is(opened, user, running, "completed"))
                await asyncio.sleep(2)  # longer than the running job's lock
                assert (await lookup.get(opened, user, waiting))["status"] == "pending"
        await grow_old(settings)
        await reconciler.run_once(opened)
        await until(lambda: _is(opened, user, waiting, "completed"))
        found = [await lookup.get(opened, user, one) for one in (running, waiting)]
    assert [(one["attempt"], one["inserted"]) for one in found] == [(1, 3), (1, 1)]
    assert len(in_members(settings)) == 4


@pytest.fixture
def read_only(settings: Settings) -> Iterator[Callable[[str], None]]:
    """Set the database read-only ("on") or not ("off"), for every session."""

    def set_to(state: str) -> None:
        with connect(settings.database_address) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.commit()
            row = connection.execute("SELECT current_database() AS name").fetchone()
            assert row is not None
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}").format(
                    sql.Identifier(row["name"]), sql.SQL(state)
                )
            )
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    yield set_to
    set_to("off")


async def test_a_read_only_postgresql_costs_no_attempt_and_is_said(
    system: System, make_user: MakeUser, settings: Settings, read_only: Callable[[str], None]
) -> None:
    user = await make_user()
    upload_id = await sent(system, user, csv_file(3))
    read_only("on")
    async with open_system(settings) as opened, working(opened) as worker:

        async def is_said() -> bool:
            return any("read-only" in problem for problem in worker.fitness.problems)

        await until(is_said)
        read_only("off")
        assert (await ended(opened, user, upload_id))["status"] == "completed"
        assert (await lookup.get(opened, user, upload_id))["attempt"] == 1


async def test_a_job_that_met_a_read_only_postgresql_is_put_back_without_an_attempt(
    make_user: MakeUser, settings: Settings, system: System, read_only: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    user = await make_user()
    upload_id = await sent(system, user, csv_file(3))
    read_only("on")
    async with open_system(settings) as opened, working(opened) as worker:
        monkeypatch.setattr(worker.fitness, "is_fit", lambda: True)  # it was, a moment ago

        async def is_put_back() -> bool:
            return await opened.queue.state(upload_id) == "delayed"

        await until(is_put_back)
        job: Any = await opened.queue.job(upload_id)
        assert job.attemptsMade == 0
        read_only("off")
        assert (await ended(opened, user, upload_id))["status"] == "completed"


async def _is(system: System, user: User, upload_id: UUID, status: str) -> bool:
    return bool((await lookup.get(system, user, upload_id))["status"] == status)
