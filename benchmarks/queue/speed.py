"""Adds per second, empty jobs per second and pick-up latency of one peer, once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.queue.processes import Trial

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.queue.peers import Peer

#: Seconds without a start after which the rest counts as stuck.
PATIENCE_S = 30.0
#: Seconds between the last empty job and the first add whose latency counts.
SETTLE_S = 1.0
#: The part of the jobs that is left out of the rate, while the worker gets going.
WARM_UP = 0.1


@dataclass(frozen=True, slots=True)
class Speed:
    """What one repetition measured."""

    adds_per_s: float
    jobs_per_s: float
    #: Milliseconds, one for each add.
    pick_up_ms: list[float]


def measure(peer: Peer, folder: Path, socket_url: str, *, jobs: int, adds: int) -> Speed:
    """Fill the queue without a worker, let a worker empty it, then add one at a time."""
    jobs = min(jobs, peer.most_jobs or jobs)
    with Trial(peer, folder, socket_url) as trial:
        adding = trial.produce("add", 0, jobs)
        with trial.working():
            jobs_per_s = _drain(trial, jobs)
            time.sleep(SETTLE_S)
            waiting = trial.produce("pick_up", jobs, adds)
    return Speed(adding["adds_per_s"], jobs_per_s, waiting["pick_up_ms"])


def _drain(trial: Trial, jobs: int) -> float:
    """Jobs per second over the starts of all jobs but the first few."""
    first_s: dict[str, float] = {}
    while len(first_s) < jobs:
        starts = trial.started(PATIENCE_S)
        if not starts:
            text = trial.log.read_text()
            raise RuntimeError(f"{trial.peer.name}: {len(first_s)} of {jobs} jobs started\n{text}")
        for start in starts:  # a peer may start a job twice
            first_s.setdefault(start.job_id, start.at_s)
    at_s = sorted(first_s.values())
    skipped = int(jobs * WARM_UP)
    return (jobs - 1 - skipped) / (at_s[-1] - at_s[skipped])
