"""``rollbook up`` where the machine gives it no process for a while."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from rollbook.cli import supervisor
from rollbook.cli.supervisor import _Command
from rollbook.config import Settings
from tests.integration.folder.watching import until
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    import pytest

#: Reads what it is sent, and ends when it is asked to.
PROGRAM = [sys.executable, "-c", "import sys; sys.stdin.read()"]


async def test_a_process_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, tries = subprocess.Popen, 0
    started: list[Any] = []

    def start(_: Any, **how: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        started.append(real(PROGRAM, **how))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(supervisor, "RESTART_PAUSE_S", 0.01)
    settings = Settings(
        _env_file=None,
        database_url=SecretStr("postgresql://db.example.org/rollbook"),
        redis_url=SecretStr("redis://redis.example.org"),
    )
    with socket.socket() as listener:
        running = asyncio.create_task(
            _Command("worker", os.environ, listener).keep_running(settings)
        )
        await until(lambda: bool(started))
        running.cancel()
        await asyncio.wait({running}, timeout=PATIENCE_S)
    assert running.cancelled()
    assert tries == 3
    assert started[0].poll() is not None
