"""Retention with a moved clock: what is gone, what stays, and the stored reports."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import errno
import json
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import pytest
from psycopg import sql
from pydantic import SecretStr
from structlog.testing import capture_logs

from rollbook import clock, config
from rollbook.accounts.users import issue_token
from rollbook.backends.database import connect
from rollbook.backends.files import FileStore, refused_key, report_key, source_key
from rollbook.backends.stored import Disk
from rollbook.cli.purge import purge
from rollbook.errors import (
    ConflictError,
    ServiceUnavailableError,
    SourceGoneError,
    WrongStoreError,
)
from rollbook.folder import intake
from rollbook.folder import retention as folder_retention
from rollbook.folder.watcher import Watcher
from rollbook.model import Role, User
from rollbook.service import clocks
from rollbook.service.system import open_system
from rollbook.telemetry import logs
from rollbook.uploads import control, lookup, retention, undo
from rollbook.uploads.retention import Purged
from tests.databases import own_database
from tests.files import csv_file, id_number, member, members
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, in_members, sent, working
from tests.pipeline_run import finished
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    import httpx

    from rollbook.backends.database import Pool, Row
    from rollbook.backends.stored import Stored
    from rollbook.config import Settings
    from rollbook.engines import Addresses
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]
    Later = Callable[[float], None]

REPORTS = "/api/v1/bulk-upload/reports"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Move our clock, PostgreSQL's and the store's, as far as they are asked, so many days on."""
    true_now, there, stores = clock.now, clocks.now, FileStore.now

    def move(days: float) -> None:
        ahead = dt.timedelta(days=days)

        async def now(pool: Pool) -> dt.datetime:
            return await there(pool) + ahead

        async def store_now(store: FileStore) -> dt.datetime:
            return await stores(store) + ahead

        monkeypatch.setattr(clock, "now", lambda: true_now() + ahead)
        monkeypatch.setattr(clocks, "now", now)
        monkeypatch.setattr(FileStore, "now", store_now)

    return move


async def keys(system: System, upload_id: UUID) -> set[str]:
    """What the store has of an upload."""
    return {
        file.key.partition("/")[2].partition("-")[0].partition(".")[0]
        async for file in system.store.each(upload_id)
    }


async def four_uploads(
    system: System, user: User, *, by: Literal["rows", "pipeline", "worker"] = "rows"
) -> dict[str, UUID]:
    """One that completed with a refused row, one that failed, a dry run, and one that waits.

    By rows, what ended has the files that it would have, and its ends in the record, and no more.
    By the pipeline, it has members and outcomes too; by a worker, the queue has its history.
    """
    bad = [*members(3), member(7, **{"ID Number": "8001015009088"})]
    found = {
        "completed": await sent(system, user, csv_file(bad)),
        "failed": await sent(system, user, b"a,b\n1,2\n" * 20),
        "dry": await sent(system, user, csv_file(members(3, start=50)), dry_run=True),
    }
    async with working(system) if by == "worker" else contextlib.nullcontext():
        for name, upload_id in found.items():
            if by == "rows":
                await end(system, user, upload_id, name)
            else:
                await (ended if by == "worker" else finished)(system, user, upload_id)
    return {**found, "waiting": await sent(system, user, csv_file(members(2, start=90)))}


async def end(system: System, user: User, upload_id: UUID, name: str) -> None:
    """Leave the end of an upload in the record and in the store."""
    written = {
        "completed": {"report_key": report_key, "refused_key": refused_key},
        "failed": {},
        "dry": {"report_key": report_key},
    }[name]
    keys_ = {column: key(upload_id, 1) for column, key in written.items()}
    for key in keys_.values():
        await system.store.receive(key, one_chunk(key.encode()))
    error = "There is no column." if name == "failed" else None
    with connect(system.settings.database_address) as connection:
        connection.execute(
            "UPDATE uploads SET status = %s, attempt = 1, started_at = now(), error = %s,"
            " error_code = %s, finished_at = clock_timestamp(), report_key = %s, refused_key = %s"
            " WHERE id = %s",
            (
                "completed" if error is None else "failed", error, error and "no_id_column",
                keys_.get("report_key"), keys_.get("refused_key"), upload_id,
            ),
        )  # fmt: skip
    await system.queue.remove(upload_id)
    if name == "completed":
        await control.forget_source(system, await lookup.get(system, user, upload_id))


async def one_chunk(content: bytes) -> AsyncIterator[bytes]:
    yield content


@contextlib.contextmanager
def stuck(settings: Settings, key: str) -> Iterator[None]:
    """A stored file that can't be removed: a folder takes its place meanwhile."""
    path = settings.data_dir / "store" / key
    aside = path.rename(path.with_name("aside"))
    path.mkdir()
    yield
    path.rmdir()
    aside.rename(path)


def last_purge(settings: Settings) -> tuple[str | None, str]:
    """How the newest round failed, and what the audit trail says that it removed."""
    with connect(settings.database_address) as connection:
        entry = connection.execute("SELECT * FROM audit_entries ORDER BY id DESC").fetchone()
    assert entry is not None
    assert entry["act"] == "purge"
    return entry["code"], entry["about"]


def problems_of(settings: Settings, upload_id: UUID) -> list[Row]:
    with connect(settings.database_address) as connection:
        return connection.execute(
            "SELECT row_number, outcome, problems FROM upload_rows WHERE upload_id = %s "
            "ORDER BY row_number",
            [upload_id],
        ).fetchall()


async def test_what_is_gone_and_what_stays_at_each_age(
    system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    ids = await four_uploads(system, user, by="worker")
    all_kept = {
        "completed": {"report", "refused"},
        "failed": {"source"},
        "dry": {"source", "report"},
        "waiting": {"source"},
    }

    async def stored() -> dict[str, set[str]]:
        return {name: await keys(system, upload_id) for name, upload_id in ids.items()}

    assert await stored() == all_kept
    members_before = in_members(settings)
    rows_before = problems_of(settings, ids["completed"])
    assert "8001015009088" in str(rows_before)

    # A day before the first term everything is still there, the queue's history too.
    later(29)
    nothing = await retention.run_once(system)
    assert nothing == Purged()
    assert await stored() == all_kept

    # After 30 days the sources of what failed or was tried out go, and the queue's history.
    later(31)
    announced = await retention.run_once(system, dry_run=True)
    assert await stored() == all_kept
    done = await retention.run_once(system)
    assert announced == done
    assert done is not None
    assert (done.sources, done.reports, done.queue_jobs) == (2, 0, 3)
    assert done.bytes > 0
    assert await stored() == {**all_kept, "failed": set(), "dry": {"report"}}
    with pytest.raises(SourceGoneError):
        await control.retry(system, user, ids["failed"])

    # After 90 days the reports, the refused rows and the content of the cells.
    later(89)
    assert await retention.run_once(system) == Purged()
    later(91)
    announced = await retention.run_once(system, dry_run=True)
    done = await retention.run_once(system)
    assert announced == done
    assert done is not None
    assert done.reports == 3
    # The upload that waits is as good as on its first day.
    assert await stored() == {
        "completed": set(), "failed": set(), "dry": set(), "waiting": {"source"},
    }  # fmt: skip
    rows_after = problems_of(settings, ids["completed"])
    assert "8001015009088" not in str(rows_after)
    assert [(r["row_number"], r["outcome"]) for r in rows_after] == [
        (r["row_number"], r["outcome"]) for r in rows_before
    ]
    assert rows_after[3]["problems"][0]["code"] == rows_before[3]["problems"][0]["code"]
    upload = await lookup.get(system, user, ids["completed"])
    assert (upload["status"], upload["inserted"], upload["invalid"]) == ("completed", 3, 1)
    assert (upload["report_key"], upload["refused_key"]) == (None, None)
    assert in_members(settings) == members_before
    assert await retention.run_once(system) == Purged()


async def test_outcomes_of_rows_go_after_a_year_and_every_route_says_so(
    system: System,
    settings: Settings,
    api: httpx.AsyncClient,
    make_user: MakeUser,
) -> None:
    user = await make_user(role=Role.SUPER_ADMIN)
    ids = await four_uploads(system, user, by="pipeline")
    asked = ids["dry"]
    with connect(settings.database_address) as connection:
        # The voter roll is still being asked about the rows of this one.
        connection.execute(
            "UPDATE uploads SET verification = 'pending', roll_pending = 1 WHERE id = %s", [asked]
        )
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    base = "/api/v1/bulk-upload"

    def older(days: int) -> None:
        with connect(settings.database_address) as connection:
            connection.execute(
                "UPDATE uploads SET finished_at = finished_at - make_interval(days => %s)", [days]
            )

    async def answer(of: str) -> dict[str, Any]:
        found = (await api.get(f"{base}/{of}/{ids['completed']}")).json()
        assert isinstance(found, dict)
        return found

    older(364)
    done = await retention.run_once(system)
    assert done is not None
    assert done.rows == 0
    assert (await answer("status"))["data"]["rows_removed_at"] is None
    assert (await answer("rows"))["data"]["total"] == 4
    assert "are still available" in (await answer("report"))["detail"]
    assert "outcome of each row" in (await answer("report"))["detail"]
    members_before = in_members(settings)

    older(2)
    announced = await retention.run_once(system, dry_run=True)
    done = await retention.run_once(system)
    assert announced == done
    assert done is not None
    assert done.rows == 4
    assert problems_of(settings, ids["completed"]) == []
    assert len(problems_of(settings, asked)) == 3
    status = (await answer("status"))["data"]
    assert status["rows_removed_at"] is not None
    assert (status["outcomes"]["inserted"], status["outcomes"]["invalid"]) == (3, 1)
    for of in ("rows", "problems"):
        assert "are kept for 365 days" in (await answer(of))["message"], of
    assert (await answer("rows"))["data"]["total"] == 0
    assert "is kept for 90 days" in (await answer("changes"))["message"]
    assert "outcome of each row" not in (await answer("report"))["detail"]
    assert in_members(settings) == members_before
    assert await retention.run_once(system) == Purged()


async def test_rows_are_removed_in_batches_and_those_of_a_retried_upload_stay(
    system: System,
    settings: Settings,
    make_user: MakeUser,
    later: Later,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = await make_user()
    ids = [
        await sent(system, user, csv_file(members(3, start=10 * n)), dry_run=True) for n in range(4)
    ]
    for upload_id in ids:
        await finished(system, user, upload_id)
    retried = ids[0]
    with connect(settings.database_address) as connection:
        # Its rows were removed once; it ended again since, and has new ones.
        connection.execute(
            "UPDATE uploads SET rows_removed_at = finished_at - interval '1 day' WHERE id = %s",
            [retried],
        )
    assert lookup.rows_removed_at(await lookup.get(system, user, retried)) is None
    monkeypatch.setattr(retention, "ROWS_BATCH", 4)  # two uploads of three rows
    parameters = {"uploads": 10, "rows": retention.ROWS_BATCH}
    now = await clocks.now(system.pool) + dt.timedelta(days=400)
    first = await retention._all(
        system, "mark_without_rows", {**parameters, "before": now, "now": now}
    )
    assert {row["id"] for row in first} == set(ids[:2])
    with connect(settings.database_address) as connection:
        connection.execute("UPDATE uploads SET rows_removed_at = NULL")
    later(400)
    done = await retention.run_once(system)
    assert done is not None
    assert done.rows == 12
    for upload_id in ids:
        assert problems_of(settings, upload_id) == []


async def test_an_upload_retried_after_its_retention_is_purged_again_at_its_new_end(
    system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    longer = settings.model_copy(update={"source_retention_days": 400})
    user = await make_user()
    upload_id = (await four_uploads(system, user))["failed"]
    async with open_system(longer) as opened:
        later(100)
        await retention.run_once(opened)
        await control.retry(opened, user, upload_id)
    with connect(settings.database_address) as connection:
        [row] = connection.execute(
            "SELECT purged_at FROM uploads WHERE id = %s", [upload_id]
        ).fetchall()
    assert row["purged_at"] is None


async def test_a_retry_while_retention_removes_the_file_is_refused_and_not_failed_later(
    system: System, make_user: MakeUser, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()
    upload_id = (await four_uploads(system, user))["failed"]
    later(100)
    there = FileStore.has

    async def has(store: FileStore, key: str) -> bool:
        found = await there(store, key)
        with monkeypatch.context() as patch:
            patch.setattr(FileStore, "has", there)
            await retention.run_once(system)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "has", has)
        with pytest.raises(SourceGoneError):
            await control.retry(system, user, upload_id)
    assert (await lookup.get(system, user, upload_id))["status"] == "failed"


async def test_answers_of_the_voter_roll_go_after_thirty_days_unless_they_are_counted_on(
    system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    ids = await four_uploads(system, user)
    with connect(settings.database_address) as connection:
        for n, age in ((0, 29), (1, 31), (2, 31)):
            connection.execute(
                "INSERT INTO voter_roll_answers (id_number, status, voting_district, asked_at) "
                "VALUES (%s, 'not_registered', '99999999', now() - make_interval(days => %s))",
                [id_number(n), age],
            )
        for name, number in (("completed", 1), ("waiting", 2)):
            connection.execute(
                "INSERT INTO verifications (upload_id, row_number, id_number, result) "
                "VALUES (%s, 2, %s, 'not_registered')",
                [ids[name], id_number(number)],
            )
    announced = await retention.run_once(system, dry_run=True)
    done = await retention.run_once(system)
    assert done == announced
    assert done is not None
    assert done.voter_roll_answers == 1
    assert _column(settings, "id_number", "voter_roll_answers") == [id_number(0), id_number(2)]
    assert len(_column(settings, "upload_id", "verifications")) == 2
    later(91)
    await retention.run_once(system)
    assert _column(settings, "upload_id", "verifications") == [ids["waiting"]]


async def test_what_the_voter_roll_is_still_asked_about_keeps_its_report(
    system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    upload_id = (await four_uploads(system, await make_user()))["completed"]
    with connect(settings.database_address) as connection:
        connection.execute(
            "UPDATE uploads SET verification = 'pending', roll_pending = 1 WHERE id = %s",
            [upload_id],
        )
    later(91)
    await retention.run_once(system)
    assert await keys(system, upload_id) == {"report", "refused"}


async def test_orphans_are_found_from_the_store_itself_and_nothing_else_is_touched(
    system: System, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    ids = await four_uploads(system, user)

    orphan = source_key(uuid4(), "csv")
    beaten = f"{ids['completed']}/report-9.xlsx"
    waiting = f"{ids['waiting']}/report-9.xlsx"
    foreign = ("somebody.txt", f"{uuid4()}/notes.txt", "not-an-upload/source.csv")
    for key in (orphan, beaten, waiting, *foreign):
        await system.store.receive(key, one_chunk(b"left behind"))
    # Young ones may be files that are being received, whose record comes afterwards.
    assert (await retention.holdings(system)).orphans == 0
    assert await retention.run_once(system) == Purged()
    later(1.1)
    held = await retention.holdings(system)
    assert (held.orphans, held.orphan_bytes) == (2, 22)
    done = await retention.run_once(system)
    assert done is not None
    assert (done.orphans, done.bytes, done.sources, done.reports) == (2, 22, 0, 0)
    assert not await system.store.has(orphan)
    assert not await system.store.has(beaten)
    for key in (waiting, *foreign):
        assert await system.store.has(key)
    assert await keys(system, ids["completed"]) == {"report", "refused"}


async def test_a_source_that_can_not_be_removed_ends_no_round_and_goes_with_the_next(
    system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    ids = await four_uploads(system, user)
    upload_id = ids["dry"]
    later(31)
    with stuck(settings, f"{upload_id}/source.csv"), capture_logs() as logged:
        done = await retention.run_once(system)
    assert done is not None
    assert (done.sources, done.not_removed) == (1, 1)
    [named] = [entry for entry in logged if entry["event"] == "file not removed"]
    assert named["key"] == f"{upload_id}/source.csv"
    assert {"event": "files not removed", "files": 1, "log_level": "warning"} in logged
    assert await keys(system, ids["failed"]) == set()
    assert await keys(system, upload_id) == {"source", "report"}
    code, about = last_purge(settings)
    assert (code, "1 sources, 160 bytes" in about, "1 not removed" in about) == (None, True, True)
    done = await retention.run_once(system)
    assert done is not None
    assert (done.orphans, done.not_removed) == (1, 0)
    assert await keys(system, upload_id) == {"report"}


async def test_a_store_that_is_away_among_the_reports_ends_the_round_and_counts_what_went(
    system: System,
    settings: Settings,
    make_user: MakeUser,
    later: Later,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upload_id = (await four_uploads(system, await make_user()))["completed"]
    sizes = {file.key: file.bytes async for file in system.store.each()}
    [refused] = [key for key in sizes if key.startswith(f"{upload_id}/refused")]
    later(91)

    async def away(_: FileStore) -> None:
        raise ServiceUnavailableError("away")

    with monkeypatch.context() as patch, stuck(settings, refused):
        patch.setattr(FileStore, "check", away)
        with pytest.raises(ServiceUnavailableError):
            await retention.run_once(system)
    gone = sum(sizes.values()) - sum([file.bytes async for file in system.store.each()])
    assert last_purge(settings) == (
        "service_unavailable", f"2 sources, 3 reports, {gone} bytes, 1 not removed",
    )  # fmt: skip
    assert await keys(system, upload_id) == {"refused"}
    done = await retention.run_once(system)
    assert done is not None
    assert (done.orphans, done.bytes, done.reports) == (1, sizes[refused], 0)


async def test_a_store_that_is_not_mounted_is_found_before_the_record_forgets_anything(
    system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    ids = await four_uploads(system, user)
    store = settings.data_dir / "store"
    store.rename(store.with_name("mounted elsewhere"))
    store.mkdir()
    later(91)
    elsewhere = settings.model_copy(update={"store_url": store.as_uri()})
    async with open_system(elsewhere) as opened:
        with pytest.raises(WrongStoreError):
            await retention.run_once(opened)
    uploads = [await lookup.get(system, user, upload_id) for upload_id in ids.values()]
    assert [upload["source_key"] is not None for upload in uploads] == [False, True, True, True]
    assert [upload["report_key"] is not None for upload in uploads] == [True, False, True, False]


async def test_an_orphan_that_can_not_be_removed_keeps_no_other_step_from_its_work(
    system: System, make_user: MakeUser, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round would end there, and what the database holds would stay for ever."""
    await four_uploads(system, await make_user(), by="worker")

    orphans = [source_key(uuid4(), "csv") for _ in range(3)]
    for key in orphans:
        await system.store.receive(key, one_chunk(b"left behind"))
    unlink = Disk.unlink

    def refused(disk: Disk, key: str) -> int:
        if key == orphans[1]:
            raise PermissionError(errno.EACCES, "Permission denied")
        return unlink(disk, key)

    monkeypatch.setattr(Disk, "unlink", refused)
    later(91)
    done = await retention.run_when_due(system)
    assert done is not None
    assert (done.orphans, done.not_removed) == (2, 1)
    assert min(done.queue_jobs, done.claims, done.rows + done.reports) > 0
    assert [await system.store.has(key) for key in orphans] == [False, True, False]
    assert await retention.run_when_due(system) is None  # the round is noted


async def test_an_upload_that_is_retried_meanwhile_keeps_its_files_and_is_not_counted(
    system: System, make_user: MakeUser, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await make_user()
    upload_id = (await four_uploads(system, user))["failed"]
    later(91)
    batches = retention._batches

    async def retried(*args: Any) -> AsyncIterator[list[Row]]:
        async for found in batches(*args):
            if (await lookup.get(system, user, upload_id))["status"] == "failed":
                await control.retry(system, user, upload_id)
            yield found

    monkeypatch.setattr(retention, "_batches", retried)
    done = await retention.run_once(system)
    assert done is not None
    assert (done.sources, done.reports) == (1, 2)
    assert await keys(system, upload_id) == {"source"}


async def test_files_of_another_installation_in_the_same_store_are_kept(
    system: System,
    settings: Settings,
    engines: Addresses,
    template: str,
    make_user: MakeUser,
    later: Later,
) -> None:
    ids = await four_uploads(system, await make_user())
    before = {name: await keys(system, upload_id) for name, upload_id in ids.items()}
    with own_database(engines, template, "another_installation") as address:
        with connect(address) as connection:
            # Copies of the template share an id; a migrated database has one of its own.
            connection.execute("UPDATE users SET id = gen_random_uuid() WHERE is_system")
        another = settings.model_copy(update={"database_url": SecretStr(address)})
        async with open_system(another) as opened:
            # Ours has not looked at its store since this Rollbook came: the other waits a day.
            await retention.run_when_due(opened)
            await retention.run_when_due(system)
            later(1.1)
            for _ in range(2):
                done = await retention.run_once(opened)
                assert done is not None
                assert done.orphans == 0
    assert {name: await keys(system, upload_id) for name, upload_id in ids.items()} == before


async def test_one_process_at_a_time_carries_it_out_and_once_a_day(
    system: System, later: Later
) -> None:
    async with system.pool.connection() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(%s::bigint)", [retention.LOCK])
        assert await retention.run_once(system) is None
    assert await retention.run_when_due(system) == Purged()
    assert await retention.run_when_due(system) is None
    later(0.9)
    assert await retention.run_when_due(system) is None
    later(1.1)
    assert await retention.run_when_due(system) == Purged()


async def test_a_round_by_a_clock_that_was_ahead_is_not_the_last_for_years(
    system: System, later: Later
) -> None:
    later(400)
    assert await retention.run_when_due(system) is not None
    later(0)
    assert await retention.run_when_due(system) is not None


async def test_a_worker_carries_it_out_by_itself(
    system: System, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    upload_id = (await four_uploads(system, user))["failed"]
    later(31)

    async def is_gone() -> bool:
        return await keys(system, upload_id) == set()

    async with working(system):
        await until(is_gone)


async def test_files_moved_on_in_the_watched_folder_go_after_their_time(
    settings: Settings, tmp_path: Path, later: Later
) -> None:
    folder = tmp_path / "watched"
    (folder / "processed").mkdir(parents=True)
    (folder / "processed" / "put here by hand.csv").write_bytes(b"mine")
    (folder / "good.csv").write_bytes(csv_file(members(30)))
    (folder / "bad.xlsx").write_bytes(b"x")
    watched = settings.model_copy(update={"watch_dir": folder, "watch_still_s": 0})
    async with open_system(watched) as opened:
        watcher = Watcher(opened)

        async def both() -> bool:
            await watcher.run_once()
            return (watcher.taken, watcher.refused) == (1, 1)

        await until(both)
        later(29)
        assert await folder_retention.purge(opened) == 0
        later(31)
        assert await folder_retention.purge(opened, dry_run=True) == 2
        assert len(_files_below(folder)) == 4
        assert await folder_retention.purge(opened) == 2
    assert _files_below(folder) == ["put here by hand.csv"]


@pytest.mark.parametrize("content", [b"x", csv_file(members(30))])
async def test_a_file_that_was_claimed_long_ago_stays_for_its_time_after_it_was_moved_on(
    settings: Settings, folder: Path, content: bytes, later: Later
) -> None:
    (folder / "members.csv").write_bytes(content)
    watched = settings.model_copy(update={"watch_dir": folder, "watch_still_s": 0})
    async with open_system(watched) as opened:
        watch = intake.folder_of(watched)
        [file] = watch.look().files
        long_ago = clock.now() - dt.timedelta(days=31)
        assert watch.claim(file, uuid4(), priority=5, at=long_ago) is not None
        watcher = Watcher(opened)

        async def moved_on() -> bool:
            await watcher.run_once()
            return watcher.taken + watcher.refused == 1

        await until(moved_on)
        assert _count(folder) == 1
        assert await folder_retention.purge(opened) == 0
        assert list((folder / ".taking").iterdir()) == []
        later(31)
        assert await folder_retention.purge(opened) == 1


def _count(folder: Path) -> int:
    return sum(name.endswith("members.csv") for name in _files_below(folder))


def _files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def _column(settings: Settings, column: str, table: str) -> list[Any]:
    with connect(settings.database_address) as connection:
        query = sql.SQL("SELECT {} FROM {} ORDER BY id_number").format(
            sql.Identifier(column), sql.Identifier(table)
        )
        return [row[column] for row in connection.execute(query).fetchall()]


def _counted(settings: Settings) -> dict[str, int]:
    """How many rows undoing and notifying leave in the record."""
    with connect(settings.database_address) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM member_changes) AS before_values,"
            " (SELECT count(*) FROM undo_kept) AS kept_members,"
            " (SELECT count(*) FROM notifications) AS notifications,"
            " (SELECT count(*) FROM audit_entries) AS audit_entries"
        ).fetchone()
    assert found is not None
    return found


async def test_what_undoing_needs_goes_when_it_is_too_late_for_it_and_its_lists_with_the_reports(
    system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    rows = {"first": members(4), "second": [member(n, Surname="Second") for n in range(4)]}
    ids = {}
    for name, content in rows.items():
        ids[name] = await sent(system, user, csv_file(content))
        await finished(system, user, ids[name])
    assert (await undo.undo(system, user, ids["first"], dry_run=False)).counts.kept == 4
    assert (_counted(settings)["before_values"], _counted(settings)["kept_members"]) == (4, 4)
    later(29)
    assert await retention.run_once(system) == Purged()
    later(31)
    announced = await retention.run_once(system, dry_run=True)
    done = await retention.run_once(system)
    assert done == announced
    assert done is not None
    assert (done.before_values, done.kept_members) == (4, 0)
    # Whatever the setting says later: without the former values nothing is undone by half.
    longer = settings.model_copy(update={"undo_days": 400})
    async with open_system(longer) as other:
        with pytest.raises(ConflictError, match="are gone"):
            await undo.undo(other, user, ids["second"], dry_run=False)
        # What an edit by hand leaves under it afterwards goes with the next round.
        with connect(settings.database_address) as connection:
            connection.execute("UPDATE members SET surname = 'By hand'")
        done = await retention.run_once(other)
    assert done is not None
    assert done.before_values == 4
    later(91)
    done = await retention.run_once(system)
    assert done is not None
    assert (done.before_values, done.kept_members) == (0, 4)
    assert {row["surname"] for row in in_members(settings)} == {"By hand"}


async def test_notifications_that_nobody_is_set_up_to_tell_go_too(
    system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    upload_id = await sent(system, await make_user(), csv_file(members(2)))
    with connect(settings.database_address) as connection:
        connection.execute(
            "INSERT INTO notifications (upload_id, attempt, kind, channel) "
            "VALUES (%s, 1, 'completed', 'email')",
            [upload_id],
        )
    later(29)
    assert await retention.run_once(system) == Purged()
    later(31)
    assert await retention.run_once(system, dry_run=True) == Purged(notifications=1)
    assert await retention.run_once(system) == Purged(notifications=1)
    assert _counted(settings)["notifications"] == 0


async def test_audit_entries_go_by_their_own_time_and_each_round_leaves_one(
    system: System, settings: Settings
) -> None:
    with connect(settings.database_address) as connection:
        connection.execute(
            "INSERT INTO audit_entries (at, kept_until, act, outcome) VALUES"
            " (now() - interval '731 days', now() - interval '1 day', 'clean', 'done'),"
            " (now() - interval '729 days', now() + interval '1 day', 'clean', 'done')"
        )
    assert await retention.run_once(system, dry_run=True) == Purged(audit_entries=1)
    assert _counted(settings)["audit_entries"] == 2
    assert await retention.run_once(system) == Purged(audit_entries=1)
    assert await retention.run_once(system) == Purged()
    with connect(settings.database_address) as connection:
        found = connection.execute("SELECT * FROM audit_entries ORDER BY id").fetchall()
    assert [(entry["act"], entry["about"]) for entry in found] == [
        ("clean", None),
        ("purge", "1 audit entries"),
        ("purge", "nothing"),
    ]


# --- the stored reports over HTTP -----------------------------------------------------------------


async def test_stored_reports_are_listed_counted_downloaded_and_deleted(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    ids = await four_uploads(system, user, by="pipeline")
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    listed = (await api.get(REPORTS)).json()["data"]
    assert [item["job_id"] for item in listed["items"]] == [
        str(ids["dry"]), str(ids["completed"]),
    ]  # fmt: skip
    assert listed["total"] == 2
    with_refused = listed["items"][1]
    assert with_refused["report_bytes"] > 0
    assert with_refused["refused_bytes"] > 0
    assert listed["items"][0]["refused_bytes"] == 0
    behind = (await api.get(REPORTS, params={"page": 9})).json()["data"]
    assert (behind["items"], behind["total"]) == ([], 2)
    stats = (await api.get(f"{REPORTS}/stats")).json()["data"]
    assert stats["reports"] == 3
    assert stats["bytes"] == sum(
        item["report_bytes"] + item["refused_bytes"] for item in listed["items"]
    )
    assert stats["orphans"] == 0
    one = f"{REPORTS}/{ids['completed']}"
    assert len((await api.get(one)).content) == with_refused["report_bytes"]
    before = in_members(settings)
    deleted = await api.delete(one)
    assert deleted.json()["data"]["bytes"] == (
        with_refused["report_bytes"] + with_refused["refused_bytes"]
    )
    gone = await api.get(one)
    assert [gone.status_code, (await api.delete(one)).status_code] == [404, 404]
    assert "by an operator" in gone.json()["message"]
    assert await keys(system, ids["completed"]) == set()
    assert in_members(settings) == before
    unknown = await api.delete(f"{REPORTS}/{uuid4()}")
    assert unknown.status_code == 404
    with connect(settings.database_address) as connection:
        found = connection.execute(
            "SELECT * FROM audit_entries WHERE act IN ('delete', 'download_report') ORDER BY id"
        ).fetchall()
    assert [(entry["act"], entry["code"]) for entry in found] == [
        ("download_report", None),
        ("delete", None),
        ("download_report", "not_found"),
        ("delete", "not_found"),  # the second within a minute is counted with it
    ]
    assert {entry["user_id"] for entry in found} == {user.id}


async def test_the_store_is_asked_about_the_reports_of_a_page_side_by_side(
    api: httpx.AsyncClient,
    system: System,
    settings: Settings,
    make_user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One after the other, a page of 100 reports in a bucket would take seconds."""
    user = await make_user()
    await four_uploads(system, user)
    both = asyncio.Barrier(2)
    each = FileStore.each

    async def slow(store: FileStore, folder: UUID | None = None) -> AsyncIterator[Stored]:
        await both.wait()  # no bound: the request has one
        async for stored in each(store, folder):
            yield stored

    monkeypatch.setattr(FileStore, "each", slow)
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    async with asyncio.timeout(PATIENCE_S):
        answer = await api.get(REPORTS)
    assert len(answer.json()["data"]["items"]) == 2


async def test_a_report_that_is_still_to_be_written_again_is_not_deleted(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    upload_id = (await four_uploads(system, user))["completed"]
    with connect(settings.database_address) as connection:
        connection.execute(
            "UPDATE uploads SET verification = 'pending', roll_pending = 1 WHERE id = %s",
            [upload_id],
        )
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    assert (await api.delete(f"{REPORTS}/{upload_id}")).status_code == 409
    assert await keys(system, upload_id) == {"report", "refused"}


async def test_a_clean_up_keeps_what_is_younger_than_it_says_and_at_least_a_week(
    api: httpx.AsyncClient,
    system: System,
    settings: Settings,
    make_user: MakeUser,
    later: Later,
) -> None:
    user = await make_user()
    ids = await four_uploads(system, user)
    later(11)
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    refused = await api.post(f"{REPORTS}/cleanup", json={"older_than_days": 6})
    assert refused.status_code == 422
    by_default = await api.post(f"{REPORTS}/cleanup")
    assert by_default.json()["data"] == {"reports": 0, "orphans": 0, "bytes": 0}
    kept = await api.post(f"{REPORTS}/cleanup", json={"older_than_days": 12})
    assert kept.json()["data"]["reports"] == 0
    announced = await api.post(f"{REPORTS}/cleanup", json={"older_than_days": 10, "dry_run": True})
    assert await keys(system, ids["completed"]) == {"report", "refused"}
    done = await api.post(f"{REPORTS}/cleanup", json={"older_than_days": 10})
    assert done.json()["data"] == announced.json()["data"]
    assert await keys(system, ids["completed"]) == set()
    assert await keys(system, ids["failed"]) == {"source"}
    with connect(settings.database_address) as connection:
        found = connection.execute(
            "SELECT * FROM audit_entries WHERE act = 'purge' AND user_id IS NOT NULL ORDER BY id"
        ).fetchall()
    assert [(entry["outcome"], (entry["about"] or "").partition(",")[0]) for entry in found] == [
        ("done", "nothing"),
        ("done", "nothing"),
        ("done", "3 reports"),
    ]


async def test_stored_reports_are_for_operators_alone(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser
) -> None:
    office = await make_user(Role.PROVINCE_ADMIN, "GP")
    api.headers["Authorization"] = f"Bearer {issue_token(settings, office)}"
    answers = [
        await api.get(REPORTS),
        await api.get(f"{REPORTS}/stats"),
        await api.get(f"{REPORTS}/{uuid4()}"),
        await api.delete(f"{REPORTS}/{uuid4()}"),
        await api.post(f"{REPORTS}/cleanup"),
    ]
    assert [answer.status_code for answer in answers] == [403] * 5


def test_the_command_says_what_it_would_remove_and_leaves_it(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "load", lambda **_: settings)
    settings.data_dir.mkdir(exist_ok=True)  # the command makes no installation
    # The tests that follow in this process would log into what only this one has open.
    monkeypatch.setattr(logs, "configure", lambda *_, **__: None)
    purge(dry_run=True, as_json=True)
    # The log, which isn't configured here, writes to the same stream.
    _, brace, printed = capsys.readouterr().out.partition("{")
    said = json.loads(brace + printed)
    assert said["dry_run"] is True
    assert said["reports"] == 0
    purge(dry_run=True)
    printed = capsys.readouterr().out
    assert "Would be removed" in printed
    assert len([line for line in printed.splitlines() if line.endswith(" 0 │")]) == len(said) - 1
    with connect(settings.database_address) as connection:
        assert connection.execute("SELECT * FROM purges").fetchall() == []


async def test_corrections_stay_as_long_as_the_member_or_as_somebody_can_be_brought_back(
    system: System, settings: Settings, make_user: MakeUser, later: Later
) -> None:
    user = await make_user()
    first = await sent(system, user, csv_file(members(3)))
    await finished(system, user, first)
    with connect(settings.database_address) as connection:
        for number in range(4):  # the last is of nobody
            connection.execute(
                "INSERT INTO member_corrections (id_number, at, reason, changes)"
                " VALUES (%s, now(), 'moved', '{}')",
                (id_number(number),),
            )
    left = csv_file([member(1)])
    removal = await sent(system, user, left, kind="removal", reason="they left")
    await finished(system, user, removal)
    with connect(settings.database_address) as connection:
        connection.execute("DELETE FROM members WHERE id_number = %s", (id_number(2),))
        connection.execute("DELETE FROM member_changes WHERE id_number = %s", (id_number(2),))
    later(91)
    # The list of removals can still be undone.
    with connect(settings.database_address) as connection:
        connection.execute(
            "UPDATE uploads SET finished_at = finished_at + interval '80 days' WHERE id = %s",
            (removal,),
        )
    announced = await retention.run_once(system, dry_run=True)
    done = await retention.run_once(system)
    assert announced is not None
    assert done is not None
    assert announced.corrections == done.corrections == 2
    assert _column(settings, "id_number", "member_corrections") == [id_number(0), id_number(1)]
    later(140)
    done = await retention.run_once(system)
    assert done is not None
    assert done.corrections == 1
    assert _column(settings, "id_number", "member_corrections") == [id_number(0)]
