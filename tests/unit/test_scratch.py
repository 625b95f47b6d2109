"""Members' data on local disk goes with the work, however that ends."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from rollbook import scratch

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys, pathlib
from rollbook import scratch
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
        assert other.stdout is not None
        name = other.stdout.readline().strip()
        with scratch.folder(tmp_path):
            assert (tmp_path / "scratch" / name / "members.xlsx").exists()
        other.kill()
        other.wait()
        with scratch.folder(tmp_path):
            assert not (tmp_path / "scratch" / name).exists()
