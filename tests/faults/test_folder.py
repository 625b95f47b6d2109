"""Watchers of one folder, killed at random moments, and a folder whose disk is full.

The seed is in the test's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rollbook.backends.database import connect
from rollbook.service.system import open_system
from tests.faults.site import IS_LONG, QUICK, Site, seeds, until
from tests.faults.test_retries import small_disk
from tests.integration.folder import watching

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rollbook.config import Settings

#: So many files at a time, and then a kill in the midst of taking them.
FILES, KILLS = (25, 3) if IS_LONG else (12, 2)


@pytest.fixture
def site(tmp_path: Path, folder: Path, seed: int) -> Iterator[Site]:
    pace = {
        **QUICK,
        "watch_dir": folder,
        "watch_still_s": 0.2,
        "watch_sweep_s": 0.5,
    }
    built = Site(tmp_path, seed, pace)
    built.start()
    built.settings.data_dir.mkdir(exist_ok=True)  # a watcher makes no installation
    yield built
    built.close()


@pytest.mark.parametrize("seed", list(seeds()), ids="seed{}".format)
def test_watchers_killed_at_any_moment_make_one_upload_of_each_file(
    site: Site, folder: Path
) -> None:
    def taken() -> int:
        count: int = site.query("SELECT count(*) AS n FROM uploads")[0]["n"]
        return count

    def is_idle() -> bool:
        files = [path for path in folder.iterdir() if path.is_file()]
        return not files and not list((folder / ".taking").iterdir())

    watchers = [site.run("watch"), site.run("watch")]
    names = [f"{number:03}.csv" for number in range(FILES * KILLS)]
    for start in range(0, len(names), FILES):
        before = taken()
        for name in names[start : start + FILES]:
            # Whole at once: on a busy machine an empty one might be still for long enough.
            (site.folder / name).write_bytes(site.content(1))
            (site.folder / name).rename(folder / name)
        until(lambda: taken() > before, "the first of the new files is taken")  # noqa: B023
        site.moment(0.2)
        killed = site.random.randrange(2)
        site.kill(watchers[killed])
        watchers[killed] = site.run("watch")
    until(is_idle, "all files are taken and moved on")

    uploads = site.query("SELECT file_name, status FROM uploads ORDER BY file_name")
    assert [upload["file_name"] for upload in uploads] == names
    moved_on = [path.name.split("-", 2)[2] for path in (folder / "processed").iterdir()]
    assert sorted(moved_on) == names
    assert not (folder / "failed").exists()
    entries = site.query("SELECT outcome FROM audit_entries WHERE act = 'take'")
    assert [entry["outcome"] for entry in entries] == ["done"] * len(names)


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as filling:
        for _ in range(1000):
            filling.write(bytes(4096))


async def test_a_file_whose_refusal_finds_no_room_on_the_folders_disk_is_refused_once(
    settings: Settings, tmp_path: Path
) -> None:
    """It waits until the reason can be written beside it, and the trail has one entry."""
    folder = tmp_path / "watched"
    watched = settings.model_copy(update={**watching.QUICK, "watch_dir": folder})

    def refusals() -> int:
        with connect(settings.database_address) as connection:
            found = connection.execute("SELECT FROM audit_entries WHERE act = 'take'")
            return len(found.fetchall())

    with small_disk(folder, 64) as grow:
        (folder / "empty.csv").touch()
        with pytest.raises(OSError, match="No space left"):
            fill(folder / ".filling")
        async with open_system(watched) as system, watching.watching(system) as watcher:
            for _ in range(3):
                watcher._problem = None
                await watching.until(lambda: "that there is room" in (watcher._problem or ""))
            assert refusals() == 0
            grow()
            refused = ["empty.csv", "empty.csv.error.txt"]
            await watching.until(lambda: watching.names(folder, "failed") == refused)
            await watching.until(lambda: watching.nothing_is_claimed(folder))
        assert refusals() == 1
