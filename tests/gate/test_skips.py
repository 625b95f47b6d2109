"""Skipped tests are reported in one line for each reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.gate.test_timeouts import run

if TYPE_CHECKING:
    from pathlib import Path

SKIPPING = """
import pytest

@pytest.mark.parametrize("number", range(3))
@pytest.mark.skipif(True, reason="long ones: make faults")
def test_long(number): pass

def test_office():
    pytest.skip("no office here (Debian: office)")
"""


def test_a_reason_has_one_line_with_its_number_of_tests(tmp_path: Path) -> None:
    """As the gate runs: from another process come the reports, which have what those here have."""
    code, output, _ = run(tmp_path, SKIPPING, "-ptests.skips", "-n1", "--timeout=60")
    assert code == 0
    shown = output.splitlines()
    assert [line.strip() for line in shown if line.startswith("  ")] == [
        "3 long ones: make faults",
        "1 no office here (Debian: office)",
    ]
