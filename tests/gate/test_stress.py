"""`make stress-tests` names the seed of each run and what failed in it, and ends with 1 then."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "stress.py"
GOOD = "....\n12 passed, 3 skipped in 4.00s\n"
BAD = """..F.
FAILED tests/page/test_page.py::test_a_view - AssertionError
ERROR tests/page/test_views.py::test_a_look
1 failed, 11 passed, 1 error in 4.00s
"""


@pytest.fixture
def stress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, whose runs take no time: those of an odd seed fail."""
    spec = importlib.util.spec_from_file_location("stress", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(seed: int, log: Path, tests: list[str], processes: int) -> bool:
        assert tests == ["tests/page"]
        assert processes > 0
        log.write_text(BAD if seed % 2 else GOOD, encoding="utf-8")
        return seed % 2 == 0

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(sys, "argv", ["stress.py", "--busy=0", f"--logs={tmp_path}", "tests/page"])
    return module


def test_each_run_says_its_seed_and_what_failed(
    stress: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sys.argv += ["--runs=3", "--seed=7"]
    assert stress.main() == 1
    said = capsys.readouterr().out
    assert "run 1 of 3, seed 7: 1 failed, 11 passed, 1 error in 4.00s" in said
    assert "run 2 of 3, seed 8: 12 passed, 3 skipped in 4.00s" in said
    assert said.count("FAILED tests/page/test_page.py::test_a_view") == 2
    assert said.count("ERROR tests/page/test_views.py::test_a_look") == 2
    assert said.endswith("1 passed, 2 failed\nfailed with the seeds 7, 9\n")


def test_runs_without_a_failure_end_with_0(stress: Any, capsys: pytest.CaptureFixture[str]) -> None:
    sys.argv += ["--runs=1", "--seed=2"]
    assert stress.main() == 0
    assert capsys.readouterr().out.endswith("1 passed, 0 failed\n")


def test_a_run_that_never_ends_is_stopped_and_has_failed(
    stress: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(stress, "LONGEST_RUN_S", 0.2)
    log = tmp_path / "log"
    assert not stress.run(1, log, ["--collect-only", "--noconftest", str(tmp_path)], 1)
    assert "ERROR the run was stopped after 0.2 s" in log.read_text(encoding="utf-8")
