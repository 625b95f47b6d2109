"""The REST contract, over the application with its real PostgreSQL, Valkey and store."""

from __future__ import annotations

import asyncio
import io
import os
from typing import TYPE_CHECKING, Any

import httpx
import openpyxl
import pytest

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.backends.database import connect
from rollbook.backends.files import FileStore
from rollbook.errors import ServiceUnavailableError
from rollbook.model import Role, User
from rollbook.pipeline.columns import map_headers
from rollbook.pipeline.read import read
from rollbook.uploads import control
from tests.conftest import PASSWORD
from tests.files import csv_file, member, workbook
from tests.integration.worker.test_worker import merges_held, sent, working
from tests.waiting import job_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

PROCESS = "/api/v1/bulk-upload/process"


def file_part(content: bytes, name: str = "members.csv") -> dict[str, Any]:
    return {"file": (name, content)}


async def test_a_good_password_gives_a_token_that_says_who(
    api: httpx.AsyncClient, make_user: MakeUser
) -> None:
    user = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg")
    login = await api.post("/api/v1/auth/login", json={"email": user.email, "password": PASSWORD})
    assert login.status_code == 200
    token = login.json()["data"]["token"]
    me = await api.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert me.json()["data"] == {
        "id": str(user.id),
        "email": user.email,
        "name": "",
        "role": "municipality_admin",
        "province": "GP",
        "municipality": "City of Johannesburg",
        "time_zone": "Africa/Johannesburg",
        "language": None,
        "lacks_second_factor": False,
    }


async def test_a_wrong_password_and_an_unknown_address_answer_alike(
    api: httpx.AsyncClient, make_user: MakeUser
) -> None:
    user = await make_user()
    answers = [
        await api.post("/api/v1/auth/login", json={"email": email, "password": "not the password"})
        for email in (user.email, "nobody@example.org")
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json() == answers[1].json()
    assert answers[0].headers["content-type"] == "application/problem+json"
    assert answers[0].headers["www-authenticate"] == "Bearer"


async def test_an_address_with_a_nul_is_told_what_is_wrong_with_it(
    api: httpx.AsyncClient,
) -> None:
    answer = await api.post("/api/v1/auth/login", json={"email": "a\0@b", "password": PASSWORD})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "email"


@pytest.mark.parametrize(
    "fields", [{"sheet": "a\0b"}, {"columns": '{"Lid\\u0000No": "id_number"}'}], ids=str
)
async def test_a_field_with_a_nul_is_told_what_is_wrong_with_it(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, fields: dict[str, str]
) -> None:
    api = as_user(await make_user())
    answer = await api.post(PROCESS, files=file_part(csv_file(rows=1)), data=fields)
    assert answer.status_code == 422
    assert "NUL" in answer.json()["detail"]
    history = (await api.get("/api/v1/bulk-upload/history")).json()["data"]
    assert history["items"] == []


async def test_a_store_that_is_away_does_not_hide_what_the_sender_did_wrong(
    as_user: Callable[[User], httpx.AsyncClient],
    make_user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: Any) -> None:
        raise ServiceUnavailableError("The file store doesn't answer.")

    api = as_user(await make_user())
    monkeypatch.setattr(FileStore, "remove", away)
    answer = await api.post(PROCESS, files=file_part(csv_file(rows=1)), data={"dry_run": "maybe"})
    assert answer.status_code == 422
    assert "dry_run" in answer.json()["detail"]


async def test_without_a_good_token_every_route_asks_to_sign_in(api: httpx.AsyncClient) -> None:
    for header in (
        None,
        "Bearer nonsense",
        "Basic YTpi",
    ):
        headers = {"Authorization": header} if header else {}
        for path in ("history", "stats", "queue/stats", "queue/jobs"):
            answer = await api.get(f"/api/v1/bulk-upload/{path}", headers=headers)
            assert answer.status_code == 401, (header, path)
            assert answer.json()["success"] is False


async def test_an_upload_is_answered_at_once_with_a_job_id_and_its_place(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, system: System
) -> None:
    api = as_user(await make_user())
    answer = await api.post(PROCESS, files=file_part(csv_file(rows=3)))
    assert answer.status_code == 202
    data = answer.json()["data"]
    assert data["status"] == "pending"
    assert data["file_name"] == "members.csv"
    assert data["queue_position"] == 1
    assert answer.headers["location"].endswith(f"/api/v1/bulk-upload/status/{data['job_id']}")
    status = (await api.get(answer.headers["location"])).json()["data"]
    assert status["status"] == "pending"
    assert status["progress"] == 0
    assert await system.queue.stats() == {
        "waiting": 1, "active": 0, "completed": 0, "failed": 0, "delayed": 0, "paused": 0,
        "total": 1, "is_paused": False,
    }  # fmt: skip


async def test_an_office_of_higher_rank_goes_first_and_one_rank_waits_in_order(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    municipality = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg")
    first = await as_user(municipality).post(PROCESS, files=file_part(csv_file(rows=1)))
    second = await as_user(municipality).post(PROCESS, files=file_part(csv_file(rows=2)))
    national = await as_user(await make_user(Role.NATIONAL_ADMIN)).post(
        PROCESS, files=file_part(csv_file(rows=3))
    )
    places = [answer.json()["data"]["queue_position"] for answer in (first, second, national)]
    assert places == [1, 2, 1]


async def test_a_file_that_cannot_be_taken_is_refused_with_a_sentence_and_leaves_nothing(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, settings: Settings
) -> None:
    api = as_user(await make_user())
    for files, status, code, words in (
        (file_part(b""), 422, "empty_file", "is empty"),
        (file_part(b"%PDF-1.7 ...", "members.xlsx"), 415, "unsupported_file", "PDF document"),
        (file_part(b"PK\x03\x04", "members.csv"), 415, "unsupported_file", "zip archive"),
        (file_part(b"<html>", "members.csv"), 415, "unsupported_file", "web page"),
        (file_part(b"hello", "members.docx"), 415, "unsupported_file", "Only .xlsx"),
        (file_part(b"hello", "members"), 415, "unsupported_file", "Only .xlsx"),
        ({"dry_run": (None, "true")}, 422, "missing_file", "has no file"),
    ):
        answer = await api.post(PROCESS, files=files)
        problem = answer.json()
        assert (answer.status_code, problem["type"]) == (status, f"urn:rollbook:problem:{code}")
        assert words in problem["detail"], code
        assert problem["message"] == problem["detail"]
        assert stored_files(settings) == [], code
        assert (await api.get("/api/v1/bulk-upload/history")).json()["data"]["total"] == 0, code


async def test_no_multipart_body_is_refused_with_a_sentence(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    api = as_user(await make_user())
    answer = await api.post(PROCESS, json={"file": "members.csv"})
    assert answer.status_code == 422
    assert "multipart/form-data" in answer.json()["detail"]


async def test_a_body_that_breaks_off_leaves_nothing(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, settings: Settings
) -> None:
    api = as_user(await make_user())
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nid,na'
    answer = await api.post(
        PROCESS, content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 422
    assert "broke off" in answer.json()["detail"]
    assert stored_files(settings) == []


@pytest.mark.parametrize("declared", [True, False])
async def test_a_file_over_the_limit_is_refused_whether_its_length_is_declared_or_not(
    settings: Settings, make_user: MakeUser, declared: bool
) -> None:
    small = settings.model_copy(update={"max_upload_mb": 1})
    user = await make_user()
    app = create_app(small)
    boundary = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    pieces = [boundary, *[b"a,b,c,d\n" * 8192] * 20, b"\r\n--x--\r\n"]

    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    headers = {
        "Content-Type": "multipart/form-data; boundary=x",
        "Authorization": f"Bearer {issue_token(small, user)}",
    }
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        content = b"".join(pieces) if declared else chunks()
        answer = await client.post(PROCESS, content=content, headers=headers)
    assert answer.status_code == 413
    assert "larger than 1 MB" in answer.json()["detail"]
    assert stored_files(settings) == []


async def test_the_same_content_within_a_day_is_refused_by_name_unless_it_is_wanted(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, settings: Settings
) -> None:
    api = as_user(await make_user())
    content = csv_file(rows=2)
    first = (await api.post(PROCESS, files=file_part(content))).json()["data"]["job_id"]
    again = await api.post(PROCESS, files=file_part(content, "other name.csv"))
    assert again.status_code == 409
    assert again.json()["job_id"] == first
    assert first in again.json()["detail"]
    assert len(stored_files(settings)) == 1
    wanted = await api.post(PROCESS, files=file_part(content), data={"allow_duplicate": "true"})
    assert wanted.status_code == 202
    assert wanted.json()["data"]["job_id"] != first


async def test_of_two_equal_files_sent_at_the_same_moment_one_is_taken(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, settings: Settings
) -> None:
    api = as_user(await make_user())
    content = csv_file(rows=2)
    answers = await asyncio.gather(*(api.post(PROCESS, files=file_part(content)) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [202, *[409] * 5]
    assert len(stored_files(settings)) == 1


async def test_an_idempotency_key_gives_the_same_job_for_the_same_file_and_refuses_another(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, settings: Settings
) -> None:
    api = as_user(await make_user())
    key = {"Idempotency-Key": "monthly-2026-11"}
    same = await asyncio.gather(
        *(api.post(PROCESS, files=file_part(csv_file(rows=2)), headers=key) for _ in range(4))
    )
    assert {answer.status_code for answer in same} == {202}
    assert len({answer.json()["data"]["job_id"] for answer in same}) == 1
    other = await api.post(PROCESS, files=file_part(csv_file(rows=3)), headers=key)
    assert other.status_code == 409
    assert other.json()["type"] == "urn:rollbook:problem:idempotency_conflict"
    assert len(stored_files(settings)) == 1


async def test_uploads_of_another_office_are_as_unknown_as_none(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    gauteng = await make_user(Role.PROVINCE_ADMIN, "GP")
    limpopo = await make_user(Role.PROVINCE_ADMIN, "LP")
    sent = await as_user(gauteng).post(PROCESS, files=file_part(csv_file(rows=2)))
    job_id = sent.json()["data"]["job_id"]
    api = as_user(limpopo)
    unknown = "00000000-0000-4000-8000-000000000000"
    for path in ("status", "rows", "report", "failed-rows"):
        foreign = await api.get(f"/api/v1/bulk-upload/{path}/{job_id}")
        nobodys = await api.get(f"/api/v1/bulk-upload/{path}/{unknown}")
        assert foreign.status_code == nobodys.status_code == 404
        assert foreign.json()["detail"] == nobodys.json()["detail"]
    assert (await api.post(f"/api/v1/bulk-upload/cancel/{job_id}")).status_code == 404
    assert (await api.get("/api/v1/bulk-upload/history")).json()["data"]["items"] == []
    assert (await api.get("/api/v1/bulk-upload/queue/jobs")).json()["data"]["items"] == []
    assert (await api.get("/api/v1/bulk-upload/stats")).json()["data"]["uploads"] == 0


async def test_only_operators_steer_the_queue(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    api = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    for path in (
        "clean",
        "pause",
        "resume",
        f"retry/{'0' * 8}-0000-4000-8000-{'0' * 12}",
    ):
        assert (await api.post(f"/api/v1/bulk-upload/queue/{path}")).status_code == 403, path


async def test_a_waiting_upload_is_cancelled_and_leaves_the_queue(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, system: System
) -> None:
    api = as_user(await make_user())
    sent = await api.post(PROCESS, files=file_part(csv_file(rows=2)))
    job_id = sent.json()["data"]["job_id"]
    cancelled = await api.post(f"/api/v1/bulk-upload/cancel/{job_id}")
    assert cancelled.json()["data"]["status"] == "cancelled"
    assert (await system.queue.stats())["total"] == 0
    again = await api.post(f"/api/v1/bulk-upload/cancel/{job_id}")
    assert again.status_code == 409
    assert "already cancelled" in again.json()["detail"]


async def test_a_pause_shows_and_ends(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    api = as_user(await make_user())
    paused = await api.post("/api/v1/bulk-upload/queue/pause")
    assert paused.json()["data"]["is_paused"] is True
    resumed = await api.post("/api/v1/bulk-upload/queue/resume")
    assert resumed.json()["data"]["is_paused"] is False


async def test_recent_jobs_are_newest_first_and_exactly_as_many_as_asked_for(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    api = as_user(await make_user())
    sent = [
        (await api.post(PROCESS, files=file_part(csv_file(rows=n)))).json()["data"]["job_id"]
        for n in range(1, 6)
    ]
    jobs = (await api.get("/api/v1/bulk-upload/queue/jobs", params={"page_size": 3})).json()[
        "data"
    ]["items"]
    assert [job["job_id"] for job in jobs] == sent[:1:-1]
    assert {job["queue_state"] for job in jobs} == {"prioritized"}


async def test_fields_that_do_not_fit_are_listed(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    api = as_user(await make_user())
    answer = await api.get("/api/v1/bulk-upload/history", params={"page": 0, "status": "lost"})
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {"page", "status"}


async def test_an_unknown_path_is_a_problem_too(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/v1/nothing/here")
    assert answer.status_code == 404
    assert answer.json()["success"] is False


async def test_probes_answer_without_a_token(api: httpx.AsyncClient) -> None:
    assert (await api.get("/healthz")).json() == {"status": "ok"}
    ready = await api.get("/readyz")
    assert (ready.status_code, ready.json()) == (
        200,
        {"postgresql": "ok", "redis": "ok", "store": "ok"},
    )


async def test_a_workbook_name_of_any_letters_comes_back_as_text(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    api = as_user(await make_user())
    content = workbook(rows=2)
    name = '../../Lede – Ünïcode "2026".xlsx'
    sent = await api.post(PROCESS, files=file_part(content, name))
    assert sent.status_code == 202
    assert "/" not in sent.json()["data"]["file_name"]
    assert "Ünïcode" in sent.json()["data"]["file_name"]


def stored_files(settings: Settings) -> list[str]:
    """The files of uploads; the store holds the installation's id beside them."""
    store = settings.data_dir / "store"
    files = [str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()]
    return [file for file in files if not file.startswith("installations/")]


async def test_an_option_that_makes_no_sense_is_refused_and_nothing_kept(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    api = as_user(await make_user())
    for fields in (
        {"existing": "erase"},
        {"columns": "{"},
        {"columns": '{"A": "nothing"}'},
        {"dry_run": "so"},
    ):
        answer = await api.post(PROCESS, files=file_part(csv_file()), data=fields)
        assert answer.status_code == 422, fields
        assert "Nothing was kept" in answer.json()["message"], fields
        history = await api.get("/api/v1/bulk-upload/history")
        assert history.json()["data"]["total"] == 0, fields


async def test_the_options_of_an_upload_are_in_its_status(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    api = as_user(await make_user())
    fields = {
        "existing": "fill", "all_or_nothing": "true", "sheet": "2025", "columns": '{"A": "ward"}',
    }  # fmt: skip
    sent = await api.post(PROCESS, files=file_part(csv_file()), data=fields)
    status = (await api.get(sent.headers["Location"])).json()["data"]
    assert (status["existing"], status["all_or_nothing"]) == ("fill", True)
    assert (status["sheet"], status["columns"]) == ("2025", {"A": "ward"})
    assert (status["empty_text"], status["emptied"]) == (None, {})
    emptying = {"empty_text": " [empty] ", "allow_duplicate": "true"}
    sent = await api.post(PROCESS, files=file_part(csv_file()), data=emptying)
    assert (await api.get(sent.headers["Location"])).json()["data"]["empty_text"] == "[empty]"


async def test_only_a_dry_run_that_completed_is_run_for_real(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    api = as_user(await make_user())
    sent = await api.post(PROCESS, files=file_part(csv_file()))
    job_id = sent.json()["data"]["job_id"]
    assert (await api.post(f"/api/v1/bulk-upload/run/{job_id}")).status_code == 409
    unknown = "00000000-0000-4000-8000-000000000000"
    assert (await api.post(f"/api/v1/bulk-upload/run/{unknown}")).status_code == 404


async def test_the_template_is_a_file_that_can_be_filled_in_and_sent(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, tmp_path: Path
) -> None:
    api = as_user(await make_user())
    answer = await api.get("/api/v1/bulk-upload/template")
    assert answer.status_code == 200
    assert "members-template.xlsx" in answer.headers["Content-Disposition"]
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    assert book.sheetnames == ["Members", "Lists", "Notes"]
    [headers] = book["Members"].iter_rows(values_only=True)
    assert map_headers([str(header) for header in headers]).unknown == ()
    row = member(1)
    book["Members"].append([row.get(str(header)) for header in headers])
    book.save(tmp_path / "filled.xlsx")
    book.close()
    [sheet] = read(tmp_path / "filled.xlsx", "xlsx")
    assert sheet.frame.row(0, named=True)["ID Number"] == row["ID Number"]
    assert sheet.columns.missing == ()


async def test_an_office_sees_its_own_part_of_the_queue_and_an_operator_all_of_it(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    gauteng = await make_user(Role.PROVINCE_ADMIN, "GP")
    limpopo = await make_user(Role.PROVINCE_ADMIN, "LP")
    for user, rows in ((gauteng, 1), (gauteng, 2), (limpopo, 3)):
        answer = await as_user(user).post(PROCESS, files=file_part(csv_file(rows)))
        assert answer.status_code == 202
    seen = {}
    for name, user in (("GP", gauteng), ("LP", limpopo), ("all", await make_user())):
        counts = (await as_user(user).get("/api/v1/bulk-upload/queue/stats")).json()["data"]
        seen[name] = (counts["waiting"], counts["total"])
    assert seen == {"GP": (2, 2), "LP": (1, 1), "all": (3, 3)}


async def test_operators_see_the_living_workers_and_the_dead_are_forgotten_after_a_day(
    as_user: Callable[[User], httpx.AsyncClient],
    make_user: MakeUser,
    system: System,
    settings: Settings,
) -> None:
    with connect(settings.database_address) as connection:
        for name, silent in (("silent", "1 minute"), ("dead", "2 days")):
            connection.execute(
                "INSERT INTO workers (name, host, pid, slots, jobs, heartbeat_at) "
                "VALUES (%s, 'elsewhere', 1, 2, '{}', now() - %s::interval)",
                (name, silent),
            )
    user = await make_user()
    api = as_user(user)
    async with working(system) as worker:
        with merges_held(settings):
            upload_id = await sent(system, user, csv_file(20))
            await job_event(settings, upload_id, "progress")
            await worker._beat()
            [living] = (await api.get("/api/v1/bulk-upload/queue/workers")).json()["data"]
            await control.cancel(system, user, upload_id)
    assert (living["name"], living["pid"]) == (worker.name, os.getpid())
    assert (living["slots"], living["jobs"]) == (settings.concurrency, [str(upload_id)])
    with connect(settings.database_address) as connection:
        left = connection.execute("SELECT name FROM workers").fetchall()
    assert left == [{"name": "silent"}]
    assert (await api.get("/api/v1/bulk-upload/queue/workers")).json()["data"] == []
    office = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    assert (await office.get("/api/v1/bulk-upload/queue/workers")).status_code == 403


async def test_history_and_jobs_are_searched_by_file_owner_and_job_id(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    first, second = await make_user(Role.PROVINCE_ADMIN, "GP"), await make_user()
    names = ["Branches 50%.csv", "branches_x.csv", "Other.csv"]
    ids = [
        (await as_user(user).post(PROCESS, files=file_part(csv_file(rows=n), name))).json()
        for n, (user, name) in enumerate(zip([first, first, second], names, strict=True), 1)
    ]
    jobs = [answer["data"]["job_id"] for answer in ids]
    api = as_user(second)

    async def found(**query: str) -> list[list[str]]:
        history = await api.get("/api/v1/bulk-upload/history", params=query)
        listed = await api.get("/api/v1/bulk-upload/queue/jobs", params=query)
        return [
            [upload["job_id"] for upload in uploads][::-1]
            for uploads in (history.json()["data"]["items"], listed.json()["data"]["items"])
        ]

    assert await found(search="BRANCHES") == [jobs[:2]] * 2
    # Signs that SQL would take for any text stand for themselves.
    assert await found(search="0%") == [jobs[:1]] * 2
    assert await found(search="s_x") == [jobs[1:2]] * 2
    assert await found(search=second.email) == [jobs[2:]] * 2
    assert await found(search=jobs[1].upper()) == [jobs[1:2]] * 2
    assert await found(search="branches", status="completed") == [[]] * 2
    assert await found(status="pending") == [jobs] * 2
    api = as_user(first)
    assert await found(search="other") == [[]] * 2
    refused = await api.get("/api/v1/bulk-upload/history", params={"search": "a\0b"})
    assert refused.status_code == 422


async def test_lists_have_each_waiting_uploads_place_in_the_queue(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    api = as_user(await make_user(Role.PROVINCE_ADMIN, "GP"))
    for rows in (1, 2):
        await api.post(PROCESS, files=file_part(csv_file(rows=rows)))
    history = (await api.get("/api/v1/bulk-upload/history")).json()["data"]["items"]
    jobs = (await api.get("/api/v1/bulk-upload/queue/jobs")).json()["data"]["items"]
    for listed in (history, jobs):
        assert [upload["queue_position"] for upload in listed] == [2, 1]


async def test_the_oldest_waiting_upload_of_the_scope_is_told(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser
) -> None:
    path = "/api/v1/bulk-upload/queue/stats"
    api = as_user(await make_user())
    assert (await api.get(path)).json()["data"]["oldest_waiting_since"] is None
    sent = [
        (await api.post(PROCESS, files=file_part(csv_file(rows=n)))).json()["data"]["job_id"]
        for n in (1, 2)
    ]
    first = (await api.get(f"/api/v1/bulk-upload/status/{sent[0]}")).json()["data"]["created_at"]
    assert (await api.get(path)).json()["data"]["oldest_waiting_since"] == first
    other = as_user(await make_user(Role.PROVINCE_ADMIN, "LP"))
    assert (await other.get(path)).json()["data"]["oldest_waiting_since"] is None


async def test_refused_rows_are_found_by_problem_and_problems_are_counted(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, system: System
) -> None:
    user = await make_user()
    content = csv_file(
        [
            member(1),
            member(2, **{"Cell Number": "x"}),
            member(3, **{"ID Number": "12"}),
            member(4, **{"ID Number": "34"}, Surname=""),
            member(1),
        ]
    )
    upload = await sent(system, user, content)
    async with working(system):
        await job_event(system.settings, upload, "completed")
    api = as_user(user)
    base = "/api/v1/bulk-upload"

    async def numbers(**query: str | list[str]) -> list[int]:
        answer = (await api.get(f"{base}/rows/{upload}", params=query)).json()["data"]
        assert answer["total"] == len(answer["items"])
        return [row["row_number"] for row in answer["items"]]

    refused = ["invalid", "duplicate", "out_of_scope"]
    assert await numbers(outcome=refused) == [4, 5, 6]
    assert await numbers(outcome="invalid") == [4, 5]
    assert await numbers(problem="surname_missing") == [5]
    assert await numbers(problem="phone_unclear", outcome=refused) == []
    assert await numbers(problem="phone_unclear") == [3]

    async def counted(**query: str | list[str]) -> list[tuple[str, int]]:
        answer = (await api.get(f"{base}/problems/{upload}", params=query)).json()["data"]
        return [(problem["code"], problem["rows"]) for problem in answer]

    assert await counted(outcome=refused) == [("id_length", 2), ("surname_missing", 1)]
    assert ("phone_unclear", 1) in await counted()
    foreign = as_user(await make_user(Role.PROVINCE_ADMIN, "LP"))
    assert (await foreign.get(f"{base}/problems/{upload}")).status_code == 404


async def test_a_problem_of_a_newer_version_has_a_general_sentence(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, system: System
) -> None:
    """During an upgrade the new version's workers write codes that the old version doesn't know."""
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    upload = await sent(system, user, csv_file([member(1, **{"ID Number": "12"})]))
    async with working(system):
        await job_event(system.settings, upload, "completed")
    async with system.pool.connection() as connection:
        await connection.execute(
            """UPDATE upload_rows
            SET problems = replace(problems::text, 'id_length', 'of_tomorrow')::jsonb;
            UPDATE uploads SET warnings = '{"of_tomorrow": 1}'"""
        )
    api = as_user(user)
    base = "/api/v1/bulk-upload"
    [problem] = (await api.get(f"{base}/problems/{upload}")).json()["data"]
    assert (problem["code"], problem["severity"]) == ("of_tomorrow", "error")
    assert "newer version" in problem["message"]
    [row] = (await api.get(f"{base}/rows/{upload}")).json()["data"]["items"]
    assert "newer version" in row["problems"][0]["message"]
    assert (await api.get(f"{base}/status/{upload}")).json()["data"]["warnings"] == {
        "of_tomorrow": 1
    }


@pytest.mark.usefixtures("one_day")
async def test_statistics_over_time_have_every_day_and_only_the_own_scope(
    as_user: Callable[[User], httpx.AsyncClient], make_user: MakeUser, system: System
) -> None:
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    upload = await sent(system, user, csv_file(rows=3))
    async with working(system):
        await job_event(system.settings, upload, "completed")
    path = "/api/v1/bulk-upload/stats/over-time"
    # Days begin at midnight in South Africa, which isn't midnight in UTC.
    async with system.pool.connection() as connection:
        await connection.execute(
            "UPDATE uploads SET created_at = date_trunc('day', now(), 'Africa/Johannesburg') "
            "- interval '1 hour'"
        )
    data = (await as_user(user).get(path, params={"days": 7})).json()["data"]
    assert len(data["days"]) == 7
    days = [day["day"] for day in data["days"]]
    assert days == sorted(days)
    assert [day["uploads"] for day in data["days"]] == [0, 0, 0, 0, 0, 1, 0]
    yesterday = data["days"][5]
    assert (yesterday["completed"], yesterday["rows"], yesterday["outcomes"]["inserted"]) == (
        1,
        3,
        3,
    )
    assert [stage["stage"] for stage in data["stages"]][-2:] == ["merge", "report"]
    assert all(0 <= s["median_seconds"] <= s["p95_seconds"] for s in data["stages"])
    foreign = as_user(await make_user(Role.PROVINCE_ADMIN, "LP"))
    data = (await foreign.get(path)).json()["data"]
    assert sum(day["uploads"] for day in data["days"]) == 0
    assert data["stages"] == []
