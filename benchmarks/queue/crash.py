"""What happens to jobs whose worker is killed while it runs them.

Four jobs are added to a worker that runs two at a time. When two have started, the worker and all
its processes get SIGKILL, and a new worker starts at once. From then on a job is added every few
seconds, as in a queue that is in use: some peers look for lost jobs only when they take another.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.queue.processes import Start, Trial, kill
from benchmarks.queue.producer import job_id
from benchmarks.queue.trial import CONCURRENCY

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.queue.peers import Peer

JOBS = 2 * CONCURRENCY
#: Seconds that a job runs.
HOLD_S = 3.0
#: Seconds between two later jobs, and the number of the first of them.
TRICKLE_S, TRICKLE_FROM = 4.0, 1000
START_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Crash:
    """What one killed worker led to; seconds are counted from the kill."""

    tuned: bool
    #: How long was waited.
    watched_s: float
    #: For each job that was running: when it ran again, or None.
    running_s: list[float | None]
    #: For each job that was waiting: when it ran, or None.
    waiting_s: list[float | None]

    def as_json(self) -> dict[str, Any]:
        """For the results file."""
        return asdict(self)


def provoke(
    peer: Peer, folder: Path, socket_url: str, *, database: int, tuned: bool, patience_s: float
) -> Crash:
    """Kill a worker, start another, and see which jobs it runs and when."""
    with Trial(peer, folder, socket_url, database=database, hold_s=HOLD_S, tuned=tuned) as trial:
        trial.produce("add", 0, JOBS)
        with trial.working() as workers:
            running = _wait_for_start(trial)
            kill(workers)
            killed_s = time.monotonic()
        for start in trial.started(0):
            running.add(start.job_id)
        waiting = {job_id(number) for number in range(JOBS)} - running
        with trial.working(), trial.producing("trickle", TRICKLE_FROM, TRICKLE_S):
            again = _watch(trial, running | waiting, killed_s + patience_s)
    at_s = {start.job_id: round(start.at_s - killed_s, 1) for start in again}
    return Crash(
        tuned=tuned,
        watched_s=patience_s,
        running_s=[at_s.get(job) for job in sorted(running)],
        waiting_s=[at_s.get(job) for job in sorted(waiting)],
    )


def _wait_for_start(trial: Trial) -> set[str]:
    running: set[str] = set()
    ends = time.monotonic() + START_PATIENCE_S
    while len(running) < CONCURRENCY:
        running |= {start.job_id for start in trial.started(ends - time.monotonic())}
        if time.monotonic() > ends:
            raise RuntimeError(f"{trial.peer.name}: no worker\n{trial.log.read_text()}")
    return running


def _watch(trial: Trial, jobs: set[str], ends: float) -> list[Start]:
    """The first start of each of the jobs."""
    found: dict[str, Start] = {}
    while len(found) < len(jobs) and time.monotonic() < ends:
        for start in trial.started(max(0.0, ends - time.monotonic())):
            if start.job_id in jobs:
                found.setdefault(start.job_id, start)
    return list(found.values())
