"""Watchers that are killed at any point: each file is processed exactly once."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from rollbook import clock
from rollbook.config import environment_for
from rollbook.folder import intake
from rollbook.folder.watcher import Watcher
from tests import warm_process
from tests.files import csv_file, members
from tests.integration.folder import mortal as mortal_module
from tests.integration.folder.watching import (
    names,
    nothing_is_claimed,
    recorded,
    until,
    watching,
)
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rollbook.config import Settings
    from rollbook.service.system import System


@pytest.fixture(scope="module")
def mortal() -> Iterator[subprocess.Popen[str]]:
    """The process whose watchers die (mortal.py)."""
    with warm_process.start_module(
        mortal_module.__name__, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


#: A good file and a refused one pass the same points; in `finish` the refused one has two renames.
POINTS = [
    ("rollbook.folder.claims", "Folder.claim", "before", 1),
    ("os", "mkdir", "after", 1),
    ("os", "mkdir", "after", 2),
    ("os", "mkdir", "after", 3),
    ("os", "rename", "before", 1),
    ("os", "rename", "after", 1),
    ("rollbook.uploads.receive", "store_file", "before", 1),
    ("rollbook.uploads.receive", "store_file", "after", 1),
    ("rollbook.uploads.receive", "_record", "after", 1),
    ("rollbook.queue.uploads", "UploadQueue.add", "before", 1),
    ("rollbook.queue.uploads", "UploadQueue.add", "after", 1),
    ("rollbook.uploads.receive", "record", "after", 1),
    ("rollbook.folder.claims", "Folder.finish", "before", 1),
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
    (folder / "bad.csv").write_bytes(b"")
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
