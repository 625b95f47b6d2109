"""The results file: what was measured, on what, when, and how it is summed up."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.queue import environments

if TYPE_CHECKING:
    from benchmarks.queue.crash import Crash
    from benchmarks.queue.peers import Peer
    from benchmarks.queue.speed import Speed

PATH = Path(__file__).with_name("results.json")

Results = Mapping[str, Any]


def sum_up(peer: Peer, speeds: list[Speed], crashes: list[Crash]) -> dict[str, Any]:
    """One peer's entry: medians over the repetitions, percentiles over all adds of all of them."""
    waits = [wait for speed in speeds for wait in speed.pick_up_ms]
    return {
        "name": peer.name,
        "versions": environments.versions(peer.environment, peer.distributions),
        "settings": peer.settings,
        "tuned": peer.tuned,
        "adds_per_s": round(statistics.median(s.adds_per_s for s in speeds)),
        "jobs_per_s": round(statistics.median(s.jobs_per_s for s in speeds)),
        "pick_up_p50_ms": round(statistics.median(waits), 2),
        "pick_up_p99_ms": round(statistics.quantiles(waits, n=100, method="inclusive")[98], 2),
        "repetitions": [
            {
                "adds_per_s": round(s.adds_per_s),
                "jobs_per_s": round(s.jobs_per_s),
                "pick_up_p50_ms": round(statistics.median(s.pick_up_ms), 2),
                "pick_up_max_ms": round(max(s.pick_up_ms), 2),
            }
            for s in speeds
        ],
        "crashes": [crash.as_json() for crash in crashes],
    }


def save(results: Results) -> None:
    """Write the file."""
    PATH.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def load() -> Results:
    """Read the file."""
    found: Results = json.loads(PATH.read_text(encoding="utf-8"))
    return found
