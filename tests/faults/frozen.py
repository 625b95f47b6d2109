"""Engines that are frozen: their machine answers, takes connections and data, and they don't."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psutil

from rollbook.backends.database import connect
from rollbook.backends.redis import make_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.config import Settings


async def redis_processes(settings: Settings) -> list[psutil.Process]:
    """The process of Redis."""
    async with make_client(settings.redis_address) as client:
        return [psutil.Process((await client.info("server"))["process_id"])]


def postgresql_processes(settings: Settings) -> list[psutil.Process]:
    """The first process of PostgreSQL; the others are found when they are frozen."""
    with connect(settings.database_address) as connection:
        row = connection.execute("SELECT pg_backend_pid() AS pid").fetchone()
        assert row is not None
        parent = psutil.Process(row["pid"]).parent()
        assert parent is not None
        return [parent]


@contextlib.contextmanager
def frozen(processes: list[psutil.Process]) -> Iterator[None]:
    """Freeze processes and their children for as long as the context lasts (SIGSTOP)."""
    stopped: list[psutil.Process] = []
    try:
        for process in processes:
            process.suspend()  # first: it starts no further child
            stopped.append(process)
            for child in process.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.suspend()
                    stopped.append(child)
        yield
    finally:
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
