"""The worker that gets its next job with the end of the last one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from bullmq.custom_errors import DelayedError
from prometheus_client import REGISTRY
from pydantic import SecretStr

from rollbook.backends.redis import make_client
from rollbook.queue.bull_worker import OneCallWorker, hand_back, is_let_go
from rollbook.queue.loop import options, run_jobs
from rollbook.queue.uploads import UploadQueue
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bullmq import Job
    from redis.asyncio import Redis

    from rollbook.config import Settings


@pytest.fixture
async def queue(settings: Settings) -> AsyncIterator[UploadQueue]:
    async with make_client(settings.redis_address) as client:
        yield UploadQueue(settings, client)


def worker(settings: Settings, processor: Any, *, concurrency: int = 1) -> OneCallWorker:
    return OneCallWorker(
        settings.queue_name,
        processor,
        {
            "connection": make_client(settings.redis_address),
            "autorun": False,
            "concurrency": concurrency,
        },
    )


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_every_job_is_done_once_and_in_the_order_of_its_priority(
    concurrency: int, queue: UploadQueue, settings: Settings
) -> None:
    jobs = [(uuid4(), priority) for priority in (10, 1, 5, 10, 3, 1) * 5]
    for job_id, priority in jobs:
        await queue.add(job_id, priority=priority)
    done: list[UUID] = []
    all_done = asyncio.Event()

    async def note(job: Job, _token: str) -> None:
        done.append(UUID(job.id))
        if len(done) == len(jobs):
            all_done.set()

    running = worker(settings, note, concurrency=concurrency)
    task = asyncio.create_task(running.run())
    async with asyncio.timeout(PATIENCE_S):
        await all_done.wait()
        await running.close()
        await task
    in_order = [job_id for job_id, _ in sorted(jobs, key=lambda job: job[1])]
    # Several at a time are fetched in order, and begin when each one's answer has come.
    assert done == in_order if concurrency == 1 else sorted(done) == sorted(in_order)
    assert (await queue.stats())["completed"] == len(jobs)


async def test_a_job_that_comes_along_while_the_worker_closes_is_given_back(
    queue: UploadQueue, settings: Settings
) -> None:
    first, second = uuid4(), uuid4()
    await queue.add(first, priority=1)
    await queue.add(second, priority=2)
    done: list[str] = []
    both_done = asyncio.Event()

    async def note(job: Job, _token: str) -> None:
        done.append(job.id)
        if len(done) == 2:
            both_done.set()

    closing = worker(settings, note)
    finish = closing._finish

    async def finish_and_close(*arguments: Any, **options: Any) -> Any:
        # What a SIGTERM does, at the worst moment: the next job is on its way here.
        answer = await finish(*arguments, **options)
        closing.closing = True
        return answer

    closing._finish = finish_and_close
    async with asyncio.timeout(PATIENCE_S):
        await closing.run()
        await closing.close()
    assert done == [str(first)]
    assert await queue.state(second) in {"delayed", "prioritized", "waiting"}
    again = worker(settings, note)
    task = asyncio.create_task(again.run())
    async with asyncio.timeout(PATIENCE_S):
        await both_done.wait()
        await again.close()
        await task
    assert done == [str(first), str(second)]


async def test_a_worker_that_closes_begins_no_wait_for_a_job(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing cancels a wait that has begun; here it comes just before one begins."""

    async def nothing(_job: Job, _token: str) -> None:
        raise AssertionError

    idle = worker(settings, nothing)
    idle.opts["drainDelay"] = 2 * PATIENCE_S  # how long it waits for a job
    idle.drained = True
    next_job = idle.getNextJob
    closings: list[asyncio.Task[None]] = []

    async def close_first(token: str) -> Any:
        closings.append(asyncio.create_task(idle.close()))
        await asyncio.sleep(0)  # it has cancelled what waits, which is nothing
        assert idle.closing
        return await next_job(token)

    monkeypatch.setattr(idle, "getNextJob", close_first)
    async with asyncio.timeout(PATIENCE_S):
        await idle.run()
        await asyncio.gather(*closings)
    assert len(closings) == 1


async def test_a_wait_for_a_job_that_swallows_a_cancellation_is_cancelled_again(
    settings: Settings,
) -> None:
    """As redis-py does in Python 3.11 where its command has just been sent."""

    async def nothing(_job: Job, _token: str) -> None:
        raise AssertionError

    idle = worker(settings, nothing)
    idle.opts["drainDelay"] = 2 * PATIENCE_S  # how long it waits for a job
    wait = idle.backend.waitForJob
    waits: list[float] = []
    has_begun = asyncio.Event()

    async def swallow(seconds: float) -> Any:
        waits.append(seconds)
        has_begun.set()
        try:
            return await wait(seconds)
        except asyncio.CancelledError:
            if len(waits) > 1:
                raise
        return await swallow(seconds)

    idle.backend.waitForJob = swallow
    running = asyncio.create_task(idle.run())
    async with asyncio.timeout(PATIENCE_S):
        await has_begun.wait()
        await idle.close()
        await running
    assert waits == [2 * PATIENCE_S] * 2


async def test_closing_ends_when_it_is_cancelled(settings: Settings) -> None:
    """As at the end of the process, where Redis doesn't answer and nothing is waited for."""

    async def nothing(_job: Job, _token: str) -> None:
        raise AssertionError

    never, asked = asyncio.Event(), asyncio.Event()

    async def close(*, force: bool) -> None:
        assert not force
        asked.set()
        await never.wait()  # no bound: that is its subject

    running = worker(settings, nothing)
    own_close = running.backend.close
    running.backend.close = close
    closing = asyncio.create_task(running.close())
    async with asyncio.timeout(PATIENCE_S):
        await asked.wait()
    closing.cancel()
    done, _ = await asyncio.wait({closing}, timeout=PATIENCE_S)
    assert done == {closing}
    await own_close(force=True)


@pytest.mark.parametrize("lost", ["lock", "lock of another", "job"])
async def test_a_job_that_the_queue_took_away_is_told_from_a_fault(
    queue: UploadQueue, settings: Settings, lost: str
) -> None:
    job_id = uuid4()
    await queue.add(job_id, priority=1)
    met: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    key = f"bull:{settings.queue_name}:{job_id}"

    async def lose(job: Job, token: str) -> None:
        async with make_client(settings.redis_address) as client:
            if lost == "lock of another":
                await client.set(f"{key}:lock", "another")
            else:
                await client.delete(f"{key}:lock" if lost == "lock" else key)
        try:
            await hand_back(job, token)
        except TypeError as error:
            met.set_result(error)
        raise DelayedError

    running = worker(settings, lose)
    task = asyncio.create_task(running.run())
    async with asyncio.timeout(PATIENCE_S):
        error = await met
        await running.close()
        await task
    assert is_let_go(error)
    assert not is_let_go(TypeError("'NoneType' object is not subscriptable"))


async def test_a_queue_that_can_not_be_reached_is_counted_and_does_not_end_the_worker(
    settings: Settings, tmp_path: Path
) -> None:
    nobody = SecretStr(f"unix://{tmp_path}/nobody-listens.sock")
    away = settings.model_copy(update={"redis_url": nobody})
    before = errors_heard()
    stop, tried_again, shut_down = asyncio.Event(), asyncio.Event(), asyncio.Event()
    lives: list[Redis] = []

    def make_worker(client: Redis) -> OneCallWorker:
        lives.append(client)
        if len(lives) > 1:
            tried_again.set()
        return OneCallWorker(away.queue_name, never, options(away, client, name="w", concurrency=1))

    async def note_shut_down() -> None:
        shut_down.set()

    taking = asyncio.create_task(run_jobs(away, stop, make_worker, note_shut_down))
    async with asyncio.timeout(PATIENCE_S):
        await tried_again.wait()
        assert not taking.done()
        stop.set()
        await taking
    assert errors_heard() > before
    assert shut_down.is_set()


def errors_heard() -> float:
    return REGISTRY.get_sample_value("rollbook_worker_queue_events_total", {"event": "error"}) or 0


async def never(job: Job, _token: str) -> None:
    raise AssertionError(job.id)
