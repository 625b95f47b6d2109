"""The watched folder as operators meet it: over HTTP, and in the audit trail."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from rollbook.accounts.users import issue_token, set_password
from rollbook.backends.database import connect
from rollbook.errors import NotFoundError
from rollbook.folder.watcher import Watcher
from rollbook.model import Role, User
from tests.conftest import PASSWORD
from tests.files import csv_file, members
from tests.integration.folder.watching import (
    names,
    recorded,
    until,
    watching,
)
from tests.integration.worker.test_worker import working
from tests.waiting import job_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import httpx

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

MONITOR = "/api/v1/bulk-upload/monitor"


async def test_the_eight_steps_of_the_first_system_s_monitor_test(
    api: httpx.AsyncClient,
    system: System,
    settings: Settings,
    folder: Path,
    make_user: MakeUser,
) -> None:
    user = await make_user()
    # 1. authenticate
    login = await api.post("/api/v1/auth/login", json={"email": user.email, "password": PASSWORD})
    api.headers["Authorization"] = f"Bearer {login.json()['data']['token']}"

    async def state() -> dict[str, Any]:
        data: dict[str, Any] = (await api.get(f"{MONITOR}/status")).json()["data"]
        return data

    async def is_seen() -> bool:
        return len((await state())["watchers"]) == 1

    # 2. status
    assert (await state())["watchers"] == []
    async with working(system), watching(system):
        await until(is_seen)
        # 3. start, after a stop that holds
        stopped = await api.post(f"{MONITOR}/stop")
        assert stopped.json()["data"]["is_running"] is False
        (folder / "by_itself.csv").write_bytes(csv_file(members(3)))
        (folder / "by_hand.csv").write_bytes(csv_file(members(3, start=50)))
        # 6. manual processing, which works while the watchers are stopped
        by_hand = await api.post(f"{MONITOR}/process", json={"file_name": "by_hand.csv"})
        assert by_hand.status_code == 202
        job_id = by_hand.json()["data"]["job_id"]
        assert [upload["priority"] for upload in recorded(settings)] == [1]
        assert (folder / "by_itself.csv").exists()
        started = await api.post(f"{MONITOR}/start")
        assert started.json()["data"]["is_running"] is True
        assert started.json()["data"]["changed_by"] == user.email
        # 4. automatic detection
        await until(lambda: "by_itself.csv" in names(folder, "processed"))
        # 5. queue statistics
        for upload in recorded(settings):
            await job_event(settings, upload["id"], "completed")
        stats = (await api.get("/api/v1/bulk-upload/queue/stats")).json()["data"]
        assert (stats["completed"], stats["total"]) == (2, 2)
        # 7. progress
        status = (await api.get(f"/api/v1/bulk-upload/status/{job_id}")).json()["data"]
        assert (status["status"], status["progress"], status["rows_total"]) == ("completed", 100, 3)
        assert status["owner"] == "folder"
        # 8. recent jobs
        jobs = (await api.get("/api/v1/bulk-upload/queue/jobs")).json()["data"]
        assert [job["file_name"] for job in jobs["items"]] == ["by_itself.csv", "by_hand.csv"]


async def test_a_stop_is_remembered_by_watchers_that_start_later(
    api: httpx.AsyncClient,
    system: System,
    settings: Settings,
    folder: Path,
    make_user: MakeUser,
) -> None:
    api.headers["Authorization"] = f"Bearer {issue_token(settings, await make_user())}"
    await api.post(f"{MONITOR}/stop")
    (folder / "members.csv").write_bytes(csv_file(members(3)))
    later = Watcher(system)
    for _ in range(3):
        await later.run_once()
        await asyncio.sleep(0.06)
    assert recorded(settings) == []
    assert (folder / "members.csv").exists()


TRICKS = [
    "../outside.csv", "..", ".", "", "/etc/passwd", "sub/inner.csv", "..\\outside.csv",
    "C:\\outside.csv", "inside.csv\0", "inside.csv\0.xlsx", "inside.csv\n", "\u202einside.csv",
    "\uff0e\uff0e\uff0foutside.csv", "..\u2215outside.csv", "..\u2044outside.csv",
    "\u2024\u2024/outside.csv", "%2e%2e%2foutside.csv", "..%c0%afoutside.csv", "insi\u0434e.csv",
    "inside.csv ", "./inside.csv", "INSIDE.CSV", "link.csv", ".hidden.csv", "~$inside.csv",
    "inside.pdf", "processed", "x" * 300 + ".csv", "~/inside.csv", "file:///inside.csv",
    ".taking", "*.csv", "\ud800.csv",
]  # fmt: skip


async def test_a_trick_in_a_file_name_answers_404_or_422_and_touches_nothing(
    api: httpx.AsyncClient, settings: Settings, folder: Path, make_user: MakeUser
) -> None:
    content = csv_file(members(3))
    for path in ("../outside.csv", "inside.csv", "sub/inner.csv", ".hidden.csv", "~$inside.csv",
                 "inside.pdf"):  # fmt: skip
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "link.csv").symlink_to(folder.parent / "outside.csv")

    def there() -> list[str]:
        return sorted(str(p) for p in folder.parent.rglob("*") if "data" not in p.parts)

    before = there()
    api.headers["Authorization"] = f"Bearer {issue_token(settings, await make_user())}"
    for file_name in TRICKS:
        answer = await api.post(
            f"{MONITOR}/process",
            content=json.dumps({"file_name": file_name}),  # ASCII, so that any character passes
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code in {404, 422}, (ascii(file_name), answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert there() == before, ascii(file_name)
    assert recorded(settings) == []


async def test_a_file_taken_by_hand_that_is_refused_says_why_and_goes_to_failed(
    api: httpx.AsyncClient, settings: Settings, folder: Path, make_user: MakeUser
) -> None:
    api.headers["Authorization"] = f"Bearer {issue_token(settings, await make_user())}"
    (folder / "once.csv").write_bytes(csv_file(members(3)))
    (folder / "twice.csv").write_bytes(csv_file(members(3)))
    first = await api.post(f"{MONITOR}/process", json={"file_name": "once.csv"})
    second = await api.post(f"{MONITOR}/process", json={"file_name": "twice.csv"})
    assert (first.status_code, second.status_code) == (202, 409)
    assert second.json()["job_id"] == first.json()["data"]["job_id"]
    assert names(folder, "failed") == ["twice.csv", "twice.csv.error.txt"]


async def test_the_monitor_is_for_operators_alone(
    api: httpx.AsyncClient, settings: Settings, folder: Path, make_user: MakeUser
) -> None:
    office = await make_user(Role.PROVINCE_ADMIN, "GP")
    api.headers["Authorization"] = f"Bearer {issue_token(settings, office)}"
    (folder / "members.csv").write_bytes(csv_file(members(3)))
    answers = [
        await api.get(f"{MONITOR}/status"),
        await api.post(f"{MONITOR}/start"),
        await api.post(f"{MONITOR}/stop"),
        await api.post(f"{MONITOR}/process", json={"file_name": "members.csv"}),
    ]
    assert [answer.status_code for answer in answers] == [403] * 4
    assert (folder / "members.csv").exists()


async def test_nobody_signs_in_as_the_folder_and_it_gets_no_password(
    api: httpx.AsyncClient, system: System, make_user: MakeUser
) -> None:
    await make_user()
    with pytest.raises(NotFoundError):
        await set_password(system.pool, "folder", PASSWORD)
    for password in ("", PASSWORD):
        login = await api.post("/api/v1/auth/login", json={"email": "folder", "password": password})
        assert login.status_code == 401


# --- in the audit trail ---------------------------------------------------------------------------


def entries(settings: Settings) -> list[Row]:
    with connect(settings.database_address) as connection:
        return connection.execute(
            "SELECT * FROM audit_entries WHERE act IN ('take', 'watch_start', 'watch_stop') "
            "ORDER BY id"
        ).fetchall()


async def test_a_taken_file_and_a_refused_one_leave_whose_they_are_and_where_they_lie(
    system: System, settings: Settings, folder: Path
) -> None:
    (folder / "good.csv").write_bytes(csv_file(members(3)))
    (folder / "good.csv").touch()
    async with watching(system) as one:
        await until(lambda: names(folder, "processed") == ["good.csv"])
        (folder / "bad.csv").write_bytes(b"")
        await until(lambda: len(names(folder, "failed")) == 2)
    good, bad = entries(settings)
    [upload] = recorded(settings)
    assert (good["act"], good["outcome"], good["job_id"]) == ("take", "done", upload["id"])
    assert (bad["outcome"], bad["code"], bad["job_id"]) == ("refused", "empty_file", None)
    assert {(entry["email"], entry["agent"]) for entry in (good, bad)} == {("folder", one.name)}
    [processed] = (folder / "processed").iterdir()
    assert processed.name == f"{good['about']}-good.csv"
    assert (folder / "failed" / f"{bad['about']}-bad.csv").exists()


async def test_what_an_operator_does_with_the_folder_stands_in_the_operators_name(
    api: httpx.AsyncClient, settings: Settings, folder: Path, make_user: MakeUser
) -> None:
    operator, office = (
        await make_user(Role.NATIONAL_ADMIN),
        await make_user(Role.PROVINCE_ADMIN, "GP"),
    )
    (folder / "good.csv").write_bytes(csv_file(members(3)))
    (folder / "twice.csv").write_bytes(csv_file(members(3)))
    for user in (office, operator):
        api.headers["Authorization"] = f"Bearer {issue_token(settings, user)}"
        await api.post(f"{MONITOR}/stop")
        for name in ("good.csv", "twice.csv", "none.csv"):
            await api.post(f"{MONITOR}/process", json={"file_name": name})
        await api.post(f"{MONITOR}/start")
    found = entries(settings)
    # The office's three tries to take a file are within a minute: one entry.
    assert [(entry["act"], entry["code"]) for entry in found[:3]] == [
        ("watch_stop", "not_allowed"),
        ("take", "not_allowed"),
        ("watch_start", "not_allowed"),
    ]
    assert {entry["user_id"] for entry in found[:3]} == {office.id}
    assert {entry["user_id"] for entry in found[3:]} == {operator.id}
    assert [(entry["act"], entry["code"]) for entry in found[3:]] == [
        ("watch_stop", None),
        ("take", None),
        ("take", "duplicate_upload"),
        ("take", "not_found"),
        ("watch_start", None),
    ]
    [upload] = recorded(settings)
    assert (upload["owner"], found[4]["job_id"]) == ("folder", upload["id"])


async def test_no_upload_over_http_can_make_a_file_of_the_folder_seem_to_be_taken(
    api: httpx.AsyncClient, settings: Settings, make_user: MakeUser
) -> None:
    answer = await api.post(
        "/api/v1/bulk-upload/process",
        files={"file": ("members.csv", csv_file(members(2)))},
        headers={
            "Authorization": f"Bearer {issue_token(settings, await make_user())}",
            "Idempotency-Key": f"folder:{UUID(int=7)}",
        },
    )
    assert answer.status_code == 422
    assert recorded(settings) == []
