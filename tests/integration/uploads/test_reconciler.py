"""The reconciler: one runs at a time, and what it does with jobs that fit no record any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

from bullmq import UnrecoverableError

from rollbook.accounts.users import disable
from rollbook.backends.database import connect
from rollbook.backends.redis import make_client
from rollbook.queue.bull_worker import OneCallWorker
from rollbook.uploads import control, lookup, reconciler
from tests.files import csv_file
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import flush, grow_old, sent, working
from tests.waiting import PATIENCE_S, job_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from bullmq import Job

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


async def test_while_one_reconciles_a_second_does_nothing(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    upload_id = await sent(system, await make_user(), csv_file(1))
    await flush(settings)
    await grow_old(settings)
    with connect(settings.database_address) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (reconciler.LOCK,))
        assert await reconciler.run_once(system) is None
        assert await system.queue.state(upload_id) is None
    done = await reconciler.run_once(system)
    assert done is not None
    assert done.added == 1


async def test_a_waiting_job_whose_upload_ended_long_ago_is_removed_and_no_other(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    ended, waiting = [await sent(system, user, csv_file(rows)) for rows in (1, 2)]
    foreign = uuid4()
    await system.queue.add(foreign, priority=1)
    with connect(settings.database_address) as connection:
        # As after a restore of Redis from an old file.
        connection.execute(
            "UPDATE uploads SET status = 'cancelled', finished_at = now() - interval '9 days' "
            "WHERE id = %s",
            (ended,),
        )
    done = await reconciler.run_once(system)
    assert done == reconciler.Reconciled(removed=1)
    states = await system.queue.states([ended, waiting, foreign])
    assert states == [None, "prioritized", "prioritized"]


async def test_an_upload_whose_workers_died_too_often_fails_with_a_sentence(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    upload_id = await sent(system, user, csv_file(1))

    async def give_up(_job: Job, _token: str) -> None:
        raise UnrecoverableError("job stalled more than allowable limit")

    options = {"connection": make_client(settings.redis_address), "autorun": False}
    worker = OneCallWorker(settings.queue_name, give_up, options)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(PATIENCE_S):
        await job_event(settings, upload_id, "failed")
        await worker.close()
        await running
    with connect(settings.database_address) as connection:
        connection.execute(
            "UPDATE uploads SET status = 'processing', attempt = 4, worker = 'dead', "
            "heartbeat_at = now() - interval '10 minutes'"
        )
    assert await reconciler.run_once(system) == reconciler.Reconciled(failed=1)
    upload = await lookup.get(system, user, upload_id)
    assert (upload["status"], upload["error_code"]) == ("failed", "stalled")
    assert "worker died" in upload["error"]
    assert upload["finished_at"] is not None


async def test_waiting_uploads_of_a_closed_account_wait_for_an_operators_decision(
    system: System, make_user: MakeUser
) -> None:
    office, operator = await make_user(), await make_user()
    upload_id = await sent(system, office, csv_file(2))
    await disable(system.pool, office.email)
    async with working(system):
        # A worker that is quicker than the reconciler doesn't run it either.
        await until(lambda: is_out_of_the_queue(system, upload_id))
        await reconciler.run_once(system)
        upload = await lookup.get(system, operator, upload_id)
        assert (upload["status"], upload["error_code"]) == ("failed", "account_closed")
        assert "operator can retry" in upload["error"]
        await control.retry(system, operator, upload_id)
        await job_event(system.settings, upload_id, "completed")
        assert (await lookup.get(system, operator, upload_id))["inserted"] == 2


async def is_out_of_the_queue(system: System, upload_id: UUID) -> bool:
    return await system.queue.state(upload_id) in {None, "failed"}
