"""The results file: what was measured, on what, when."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.pipeline import contestants, ours, raw

PATH = Path(__file__).with_name("results.json")

Results = dict[str, Any]


class _Timed(Protocol):
    @property
    def seconds(self) -> float: ...


_RunT = TypeVar("_RunT", bound=_Timed)


def entry(
    name: str,
    runs: Sequence[ours.Run | contestants.Run],
    *,
    method: str,
    versions: dict[str, str],
) -> dict[str, Any]:
    """One contestant's entry: stages and outcomes are those of its median run."""
    median = _median(runs)
    return {
        "name": name,
        "method": method,
        "versions": versions,
        "seconds": round(median.seconds, 2),
        "stages": median.stages,
        "peak_mb": max(run.peak_mb for run in runs),
        "outcomes": {name: count for name, count in median.outcomes.items() if count},
        "runs_s": [round(run.seconds, 2) for run in runs],
        "others_cores": [run.others for run in runs],
        "cpu_s": [run.cpu_s for run in runs],
    }


def raw_entry(runs: Sequence[raw.Run]) -> dict[str, Any]:
    """The limit's entry."""
    median = _median(runs)
    runs_s = [round(run.seconds, 2) for run in runs]
    others = [run.others for run in runs]
    return {
        "parse": median.parse,
        "copy": median.copy,
        "seconds": round(median.seconds, 2),
        "runs_s": runs_s,
        "others_cores": others,
        "cpu_s": [run.cpu_s for run in runs],
    }


def usual_entry(rows: int, runs: Sequence[ours.Run]) -> dict[str, Any]:
    """The usual uploads' entry."""
    seconds = [run.seconds for run in runs]
    stages = [sum(run.stages.values()) for run in runs]
    return {
        "rows": rows,
        "median_s": round(statistics.median(seconds), 3),
        "worst_s": round(max(seconds), 3),
        "stages_median_s": round(statistics.median(stages), 3),
        "runs_s": [round(second, 3) for second in seconds],
    }


def save(results: Results) -> None:
    """Write the file."""
    PATH.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def load() -> Results:
    """Read the file."""
    found: Results = json.loads(PATH.read_text(encoding="utf-8"))
    return found


def _median(runs: Sequence[_RunT]) -> _RunT:
    return sorted(runs, key=lambda run: run.seconds)[(len(runs) - 1) // 2]
