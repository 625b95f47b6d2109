"""Adds jobs, in the environment of a peer: ``python -m benchmarks.queue.producer MODULE WHAT ...``.

What it measured goes to standard output as one line of JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import sys
import time
from typing import TYPE_CHECKING
from uuid import UUID

from benchmarks.queue import trial

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Add = Callable[[str], Awaitable[None]]

#: Seconds between the start of a job and the next add: the worker is idle again. Chosen anew each
#: time, over more than the half second in which some peers poll, so that none is met in step.
IDLE_S = (0.03, 0.56)
#: Adds that are not counted, so that connections and scripts are there.
WARM_UP = 5
#: Seconds after which a job counts as not picked up.
PATIENCE_S = 60


def job_id(number: int) -> str:
    """The id of the job of this number, in the form that ours have."""
    return str(UUID(int=number))


async def add_many(add: Add, first: int, count: int) -> dict[str, float]:
    """Add one after the other, as fast as they are taken; jobs per second."""
    began = time.perf_counter()
    for number in range(first, first + count):
        await add(job_id(number))
    return {"adds_per_s": count / (time.perf_counter() - began)}


async def trickle(add: Add, first: int, interval_s: float) -> dict[str, float]:
    """Add one now and then, until killed: a queue that is in use."""
    number = first
    while True:
        await add(job_id(number))
        await asyncio.sleep(interval_s)
        number += 1


async def pick_up(add: Add, first: int, count: int) -> dict[str, list[float]]:
    """Milliseconds from before each add to the start of its job, each after the one before."""
    reader = asyncio.StreamReader()
    pipe = os.fdopen(os.open(trial.FIFO, os.O_RDONLY | os.O_NONBLOCK), "rb")
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    waits = []
    for number in range(first, first + WARM_UP + count):
        added_ns = time.monotonic_ns()
        await add(job_id(number))
        started_ns = await asyncio.wait_for(_start_of(job_id(number), reader), PATIENCE_S)
        waits.append((started_ns - added_ns) / 1e6)
        await asyncio.sleep(random.uniform(*IDLE_S))  # noqa: S311
    transport.close()
    return {"pick_up_ms": waits[WARM_UP:]}


async def _start_of(job: str, reader: asyncio.StreamReader) -> int:
    """When a job starts, in nanoseconds; a peer may meanwhile start an earlier one again."""
    while True:
        started_ns, started = (await reader.readline()).decode().split()
        if started == job:
            return int(started_ns)


async def main(module: str, what: str, first: str, amount: str) -> None:
    """Do one of the three with the peer's queue."""
    peer = importlib.import_module(f"benchmarks.queue.peers.{module}")
    async with peer.open_queue() as add:
        if what == "add":
            result: object = await add_many(add, int(first), int(amount))
        elif what == "trickle":
            result = await trickle(add, int(first), float(amount))
        else:
            result = await pick_up(add, int(first), int(amount))
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
