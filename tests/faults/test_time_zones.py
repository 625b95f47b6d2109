"""Machines and a PostgreSQL that are set up for other time zones, with and without summer time."""

from __future__ import annotations

import datetime as dt
import io
import time
from typing import TYPE_CHECKING, Any

import httpx
import openpyxl
import pytest
from psycopg import sql

from rollbook.accounts.users import issue_token
from rollbook.api.app import create_app
from rollbook.backends.database import connect, fetch_one
from rollbook.service.system import open_system
from tests.files import HEADERS, csv_file, member
from tests.integration.worker.test_worker import ended, sent, working

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from uuid import UUID

    from rollbook.config import Settings
    from rollbook.model import User

    MakeUser = Callable[..., Awaitable[User]]
    SetZone = Callable[[str], None]

pytestmark = pytest.mark.usefixtures("one_day")

#: Zones that are ahead of and after UTC by much; the last one has summer time.
ZONES = ("UTC", "Pacific/Kiritimati", "America/New_York")


@pytest.fixture
def set_zone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[SetZone]:
    """Move the clocks on the wall: PostgreSQL's for new sessions, and this process's."""

    def move(zone: str) -> None:
        with connect(settings.database_address) as connection:
            row = connection.execute("SELECT current_database() AS name").fetchone()
            assert row is not None
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET timezone = {}").format(
                    sql.Identifier(row["name"]), zone
                )
            )
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


async def said(settings: Settings, user: User, upload_id: UUID) -> dict[str, Any]:
    """What the API answers about an upload, its days, its members and its report."""
    app = create_app(settings)
    headers = {"Authorization": f"Bearer {issue_token(settings, user)}"}
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://test/api/v1", headers=headers
        ) as api,
    ):
        answers = {}
        for path in (
            f"/bulk-upload/status/{upload_id}", f"/bulk-upload/rows/{upload_id}",
            "/bulk-upload/history", "/bulk-upload/stats/over-time?days=3",
            "/bulk-upload/audit?act=start", "/members", "/members/report",
        ):  # fmt: skip
            answer = await api.get(path)
            assert answer.is_success, answer.text
            answers[path] = answer.json()["data"]
        file = {"file": ("again.csv", csv_file([member(1), member(2)]))}
        repeated = await api.post("/bulk-upload/process", files=file)
        answers["sent again"] = (repeated.status_code, repeated.json()["detail"])
        answer = await api.get(f"/bulk-upload/report/{upload_id}")
        report = openpyxl.load_workbook(io.BytesIO(answer.content), read_only=True)
        answers["report"] = [
            [list(row) for row in sheet.iter_rows(values_only=True)] for sheet in report
        ]
    return answers


async def test_answers_days_and_sentences_are_the_same_in_every_zone(
    make_user: MakeUser, settings: Settings, set_zone: SetZone
) -> None:
    user = await make_user()
    found: list[dict[str, Any]] = []
    for zone in ZONES:
        set_zone(zone)
        async with open_system(settings) as opened:
            if not found:
                async with working(opened):
                    content = csv_file([member(1), member(2)])
                    upload_id = await sent(opened, user, content)
                    assert (await ended(opened, user, upload_id))["status"] == "completed"
        found.append(await said(settings, user, upload_id))
    assert found[1] == found[0]
    assert found[2] == found[0]
    status = found[0][f"/bulk-upload/status/{upload_id}"]
    assert dt.datetime.fromisoformat(status["created_at"]).utcoffset() == dt.timedelta(0)


async def test_a_file_is_read_the_same_in_every_zone(
    make_user: MakeUser, settings: Settings, set_zone: SetZone
) -> None:
    """Dates of birth, of joining and of today are days, which no zone moves."""
    user = await make_user()
    found = []
    for number, zone in enumerate(ZONES):
        set_zone(zone)
        today = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)).date()
        rows = [member(number, **{"Date Joined": today.isoformat()})]
        content = csv_file(rows, headers=[*HEADERS, "Date Joined"])
        async with open_system(settings) as opened, working(opened):
            upload = await ended(opened, user, await sent(opened, user, content))
            assert upload["status"] == "completed", upload["error"]
        with connect(settings.database_address) as connection:
            row = connection.execute(
                "SELECT date_of_birth, date_joined, expiry_date FROM members"
                " WHERE created_by_upload = %s", (upload["id"],)
            ).fetchone()  # fmt: skip
        assert row is not None
        assert row["date_joined"] == today
        found.append(tuple(row.values()))
    assert len(set(found)) == 1


@pytest.mark.parametrize("zone", ZONES)
async def test_summer_time_moves_no_cut_off(
    settings: Settings, set_zone: SetZone, zone: str
) -> None:
    """A day of a cut-off has 24 hours, also where the clocks were changed in its night."""
    set_zone(zone)
    summer = "SELECT '2026-03-09T00:00Z'::timestamptz - interval '2 days' AS moment"
    with connect(settings.database_address) as connection:
        rows = [connection.execute(summer).fetchone()]
    async with open_system(settings) as opened:
        rows += [await fetch_one(pool, summer) for pool in (opened.pool, opened.undo_pool)]
    assert {row and row["moment"] for row in rows} == {dt.datetime(2026, 3, 7, tzinfo=dt.UTC)}
