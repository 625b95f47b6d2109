"""PostgreSQL on a small disk that is full: uploads wait for room, and nothing of them is lost."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from rollbook.accounts import users
from rollbook.engines import Engines
from rollbook.service.system import open_system
from tests import cluster
from tests.faults.site import IS_LONG
from tests.faults.test_retries import postponed, small_disk
from tests.files import csv_file, members
from tests.integration.worker.test_worker import ended, in_members, merges_held, sent, working

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rollbook.config import Settings

#: Kilobytes of the disk: a cluster, its log and a reserve.
DISK_KB = 200_000
#: Rows of a file for which there is no room.
ROWS = 20_000 if IS_LONG else 4_000


@pytest.fixture
def small(settings: Settings, tmp_path: Path) -> Iterator[tuple[Settings, Path]]:
    """Settings of a PostgreSQL on a small disk, and a file that takes the room on it."""
    home = tmp_path / "small"
    with small_disk(home / "postgres", DISK_KB):
        cluster.put(home)
        engines = Engines(home, valkey=False)
        address = engines.start().database_url
        assert address is not None
        try:
            yield (
                settings.model_copy(
                    update={"database_url": SecretStr(address), "backoff_ms": 200, "attempts": 2}
                ),
                home / "postgres" / "ballast",
            )
        finally:
            engines.stop()


def fill(ballast: Path) -> None:
    """Take all the room but half a megabyte."""
    free = os.statvfs(ballast.parent).f_bavail * os.statvfs(ballast.parent).f_bsize
    ballast.write_bytes(b"\0" * max(0, free - 500_000))


async def test_a_full_disk_of_postgresql_is_waited_for(
    small: tuple[Settings, Path], normal_after: Callable[..., None]
) -> None:
    settings, ballast = small
    async with open_system(settings) as system:
        await users.add_first(system.pool, settings)
        user = await users.acting(system.pool, None)
        async with working(system):
            first = await sent(system, user, csv_file(members(5)))
            assert (await ended(system, user, first))["status"] == "completed"
            with merges_held(settings):  # it would be through before the disk is full
                upload_id = await sent(system, user, csv_file(members(ROWS, start=100)))
                fill(ballast)
            found = await postponed(system, user, upload_id, 2)
            assert found["error_code"] == "no_room"
            assert "PostgreSQL" in found["error"]
            assert found["attempt"] == found["attempts_before"]
            ballast.unlink()
            began = time.monotonic()
            upload = await ended(system, user, upload_id)
            assert upload["status"] == "completed", upload["error"]
            assert upload["inserted"] == ROWS
            normal_after(time.monotonic() - began, f"PostgreSQL's disk has room, {ROWS} rows")
    assert len(in_members(settings)) == ROWS + 5
