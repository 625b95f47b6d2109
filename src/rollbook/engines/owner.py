"""The owner of a data folder's engines, and how other processes find them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from rollbook.engines.postgres import AsRoot, Postgres, kept_clusters
from rollbook.engines.process import KILL_TIMEOUT_S, Engine, environment, hold, kill
from rollbook.engines.sockets import socket_folder
from rollbook.engines.valkey import Valkey
from rollbook.engines.watchdog import is_held
from rollbook.errors import DataFolderInUseError, EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = structlog.get_logger(__name__)

LOCK = "engines.lock"
RUNTIME = "runtime.json"
WATCHDOG = Path(__file__).with_name("watchdog.py")
#: Timeout for an engine's start, in seconds; recovery after a crash reads up to 2 GB of log.
START_TIMEOUT_S = 120.0
#: Timeout for an engine's orderly stop, in seconds.
STOP_TIMEOUT_S = 30.0
#: Seconds to try for the folder's lock: ``find_running`` holds it for an instant.
LOCK_PATIENCE_S = 1.0


@dataclass(frozen=True)
class Addresses:
    """The engines' addresses; None for an engine that isn't run here."""

    #: For psycopg; names a database that exists.
    database_url: str | None
    #: For redis-py.
    redis_url: str | None


@dataclass(eq=False)
class Engines:
    """PostgreSQL and Valkey in one data folder, for as long as this process lives.

    A context manager; ``start`` and ``stop`` may be called repeatedly. A new or empty data folder
    gets mode 0700.
    """

    data_dir: Path
    _: KW_ONLY
    postgres: bool = True
    valkey: bool = True
    #: For tests: PostgreSQL's data doesn't survive a power cut.
    fast_unsafe: bool = False
    #: Stops the engines when this process is killed: the kernel where it can, else a process.
    death_watch: Literal["prctl", "watchdog"] = "prctl" if sys.platform == "linux" else "watchdog"
    #: How root runs PostgreSQL, which refuses to run as root.
    as_root: AsRoot = "auto"
    start_timeout_s: float = START_TIMEOUT_S
    stop_timeout_s: float = STOP_TIMEOUT_S
    #: Of another version of PostgreSQL, while its data is moved.
    programs: Path | None = None
    options: Mapping[str, str] | None = None
    #: Whether no other process finds these engines.
    is_private: bool = False
    #: The folder's, where the caller has it (``own_folder``).
    lock: int | None = None

    def __post_init__(self) -> None:
        self.data_dir = self.data_dir.resolve()
        self._lock: int | None = None
        self._engines: list[Engine] = []
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def pids(self) -> dict[str, int]:
        """The running processes, by ``postgres`` and ``valkey``."""
        return {engine.key: pid for engine in self._engines if (pid := engine.pid) is not None}

    def start(self) -> Addresses:
        """Start the engines and wait until they serve clients; on any failure all are stopped.

        Raises:
            DataFolderInUseError: another owner has the folder.
            EngineError: an engine or the folder can't be used, or this isn't the main thread.
        """
        _require_main_thread()
        try:
            self._lock = own_folder(self.data_dir) if self.lock is None else os.dup(self.lock)
            return self._start()
        except OSError as error:
            raise EngineError(
                f"The data folder {self.data_dir} can't be used: {error}. Nothing was removed. "
                "Check its owner, its mode and the free space, or set ROLLBOOK_DATA_DIR to another."
            ) from error

    def _start(self) -> Addresses:
        engines: list[Engine] = []
        try:
            # A killed owner's addresses must not look valid while this process holds the lock.
            self._runtime.unlink(missing_ok=True)
            run_dir = socket_folder(self.data_dir)
            postgres = Postgres(
                self.data_dir,
                run_dir,
                stop_timeout_s=self.stop_timeout_s,
                fast_unsafe=self.fast_unsafe,
                as_root=self.as_root,
                programs=self.programs,
                options=self.options,
            )
            valkey = Valkey(self.data_dir, run_dir, stop_timeout_s=self.stop_timeout_s)
            if self.death_watch == "watchdog":
                self._start_watchdog()
            engines += [postgres] * self.postgres + [valkey] * self.valkey
            self._engines = engines
            for engine in engines:
                engine.start(self._watch_fd())
            for engine in engines:
                engine.wait_ready(self.start_timeout_s)
            if self._lock is None:
                raise EngineError("The engines were stopped while they started.")
            addresses = Addresses(
                postgres.url if self.postgres else None, valkey.url if self.valkey else None
            )
            if not self.is_private:
                new = self._runtime.with_suffix(".new")
                new.write_text(json.dumps(asdict(addresses)), encoding="utf-8")
                new.replace(self._runtime)
        except BaseException:
            # A signal handler may have called stop() before the last of them was started.
            self._engines = engines
            self.stop()
            raise
        return addresses

    def ended(self) -> list[str]:
        """The engines that were started and have ended, by ``postgres`` and ``valkey``."""
        return [engine.key for engine in self._engines if engine.pid is None]

    def start_again(self, key: str) -> None:
        """Restart an engine that has ended, without waiting until it is ready.

        Raises:
            EngineError: it can't be started, or this isn't the main thread.
        """
        _require_main_thread()
        engine = self._engine(key)
        try:
            engine.start(self._watch_fd())
        except OSError as error:
            raise engine.failure(f"can't be started again ({error})") from error

    def wait_ready(self, key: str) -> None:
        """Wait until an engine serves clients, under the address that it had before.

        Raises:
            EngineError: it ended, or needs too long.
        """
        self._engine(key).wait_ready(self.start_timeout_s)

    def _engine(self, key: str) -> Engine:
        [engine] = [engine for engine in self._engines if engine.key == key]
        return engine

    def stop(self) -> None:
        """Stop the engines; their data stays. An engine that doesn't stop is killed.

        May be called at any time and again, from a signal handler too: each step looks at what is
        still there, and a call within a call does the whole work.
        """
        if self._lock is not None:
            self._runtime.unlink(missing_ok=True)
        for engine in self._engines:
            engine.ask_to_stop()
        for engine in self._engines:
            engine.stop()
        self._engines = []
        self._stop_watchdog()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def __enter__(self) -> Addresses:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _runtime(self) -> Path:
        return self.data_dir / RUNTIME

    def _watch_fd(self) -> int | None:
        """The pipe to the watchdog, where there is one."""
        if self._watchdog is None:
            return None
        assert self._watchdog.stdin is not None
        return self._watchdog.stdin.fileno()

    def _start_watchdog(self) -> None:
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", str(WATCHDOG), str(self.data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd="/",
            env=environment(),
            start_new_session=True,
        )

    def _stop_watchdog(self) -> None:
        """Close the watchdog's pipe, so that it ends."""
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is None:
            return
        assert watchdog.stdin is not None
        watchdog.stdin.close()
        try:
            watchdog.wait(KILL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            kill(watchdog)


def _require_main_thread() -> None:
    if threading.current_thread() is not threading.main_thread():
        # Linux sends the death signal when the *thread* that started the engine ends.
        raise EngineError("The engines must be started from the main thread of the process.")


def own_folder(data_dir: Path) -> int:
    """Make the folder if it isn't there, and lock it for this process.

    Returns:
        The lock's descriptor; closing it, and each copy of it, gives the folder back.

    Raises:
        DataFolderInUseError: another owner has it.
        OSError: it can't be used.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A folder that holds other things keeps its mode: it may be a home or /var/lib. What the
    # engines put into it is private in any case.
    if data_dir.stat().st_uid == os.geteuid() and not any(data_dir.iterdir()):
        data_dir.chmod(0o700)
    lock = hold(data_dir / LOCK, LOCK_PATIENCE_S)
    if lock is None:
        raise DataFolderInUseError(
            f"Another Rollbook process runs the engines of the data folder {data_dir}. "
            "Use that one (commands such as `rollbook queue stats` find it by themselves), "
            "stop it first, or set ROLLBOOK_DATA_DIR to another folder."
        )
    return lock


def find_running(data_dir: Path) -> Addresses | None:
    """The addresses of the engines that a living owner runs in this folder; None without one.

    The folder's lock shows whether the owner lives; only then are the addresses in the file valid.
    """
    folder = data_dir.resolve()
    try:
        if not is_held(folder / LOCK):
            return None
        return Addresses(**json.loads((folder / RUNTIME).read_text(encoding="utf-8")))
    except OSError:
        # Not ready yet, or not readable: starting engines there then reports that.
        return None


def has_data(data_dir: Path, *, postgres: bool, valkey: bool) -> bool:
    """Whether the folder holds the data of these engines, so that starting them makes none.

    Valkey's data counts only where PostgreSQL isn't run here: the queue is made from the record.

    Raises:
        PermissionError: the folder can't be read.
    """
    if postgres:
        clusters = (data_dir / "postgres", *kept_clusters(data_dir))
        return any((cluster / "PG_VERSION").exists() for cluster in clusters)
    return not valkey or (data_dir / "valkey").exists()
