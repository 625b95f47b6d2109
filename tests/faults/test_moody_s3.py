"""An S3 server that answers 503 SlowDown or 500, resets connections, or cuts its answers off."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest
from obstore.exceptions import BaseError

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.backends.database import connect
from rollbook.uploads import retention
from tests.faults.site import IS_LONG
from tests.faults.test_retries import postponed
from tests.files import csv_file, members
from tests.integration.backends.object_store import BUCKET, MOODS, MoodyDoor, opened, s3_server
from tests.integration.worker.test_worker import ended, in_members, working

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


#: Each mood with a request of a merge; in ``make faults`` each with each.
MERGES = (
    [(mood, request) for mood in MOODS for request in ("GET source", "PUT report-")]
    if IS_LONG
    else [
        ("slow_down", "PUT report-"),
        ("fault", "GET source"),
        ("reset", "PUT report-"),
        ("cut", "GET source"),
    ]
)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as port:
        yield port


@pytest.fixture
async def door(s3: int) -> AsyncIterator[MoodyDoor]:
    """What is before it; the environment points there, as an operator's would."""
    async with opened(MoodyDoor(s3)) as door:
        yield door


@pytest.fixture
def in_s3(settings: Settings, door: MoodyDoor) -> Settings:  # noqa: ARG001 - it sets the environment
    """Settings whose store is a folder of the bucket."""
    url = f"s3://{BUCKET}/moody"
    changes = {
        "store_url": url, "store_allow_http": True, "store_retry_s": 0.2, "backoff_ms": 200,
        "longest_backoff_s": 1,
    }  # fmt: skip
    return settings.model_copy(update=changes)


@dataclass(frozen=True)
class Api:
    """An API with a worker beside it, and a user who asks it."""

    system: System
    user: User
    client: httpx.AsyncClient

    async def send(self, rows: int) -> httpx.Response:
        """Send a file of so many members."""
        file = {"file": ("members.csv", csv_file(members(rows)))}
        return await self.client.post("/api/v1/bulk-upload/process", files=file)


@pytest.fixture
async def api(in_s3: Settings, make_user: MakeUser) -> AsyncIterator[Api]:
    user = await make_user()
    app = create_app(in_s3)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://test",
            headers={"Authorization": f"Bearer {issue_token(in_s3, user)}"},
        ) as client,
        working(app.state.system),
    ):
        yield Api(app.state.system, user, client)


@pytest.mark.parametrize("mood", MOODS)
async def test_a_file_that_comes_in_is_stored_and_merged_or_refused_with_a_sentence(
    mood: str, api: Api, door: MoodyDoor
) -> None:
    door.begin(mood, "PUT", "source")
    answer = await api.send(5)
    assert door.met > 0
    door.end()
    if answer.status_code != 202:
        assert answer.status_code == 503, answer.text
        assert "nothing was kept" in answer.json()["detail"]
        answer = await api.send(5)
    assert answer.status_code == 202, answer.text
    upload = await ended(api.system, api.user, answer.json()["data"]["job_id"])
    assert (upload["status"], upload["inserted"]) == ("completed", 5), upload["error"]


@pytest.mark.parametrize(("mood", "request_"), MERGES)
async def test_a_merge_that_misses_its_source_or_report_is_handed_back_and_merged_once(
    mood: str, request_: str, api: Api, door: MoodyDoor, settings: Settings
) -> None:
    method, name = request_.split()
    door.begin(mood, method, name)
    answer = await api.send(7)
    assert answer.status_code == 202, answer.text
    upload_id = answer.json()["data"]["job_id"]
    if (mood, method) != ("cut", "PUT"):  # the end of that answer says nothing
        found = await postponed(api.system, api.user, upload_id, 1)
        assert found["error_code"] == "service_unavailable"
        door.end()
    upload = await ended(api.system, api.user, upload_id)
    assert (upload["status"], upload["inserted"]) == ("completed", 7), upload["error"]
    assert upload["attempt"] == upload["attempts_before"] + 1
    assert door.met > 0
    assert len(in_members(settings)) == 7


@pytest.mark.parametrize("mood", MOODS if IS_LONG else ("cut", "slow_down"))
async def test_half_a_report_is_not_downloaded_as_a_whole_one_and_retention_comes_to_its_end(
    mood: str, api: Api, door: MoodyDoor, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = (await api.send(3)).json()["data"]["job_id"]
    key = (await ended(api.system, api.user, upload_id))["report_key"]
    address = f"/api/v1/bulk-upload/report/{upload_id}"
    door.begin(mood, "GET", "report-")
    if mood == "cut":  # a server breaks the connection off, as the answer has begun
        with pytest.raises(BaseError):
            await api.client.get(address)
    else:
        report = await api.client.get(address)
        assert report.status_code == 503, report.text
        assert report.json()["detail"].endswith(".")
    assert door.met > 0
    door.end()
    assert (await api.client.get(address)).status_code == 200

    with connect(settings.database_address) as connection:
        connection.execute("UPDATE uploads SET finished_at = now() - interval '400 days'")
    if mood != "cut":  # the end of that answer says nothing
        door.begin(mood, "DELETE", "")
        door.is_met = lambda line: line.startswith("DELETE") or "?delete" in line
        # All other calls are answered: the round goes on without what isn't removed.
        purged = await retention.run_once(api.system)
        assert purged is not None
        assert purged.not_removed > 0
        assert door.met > 0
        door.end()
    # What the round began is finished by one that finds it in the store.
    monkeypatch.setattr(retention, "ORPHAN_AGE", dt.timedelta(0))
    assert await retention.run_once(api.system) is not None
    assert not await api.system.store.has(key)
