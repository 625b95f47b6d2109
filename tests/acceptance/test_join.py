"""Machines that share nothing but PostgreSQL, Redis and a bucket."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import fastexcel
import httpx
import pytest
from pydantic import SecretStr

from rollbook.accounts import users
from rollbook.backends.database import connect
from rollbook.config import Settings
from rollbook.model import Role, Scope
from rollbook.service.system import open_system
from tests.acceptance.conftest import EMAIL, PASSWORD, environment, rollbook
from tests.closing import BRIEFLY
from tests.faults.site import only_at_length
from tests.files import csv_file, members
from tests.integration.backends.object_store import BUCKET, s3_server
from tests.ports import free_port
from tests.waiting import job_event, kill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORE = f"s3://{BUCKET}/shared"
READY_WITHIN_S = 60


class Machines:
    """Processes, each with a working folder and a data folder of its own."""

    def __init__(self, folder: Path, services: dict[str, str]) -> None:
        self._folder = folder
        self._services = services
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, command: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a command on a machine that has seen nothing before."""
        home = self.home(name)
        home.mkdir()
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                rollbook(command),
                cwd=home,
                env={**environment(home / "data"), **self._services, **more},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def home(self, name: str) -> Path:
        return self._folder / name

    def stop(self) -> None:
        for process in self._processes:
            kill(process)


@pytest.fixture
def machines(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Machines]:
    """No machine yet, but the three services."""
    with s3_server(tmp_path) as port:
        services = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "ROLLBOOK_STORE_URL": STORE,
            # What every client of the bucket has to know.
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "synthetic",
            "AWS_SECRET_ACCESS_KEY": "synthetic",
            "AWS_REGION": "af-south-1",
            "ROLLBOOK_STORE_ALLOW_HTTP": "true",
            # For this machine's sake: each slot is a process that is kept ready.
            "ROLLBOOK_CONCURRENCY": "1",
        }
        started = Machines(tmp_path, services)
        yield started
        started.stop()


@only_at_length
def test_a_new_machine_joins_with_three_addresses_and_takes_jobs(
    machines: Machines, database_url: str, redis_url: str
) -> None:
    settings = Settings(
        _env_file=None, database_url=SecretStr(database_url), redis_url=SecretStr(redis_url)
    )
    asyncio.run(_account(settings))
    port = str(free_port())
    api_process = machines.start("office", "serve", ROLLBOOK_PORT=port)
    with _signed_in(f"http://127.0.0.1:{port}", api_process) as api:
        first = _sent(api, 0)
        assert api.get(f"/bulk-upload/status/{first}").json()["data"]["status"] == "pending"
        one = machines.start("one", "worker")
        assert _ended(settings, first) == "completed"
        report = api.get(f"/bulk-upload/report/{first}").content
        assert fastexcel.read_excel(report).load_sheet("New Members").height == 3
        # A second one joins, the first one leaves, and the work continues.
        two = machines.start("two", "worker")
        _until_beating(database_url, 2)
        one.send_signal(signal.SIGTERM)
        assert one.wait(timeout=60) == 0
        second = _sent(api, 10)
        assert _ended(settings, second) == "completed"
        two.send_signal(signal.SIGTERM)
        assert two.wait(timeout=60) == 0
    for name in ("office", "one", "two"):
        # No machine has kept a member's file.
        data = machines.home(name) / "data"
        left = [path for path in data.rglob("*") if path.is_file()] if data.exists() else []
        assert [path.name for path in left] == (["secret.key"] if name == "office" else [])


def _ended(settings: Settings, job_id: str) -> str:
    return asyncio.run(job_event(settings, job_id, "completed", "failed"))


async def _account(settings: Settings) -> None:
    async with open_system(settings) as system:
        await users.add(
            system.pool,
            email=EMAIL,
            password=PASSWORD,
            role=Role.SUPER_ADMIN,
            scope=Scope(None, None),
        )


def _signed_in(url: str, process: subprocess.Popen[bytes]) -> httpx.Client:
    deadline = time.monotonic() + READY_WITHIN_S
    with httpx.Client(base_url=url, timeout=READY_WITHIN_S) as probe:
        while True:
            try:
                if probe.get("/readyz").is_success:
                    break
            except httpx.TransportError:
                pass
            assert process.poll() is None, "the API ended"
            assert time.monotonic() < deadline, "the API isn't ready"
            time.sleep(0.05)
        login = probe.post("/api/v1/auth/login", json={"email": EMAIL, "password": PASSWORD})
    token = login.json()["data"]["token"]
    headers = {"Authorization": f"Bearer {token}"}
    base = f"{url}/api/v1"
    return httpx.Client(base_url=base, timeout=READY_WITHIN_S, headers=headers, limits=BRIEFLY)


def _sent(api: httpx.Client, start: int) -> str:
    content = csv_file(members(3, start=start))
    answer = api.post("/bulk-upload/process", files={"file": ("members.csv", content)})
    assert answer.status_code == 202, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return str(data["job_id"])


def _until_beating(database_url: str, workers: int) -> None:
    """Wait until this many workers have sent a heartbeat."""
    deadline = time.monotonic() + READY_WITHIN_S
    with connect(database_url) as connection:
        connection.autocommit = True
        while True:
            row = connection.execute("SELECT count(*) AS found FROM workers").fetchone()
            if row is not None and row["found"] == workers:
                return
            assert time.monotonic() < deadline, "a worker gave no sign of life"
            time.sleep(0.05)
