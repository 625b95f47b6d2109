"""The calls of the first system's clients, by the names that they send and read."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from rollbook import clock
from rollbook.accounts.users import issue_token
from rollbook.api.first_system.names import CALLS
from rollbook.backends.database import connect
from rollbook.model import Role, User
from tests.conftest import PASSWORD
from tests.files import csv_file, member, members
from tests.integration.folder.watching import until, watching
from tests.integration.worker.test_worker import ended, sent, working
from tests.waiting import job_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import httpx

    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

BASE = "/api/v1/bulk-upload"
UPLOAD = {
    "job_id", "status", "file_name", "uploaded_by", "uploaded_at", "processing_duration_ms",
    "error_message", "report_path", "validation_stats", "database_stats",
}  # fmt: skip
REPORT = {"job_id", "file_name", "file_path", "file_size", "created_at"}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Lets those clients in, and watches a folder that exists."""
    (tmp_path / "watched").mkdir()
    return settings.model_copy(
        update={
            "first_system_clients": True,
            "watch_dir": tmp_path / "watched",
            "watch_still_s": 0.05,
            "watch_min_bytes": 1,
        }
    )


def as_user(api: httpx.AsyncClient, settings: Settings, user: User) -> httpx.AsyncClient:
    api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
    return api


async def data(answer: Awaitable[httpx.Response], status: int = 200) -> dict[str, Any]:
    """What an answer holds, which is a success."""
    found = await answer
    assert found.status_code == status, found.text
    body = found.json()
    assert body["success"] is True
    assert body["message"]
    held: dict[str, Any] = body["data"]
    return held


async def test_the_eight_steps_of_the_first_system_s_test_script_by_its_names(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    # 1. sign in
    credentials = {"email": user.email, "password": PASSWORD}
    login = await data(api.post("/api/v1/auth/login", json=credentials))
    assert login["user"]["email"] == user.email
    assert "name" in login["user"]
    api.headers["Authorization"] = f"Bearer {login['token']}"
    # 2. the queue before
    before = await data(api.get(f"{BASE}/queue/stats"))
    assert {"waiting", "active", "completed", "failed", "delayed", "paused", "total"} <= set(before)
    # 3. send a file
    rows = [*members(6), member(0), member(9, **{"ID Number": "8001015009088"})]
    file = {"file": ("members.csv", csv_file(rows), "text/csv")}
    async with working(system):
        receipt = await data(api.post(f"{BASE}/process", files=file), 202)
        assert receipt["queue_position"] in {0, 1}
        assert (receipt["status"], receipt["file_name"]) == ("pending", "members.csv")
        job_id = receipt["job_id"]
        # 4. follow it
        await job_event(settings, job_id, "completed")
    status = await data(api.get(f"{BASE}/status/{job_id}"))
    assert set(status) >= UPLOAD
    assert status["status"] == "completed"
    assert status["uploaded_by"] == user.email
    assert status["processing_duration_ms"] > 0
    assert status["error_message"] is None
    assert status["validation_stats"] == {
        "total_records": 8, "valid_records": 6, "invalid_ids": 1, "duplicates": 1,
        "not_registered": 0,
    }  # fmt: skip
    assert status["database_stats"] == {"inserts": 6, "updates": 0, "errors": 0}
    # 5. the queue after
    after = await data(api.get(f"{BASE}/queue/stats"))
    assert after["completed"] == before["completed"] + 1
    # 6. the latest jobs
    jobs = await data(api.get(f"{BASE}/queue/jobs", params={"limit": 5}))
    assert jobs["jobs"] == [
        {
            "jobId": job_id, "fileName": "members.csv", "status": "completed", "progress": 100,
            "uploadedBy": user.email,
        }
    ]  # fmt: skip
    # 7. the history
    history = await data(api.get(f"{BASE}/history", params={"page": 1, "limit": 10, "_": "17"}))
    assert history["uploads"] == history["jobs"] == history["items"]
    assert set(history["uploads"][0]) >= UPLOAD
    assert history["pagination"] == {"page": 1, "limit": 10, "total_count": 1, "total_pages": 1}
    # 8. statistics
    stats = await data(api.get(f"{BASE}/stats"))
    assert stats["avg_processing_time_ms"] == pytest.approx(status["processing_duration_ms"], abs=2)
    del stats["avg_processing_time_ms"]
    expected = {
        "total_uploads": 1, "successful_uploads": 1, "failed_uploads": 0, "success_rate": 1,
        "total_records_processed": 8, "total_inserts": 6, "total_updates": 0,
    }  # fmt: skip
    assert expected.items() <= stats.items()
    # and the report, by the path that the status has
    report = await api.get(status["report_path"])
    assert report.content.startswith(b"PK")
    assert await data(api.get(f"{BASE}/rate-limit-status"))
    assert "can_upload" in await data(api.get(f"{BASE}/can-upload"))


async def test_rows_of_another_office_are_valid_and_errors_of_the_database(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user(Role.PROVINCE_ADMIN, "GP")
    rows = [*members(2), member(5, Province="Limpopo")]
    async with working(system):
        upload_id = await sent(system, user, csv_file(rows))
        await ended(system, user, upload_id)
    status = await data(as_user(api, settings, user).get(f"{BASE}/status/{upload_id}"))
    assert status["validation_stats"]["valid_records"] == 3
    assert status["database_stats"] == {"inserts": 2, "updates": 0, "errors": 1}


async def test_an_upload_without_a_result_has_no_counts_and_says_why(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    as_user(api, settings, user)
    waiting = await sent(system, user, csv_file(1))
    for path in (f"status/{waiting}", f"cancel/{waiting}"):
        call = api.post if path.startswith("cancel") else api.get
        found = await data(call(f"{BASE}/{path}"))
        assert set(found) >= UPLOAD
        assert found["validation_stats"] is None
        assert found["database_stats"] is None
        assert found["report_path"] is None
        assert found["processing_duration_ms"] is None
    async with working(system):
        failed = await sent(system, user, csv_file([{"Name": "A"}], headers=("Name",)))
        await ended(system, user, failed)
    status = await data(api.get(f"{BASE}/status/{failed}"))
    assert status["error_message"] == status["error"] is not None
    retried = await data(api.post(f"{BASE}/queue/retry/{failed}"))
    assert (retried["status"], retried["uploaded_by"]) == ("pending", user.email)


async def test_the_history_is_paged_by_their_names(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    sent_ids = [str(await sent(system, user, csv_file(rows))) for rows in (1, 2, 3)]
    as_user(api, settings, user)
    last = await data(api.get(f"{BASE}/history?page=2&limit=2"))
    assert [upload["job_id"] for upload in last["uploads"]] == sent_ids[:1]
    assert last["pagination"] == {"page": 2, "limit": 2, "total_count": 3, "total_pages": 2}
    # Where both names are sent, ours counts.
    both = await data(api.get(f"{BASE}/history?limit=1&page_size=3"))
    assert len(both["items"]) == 3
    refused = await api.get(f"{BASE}/history?limit=no")
    assert refused.status_code == 422
    empty = await data(as_user(api, settings, await make_user(Role.PROVINCE_ADMIN, "WC")).get(
        f"{BASE}/history"
    ))  # fmt: skip
    assert empty["pagination"]["total_pages"] == 0


async def test_bodies_are_read_by_their_names(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser
) -> None:
    user = await make_user()
    async with working(system):
        await ended(system, user, await sent(system, user, csv_file(1)))
    as_user(api, settings, user)
    kept = await data(api.post(f"{BASE}/queue/clean", json={"gracePeriodHours": 1}))
    assert kept["completed"] == 0
    cleaned = await data(api.post(f"{BASE}/queue/clean", json={"gracePeriodHours": 0}))
    assert cleaned["completed"] == 1
    wrong = await api.post(f"{BASE}/queue/clean", json={"gracePeriodHours": "soon"})
    assert wrong.status_code == 422
    for text in (b"[1]", b"not json", b"[" * 60_000):
        odd = await api.post(
            f"{BASE}/queue/clean", content=text, headers={"Content-Type": "application/json"}
        )
        assert odd.status_code in {400, 422}, odd.text
    long = {"gracePeriodHours": 1, "more": "x" * 70_000}
    assert (await api.post(f"{BASE}/queue/clean", json=long)).status_code == 413


async def test_the_monitor_says_whether_files_are_taken_and_from_where(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser
) -> None:
    as_user(api, settings, await make_user())
    assert settings.watch_dir is not None
    watched = {"enabled": True, "watchDir": str(settings.watch_dir)}
    # Nobody has stopped it, and no watcher lives.
    state = await data(api.get(f"{BASE}/monitor/status"))
    assert {**watched, "isRunning": False}.items() <= state.items()
    async with watching(system):
        await until(lambda: _is_running(api))
        stopped = await data(api.post(f"{BASE}/monitor/stop", json={}))
        assert {**watched, "isRunning": False}.items() <= stopped.items()
        started = await data(api.post(f"{BASE}/monitor/start", json={}))
        assert {**watched, "isRunning": True}.items() <= started.items()
        await data(api.post(f"{BASE}/monitor/stop", json={}))
        (settings.watch_dir / "one.csv").write_bytes(csv_file(3))
        body = {"fileName": "one.csv"}
        taken = await data(api.post(f"{BASE}/monitor/process", json=body), 202)
        assert (await data(api.get(f"{BASE}/status/{taken['job_id']}")))["file_name"] == "one.csv"


async def _is_running(api: httpx.AsyncClient) -> bool:
    state = await data(api.get(f"{BASE}/monitor/status"))
    return bool(state["isRunning"])


# --- stored reports -------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_day")
async def test_stored_reports_are_listed_by_scope_and_day(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser
) -> None:
    gauteng = await make_user(Role.PROVINCE_ADMIN, "GP")
    cape = await make_user(Role.PROVINCE_ADMIN, "WC")
    jobs = {}
    async with working(system):
        for user, name in ((gauteng, "april.csv"), (cape, "may.csv")):
            jobs[user.id] = str(await sent(system, user, csv_file(2), name))
            await job_event(settings, jobs[user.id], "completed")
    as_user(api, settings, gauteng)
    found = await data(api.get(f"{BASE}/reports/metadata", params={"limit": 5}))
    assert (found["count"], found["pagination"]["total_count"]) == (1, 1)
    [report] = found["reports"]
    assert set(report) == REPORT
    assert report["job_id"] == jobs[gauteng.id]
    assert report["file_name"] == "april-report.xlsx"
    assert report["file_path"] == f"{BASE}/report/{jobs[gauteng.id]}"
    content = (await api.get(report["file_path"])).content
    assert len(content) == report["file_size"]
    assert await data(api.get(f"{BASE}/reports/{jobs[gauteng.id]}/metadata")) == report
    foreign, unknown = [
        await api.get(f"{BASE}/reports/{job_id}/metadata") for job_id in (jobs[cape.id], UNKNOWN)
    ]
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json()["message"] == unknown.json()["message"]

    async def between(start: object, end: object) -> int:
        period = {"start_date": str(start), "end_date": str(end)}
        count: int = (await data(api.get(f"{BASE}/reports/date-range", params=period)))["count"]
        return count

    today, day = clock.today(), dt.timedelta(days=1)
    assert await between(today, today) == 1
    assert await between(today - day, today - day) == 0
    assert await between(today + day, today + day) == 0
    now = clock.now()
    assert await between((now - day).isoformat(), now.isoformat()) == 1
    assert await between(now.isoformat(), (now + day).isoformat()) == 0
    as_user(api, settings, await make_user())
    assert await between(today, today) == 2
    one = await data(api.get(f"{BASE}/reports/metadata", params={"limit": 1}))
    assert one["reports"][0]["job_id"] == jobs[cape.id]
    assert one["pagination"] == {"page": 1, "limit": 1, "total_count": 2, "total_pages": 2}


async def test_an_odd_period_is_refused_with_a_sentence(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser
) -> None:
    as_user(api, settings, await make_user())
    for start, end in (
        ("yesterday", "2026-01-01"),
        ("2026-01-01", ""),
        ("2026-02-30", "2026-03-01"),
        ("2026-01-02", "2026-01-01"),
        ("0001-01-01T00:00:00+09:00", "2026-01-01"),
        ("2026-01-01", "9999-12-31"),
        ("1767225600", "2026-01-01"),
    ):
        period = {"start_date": start, "end_date": end}
        answer = await api.get(f"{BASE}/reports/date-range", params=period)
        assert answer.status_code == 422, period
        assert answer.json()["message"].endswith("Nothing was looked up."), period


async def test_reports_are_removed_by_operators_and_stand_in_the_audit_trail(
    api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser, tmp_path: Path
) -> None:
    user = await make_user()
    async with working(system):
        job_id = await sent(system, user, csv_file(2))
        await ended(system, user, job_id)
    outside = tmp_path / "reports"
    outside.mkdir()
    (outside / "theirs.xlsx").write_bytes(b"PK")
    as_user(api, settings, user)
    young = await data(api.post(f"{BASE}/reports/cleanup", json={"retention_days": 30}))
    assert young["count"] == 0
    body = {"reports_dir": str(outside)}
    assert (await data(api.post(f"{BASE}/reports/cleanup-orphaned", json=body)))["count"] == 0
    assert (outside / "theirs.xlsx").exists()
    too_young = await api.post(f"{BASE}/reports/cleanup", json={"retention_days": 1})
    assert too_young.status_code == 422
    await data(api.delete(f"{BASE}/reports/{job_id}"))
    gone = await api.get(f"{BASE}/reports/{job_id}/metadata")
    assert gone.status_code == 404
    assert (await data(api.get(f"{BASE}/status/{job_id}")))["report_path"] is None
    acts = (await data(api.get(f"{BASE}/audit")))["items"]
    # The worker purges too, once a day.
    own = [entry for entry in acts if entry["email"] == user.email]
    done = [(entry["act"], entry["outcome"]) for entry in own]
    assert done == [
        ("delete", "done"), ("purge", "done"), ("purge", "done"), ("upload", "done"),
    ]  # fmt: skip


async def test_files_of_no_upload_are_removed_once_they_are_a_day_old(
    api: httpx.AsyncClient,
    system: System,
    settings: Settings,
    make_user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rollbook.backends.files import FileStore
    from rollbook.service import clocks, store_proof

    await store_proof.prove(system)
    lost = uuid4()

    async def chunks() -> Any:
        yield b"PK"

    await system.store.receive(f"{lost}/report-1.xlsx", chunks())
    as_user(api, settings, await make_user())
    assert (await data(api.post(f"{BASE}/reports/cleanup-orphaned")))["count"] == 0
    true_now, there, stores = clock.now, clocks.now, FileStore.now

    async def later(pool: Any) -> dt.datetime:
        return await there(pool) + dt.timedelta(days=2)

    async def stores_later(store: FileStore) -> dt.datetime:
        return await stores(store) + dt.timedelta(days=2)

    monkeypatch.setattr(clocks, "now", later)
    monkeypatch.setattr(FileStore, "now", stores_later)
    monkeypatch.setattr(clock, "now", lambda: true_now() + dt.timedelta(days=2))
    as_user(api, settings, await make_user())
    removed = await data(api.post(f"{BASE}/reports/cleanup-orphaned", json={"reports_dir": "/"}))
    assert removed == {"count": 1, "bytes": 2}
    assert [file async for file in system.store.each(lost)] == []


async def test_an_office_removes_no_report_and_the_refusal_is_in_the_audit_trail(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser
) -> None:
    office = await make_user(Role.PROVINCE_ADMIN, "GP")
    as_user(api, settings, office)
    for method, path in (
        ("POST", "reports/cleanup-orphaned"),
        ("POST", "reports/cleanup"),
        ("DELETE", f"reports/{UNKNOWN}"),
    ):
        answer = await api.request(method, f"{BASE}/{path}")
        assert answer.status_code == 403, path
    with connect(settings.database_address) as connection:
        refused = connection.execute(
            "SELECT act FROM audit_entries WHERE user_id = %s AND outcome = 'refused' ORDER BY id",
            (office.id,),
        ).fetchall()
    assert [row["act"] for row in refused] == ["purge", "delete"]
    del api.headers["Authorization"]
    for path in ("metadata", "date-range?start_date=2026-01-01&end_date=2026-01-02",
                 f"{UNKNOWN}/metadata"):  # fmt: skip
        assert (await api.get(f"{BASE}/reports/{path}")).status_code == 401


# --- off ------------------------------------------------------------------------------------------


class TestOff:
    """Without the setting."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"first_system_clients": False})

    async def test_nothing_of_it_is_answered(
        self, api: httpx.AsyncClient, system: System, settings: Settings, make_user: MakeUser
    ) -> None:
        user = await make_user()
        job_id = await sent(system, user, csv_file(1))
        as_user(api, settings, user)
        for method, path in (
            ("GET", "reports/metadata"), ("GET", "reports/date-range"),
            ("GET", f"reports/{job_id}/metadata"), ("POST", "reports/cleanup-orphaned"),
        ):  # fmt: skip
            assert (await api.request(method, f"{BASE}/{path}")).status_code == 404, path
        theirs = {
            "/status/{job_id}": f"status/{job_id}", "/history": "history", "/stats": "stats",
            "/queue/jobs": "queue/jobs", "/monitor/status": "monitor/status",
        }  # fmt: skip
        for template, path in theirs.items():
            found = await data(api.get(f"{BASE}/{path}"))
            call = CALLS[f"GET {template}"]
            assert not (set(call.data) - {"status", "progress"}) & set(found)
            for item in found.get("items", ()):
                assert not set(call.items) & set(item)

    def test_none_of_its_modules_is_loaded(self) -> None:
        program = (
            "import sys; from rollbook.config import Settings; "
            "from rollbook.api.app import create_app; create_app(Settings(_env_file=None)); "
            "names = ('first_system', 'socketio', 'engineio'); "
            "print([m for m in sys.modules if any(name in m for name in names)])"
        )
        found = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
        )
        assert found.stdout.strip() == "[]"
