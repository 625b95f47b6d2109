"""Members' data on local disk goes with the work, however that ends."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from rollbook.worker import scratch
from tests.waiting import kill, printed

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

HOLD = """
import sys, pathlib
from rollbook.worker import scratch
with scratch.folder(pathlib.Path(sys.argv[1])) as own:
    (own / "members.xlsx").write_text("data")
    print(own.name, flush=True)
    sys.stdin.read()
"""


def test_a_worker_s_folder_goes_with_it_and_is_private(tmp_path: Path) -> None:
    with scratch.folder(tmp_path) as own:
        assert own.stat().st_mode & 0o077 == 0
        (own / "members.xlsx").write_text("data")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_killed_worker_s_folder_is_removed_by_the_next_and_a_living_one_s_is_not(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        name = next(printed(other.stdout)).strip()
        with scratch.folder(tmp_path):
            assert (tmp_path / "scratch" / name / "members.xlsx").exists()
        kill(other)
        with scratch.folder(tmp_path):
            assert not (tmp_path / "scratch" / name).exists()


def test_a_folder_that_is_just_being_made_is_not_taken_for_a_dead_worker_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_lock = threading.Event()
    flock = fcntl.flock

    def other() -> None:
        with scratch.folder(tmp_path):
            pass
        at_a_lock.set()

    def flock_when_another_cleans_up(place: Any, how: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            if isinstance(place, int):
                at_a_lock.set()  # it waits until we are through
        elif not isinstance(place, int):  # our own lock, made and not yet held
            thread.start()
            assert at_a_lock.wait(10)
        flock(place, how)

    thread = threading.Thread(target=other)
    monkeypatch.setattr(fcntl, "flock", flock_when_another_cleans_up)
    with scratch.folder(tmp_path) as own:
        assert (own / scratch.LOCK).exists()
    thread.join(10)


def test_the_folder_of_a_worker_that_died_before_its_lock_was_made_is_removed(
    tmp_path: Path,
) -> None:
    left = tmp_path / "scratch" / "worker-dead"
    left.mkdir(parents=True)
    with scratch.folder(tmp_path):
        assert not left.exists()
