"""A client of the first system, moved to Rollbook by another address and account and nothing else.

It does what the first system's own test scripts do, by the names of their description, against two
API processes, while a worker and a watcher run.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import fastexcel
import httpx
import pytest
from socketio.exceptions import ConnectionError as NotConnectedError

from rollbook import clock
from tests.closing import BRIEFLY
from tests.conftest import PASSWORD
from tests.files import csv_file, member, members
from tests.integration.folder.watching import QUICK, until, watching
from tests.integration.live.test_live import short_token
from tests.integration.worker.test_worker import working
from tests.listening import Site, quick
from tests.socket_io import Ear, listening
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

STATUS = {
    "job_id", "status", "file_name", "uploaded_by", "uploaded_at", "processing_duration_ms",
    "error_message", "report_path", "validation_stats", "database_stats",
}  # fmt: skip
QUEUE = {"waiting", "active", "completed", "failed", "delayed", "paused", "total"}
STATS = {
    "total_uploads", "successful_uploads", "failed_uploads", "success_rate",
    "avg_processing_time_ms", "total_records_processed", "total_inserts", "total_updates",
}  # fmt: skip
REPORT = {"job_id", "file_name", "file_path", "file_size", "created_at"}


@pytest.fixture
def settings(settings: Settings, folder: Path) -> Settings:
    own = {**QUICK, "watch_dir": folder, "first_system_clients": True}
    return settings.model_copy(update=own)


class Client:
    """What the first system's client scripts have: an address, and a token once signed in."""

    def __init__(self, http: httpx.AsyncClient, host: str) -> None:
        self._http = http
        self._base = f"http://{host}/api/v1"

    async def call(self, method: str, path: str, **sent: Any) -> dict[str, Any]:
        """The data of an answer."""
        answer = await self._http.request(method, f"{self._base}/{path}", **sent)
        body = answer.json()
        assert answer.is_success, body
        assert (body["success"], bool(body["message"])) == (True, True)
        data: dict[str, Any] = body["data"]
        return data

    async def sign_in(self, user: User) -> str:
        credentials = {"email": user.email, "password": PASSWORD}
        data = await self.call("POST", "auth/login", json=credentials)
        assert data["user"]["email"] == user.email
        self._http.headers["Authorization"] = f"Bearer {data['token']}"
        token: str = data["token"]
        return token

    async def fetch(self, path: str) -> bytes:
        answer = await self._http.get(f"{self._base.removesuffix('/api/v1')}{path}")
        assert answer.status_code == 200
        return answer.content


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_client_of_the_first_system_works_with_another_address_and_account(
    system: System,
    settings: Settings,
    folder: Path,
    make_user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
) -> None:
    monkeypatch.setattr("rollbook.live.feed.ACCOUNTS_S", 0.05)
    user = await make_user()
    async with (
        Site(quick(settings)) as first,
        Site(quick(settings)) as second,
        httpx.AsyncClient(timeout=PATIENCE_S, limits=BRIEFLY) as http,
    ):
        client = Client(http, first.host)
        token = await client.sign_in(user)
        async with listening(second.host, token, transport) as ear, watching(system):
            done = await _eight_steps(client, ear, system, user)
            await _reports(client, done)
            await _folder(client, ear, folder)
            await _retries(client, ear, system)
            # It signs out, and gets no further messages.
            await client.call("POST", "auth/logout")
            await ear.end()
        for spent in (token, short_token(settings, user, seconds=-1)):
            with pytest.raises(NotConnectedError):
                async with listening(first.host, spent, transport):
                    pass


async def _eight_steps(client: Client, ear: Ear, system: System, user: User) -> dict[str, Any]:
    """Send a file and follow it; the event of its end."""
    call = client.call
    rows = [*members(20), member(0), member(30, **{"ID Number": "8001015009088"})]
    # 1, signing in, is done. 2. The queue.
    assert set(await call("GET", "bulk-upload/queue/stats")) >= QUEUE
    # 3. Send a file.
    file = {"file": ("members.csv", csv_file(rows), "text/csv")}
    receipt = await call("POST", "bulk-upload/process", files=file)
    job_id = receipt["job_id"]
    assert (receipt["status"], receipt["file_name"]) == ("pending", "members.csv")
    assert receipt["queue_position"] == 1
    assert (await ear.until("queue_position_update", job_id))["position"] == 1
    # 4. Follow it.
    async with working(system):
        done = await ear.until("bulk_upload_complete", job_id)
    status = await call("GET", f"bulk-upload/status/{job_id}")
    assert set(status) >= STATUS
    for name in ("validation_stats", "database_stats", "report_path", "processing_duration_ms"):
        assert done[name] == status[name]
    assert status["validation_stats"]["total_records"] == len(rows)
    assert status["database_stats"]["inserts"] == 20
    # 5. The queue again.
    assert (await call("GET", "bulk-upload/queue/stats"))["completed"] == 1
    # 6. Its latest jobs.
    [job] = (await call("GET", "bulk-upload/queue/jobs", params={"limit": 10}))["jobs"]
    assert (job["jobId"], job["uploadedBy"]) == (job_id, user.email)
    # 7. The history.
    history = await call("GET", "bulk-upload/history", params={"page": 1, "limit": 10})
    assert set(history["uploads"][0]) >= STATUS
    assert history["jobs"] == history["uploads"]
    assert history["pagination"]["total_count"] == 1
    # 8. The statistics.
    stats = await call("GET", "bulk-upload/stats")
    assert set(stats) >= STATS
    assert (stats["total_uploads"], stats["total_inserts"]) == (1, 20)
    assert "can_upload" in await call("GET", "bulk-upload/can-upload")
    assert "remaining" in await call("GET", "bulk-upload/rate-limit-status")
    return done


async def _reports(client: Client, done: dict[str, Any]) -> None:
    call, job_id = client.call, done["job_id"]
    content = await client.fetch(done["report_path"])
    assert fastexcel.read_excel(content).sheet_names
    [report] = (await call("GET", "bulk-upload/reports/metadata", params={"limit": 5}))["reports"]
    assert set(report) == REPORT
    assert report["file_size"] == len(content)
    assert await call("GET", f"bulk-upload/reports/{job_id}/metadata") == report
    today = clock.today()  # the report may have been written before midnight
    period = {"start_date": str(today - dt.timedelta(days=1)), "end_date": str(today)}
    assert (await call("GET", "bulk-upload/reports/date-range", params=period))["count"] == 1
    assert (await call("GET", "bulk-upload/reports/stats"))["reports"] >= 1
    old = {"retention_days": 30}
    assert (await call("POST", "bulk-upload/reports/cleanup", json=old))["count"] == 0
    place = {"reports_dir": "/uploads/reports"}
    assert (await call("POST", "bulk-upload/reports/cleanup-orphaned", json=place))["count"] == 0
    await call("DELETE", f"bulk-upload/reports/{job_id}")
    assert (await call("GET", "bulk-upload/reports/metadata"))["count"] == 0


async def _folder(client: Client, ear: Ear, folder: Path) -> None:
    """The watched folder; and a job of somebody else, followed and cancelled."""
    call = client.call

    async def runs() -> bool:
        return bool((await call("GET", "bulk-upload/monitor/status"))["isRunning"])

    await until(runs)
    state = await call("POST", "bulk-upload/monitor/stop", json={})
    assert (state["isRunning"], state["enabled"]) == (False, True)
    assert state["watchDir"] == str(folder)
    (folder / "by_hand.csv").write_bytes(csv_file(members(3, start=60)))
    body = {"fileName": "by_hand.csv"}
    taken = await call("POST", "bulk-upload/monitor/process", json=body)
    assert (await call("POST", "bulk-upload/monitor/start", json={}))["isRunning"]
    followed = {"job_id": taken["job_id"]}
    assert (await ear.call("subscribe_bulk_upload_job", followed))["success"]
    cancelled = await call("POST", f"bulk-upload/cancel/{taken['job_id']}")
    assert cancelled["status"] == "cancelled"
    await ear.until("bulk_upload_failed", taken["job_id"])
    await ear.call("unsubscribe_bulk_upload_job", followed)


async def _retries(client: Client, ear: Ear, system: System) -> None:
    call = client.call
    bad = {"file": ("bad.csv", csv_file([{"Name": "A"}], headers=("Name",)))}
    refused = await call("POST", "bulk-upload/process", files=bad)
    async with working(system):
        failed = await ear.until("bulk_upload_failed", refused["job_id"])
    status = await call("GET", f"bulk-upload/status/{refused['job_id']}")
    assert failed["error"] == status["error_message"] is not None
    retried = await call("POST", f"bulk-upload/queue/retry/{refused['job_id']}")
    assert retried["status"] == "pending"
    await call("POST", "bulk-upload/queue/clean", json={"gracePeriodHours": 24})
