"""Undoing an upload: compared are whole tables, before and after, byte by byte."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest
from psycopg import sql

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.api.undo import KeptMember
from rollbook.backends.database import Listed, Paging, connect, queries
from rollbook.config import environment_for
from rollbook.errors import ConflictError, NotFoundError
from rollbook.model import Role, User
from rollbook.uploads import undo
from rollbook.uploads.undo import Counts
from tests import warm_process
from tests.files import csv_file, id_number, member, members
from tests.integration.worker.test_worker import sent
from tests.pipeline_run import finished
from tests.recorded import recorded
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.service.system import System
    from tests.pipeline_run import Done, Site

    MakeUser = Callable[..., Awaitable[User]]

BASE = "/api/v1/bulk-upload/undo"
#: Columns that are no upload's: whose member it is, and what the voter roll said.
NO_UPLOADS = {
    "id_number", "identity_kind", "identity_country", "identity_number", "member_id",
    "created_by_row", "roll_status", "roll_ward", "roll_voting_district", "roll_asked_at",
}  # fmt: skip


@pytest.fixture
async def api(settings: Settings, operator: User) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        client.headers["Authorization"] = f"Bearer {issue_token(settings, operator)}"
        yield client


def dump(settings: Settings, table: str = "members", *key: str) -> list[bytes]:
    """A table as text, row by row, in the order of its key."""
    with connect(settings.database_address) as connection:
        columns = sql.SQL(", ").join(sql.Identifier(name) for name in key or ("id_number",))
        statement = sql.SQL("COPY (SELECT * FROM {} ORDER BY {}) TO STDOUT")
        with connection.cursor().copy(statement.format(sql.Identifier(table), columns)) as rows:
            return b"".join([bytes(chunk) for chunk in rows]).splitlines()


def changes(settings: Settings) -> list[bytes]:
    return dump(settings, "member_changes", "upload_id", "id_number")


def of(rows: list[bytes], numbers: range) -> list[bytes]:
    """The lines of these members."""
    wanted = {id_number(number).encode() for number in numbers}
    return [row for row in rows if row.split(b"\t")[0] in wanted]


def send(site: Site, numbers: range, **columns: str) -> UUID:
    """Send a file of these members, with their cells changed."""
    done = site.send(csv_file([member(number, **columns) for number in numbers]), "members.csv")
    upload_id: UUID = done.upload["id"]
    return upload_id


def written(site: Site, numbers: range, **columns: str) -> UUID:
    """Leave what such a file leaves, but for the file and its report."""
    return recorded(site, *(member(number, **columns) for number in numbers))


async def undone(system: System, user: User, upload_id: UUID) -> Counts:
    return (await undo.undo(system, user, upload_id, dry_run=False)).counts


async def test_an_upload_that_inserted_and_updated_leaves_no_trace_in_the_members(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    rows = [member(n, Firstname="", **{"Cell Number": ""}) for n in range(3)]
    site.send(csv_file(rows), "all_refused.csv")
    send(site, range(6))
    before, changes_before = dump(settings), changes(settings)
    second = send(site, range(3, 10), Surname="Changed", **{"Cell Number": "0831112222"})
    assert len(dump(settings)) == 10
    assert of(dump(settings), range(3, 6)) != of(before, range(3, 6))

    assert await undone(system, operator, second) == Counts(4, 3, 0, 0, 0)
    assert dump(settings) == before
    assert changes(settings) == changes_before


async def test_members_whom_a_later_upload_touched_stay_and_all_others_are_as_before(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    send(site, range(10))
    before = dump(settings)
    # It changes 0 to 9 and brings 10 to 19; the later one touches the second half of both.
    wrong = send(site, range(20), Surname="Wrong")
    later = send(site, range(5, 15), **{"Cell Number": "0845556666"})
    touched = dump(settings)

    assert await undone(system, operator, wrong) == Counts(5, 5, 10, 0, 0)
    after = dump(settings)
    assert of(after, range(5)) == of(before, range(5))
    assert of(after, range(5, 15)) == of(touched, range(5, 15))
    assert of(after, range(15, 20)) == []
    assert len(after) == 15
    kept = await undo.kept(system, operator, wrong, Paging(1, 100))
    assert kept.total == 10
    assert [(row["id_number"], row["reason"], row["later_upload"]) for row in kept.rows] == [
        (id_number(n), "later_upload", later) for n in range(5, 15)
    ]


async def test_uploads_undone_from_the_last_to_the_first_leave_what_was_before_them(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    written(site, range(4))
    dumps = [dump(settings)]
    uploads = []
    for surname, numbers in (("A", range(6)), ("B", range(2, 8)), ("C", range(8))):
        uploads.append(written(site, numbers, Surname=surname))
        dumps.append(dump(settings))
    for upload_id in reversed(uploads):
        assert dump(settings) == dumps.pop()
        assert (await undone(system, operator, upload_id)).kept == 0
    assert dump(settings) == dumps.pop()


async def test_members_edited_by_hand_stay_as_they_were_edited(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    written(site, range(4))
    before = dump(settings)
    wrong = written(site, range(8), Surname="Wrong")
    with connect(settings.database_address) as connection:
        for number in (1, 5):
            connection.execute(
                "UPDATE members SET surname = 'By hand' WHERE id_number = %s", (id_number(number),)
            )
    edited = dump(settings)
    assert await undone(system, operator, wrong) == Counts(3, 3, 0, 2, 0)
    after = dump(settings)
    for number in (1, 5):
        one = range(number, number + 1)
        assert of(after, one) == of(edited, one)
    assert of(after, range(1)) == of(before, range(1))
    assert of(after, range(2, 4)) == of(before, range(2, 4))
    kept = await undo.kept(system, operator, wrong, Paging(1, 10))
    assert [(row["id_number"], row["reason"]) for row in kept.rows] == [
        (id_number(1), "edited"), (id_number(5), "edited"),
    ]  # fmt: skip


async def test_what_the_voter_roll_said_stays_and_is_no_edit(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    written(site, range(2))
    wrong = written(site, range(3), Surname="Wrong")
    with connect(settings.database_address) as connection:
        connection.execute("UPDATE members SET roll_status = 'deceased', roll_asked_at = now()")
    assert await undone(system, operator, wrong) == Counts(1, 2, 0, 0, 0)
    found = site.members()
    assert [row["roll_status"] for row in found.values()] == ["deceased"] * 2
    assert [row["surname"] for row in found.values()] == ["Last0", "Last1"]


async def test_a_member_removed_since_is_not_brought_back(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    written(site, range(3))
    wrong = written(site, range(3), Surname="Wrong")
    with connect(settings.database_address) as connection:
        connection.execute("DELETE FROM members WHERE id_number = %s", (id_number(1),))
    assert await undone(system, operator, wrong) == Counts(0, 2, 0, 0, 1)
    assert list(site.members()) == [id_number(0), id_number(2)]


async def test_a_member_whom_the_upload_created_and_who_was_deleted_since_counts_as_gone(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    written(site, range(1))
    wrong = written(site, range(5), Surname="Wrong")
    with connect(settings.database_address) as connection:
        # One of these was edited first, which notes a change of a member whom the upload created.
        connection.execute("UPDATE members SET race = 'X' WHERE id_number = %s", (id_number(3),))
        connection.execute(
            "DELETE FROM members WHERE id_number = ANY(%s)", ([id_number(n) for n in (0, 2, 3)],)
        )
    assert await undone(system, operator, wrong) == Counts(2, 0, 0, 0, 3)
    assert list(site.members()) == []


async def test_every_column_that_an_upload_writes_is_given_back(settings: Settings) -> None:
    with connect(settings.database_address) as connection:
        columns = {
            row["column_name"]
            for row in connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = 'members'"
            ).fetchall()
        }
    restored = set(re.findall(r"b\.(\w+)", queries("undo")["restore"]))
    assert restored == columns - NO_UPLOADS


async def test_a_dry_run_counts_and_lists_the_same_and_changes_nothing(
    site: Site, operator: User, settings: Settings, api: httpx.AsyncClient
) -> None:
    written(site, range(6))
    wrong = written(site, range(9), Surname="Wrong")
    later = written(site, range(4, 8), **{"Cell Number": "0845556666"})
    tables = dump(settings), changes(settings)
    dry = await api.post(f"{BASE}/{wrong}")
    assert dry.status_code == 200
    data = dry.json()["data"]
    assert data == {
        "job_id": str(wrong), "dry_run": True, "removed": 1, "restored": 4, "kept": 4,
        "kept_because": {"later_upload": 4, "edited": 0, "joined": 0, "creation_undone": 0},
        "gone": 0, "undone_at": None, "undone_by": None,
    }  # fmt: skip
    assert "Nothing was changed" in dry.json()["message"]
    listed = (await api.get(f"{BASE}/{wrong}/kept", params={"page_size": 3})).json()["data"]
    assert (listed["total"], len(listed["items"])) == (4, 3)
    download = await api.get(f"{BASE}/{wrong}/kept.csv")
    assert (dump(settings), changes(settings)) == tables

    real = (await api.post(f"{BASE}/{wrong}", json={"dry_run": False})).json()["data"]
    assert real == {
        **data, "dry_run": False, "undone_at": real["undone_at"], "undone_by": operator.email,
    }  # fmt: skip
    assert real["undone_at"] is not None
    again = (await api.get(f"{BASE}/{wrong}/kept", params={"page_size": 3})).json()["data"]
    assert again == listed
    lines = (await api.get(f"{BASE}/{wrong}/kept.csv")).text.splitlines()
    assert lines == download.text.splitlines()
    assert lines[:2] == [
        "id_number,reason,later_upload,passport_number,passport_country",
        f"{id_number(4)},later_upload,{later},,",
    ]
    status = (await api.get(f"/api/v1/bulk-upload/status/{wrong}")).json()
    assert status["data"]["undone_by"] == operator.email
    assert status["data"]["undone_at"] == real["undone_at"]
    assert "undone" in status["message"]


async def test_undoing_leaves_its_entries_and_a_second_time_is_refused(
    site: Site, settings: Settings, operator: User, api: httpx.AsyncClient
) -> None:
    wrong = written(site, range(2))
    for dry_run, expected in ((True, 200), (False, 200), (False, 409), (True, 409)):
        answer = await api.post(f"{BASE}/{wrong}", json={"dry_run": dry_run})
        assert answer.status_code == expected
    assert operator.email in answer.json()["detail"]
    with connect(settings.database_address) as connection:
        found = connection.execute(
            "SELECT * FROM audit_entries WHERE act = 'undo' ORDER BY id"
        ).fetchall()
    assert [(entry["outcome"], entry["code"], entry["about"]) for entry in found] == [
        ("done", None, "dry run"),
        ("done", None, "2 removed, 0 restored, 0 kept"),
        ("refused", "conflict", None),  # and another within a minute, which is counted
    ]
    assert {(entry["job_id"], entry["user_id"]) for entry in found} == {(wrong, operator.id)}


async def test_only_operators_undo_and_only_what_there_is(
    site: Site, settings: Settings, make_user: MakeUser, api: httpx.AsyncClient
) -> None:
    wrong = written(site, range(1))
    assert (await api.post(f"{BASE}/{uuid4()}")).status_code == 404
    office = await make_user(Role.PROVINCE_ADMIN, "GP")
    token = {"Authorization": f"Bearer {issue_token(settings, office)}"}
    for method, path in (("POST", ""), ("GET", "/kept"), ("GET", "/kept.csv")):
        answer = await api.request(method, f"{BASE}/{wrong}{path}", headers=token)
        assert answer.status_code == 403
    assert len(site.members()) == 1


async def test_what_has_merged_nothing_or_is_too_old_is_not_undone(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    dry = site.send(csv_file(2), "members.csv", dry_run=True).upload["id"]
    waiting = await sent(system, operator, csv_file(3))
    old = written(site, range(4))
    with connect(settings.database_address) as connection:
        connection.execute(
            "UPDATE uploads SET finished_at = now() - interval '30 days 1 minute' WHERE id = %s",
            (old,),
        )
    before = dump(settings)
    for upload_id, words in ((dry, "dry run"), (waiting, "pending"), (old, "within 30 days")):
        for dry_run in (True, False):
            with pytest.raises(ConflictError, match=words):
                await undo.undo(system, operator, upload_id, dry_run=dry_run)
    with pytest.raises(NotFoundError):
        await undo.undo(system, operator, uuid4(), dry_run=True)
    assert dump(settings) == before


async def test_undoing_waits_for_a_merge_under_way_and_keeps_whom_it_changed(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    written(site, range(3))
    wrong = written(site, range(6), Surname="Wrong")
    later = uuid4()
    with connect(settings.database_address) as merging:
        merging.execute(
            "UPDATE members SET surname = 'Later', changed_by_upload = %s WHERE id_number IN"
            " (%s, %s)", (later, id_number(2), id_number(5)),
        )  # fmt: skip
        work = asyncio.create_task(undone(system, operator, wrong))
        await _somebody_waits(system)
        assert not work.done()
        merging.commit()
    assert await work == Counts(2, 2, 2, 0, 0)
    surnames = [row["surname"] for row in site.members().values()]
    assert surnames == ["Last0", "Last1", "Later", "Later"]
    kept = await undo.kept(system, operator, wrong, Paging(1, 10))
    assert {row["later_upload"] for row in kept.rows} == {later}


async def test_of_two_who_undo_at_once_one_does(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    written(site, range(2))
    before = dump(settings)
    wrong = written(site, range(50), Surname="Wrong")
    outcomes = await asyncio.gather(
        *(undone(system, operator, wrong) for _ in range(4)), return_exceptions=True
    )
    assert [o for o in outcomes if isinstance(o, Counts)] == [Counts(48, 2, 0, 0, 0)]
    assert sum(isinstance(o, ConflictError) for o in outcomes) == 3
    assert dump(settings) == before


async def test_a_fault_in_the_middle_changes_nothing(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    written(site, range(2))
    wrong = written(site, range(4), Surname="Wrong")
    tables = dump(settings), changes(settings), dump(settings, "uploads", "id")
    with connect(settings.database_address) as connection:
        connection.execute("ALTER TABLE uploads ADD CHECK (undone_at IS NULL)")
    with pytest.raises(Exception, match="check"):
        await undone(system, operator, wrong)
    assert (dump(settings), changes(settings), dump(settings, "uploads", "id")) == tables


async def test_the_file_of_an_undone_upload_may_be_sent_again(
    site: Site, system: System, operator: User
) -> None:
    content = csv_file(members(2))
    wrong = site.send(content, "members.csv").upload["id"]
    with pytest.raises(ConflictError):
        await sent(system, operator, content)
    await undone(system, operator, wrong)
    assert await sent(system, operator, content) != wrong


async def test_a_key_that_comes_again_says_that_its_upload_was_undone(
    api: httpx.AsyncClient, system: System, operator: User
) -> None:
    async def answer() -> dict[str, str]:
        sent = await api.post(
            "/api/v1/bulk-upload/process",
            files={"file": ("members.csv", csv_file(members(2)))},
            headers={"Idempotency-Key": "january"},
        )
        data: dict[str, str] = sent.json()["data"]
        return data

    first = await answer()
    await finished(system, operator, UUID(first["job_id"]))
    assert "undone" not in (await answer())["message"]
    await undone(system, operator, UUID(first["job_id"]))
    again = await answer()
    assert again["job_id"] == first["job_id"]
    assert "undone since: send the file with another Idempotency-Key" in again["message"]


async def test_the_command_line_counts_first_and_undoes_for_real(
    site: Site, settings: Settings, tmp_path: Path, make_user: MakeUser
) -> None:
    await make_user()
    written(site, range(2))
    before = dump(settings)
    wrong = written(site, range(3), Surname="Wrong")
    later = written(site, range(1), **{"Cell Number": "0845556666"})
    kept = tmp_path / "kept.csv"
    dry, _ = await rollbook(settings, "undo", str(wrong), "--json")
    assert (dry["dry_run"], dry["removed"], dry["restored"], dry["kept"]) == (True, 1, 1, 1)
    real, _ = await rollbook(
        settings, "undo", str(wrong), "--for-real", "--json", "--kept", str(kept)
    )
    assert (real["dry_run"], real["removed"], real["restored"], real["kept"]) == (False, 1, 1, 1)
    assert kept.read_text().splitlines()[1] == f"{id_number(0)},later_upload,{later},,"
    assert of(dump(settings), range(1, 3)) == of(before, range(1, 3))
    refused, words = await rollbook(settings, "undo", str(wrong), "--for-real", "--json", code=1)
    assert refused is None
    assert "was undone" in words


async def rollbook(settings: Settings, *arguments: str, code: int = 0) -> tuple[Any, str]:
    """Run a command; what it printed as JSON, and what it said on standard error."""
    process = warm_process.start(
        *arguments,
        env=environment_for(settings),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        out, err = await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
    assert process.returncode == code, err
    return json.loads(out) if out else None, err


async def _somebody_waits(system: System) -> None:
    """Until a connection of this database waits for a lock."""
    async with asyncio.timeout(PATIENCE_S), system.pool.connection() as connection:
        while True:
            found: Row | None = await (
                await connection.execute(
                    "SELECT count(*) AS waiting FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            ).fetchone()
            assert found is not None
            if found["waiting"]:
                return
            await connection.commit()
            await asyncio.sleep(0.01)


async def test_what_an_upload_emptied_on_purpose_comes_back(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    written(site, range(4))
    before = dump(settings)
    done = emptying(site, range(4))
    assert done.upload["emptied"] == {"cell_number": 4}
    assert dump(settings) != before
    assert await undone(system, operator, done.upload["id"]) == Counts(0, 4, 0, 0, 0)
    assert dump(settings) == before


async def test_a_later_upload_that_empties_it_too_confirms_an_emptied_field(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    written(site, range(3))
    first = emptying(site, range(3))
    again = emptying(site, range(2))
    assert again.outcomes["unchanged"] == 2
    assert await undone(system, operator, first.upload["id"]) == Counts(0, 1, 2, 0, 0)
    with connect(settings.database_address) as connection:
        found = connection.execute("SELECT cell_number FROM members ORDER BY id_number").fetchall()
    assert [row["cell_number"] for row in found] == [None, None, "+27820000002"]


async def test_people_with_passports_are_removed_and_restored_like_others(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    def passports(*numbers: str, surname: str) -> Done:
        rows = [f",{number},Zimbabwe,Ben,{surname}" for number in numbers]
        head = "ID Number,Passport Number,Passport Country,Firstname,Surname"
        content = "\n".join([head, *rows]).encode()
        return site.send(content, "passports.csv", accepts_passports=True)

    passports("FN111111", "FN222222", surname="Bb")
    before = dump(settings)
    second = passports("FN222222", "FN333333", "FN444444", surname="Changed")
    third = passports("FN444444", surname="Changed")
    assert third.outcomes["unchanged"] == 1
    wrong, later = second.upload["id"], third.upload["id"]
    would = await undo.kept(system, operator, wrong, Paging(1, 5))
    assert await undone(system, operator, wrong) == Counts(1, 1, 1, 0, 0)
    assert await undo.kept(system, operator, wrong, Paging(1, 5)) == would
    (line,) = [KeptMember.of(row) for row in would.rows]
    assert line == KeptMember(
        id_number="F••••••44", identity_kind="passport", identity_country="ZWE",
        reason="later_upload", later_upload=later,
    )  # fmt: skip
    _, whole = (await undo.kept_csv(system, operator, wrong)).decode().splitlines()
    assert whole == f",later_upload,{later},FN444444,ZWE"
    assert set(before) < set(dump(settings))
    assert len(dump(settings)) == 3


async def test_the_passports_of_members_left_unchanged_are_listed_after_all_else_is_gone(
    site: Site, system: System, operator: User, settings: Settings
) -> None:
    def passport(surname: str) -> UUID:
        head = "ID Number,Passport Number,Passport Country,Firstname,Surname"
        content = f"{head}\n,FN222222,Zimbabwe,Ben,{surname}".encode()
        done = site.send(content, "passports.csv", accepts_passports=True)
        upload_id: UUID = done.upload["id"]
        return upload_id

    passport("Bb")
    wrong, later = passport("Wrong"), passport("Later")
    assert await undone(system, operator, wrong) == Counts(0, 0, 1, 0, 0)
    before = await undo.kept(system, operator, wrong, Paging(1, 5))
    with connect(settings.database_address) as connection:
        # As retention and a removal do.
        connection.execute("DELETE FROM member_changes")
        connection.execute("DELETE FROM members")
    assert await undo.kept(system, operator, wrong, Paging(1, 5)) == before
    assert before.rows[0]["identity_number"] == "FN222222"
    _, line = (await undo.kept_csv(system, operator, wrong)).decode().splitlines()
    assert line == f",later_upload,{later},FN222222,ZWE"
    # After the last page the number is right too.
    assert await undo.kept(system, operator, wrong, Paging(3, 5)) == Listed([], 1)


def emptying(site: Site, numbers: range) -> Done:
    rows = [member(number, **{"Cell Number": "[empty]"}) for number in numbers]
    return site.send(csv_file(rows), "emptied.csv", empty_text="[empty]")
