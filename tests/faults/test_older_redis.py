"""A Redis that was restored from an older copy: ended jobs are back, and newer ones are gone."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from rollbook.backends.database import connect
from rollbook.backends.redis import make_client
from rollbook.engines import Engines
from rollbook.service.system import open_system
from rollbook.uploads import control, lookup, reconciler
from tests.files import csv_file, member
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import grow_old, in_members, merges_held, sent, working
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


class Restorable:
    """A Valkey of which copies are made and put back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._engines = Engines(folder, postgres=False)
        address = self._engines.start().redis_url
        assert address is not None
        self.address = address

    async def copy(self) -> None:
        """Copy what it holds now."""
        async with make_client(self.address) as client:
            written, _ = await client.waitaof(1, 0, 1000 * PATIENCE_S)
            assert written == 1  # all is in its file
        shutil.copytree(self._folder / "valkey", self._folder / "copy")

    def put_back(self) -> None:
        """Stop it, put the copy in place of its data, and start it again."""
        self._engines.stop()
        shutil.rmtree(self._folder / "valkey")
        shutil.copytree(self._folder / "copy", self._folder / "valkey")
        self._engines.start()

    def stop(self) -> None:
        """Stop it for good."""
        self._engines.stop()


@pytest.fixture
def restorable(tmp_path: Path) -> Iterator[Restorable]:
    found = Restorable(tmp_path / "redis")
    yield found
    found.stop()


async def test_ended_jobs_that_come_back_are_not_merged_again_and_lost_ones_are_queued_again(
    make_user: MakeUser, settings: Settings, restorable: Restorable
) -> None:
    """The copy is from a pause, has one job that waits, and has never heard of another two."""
    user = await make_user()
    quick = settings.model_copy(
        update={
            "redis_url": SecretStr(restorable.address),
            "lock_duration_ms": 1500,
            "stalled_interval_ms": 500,
        }
    )
    async with open_system(quick) as system, working(system):
        await control.pause(system, by=user)
        done = await sent(system, user, csv_file([member(n) for n in range(3)]))
        await restorable.copy()
        await control.resume(system, by=user)
        await _until_ended(system, user, done)
        with merges_held(settings):
            running = await sent(system, user, csv_file([member(n) for n in range(10, 14)]))
            await until(lambda: _is(system, user, running, "processing"))
            waiting = await sent(system, user, csv_file([member(n) for n in range(20, 25)]))
            restorable.put_back()
            assert await system.queue.state(done) in {"paused", "prioritized", "waiting"}
            assert await system.queue.state(waiting) is None
        assert await system.queue.is_paused()
        await grow_old(settings)
        await reconciler.run_once(system)
        assert not await system.queue.is_paused()
        for upload_id, rows in ((running, 4), (waiting, 5)):
            await _until_ended(system, user, upload_id)
            found = await lookup.get(system, user, upload_id)
            assert (found["status"], found["inserted"]) == ("completed", rows), found["error"]
        again = await lookup.get(system, user, done)
        assert (again["status"], again["attempt"], again["inserted"]) == ("completed", 1, 3)

        async def are_forgotten() -> bool:
            await reconciler.run_once(system)
            return set(await system.queue.states([done, running, waiting])) <= {"completed", None}

        await until(are_forgotten)
    assert len(in_members(settings)) == 12
    with connect(settings.database_address) as connection:
        starts = connection.execute(
            "SELECT count(*) AS n FROM audit_entries WHERE act = 'start' AND job_id = %s", (done,)
        ).fetchone()
    assert starts == {"n": 1}


async def _is(system: System, user: User, upload_id: UUID, status: str) -> bool:
    return bool((await lookup.get(system, user, upload_id))["status"] == status)


async def _until_ended(system: System, user: User, upload_id: UUID) -> None:
    async def has_ended() -> bool:
        return (await lookup.get(system, user, upload_id))["status"] in {"completed", "failed"}

    await until(has_ended)
