"""``rollbook up``: API, worker and folder watcher, each a process of its own, kept running."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

import httpx
import structlog

from rollbook.config import environment_for
from rollbook.errors import ConfigurationError, EngineError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rollbook.config import Settings

#: Pause before a process that died is started again; it doubles up to the last figure.
RESTART_PAUSE_S = 0.5
MAX_RESTART_PAUSE_S = 30.0
#: Seconds after which a process that ran is taken for healthy again.
HEALTHY_AFTER_S = 60.0
READY_TIMEOUT_S = 60.0
#: Seconds that the processes get to stop, beyond the worker's own grace period.
STOP_MARGIN_S = 15.0

log = structlog.get_logger(__name__)

#: The groups of processes that run: each command's own and what it started.
_groups: set[int] = set()


@contextlib.asynccontextmanager
async def running(settings: Settings, stop: asyncio.Event | None = None) -> AsyncIterator[str]:
    """Run API and worker for as long as the context lasts.

    Args:
        settings: with the addresses of both engines; a port of 0 stands for any free one.
        stop: ends waiting for the API, however long a part is away; without it, the API has
            READY_TIMEOUT_S to be ready.

    Yields:
        The base URL, once the API is ready or ``stop`` is set.

    Raises:
        ConfigurationError: the port is taken.
        EngineError: the API isn't ready in time.
    """
    port = _free_port(settings)
    url = f"http://{_reachable(settings.host)}:{port}"
    commands = ["serve", "worker"]
    if settings.watch_dir is not None:
        commands.append("watch")
    # The API shows the metrics of all. These sockets outlive the processes that answer on them, so
    # that one that is started again has the same.
    listeners = {command: socket.create_server(("127.0.0.1", 0)) for command in commands[1:]}
    beside = {
        command: f"http://127.0.0.1:{listener.getsockname()[1]}"
        for command, listener in listeners.items()
    }
    environment = environment_for(
        settings.model_copy(
            update={"port": port, "metrics_from": {**settings.metrics_from, **beside}}
        )
    )
    keepers = [
        asyncio.create_task(_keep_running(command, environment, settings, listeners.get(command)))
        for command in commands
    ]
    try:
        await _ready(url, stop)
        yield url
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        for listener in listeners.values():
            listener.close()


def kill() -> None:
    """End API, worker and the worker's children at once; what they had begun is done again."""
    for group in _groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def stop_with_parent() -> None:
    """End this process when the supervisor is gone: it holds the other end of standard input."""

    def wait_for_the_end() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_the_end, daemon=True).start()


async def _keep_running(
    command: str,
    environment: dict[str, str],
    settings: Settings,
    metrics_listener: socket.socket | None,
) -> None:
    loop = asyncio.get_running_loop()
    pause = RESTART_PAUSE_S
    passed = () if metrics_listener is None else (metrics_listener.fileno(),)
    while True:
        began = loop.time()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "rollbook",
            command,
            "--supervised",
            *(f"--metrics-fd={fd}" for fd in passed),
            pass_fds=passed,
            stdin=asyncio.subprocess.PIPE,
            env=environment,
            # Ctrl-C goes to the supervisor alone, who stops the others in order.
            start_new_session=True,
        )
        _groups.add(process.pid)  # a new session is a new group of the same number
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _stop(process, settings)
            raise
        finally:
            _groups.discard(process.pid)
        if loop.time() - began > HEALTHY_AFTER_S:
            pause = RESTART_PAUSE_S
        log.error("process ended, starting it again", process=command, code=code, pause_s=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, MAX_RESTART_PAUSE_S)


async def _stop(process: asyncio.subprocess.Process, settings: Settings) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(settings.shutdown_grace_s + STOP_MARGIN_S):
            await process.wait()
    except TimeoutError:
        log.error("process did not stop in time, killing it", pid=process.pid)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _ready(url: str, stop: asyncio.Event | None) -> None:
    deadline = asyncio.get_running_loop().time() + READY_TIMEOUT_S
    async with httpx.AsyncClient(base_url=url, timeout=5) as client:
        while stop is not None or asyncio.get_running_loop().time() < deadline:
            if stop is not None and stop.is_set():
                return
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/readyz")).is_success:
                    return
            await asyncio.sleep(0.1)
    raise EngineError(
        f"The API at {url} was not ready within {READY_TIMEOUT_S:.0f} seconds. The log lines above "
        "say what it is waiting for."
    )


def _free_port(settings: Settings) -> int:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise ConfigurationError(
                f"Port {settings.port} of {settings.host} can't be used ({error.strerror}). Set "
                "ROLLBOOK_PORT to a free one, or stop the program that uses it."
            ) from None
        return int(probe.getsockname()[1])


def _reachable(host: str) -> str:
    """An address under which this machine reaches a server that listens on ``host``."""
    if host in {"0.0.0.0", ""}:  # noqa: S104 - compared with, not bound to
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host
