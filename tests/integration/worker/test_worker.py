"""Jobs from the queue through a worker and its child process into the record."""

from __future__ import annotations

import asyncio
import contextlib
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fastexcel
import psutil
import pytest
from pydantic import SecretStr

from rollbook.backends.database import Paging, connect
from rollbook.errors import ConflictError
from rollbook.members import erase, export
from rollbook.model import OUTCOMES, Role, User
from rollbook.uploads import control, lookup, receive, reconciler
from rollbook.uploads.options import Options
from rollbook.voter_roll import worker as voter_roll
from rollbook.worker.process import UploadWorker
from tests.files import csv_file, id_number, member, members, workbook
from tests.integration.folder.watching import until
from tests.waiting import PATIENCE_S, job_event, job_under_way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from uuid import UUID

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

SHEETS = [
    "Summary", "All Uploaded Rows", "Invalid IDs", "Duplicates", "Not Registered Voters",
    "New Members", "Existing Members (Updated)",
]  # fmt: skip


def child_pids(worker: UploadWorker) -> list[int]:
    """The process ids of a worker's children."""
    return [child.pid for child in (*worker.slots._idle, *worker.slots._busy)]


@contextlib.asynccontextmanager
async def working(system: System) -> AsyncIterator[UploadWorker]:
    """A worker that runs for as long as the context lasts."""
    stop = asyncio.Event()
    worker = UploadWorker(system)
    task = asyncio.create_task(worker.run(stop))
    try:
        yield worker
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await task


@contextlib.contextmanager
def merges_held(settings: Settings) -> Iterator[None]:
    """No merge gets its locks within the context, so that an attempt goes on however small it is.

    A large file instead would need many seconds of a processor, and be through too soon some day.
    """
    with connect(settings.database_address) as connection:
        connection.execute("LOCK TABLE members IN EXCLUSIVE MODE")
        yield


async def sent(
    system: System, user: User, content: bytes, name: str = "members.csv", **options: Any
) -> UUID:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    stored = await receive.store_file(system, name, chunks())
    upload_id: UUID = (await receive.record(system, user, stored, Options(**options)))["id"]
    return upload_id


async def ended(system: System, user: User, upload_id: UUID) -> Row:
    await job_event(system.settings, upload_id, "completed", "failed")
    return await lookup.get(system, user, upload_id)


def in_members(settings: Settings) -> list[Row]:
    with connect(settings.database_address) as connection:
        return connection.execute("SELECT * FROM members ORDER BY id_number").fetchall()


@pytest.mark.cold_child
async def test_each_row_gets_its_outcome_and_the_good_ones_become_members(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    rows = [
        *members(3),
        member(0, **{"Cell Number": "0829999999"}),
        member(7, **{"ID Number": "8001015009088"}),
        member(8, Surname=""),
    ]
    async with working(system):
        upload_id = await sent(system, user, workbook(rows), "members.xlsx")
        upload = await ended(system, user, upload_id)
    assert upload["status"] == "completed", upload["error"]
    assert {name: upload[name] for name in OUTCOMES} == {
        "inserted": 3, "updated": 0, "unchanged": 0, "invalid": 2, "duplicate": 1,
        "out_of_scope": 0,
    }  # fmt: skip
    assert upload["rows_total"] == 6
    assert upload["progress"] == 100
    assert set(upload["stage_seconds"]) == {
        "read", "normalise", "validate", "match", "verify", "merge", "report",
    }  # fmt: skip
    found = in_members(settings)
    assert [row["id_number"] for row in found] == [id_number(n) for n in range(3)]
    assert found[1]["firstname"] == "First1"
    assert found[1]["cell_number"] == "+27820000001"
    assert found[1]["province"] == "GP"
    assert found[1]["gender"] == "female"
    assert str(found[1]["date_of_birth"]) == "1980-01-01"
    assert {row["created_by_upload"] for row in found} == {upload_id}
    listed = await lookup.rows(system, upload, outcome=None, paging=Paging(1, 100))
    outcomes = listed.rows
    assert listed.total == 6
    assert [(row["row_number"], row["outcome"], row["duplicate_of"]) for row in outcomes] == [
        (2, "inserted", None), (3, "inserted", None), (4, "inserted", None),
        (5, "duplicate", 2), (6, "invalid", None), (7, "invalid", None),
    ]  # fmt: skip
    assert [p["code"] for p in outcomes[4]["problems"]] == ["id_check_digit"]
    assert [p["code"] for p in outcomes[5]["problems"]] == ["surname_missing"]


async def test_the_report_has_its_sheets_and_the_refused_rows_their_own_file(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    content = csv_file([*members(2), member(1), member(5, **{"ID Number": "123"})])
    async with working(system):
        upload = await ended(system, user, await sent(system, user, content))
    report = fastexcel.read_excel(await downloaded(system, upload["report_key"]))
    assert report.sheet_names == [*SHEETS, "Changes"]
    rows = report.load_sheet("All Uploaded Rows", dtypes="string").to_polars()
    assert rows.height == 4
    assert rows["ID Number"][0] == id_number(0)
    assert rows["Row"].to_list() == ["2", "3", "4", "5"]
    assert rows["Outcome"].to_list() == [
        "New member", "New member", "Refused: repeats another row", "Refused: invalid",
    ]  # fmt: skip
    assert "Repeats row 3" in rows["Problems"][2]
    heights = {name: report.load_sheet(name).height for name in SHEETS[1:]}
    assert list(heights.values()) == [4, 1, 1, 0, 2, 0]
    refused = fastexcel.read_excel(await downloaded(system, upload["refused_key"]))
    again = refused.load_sheet(0, dtypes="string").to_polars()
    assert again.columns[:3] == ["ID Number", "Firstname", "Surname"]
    assert again.columns[-1] == "Errors"
    assert again["ID Number"].to_list() == [id_number(1), "123"]


async def test_the_same_file_again_changes_nothing_and_an_empty_cell_erases_nothing(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    async with working(system):
        await ended(system, user, await sent(system, user, csv_file(members(3))))
        before = in_members(settings)
        again = await ended(
            system, user, await sent(system, user, csv_file(members(3)), allow_duplicate=True)
        )
        assert again["unchanged"] == 3
        assert in_members(settings) == before
        changes = [member(0, **{"Cell Number": ""}), member(1, Ward="79800002")]
        third = await ended(system, user, await sent(system, user, csv_file(changes)))
    assert (third["unchanged"], third["updated"]) == (1, 1)
    after = in_members(settings)
    assert after[0] == before[0]
    assert after[1]["ward"] == "79800002"
    assert after[1]["changed_by_upload"] == third["id"]
    assert after[1]["created_by_upload"] == before[1]["created_by_upload"]


async def test_a_dry_run_reports_what_would_happen_and_changes_no_member(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    async with working(system):
        upload = await ended(
            system, user, await sent(system, user, csv_file(members(3)), dry_run=True)
        )
    assert upload["status"] == "completed"
    assert upload["inserted"] == 3
    assert upload["report_key"] is not None
    assert in_members(settings) == []
    assert await system.store.has(upload["source_key"])


async def test_an_office_brings_in_its_own_members_only(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    national = await make_user()
    gauteng = await make_user(Role.PROVINCE_ADMIN, "GP")
    limpopos = member(1, Province="Limpopo", Municipality="Polokwane")
    rows = [
        member(0, Province=""),
        limpopos,
        member(1, Province="Gauteng"),
        member(2, Province="Limpopo"),
    ]
    async with working(system):
        await ended(system, national, await sent(system, national, csv_file([limpopos])))
        upload = await ended(system, gauteng, await sent(system, gauteng, csv_file(rows[:1])))
        assert upload["inserted"] == 1
        taken = await ended(system, gauteng, await sent(system, gauteng, csv_file(rows[2:])))
    assert taken["out_of_scope"] == 2
    places = [(row["id_number"], row["province"]) for row in in_members(settings)]
    assert places == [(id_number(0), "GP"), (id_number(1), "LP")]


#: What is sent under which name, the code of the failure, and words of its sentence.
UNPROCESSABLE = [
    (b"PK\x03\x04 this is not a workbook", "members.xlsx", "unreadable_file", "can't be read"),
    (csv_file([{"Name": "A"}], headers=("Name", "Town")), "a.csv", "no_id_column", "ID"),
    (csv_file(0), "members.csv", "no_rows", "no rows"),
    (workbook(0), "members.xlsx", "no_rows", "no rows"),
    (csv_file(1, headers=("ID Number", "Firstname")), "a.csv", "missing_columns", "Surname"),
]


async def test_a_file_that_cannot_be_processed_fails_once_with_a_sentence_and_writes_nothing(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    async with working(system):
        for content, name, code, words in UNPROCESSABLE:
            upload = await ended(system, user, await sent(system, user, content, name))
            assert (upload["status"], upload["error_code"]) == ("failed", code)
            assert words.lower() in upload["error"].lower()
            assert upload["attempt"] == 1
            assert await system.store.has(upload["source_key"])
    assert in_members(settings) == []


async def test_the_source_is_removed_when_the_upload_completed(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    async with working(system):
        upload_id = await sent(system, user, csv_file(1))
        key = (await lookup.get(system, user, upload_id))["source_key"]
        upload = await ended(system, user, upload_id)
    assert upload["source_key"] is None
    assert not await system.store.has(key)


async def test_a_job_that_comes_again_after_its_end_gives_the_same_answer_and_merges_nothing(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    async with working(system):
        upload_id = await sent(system, user, csv_file(2))
        first = await ended(system, user, upload_id)
        await system.queue.remove(upload_id)
        members_then = in_members(settings)
        await forget_events(settings)
        await system.queue.add(upload_id, priority=1)
        again = await ended(system, user, upload_id)
    # The worker's index of members notes in the record when it has come to this upload.
    assert {**again, "indexed_at": None} == {**first, "indexed_at": None}
    assert in_members(settings) == members_then


async def test_a_failed_upload_runs_again_when_an_operator_retries_it(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    content = csv_file([{"Name": "A"}], headers=("Name", "Town"))
    async with working(system):
        upload_id = await sent(system, user, content)
        assert (await ended(system, user, upload_id))["status"] == "failed"
        await forget_events(settings)
        await control.retry(system, user, upload_id)
        again = await ended(system, user, upload_id)
    assert again["status"] == "failed"
    assert again["attempt"] == 2
    assert again["attempt"] - again["attempts_before"] == 1


async def test_an_upload_that_completed_can_be_neither_retried_nor_cancelled(
    system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    async with working(system):
        upload_id = await sent(system, user, csv_file(1))
        await ended(system, user, upload_id)
    with pytest.raises(ConflictError, match="completed"):
        await control.retry(system, user, upload_id)
    with pytest.raises(ConflictError, match="already completed"):
        await control.cancel(system, user, upload_id)


async def test_a_child_that_is_killed_costs_an_attempt_and_the_next_one_completes(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    async with working(system) as worker:
        with merges_held(settings):
            upload_id = await sent(system, user, csv_file(20))
            await job_event(settings, upload_id, "progress")
            for pid in child_pids(worker):
                psutil.Process(pid).kill()
        await job_event(settings, upload_id, "completed")
        upload = await lookup.get(system, user, upload_id)
    assert upload["status"] == "completed"
    assert upload["attempt"] == 2
    assert upload["inserted"] == 20


async def test_a_running_upload_is_cancelled_its_child_stopped_and_nothing_merged(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    async with working(system) as worker:
        with merges_held(settings):
            upload_id = await sent(system, user, csv_file(20))
            await job_under_way(settings, upload_id)
            [child] = child_pids(worker)
            await control.cancel(system, user, upload_id)
            await job_event(settings, upload_id, "failed")
        assert not psutil.pid_exists(child)
        upload = await lookup.get(system, user, upload_id)
        assert upload["status"] == "cancelled"
        assert in_members(settings) == []
        # The worker continues, in a new child.
        upload = await ended(system, user, await sent(system, user, csv_file(1)))
        assert upload["status"] == "completed"
    assert await system.queue.state(upload_id) is None


async def test_an_attempt_over_its_time_is_stopped_and_fails_with_a_sentence(
    settings: Settings, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    hasty = system_with(system, job_timeout_s=1, attempts=1)
    async with working(hasty):
        with merges_held(settings):
            upload = await ended(hasty, user, await sent(hasty, user, csv_file(20)))
    assert (upload["status"], upload["error_code"]) == ("failed", "timed_out")
    assert "ROLLBOOK_JOB_TIMEOUT_S" in upload["error"]
    assert in_members(settings) == []


async def test_a_child_over_its_memory_dies_alone_and_the_upload_says_so(
    settings: Settings, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    small = system_with(system, child_memory_mb=30)  # as if any file were too large
    async with working(small) as worker:
        with merges_held(settings):
            upload = await ended(small, user, await sent(small, user, csv_file(20)))
        assert (upload["status"], upload["error_code"]) == ("failed", "out_of_memory")
        assert "plit it into smaller files" in upload["error"]
        worker.slots._settings = settings
        after = await ended(small, user, await sent(small, user, csv_file(1)))
    assert after["status"] == "completed"
    assert len(in_members(settings)) == 1


async def test_a_worker_that_stops_hands_its_job_back_without_costing_an_attempt(
    settings: Settings, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    impatient = system_with(system, shutdown_grace_s=0)
    with merges_held(settings):
        async with working(impatient):
            upload_id = await sent(impatient, user, csv_file(20))
            await job_event(settings, upload_id, "progress")
    upload = await lookup.get(system, user, upload_id)
    assert upload["status"] == "pending"
    assert upload["attempt"] - upload["attempts_before"] == 0
    job = await system.queue.job(upload_id)
    assert job is not None
    assert job.attemptsMade == 0
    async with working(system):
        assert (await ended(system, user, upload_id))["status"] == "completed"


async def test_an_upload_that_the_queue_lost_is_added_again(
    settings: Settings, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    upload_id = await sent(system, user, csv_file(1))
    await flush(settings)
    await grow_old(settings)
    done = await reconciler.run_once(system)
    assert done is not None
    assert done.added == 1
    async with working(system):
        assert (await ended(system, user, upload_id))["status"] == "completed"


async def test_an_upload_whose_source_is_gone_fails_with_a_sentence(
    settings: Settings, system: System, make_user: MakeUser
) -> None:
    user = await make_user()
    upload_id = await sent(system, user, csv_file(1))
    await system.store.remove((await lookup.get(system, user, upload_id))["source_key"])
    await flush(settings)
    await grow_old(settings)
    done = await reconciler.run_once(system)
    assert done is not None
    assert done.failed == 1
    upload = await lookup.get(system, user, upload_id)
    assert (upload["status"], upload["error_code"]) == ("failed", "source_gone")


async def downloaded(system: System, key: str) -> bytes:
    _, chunks = await system.store.open(key)
    content = io.BytesIO()
    async for chunk in chunks:
        content.write(chunk)
    return content.getvalue()


def system_with(system: System, **changes: Any) -> System:
    """The same parts under other settings."""
    settings = system.settings.model_copy(update=changes)
    return replace(system, settings=settings)


async def flush(settings: Settings) -> None:
    from rollbook.backends.redis import make_client

    async with make_client(settings.redis_address) as client:
        await client.flushall()


async def forget_events(settings: Settings) -> None:
    from rollbook.backends.redis import make_client

    async with make_client(settings.redis_address) as client:
        await client.delete(f"bull:{settings.queue_name}:events")


async def grow_old(settings: Settings) -> None:
    """Let a minute pass for the reconciler, which leaves fresh uploads to their makers."""
    with connect(settings.database_address) as connection:
        connection.execute("UPDATE uploads SET waiting_since = now() - interval '1 minute'")


async def test_all_that_is_no_attempt_takes_turns(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory that docs/how-to/deploy.md names is for one child beside the attempts."""
    turns: dict[str, object] = {}

    async def note(*_: object, service: str, turn: object = None, **__: object) -> None:
        turns[service] = turn

    for module in (erase, export, voter_roll):
        monkeypatch.setattr(module, "work_on_due", note)
    roll = {
        "voter_roll_enabled": True,
        "voter_roll_url": "http://127.0.0.1:9",
        "voter_roll_username": "a",
        "voter_roll_password": SecretStr("a synthetic one"),
    }
    asking = system.settings.model_copy(update=roll)
    services = {"erasures", "files of members", "verified reports"}
    async with working(replace(system, settings=asking)) as worker:
        await until(lambda: services <= turns.keys())
    assert {turns[service] for service in services} == {worker.slots.beside}
