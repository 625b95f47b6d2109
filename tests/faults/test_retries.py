"""What a part that is away, full or limited costs: no attempt, no flood, and a sentence."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from rollbook.backends.database import connect, queries
from rollbook.service.system import open_system
from rollbook.uploads import lookup
from tests.faults.test_store import problems
from tests.files import csv_file, id_number, member
from tests.integration.folder.watching import until
from tests.integration.worker.test_worker import ended, sent, working

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

    MakeUser = Callable[..., Awaitable[User]]

#: Notes each pause before the next attempt.
PAUSES = """
CREATE TABLE pauses (hand_backs int, pause_s float8);
CREATE FUNCTION note_pause() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO pauses VALUES (NEW.hand_backs, extract(epoch FROM NEW.retry_at - now()));
    RETURN NULL;
END $$;
CREATE TRIGGER noted AFTER UPDATE ON uploads
    FOR EACH ROW WHEN (NEW.hand_backs > OLD.hand_backs) EXECUTE FUNCTION note_pause();
"""


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Callable[[], None]]:
    """A disk of this size at a folder, and what makes it a large one."""
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
        timeout=30,
    )
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode()}")

    def grow() -> None:
        grown = ["mount", "-o", "remount,size=100m", str(folder)]
        subprocess.run(grown, check=True, timeout=30)

    try:
        yield grow
    finally:
        subprocess.run(["umount", "-l", folder], check=True, timeout=30)


async def postponed(system: System, user: User, upload_id: UUID, times: int = 1) -> dict[str, Any]:
    """The record of an upload, once it was handed back so often in a row."""
    found: dict[str, Any] = {}

    async def is_so() -> bool:
        nonlocal found
        found = await lookup.get(system, user, upload_id)
        return bool(found["hand_backs"] >= times and found["status"] == "pending")

    await until(is_so)
    return found


async def test_a_part_that_is_not_there_is_asked_less_and_less_often(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    quick = settings.model_copy(
        update={"lock_wait_s": 0.05, "backoff_ms": 100, "longest_backoff_s": 0.5}
    )
    with connect(settings.database_address) as connection:
        connection.execute(PAUSES)
    async with open_system(quick) as opened, working(opened):
        await ended(system, user, await sent(system, user, csv_file(3)))
        with psycopg.connect(settings.database_address) as holding:
            holding.execute("UPDATE members SET race = race WHERE id_number = %s", (id_number(1),))
            content = csv_file([member(n, Surname="Other") for n in range(3)])
            upload_id = await sent(system, user, content)
            found = await postponed(system, user, upload_id, 5)
            assert found["attempt"] == found["attempts_before"]
            holding.rollback()
        assert (await ended(system, user, upload_id))["status"] == "completed"
    record = await lookup.get(system, user, upload_id)
    assert (record["error"], record["retry_at"]) == (None, None)
    with connect(settings.database_address) as connection:
        pauses = connection.execute("SELECT pause_s FROM pauses ORDER BY hand_backs").fetchall()
    assert [row["pause_s"] for row in pauses[:5]] == [0.1, 0.2, 0.4, 0.5, 0.5]


async def test_an_attempt_whose_end_could_not_be_recorded_costs_none(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    """PostgreSQL is away when the attempt ends: the same worker claims the upload again."""
    user = await make_user()
    upload_id = await sent(system, user, csv_file(3))
    claim = queries("uploads")["claim"]
    counted = []
    with connect(settings.database_address) as connection:
        for worker in ("one", "one", "other", "other"):
            row = connection.execute(claim, {"id": upload_id, "worker": worker}).fetchone()
            assert row is not None
            counted.append((row["attempt"], row["attempts_before"]))
    # That of a worker that has ended, perhaps by the file, is counted.
    assert counted == [(1, 0), (2, 1), (3, 1), (4, 2)]


async def test_a_limit_of_the_server_fails_with_its_sentence_and_not_again_and_again(
    system: System, make_user: MakeUser, settings: Settings
) -> None:
    user = await make_user()
    with connect(settings.database_address) as connection:
        connection.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_sleep(30); RETURN NULL; END'"
        )
        connection.execute(
            "CREATE TRIGGER slow AFTER INSERT ON members FOR EACH STATEMENT EXECUTE FUNCTION slow()"
        )
        row = connection.execute("SELECT current_database() AS name").fetchone()
        assert row is not None
        connection.execute(f"ALTER DATABASE {row['name']} SET statement_timeout = '5s'".encode())
    async with open_system(settings) as opened, working(opened):
        upload = await ended(system, user, await sent(system, user, csv_file(3)))
    assert (upload["status"], upload["error_code"]) == ("failed", "server_limit")
    assert "statement timeout" in upload["error"]
    assert upload["attempt"] == 1


async def test_a_store_whose_disk_is_full_is_waited_for(
    make_user: MakeUser,
    settings: Settings,
    tmp_path: Path,
    normal_after: Callable[..., None],
) -> None:
    store = tmp_path / "disk" / "store"
    user = await make_user()
    with small_disk(tmp_path / "disk", 400):
        store.mkdir()
        there = settings.model_copy(update={"store_url": store.as_uri(), "backoff_ms": 200})
        async with open_system(there) as opened:
            upload_id = await sent(opened, user, csv_file(3))
            (tmp_path / "disk" / "big").write_bytes(b"x" * 1000 * os.statvfs(store).f_bavail * 4)
            async with working(opened):
                found = await postponed(opened, user, upload_id, 2)
                assert found["error_code"] == "no_room"
                assert "disk of the file store" in found["error"]
                (tmp_path / "disk" / "big").unlink()
                began = time.monotonic()
                assert (await ended(opened, user, upload_id))["status"] == "completed"
                normal_after(time.monotonic() - began, "the store has room")


async def test_a_full_scratch_disk_hands_back_and_the_worker_takes_no_job(
    system: System,
    make_user: MakeUser,
    settings: Settings,
    tmp_path: Path,
    normal_after: Callable[..., None],
) -> None:
    user = await make_user()
    with small_disk(tmp_path / "data" / "scratch", 3000):
        tight = settings.model_copy(update={"scratch_free_mb": 2, "backoff_ms": 200})
        big = tmp_path / "data" / "scratch" / "big"
        big.write_bytes(b"x" * 2_500_000)
        async with open_system(tight) as opened, working(opened):
            upload_id = await sent(opened, user, csv_file(3))
            [problem] = await problems(settings)
            assert "scratch" in problem
            assert (await lookup.get(system, user, upload_id))["attempt"] == 0
            big.unlink()
            began = time.monotonic()
            assert (await ended(opened, user, upload_id))["status"] == "completed"
            normal_after(time.monotonic() - began, "the scratch disk has room")


async def test_a_scratch_disk_that_fills_up_during_an_attempt_costs_none(
    make_user: MakeUser, settings: Settings, tmp_path: Path
) -> None:
    user = await make_user()
    with small_disk(tmp_path / "data" / "scratch", 200) as grow:
        tight = settings.model_copy(update={"scratch_free_mb": 0, "backoff_ms": 200})
        async with open_system(tight) as opened, working(opened):
            upload_id = await sent(opened, user, csv_file(5_000))
            found = await postponed(opened, user, upload_id, 2)
            assert found["error_code"] == "no_room"
            assert found["attempt"] == found["attempts_before"]
            grow()
            async with asyncio.timeout(60):
                assert (await ended(opened, user, upload_id))["status"] == "completed"
