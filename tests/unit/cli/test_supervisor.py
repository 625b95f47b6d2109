"""What the machine doesn't give at once: a process of ``rollbook up``, and the API's port."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

import pytest
from pydantic import SecretStr

from rollbook.cli import processes, supervisor
from rollbook.cli.supervisor import _Command
from rollbook.config import Settings
from rollbook.errors import ConfigurationError
from tests.integration.folder.watching import until
from tests.waiting import PATIENCE_S

#: Reads what it is sent, and ends when it is asked to.
PROGRAM = [sys.executable, "-c", "import sys; sys.stdin.read()"]
#: Ends only when it is killed.
STUBBORN = "import threading; threading.Event().wait()"
SETTINGS = Settings(
    _env_file=None,
    database_url=SecretStr("postgresql://db.example.org/rollbook"),
    redis_url=SecretStr("redis://redis.example.org"),
)


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
    with socket.socket() as listener:
        running = asyncio.create_task(
            _Command("worker", os.environ, listener).keep_running(SETTINGS)
        )
        await until(lambda: bool(started))
        running.cancel()
        await asyncio.wait({running}, timeout=PATIENCE_S)
    assert running.cancelled()
    assert tries == 3
    assert started[0].poll() is not None


async def test_a_process_that_does_not_end_when_killed_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system ends a process that waits for a share only when the share answers."""
    monkeypatch.setattr(supervisor, "STOP_MARGIN_S", 0)
    monkeypatch.setattr(supervisor, "KILLED_S", 0.1)
    for way in ("kill", "terminate"):
        monkeypatch.setattr(subprocess.Popen, way, lambda _: None)
    command_line = [sys.executable, "-c", STUBBORN]
    stuck = subprocess.Popen(command_line, stdin=subprocess.PIPE)  # noqa: ASYNC220 - as it does
    with socket.socket() as listener:
        command = _Command("worker", os.environ, listener, stuck)
        settings = SETTINGS.model_copy(update={"shutdown_grace_s": 0.1})
        running = asyncio.create_task(command.keep_running(settings))
        await asyncio.sleep(0)  # it is told its addresses, and is waited for
        running.cancel()
        await asyncio.wait({running}, timeout=PATIENCE_S)
    try:
        assert running.cancelled()
        assert stuck.poll() is None
    finally:
        os.kill(stuck.pid, signal.SIGKILL)
        stuck.wait(PATIENCE_S)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_is_said_before_anything_starts(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as taken:
        settings = Settings(_env_file=None, host=host, port=taken.getsockname()[1])
        monkeypatch.setattr(processes, "settings_for", lambda *_, **__: settings)
        monkeypatch.setattr(processes, "engines", lambda *_, **__: nullcontext(settings))
        with pytest.raises(ConfigurationError, match="Set ROLLBOOK_PORT to a free one"):
            processes.serve()


def test_the_port_refuses_clients_until_the_server_is_ready() -> None:
    """A proxy asks the other API meanwhile, instead of waiting for this one."""
    settings = Settings(_env_file=None, host="127.0.0.1", port=0)
    with supervisor.bound(settings) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname(), timeout=PATIENCE_S)
