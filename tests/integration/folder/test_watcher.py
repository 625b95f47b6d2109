"""The watched folder with real files: what is taken, and by whom."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from rollbook import clock
from rollbook.accounts.users import disable
from rollbook.errors import FileWaitsError, ServiceUnavailableError
from rollbook.folder import intake, watcher
from rollbook.folder.watcher import Watcher
from rollbook.model import Role, User
from rollbook.queue.uploads import UploadQueue
from rollbook.service.system import open_system
from tests.files import csv_file, id_number, members, workbook
from tests.integration.folder.watching import (
    names,
    names_of_files,
    nothing_is_claimed,
    recorded,
    until,
    watching,
)
from tests.integration.worker.test_worker import working
from tests.waiting import PATIENCE_S, job_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from rollbook.config import Settings
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]


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


async def test_a_shared_folder_stays_shared_whatever_the_umask(
    system: System, folder: Path
) -> None:
    os.chmod(folder, 0o775)  # noqa: PTH101, S103 - in an async test; a share
    (folder / "letter.csv").write_bytes(b"\x00no members")
    before = os.umask(0o077)
    try:
        async with watching(system):
            await until(lambda: (folder / "failed").is_dir() and names_of_files(folder) == [])
            await until(lambda: any((folder / "failed").rglob("*.txt")))
    finally:
        os.umask(before)
    for path in (folder / "failed").rglob("*"):
        if path.is_dir():
            assert path.stat().st_mode & 0o777 == 0o775, path
    [reason] = (folder / "failed").rglob("*.txt")
    assert reason.stat().st_mode & 0o777 == 0o664


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
    with path.open("ab") as writer:  # it holds the file open under any name
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


async def test_sixty_files_and_two_watchers_make_sixty_uploads(
    system: System, settings: Settings, folder: Path
) -> None:
    for number in range(60):
        (folder / f"{number:03}.csv").write_bytes(csv_file(members(1, start=number)))
    async with (
        open_system(settings) as other,
        watching(system) as one,
        watching(other) as two,
    ):
        await until(lambda: len(names(folder, "processed")) == 60)
        await until(lambda: one.taken + two.taken == 60)
    assert (one.refused, two.refused) == (0, 0)
    found = recorded(settings)
    assert sorted(upload["file_name"] for upload in found) == [f"{n:03}.csv" for n in range(60)]
    assert len({upload["file_sha256"] for upload in found}) == 60
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
        ("empty.csv", b"", "empty_file"),
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
    assert "1 sub-folders without an owner (nobodys)" in seen["problem"]
    # What programs make and remove by themselves isn't named.
    assert seen["left_alone"] == ["letter.pdf", "link.csv", "linked", "pipe.csv"]
    assert seen["left_alone_total"] == 4


async def test_many_files_that_are_left_alone_are_counted_and_the_first_ones_named(
    system: System, folder: Path
) -> None:
    for number in range(25):
        (folder / f"letter{number:02}.pdf").touch()
    (folder / f"{id_number(1)}.docx").touch()
    one = Watcher(system)
    await one.run_once()
    await one._beat()
    _, [seen] = await watcher.state(system)
    assert seen["left_alone_total"] == 26
    assert len(seen["left_alone"]) == 20
    assert id_number(1) not in "".join(seen["left_alone"])
    assert seen["left_alone"][1:3] == ["letter00.pdf", "letter01.pdf"]


async def test_a_file_of_one_short_row_is_taken_as_the_page_takes_it(
    system: System, settings: Settings, folder: Path
) -> None:
    content = f"ID Number,First Name,Surname\n{id_number(1)},A,B\n".encode()
    assert len(content) < 100
    (folder / "small.csv").write_bytes(content)
    async with watching(system):
        await until(lambda: names(folder, "processed") == ["small.csv"])
    [upload] = recorded(settings)
    assert upload["file_bytes"] == len(content)


async def test_a_link_in_the_place_of_failed_leads_nothing_out_of_the_folder(
    system: System, settings: Settings, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (folder / "processed").symlink_to(tmp_path / "outside")
    (folder / "members.csv").write_bytes(csv_file(members(3)))
    (folder / "bad.csv").write_bytes(b"")
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
    office = await make_user(Role.MUNICIPALITY_ADMIN, "GP", "City of Johannesburg")
    (folder / "joburg").mkdir()
    (folder / "joburg" / "members.csv").write_bytes(csv_file(members(2)))
    mapped = settings.model_copy(update={"watch_owners": {"joburg": office.email}})
    async with open_system(mapped) as opened, watching(opened):
        await until(lambda: names(folder / "joburg", "processed") == ["members.csv"])
        (folder / "joburg" / "bad.csv").write_bytes(b"")
        await until(lambda: len(names(folder / "joburg", "failed")) == 2)
    [upload] = recorded(settings)
    assert (upload["owner"], upload["province"], upload["municipality"], upload["priority"]) == (
        office.email, "GP", "City of Johannesburg", 5,
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


async def test_a_file_whose_name_is_no_text_is_taken_like_any_other(
    system: System, settings: Settings, folder: Path
) -> None:
    for number, name in enumerate((b"\xff\xfe.csv", b"a\\b.csv", b"line\nbreak.csv")):
        (folder / os.fsdecode(name)).write_bytes(csv_file(members(2, start=number)))
    (folder / os.fsdecode(b"bad\xff.csv")).write_bytes(b"")
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
    taken = await intake.accept(system, one.folder, file)
    assert taken is not None
    assert taken.refusal is not None
    assert "instead of a file" in taken.refusal.message
    assert [path.read_bytes() for path in (folder / "failed").rglob("inner")] == [b"somebody's"]
    assert nothing_is_claimed(folder)
