"""An erased person stays erased, whatever else happens at the same moment."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import json
from dataclasses import asdict
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from uuid import UUID

import obstore
import openpyxl
import pytest
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from rollbook.backends import files
from rollbook.backends.database import connect, lock, queries
from rollbook.backends.files import FileStore
from rollbook.errors import BusyError, FileProblemError, ServiceUnavailableError
from rollbook.members import duplicates, erase_files, export_file, index
from rollbook.pipeline import report_again
from rollbook.uploads import retention, undo
from rollbook.voter_roll.answers import Answer
from rollbook.voter_roll.record import VerificationRecord
from tests.files import id_number, member, members
from tests.integration.members.test_erase import (
    BASE,
    PLANTED,
    RECORDED,
    carry_out,
    erased,
    erased_by_number,
    exported,
    in_store,
    plant_unsent,
    send,
    write_export,
)
from tests.recorded import recorded
from tests.waiting import PATIENCE_S, join, until

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    import httpx

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System
    from tests.pipeline_run import Site

REASON = {"reason": "asked for it in writing", "confirm": True}
WAITING = """SELECT FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' LIMIT 1"""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Who waits for locks here gets them in the end, however slow the machine is."""
    patient = {"member_lock_wait_s": PATIENCE_S, "undo_lock_wait_s": PATIENCE_S}
    return settings.model_copy(update=patient)


async def waited_for(site: Site, task: asyncio.Task[Any]) -> None:
    """Until another connection waits for a lock, as the task must."""
    async with asyncio.timeout(PATIENCE_S):
        while site.connection.execute(WAITING).fetchone() is None:
            site.connection.commit()
            assert not task.done(), task.result()
            await asyncio.sleep(0.01)
    site.connection.commit()


def set_upload(site: Site, upload_id: Any, columns: str) -> None:
    with site.connection.transaction():
        site.connection.execute(
            f"UPDATE uploads SET {columns} WHERE id = %s",  # noqa: S608 - of this module
            (upload_id,),
        )


async def state(client: httpx.AsyncClient, receipt: str) -> Any:
    return (await client.get(f"{BASE}/erasures/{receipt}")).json()


async def test_an_attempt_that_begins_within_the_request_is_waited_for(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    upload_id = recorded(site, RECORDED)
    await index.run_once(system)
    path = f"{BASE}/{site.members()[id_number(77)]['member_id']}/erase"
    async with system.pool.connection() as merging:
        await lock(merging, index.LOCK)
        asking = asyncio.create_task(client.post(path, json=REASON))
        await waited_for(site, asking)
        # The request has written its receipt, and isn't committed: the attempt sees no hash.
        set_upload(site, upload_id, "status = 'processing', finished_at = NULL, started_at = now()")
        assert site.connection.execute("SELECT FROM erased_people").fetchall() == []
        site.connection.commit()
    answer = await asking
    receipt = answer.json()["data"]["receipt"]
    with pytest.raises(BusyError):
        carry_out(settings, system, receipt)
    said = await state(client, receipt)
    assert said["data"]["waits_for"] == [str(upload_id)]
    assert "cancel the upload" in said["message"]
    set_upload(site, upload_id, "status = 'completed', finished_at = now()")
    assert carry_out(settings, system, receipt)
    assert (await state(client, receipt))["data"]["waits_for"] == []


async def test_an_attempt_that_begins_after_the_erasure_did_is_not_waited_for(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    upload_id = recorded(site, RECORDED)
    await index.run_once(system)
    path = f"{BASE}/{site.members()[id_number(77)]['member_id']}/erase"
    receipt = (await client.post(path, json=REASON)).json()["data"]["receipt"]
    assert not carry_out(settings, system, receipt, seconds=0)
    set_upload(site, upload_id, "status = 'processing', finished_at = NULL, started_at = now()")
    assert (await state(client, receipt))["data"]["waits_for"] == []
    assert carry_out(settings, system, receipt)


def upload_of(site: Site, upload_id: Any) -> Row:
    found = site.connection.execute("SELECT * FROM uploads WHERE id = %s", (upload_id,)).fetchone()
    site.connection.commit()
    assert found is not None
    return found


def report_of(site: Site, settings: Settings, upload_id: Any) -> str:
    """What the report holds that the record names now."""
    key = upload_of(site, upload_id)["report_key"]
    content = (settings.data_dir / "store" / key).read_bytes()
    book = openpyxl.load_workbook(io.BytesIO(content))
    return str([row for sheet in book for row in sheet.values])


async def test_two_erasures_at_once_leave_neither_person_in_a_report(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = send(site, PLANTED, *members(3, 50))
    await index.run_once(system)
    first, second = await erased(client, site), await erased(client, site, 50)
    forget_rows = erase_files._Erasure._forget_rows
    ended: list[bool] = []

    def and_meanwhile(erasure: Any, *given: Any) -> None:
        forget_rows(erasure, *given)
        if not ended:
            erasure._connection.commit()
            ended.append(False)
            # The report was read by the first one, which hasn't written it yet.
            with contextlib.suppress(BusyError):
                ended[0] = carry_out(settings, system, second)

    monkeypatch.setattr(erase_files._Erasure, "_forget_rows", and_meanwhile)
    assert carry_out(settings, system, first)
    assert ended == [True] or carry_out(settings, system, second)
    said = report_of(site, settings, done.upload["id"])
    assert [number for number in (77, 50, 51) if id_number(number) in said] == [51]


def answered(site: Site) -> Any:
    """An upload with the person, whose report is due to be written with the roll's answers."""
    roll = {
        "voter_roll_url": "http://127.0.0.1:9",
        "voter_roll_username": "a",
        "voter_roll_password": SecretStr("b"),
    }
    done = send(site, PLANTED, *members(2, 50), settings=roll)
    with site.connection.transaction():
        site.connection.execute("UPDATE verifications SET result = 'not_registered'")
        site.connection.execute("DELETE FROM voter_roll_questions")
        site.connection.execute(
            "UPDATE uploads SET roll_not_registered = 3, roll_pending = 0"
            " WHERE verification = 'pending'"
        )
    upload = upload_of(site, done.upload["id"])
    assert (upload["verification"], upload["report_tables_key"] is None) == ("pending", False)
    return upload["id"]


def write_again(settings: Settings, system: System, upload_id: Any) -> bool:
    """As a worker's child does."""
    with connect(settings.database_address) as connection:
        done = report_again.process(connection, system.store, settings, upload_id=upload_id)
    return bool(done["is_written"])


async def test_a_report_that_is_written_again_meanwhile_is_looked_into(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upload_id = answered(site)
    await index.run_once(system)
    receipt = await erased(client, site)
    write = report_again._write
    threads = []

    def and_meanwhile(*given: Any) -> None:
        # The tables were read. The erasure begins and waits, or would end.
        thread = Thread(target=carry_out, args=(settings, system, receipt))
        thread.start()
        threads.append(thread)
        until(lambda: not thread.is_alive() or is_waiting(site), "the erasure waits for the report")
        write(*given)

    monkeypatch.setattr(report_again, "_write", and_meanwhile)
    assert write_again(settings, system, upload_id)
    join(threads[0])
    assert (await state(client, receipt))["data"]["status"] == "completed"
    assert "verified" in upload_of(site, upload_id)["report_key"]
    assert in_store(settings.data_dir / "store") == {}
    assert id_number(50) in report_of(site, settings, upload_id)


def is_waiting(site: Site) -> bool:
    found = site.connection.execute(WAITING).fetchone()
    site.connection.commit()
    return found is not None


async def test_a_report_that_is_written_again_before_its_turn_is_looked_into(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send(site, *members(1, 60))
    upload_id = answered(site)
    await index.run_once(system)
    receipt = await erased(client, site)
    look_at = erase_files._Erasure._look_at
    written: list[bool] = []

    def and_meanwhile(erasure: Any, *given: Any) -> None:
        # Of the first upload; the second one's report is written then.
        if not written:
            written.append(write_again(settings, system, upload_id))
        look_at(erasure, *given)

    monkeypatch.setattr(erase_files._Erasure, "_look_at", and_meanwhile)
    assert carry_out(settings, system, receipt)
    assert written == [True]
    assert "verified" in upload_of(site, upload_id)["report_key"]
    assert in_store(settings.data_dir / "store") == {}


async def test_a_report_that_is_deleted_meanwhile_stays_deleted(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    operator: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = send(site, PLANTED, *members(2, 50))
    await index.run_once(system)
    receipt = await erased(client, site)
    replace = erase_files._Erasure._replace
    upload = upload_of(site, done.upload["id"])
    loop = asyncio.get_running_loop()

    def and_before(erasure: Any, *given: Any) -> None:
        deleting = retention.delete_report(system, operator, upload)
        asyncio.run_coroutine_threadsafe(deleting, loop).result(PATIENCE_S)
        replace(erasure, *given)

    monkeypatch.setattr(erase_files._Erasure, "_replace", and_before)
    assert await asyncio.to_thread(carry_out, settings, system, receipt)
    assert not (settings.data_dir / "store" / upload["report_key"]).exists()


async def test_nobody_is_readmitted_while_the_erasure_is_pending(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    recorded(site, RECORDED, *members(1, 50))
    await index.run_once(system)
    receipt = await erased(client, site)
    # Another person's erasure that is pending is no obstacle, as is seen below.
    assert carry_out(settings, system, await erased(client, site, 50))
    path, body = f"{BASE}/readmit", {"id_number": id_number(77)}
    refused = await client.post(path, json=body)
    assert refused.status_code == 409
    assert receipt in refused.json()["detail"]
    assert send(site, PLANTED, name="again.csv").by_row == {2: "invalid"}
    assert (await client.post(path, json={"id_number": id_number(50)})).status_code == 200
    assert carry_out(settings, system, receipt)
    assert (await client.post(path, json=body)).status_code == 200
    assert send(site, PLANTED, name="later.csv").by_row == {2: "inserted"}


async def waits_or_ends(site: Site, task: asyncio.Task[Any]) -> None:
    what = "the erasure waits or ends"
    await asyncio.to_thread(until, lambda: task.done() or is_waiting(site), what)


async def left_by_a_list(site: Site, client: httpx.AsyncClient) -> tuple[str, str]:
    """The person is on a list of removals and is being erased: the receipt, and the list's undo."""
    recorded(site, RECORDED, *members(1, 50))
    left = send(site, PLANTED, name="left.csv", kind="removal", reason="they left")
    answer = await erased_by_number(client, id_number(77))
    return answer.json()["data"]["receipt"], f"/api/v1/bulk-upload/undo/{left.upload['id']}"


async def joined_away(
    site: Site, client: httpx.AsyncClient, system: System
) -> tuple[str, str, str]:
    """A person who was joined to another is being erased: the receipt, who, and the pair."""
    same = {"Firstname": "Thabo", "Surname": "Nkosi"}
    recorded(site, member(1, **same), member(2, **same))
    await index.run_once(system)
    await duplicates.run_once(system)
    (pair,) = (await client.get(f"{BASE}/duplicates")).json()["data"]["items"]
    numbers = {str(one["member_id"]): number for number, one in site.members().items()}
    keep, gone = (one["member_id"] for one in pair["members"])
    path = f"{BASE}/duplicates/{pair['pair_id']}"
    body = {"keep": keep, "reason": "the same person"}
    assert (await client.post(f"{path}/join", json=body)).status_code == 200
    answer = await erased_by_number(client, numbers[gone])
    return answer.json()["data"]["receipt"], numbers[gone], f"{path}/separate"


@pytest.mark.parametrize("way", ["undo", "separate"])
async def test_who_is_being_brought_back_is_erased_nevertheless(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    module: ModuleType
    body: dict[str, Any]
    if way == "undo":
        (receipt, path), number = await left_by_a_list(site, client), id_number(77)
        module, last, body = undo, "_carry_out", {"dry_run": False}
    else:
        receipt, number, path = await joined_away(site, client, system)
        module, last, body = duplicates, "_decide", {"reason": "two people"}
    carry: Any = getattr(module, last)
    tasks: list[asyncio.Task[bool]] = []

    async def and_meanwhile(*given: Any) -> Any:
        # The person is a member again, and that isn't committed.
        done = await carry(*given)
        task = asyncio.create_task(asyncio.to_thread(carry_out, settings, system, receipt))
        tasks.append(task)
        await waits_or_ends(site, task)
        return done

    with monkeypatch.context() as patched:
        patched.setattr(module, last, and_meanwhile)
        answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    (task,) = tasks
    await asyncio.wait({task}, timeout=PATIENCE_S)
    if task.exception() is not None:
        # It has made way, and is tried again.
        assert isinstance(task.exception(), BusyError)
        assert carry_out(settings, system, receipt)
    assert number not in site.members()
    assert (await state(client, receipt))["data"]["status"] == "completed"


@pytest.mark.parametrize("way", ["undo", "separate"])
async def test_nobody_is_brought_back_by_what_an_erasure_deletes(
    site: Site, client: httpx.AsyncClient, system: System, way: str
) -> None:
    if way == "undo":
        (_, path), number = await left_by_a_list(site, client), id_number(77)
        body: dict[str, Any] = {"dry_run": False}
    else:
        _, number, path = await joined_away(site, client, system)
        body = {"reason": "two people"}
    async with system.pool.connection() as erasing:
        await lock(erasing, undo.RECORDS_LOCK)
        for query in ("remove_changes", "remove_joins"):
            await erasing.execute(queries("member_erase")[query], {"id_number": number})
        asked = asyncio.create_task(client.post(path, json=body))
        await waited_for(site, asked)
    answer = await asked
    assert answer.status_code == (200 if way == "undo" else 404), answer.text
    assert number not in site.members()


async def test_who_is_there_again_in_the_end_is_looked_for_again(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by a worker of an older version, which knows no lock."""
    recorded(site, RECORDED, *members(1, 50))
    await index.run_once(system)
    before = site.members()
    receipt = await erased(client, site)
    look = erase_files._Erasure.look_through_files

    def and_back(erasure: Any, **given: Any) -> bool:
        is_done = look(erasure, **given)
        with site.connection.transaction():
            site.connection.execute(
                "INSERT INTO members SELECT (jsonb_populate_record(NULL::members, %s)).*",
                (Jsonb(json.loads(json.dumps(before[id_number(77)], default=str))),),
            )
        return is_done

    with monkeypatch.context() as patched:
        patched.setattr(erase_files._Erasure, "look_through_files", and_back)
        assert not carry_out(settings, system, receipt)
    assert id_number(77) in site.members()
    assert carry_out(settings, system, receipt)
    assert set(site.members()) == {id_number(50)}


async def test_an_answer_under_way_is_not_stored_after_the_erasure(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    answered(site)
    await index.run_once(system)
    ask(site)
    record = VerificationRecord(settings, system.pool)
    set_verification(site, "pending")
    question = await record.claim(lease_s=60)
    assert question is not None
    assert question.id_number == id_number(77)
    receipt = await erased(client, site)
    assert not await record.save_answer(question, ANSWER)
    assert roll_rows(site) == []
    assert carry_out(settings, system, receipt)
    assert roll_rows(site) == []


async def test_an_answer_that_is_being_stored_is_removed(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    answered(site)
    await index.run_once(system)
    save = queries("voter_roll")["save_answer"]
    given = {"id_number": id_number(77), **asdict(ANSWER)}
    ask(site)
    async with system.pool.connection() as answering:
        await answering.execute(save, given)
        asked = asyncio.create_task(erased(client, site))
        await waited_for(site, asked)
    receipt = await asked
    assert roll_rows(site) == []
    # The question is asked again for a row that waits, until the worker has removed that row.
    ask(site)
    async with system.pool.connection() as answering:
        await answering.execute(save, given)
        work = asyncio.create_task(asyncio.to_thread(carry_out, settings, system, receipt))
        await waited_for(site, work)
    assert await work
    assert roll_rows(site) == []


ANSWER = Answer("registered", "79800001", "12345678")


def ask(site: Site) -> None:
    """Add the person's question."""
    with site.connection.transaction():
        site.connection.execute(
            "INSERT INTO voter_roll_questions (id_number, upload_ordinal, row_number)"
            " VALUES (%s, 1, 2)",
            (id_number(77),),
        )


def set_verification(site: Site, result: str) -> None:
    with site.connection.transaction():
        site.connection.execute(
            "UPDATE verifications SET result = %s WHERE id_number = %s", (result, id_number(77))
        )


def roll_rows(site: Site) -> list[Row]:
    """What the roll is asked, or has said, of the person."""
    found = site.connection.execute(
        "SELECT id_number FROM voter_roll_questions UNION ALL"
        " SELECT id_number FROM voter_roll_answers"
    ).fetchall()
    site.connection.commit()
    return found


async def claimed(site: Site, file_id: str) -> int:
    """The number of a claim of a file of members, as a worker takes it."""
    with site.connection.transaction():
        row = site.connection.execute(
            "UPDATE member_files SET tries = tries + 1 WHERE id = %s RETURNING tries", (file_id,)
        ).fetchone()
    assert row is not None
    attempt: int = row["tries"]
    return attempt


@pytest.mark.parametrize("is_made_again", [True, False])
async def test_an_export_s_attempt_that_lost_its_claim_stores_nothing(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    is_made_again: bool,
) -> None:
    recorded(site, RECORDED, *members(2, 50))
    await index.run_once(system)
    file_id = await exported(client)
    export = export_file._export
    has_read, goes_on = Event(), Event()

    def frozen(*given: Any) -> int:
        rows = export(*given)
        has_read.set()
        assert goes_on.wait(PATIENCE_S)
        return rows

    with monkeypatch.context() as patched:
        patched.setattr(export_file, "_export", frozen)
        first = asyncio.create_task(
            asyncio.to_thread(write_export, settings, system, file_id, await claimed(site, file_id))
        )
        assert await asyncio.to_thread(has_read.wait, PATIENCE_S)
    assert carry_out(settings, system, await erased(client, site))
    path = f"{BASE}/files/{file_id}/content"
    if is_made_again:
        write_export(settings, system, file_id, await claimed(site, file_id))
        before = (await client.get(path)).content
        assert id_number(50).encode() in before
    goes_on.set()
    await first
    assert in_store(settings.data_dir / "store") == {}
    if is_made_again:
        assert (await client.get(path)).content == before
    else:
        assert (await client.get(path)).status_code == 409


async def test_what_a_cut_off_attempt_has_stored_of_an_export_goes_too(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded(site, RECORDED, *members(2, 50))
    await index.run_once(system)
    file_id = await exported(client)
    put = FileStore.put

    def put_and_end(store: FileStore, key: str, source: Path) -> None:
        put(store, key, source)
        raise ServiceUnavailableError("The process ends here.")

    with monkeypatch.context() as patched:
        patched.setattr(FileStore, "put", put_and_end)
        with pytest.raises(ServiceUnavailableError):
            write_export(settings, system, file_id, await claimed(site, file_id))
    assert in_store(settings.data_dir / "store")
    assert carry_out(settings, system, await erased(client, site))
    assert in_store(settings.data_dir / "store") == {}
    write_export(settings, system, file_id, await claimed(site, file_id))
    assert (await client.get(f"{BASE}/files/{file_id}/content")).status_code == 200


async def test_an_export_that_an_earlier_version_has_made_is_still_sent_and_removed(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings
) -> None:
    recorded(site, RECORDED, *members(2, 50))
    await index.run_once(system)
    file_id = await exported(client)
    write_export(settings, system, file_id, await claimed(site, file_id))
    store = settings.data_dir / "store"
    (store / files.members_key(UUID(file_id), "csv", 1)).rename(
        store / files.first_members_key(UUID(file_id), "csv")
    )
    sent = await client.get(f"{BASE}/files/{file_id}/content")
    assert id_number(50).encode() in sent.content
    assert carry_out(settings, system, await erased(client, site))
    assert in_store(store) == {}


@pytest.mark.parametrize("status", ["failed", "pending"])
async def test_what_lost_attempts_have_written_goes_too(
    site: Site, client: httpx.AsyncClient, system: System, settings: Settings, status: str
) -> None:
    send(site, PLANTED)
    with pytest.raises(FileProblemError):
        send(site, PLANTED, {**PLANTED, "ID Number": "1"}, name="all.csv", all_or_nothing=True)
    with site.connection.transaction():
        row = site.connection.execute(
            "UPDATE uploads SET status = %s, attempt = 2, report_key = NULL, refused_key = NULL,"
            " error = 'cut off', finished_at = CASE WHEN %s = 'failed' THEN now() END"
            " WHERE file_name = 'all.csv' RETURNING id",
            (status, status),
        ).fetchone()
    assert row is not None
    store = settings.data_dir / "store"
    report = store / files.report_key(row["id"], 1)
    assert report.exists()
    # The number of the attempt that follows, or was the last one.
    other = store / files.report_key(row["id"], 2)
    other.write_bytes(b"a report")
    await index.run_once(system)
    receipt = await erased(client, site)
    assert carry_out(settings, system, receipt)
    assert not report.exists()
    assert other.exists() == (status == "pending")


async def test_an_erasure_isn_t_completed_while_the_store_removes_nothing(
    site: Site,
    client: httpx.AsyncClient,
    system: System,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send(site, PLANTED, name="dry.csv", dry_run=True)
    send(site, PLANTED)
    await plant_unsent(system)
    await index.run_once(system)
    receipt = await erased(client, site)

    delete = obstore.delete
    failed: list[str] = []

    def away_at_first(store: Any, key: str) -> None:
        if key not in failed:
            failed.append(key)
            raise OSError(errno.EIO, key)
        delete(store, key)

    monkeypatch.setattr(obstore, "delete", away_at_first)
    is_done, calls = False, 0
    while not is_done and calls < 20:
        calls += 1
        with contextlib.suppress(ServiceUnavailableError):
            is_done = carry_out(settings, system, receipt)
    # The sent file, three that were checked, and the parts of two.
    assert len(failed) >= 6
    assert is_done
    assert in_store(settings.data_dir / "store") == {}
