"""The first command that a person runs."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import fastexcel

from tests.acceptance.conftest import environment, rollbook

if TYPE_CHECKING:
    from pathlib import Path


def test_the_demo_ends_with_one_json_object_whose_outcomes_add_up(tmp_path: Path) -> None:
    done = subprocess.run(
        rollbook("demo", "--rows", "3000", "--json", "--folder", str(tmp_path / "out")),
        env=environment(tmp_path / "data"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["rows"] == sum(result["outcomes"].values()) == 3000
    assert {"read", "validate", "merge", "report", "total"} <= set(result["seconds"])
    assert len(fastexcel.read_excel(result["report"]).sheet_names) == 7


def test_the_demo_shows_a_table_of_outcomes_and_where_the_report_is(tmp_path: Path) -> None:
    done = subprocess.run(
        rollbook("demo", "--rows", "200", "--folder", str(tmp_path)),
        env=environment(tmp_path / "data"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "all rows" in done.stdout
    assert str(tmp_path / "report.xlsx") in done.stdout
    assert (tmp_path / "report.xlsx").stat().st_size > 10_000


def test_the_demo_verifies_against_a_roll_that_is_said_to_be_simulated(tmp_path: Path) -> None:
    # The operator's own roll, which a demonstration must leave alone.
    own = {
        "ROLLBOOK_VOTER_ROLL_URL": "http://127.0.0.1:9",
        "ROLLBOOK_VOTER_ROLL_USERNAME": "office",
        "ROLLBOOK_VOTER_ROLL_PASSWORD": "secret",
    }
    done = subprocess.run(
        rollbook("demo", "--rows", "100", "--voter-roll", "--folder", str(tmp_path)),
        env={**environment(tmp_path / "data"), **own},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "SIMULATED voter roll" in done.stdout
    assert "not registered" in done.stdout
    rows = fastexcel.read_excel(tmp_path / "report.xlsx").load_sheet(
        "All Uploaded Rows", dtypes="string"
    )
    assert "Pending" not in rows.to_polars()["IEC Registered"].to_list()
