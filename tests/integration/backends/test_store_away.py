"""A file store that doesn't answer: nothing is lost, no attempt is used up, the answers say so."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from rollbook import clock
from rollbook.api.app import create_app
from rollbook.errors import ServiceUnavailableError
from rollbook.uploads import control, lookup, reconciler
from tests.files import csv_file
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, sent, system_with, working
from tests.waiting import job_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


@contextmanager
def store_away(settings: Settings) -> Iterator[None]:
    """A file takes the place of the store's folder, which comes back unharmed."""
    folder = settings.data_dir / "store"
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder.rename(folder.with_name("aside"))
    folder.write_text("not a folder")
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


async def test_an_attempt_waits_for_the_store_and_costs_nothing(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    patient = system_with(system, backoff_ms=600_000)  # no attempt meanwhile
    async with working(patient) as worker:
        await until(worker.fitness.is_fit)
        await system.queue.pause()
        upload_id = await sent(system, user, csv_file(5))
        with store_away(settings):
            await system.queue.resume()
            await job_event(settings, upload_id, "delayed")
        waiting = await lookup.get(system, user, upload_id)
        assert (waiting["status"], waiting["error_code"]) == ("pending", "service_unavailable")
    assert await system.queue.promote_later_than(clock.now(), [upload_id]) == 1
    async with working(system):
        done = await ended(system, user, upload_id)
    assert (done["status"], done["inserted"]) == ("completed", 5)
    assert done["attempt"] - done["attempts_before"] == 1


async def test_a_worker_that_never_reached_the_store_takes_no_job_and_says_why(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    upload_id = await sent(system, user, csv_file(5))
    with store_away(settings):
        async with working(system) as worker:
            await until(lambda: worker.fitness.problems == ["The file store doesn't answer."])
            assert (await lookup.get(system, user, upload_id))["attempt"] == 0
    async with working(system):
        assert (await ended(system, user, upload_id))["inserted"] == 5


async def test_the_reconciler_fails_no_upload_for_a_store_that_is_away(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    upload_id = await sent(system, user, csv_file(5))
    await system.queue.remove(upload_id)
    async with system.pool.connection() as connection:
        await connection.execute("UPDATE uploads SET waiting_since = now() - interval '1 minute'")
    with store_away(settings):
        done = await reconciler.run_once(system)
    assert done is not None
    assert (done.added, done.failed) == (1, 0)
    assert (await lookup.get(system, user, upload_id))["status"] == "pending"


async def test_a_source_that_was_left_behind_is_removed_later(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    upload_id = await sent(system, user, csv_file(5))
    with store_away(settings):
        await control.cancel(system, user, upload_id)
    key = (await lookup.get(system, user, upload_id))["source_key"]
    assert await system.store.has(key)
    async with system.pool.connection() as connection:
        await connection.execute("UPDATE uploads SET finished_at = now() - interval '2 minutes'")
    await reconciler.run_once(system)
    assert not await system.store.has(key)
    assert (await lookup.get(system, user, upload_id))["source_key"] is None


async def test_senders_and_probes_are_told(settings: Settings, system: System) -> None:
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as api,
    ):
        assert (await api.get("/readyz")).status_code == 200
        with store_away(settings):
            answer = await api.get("/readyz")
            assert (answer.status_code, answer.json()["store"]) == (503, "not reachable")
            with pytest.raises(ServiceUnavailableError):
                await system.store.open("any/file")
        assert (await api.get("/readyz")).status_code == 200
