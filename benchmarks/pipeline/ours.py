"""Rollbook: a real ``rollbook worker`` process that is sent one file after another."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from benchmarks.pipeline.memory import Peak
from benchmarks.pipeline.others import Others
from psycopg.rows import dict_row
from pydantic import SecretStr

from rollbook.accounts import users
from rollbook.cli.sample_file import write_sample
from rollbook.config import Settings, environment_for
from rollbook.model import OUTCOMES, User
from rollbook.service.system import open_system
from rollbook.uploads import receive
from rollbook.uploads.options import Options
from rollbook.worker.process import UploadWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from rollbook.engines import Addresses
    from rollbook.service.system import System

#: Seconds between two looks at the record, while a usual file or a large one is worked on.
QUICK_LOOK_S, LOOK_S = 0.002, 0.02
USUAL_ROWS = 200
#: Over the product's default, so that a peak above that is measured and not cut off.
CHILD_MEMORY_MB = 12 * 1024
PATIENCE_S = 1800.0
#: Seconds between two looks at the event loop.
PROBE_S = 0.005
_CHUNK = 1 << 20
_FINAL = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Run:
    """What one upload took."""

    #: From before the upload was recorded until its completion could be read.
    seconds: float
    #: As the child timed them.
    stages: dict[str, float]
    #: Of the child.
    peak_mb: float
    outcomes: dict[str, int]
    #: Cores that other work used meanwhile.
    others: float
    #: Seconds of processor time, with PostgreSQL's.
    cpu_s: float


class Office:
    """Sends files to a worker that runs."""

    def __init__(self, system: System, user: User, worker: int, folder: Path) -> None:
        self._system = system
        self._user = user
        self._worker = worker
        self._folder = folder
        self._usual = 0

    async def send(self, path: Path, *, look_s: float = LOOK_S) -> Run:
        """Send a file and wait until it is completed."""
        stored = await receive.store_file(self._system, path.name, _chunks(path))
        address = self._system.settings.database_address
        async with await psycopg.AsyncConnection.connect(
            address, autocommit=True, row_factory=dict_row
        ) as record:
            with Others() as others, Peak(self._worker, children=True) as peak:
                began = time.perf_counter()
                sent = await receive.record(
                    self._system, self._user, stored, Options(allow_duplicate=True)
                )
                upload = await _ended(record, sent["id"], look_s)
                seconds = time.perf_counter() - began
        if upload["status"] != "completed":
            raise RuntimeError(f"{path.name}: {upload['status']}, {upload['error']}")
        outcomes: dict[str, int] = {name: upload[name] for name in OUTCOMES}
        return Run(
            round(seconds, 4),
            upload["stage_seconds"],
            round(peak.megabytes),
            outcomes,
            others.cores,
            others.own_s,
        )

    async def send_usual(self) -> Run:
        """Send a new file of the usual size: it also warms the child that gets the next file."""
        self._usual += 1
        path = self._folder / f"usual-{self._usual}.xlsx"
        write_sample(path, USUAL_ROWS, seed=1000 + self._usual)
        return await self.send(path, look_s=QUICK_LOOK_S)


@asynccontextmanager
async def office(addresses: Addresses, folder: Path) -> AsyncIterator[Office]:
    """A worker with its default settings, and somebody who sends files to it."""
    settings = settings_for(addresses, folder)
    log = folder / "worker.log"
    worker = start_worker(settings, log)
    try:
        async with open_system(settings) as system:
            await users.add_first(system.pool, settings)
            user = await users.acting(system.pool, None)
            ends = time.monotonic() + PATIENCE_S
            while b"worker started" not in log.read_bytes():
                if worker.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError(f"no worker\n{log.read_text(errors='replace')}")
                await asyncio.sleep(LOOK_S)
            sender = Office(system, user, worker.pid, folder)
            await sender.send_usual()
            yield sender
    finally:
        worker.terminate()
        worker.wait()


async def loop_lag(addresses: Addresses, folder: Path, path: Path) -> list[float]:
    """How late the worker's event loop was, in milliseconds, looked at while a file ran.

    The worker's own code runs in this process for it, with a task beside it that wants to run every
    few milliseconds.
    """
    late: list[float] = []

    async def look() -> None:
        loop = asyncio.get_running_loop()
        while True:
            wanted = loop.time() + PROBE_S
            await asyncio.sleep(PROBE_S)
            late.append((loop.time() - wanted) * 1000)

    settings = settings_for(addresses, folder)
    stop = asyncio.Event()
    async with open_system(settings) as system:
        user = await users.acting(system.pool, None)
        worker = asyncio.create_task(UploadWorker(system).run(stop))
        sender = Office(system, user, os.getpid(), folder)
        await sender.send_usual()
        stored = await receive.store_file(system, path.name, _chunks(path))
        probe = asyncio.create_task(look())
        sent = await receive.record(system, user, stored, Options(allow_duplicate=True))
        async with await psycopg.AsyncConnection.connect(
            settings.database_address, autocommit=True, row_factory=dict_row
        ) as record:
            await _ended(record, sent["id"], LOOK_S)
        probe.cancel()
        stop.set()
        await worker
    return late


def settings_for(addresses: Addresses, folder: Path) -> Settings:
    """The product's settings, with limits that a benchmark's files don't meet."""
    assert addresses.database_url is not None
    assert addresses.redis_url is not None
    return Settings(
        _env_file=None,
        database_url=SecretStr(addresses.database_url),
        redis_url=SecretStr(addresses.redis_url),
        data_dir=folder / "data",
        secret_key=SecretStr("known to this benchmark alone, 32 bytes"),
        max_upload_mb=8192,
        child_memory_mb=CHILD_MEMORY_MB,
        job_timeout_s=3600,
    )


def start_worker(settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    """A worker process of its own; it has said "worker started" when it takes jobs."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "rollbook", "worker"],
            cwd=log.parent,
            env=environment_for(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


async def _ended(
    record: psycopg.AsyncConnection[dict[str, Any]], upload_id: UUID, look_s: float
) -> dict[str, Any]:
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        found = await record.execute("SELECT * FROM uploads WHERE id = %s", (upload_id,))
        upload = await found.fetchone()
        assert upload is not None
        if upload["status"] in _FINAL:
            return upload
        await asyncio.sleep(look_s)
    raise RuntimeError(f"upload {upload_id} hasn't ended within {PATIENCE_S:.0f} s")


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
