"""Waiting for a condition, an event or an end, each with one deadline for the whole wait.

A wait whose patience begins again with each sign of life may never end: a heartbeat is enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import select
import time
from typing import IO, TYPE_CHECKING, Any, TypeVar

import psutil

from rollbook import clock
from rollbook.backends.redis import make_client

if TYPE_CHECKING:
    import subprocess
    import threading
    from collections.abc import Callable, Iterable, Iterator
    from uuid import UUID

    from rollbook.config import Settings

Found = TypeVar("Found")

#: Seconds for a wait. Nothing in a test takes this long, also on a busy machine.
PATIENCE_S = 60


def until(
    condition: Callable[[], Any],
    what: str,
    *,
    patience_s: float = PATIENCE_S,
    pause_s: float = 0.05,
    not_yet: tuple[type[Exception], ...] = (),
) -> Any:
    """Wait for a condition to be true, and return its value.

    Args:
        condition: is looked at every ``pause_s`` seconds.
        what: the condition in words, for the error.
        patience_s: the longest wait, in seconds.
        pause_s: between two looks, in seconds.
        not_yet: the errors of a part that is away, which count as false.

    Raises:
        AssertionError: it wasn't true in time.
    """
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except not_yet:
            pass
        time.sleep(pause_s)
    raise AssertionError(f"not within {patience_s:g} s: {what}")


def one_day(*zones: str, lasts_s: float = 60) -> None:
    """Wait until midnight isn't near in these time zones, for a test that needs one date."""

    def has_room() -> bool:
        now, end = clock.now(), clock.now() + dt.timedelta(seconds=lasts_s)
        return all(clock.local(now, zone).date() == clock.local(end, zone).date() for zone in zones)

    until(has_room, f"midnight is past in {', '.join(zones)}", patience_s=lasts_s + PATIENCE_S)


def to_each(
    processes: Iterable[psutil.Process], do: Callable[[psutil.Process], Found]
) -> list[tuple[psutil.Process, Found]]:
    """Each process with what ``do`` returns for it, but for those that have ended meanwhile."""
    done = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            done.append((process, do(process)))
    return done


def kill(process: subprocess.Popen[Any]) -> None:
    """Kill a process and wait until it has ended."""
    process.kill()
    process.wait(PATIENCE_S)


def join(thread: threading.Thread) -> None:
    """Wait until a thread has ended."""
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), f"not within {PATIENCE_S} s: {thread.name} ends"


def printed(pipe: IO[Any] | None, *, patience_s: float = PATIENCE_S) -> Iterator[str]:
    """The lines that a process prints, until it closes the pipe; the rest stays in the pipe.

    Raises:
        AssertionError: the lines together took longer than ``patience_s`` seconds.
    """
    assert pipe is not None
    deadline = time.monotonic() + patience_s
    line = b""
    while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        if not (byte := os.read(pipe.fileno(), 1)):
            if line:
                yield line.decode()
            return
        line += byte
        if byte == b"\n":
            yield line.decode()
            line = b""
    raise AssertionError(f"not within {patience_s:g} s: the next line, after {line!r}")


async def job_event(settings: Settings, job_id: UUID | str, *events: str) -> str:
    """Wait for the first of these events of BullMQ's stream that is the job's, and name it."""
    found = await _first(settings, job_id, lambda fields: fields["event"] in events)
    return found["event"]


async def job_under_way(settings: Settings, job_id: UUID | str) -> None:
    """Wait until the job has reported that some of its rows are done.

    Not for a stage by its name: a quick one may come and go between two heartbeats.
    """

    def has_rows(fields: dict[str, str]) -> bool:
        return fields["event"] == "progress" and json.loads(fields["data"])["rows_done"] > 0

    await _first(settings, job_id, has_rows)


async def _first(
    settings: Settings, job_id: UUID | str, wanted: Callable[[dict[str, str]], bool]
) -> dict[str, str]:
    key = f"bull:{settings.queue_name}:events"
    last = "0"
    async with asyncio.timeout(PATIENCE_S), make_client(settings.redis_address) as client:
        while True:
            streams: Any = await client.xread({key: last}, block=1000)
            for entry_id, fields in streams[0][1] if streams else []:
                last = entry_id
                if fields.get("jobId") == str(job_id) and wanted(fields):
                    return dict(fields)
