"""One engine's process: its lock, start, log and stop.

An engine inherits a locked file from its owner, and so do its children. The kernel frees the lock
when the last of them is gone. Only the lock shows whether a process still writes to the engine's
folder; a pid file doesn't.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import psutil
import structlog

from rollbook.engines.watchdog import wait_free
from rollbook.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from signal import Signals

logger = structlog.get_logger(__name__)

POLL_S = 0.01
#: Seconds for each step that follows the mild one when an engine is ended.
KILL_TIMEOUT_S = 5.0
TAIL_LINES = 15
TAIL_BYTES = 4096
LAUNCH = Path(__file__).with_name("launch.py")


def hold(lock: Path, patience_s: float) -> int | None:
    """Lock a file for this process; returns its descriptor, or None after the patience."""
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                return None
            time.sleep(POLL_S)
        else:
            return fd


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process. One that waits for a disk that hangs can't end, and isn't waited for long."""
    process.kill()
    try:
        process.wait(KILL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        logger.error("process killed and not ended", pid=process.pid)


def sync(folder: Path) -> None:
    """Put a folder's names on the disk."""
    fd = os.open(folder, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def environment() -> dict[str, str]:
    """An engine's environment, without Rollbook's passwords and the operator's PGPORT or PGDATA."""
    passed_on = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    found = {name: os.environ[name] for name in passed_on if name in os.environ}
    # On macOS PostgreSQL refuses to start in a locale that the system doesn't know.
    return found | {"LC_ALL": "C", "TZ": "UTC"}


class Engine:
    """The common part of PostgreSQL and Valkey, which implement the four methods below."""

    name: ClassVar[str]
    #: Names the engine's folder, lock and log in the data folder.
    key: ClassVar[str]
    #: The signals that ask it to end, mildest first; the first is also sent when the owner dies.
    stop_signals: ClassVar[tuple[Signals, ...]]

    def __init__(self, data_dir: Path, run_dir: Path, *, stop_timeout_s: float) -> None:
        self.data_dir = data_dir
        self.run_dir = run_dir
        self.folder = data_dir / self.key
        self.lock = data_dir / f"{self.key}.lock"
        self.log = data_dir / f"{self.key}.log"
        #: The user it runs as; see launch.py.
        self.identity = "same"
        self._stop_timeout_s = stop_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._claimed: int | None = None

    @property
    def pid_file(self) -> Path:
        """The file to which it writes its pid."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """Its address for clients."""
        raise NotImplementedError

    def prepare(self) -> list[str | Path]:
        """Prepare the folder, which no process uses now; returns the command line."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether it serves clients; an OSError means not yet."""
        raise NotImplementedError

    # --- start

    @property
    def pid(self) -> int | None:
        """The engine's process, while it runs."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def start(self, watch_fd: int | None) -> None:
        """Start the process without waiting until it is ready.

        ``watch_fd`` is the pipe to the watchdog; None where the kernel sends the death signal.

        Raises:
            EngineError: it can't be started.
            OSError: the folder can't be used.
        """
        self._claim()
        try:
            if self.log.exists():
                self.log.replace(self.log.with_suffix(".log.1"))
            watch = "prctl" if watch_fd is None else f"{watch_fd}:{self.lock.name}"
            self._process = self.spawn(self.prepare(), watch=watch, watch_fd=watch_fd)
        finally:  # or the next try would take this process for an engine that holds it
            self._release()

    def spawn(
        self, program: Sequence[str | Path], *, watch: str = "none", watch_fd: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Run a program of the engine's, with the engine's identity, lock and log."""
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(
                self.command(program, watch=watch),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(),
                pass_fds=[fd for fd in (self._claimed, watch_fd) if fd is not None],
                # In the terminal's session a Ctrl-C would reach the engines before their clients.
                start_new_session=True,
            )
        finally:
            os.close(log)

    def command(self, program: Sequence[str | Path], *, watch: str = "none") -> list[str]:
        """The command line by which ``launch.py`` becomes the program."""
        how = [os.getpid(), self.stop_signals[0].value, watch, self.identity, self.data_dir]
        return [sys.executable, "-I", "-S", *map(str, (LAUNCH, *how, *program))]

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the engine serves clients.

        Raises:
            EngineError: it ended, or needs longer than ``timeout_s`` seconds.
        """
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while not self._looks_ready():
            if (code := self._process.poll()) is not None:
                raise self.failure(f"ended while it started (exit code {code})")
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready after {timeout_s:g} seconds")
            time.sleep(POLL_S)
        logger.info("engine ready", engine=self.key, pid=self._process.pid)

    def _looks_ready(self) -> bool:
        try:
            return self.is_ready()
        except OSError:
            return False

    def failure(self, what: str) -> EngineError:
        """The error with what happened, the log to read and that log's last lines."""
        newest = max(self.logs(), key=lambda log: log.stat().st_mtime_ns)
        tail = newest.read_bytes()[-TAIL_BYTES:].decode(errors="replace").splitlines()
        return EngineError(
            f"{self.name} {what}. The data in {self.folder} was kept. "
            f"The reason is in {newest}, which ends with:\n" + "\n".join(tail[-TAIL_LINES:])
        )

    def logs(self) -> list[Path]:
        """The files that the engine may have written to."""
        return [self.log]

    # --- leftovers of an earlier owner

    def _claim(self) -> None:
        """Take the lock; an engine without an owner is asked to stop, then killed."""
        self._claimed = hold(self.lock, 0)
        for number, patience_s in self._stop_steps():
            if self._claimed is not None:
                return
            leftover = self._leftover()
            if leftover is not None:
                logger.warning("stopping an orphaned engine", engine=self.key, pid=leftover.pid)
                leftover.send_signal(number)
            self._claimed = hold(self.lock, patience_s)
        if self._claimed is None:
            raise EngineError(
                f"A {self.name} that an earlier run left still works in {self.folder} and can't "
                "be stopped. Its data was not touched. Stop it by hand, then start again."
            )

    def _leftover(self) -> psutil.Process | None:
        """The engine that the pid file names, unless the pid belongs to another program by now."""
        try:
            process = psutil.Process(int(self.pid_file.read_text(encoding="utf-8").split()[0]))
            return process if str(self.folder) in process.cmdline() else None
        except (OSError, ValueError, IndexError, psutil.Error):
            return None

    def _release(self) -> None:
        claimed, self._claimed = self._claimed, None
        if claimed is not None:
            os.close(claimed)

    # --- stop

    def _stop_steps(self) -> Iterator[tuple[Signals, float]]:
        for number in self.stop_signals:
            mild = number == self.stop_signals[0]
            yield number, self._stop_timeout_s if mild else KILL_TIMEOUT_S

    def ask_to_stop(self) -> None:
        """Send the mild signal, so that both engines stop at the same time."""
        if self._process is not None:
            self._process.send_signal(self.stop_signals[0])

    def stop(self) -> None:
        """Stop the process, mildly first; repeatable, and reentrant for signal handlers."""
        self._release()
        if self._process is None:
            return
        for number, patience_s in self._stop_steps():
            self._process.send_signal(number)
            try:
                self._process.wait(patience_s)
                break
            except subprocess.TimeoutExpired:
                logger.warning("engine did not stop in time", engine=self.key, signal=number.name)
        # The children of a killed PostgreSQL need a moment to notice.
        if wait_free(self.lock, KILL_TIMEOUT_S):
            logger.info("engine stopped", engine=self.key, exit_code=self._process.returncode)
        else:
            logger.error("engine still runs", engine=self.key, pid=self._process.pid)
