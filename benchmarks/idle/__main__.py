"""What ``rollbook up`` takes while nothing happens, and how soon it is ready.

Run from the root of the project: ``make bench-idle``. Start to ready is measured from the command
to the line that says so, first in an empty data folder, then in the one that is there; memory and
CPU time of every process once the system has been left alone for a while.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
from benchmarks import sections
from tests.acceptance.conftest import start

if TYPE_CHECKING:
    from tests.acceptance.conftest import Running

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = Path(__file__).with_name("results.json")
PAGE: Final = ROOT / "docs/explanation/scaling.md"
BEGIN: Final = "<!-- at rest: written by `make bench-idle` -->"
END: Final = "<!-- end of at rest -->"
#: Issue 9 of the project asks for these.
FIRST_S: Final = 10.0
WARM_S: Final = 3.0

#: What a process is, by a word of its command line.
NAMES: Final = (
    ("rollbook.worker.child", "child process of a slot"),
    ("rollbook serve", "API"),
    ("rollbook worker", "worker"),
    ("rollbook up", "supervisor"),
    ("valkey-server", "Valkey"),
    ("postgres", "PostgreSQL, all its processes"),
)


def name_of(process: psutil.Process) -> str:
    """What a process of the system is."""
    command = " ".join(process.cmdline()) or process.name()
    return next((name for word, name in NAMES if word in command), "other")


def started(data: Path) -> tuple[Running, float]:
    """A started system, and the seconds that it took."""
    began = time.monotonic()
    running = start(data)
    return running, round(time.monotonic() - began, 2)


def stopped(running: Running) -> None:
    """Stop it in order."""
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(timeout=60) == 0
    assert running.process.stdout is not None
    running.process.stdout.close()


def at_rest(running: Running, settle_s: float, watch_s: float) -> dict[str, dict[str, float]]:
    """By kind of process: how many, their memory (PSS, shared pages shared out), and CPU."""
    time.sleep(settle_s)
    top = psutil.Process(running.process.pid)
    family = [top, *top.children(recursive=True)]

    def cpu_s() -> dict[int, float]:
        return {one.pid: sum(one.cpu_times()[:2]) for one in family if one.is_running()}

    before, began = cpu_s(), time.monotonic()
    time.sleep(watch_s)
    after, passed = cpu_s(), time.monotonic() - began
    found: dict[str, dict[str, float]] = {}
    for one in family:
        if one.pid not in before or one.pid not in after:
            continue
        of = found.setdefault(name_of(one), {"processes": 0, "mb": 0.0, "cpu_percent": 0.0})
        of["processes"] += 1
        memory = one.memory_full_info()
        of["mb"] += getattr(memory, "pss", memory.rss) / 2**20
        of["cpu_percent"] += 100 * (after[one.pid] - before[one.pid]) / passed
    return {
        name: {key: round(figure, 2 if key == "cpu_percent" else 0) for key, figure in of.items()}
        for name, of in found.items()
    }


def measure(runs: int, settle_s: float, watch_s: float) -> dict[str, Any]:
    """All figures."""
    first, warm = [], []
    processes: dict[str, dict[str, float]] = {}
    for run in range(runs):
        with tempfile.TemporaryDirectory(prefix="rb-") as folder:
            running, seconds = started(Path(folder) / "data")
            first.append(seconds)
            stopped(running)
            running, seconds = started(Path(folder) / "data")
            warm.append(seconds)
            if run == 0:
                processes = at_rest(running, settle_s, watch_s)
            stopped(running)
    return {
        "first_s": first,
        "warm_s": warm,
        "processes": processes,
        "watched_s": watch_s,
        "load": round(psutil.getloadavg()[0], 1),
        "machine": f"{psutil.cpu_count()} cores, {platform.platform(terse=True)}",
        "date": time.strftime("%Y-%m-%d"),
    }


def section(figures: dict[str, Any]) -> str:
    """The section of the page."""
    of = figures["processes"]
    rows = "\n".join(
        f"| {name} | {one['processes']:.0f} | {one['mb']:.0f} | {one['cpu_percent']:.2f} |"
        for name, one in of.items()
    )
    total = {
        key: sum(one[key] for one in of.values()) for key in ("processes", "mb", "cpu_percent")
    }
    first, warm = figures["first_s"], figures["warm_s"]
    return f"""
`rollbook up` with the default settings (two slots) and nothing to do, over {figures["watched_s"]:g} seconds:

| process | number | MB (shared pages shared out) | % of a core |
|---|---|---|---|
{rows}
| **all** | {total["processes"]:.0f} | {total["mb"]:.0f} | {total["cpu_percent"]:.2f} |

From the command to "ready": {statistics.median(first):.1f} s the first time, in an empty data folder (median of
{len(first)}, worst {max(first):.1f}), and {statistics.median(warm):.1f} s afterwards (worst {max(warm):.1f}).
Measured on {figures["date"]}, {figures["machine"]}, load {figures["load"]} (`make bench-idle`).
"""  # noqa: E501 - lines of the page


def main() -> None:
    """Measure, write the section and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--settle", type=float, default=15, help="seconds before looking")
    parser.add_argument("--watch", type=float, default=60, help="seconds of looking")
    given = parser.parse_args()
    figures = measure(given.runs, given.settle, given.watch)
    print(json.dumps(figures, indent=1))
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    sections.replace(PAGE, BEGIN, END, section(figures))
    if statistics.median(figures["first_s"]) > FIRST_S or max(figures["warm_s"]) > WARM_S:
        raise SystemExit(f"promised: {FIRST_S} s the first time, {WARM_S} s afterwards")


if __name__ == "__main__":
    main()
