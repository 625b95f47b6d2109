"""The file store: another one, one that isn't mounted, and what a crash leaves in it."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from rollbook.backends.database import connect
from rollbook.backends.files import FileStore, source_key
from rollbook.errors import FileTooLargeError, ServiceUnavailableError, WrongStoreError
from rollbook.service import clocks, store_proof
from rollbook.service.system import open_system
from rollbook.uploads import control, lookup, receive, reconciler, retention
from tests.files import csv_file, members
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, flush, grow_old, sent, working
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from rollbook.backends.database import Pool
    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


def root(system: System) -> Path:
    return Path(urlsplit(system.settings.store_address).path)


def elsewhere(settings: Settings, folder: Path, **changes: Any) -> Settings:
    return settings.model_copy(update={"store_url": folder.as_uri(), **changes})


async def problems(settings: Settings) -> list[str]:
    """What the worker says on the queue page, once it says anything."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with connect(settings.database_address) as connection:
                for row in connection.execute("SELECT problems FROM workers").fetchall():
                    if row["problems"]:
                        found: list[str] = row["problems"]
                        return found
            await asyncio.sleep(0.05)


async def test_a_worker_with_another_store_takes_no_job_and_says_why(
    system: System, make_user: MakeUser, settings: Settings, tmp_path: Path
) -> None:
    user = await make_user()
    upload_id = await sent(system, user, csv_file(3))
    other = tmp_path / "other"
    other.mkdir()
    async with open_system(elsewhere(settings, other)) as wrong, working(wrong):
        [problem] = await problems(settings)
        assert "installations/" in problem
        assert (await lookup.get(system, user, upload_id))["attempt"] == 0
    assert list(other.iterdir()) == []
    async with working(system):
        assert (await ended(system, user, upload_id))["status"] == "completed"


async def test_a_mount_that_went_away_costs_no_upload_and_gets_none(
    system: System,
    make_user: MakeUser,
    normal_after: Callable[..., None],
) -> None:
    user = await make_user()
    upload_id = await sent(system, user, csv_file(3))
    failed = await sent(system, user, b"not a table of members\nat all\n")
    away = root(system).with_name("away")
    async with working(system) as worker:
        assert (await ended(system, user, upload_id))["status"] == "completed"
        assert (await ended(system, user, failed))["status"] == "failed"
        second = await sent(system, user, csv_file(4), priority=10)
        assert (await ended(system, user, second))["status"] == "completed"
        await system.queue.pause()
        third = await sent(system, user, csv_file(5))
        root(system).rename(away)
        root(system).mkdir()  # the folder on which it was mounted
        await system.queue.resume()
        [problem] = await problems(system.settings)
        assert "Is it mounted" in problem

        async def is_handed_back() -> bool:  # it may have been begun just before
            upload = await lookup.get(system, user, third)
            return bool(
                upload["status"] == "pending" and upload["attempt"] == upload["attempts_before"]
            )

        await until(is_handed_back)
        with pytest.raises(WrongStoreError):
            await sent(system, user, csv_file(6))
        await reconciler.run_once(system)
        assert (await lookup.get(system, user, third))["status"] == "pending"
        # Nor is anything said to be gone, or to be removed, that is there when the mount is back.
        report_key = (await lookup.get(system, user, second))["report_key"]
        with pytest.raises(WrongStoreError):
            await system.store.open(report_key)
        with pytest.raises(WrongStoreError):
            await system.store.remove(report_key)
        with pytest.raises(WrongStoreError):
            await control.retry(system, user, failed)
        assert list(root(system).iterdir()) == []
        root(system).rmdir()
        away.rename(root(system))
        began = time.monotonic()
        assert (await ended(system, user, third))["status"] == "completed"
        normal_after(time.monotonic() - began, "the mount is back")
        assert worker.fitness.is_fit()


async def test_a_store_folder_is_not_made_where_a_mount_is_expected(
    settings: Settings, tmp_path: Path, make_user: MakeUser
) -> None:
    missing = tmp_path / "mnt" / "store"
    async with open_system(elsewhere(settings, missing)) as opened:
        with pytest.raises(WrongStoreError, match="mounted"):
            await sent(opened, await make_user(), csv_file(3))
    assert not missing.parent.exists()


async def test_a_store_that_holds_the_files_of_the_record_is_taken_for_ours_without_its_mark(
    system: System, make_user: MakeUser
) -> None:
    await sent(system, await make_user(), csv_file(3))
    shutil.rmtree(root(system) / "installations")
    installation = await store_proof.prove(system)
    assert (root(system) / "installations" / str(installation)).exists()


async def test_a_report_is_on_the_disk_before_its_upload_completes(
    system: System, make_user: MakeUser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        real(descriptor)
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    monkeypatch.setattr(os, "fsync", note)
    await sent(system, await make_user(), csv_file(3))  # its folder is there, as for every report
    store = FileStore.of(system.settings)
    report = tmp_path / "report.xlsx"
    report.write_bytes(b"report")
    synced.clear()
    upload_id = uuid4()
    store.put(f"{upload_id}/report-1.xlsx", report)
    folder = root(system) / str(upload_id)
    assert synced == [str(folder / "report-1.xlsx"), str(folder), str(root(system))]


async def test_a_refused_upload_and_one_that_broke_off_leave_nothing(
    system: System,
) -> None:
    await store_proof.prove(system)
    small = system.settings.model_copy(update={"max_upload_mb": 1})

    async def too_much() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"a,b\n" * 250_000

    async def breaks_off() -> AsyncIterator[bytes]:
        for _ in range(12):
            yield b"a,b\n" * 250_000
        raise ConnectionResetError

    async with open_system(small) as opened:
        with pytest.raises(FileTooLargeError):
            await receive.store_file(opened, "members.csv", too_much())
    with pytest.raises((ConnectionResetError, ServiceUnavailableError)):
        await receive.store_file(system, "members.csv", breaks_off())
    assert [path.name for path in root(system).iterdir()] == ["installations"]


async def test_retention_sees_and_removes_what_a_killed_api_left_in_the_store(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = await store_proof.prove(system)
    upload_id, empty = uuid4(), uuid4()
    left = root(system) / f"{source_key(upload_id, 'csv')}#1"
    left.parent.mkdir()
    left.write_bytes(b"x" * 1000)
    (root(system) / str(empty)).mkdir()
    foreign = root(system) / "other program" / "source.csv#1"
    foreign.parent.mkdir()
    foreign.write_bytes(b"y")
    there = clocks.now
    assert (await retention.run_once(system)) == retention.Purged()  # both are young
    long_ago = (dt.datetime.now(dt.UTC) - dt.timedelta(days=2)).timestamp()
    for path in (left, root(system) / str(empty),
                 root(system) / "installations" / str(installation)):  # fmt: skip
        os.utime(path, (long_ago, long_ago))
    assert (await retention.holdings(system)).orphans == 1

    async def now(pool: Pool) -> dt.datetime:
        return await there(pool)

    monkeypatch.setattr(clocks, "now", now)
    purged = await retention.run_once(system)
    assert purged is not None
    assert (purged.orphans, purged.bytes) == (1, 1000)
    assert {path.name for path in root(system).iterdir()} == {"installations", "other program"}
    assert foreign.exists()


@pytest.mark.parametrize("left", ["its first half", "other bytes"])
async def test_a_source_that_the_store_damaged_is_not_merged_in_part(
    system: System, make_user: MakeUser, settings: Settings, left: str
) -> None:
    """A half of a CSV file is a file of members too."""
    user = await make_user()
    content = csv_file(40)
    brief = settings.model_copy(update={"attempts": 2, "backoff_ms": 10})
    async with open_system(brief) as opened:
        upload_id = await sent(opened, user, content)
        source = root(system) / source_key(upload_id, "csv")
        half = content[: content.index(b"\n", len(content) // 2) + 1]
        source.write_bytes(
            half if left == "its first half" else csv_file(members(40, start=90))[: len(content)]
        )
        async with working(opened):
            upload = await ended(opened, user, upload_id)
            assert (upload["status"], upload["error_code"]) == ("failed", "source_damaged")
            assert f"{len(content)} bytes that were received" in upload["error"]
            with connect(settings.database_address) as connection:
                assert connection.execute("SELECT FROM members").fetchall() == []
            source.write_bytes(content)
            await control.retry(opened, user, upload_id)

            async def is_merged() -> bool:
                return bool((await lookup.get(opened, user, upload_id))["inserted"] == 40)

            await until(is_merged)


async def test_a_round_of_the_reconciler_asks_a_store_that_is_away_once(
    system: System, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question may take half a minute, and uploads would wait for their turn to be queued."""
    user = await make_user()
    for rows in range(3, 6):
        await sent(system, user, csv_file(rows))
    await grow_old(system.settings)
    asked = 0

    async def is_away(*_: Any) -> bool:
        nonlocal asked
        asked += 1
        raise ServiceUnavailableError("away")

    await flush(system.settings)
    monkeypatch.setattr(FileStore, "has", is_away)
    done = await reconciler.run_once(system)
    assert done is not None
    assert (done.added, asked) == (3, 1)


@pytest.mark.parametrize("days", [-3, 3])
async def test_by_a_wrong_clock_of_the_store_no_file_is_of_no_upload(
    system: System, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """A file that is being received would look old, and its record is written last."""
    installation = await store_proof.prove(system)
    mark = root(system) / "installations" / str(installation)
    receiving = root(system) / source_key(uuid4(), "csv")
    receiving.parent.mkdir()
    receiving.write_bytes(b"x")
    long_ago = (dt.datetime.now(dt.UTC) - dt.timedelta(days=9)).timestamp()
    for path in (mark, receiving):
        os.utime(path, (long_ago, long_ago))

    async def now(_: FileStore) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + dt.timedelta(days=days)

    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "now", now)
        assert (await retention.run_once(system)) == retention.Purged()
    purged = await retention.run_once(system)
    assert purged is not None
    assert purged.orphans == 1


async def test_the_stores_clock_is_that_by_which_it_dates_files(system: System) -> None:
    await store_proof.prove(system)
    difference = await system.store.now() - dt.datetime.now(dt.UTC)
    assert abs(difference.total_seconds()) < 60
    assert set(await system.store.installations()) == {await store_proof.prove(system)}


async def test_a_store_that_hangs_uses_up_no_connection_to_postgresql(
    system: System, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a few uploads leave every other request without one."""
    user = await make_user()
    goes_on, asked = asyncio.Event(), 0
    there = FileStore.is_of

    async def hangs(store: FileStore, installation: UUID) -> bool:
        nonlocal asked
        asked += 1
        await asyncio.wait_for(goes_on.wait(), PATIENCE_S)
        return await there(store, installation)

    async def are_asked() -> bool:  # as many as could hold all connections
        return asked >= system.pool.max_size

    monkeypatch.setattr(FileStore, "is_of", hangs)
    sending = [
        asyncio.create_task(sent(system, user, csv_file(rows)))
        for rows in range(3, 5 + system.pool.max_size)
    ]
    await until(are_asked)
    async with asyncio.timeout(PATIENCE_S / 2), system.pool.connection() as connection:
        await connection.execute("SELECT 1")
    goes_on.set()
    assert len(set(await asyncio.gather(*sending))) == len(sending)
