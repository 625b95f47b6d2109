"""Members' data on local disk goes with the work, however that ends."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from rollbook.worker import scratch
from tests.waiting import PATIENCE_S, join, kill, printed

if TYPE_CHECKING:
    from pathlib import Path

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

    def flock_when_another_cleans_up(place: int, how: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            at_a_lock.set()  # it waits until we are through
        elif (
            not os.path.samestat(os.fstat(place), (tmp_path / "scratch").stat())
            and thread.ident is None
        ):
            thread.start()  # our own folder is made and not yet locked
            assert at_a_lock.wait(PATIENCE_S)
        flock(place, how)

    thread = threading.Thread(target=other)
    monkeypatch.setattr(fcntl, "flock", flock_when_another_cleans_up)
    with scratch.folder(tmp_path) as own:
        join(thread)
        assert own.is_dir()


def test_what_removes_old_files_takes_no_folder_from_a_living_worker(tmp_path: Path) -> None:
    with scratch.folder(tmp_path) as own:
        (own / "child-0").mkdir()
        for file in own.rglob("*"):
            if file.is_file():
                file.unlink()
        with scratch.folder(tmp_path):
            assert (own / "child-0").is_dir()


def test_a_living_worker_of_0_1_keeps_its_folder(tmp_path: Path) -> None:
    own = tmp_path / "scratch" / "worker-before"
    own.mkdir(parents=True)
    with (own / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with scratch.folder(tmp_path):
            assert own.is_dir()
    with scratch.folder(tmp_path):
        assert not own.exists()


def test_a_worker_of_0_1_leaves_a_living_worker_s_folder(tmp_path: Path) -> None:
    with (
        scratch.folder(tmp_path) as own,
        (own / "lock").open("ab") as lock,  # as 0.1 looks whether a worker lives
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_no_childs_folder_is_made_in_a_workers_that_was_removed(tmp_path: Path) -> None:
    """No lock would hold it, so that another worker takes it for a dead one's."""
    with pytest.raises(FileNotFoundError):
        scratch.empty(tmp_path / "worker-removed" / "child-0")


def test_the_folder_of_a_worker_that_died_before_its_lock_was_made_is_removed(
    tmp_path: Path,
) -> None:
    left = tmp_path / "scratch" / "worker-dead"
    left.mkdir(parents=True)
    with scratch.folder(tmp_path):
        assert not left.exists()
