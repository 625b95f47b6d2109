"""The job that every peer runs: it says when it started, and holds its slot if it is asked to."""

from __future__ import annotations

import asyncio
import functools
import os
import time

from benchmarks.queue import trial


@functools.cache
def _pipe() -> int:
    return os.open(trial.FIFO, os.O_WRONLY)


def report_start(job_id: str) -> None:
    """Write the moment (of the clock that all processes share) and the job into the pipe.

    A line is shorter than PIPE_BUF, so lines of several workers never mix.
    """
    os.write(_pipe(), f"{time.monotonic_ns()} {job_id}\n".encode())


def run(job_id: str) -> None:
    """The job, for peers whose workers block."""
    report_start(job_id)
    if trial.HOLD_S:
        time.sleep(trial.HOLD_S)


async def run_async(job_id: str) -> None:
    """The job, for peers whose workers are asynchronous."""
    report_start(job_id)
    if trial.HOLD_S:
        await asyncio.sleep(trial.HOLD_S)
