"""The queue service: order, places, fairness, cleaning, and work without Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from rollbook.backends.database import connect
from rollbook.backends.redis import make_client
from rollbook.errors import ServiceUnavailableError
from rollbook.model import Role, User
from rollbook.queue.uploads import UploadQueue
from rollbook.uploads import longest_wait
from tests.files import csv_file
from tests.integration.worker.test_worker import ended, sent, system_with, working
from tests.waiting import job_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


async def test_adding_an_upload_twice_is_adding_it_once(system: System) -> None:
    upload_id = uuid4()
    await system.queue.add(upload_id, priority=5)
    await system.queue.add(upload_id, priority=1)
    assert (await system.queue.stats())["waiting"] == 1


async def test_places_follow_priority_first_and_arrival_within_one(system: System) -> None:
    queue = system.queue
    names = ["municipality 1", "province", "municipality 2", "national", "super"]
    ids = {name: uuid4() for name in names}
    for name, priority in zip(names, (10, 5, 10, 3, 1), strict=True):
        await queue.add(ids[name], priority=priority)
    order = ["super", "national", "province", "municipality 1", "municipality 2"]
    assert [await queue.position(ids[name]) for name in order] == [1, 2, 3, 4, 5]
    assert await queue.position(uuid4()) is None


async def test_places_are_the_same_while_the_queue_is_paused(system: System) -> None:
    queue = system.queue
    first, second, aged = uuid4(), uuid4(), uuid4()
    for upload_id in (first, second, aged):
        await queue.add(upload_id, priority=10)
    assert await queue.put_first(aged)
    for act in (queue.pause, queue.resume):
        await act()
        assert [await queue.position(upload_id) for upload_id in (aged, first, second)] == [1, 2, 3]
    assert (await queue.stats())["waiting"] == 3


async def test_an_upload_that_waited_too_long_goes_before_a_stream_of_higher_priority(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    fair = system_with(system, max_wait_min=1)
    municipality = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg")
    national = await make_user(Role.SUPER_ADMIN)
    old = await sent(fair, municipality, csv_file(1))
    stream = [await sent(fair, national, csv_file(n)) for n in range(2, 5)]
    assert await system.queue.position(old) == 4
    assert await longest_wait.run_once(fair) == 0
    with connect(settings.database_address) as connection:
        connection.execute(
            "UPDATE uploads SET waiting_since = now() - interval '2 minutes' WHERE id = %s", (old,)
        )
    assert await longest_wait.run_once(fair) == 1
    assert await system.queue.position(old) == 1
    assert await longest_wait.run_once(fair) == 0
    async with working(fair):
        await ended(fair, municipality, old)
        for upload_id in stream:
            await ended(fair, national, upload_id)
    with connect(settings.database_address) as connection:
        order = connection.execute("SELECT id FROM uploads ORDER BY started_at").fetchall()
    assert [row["id"] for row in order] == [old, *stream]


async def test_without_a_bound_priorities_are_strict(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    municipality = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg")
    old = await sent(system, municipality, csv_file(1))
    with connect(settings.database_address) as connection:
        connection.execute("UPDATE uploads SET waiting_since = now() - interval '9 days'")
    assert await longest_wait.run_once(system_with(system, max_wait_min=0)) == 0
    assert await system.queue.state(old) == "prioritized"


async def test_a_paused_queue_starts_nothing_until_it_is_resumed(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    await system.queue.pause()
    async with working(system):
        upload_id = await sent(system, user, csv_file(1))
        assert await system.queue.state(upload_id) in {"prioritized", "paused"}
        await system.queue.resume()
        assert (await ended(system, user, upload_id))["status"] == "completed"


async def test_clean_forgets_ended_jobs_older_than_the_grace_period_and_no_others(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    async with working(system):
        done = await sent(system, user, csv_file(1))
        await job_event(settings, done, "completed")
        bad = await sent(system, user, csv_file([{"Name": "A"}], headers=("Name",)))
        await job_event(settings, bad, "failed")
    waiting = await sent(system, user, csv_file(2))
    assert await system.queue.clean(grace_period_h=1) == {"completed": 0, "failed": 0}
    assert await system.queue.clean(grace_period_h=0) == {"completed": 1, "failed": 1}
    states = await system.queue.states([done, bad, waiting])
    assert states == [None, None, "prioritized"]


async def test_without_redis_every_operation_says_so_in_a_sentence(settings: Settings) -> None:
    queue = UploadQueue(settings, make_client("unix:///nowhere/valkey.sock"))
    some: UUID = uuid4()
    for operation in (
        queue.add(some, priority=1),
        queue.state(some),
        queue.position(some),
        queue.remove(some),
        queue.retry(some, priority=1),
        queue.stats(),
        queue.clean(grace_period_h=1),
        queue.pause(),
        queue.resume(),
        queue.ping(),
    ):
        with pytest.raises(ServiceUnavailableError, match="will be queued"):
            await operation
