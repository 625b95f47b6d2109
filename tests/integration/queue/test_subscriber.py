"""What happens to a job reaches every listener, in order and once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from rollbook.api.app import create_app
from rollbook.queue.subscriber import QueueEvent, Subscriber
from rollbook.uploads import lookup
from tests.files import csv_file
from tests.integration.worker.test_worker import sent, working
from tests.redis_content import everything
from tests.waiting import PATIENCE_S, job_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


@pytest.fixture(autouse=True)
def patient_publisher(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event is left out because Redis is slow on a busy machine."""
    monkeypatch.setattr("rollbook.queue.publisher.PATIENCE_S", PATIENCE_S)


async def test_a_listener_hears_of_every_step_of_a_job_in_order_and_once(
    system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    heard: list[QueueEvent] = []
    ended = asyncio.Event()

    def listen(event: QueueEvent) -> None:
        heard.append(event)
        if event.name == "completed":
            ended.set()

    subscriber = Subscriber(settings)
    subscriber.listen(listen)
    async with subscriber.running(), asyncio.timeout(PATIENCE_S):
        await subscriber.reading.wait()
        async with working(system):
            upload_id = await sent(system, user, csv_file(200))
            await ended.wait()
    names = [event.name for event in heard]
    steps = [name for name in names if name != "progress"]
    assert steps == ["waiting", "active", "ended", "completed"]
    assert names.count("progress") >= 1
    assert {event.job_id for event in heard} == {str(upload_id)}
    assert len({event.id for event in heard}) == len(heard)
    progress = [event for event in heard if event.name == "progress"]
    assert {event.attempt for event in progress} == {1}
    percents = [event.data["percent"] for event in progress]
    assert percents == sorted(percents)
    assert heard[-1].data["outcomes"]["inserted"] == 200
    assert heard[-1].attempt == 1


async def test_a_failed_job_says_at_which_attempt(
    system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    ended: asyncio.Future[QueueEvent] = asyncio.get_running_loop().create_future()
    subscriber = Subscriber(settings)
    subscriber.listen(lambda event: ended.set_result(event) if event.name == "failed" else None)
    async with subscriber.running(), asyncio.timeout(PATIENCE_S):
        await subscriber.reading.wait()
        async with working(system):
            await sent(system, user, csv_file([{"Name": "A"}], headers=("Name",)))
            failed = await ended
    assert failed.attempt == 1
    assert failed.data["failedReason"] == "no_id_column"


async def test_every_event_is_counted_and_logged_with_its_job_and_attempt(
    system: System, settings: Settings, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()
    lines: list[dict[str, Any]] = []
    ended = asyncio.Event()

    def note(_level: int, _event: str, **fields: Any) -> None:
        lines.append(fields)

    monkeypatch.setattr("rollbook.queue.subscriber.log", SimpleNamespace(log=note))
    before = {kind: counted(kind) for kind in ("waiting", "active", "progress", "completed")}
    subscriber = Subscriber(settings)
    subscriber.listen(lambda event: ended.set() if event.name == "completed" else None)
    async with subscriber.running(), asyncio.timeout(PATIENCE_S):
        await subscriber.reading.wait()
        async with working(system):
            upload_id = await sent(system, user, csv_file(2))
            await ended.wait()
    for kind, number in before.items():
        logged = [line for line in lines if line["kind"] == kind]
        assert counted(kind) - number == len(logged) >= 1
        assert {line["job_id"] for line in logged} == {str(upload_id)}
        attempt = None if kind in ("waiting", "active") else 1
        assert {line["attempt"] for line in logged} == {attempt}


async def test_a_stream_that_cannot_be_read_is_an_error_event_counted_and_passed_on(
    settings: Settings,
) -> None:
    nowhere = settings.model_copy(
        update={"redis_url": SecretStr("unix:///nowhere/valkey.sock"), "redis_host": None}
    )
    heard: asyncio.Future[QueueEvent] = asyncio.get_running_loop().create_future()
    before = counted("error")
    subscriber = Subscriber(nowhere)
    subscriber.listen(lambda event: None if heard.done() else heard.set_result(event))
    async with subscriber.running(), asyncio.timeout(PATIENCE_S):
        event = await heard
    assert (event.name, event.job_id) == ("error", "")
    assert event.data == {"error": "ConnectionError"}
    assert counted("error") > before


async def test_the_api_reads_the_stream_as_long_as_it_runs(settings: Settings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app), asyncio.timeout(PATIENCE_S):
        await app.state.events.reading.wait()
    assert not app.state.events.reading.is_set()


async def test_nothing_of_a_member_passes_through_redis(
    system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    rows = [{"ID Number": "8001010000081", "Firstname": "Nomvula", "Surname": ""}]
    ended = asyncio.Event()
    subscriber = Subscriber(settings)
    subscriber.listen(lambda event: ended.set() if event.name == "completed" else None)
    async with subscriber.running(), asyncio.timeout(PATIENCE_S):
        await subscriber.reading.wait()
        async with working(system):
            await sent(system, user, csv_file(rows))
            await ended.wait()
            # Without a header row, the first member is where the headers ought to be.
            headless = await sent(system, user, b"Nomvula,Dlamini\nThandi,Mokoena\n", "a.csv")
            await job_event(settings, headless, "failed")
            upload = await lookup.get(system, user, headless)
            assert upload["status"] == "failed"
    kept = await everything(settings)
    assert "upload_id" in kept
    assert "8001010000081" not in kept
    assert "Nomvula" not in kept
    assert "no_id_column" in kept


def counted(kind: str) -> float:
    """How many events of a kind the counter has."""
    return REGISTRY.get_sample_value("rollbook_queue_events_total", {"event": kind}) or 0
