"""A scratch folder that goes away, or takes nothing, under a worker."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

import httpx

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.backends.database import connect
from rollbook.service.system import open_system
from rollbook.worker import scratch
from tests.faults.test_retries import small_disk
from tests.files import csv_file
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, sent, working

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import pytest

    from rollbook.config import Settings
    from rollbook.model import User

    MakeUser = Callable[..., Awaitable[User]]


def remove(folder: Path) -> None:
    """Remove a folder in which others may make files meanwhile."""
    shutil.rmtree(folder.rename(folder.with_name("removed")))


async def test_a_worker_whose_scratch_folder_is_removed_makes_another_and_goes_on(
    make_user: MakeUser, settings: Settings, normal_after: Callable[..., None]
) -> None:
    user = await make_user()
    patient = settings.model_copy(update={"backoff_ms": 200})
    async with open_system(patient) as opened, working(opened) as worker:
        assert (await ended(opened, user, await sent(opened, user, csv_file(3))))["attempt"] == 1
        remove(settings.data_dir / "scratch")
        began = time.monotonic()
        upload = await ended(opened, user, await sent(opened, user, csv_file(4)))
        normal_after(time.monotonic() - began, "an upload is through after the folder went")
        assert upload["status"] == "completed", upload["error"]
        assert upload["attempt"] == upload["attempts_before"] + 1

        async def is_its_own() -> bool:  # and no other worker takes it for a dead one's
            return worker.slots.folder.is_dir()

        await until(is_its_own)
        with scratch.folder(settings.data_dir):
            assert worker.slots.folder.is_dir()


async def test_a_scratch_folder_that_goes_during_an_attempt_costs_none(
    make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    patient = settings.model_copy(update={"backoff_ms": 200})
    async with open_system(patient) as opened, working(opened):
        with connect(settings.database_address) as holding:
            # It waits for its first statement in the merge's transaction, with its file at hand.
            await asyncio.to_thread(holding.execute, "LOCK TABLE members IN ACCESS EXCLUSIVE MODE")
            upload_id = await sent(opened, user, csv_file(3))

            async def waits() -> bool:
                with connect(settings.database_address) as asking:  # sees who came since
                    waiting = asking.execute(
                        "SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)"
                        " WHERE NOT granted AND starts_with(application_name, 'rollbook-child ')"
                    )
                    return waiting.fetchone() is not None

            await until(waits)
            remove(settings.data_dir / "scratch")
            holding.rollback()
        upload = await ended(opened, user, upload_id)
        assert upload["status"] == "completed", upload["error"]
        assert upload["attempt"] == upload["attempts_before"] + 1


async def test_a_worker_that_starts_without_a_scratch_folder_takes_jobs_when_it_has_one(
    make_user: MakeUser, settings: Settings
) -> None:
    """A disk that takes no files ends no process, and no upload fails."""
    user = await make_user()
    place = settings.data_dir / "scratch"
    patient = settings.model_copy(update={"backoff_ms": 200, "scratch_free_mb": 0})
    with small_disk(place, 3000):
        _remount(place, "ro")
        async with open_system(patient) as opened, working(opened) as worker:

            async def is_said() -> bool:
                return any("scratch folder" in problem for problem in worker.fitness.problems)

            await until(is_said)
            upload_id = await sent(opened, user, csv_file(3))
            _remount(place, "rw")
            upload = await ended(opened, user, upload_id)
            assert upload["status"] == "completed", upload["error"]
            assert upload["attempt"] == upload["attempts_before"] + 1


async def test_an_api_whose_folder_of_temporary_files_is_full_says_so(
    make_user: MakeUser, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()
    headers = {"Authorization": f"Bearer {issue_token(settings, user)}"}
    app = create_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as api,
    ):
        with small_disk(tmp_path / "tmp", 4) as grow:
            monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
            answer = await api.get("/api/v1/bulk-upload/template")
            assert (answer.status_code, answer.json()["type"]) == (
                503, "urn:rollbook:problem:no_room",
            )  # fmt: skip
            assert "disk of this server is full" in answer.json()["detail"]
            grow()
            assert (await api.get("/api/v1/bulk-upload/template")).status_code == 200


def _remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True, timeout=30)
