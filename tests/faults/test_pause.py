"""A pause outlives what Redis remembers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rollbook.backends.database import fetch_one
from rollbook.backends.redis import make_client
from rollbook.errors import ServiceUnavailableError
from rollbook.queue.uploads import UploadQueue, unreachable
from rollbook.uploads import control, lookup, reconciler
from tests.files import csv_file
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, sent, working

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


async def flush(system: System) -> None:
    async with make_client(system.settings.redis_address) as client:
        await client.flushall()


async def paused_in_redis(system: System) -> None:
    await until(system.queue.is_paused)


async def is_away(_: UploadQueue) -> None:
    raise unreachable()


async def test_a_redis_that_lost_its_keys_does_not_end_the_pause(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    async with working(system):
        await control.pause(system, by=user)
        waiting = await sent(system, user, csv_file(3))
        await flush(system)
        assert (await lookup.queue_stats(system, user))["is_paused"]
        # One that is sent before the reconciler's next round, which adds the other.
        new = await sent(system, user, csv_file(4))
        await paused_in_redis(system)
        await flush(system)
        await system.queue.add(waiting, priority=1)
        await paused_in_redis(system)
        await flush(system)
        added = 0

        async def are_added() -> bool:  # an upload is left to its sender for two seconds
            nonlocal added
            done = await reconciler.run_once(system)
            added += done.added if done is not None else 0
            return added == 2

        await until(are_added)
        assert await system.queue.is_paused()
        for upload_id in (waiting, new):
            upload = await lookup.get(system, user, upload_id)
            assert (upload["status"], upload["attempt"]) == ("pending", 0)
        await control.resume(system, by=user)
        for upload_id in (waiting, new):
            assert (await ended(system, user, upload_id))["status"] == "completed"


async def test_a_queue_that_redis_did_not_hear_was_resumed_is_resumed(
    system: System, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the record says that it runs, and no job is started any more."""
    user = await make_user()
    async with working(system):
        await control.pause(system, by=user)
        upload_id = await sent(system, user, csv_file(3))

        with monkeypatch.context() as patch:
            patch.setattr(UploadQueue, "resume", is_away)
            with pytest.raises(ServiceUnavailableError):
                await control.resume(system, by=user)
        assert await system.queue.is_paused()
        await reconciler.run_once(system)
        assert not await system.queue.is_paused()
        assert (await ended(system, user, upload_id))["status"] == "completed"


async def test_a_queue_that_another_program_has_paused_stays_paused(system: System) -> None:
    await system.queue._queue.pause()  # past Rollbook's own way
    await reconciler.run_once(system)
    assert await system.queue.is_paused()


async def test_the_reconciler_pauses_a_queue_again_that_redis_has_forgotten(
    system: System, make_user: MakeUser
) -> None:
    """Also where no worker is there to notice."""
    user = await make_user()
    await control.pause(system, by=user)
    await sent(system, user, csv_file(3))
    await flush(system)
    assert not await system.queue.is_paused()
    await reconciler.run_once(system)
    assert await system.queue.is_paused()


@pytest.mark.parametrize("is_paused", [True, False])
async def test_an_operator_who_decides_during_a_round_of_the_reconciler_has_the_last_word(
    system: System, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch, is_paused: bool
) -> None:
    """The round has read the record before, and changes Redis after."""
    user = await make_user()
    # What the round is to correct: a pause that Redis has lost, or one that it has kept.
    await control.pause(system, by=user)
    if is_paused:
        with monkeypatch.context() as patch:
            patch.setattr(UploadQueue, "resume", is_away)
            with pytest.raises(ServiceUnavailableError):
                await control.resume(system, by=user)
    else:
        await flush(system)
    decide = control.pause if is_paused else control.resume
    rounds = UploadQueue.resume if is_paused else UploadQueue.pause
    decided: list[asyncio.Task[None]] = []

    async def change_late(queue: UploadQueue) -> None:
        if not decided:
            decided.append(asyncio.create_task(decide(system, by=user)))
            await until(is_done_or_waits)
        await rounds(queue)

    async def is_done_or_waits() -> bool:
        waiting = (
            "SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return decided[0].done() or await fetch_one(system.pool, waiting) is not None

    monkeypatch.setattr(UploadQueue, rounds.__name__, change_late)
    await reconciler.run_once(system)
    await decided[0]
    assert await system.queue.is_paused() == is_paused
