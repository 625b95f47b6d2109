"""The first command that a person runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import fastexcel
import pytest

from rollbook.model import OUTCOMES
from tests.acceptance.conftest import environment, rollbook
from tests.files import csv_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SOFFICE = shutil.which("soffice")
#: Each of them is asked for at the simulated voter roll.
ROWS = 100
#: Seconds for a demonstration, all parts of which start cold beside busy processes.
LONGEST_S = 110
STAGES = ("read", "normalise", "validate", "match", "verify", "merge", "report")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What a demonstration with a voter roll shows to a person, and the folder that it leaves.

    It starts cold, where an operator has settings, servers and a watched folder of his own.
    """
    folder = tmp_path_factory.mktemp("demo")
    watched = folder / "inbox"
    (watched / "processed").mkdir(parents=True)
    for file in _watched(folder):
        file.write_bytes(csv_file(200))
        os.utime(file, (0, 0))
    (folder / ".env").write_text(f"ROLLBOOK_WATCH_DIR={watched}\n")
    own = {
        "ROLLBOOK_VOTER_ROLL_URL": "http://127.0.0.1:9",
        "ROLLBOOK_VOTER_ROLL_USERNAME": "office",
        "ROLLBOOK_VOTER_ROLL_PASSWORD": "secret",
        "ROLLBOOK_WATCH_DIR": str(watched),
        "ROLLBOOK_STORE_URL": "s3://nowhere",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": "1",
    }
    done = subprocess.run(
        rollbook("demo", "--rows", str(ROWS), "--voter-roll", "--folder", str(folder)),
        cwd=folder,
        env=environment(folder / "data", **own),
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


def _watched(folder: Path) -> list[Path]:
    """A file that a watcher would take, and one that retention would remove."""
    inbox = folder / "inbox"
    return [inbox / "members.csv", inbox / "processed" / "20200101-000000-old.csv"]


def test_the_demo_touches_nothing_of_the_operators_own(shown: tuple[str, Path]) -> None:
    _, folder = shown
    assert [file for file in _watched(folder) if not file.exists()] == []
    assert not (folder / "data").exists()


def test_the_demo_shows_outcomes_that_add_up_and_the_seconds_of_each_stage(
    shown: tuple[str, Path],
) -> None:
    text, folder = shown
    outcomes = _numbers(text, OUTCOMES)
    assert sum(outcomes.values()) == _numbers(text, ["all rows"])["all rows"] == ROWS
    assert outcomes["inserted"] > 0
    seconds = _numbers(text, [*STAGES, "total"])
    total = seconds.pop("total")
    assert 0 < sum(seconds.values()) <= total
    report = folder / "report.xlsx"
    assert str(report) in text
    assert len(fastexcel.read_excel(report).sheet_names) == 8


def test_the_demo_verifies_against_a_roll_that_is_said_to_be_simulated(
    shown: tuple[str, Path],
) -> None:
    text, folder = shown
    assert "SIMULATED voter roll" in text
    assert "not registered" in text
    rows = fastexcel.read_excel(folder / "report.xlsx").load_sheet(
        "All Uploaded Rows", dtypes="string"
    )
    assert "Pending" not in rows.to_polars()["IEC Registered"].to_list()


@pytest.mark.skipif(SOFFICE is None, reason="no LibreOffice (Debian: libreoffice-calc-nogui)")
def test_libreoffice_opens_the_report_of_the_demo_with_its_sheets_and_rows(
    shown: tuple[str, Path], tmp_path: Path
) -> None:
    report = shown[1] / "report.xlsx"
    subprocess.run(
        [
            str(SOFFICE), "--headless", f"-env:UserInstallation={(tmp_path / 'user').as_uri()}",
            "--convert-to", "ods", "--outdir", str(tmp_path), str(report),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )  # fmt: skip
    ours, theirs = (fastexcel.read_excel(file) for file in (report, tmp_path / "report.ods"))
    assert theirs.sheet_names == ours.sheet_names
    for name in ours.sheet_names[1:]:
        sheets = [book.load_sheet(name, dtypes="string").to_polars() for book in (ours, theirs)]
        assert sheets[0].shape == sheets[1].shape
        assert sheets[0].columns == sheets[1].columns
    rows = theirs.load_sheet("All Uploaded Rows", dtypes="string").to_polars()
    assert rows.height == ROWS
    assert rows["ID Number"].equals(
        ours.load_sheet("All Uploaded Rows", dtypes="string").to_polars()["ID Number"]
    )


def _numbers(shown: str, names: Sequence[str]) -> dict[str, float]:
    """The number beside each of these names in a table."""
    found = {}
    for name in names:
        line = re.search(rf"{name.replace('_', ' ')}\s*[│┃|]\s*([\d.]+)", shown)
        assert line is not None, f"{name} isn't shown:\n{shown}"
        found[name] = float(line[1])
    return found
