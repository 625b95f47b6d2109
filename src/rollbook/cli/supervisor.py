"""``rollbook up``: starts and restarts the processes of API, worker and folder watcher.

A process needs a second or two to import its libraries, and an engine as long to start: they do it
at the same time. What is started before the engines waits, and gets their addresses on its
standard input when the schema is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

import structlog
from pydantic import SecretStr

from rollbook.config import environment_for
from rollbook.errors import ConfigurationError, EngineError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from rollbook.config import Settings

#: Pause before a process that died again soon is restarted, in seconds; it doubles up to the
#: maximum. The first time, there is none.
RESTART_PAUSE_S = 0.5
MAX_RESTART_PAUSE_S = 30.0
#: Seconds after which a running process counts as healthy again.
HEALTHY_AFTER_S = 60.0
READY_TIMEOUT_S = 60.0
#: Seconds by which the API starts before the others: the worker's children keep the machine busy
#: when they start, and a person looks at the page first.
HEAD_START_S = 2.0
#: Timeout for the API's readiness probe, in seconds.
PROBE_TIMEOUT_S = 5.0
#: Seconds that the processes have to stop, beyond the worker's own grace period.
STOP_MARGIN_S = 15.0
#: Seconds that a killed process has to end. One that waits for a share that hangs does so only when
#: the share answers, and isn't waited for.
KILLED_S = 10.0

log = structlog.get_logger(__name__)

#: The running process groups: each command and its children.
_groups: set[int] = set()


class Processes:
    """The processes of ``rollbook up``, first started and then run."""

    def __init__(self, settings: Settings) -> None:
        """Choose the port and the processes; nothing is started yet.

        Raises:
            ConfigurationError: the port is taken.
        """
        api = bound(settings)
        api.listen()
        port = int(api.getsockname()[1])
        self._address = (_reachable(settings.host), port)
        commands = ["serve", "worker"]
        if settings.watch_dir is not None:
            commands.append("watch")
        # The API shows the metrics of all. The supervisor holds these sockets and the API's, so a
        # restarted process gets the same one and no other program can take it.
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
        self._commands = [
            _Command(command, environment, listeners.get(command, api)) for command in commands
        ]

    @property
    def url(self) -> str:
        """The address of the API."""
        host, port = self._address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Start the processes, which import their modules; kill them when the context ends."""
        try:
            for command in self._commands:
                command.start()
            yield
        finally:
            kill()
            for command in self._commands:
                command.close()
                command.listener.close()

    @contextlib.asynccontextmanager
    async def running(
        self, settings: Settings, stop: asyncio.Event | None = None
    ) -> AsyncIterator[str]:
        """Run the processes for as long as the context lasts.

        ``stop`` ends waiting for the API, however long a part is away; without it, the API has
        READY_TIMEOUT_S to be ready.

        Yields:
            The base URL, once the API is ready or ``stop`` is set.

        Raises:
            EngineError: the API isn't ready in time.
        """
        api, *others = self._commands
        tasks = [
            ready := asyncio.create_task(self._ready(stop)),
            asyncio.create_task(api.keep_running(settings)),
        ]
        try:
            await asyncio.wait([ready], timeout=HEAD_START_S)
            tasks += [asyncio.create_task(other.keep_running(settings)) for other in others]
            await ready
            yield self.url
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ready(self, stop: asyncio.Event | None) -> None:
        deadline = asyncio.get_running_loop().time() + READY_TIMEOUT_S
        while stop is not None or asyncio.get_running_loop().time() < deadline:
            if stop is not None and stop.is_set():
                return
            if await asyncio.to_thread(self._answers_that_it_is_ready):
                return
            await asyncio.sleep(0.05)
        raise EngineError(
            f"The API at {self.url} was not ready within {READY_TIMEOUT_S:.0f} seconds. The log "
            "lines above say what it is waiting for."
        )

    def _answers_that_it_is_ready(self) -> bool:
        connection = HTTPConnection(*self._address, timeout=PROBE_TIMEOUT_S)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
            except (OSError, HTTPException):
                return False


@dataclass
class _Command:
    """One command and its process."""

    name: str
    environment: Mapping[str, str]
    #: Its listening socket: the API's for requests, the others' for metrics.
    listener: socket.socket
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Start a process, which waits for the addresses."""
        fd = self.listener.fileno()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "rollbook",
                self.name,
                "--supervised",
                f"--listener-fd={fd}",
            ],
            pass_fds=(fd,),
            stdin=subprocess.PIPE,
            env=self.environment,
            # Ctrl-C goes to the supervisor only, which stops the others in order.
            start_new_session=True,
        )
        _groups.add(self.process.pid)  # a new session is a new group of the same number
        return self.process

    async def keep_running(self, settings: Settings) -> None:
        """Send the process the addresses of the engines, and restart it whenever it ends."""
        loop = asyncio.get_running_loop()
        addresses = json.dumps([settings.database_address, settings.redis_address])
        pause = 0.0
        while True:
            began = loop.time()
            try:
                process = self.process or self.start()
            except OSError as error:  # no more processes, open files or memory at the moment
                pause = min(max(pause * 2, RESTART_PAUSE_S), MAX_RESTART_PAUSE_S)
                reason = error.strerror
                log.error("process not started", process=self.name, reason=reason, pause_s=pause)
                await asyncio.sleep(pause)
                continue
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it has ended, as is seen below
                process.stdin.write(f"{addresses}\n".encode())
                process.stdin.flush()
            ended = _end_of(process)
            try:
                code = await asyncio.shield(ended)
            except asyncio.CancelledError:
                process.terminate()
                grace_s = settings.shutdown_grace_s + STOP_MARGIN_S
                if not (await asyncio.wait([ended], timeout=grace_s))[0]:
                    log.error("process did not stop in time, killing it", process=self.name)
                    process.kill()
                raise
            finally:
                self.close()
            if loop.time() - began > HEALTHY_AFTER_S:
                pause = 0.0
            log.error("process ended, restarting it", process=self.name, code=code, pause_s=pause)
            await asyncio.sleep(pause)
            pause = min(max(pause * 2, RESTART_PAUSE_S), MAX_RESTART_PAUSE_S)

    def close(self) -> None:
        """Forget a process that has ended or was killed."""
        process, self.process = self.process, None
        if process is not None:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it ended before it got the addresses
                process.stdin.close()
            try:
                process.wait(KILLED_S)
            except subprocess.TimeoutExpired:
                log.error("process killed and not ended", process=self.name, pid=process.pid)
            _groups.discard(process.pid)


def _end_of(process: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    """The exit code, when the process has ended. One that doesn't end keeps this one from nothing.

    (Python would wait at its own end for a thread of ``asyncio.to_thread``.)
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def note(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    def wait() -> None:
        code = process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(note, code)

    threading.Thread(target=wait, name=f"end of {process.pid}", daemon=True).start()
    return ended


def kill() -> None:
    """Kill API, worker and the worker's children; unfinished work is repeated."""
    for group in _groups:
        # macOS raises PermissionError for a group whose last process is a zombie.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def receive_addresses(settings: Settings) -> Settings:
    """Wait for the engines' addresses from the supervisor; end when the supervisor ends.

    Returns:
        The settings with both addresses.
    """
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            sys.exit(0)  # it is gone, and nothing was begun
        line += byte
    database, redis = json.loads(line)
    _stop_with_parent()
    return settings.model_copy(
        update={"database_url": SecretStr(database), "redis_url": SecretStr(redis)}
    )


def _stop_with_parent() -> None:
    """End this process when the supervisor, which holds the other end of standard input, ends."""

    def wait_for_the_end() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_the_end, daemon=True).start()


def bound(settings: Settings) -> socket.socket:
    """A socket at the API's address. It doesn't listen yet: clients are refused until it does.

    Raises:
        ConfigurationError: the address can't be used; it says what to do.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((settings.host, settings.port))
    except OSError as error:
        made.close()
        raise ConfigurationError(
            f"Port {settings.port} of {settings.host} can't be used ({error.strerror}). Set "
            "ROLLBOOK_PORT to a free one, or stop the program that uses it."
        ) from None
    return made


def _reachable(host: str) -> str:
    """An address at which this machine reaches a server that listens on ``host``."""
    if host in {"0.0.0.0", ""}:  # noqa: S104 - compared with, not bound to
        return "127.0.0.1"
    if host == "::":
        return "::1"
    return host
