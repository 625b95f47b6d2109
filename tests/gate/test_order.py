"""The random order of ``make stress-tests``: every test once, and the same order for a seed."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
MODULES = ("tests/gate/test_waits.py", "tests/gate/test_order.py", "tests/unit/test_layout.py")


def collected(seed: str | None) -> list[str]:
    """The tests of a few modules in the order in which they would run."""
    environment = {**os.environ, "ROLLBOOK_TEST_ORDER": seed} if seed else dict(os.environ)
    if seed is None:
        environment.pop("ROLLBOOK_TEST_ORDER", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *MODULES],
        cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.fixture(scope="module")
def orders() -> dict[str | None, list[str]]:
    return {seed: collected(seed) for seed in (None, "1", "2")}


def test_a_seed_shuffles_all_tests_and_loses_none(orders: dict[str | None, list[str]]) -> None:
    written, first, second = orders.values()
    assert len(written) > 10
    assert sorted(written) == sorted(first) == sorted(second)
    assert written != first != second


def test_the_same_seed_gives_the_same_order(orders: dict[str | None, list[str]]) -> None:
    assert collected("1") == orders["1"]


def test_the_tests_of_a_module_stay_together(orders: dict[str | None, list[str]]) -> None:
    modules = [test.partition("::")[0] for test in orders["1"]]
    changes = sum(one != other for one, other in itertools.pairwise(modules))
    assert changes == len(set(modules)) - 1
