"""How an attempt ends when something goes wrong around it: the record and the queue agree."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psutil
import pytest

from rollbook.backends.database import connect
from rollbook.backends.redis import make_client
from rollbook.errors import ChildDiedError, ServiceUnavailableError, UnreadableFileError
from rollbook.queue.subscriber import QueueEvent, Subscriber
from rollbook.uploads import control, lookup
from rollbook.worker import slots
from tests.files import csv_file, members
from tests.integration.folder.watching import until
from tests.integration.queue.test_subscriber import counted
from tests.integration.worker.test_worker import (
    ended,
    forget_events,
    in_members,
    merges_held,
    sent,
    system_with,
    working,
)
from tests.redis_content import everything
from tests.waiting import PATIENCE_S, job_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from uuid import UUID

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

#: A process that can't do a child's work, and one that never comes to say that it is ready.
BROKEN = (sys.executable, "-c", "")
HANGING = """
import os, pathlib, time
pathlib.Path({!r}).write_text(str(os.getpid()))
time.sleep(600)
"""
SECRET = "8001015009087 Nomvula"


async def test_a_job_that_comes_back_to_the_worker_that_lost_it_is_done_once_and_keeps_its_lock(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    quick = system_with(system, concurrency=2, lock_duration_ms=60_000, stalled_interval_ms=300)
    stalled: list[QueueEvent] = []
    subscriber = Subscriber(settings)
    subscriber.listen(lambda event: stalled.append(event) if event.name == "stalled" else None)
    before = counted("stalled")
    async with subscriber.running(), working(quick):
        async with asyncio.timeout(PATIENCE_S):
            await subscriber.reading.wait()
        with merges_held(settings):
            upload_id = await sent(quick, user, csv_file(20))
            await job_event(settings, upload_id, "progress")
            async with make_client(settings.redis_address) as client:
                await client.delete(f"bull:{settings.queue_name}:{upload_id}:lock")
            await job_event(settings, upload_id, "stalled")

            async def has_come_back() -> bool:
                return bool((await lookup.get(system, user, upload_id))["attempt"] == 2)

            # Before the first attempt can go on, and be quicker than the second one's claim.
            await until(has_come_back)
        upload = await ended(quick, user, upload_id)
    assert upload["status"] == "completed"
    assert upload["attempt"] == 2
    assert await system.queue.state(upload_id) == "completed"
    assert len(in_members(settings)) == 20
    assert [(event.job_id, event.attempt) for event in stalled] == [(str(upload_id), 1)]
    assert counted("stalled") - before == 1


async def test_a_child_that_dies_right_after_its_commit_has_completed_the_upload(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    async with working(system) as worker:
        run = worker.slots.run

        async def run_and_die(*arguments: Any, **more: Any) -> dict[str, Any]:
            await run(*arguments, **more)
            raise ChildDiedError("It died.")

        worker.slots.run = run_and_die  # type: ignore[method-assign]
        upload = await ended(system, user, await sent(system, user, csv_file(2)))
    assert upload["status"] == "completed"
    assert await system.queue.state(upload["id"]) == "completed"
    assert upload["source_key"] is None


async def test_a_child_that_dies_while_its_upload_is_cancelled_leaves_no_job(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    async with working(system) as worker:

        async def cancel_and_die(upload_id: Any, *_: Any, **__: Any) -> dict[str, Any]:
            await control.cancel(system, user, upload_id)
            raise ChildDiedError("It died.")

        worker.slots.run = cancel_and_die  # type: ignore[method-assign]
        upload_id = await sent(system, user, csv_file(2))
        await job_event(settings, upload_id, "failed")
    assert (await lookup.get(system, user, upload_id))["status"] == "cancelled"
    assert await system.queue.state(upload_id) is None


@pytest.mark.parametrize("where", ["in the attempt", "before it"])
async def test_a_fault_of_ours_costs_the_attempt_and_its_words_go_nowhere(
    system: System,
    make_user: MakeUser,
    settings: Settings,
    where: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    user = await make_user()

    async def fault(*_: Any, **__: Any) -> Any:
        raise ValueError(SECRET)

    async with working(system) as worker:
        if where == "in the attempt":
            worker.slots.run = fault  # type: ignore[method-assign]
        else:
            worker.attempts._claim = fault  # type: ignore[method-assign]
        upload_id = await sent(system, user, csv_file(2))
        await job_event(settings, upload_id, "failed")
    kept = await everything(settings)
    assert "attempt_failed" in kept
    assert "Nomvula" not in kept
    upload = await lookup.get(system, user, upload_id)
    assert "Nomvula" not in str(upload)
    said = capsys.readouterr()
    assert "Nomvula" not in said.out + said.err


async def test_a_job_that_is_handed_back_keeps_its_place_and_the_time_it_has_waited(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    impatient = system_with(system, shutdown_grace_s=0)
    with merges_held(settings):
        async with working(impatient):
            first = await sent(impatient, user, csv_file(members(20)))
            await job_event(settings, first, "progress")
            second = await sent(impatient, user, csv_file(members(1, start=60_000)))
    assert [await lookup.position(system, await lookup.get(system, user, one))
            for one in (first, second)] == [1, 2]  # fmt: skip
    with connect(settings.database_address) as connection:
        [waits] = connection.execute(
            "SELECT status, waiting_since < started_at AS since_before FROM uploads WHERE id = %s",
            (first,),
        ).fetchall()
    assert waits == {"status": "pending", "since_before": True}
    async with make_client(settings.redis_address) as client:
        # What an idle worker waits for.
        assert await client.zscore(f"bull:{settings.queue_name}:marker", "0") == 0
    async with working(system):
        assert (await ended(system, user, first))["status"] == "completed"
        assert (await ended(system, user, second))["status"] == "completed"
    with connect(settings.database_address) as connection:
        order = connection.execute("SELECT id FROM uploads ORDER BY started_at").fetchall()
    assert [row["id"] for row in order] == [first, second]


async def test_a_worker_whose_children_cannot_start_goes_on_and_the_job_waits_for_one(
    system: System, make_user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()
    with monkeypatch.context() as broken:
        broken.setattr(slots, "PROGRAM", BROKEN)
        worker = working(system)
        await worker.__aenter__()
        upload_id = await sent(system, user, csv_file(1))
        await job_event(settings, upload_id, "delayed")
    try:
        upload = await ended(system, user, upload_id)
    finally:
        await worker.__aexit__(None, None, None)
    assert upload["status"] == "completed"
    assert upload["attempt"] - upload["attempts_before"] == 1


#: Answers every task with its id, the first one in a line that is longer than the limit.
LENGTHY = """
import json, sys
print(json.dumps({"type": "ready"}), flush=True)
for number, line in enumerate(sys.stdin):
    length = 0 if number else 9999
    print(json.dumps({"type": "result", "of": line, "x": "x" * length}), flush=True)
"""


async def test_a_child_whose_answer_was_read_in_part_answers_no_other_task(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of its answer would be taken for the answer to the next file, of anybody."""
    monkeypatch.setattr(slots, "PROGRAM", (sys.executable, "-c", LENGTHY))
    monkeypatch.setattr(slots, "MOST_ANSWER_BYTES", 1000)
    first, second = uuid4(), uuid4()
    async with slots.Slots(settings.model_copy(update={"concurrency": 1})) as opened:
        with pytest.raises(ValueError, match="chunk"):
            await opened.run(first, 0, lambda _: None)
        with pytest.raises(ValueError, match="chunk"):  # of another child, which says it again
            await opened.run(second, 0, lambda _: None)


async def test_a_start_that_is_cancelled_leaves_no_child_and_no_folder(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    monkeypatch.setattr(slots, "PROGRAM", (sys.executable, "-c", HANGING.format(str(told))))
    starting = asyncio.create_task(slots.Slots(settings).__aenter__())
    async with asyncio.timeout(PATIENCE_S):
        pid = int(await asyncio.to_thread(told.read_text))
        assert psutil.pid_exists(pid)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert not psutil.pid_exists(pid)
    assert list((settings.data_dir / "scratch").iterdir()) == []


async def test_an_attempt_that_took_too_long_leaves_another_and_the_worker_goes_on(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    hasty = system_with(system, job_timeout_s=1)
    async with working(hasty) as worker:
        with merges_held(settings):
            upload_id = await sent(hasty, user, csv_file(20))
            await job_event(settings, upload_id, "progress")
            await system.queue.pause()  # the next attempt begins when it may take longer
            await job_event(settings, upload_id, "delayed")
        waits = await lookup.get(system, user, upload_id)
        assert (waits["error_code"], waits["attempt"]) == ("timed_out", 1)
        worker.slots._settings = settings
        await system.queue.resume()
        upload = await ended(hasty, user, upload_id)
    assert (upload["status"], upload["attempt"]) == ("completed", 2)


async def test_a_failed_upload_that_is_retried_completes(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    async with working(system) as worker:
        run = worker.slots.run

        async def refuse(*_: Any, **__: Any) -> dict[str, Any]:
            raise UnreadableFileError("The file can't be read.")

        worker.slots.run = refuse  # type: ignore[method-assign]
        upload_id = await sent(system, user, csv_file(2))
        assert (await ended(system, user, upload_id))["status"] == "failed"
        await forget_events(settings)
        worker.slots.run = run  # type: ignore[method-assign]
        await control.retry(system, user, upload_id)
        upload = await ended(system, user, upload_id)
    assert (upload["status"], upload["error"], upload["error_code"]) == ("completed", None, None)
    assert (upload["attempt"], upload["attempts_before"]) == (2, 1)
    assert len(in_members(settings)) == 2


async def test_a_delayed_upload_is_cancelled_and_leaves_the_queue(
    system: System, make_user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()
    monkeypatch.setattr(slots, "PROGRAM", BROKEN)
    slow = system_with(system, backoff_ms=600_000)
    async with working(slow):
        upload_id = await sent(slow, user, csv_file(1))
        await job_event(settings, upload_id, "delayed")
        assert await system.queue.state(upload_id) == "delayed"
        await control.cancel(system, user, upload_id)
    assert await system.queue.state(upload_id) is None
    assert (await lookup.get(system, user, upload_id))["status"] == "cancelled"


async def test_an_upload_in_a_paused_queue_is_cancelled_and_leaves_it(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    await system.queue.pause()
    upload_id = await sent(system, user, csv_file(1))
    assert await system.queue.state(upload_id) is not None
    await control.cancel(system, user, upload_id)
    assert await system.queue.state(upload_id) is None
    assert (await lookup.get(system, user, upload_id))["status"] == "cancelled"
    assert (await system.queue.stats())["total"] == 0


def sessions_of(settings: Settings, upload_id: UUID) -> int:
    """Sessions of the upload's attempts."""
    with connect(settings.database_address) as connection:
        name = f"rollbook-child {upload_id} %"
        found = connection.execute(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name LIKE %s", [name]
        ).fetchone()
    assert found is not None
    return int(found["n"])


async def test_a_child_that_does_not_end_costs_its_attempt_and_no_other_is_started(
    system: System, make_user: MakeUser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that waits for a share that hangs takes no signal, not even to be killed."""
    user = await make_user()
    monkeypatch.setattr(slots, "END_S", 0.2)
    hasty = system_with(system, job_timeout_s=1, concurrency=1)
    async with working(hasty) as worker:
        await until(lambda: bool(worker.slots._idle))
        [child] = worker.slots._idle
        with merges_held(settings), monkeypatch.context() as patch:
            patch.setattr(child._process, "kill", lambda: None)
            upload_id = await sent(hasty, user, csv_file(20))
            await job_event(settings, upload_id, "progress")
            await system.queue.pause()
            await job_event(settings, upload_id, "delayed")
            waits = await lookup.get(system, user, upload_id)
            assert (waits["error_code"], waits["attempt"]) == ("timed_out", 1)
            await until(lambda: "child" in worker.fitness._problems)
            assert f"process id {child.pid}" in worker.fitness._problems["child"]
            assert not worker.fitness.is_fit()
            # The process goes on, and holds no lock of the merge.
            await until(lambda: sessions_of(settings, upload_id) == 0)
            assert psutil.pid_exists(child.pid)
            with pytest.raises(ServiceUnavailableError, match="doesn't end"):
                await worker.slots.run(uuid4(), 0, lambda _: None)
        assert in_members(settings) == []
        worker.slots._settings = settings
        child._process.kill()
        async with asyncio.timeout(PATIENCE_S):
            await child._process.wait()
        await until(worker.fitness.is_fit)
        await system.queue.resume()
        assert (await ended(hasty, user, upload_id))["status"] == "completed"
        assert worker.slots.stuck is None
