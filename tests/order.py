"""The order of the tests: in processes of equal length, or random.

pytest-xdist gives each process an equal number of neighbouring tests, and one that is through
takes half of what another one still has before it, from the end. So each process begins with
modules that are known to take long, the tests that share a slow fixture stay in one process, and
short tests come last, which are shared out evenly.

``ROLLBOOK_RECORD_DURATIONS=1 make test`` renews the seconds in ``durations.json``. A module that
isn't in it counts as short.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: The seed of a random order; without one, tests are ordered by their durations.
SEED = os.environ.get("ROLLBOOK_TEST_ORDER")
IS_RECORDING = "ROLLBOOK_RECORD_DURATIONS" in os.environ
DURATIONS = Path(__file__).with_name("durations.json")
#: Seconds from which on a group of tests takes long.
LONG_S = 4.0

_seconds: defaultdict[str, float] = defaultdict(float)


def pytest_report_header() -> str | None:
    """Print the seed."""
    return f"random order, ROLLBOOK_TEST_ORDER={SEED}" if SEED else None


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the groups, and order the tests."""
    for item in items:
        if group := _group(item):
            item.add_marker(pytest.mark.xdist_group(group))
    if SEED is not None:
        items[:] = _shuffled(items, SEED)
    elif (processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
        modules = [item.nodeid.partition("::")[0] for item in items]
        groups = [_group(item) or module for item, module in zip(items, modules, strict=True)]
        durations = json.loads(DURATIONS.read_text(encoding="utf-8"))
        items[:] = [items[n] for n in spread(groups, seconds(modules, durations), processes)]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up the seconds of each module; under pytest-xdist its first process gets all reports."""
    _seconds[report.nodeid.partition("::")[0]] += report.duration


def pytest_sessionfinish() -> None:
    """Renew the file of durations, if that is wanted."""
    if IS_RECORDING and "PYTEST_XDIST_WORKER" not in os.environ:
        long = {module: round(took) for module, took in sorted(_seconds.items()) if took >= 1}
        DURATIONS.write_text(json.dumps(long, indent=0) + "\n", encoding="utf-8")


def seconds(modules: Sequence[str], durations: Mapping[str, float]) -> list[float]:
    """The estimated seconds of each test, given its module and the seconds of whole modules."""
    tests = Counter(modules)
    return [durations.get(module, 0) / tests[module] for module in modules]


def spread(groups: Sequence[str], estimates: Sequence[float], processes: int) -> list[int]:
    """The places of the tests in the order in which they are to run.

    Args:
        groups: the group of each test. The tests of one stay together, in their order.
        estimates: the seconds of each test.
        processes: how many there are; each gets an equal share of the new order.
    """
    by_group: dict[str, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        by_group[group].append(place)
    took = {group: sum(estimates[n] for n in places) for group, places in by_group.items()}
    long = sorted((g for g in by_group if took[g] >= LONG_S), key=lambda g: (-took[g], g))
    short = [n for g, places in by_group.items() if took[g] < LONG_S for n in places]
    shares: list[list[int]] = [[] for _ in range(processes)]
    loads = [0.0] * processes
    # As pytest-xdist shares them out.
    sizes = [(len(groups) + n) // processes for n in range(processes)]
    for group in long:
        fitting = [n for n in range(processes) if len(shares[n]) + len(by_group[group]) <= sizes[n]]
        if not fitting:
            short.extend(by_group[group])
            continue
        least = min(fitting, key=lambda n: loads[n])
        shares[least].extend(by_group[group])
        loads[least] += took[group]
    for share, size in zip(shares, sizes, strict=True):
        missing = size - len(share)
        share.extend(short[:missing])
        del short[:missing]
    return list(itertools.chain.from_iterable(shares))


def _group(item: pytest.Item) -> str | None:
    """The group of tests that run in one process, since they share something that is slow to start.

    Each process of pytest-xdist would start its own: a browser, a whole installation, a scanner.
    """
    places: dict[str, str] = {}
    for found in getattr(item, "_fixtureinfo").name2fixturedefs.values():  # noqa: B009
        fixture = found[-1]
        if fixture.scope in {"package", "module"} or (
            fixture.scope == "session" and fixture.baseid not in {"", "tests"}
        ):
            places[fixture.scope] = fixture.baseid or item.nodeid.partition("::")[0]
    return places.get("package") or places.get("session") or places.get("module")


def _shuffled(items: Iterable[pytest.Item], seed: str) -> list[pytest.Item]:
    """Shuffle the modules, and the tests in each: a module's fixtures are still made once."""
    by_module: dict[Path, list[pytest.Item]] = {}
    for item in items:
        by_module.setdefault(item.path, []).append(item)
    modules = list(by_module.values())
    chance = random.Random(seed)
    chance.shuffle(modules)
    for tests in modules:
        chance.shuffle(tests)
    return list(itertools.chain.from_iterable(modules))
