"""The watched folder with real files: what is taken, by whom, and exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest

from rollbook import clock, intake, watcher
from rollbook.accounts import Role, User, disable, issue_token, set_password
from rollbook.api.app import create_app
from rollbook.config import environment_for
from rollbook.database import connect
from rollbook.errors import FileWaitsError, NotFoundError, ServiceUnavailableError
from rollbook.queue import UploadQueue
from rollbook.system import open_system
from rollbook.watcher import Watcher
from tests.conftest import PASSWORD
from tests.files import csv_file, members, workbook
from tests.integration.test_worker import working
from tests.waiting import PATIENCE_S, job_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from rollbook.config import Settings
    from rollbook.database import Row
    from rollbook.system import System

    MakeUser = Callable[..., Awaitable[User]]

MONITOR = "/api/v1/bulk-upload/monitor"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "watched"
    path.mkdir()
    return path


@pytest.fixture
def settings(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(
        update={
            "watch_dir": folder,
            "watch_still_s": 0.05,
            "watch_sweep_s": 0.1,
            "watch_events": False,
            "watch_min_bytes": 10,
        }
    )


@contextlib.asynccontextmanager
async def watching(system: System) -> AsyncIterator[Watcher]:
    stop = asyncio.Event()
    one = Watcher(system)
    task = asyncio.create_task(one.run(stop))
    try:
        yield one
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await task


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Look again and again until it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)


def recorded(settings: Settings) -> list[Row]:
    with connect(settings.database_address) as connection:
        return connection.execute(
            "SELECT uploads.*, users.email AS owner FROM uploads JOIN users ON users.id = owner_id "
            "ORDER BY ordinal"
        ).fetchall()


def names(folder: Path, sub: str) -> list[str]:
    """The names in processed/ or failed/ as the files had them before, and what is beside them."""
    within = folder / sub
    return sorted(p.name.split("-", 2)[2] for p in within.iterdir()) if within.exists() else []


def names_of_files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file()]


def nothing_is_claimed(folder: Path) -> bool:
    return not list((folder / ".taking").iterdir())


async def test_a_file_that_is_there_at_the_start_is_taken_and_merged_for_the_account_folder(
    system: System, settings: Settings, folder: Path
) -> None:
    (folder / "members.xlsx").write_bytes(workbook(members(4)))
    async with working(system), watching(system):
        await until(lambda: names(folder, "processed") == ["members.xlsx"])
        [upload] = recorded(settings)
        await job_event(settings, upload["id"], "completed")
    [upload] = recorded(settings)
    assert (upload["status"], upload["inserted"]) == ("completed", 4)
    assert (upload["owner"], upload["priority"], upload["file_name"]) == (
        "folder", 5, "members.xlsx",
    )  # fmt: skip
    assert nothing_is_claimed(folder)
    assert names_of_files(folder) == []


async def test_an_event_wakes_the_watcher_long_before_the_sweep(
    settings: Settings, folder: Path
) -> None:
    eager = settings.model_copy(update={"watch_events": True, "watch_sweep_s": 3600})
    async with open_system(eager) as system, watching(system) as one:
        await until(lambda: one._swept_at is not None)
        began = time.monotonic()
        while not names(folder, "processed") and time.monotonic() - began < PATIENCE_S:
            # Written again: the first one may come before anybody listens.
            (folder / f"{time.monotonic_ns()}.csv").write_bytes(
                csv_file(members(2, start=time.monotonic_ns() % 10**6))
            )
            await asyncio.sleep(0.5)
        assert names(folder, "processed")


async def test_a_slowly_written_file_is_never_taken_half_written(
    settings: Settings, folder: Path
) -> None:
    content = csv_file(members(40))
    patient = settings.model_copy(update={"watch_still_s": 1.0, "watch_sweep_s": 0.05})
    async with open_system(patient) as opened, watching(opened):
        with (folder / "slow.csv").open("wb") as file:
            for start in range(0, len(content), 400):
                file.write(content[start : start + 400])
                file.flush()
                await asyncio.sleep(0.2)
                assert recorded(settings) == []
        await until(lambda: names(folder, "processed") == ["slow.csv"])
    [upload] = recorded(settings)
    assert upload["file_bytes"] == len(content)


async def test_a_writer_that_pauses_and_goes_on_after_the_claim_is_waited_for(
    system: System, settings: Settings, folder: Path
) -> None:
    content = csv_file(members(30))
    path = folder / "paused.csv"
    path.write_bytes(content[:500])
    one = Watcher(system)
    file = one.folder.look().files[0]
    with path.open("ab") as writer:  # it holds the file open, whatever its name becomes
        claim = one.folder.claim(file, UUID(int=7), priority=5, at=clock.now())
        assert claim is not None
        writer.write(content[500:])
    with pytest.raises(FileWaitsError):
        await intake._carry_on(system, one.folder, claim, await intake._owner(system, None))
    assert recorded(settings) == []
    async with watching(system):
        await until(lambda: names(folder, "processed") == ["paused.csv"])
    [upload] = recorded(settings)
    assert upload["file_bytes"] == len(content)
    assert [key async for key in _stored_of_nobody(system, settings)] == []


async def _stored_of_nobody(system: System, settings: Settings) -> AsyncIterator[str]:
    known = {upload["id"] for upload in recorded(settings)}
    async for file in system.store.each():
        if file.upload_id not in known:
            yield file.key


async def test_two_hundred_files_and_two_watchers_make_two_hundred_uploads(
    system: System, settings: Settings, folder: Path
) -> None:
    for number in range(200):
        (folder / f"{number:03}.csv").write_bytes(csv_file(members(1, start=number)))
    async with (
        open_system(settings) as other,
        watching(system) as one,
        watching(other) as two,
    ):
        await until(lambda: len(names(folder, "processed")) == 200)
        await until(lambda: one.taken + two.taken == 200)
    assert (one.refused, two.refused) == (0, 0)
    found = recorded(settings)
    assert sorted(upload["file_name"] for upload in found) == [f"{n:03}.csv" for n in range(200)]
    assert len({upload["file_sha256"] for upload in found}) == 200
    assert nothing_is_claimed(folder)
    assert names(folder, "failed") == []


async def test_a_file_replaced_while_it_is_queued_is_another_upload(
    system: System, settings: Settings, folder: Path
) -> None:
    async with watching(system):
        for start in (0, 100):
            content = csv_file(members(3, start=start))
            (folder / "members.csv").write_bytes(content)
            await until(lambda: len(recorded(settings)) == 1 + (start > 0))  # noqa: B023
        await until(lambda: names(folder, "processed") == ["members.csv"] * 2)
    first, second = recorded(settings)
    assert first["file_sha256"] != second["file_sha256"]
    assert {first["status"], second["status"]} == {"pending"}
    for upload, start in ((first, 0), (second, 100)):
        _, chunks = await system.store.open(upload["source_key"])
        assert b"".join([c async for c in chunks]) == csv_file(members(3, start=start))


async def test_a_file_replaced_before_it_stood_still_is_taken_as_it_is_in_the_end(
    system: System, settings: Settings, folder: Path
) -> None:
    one = Watcher(system)
    (folder / "members.csv").write_bytes(csv_file(members(3)))
    await one.run_once()
    (folder / "new").write_bytes(csv_file(members(5)))
    (folder / "new").rename(folder / "members.csv")
    await until(lambda: _taken_by(one))
    [upload] = recorded(settings)
    assert upload["file_bytes"] == len(csv_file(members(5)))


async def _taken_by(one: Watcher) -> bool:
    await one.run_once()
    return one.taken + one.refused > 0


async def _has_problem(one: Watcher) -> bool:
    await one.run_once()
    return one._problem is not None and one.refused == 1


async def _has_moved_on(one: Watcher, folder: Path) -> bool:
    await one.run_once()
    return names(folder, "processed") == ["members.csv"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("twice.csv", csv_file(members(3)), "duplicate_upload"),
        ("small.csv", b"tiny", "file_too_small"),
        ("fake.xlsx", b"this is no workbook at all", "unsupported_file"),
    ],
)
async def test_a_refused_file_goes_to_failed_with_what_to_do_beside_it(
    system: System, settings: Settings, folder: Path, name: str, content: bytes, code: str
) -> None:
    (folder / "once.csv").write_bytes(csv_file(members(3)))
    async with watching(system):
        await until(lambda: names(folder, "processed") == ["once.csv"])
        (folder / name).write_bytes(content)
        await until(lambda: names(folder, "failed") == [name, f"{name}.error.txt"])
    [text] = [p.read_text() for p in (folder / "failed").iterdir() if p.suffix == ".txt"]
    assert code in text
    assert "put it into the folder again" in " ".join(text.split())
    assert max(len(line) for line in text.splitlines()) <= 80
    [kept] = [p.read_bytes() for p in (folder / "failed").iterdir() if p.suffix != ".txt"]
    assert kept == content
    assert len(recorded(settings)) == 1
    assert nothing_is_claimed(folder)


async def test_a_file_over_the_limit_is_refused_before_a_byte_is_stored(
    settings: Settings, folder: Path
) -> None:
    small = settings.model_copy(update={"max_upload_mb": 1})
    with (folder / "large.csv").open("wb") as file:
        file.truncate(1024 * 1024 + 1)
    async with open_system(small) as system, watching(system):
        await until(lambda: len(names(folder, "failed")) == 2)
        assert [file async for file in system.store.each()] == []


async def test_other_files_and_links_stay_where_they_are(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    content = csv_file(members(3))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_bytes(content)
    left = [
        "~$members.xlsx", ".hidden.csv", "members.csv.tmp", "members.csv~", "Thumbs.db",
        ".DS_Store", "letter.pdf", "archive/old.csv", "processed/mine.csv", "nobodys/members.csv",
    ]  # fmt: skip
    for name in left:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "link.csv").symlink_to(outside / "secret.csv")
    (folder / "linked").symlink_to(outside)
    os.mkfifo(folder / "pipe.csv")
    mapped = settings.model_copy(update={"watch_owners": {"linked": "folder"}})
    async with open_system(mapped) as opened:
        one = Watcher(opened)
        for _ in range(3):
            await one.run_once()
            await asyncio.sleep(0.06)
        await one._beat()
        _, [seen] = await watcher.state(opened)
    assert recorded(settings) == []
    assert all((folder / name).read_bytes() == content for name in left)
    assert (folder / "link.csv").is_symlink()
    assert (outside / "secret.csv").exists()
    assert "1 sub-folders that are nobody's" in seen["problem"]


async def test_a_link_in_the_place_of_failed_leads_nothing_out_of_the_folder(
    system: System, settings: Settings, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (folder / "processed").symlink_to(tmp_path / "outside")
    (folder / "members.csv").write_bytes(csv_file(members(3)))
    (folder / "bad.csv").write_bytes(b"x")
    one = Watcher(system)
    await until(lambda: _has_problem(one))
    assert list((tmp_path / "outside").iterdir()) == []
    # The one that can't be moved on holds up no other.
    assert names(folder, "failed") == ["bad.csv", "bad.csv.error.txt"]
    (folder / "processed").unlink()
    await until(lambda: _has_moved_on(one, folder))
    assert len(recorded(settings)) == 1


async def test_the_files_of_a_mapped_sub_folder_are_its_owners_with_the_owner_s_scope(
    settings: Settings, folder: Path, make_user: MakeUser
) -> None:
    office = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "Johannesburg")
    (folder / "joburg").mkdir()
    (folder / "joburg" / "members.csv").write_bytes(csv_file(members(2)))
    mapped = settings.model_copy(update={"watch_owners": {"joburg": office.email}})
    async with open_system(mapped) as opened, watching(opened):
        await until(lambda: names(folder / "joburg", "processed") == ["members.csv"])
        (folder / "joburg" / "bad.csv").write_bytes(b"x")
        await until(lambda: len(names(folder / "joburg", "failed")) == 2)
    [upload] = recorded(settings)
    assert (upload["owner"], upload["province"], upload["municipality"], upload["priority"]) == (
        office.email, "GP", "Johannesburg", 5,
    )  # fmt: skip


async def test_files_of_a_closed_account_wait_and_hold_up_nobody_elses(
    system: System, settings: Settings, folder: Path, make_user: MakeUser
) -> None:
    office = await make_user(Role.PROVINCE_ADMIN, "GP")
    await disable(system.pool, office.email)
    (folder / "gp").mkdir()
    (folder / "gp" / "waits.csv").write_bytes(csv_file(members(2)))
    (folder / "goes.csv").write_bytes(csv_file(members(3)))
    mapped = settings.model_copy(update={"watch_owners": {"gp": office.email}})
    async with open_system(mapped) as opened:
        one = Watcher(opened)
        await until(lambda: _taken_by(one))
        assert "no open account" in (one._problem or "")
    assert [upload["file_name"] for upload in recorded(settings)] == ["goes.csv"]
    assert (folder / "gp" / "waits.csv").exists()


async def test_a_file_waits_claimed_while_the_store_is_away_and_is_taken_once_it_is_back(
    system: System, settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise ServiceUnavailableError("away")

    (folder / "members.csv").write_bytes(csv_file(members(3)))
    one = Watcher(system)
    with monkeypatch.context() as patch:
        patch.setattr(type(system.store), "receive", away)
        with pytest.raises(ServiceUnavailableError):
            await until(lambda: _taken_by(one))
    assert names_of_files(folder) == []
    assert names(folder, "failed") == []
    await until(lambda: _taken_by(one))
    assert names(folder, "processed") == ["members.csv"]
    assert len(recorded(settings)) == 1


async def test_a_file_is_recorded_while_the_queue_is_away(
    system: System, settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise ServiceUnavailableError("away")

    monkeypatch.setattr(UploadQueue, "add", away)
    (folder / "members.csv").write_bytes(csv_file(members(3)))
    one = Watcher(system)
    await until(lambda: _taken_by(one))
    assert [upload["status"] for upload in recorded(settings)] == ["pending"]
    assert names(folder, "processed") == ["members.csv"]


async def test_a_fault_of_ours_ends_no_watcher_and_loses_no_file(
    system: System, settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def faulty(*_: Any) -> None:
        raise RuntimeError

    (folder / "members.csv").write_bytes(csv_file(members(3)))
    async with watching(system) as one:
        with monkeypatch.context() as patch:
            patch.setattr(intake, "_store", faulty)
            await until(lambda: one._problem is not None)
        await until(lambda: names(folder, "processed") == ["members.csv"])
    assert len(recorded(settings)) == 1


# --- killed at any point --------------------------------------------------------------------------

#: An interpreter of its own that has imported everything, and for each line forks a watcher that
#: kills itself before or after the n-th call of a function on a file's way from the folder into
#: processed/ or failed/; it answers with how that ended.
MORTAL = """
import asyncio, functools, importlib, inspect, json, os, signal, sys
from rollbook import config
from rollbook.system import open_system
from rollbook.watcher import Watcher

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # where log lines go

def arm(module, name, moment, number):
    owner = importlib.import_module(module)
    for part in name.split(".")[:-1]:
        owner = getattr(owner, part)
    last = name.split(".")[-1]
    true = getattr(owner, last)
    left = number

    def strike(at):
        nonlocal left
        if at == moment:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if inspect.iscoroutinefunction(true):
        @functools.wraps(true)
        async def fatal(*args, **kwargs):
            strike("before")
            result = await true(*args, **kwargs)
            strike("after")
            return result
    else:
        @functools.wraps(true)
        def fatal(*args, **kwargs):
            strike("before")
            result = true(*args, **kwargs)
            strike("after")
            return result
    setattr(owner, last, fatal)

async def watch(point):
    async with open_system(config.load()) as system:
        watcher = Watcher(system)
        arm(*point)
        for _ in range(200):
            await watcher.run_once()
            if watcher.taken or watcher.refused:
                break
            await asyncio.sleep(0.02)

for line in sys.stdin:
    task = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ.clear()
        os.environ.update(task["environment"])
        asyncio.run(watch(task["point"]))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
"""


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", MORTAL],
        cwd=tmp_path_factory.mktemp("mortal"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


#: A good file and a refused one pass the same points; in `finish` the refused one has two renames.
POINTS = [
    ("rollbook.folder", "Folder.claim", "before", 1),
    ("os", "mkdir", "after", 1),
    ("os", "mkdir", "after", 2),
    ("os", "mkdir", "after", 3),
    ("os", "rename", "before", 1),
    ("os", "rename", "after", 1),
    ("rollbook.receive", "store_file", "before", 1),
    ("rollbook.receive", "store_file", "after", 1),
    ("rollbook.receive", "_record", "after", 1),
    ("rollbook.queue", "UploadQueue.add", "before", 1),
    ("rollbook.queue", "UploadQueue.add", "after", 1),
    ("rollbook.receive", "record", "after", 1),
    ("rollbook.folder", "Folder.finish", "before", 1),
    ("os", "rename", "before", 2),
    ("os", "rename", "after", 2),
    ("os", "rmdir", "before", 1),
    ("os", "rmdir", "after", 1),
    ("os", "rmdir", "after", 2),
]


@pytest.mark.parametrize(("module", "name", "moment", "number"), POINTS, ids=str)
async def test_a_watcher_killed_at_any_point_leaves_a_file_that_becomes_one_upload(
    system: System,
    settings: Settings,
    folder: Path,
    mortal: subprocess.Popen[str],
    module: str,
    name: str,
    moment: str,
    number: int,
) -> None:
    content = csv_file(members(3))
    (folder / "members.csv").write_bytes(content)
    assert await _ended(mortal, settings, module, name, moment, number) == -9
    async with watching(system):
        await until(lambda: names(folder, "processed") == ["members.csv"])
        await until(lambda: nothing_is_claimed(folder))
    [upload] = recorded(settings)
    assert upload["file_bytes"] == len(content)
    assert await system.store.has(upload["source_key"])
    assert names(folder, "failed") == []
    assert not (folder / "members.csv").exists()


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_watcher_killed_while_it_refuses_leaves_a_file_that_is_refused_once(
    system: System,
    settings: Settings,
    folder: Path,
    mortal: subprocess.Popen[str],
    moment: str,
    number: int,
) -> None:
    (folder / "bad.csv").write_bytes(b"x")
    assert await _ended(mortal, settings, "os", "rename", moment, number) == -9
    async with watching(system):
        await until(lambda: names(folder, "failed") == ["bad.csv", "bad.csv.error.txt"])
        await until(lambda: nothing_is_claimed(folder))
    assert recorded(settings) == []
    assert names(folder, "processed") == []


async def _ended(mortal: subprocess.Popen[str], settings: Settings, *point: str | int) -> int:
    """How a watcher ended that was to be killed at a point."""
    assert mortal.stdin is not None
    assert mortal.stdout is not None
    task = {"environment": environment_for(settings), "point": point}
    mortal.stdin.write(json.dumps(task) + "\n")
    mortal.stdin.flush()
    async with asyncio.timeout(PATIENCE_S):
        return int(await asyncio.to_thread(mortal.stdout.readline))


async def test_a_claim_that_another_process_works_on_is_left_to_it(
    system: System, settings: Settings, folder: Path
) -> None:
    (folder / "members.csv").write_bytes(csv_file(members(3)))
    one = Watcher(system)
    claim = one.folder.claim(one.folder.look().files[0], UUID(int=9), priority=5, at=clock.now())
    assert claim is not None
    async with intake._locked(system, claim.id):
        assert await intake.resume(system, one.folder, claim) is None
    assert recorded(settings) == []
    taken = await intake.resume(system, one.folder, claim)
    assert taken is not None
    again = await intake.resume(system, one.folder, claim)
    assert again is not None
    assert again.upload == taken.upload
    assert len(recorded(settings)) == 1


# --- over HTTP ------------------------------------------------------------------------------------


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test"
        ) as client,
    ):
        yield client


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
        # 6. manual processing, which goes on while the watchers are stopped
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
        assert [job["file_name"] for job in jobs] == ["by_itself.csv", "by_hand.csv"]


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
        (folder / "bad.csv").write_bytes(b"x")
        await until(lambda: len(names(folder, "failed")) == 2)
    good, bad = entries(settings)
    [upload] = recorded(settings)
    assert (good["act"], good["outcome"], good["job_id"]) == ("take", "done", upload["id"])
    assert (bad["outcome"], bad["code"], bad["job_id"]) == ("refused", "file_too_small", None)
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
    assert {entry["code"] for entry in found[:5]} == {"not_allowed"}
    assert {entry["user_id"] for entry in found[:5]} == {office.id}
    assert {entry["user_id"] for entry in found[5:]} == {operator.id}
    assert [(entry["act"], entry["code"]) for entry in found[5:]] == [
        ("watch_stop", None),
        ("take", None),
        ("take", "duplicate_upload"),
        ("take", "not_found"),
        ("watch_start", None),
    ]
    [upload] = recorded(settings)
    assert (upload["owner"], found[6]["job_id"]) == ("folder", upload["id"])


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


async def test_a_file_whose_name_is_no_text_is_taken_like_any_other(
    system: System, settings: Settings, folder: Path
) -> None:
    for number, name in enumerate((b"\xff\xfe.csv", b"a\\b.csv", b"line\nbreak.csv")):
        (folder / os.fsdecode(name)).write_bytes(csv_file(members(2, start=number)))
    (folder / os.fsdecode(b"bad\xff.csv")).write_bytes(b"x")
    async with watching(system):
        await until(lambda: len(names(folder, "processed")) == 3)
        await until(lambda: len(names(folder, "failed")) == 2)
    assert len(recorded(settings)) == 3


@pytest.mark.usefixtures("settings")
async def test_a_folder_that_takes_a_files_place_is_refused(system: System, folder: Path) -> None:
    one = Watcher(system)
    (folder / "members.csv").write_bytes(csv_file(members(3)))
    [file] = one.folder.look().files
    (folder / "members.csv").unlink()
    (folder / "members.csv").mkdir()
    (folder / "members.csv" / "inner").write_bytes(b"somebody's")
    taken = await intake.take(system, one.folder, file)
    assert taken is not None
    assert taken.refusal is not None
    assert "not a file of its own" in taken.refusal.message.replace("isn't", "is not")
    assert [path.read_bytes() for path in (folder / "failed").rglob("inner")] == [b"somebody's"]
    assert nothing_is_claimed(folder)
