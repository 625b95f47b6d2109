"""What Rollbook writes is readable by its own user only, regardless of the umask at its start."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from rollbook.config import environment_for
from tests import warm_process
from tests.files import csv_file

if TYPE_CHECKING:
    from pathlib import Path

    from rollbook.config import Settings


def test_files_of_members_are_nobody_elses_with_engines_and_key_of_ones_own(
    settings: Settings, tmp_path: Path
) -> None:
    """The store in the data folder is made by the first upload."""
    settings.data_dir.mkdir(mode=0o700)
    file = tmp_path / "members.csv"
    file.write_bytes(csv_file(3))
    environment = environment_for(settings)
    for command in (
        ("users", "add", "a@example.org", "--role", "super_admin"),
        ("upload", str(file)),
    ):
        warm_process.ran(*command, env=environment, umask=0o022, text=True).check_returncode()
    paths = [settings.data_dir, *settings.data_dir.rglob("*")]
    for path in paths:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    assert any(path.name == "source.csv" for path in paths)
