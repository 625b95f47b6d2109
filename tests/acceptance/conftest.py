"""A running ``rollbook up``, as a copy of a process with loaded modules.

The demo starts cold, with all that it starts; and what else an operator starts, in test_up.py.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

from tests import warm_process
from tests.closing import BRIEFLY
from tests.files import csv_file
from tests.waiting import PATIENCE_S, printed, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EMAIL = "operator@example.org"
PASSWORD = "only for this test run"
WATCHED = "there before.csv"


def rollbook(*arguments: str) -> list[str]:
    """The command, run by this very interpreter."""
    return [sys.executable, "-m", "rollbook", *arguments]


def environment(data: Path, **more: str) -> dict[str, str]:
    """An environment without any of the developer's own settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ROLLBOOK_", "REDIS_", "DATABASE_"))
    }
    # Each slot's child takes a second of a processor to start.
    ours = {"ROLLBOOK_DATA_DIR": str(data), "ROLLBOOK_PORT": "0", "ROLLBOOK_CONCURRENCY": "1"}
    return {**kept, **ours, **more}


@dataclass
class Running:
    """A started system."""

    process: subprocess.Popen[str]
    url: str
    data: Path

    def api(self, email: str = EMAIL, password: str = PASSWORD) -> httpx.Client:
        """A client that is signed in."""
        base = f"{self.url}/api/v1"
        login = httpx.post(
            f"{base}/auth/login",
            json={"email": email, "password": password},
            timeout=PATIENCE_S,
        )
        token = login.json()["data"]["token"]
        return httpx.Client(
            base_url=base,
            timeout=PATIENCE_S,
            headers={"Authorization": f"Bearer {token}"},
            limits=BRIEFLY,
        )


def start(data: Path, **more: str) -> Running:
    """Start the system and return when it says that it is ready."""
    process = warm_process.start(
        "up",
        cwd=data.parent,
        env=environment(data, ROLLBOOK_ADMIN_EMAIL=EMAIL, ROLLBOOK_ADMIN_PASSWORD=PASSWORD, **more),
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in printed(process.stdout):
        if found := re.search(r"ready at (http://\S+)", line):
            return Running(process, found[1], data)
    raise AssertionError(f"rollbook up ended with {process.wait(PATIENCE_S)} before it was ready")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One system for the tests that leave it as it was, but for a few uploads more.

    It has taken the file ``WATCHED`` from a folder in which that was before it started.
    """
    folder = tmp_path_factory.mktemp("running")
    (folder / "watched").mkdir()
    (folder / "watched" / WATCHED).write_bytes(csv_file(60))
    watching = {"ROLLBOOK_WATCH_DIR": "watched", "ROLLBOOK_WATCH_STILL_S": "0.2"}
    started = start(folder / "data", **watching)
    try:
        with started.api() as api:
            until(
                lambda: api.get("/bulk-upload/queue/stats").json()["data"]["completed"] == 1,
                "the file of the folder is through",
            )
        yield started
    finally:
        if started.process.poll() is None:
            started.process.send_signal(signal.SIGTERM)
            assert started.process.wait(timeout=60) == 0
        assert started.process.stdout is not None
        started.process.stdout.close()
