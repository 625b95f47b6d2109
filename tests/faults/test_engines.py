"""`rollbook up` keeps its engines running, or ends with an exit code."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from tests import cluster, warm_process
from tests.faults.site import until
from tests.ports import free_port
from tests.waiting import to_each

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: What would make it use somebody else's engines.
OWN = {"DATABASE_URL", "REDIS_URL"}


class Up:
    """``rollbook up`` with engines of its own."""

    def __init__(self, folder: Path, **more: str) -> None:
        cluster.put(folder / "data")
        self.port = free_port()
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = warm_process.start(
                "up",
                cwd=folder,
                env={
                    **{name: os.environ[name] for name in os.environ if name not in OWN},
                    "ROLLBOOK_DATA_DIR": str(folder / "data"),
                    "ROLLBOOK_PORT": str(self.port),
                    "ROLLBOOK_LOG_FORMAT": "human",
                    **more,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def engines(self, name: str) -> list[psutil.Process]:
        """The engine's first process, if it runs."""
        children = psutil.Process(self.process.pid).children()
        return [child for child, found in to_each(children, psutil.Process.name) if found == name]


def ended(up: Up) -> None:
    if up.process.poll() is None:
        up.process.send_signal(signal.SIGTERM)
        try:
            up.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            up.process.kill()
            up.process.wait(timeout=30)


def _runs_again(up: Up, name: str, dead: int) -> bool:
    return any(found.pid != dead for found in up.engines(name))


@pytest.mark.timeout(300)
def test_up_starts_a_dead_engine_again(tmp_path: Path, normal_after: Callable[..., None]) -> None:
    up = Up(tmp_path)
    try:
        until(up.is_ready, "ready")
        for name in ("postgres", "valkey-server"):
            [dead] = up.engines(name)
            dead.kill()
            began = time.monotonic()
            until(lambda: _runs_again(up, name, dead.pid), f"{name} runs again")  # noqa: B023
            until(up.is_ready, "ready again")
            normal_after(time.monotonic() - began, f"{name} died")
        assert up.process.poll() is None
    finally:
        ended(up)


def _worker(up: Up) -> psutil.Process | None:
    """The worker, if it runs."""
    for child in psutil.Process(up.process.pid).children():
        with contextlib.suppress(psutil.Error):
            if warm_process.is_command(child, "worker"):
                return child
    return None


@pytest.mark.timeout(300)
def test_up_starts_a_killed_worker_again_at_once_and_later_with_a_pause(
    tmp_path: Path, normal_after: Callable[..., None]
) -> None:
    up = Up(tmp_path, ROLLBOOK_LOG_FORMAT="json")
    try:
        until(up.is_ready, "ready")
        pauses = []
        for _ in range(3):
            dead = until(lambda: _worker(up), "a worker")
            dead.kill()
            began = time.monotonic()
            another = until(
                lambda: (one := _worker(up)) and one.pid != dead.pid and one,  # noqa: B023
                "another worker",
            )
            pauses.append(time.monotonic() - began)
            assert another.is_running()
        normal_after(pauses[0], "a killed worker is started again")
        said = re.findall(r'"pause_s": ([0-9.]+)', up.log.read_text())
        assert [float(pause) for pause in said] == [0, 0.5, 1]
    finally:
        ended(up)


@pytest.mark.timeout(300)
def test_up_ends_with_an_exit_code_where_an_engine_cannot_be_kept_running(tmp_path: Path) -> None:
    up = Up(tmp_path, ROLLBOOK_ENGINE_RESTARTS="2", ROLLBOOK_SHUTDOWN_GRACE_S="1")
    try:
        until(up.is_ready, "ready")
        # Its programs and data are there, and it doesn't start: somebody has broken its folder.
        (tmp_path / "data" / "postgres" / "PG_VERSION").write_text("9.1\n")
        [dead] = up.engines("postgres")
        dead.kill()
        assert up.process.wait(timeout=90) not in {0, None}
        log = up.log.read_text()
        assert log.count("engine not started") == 2
        assert log.count("is of PostgreSQL 9.1, and this Rollbook brings") >= 2
    finally:
        ended(up)
