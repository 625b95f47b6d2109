"""The audit trail: an entry of each act, for operators and for the person, and none that goes."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import psycopg
import pytest

from rollbook.accounts import audit, users
from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.backends.database import connect, fetch_one
from rollbook.errors import InvalidRequestError
from rollbook.model import Role, Scope, User
from rollbook.queue.uploads import UploadQueue, unreachable
from rollbook.service.system import open_system
from rollbook.uploads import reconciler, retention
from tests.conftest import PASSWORD
from tests.files import csv_file, id_number, member, members
from tests.integration.worker.test_worker import ended, sent, working
from tests.refusals import refusal
from tests.waiting import job_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

BASE = "/api/v1/bulk-upload"
AGENT = "Browser of the tests/1.0"


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("203.0.113.9", 4711))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://test", headers={"User-Agent": AGENT}
        ) as client,
    ):
        yield client


def headers(settings: Settings, user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue_token(settings, user)}"}


def entries(settings: Settings) -> list[Row]:
    with connect(settings.database_address) as connection:
        return connection.execute(
            "SELECT * FROM audit_entries WHERE act NOT IN ('user_add', 'purge') ORDER BY id"
        ).fetchall()


def acts(found: list[Row]) -> list[tuple[str, str, str | None]]:
    return [(entry["act"], entry["outcome"], entry["code"]) for entry in found]


async def test_a_sign_in_and_a_failed_one_each_leave_who_and_from_where(
    api: httpx.AsyncClient, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    for email, password in (
        (user.email, PASSWORD),
        (user.email, "not the password"),
        ("nobody@example.org", PASSWORD),
    ):
        await api.post("/api/v1/auth/login", json={"email": email, "password": password})
    good, wrong, unknown = entries(settings)
    assert acts([good, wrong, unknown]) == [
        ("sign_in", "done", None),
        ("sign_in", "refused", "not_authenticated"),
        ("sign_in", "refused", "not_authenticated"),
    ]
    for entry in (good, wrong):
        assert entry["user_id"] == user.id
        assert (entry["email"], entry["role"]) == (user.email, "province_admin")
        assert (entry["address"], entry["agent"]) == ("203.0.113.9", AGENT)
    assert (unknown["user_id"], unknown["email"]) == (None, "nobody@example.org")


async def test_what_was_typed_as_an_address_and_is_none_stands_nowhere(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    for typed in (
        "my secret password",
        "8001015009087",
        "8001015009087@x.org",
    ):
        await api.post("/api/v1/auth/login", json={"email": typed, "password": PASSWORD})
        assert {entry["email"] for entry in entries(settings)} == {None}, typed


async def test_every_act_on_an_upload_leaves_its_entry_and_nothing_of_a_member(
    api: httpx.AsyncClient, make_user: MakeUser, system: System, settings: Settings
) -> None:
    user, as_user = await _uploader(make_user, settings)
    content = csv_file([*members(2), member(5, Surname="")])
    async with working(system) as worker:
        job_id = await _posted(api, as_user, content)
        await job_event(settings, job_id, "completed")
    for path in (f"report/{job_id}", f"failed-rows/{job_id}"):
        assert (await api.get(f"{BASE}/{path}", headers=as_user)).status_code == 200
    assert (await api.post(f"{BASE}/cancel/{job_id}", headers=as_user)).status_code == 409
    again = await api.post(f"{BASE}/process", files={"file": ("m.csv", content)}, headers=as_user)
    assert again.status_code == 409
    found = entries(settings)
    assert acts(found) == [
        ("upload", "done", None),
        ("start", "done", None),
        ("end", "done", None),
        ("download_report", "done", None),
        ("download_refused", "done", None),
        ("cancel", "refused", "conflict"),
        ("upload", "refused", "duplicate_upload"),
    ]
    assert [entry["job_id"] for entry in found[:-1]] == [job_id] * 6
    assert {entry["user_id"] for entry in found if entry["agent"] == AGENT} == {user.id}
    for entry in found[1:3]:
        assert (entry["agent"], entry["about"]) == (worker.name, "attempt 1")
        assert (entry["user_id"], entry["address"]) == (None, None)
    told = " ".join(str(value) for entry in found for value in entry.values())
    assert not re.search(r"\d{13}", told)
    assert not any(text in told for text in (id_number(0), "First0", "Last1", "m.csv"))


async def test_a_failed_upload_its_retry_and_its_cancelling_leave_their_entries(
    api: httpx.AsyncClient, make_user: MakeUser, system: System, settings: Settings
) -> None:
    user, as_user = await _uploader(make_user, settings)
    operator = headers(settings, await make_user())
    async with working(system):
        job_id = await sent(system, user, csv_file([{"Firstname": "A"}], headers=["Firstname"]))
        assert (await ended(system, user, job_id))["status"] == "failed"
    retry = f"{BASE}/queue/retry/{job_id}"
    assert (await api.post(retry, headers=as_user)).status_code == 403
    assert (await api.post(retry, headers=operator)).status_code == 200
    assert (await api.post(f"{BASE}/cancel/{job_id}", headers=as_user)).status_code == 200
    assert acts(entries(settings)) == [
        ("upload", "done", None),
        ("start", "done", None),
        ("end", "failed", "no_id_column"),
        ("retry", "refused", "not_allowed"),
        ("retry", "done", None),
        ("cancel", "done", None),
    ]


async def test_an_upload_that_the_reconciler_gives_up_has_its_end(
    make_user: MakeUser, system: System, settings: Settings
) -> None:
    user = await make_user()
    job_id = await sent(system, user, csv_file(1))
    with connect(settings.database_address) as connection:
        connection.execute("UPDATE uploads SET waiting_since = now() - interval '1 hour'")
        connection.execute("UPDATE uploads SET source_key = NULL")
    await system.queue.remove(job_id)
    await reconciler.run_once(system)
    end = entries(settings)[-1]
    assert acts([end]) == [("end", "failed", "source_gone")]
    assert (end["job_id"], end["agent"]) == (job_id, "reconciler")


async def test_steering_the_queue_leaves_its_entries_and_so_does_who_may_not(
    api: httpx.AsyncClient, make_user: MakeUser, settings: Settings
) -> None:
    _, as_user = await _uploader(make_user, settings)
    operator = headers(settings, await make_user(Role.NATIONAL_ADMIN))
    for act in ("pause", "resume", "clean"):
        refused = await api.post(f"{BASE}/queue/{act}", headers=as_user)
        assert refused.status_code == 403
        assert (await api.post(f"{BASE}/queue/{act}", headers=operator)).status_code == 200
    found = entries(settings)
    assert acts(found) == [
        (act, outcome, code)
        for act in ("pause", "resume", "clean")
        for outcome, code in (("refused", "not_allowed"), ("done", None))
    ]
    assert found[-1]["about"] == "jobs that ended more than 24 hours ago"


async def test_a_pause_that_redis_does_not_hear_counts_and_leaves_its_entry(
    api: httpx.AsyncClient,
    make_user: MakeUser,
    system: System,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def is_away(_: UploadQueue) -> None:
        raise unreachable()

    monkeypatch.setattr(UploadQueue, "pause", is_away)
    operator = headers(settings, await make_user(Role.NATIONAL_ADMIN))
    answer = await api.post(f"{BASE}/queue/pause", headers=operator)
    assert (answer.status_code, acts(entries(settings))) == (503, [("pause", "done", None)])
    assert "The queue is paused" in answer.json()["detail"]
    row = await fetch_one(system.pool, "SELECT is_paused FROM queue_state")
    assert row == {"is_paused": True}


async def test_a_client_that_is_refused_in_a_loop_gets_one_entry_a_minute_with_a_count(
    api: httpx.AsyncClient, make_user: MakeUser, system: System, settings: Settings
) -> None:
    _, as_user = await _uploader(make_user, settings)
    for _ in range(25):
        assert (await api.post(f"{BASE}/queue/pause", headers=as_user)).status_code == 403
    assert (await api.post(f"{BASE}/queue/clean", headers=as_user)).status_code == 403
    await reconciler.run_once(system)
    assert acts(entries(settings)) == [
        ("pause", "refused", "not_allowed"),
        ("clean", "refused", "not_allowed"),
    ]
    with connect(settings.database_address) as connection:
        connection.execute("UPDATE audit_refusals SET since = since - interval '1 minute'")
    await reconciler.run_once(system)
    [_, _, counted] = found = entries(settings)
    assert acts(found)[-1] == ("pause", "refused", "not_allowed")
    assert counted["about"] == "24 more like it within a minute"
    assert counted["user_id"] == found[0]["user_id"]
    await reconciler.run_once(system)
    assert len(entries(settings)) == 3


async def test_an_act_that_redis_does_not_carry_out_is_not_told_as_done(
    make_user: MakeUser, system: System, settings: Settings
) -> None:
    user = await make_user()
    with pytest.raises(ConnectionError):
        async with audit.noting(system.pool, "clean", who=user):
            raise ConnectionError
    assert entries(settings) == []


async def test_commands_that_change_accounts_say_of_which_account_and_where(
    system: System, settings: Settings
) -> None:
    audit.origin.set(audit.Origin.of_command_line())
    await users.add(
        system.pool, email="new@example.org", password=PASSWORD, role=Role.SUPER_ADMIN,
        scope=Scope(),
    )  # fmt: skip
    await users.set_password(system.pool, "new@example.org", PASSWORD)
    await users.disable(system.pool, "new@example.org")
    with connect(settings.database_address) as connection:
        found = connection.execute(
            "SELECT * FROM audit_entries WHERE about = 'new@example.org' ORDER BY id"
        ).fetchall()
    assert [entry["act"] for entry in found] == ["user_add", "user_password", "user_disable"]
    assert [entry["user_id"] for entry in found] == [None, None, None]
    assert all(entry["agent"].startswith("command line") for entry in found)


async def test_what_is_no_address_gets_no_account_and_leaves_no_entry(
    system: System, settings: Settings
) -> None:
    for email in (
        "a@b.org\r\nBcc: c@d.org",
        "a b@c.org",
        "a@b.org\0",
        "@",
        "",
    ):
        adding = users.add(
            system.pool, email=email, password=PASSWORD, role=Role.SUPER_ADMIN, scope=Scope()
        )
        assert isinstance(await refusal(adding), InvalidRequestError), email
        with connect(settings.database_address) as connection:
            assert connection.execute("SELECT * FROM audit_entries").fetchall() == [], email


async def test_operators_read_the_trail_by_job_and_act_and_others_may_not(
    api: httpx.AsyncClient, make_user: MakeUser, system: System, settings: Settings
) -> None:
    user, as_user = await _uploader(make_user, settings)
    operator = headers(settings, await make_user(Role.NATIONAL_ADMIN))
    jobs = [await sent(system, user, csv_file(rows)) for rows in (1, 2, 3)]
    assert (await api.get(f"{BASE}/audit", headers=as_user)).status_code == 403

    async def page(**wanted: Any) -> dict[str, Any]:
        answer = await api.get(f"{BASE}/audit", params=wanted, headers=operator)
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    assert [entry["job_id"] for entry in (await page(act="upload"))["items"]] == [
        str(job) for job in reversed(jobs)
    ]
    one = (await page(job_id=str(jobs[1])))["items"]
    assert [(entry["act"], entry["email"]) for entry in one] == [("upload", user.email)]
    second = await page(act="upload", page=2, page_size=2)
    assert [entry["job_id"] for entry in second["items"]] == [str(jobs[0])]
    assert second["total"] == 3
    behind = await page(act="upload", page=9, page_size=2)
    assert (behind["items"], behind["total"]) == ([], 3)
    unknown = await api.get(f"{BASE}/audit", params={"act": "nothing"}, headers=operator)
    assert unknown.status_code == 422


async def test_a_person_reads_their_own_entries_and_nobody_elses(
    api: httpx.AsyncClient, make_user: MakeUser, system: System, settings: Settings
) -> None:
    user, as_user = await _uploader(make_user, settings)
    colleague, as_colleague = await _uploader(make_user, settings)
    own = await sent(system, user, csv_file(1))
    await sent(system, colleague, csv_file(2))
    await api.post("/api/v1/auth/login", json={"email": user.email, "password": "wrong password"})
    mine = (await api.get(f"{BASE}/audit/mine", headers=as_user)).json()["data"]
    assert [(entry["act"], entry["outcome"], entry["job_id"]) for entry in mine["items"]] == [
        ("sign_in", "refused", None),
        ("upload", "done", str(own)),
    ]
    theirs = (await api.get(f"{BASE}/audit/mine", headers=as_colleague)).json()["data"]
    assert {entry["email"] for entry in theirs["items"]} == {colleague.email}


async def test_no_statement_of_the_databases_role_changes_or_removes_an_entry(
    make_user: MakeUser, settings: Settings
) -> None:
    await make_user()

    def all_entries() -> list[Row]:
        with connect(settings.database_address) as connection:
            return connection.execute("SELECT * FROM audit_entries").fetchall()

    before = all_entries()
    assert len(before) == 1
    for statement in (
        "UPDATE audit_entries SET email = 'somebody@example.org'",
        "UPDATE audit_entries SET kept_until = 'epoch'",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries",
        "TRUNCATE users, audit_entries CASCADE",
        "SET session_replication_role = replica; DELETE FROM audit_entries",
        "UPDATE audit_retention SET days = 30; DELETE FROM audit_entries",
    ):
        with connect(settings.database_address) as connection:
            asked = asyncio.to_thread(connection.execute, statement.encode())
            refused = await refusal(asked)
            connection.rollback()
        assert isinstance(refused, psycopg.errors.InsufficientPrivilege), statement
        assert "append-only" in str(refused), statement
        assert all_entries() == before, statement


async def test_entries_go_when_the_time_is_over_for_which_they_were_to_be_kept(
    system: System, settings: Settings
) -> None:
    with connect(settings.database_address) as connection:
        connection.execute(
            "INSERT INTO audit_entries (at, kept_until, act, outcome, about) VALUES"
            " (now() - interval '731 days', now() - interval '1 day', 'clean', 'done', 'old'),"
            " (now() - interval '729 days', now() + interval '1 day', 'clean', 'done', 'young')"
        )
    async with system.pool.connection() as connection:
        assert await audit.forget(connection, dry_run=True) == 1
        assert await audit.forget(connection) == 1
    assert [entry["about"] for entry in entries(settings)] == ["young"]


async def test_a_new_retention_counts_for_entries_from_now_on(
    make_user: MakeUser, settings: Settings
) -> None:
    await make_user()
    shorter = settings.model_copy(update={"audit_retention_days": 100})
    async with open_system(shorter) as other:
        await retention.run_when_due(other)
    await make_user()
    with connect(settings.database_address) as connection:
        days = connection.execute(
            "SELECT round(extract(epoch FROM kept_until - at) / 86400)::int AS days"
            " FROM audit_entries WHERE act = 'user_add' ORDER BY id"
        ).fetchall()
    assert [row["days"] for row in days] == [730, 100]


async def _uploader(make_user: MakeUser, settings: Settings) -> tuple[User, dict[str, str]]:
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    return user, headers(settings, user)


async def _posted(api: httpx.AsyncClient, as_user: dict[str, str], content: bytes) -> UUID:
    answer = await api.post(f"{BASE}/process", files={"file": ("m.csv", content)}, headers=as_user)
    assert answer.status_code == 202, answer.text
    return UUID(answer.json()["data"]["job_id"])
