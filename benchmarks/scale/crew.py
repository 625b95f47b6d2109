"""Several worker processes on one queue, and how fast they empty it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks.pipeline.others import Others
from benchmarks.pipeline.ours import settings_for, start_worker
from rollbook.accounts import users
from rollbook.cli.sample_file import write_sample
from rollbook.service.system import open_system
from rollbook.uploads import receive
from rollbook.uploads.options import Options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rollbook.engines import Addresses
    from rollbook.service.system import System

#: Seconds between two looks at the record.
LOOK_S = 0.02
PATIENCE_S = 900.0


class Crew:
    """So many worker processes, each with one slot."""

    def __init__(self, addresses: Addresses, folder: Path, workers: int) -> None:
        self._workers = workers
        self._folder = folder
        self._settings = settings_for(addresses, folder).model_copy(update={"concurrency": 1})
        self._sent = 0

    async def rounds(self, count: int, files: int, rows: int) -> list[dict[str, Any]]:
        """Empty the queue so many times; each file holds people of its own."""
        processes = [
            start_worker(self._settings, self._folder / f"worker-{n}.log")
            for n in range(self._workers)
        ]
        try:
            async with open_system(self._settings) as system:
                await users.add_first(system.pool, self._settings)
                await self._until_started()
                # The first jobs of a child take longer: every child has had some before it counts.
                await self._round(system, 3 * self._workers, rows)
                return [await self._round(system, files, rows) for _ in range(count)]
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()

    async def _until_started(self) -> None:
        ends = time.monotonic() + PATIENCE_S
        for n in range(self._workers):
            log = self._folder / f"worker-{n}.log"
            while b"worker started" not in log.read_bytes():
                if time.monotonic() > ends:
                    raise RuntimeError(f"no worker\n{log.read_text(errors='replace')}")
                await asyncio.sleep(LOOK_S)

    async def _round(self, system: System, files: int, rows: int) -> dict[str, Any]:
        user = await users.acting(system.pool, None)
        paths = [self._write(rows) for _ in range(files)]
        await system.queue.pause()
        for path in paths:
            stored = await receive.store_file(system, path.name, _chunks(path))
            await receive.record(system, user, stored, Options(allow_duplicate=True))
            path.unlink()
        with Others() as others:
            began = time.perf_counter()
            await system.queue.resume()
            await self._until_all_ended()
            seconds = time.perf_counter() - began
        return {
            "seconds": round(seconds, 3),
            "rows_per_s": round(files * rows / seconds),
            "cpu_s": others.own_s,
            "others_cores": others.cores,
        }

    async def _until_all_ended(self) -> None:
        ends = time.monotonic() + PATIENCE_S
        open_ones = "SELECT count(*) FROM uploads WHERE status NOT IN ('completed')"
        async with await psycopg.AsyncConnection.connect(
            self._settings.database_address, autocommit=True
        ) as record:
            while True:
                row = await (await record.execute(open_ones)).fetchone()
                if row is not None and row[0] == 0:
                    return
                if time.monotonic() > ends:
                    raise RuntimeError(f"{row and row[0]} uploads haven't completed")
                await asyncio.sleep(LOOK_S)

    def _write(self, rows: int) -> Path:
        self._sent += 1
        path = self._folder / f"members-{self._workers}-{self._sent}.xlsx"
        write_sample(path, rows, seed=self._workers * 1000 + self._sent)
        return path


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    content = await asyncio.to_thread(path.read_bytes)
    yield content
