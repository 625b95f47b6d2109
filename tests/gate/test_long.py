"""A long target says what it does, how far it is and when it will end."""

from __future__ import annotations

import datetime as dt
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
LONG = runpy.run_path(str(ROOT / "scripts" / "long.py"))
NOON = dt.datetime(2026, 11, 28, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("passed_s", "line"),
    [
        (0, "0 of about 30 min (0 %), until 12:30"),
        (600, "10 of about 30 min (33 %), until 12:20"),
        (2400, "40 min; expected 30 min, so it takes longer"),
    ],
)
def test_a_line_says_how_far_it_is_and_when_it_ends(passed_s: float, line: str) -> None:
    assert LONG["progress"](passed_s, 1800, NOON) == line


def test_the_command_runs_and_its_exit_code_is_that_of_the_target() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "long.py"), "test", "5", "Counts"]
    done = subprocess.run(
        [*script, "--", sys.executable, "-c", "print('ran'); raise SystemExit(3)"],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "ran\n")
    assert re.match(r"\[test\] Counts: 0 of about 5 min \(0 %\), until \d\d:\d\d\n", done.stderr)
    assert "failed (exit code 3) after 0.0 min" in done.stderr


def test_every_long_target_is_run_by_it() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"(?m)^((?:bench-|fuzz|faults|soak|page)[a-z-]*): setup", makefile)
    assert len(targets) >= 11
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", "--old-file=.venv/ready", *targets],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE_S,
    ).stdout  # fmt: skip
    for target in targets:
        assert re.search(rf"scripts/long\.py {target}[-\d]* \d+ '[^']+' -- \S+python -m ", shown), (
            target
        )
