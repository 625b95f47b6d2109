"""The last release beside this version, on this version's schema: an upgrade without a pause.

The release's code runs with the dependencies that are installed here.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.acceptance.conftest import environment, rollbook
from tests.files import csv_file, members
from tests.integration.worker.test_worker import ended, in_members, sent, working
from tests.ports import free_port
from tests.waiting import PATIENCE_S, kill

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System

ROOT = Path(__file__).parents[2]


def git(*arguments: str) -> bytes:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE_S
    ).stdout


@pytest.fixture(scope="module")
def tag() -> str:
    """The newest release's."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("the last release beside this version: needs a checkout with a tag v*")
    tags = git("tag", "--list", "v*", "--sort=-version:refname").decode().split()
    if not tags:
        pytest.skip("the last release beside this version: needs a checkout with a tag v*")
    return tags[0]


@pytest.fixture(scope="module")
def release(tag: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release's source."""
    folder = tmp_path_factory.mktemp("release")
    with tarfile.open(fileobj=BytesIO(git("archive", tag, "src"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


class Release:
    """Processes of the release."""

    def __init__(self, source: Path, settings: Settings, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **environment(settings.data_dir),
            "PYTHONPATH": str(source),
            "DATABASE_URL": settings.database_address,
            "REDIS_URL": settings.redis_address,
            "ROLLBOOK_SECRET_KEY": "a key that only the tests know, 32 bytes",
            "ROLLBOOK_CONCURRENCY": "1",
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: str, **more: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            rollbook(command),
            cwd=self._folder,
            env={**self._environment, **more},
            stdin=subprocess.DEVNULL,
        )
        self._processes.append(process)
        return process

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            rollbook(*arguments),
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def place(self) -> Path:
        """Which code it is that runs."""
        command = [sys.executable, "-c", "import rollbook; print(rollbook.__file__)"]
        told = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
        )
        return Path(told.stdout.decode().strip())

    def stop(self) -> None:
        for process in self._processes:
            kill(process)


@pytest.fixture
def before(release: Path, settings: Settings, tmp_path: Path) -> Iterator[Release]:
    """The release, on this test's database, queue and store."""
    started = Release(release, settings, tmp_path)
    assert started.place() == release / "rollbook" / "__init__.py"
    yield started
    started.stop()


async def test_the_release_works_on_the_new_schema_and_hands_over(
    before: Release,
    system: System,
    settings: Settings,
    make_user: Callable[..., Awaitable[User]],
    tmp_path: Path,
) -> None:
    user = await make_user()
    worker = before.start("worker")
    # Sent by this version, done by the release's worker.
    upload = await ended(system, user, await sent(system, user, csv_file(members(3))))
    assert (upload["status"], upload["inserted"]) == ("completed", 3)
    # Sent and done by the release.
    (tmp_path / "more.csv").write_bytes(csv_file(members(3, start=10)))
    before.run("upload", "more.csv", "--wait")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0
    # Sent by the release, done by this version's worker.
    (tmp_path / "last.csv").write_bytes(csv_file(members(3, start=20)))
    job_id = re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", before.run(
        "upload", "last.csv", "--json"
    ))[0]  # fmt: skip
    async with working(system):
        upload = await ended(system, user, job_id)
    assert upload["status"] == "completed"
    assert len(in_members(settings)) == 9


def test_the_release_s_api_stays_in_service_on_the_new_schema(before: Release) -> None:
    port = free_port()
    api = before.start("serve", ROLLBOOK_PORT=str(port))
    deadline = time.monotonic() + PATIENCE_S
    said = "nothing"
    while True:
        with suppress(httpx.TransportError):
            answer = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE_S)
            if answer.status_code == 200:
                return
            said = answer.text
        assert api.poll() is None, "the release's API ended"
        assert time.monotonic() < deadline, f"the release's API isn't ready: {said}"
        time.sleep(0.1)
