"""The order of the tests: every test once, random for a seed, in equal shares without one."""

from __future__ import annotations

import gc
import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import order
from tests.gate.test_timeouts import run

ROOT = Path(__file__).parents[2]
#: The modules of made up tests, with the number of tests and the seconds of each module.
MODULES = {
    "quick_1": (40, 0.4), "page": (12, 60.0), "quick_2": (60, 0.0), "faults": (3, 45.0),
    "live": (20, 30.0), "engines": (10, 28.0), "quick_3": (80, 3.0), "demo": (2, 25.0),
}  # fmt: skip
TESTS = [module for module, (number, _) in MODULES.items() for _ in range(number)]
ESTIMATES = order.seconds(TESTS, {module: took for module, (_, took) in MODULES.items()})


def items() -> list[Any]:
    return [SimpleNamespace(path=module, number=n) for n, module in enumerate(TESTS)]


def numbers(seed: str) -> list[int]:
    shuffled: list[Any] = order._shuffled(items(), seed)
    return [item.number for item in shuffled]


def test_a_seed_shuffles_all_tests_and_loses_none() -> None:
    written = list(range(len(TESTS)))
    assert sorted(numbers("1")) == sorted(numbers("2")) == written
    assert written != numbers("1") != numbers("2")


def test_the_same_seed_gives_the_same_order() -> None:
    assert numbers("1") == numbers("1")


def test_the_tests_of_a_module_stay_together() -> None:
    modules = [TESTS[number] for number in numbers("1")]
    changes = sum(one != other for one, other in itertools.pairwise(modules))
    assert changes == len(MODULES) - 1


def test_a_run_with_a_seed_is_in_random_order_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [f"test_{n:02}" for n in range(20)]
    source = "".join(f"def {name}(): pass\n" for name in written)
    monkeypatch.setenv("ROLLBOOK_TEST_ORDER", "1")
    code, output, _ = run(tmp_path, source, "--collect-only", "-ptests.order")
    assert code == 0
    assert "random order, ROLLBOOK_TEST_ORDER=1" in output
    listed = re.findall(r"<Function (test_\d\d)>", output)
    assert written != listed
    assert sorted(listed) == written
    monkeypatch.setattr(order, "SEED", None)
    assert order.pytest_report_header() is None


@pytest.mark.parametrize("processes", [2, 3, 4, 8])
def test_the_processes_begin_with_what_takes_long_and_get_equal_shares(processes: int) -> None:
    places = order.spread(TESTS, ESTIMATES, processes)
    assert sorted(places) == list(range(len(TESTS)))
    shares = []
    left = places
    for number in range(processes):  # as pytest-xdist does
        size = len(left) // (processes - number)
        shares.append([TESTS[place] for place in left[:size]])
        left = left[size:]
    for module, (_, took) in MODULES.items():
        if took >= order.LONG_S:
            assert sum(module in share for share in shares) == 1, module
    for share in shares:
        is_long = [MODULES[module][1] >= order.LONG_S for module in share]
        assert is_long == sorted(is_long, reverse=True)
    whole = sum(took for _, took in MODULES.values())
    if processes < 4:
        longest = max(
            sum(MODULES[module][1] / MODULES[module][0] for module in share) for share in shares
        )
        assert longest < 1.2 * whole / processes


def test_the_durations_are_of_modules_that_there_are() -> None:
    durations = json.loads(order.DURATIONS.read_text(encoding="utf-8"))
    gone = [module for module in durations if not (ROOT / module).exists()]
    assert len(gone) < len(durations) / 4, f"{gone}: record the durations again"


def test_what_was_collected_is_no_garbage_and_what_comes_later_is_looked_at() -> None:
    assert gc.get_freeze_count() > 50_000
    assert gc.isenabled()
