"""The watcher: takes files from the watched folder when they are no longer written to.

File system events only wake it up; it finds files by listing the folder. It lists every folder each
ROLLBOOK_WATCH_SWEEP_S seconds, because some shares send no events.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import structlog
from watchfiles import awatch

from rollbook import clock
from rollbook.accounts import audit
from rollbook.backends.database import UNAVAILABLE, fetch_all, fetch_row, queries
from rollbook.errors import (
    ConfigurationError,
    ConflictError,
    FileWaitsError,
    RollbookError,
    ServiceUnavailableError,
)
from rollbook.folder import intake, retention
from rollbook.folder.claims import Claim, Look, Mark, Waiting, is_wanted
from rollbook.masking import masked, visible
from rollbook.service import clocks
from rollbook.service.process import beat, leave, new_name, running
from rollbook.service.rounds import services
from rollbook.telemetry import logs, metrics
from rollbook.uploads.retention import LOOK_S

if TYPE_CHECKING:
    import datetime as dt
    import socket
    from collections.abc import Awaitable, Iterable, Sequence

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.folder.intake import Taken
    from rollbook.model import User
    from rollbook.service.system import System

#: Seconds between two heartbeats, which also check whether it was started or stopped.
HEARTBEAT_S = 2.0
#: Seconds before the next try after a part was away.
RETRY_S = 5.0
#: Files that are left alone, of which the log and the status name the first ones.
NAMED = 20
FAULT = "An error in Rollbook; its log says where. Files are safe."
_SQL = queries("folder")
log = structlog.get_logger(__name__)


async def serve(settings: Settings, metrics_listener: socket.socket | None = None) -> None:
    """Watch until SIGTERM or SIGINT; a file under way is finished, or resumed later.

    Raises:
        ConfigurationError: no folder is named.
    """
    if settings.watch_dir is None:
        raise ConfigurationError(
            "There is no folder to watch. Name it: `rollbook watch FOLDER`, or set "
            "ROLLBOOK_WATCH_DIR."
        )
    async with running(settings, "watch", metrics_listener) as (system, stop):
        await Watcher(system).run(stop)


async def state(system: System) -> tuple[Row, list[Row]]:
    """Whether files are taken, and the living watchers."""
    async with system.pool.connection() as connection:
        found = await fetch_row(connection, _SQL["state"])
        return found, await fetch_all(connection, _SQL["living"])


async def change(system: System, user: User, *, is_running: bool) -> None:
    """Start or stop the watchers of all machines; it survives restarts.

    Raises:
        ConflictError: nothing is watched.
    """
    if system.settings.watch_dir is None and not (await state(system))[1]:
        raise ConflictError("No folder is watched. Set ROLLBOOK_WATCH_DIR and start again.")
    parameters = {"is_running": is_running, "changed_by": user.email}
    async with system.pool.connection() as connection:
        await connection.execute(_SQL["change"], parameters)
        await audit.record(connection, "watch_start" if is_running else "watch_stop", who=user)
    log.info("folder started" if is_running else "folder stopped")


class Watcher:
    """Watches the folder of ROLLBOOK_WATCH_DIR."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._settings = system.settings
        self.folder = intake.folder_of(system.settings)
        metrics.FOLDER_WAITING.set_function(lambda: self._waiting)
        self.name = new_name()
        self._stillness = _Stillness(system.settings.watch_still_s)
        self._wake = asyncio.Event()
        self._is_running: bool | None = None
        #: The folders whose events wake the watcher.
        self._heard: tuple[Path, ...] = (self.folder.path,)
        self._heard_changed = asyncio.Event()
        self._waiting = self.taken = self.refused = 0
        self._problem: str | None = None
        self._unmapped: Sequence[str] = ()
        self._left_alone: Sequence[str] = ()
        self._swept_at: dt.datetime | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Take files until ``stop`` is set."""
        audit.origin.set(audit.Origin(agent=self.name))
        log.info("watcher started", watcher=self.name)
        tasks = [asyncio.create_task(self._wake_at(stop))]
        if self._settings.watch_events:
            tasks.append(asyncio.create_task(self._listen(stop)))
        try:
            async with services(
                ("watcher heartbeat", HEARTBEAT_S, self._beat),
                ("clocks", clocks.INTERVAL_S, partial(clocks.compare, self._system)),
                ("retention of the folder", LOOK_S, partial(retention.purge, self._system)),
            ):
                while not stop.is_set():
                    self._wake.clear()
                    pause_s = await self._round(stop)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), pause_s)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await leave(self._system.pool, _SQL, self.name)
        log.info("watcher stopped", watcher=self.name)

    async def run_once(self, stop: asyncio.Event | None = None) -> float:
        """List the folder once and take the ready files; returns the seconds until the next look.

        Raises:
            ServiceUnavailableError, psycopg.OperationalError, PoolTimeout: a part is away.
        """
        if not await self._may_take():
            # The next heartbeat must see a start, even when the stop was between two heartbeats.
            self._is_running = False
            return self._settings.watch_sweep_s
        look = await self.folder.call(self.folder.look)
        self._swept_at = clock.now()
        self._unmapped = look.unmapped
        self._note_left_alone(look.left_alone)
        self._hear(look)
        ready, next_s = self._stillness.of(look)
        self._waiting = len(look.files)
        problems = set()
        for found in ready:
            if (stop is not None and stop.is_set()) or not await self._may_take():
                break
            try:
                self._count(found, await self._take(found))
                continue
            except FileWaitsError as error:
                problems.add(error.message)
            except UNAVAILABLE:
                raise
            except Exception as error:  # noqa: BLE001 - one file must not hold up all others
                problems.add(FAULT)
                log.error("file failed", error=type(error).__name__, where=logs.places(error))
            # Checked again later: its writer may have finished by then, or its owner be enabled.
            self._stillness.forget(found)
            next_s = min(next_s, self._settings.watch_still_s or RETRY_S)
        self._problem = " ".join(sorted(problems)) or None
        return min(next_s, self._settings.watch_sweep_s)

    def _note_left_alone(self, left_alone: Sequence[str]) -> None:
        """Log the files that are left alone whenever there are others than at the last look."""
        before, self._left_alone = self._left_alone, left_alone
        if left_alone and left_alone != before:
            log.warning("files left alone", files=len(left_alone), names=_named(left_alone))

    def _take(self, found: Waiting | Claim) -> Awaitable[Taken | None]:
        if isinstance(found, Claim):
            return intake.resume(self._system, self.folder, found)
        return intake.accept(self._system, self.folder, found)

    def _count(self, found: Waiting | Claim, taken: Taken | None) -> None:
        if isinstance(found, Waiting):
            self._waiting -= 1
        if taken is not None:
            result = "refused" if taken.upload is None else "taken"
            metrics.FOLDER_FILES.labels(result=result).inc()
            self.taken += taken.upload is not None
            self.refused += taken.refusal is not None

    async def _round(self, stop: asyncio.Event) -> float:
        """Run one round; failures are logged, and the next round is tried."""
        try:
            return await self.run_once(stop)
        except (RollbookError, *UNAVAILABLE) as error:
            known = isinstance(error, RollbookError)
            self._problem = str(error) if known else "PostgreSQL doesn't answer."
            log.warning("waiting for a part", error=type(error).__name__, reason=self._problem)
        except psycopg.errors.UndefinedTable:
            log.warning("waiting for the schema (rollbook migrate)")
        except Exception as error:  # noqa: BLE001 - no fault ends the watching for good
            self._problem = FAULT
            log.error("round failed", error=type(error).__name__, where=logs.places(error))
        return min(RETRY_S, self._settings.watch_sweep_s)

    async def _may_take(self) -> bool:
        row = await fetch_row(self._system.pool, _SQL["state"])
        is_running: bool = row["is_running"]
        return is_running

    # --- waking up ------------------------------------------------------------------------------

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    def _hear(self, look: Look) -> None:
        heard = (self.folder.path, *(self.folder.path / sub for sub in look.mapped))
        if heard != self._heard:
            self._heard = heard
            self._heard_changed.set()

    async def _listen(self, stop: asyncio.Event) -> None:
        """Wake the watcher at each change; where that fails, the sweep remains."""
        while not stop.is_set():
            self._heard_changed.clear()
            try:
                for path in self._heard:
                    # awatch asks for each in the event loop, which a share that hangs would stop.
                    await self.folder.call(path.stat)
                # Not recursive: a link to elsewhere would be followed.
                events = awatch(
                    *self._heard,
                    watch_filter=lambda _, path: is_wanted(Path(path).name),
                    debounce=200,
                    stop_event=self._heard_changed,
                    recursive=False,
                )
                async for _ in events:
                    self._wake.set()
            except (OSError, RuntimeError, ServiceUnavailableError) as error:
                # watchfiles raises a RuntimeError when the system has no watches left.
                log.warning("no events of the folder, sweeping only", error=type(error).__name__)
                await asyncio.sleep(self._settings.watch_sweep_s)

    # --- what others see of it ------------------------------------------------------------------

    async def _beat(self) -> None:
        await beat(
            self._system.pool,
            _SQL,
            self.name,
            folder=str(self.folder.path),
            has_events=self._settings.watch_events,
            waiting=self._waiting,
            taken=self.taken,
            refused=self.refused,
            problem=self._problem or _unmapped_in_words(self._unmapped),
            left_alone=_named(self._left_alone),
            left_alone_total=len(self._left_alone),
            swept_at=self._swept_at,
        )
        is_running = await self._may_take()
        before, self._is_running = self._is_running, is_running
        if self._is_running and before is False:
            self._wake.set()


class _Stillness:
    """Tracks which files have been unchanged for long enough."""

    def __init__(self, still_s: float) -> None:
        self._still_s = still_s
        self._seen: dict[tuple[object, ...], tuple[Mark, float]] = {}

    def of(self, look: Look) -> tuple[list[Waiting | Claim], float]:
        """The unchanged files, claims first, and the seconds until the next one may be ready."""
        now = asyncio.get_running_loop().time()
        before, self._seen = self._seen, {}
        ready: list[Waiting | Claim] = []
        waits = [float("inf")]
        found: Iterable[Waiting | Claim] = (*look.claims, *look.files)
        for file in found:
            mark, since = before.get(_place(file), (None, now))
            if mark != file.mark:
                since = now
            self._seen[_place(file)] = (file.mark, since)
            if now - since >= self._still_s:
                ready.append(file)
            else:
                waits.append(since + self._still_s - now)
        return ready, min(waits)

    def forget(self, file: Waiting | Claim) -> None:
        """Start the file's time again."""
        self._seen.pop(_place(file), None)


def _place(file: Waiting | Claim) -> tuple[object, ...]:
    return (file.id,) if isinstance(file, Claim) else (file.sub, file.name)


def _named(paths: Sequence[str]) -> list[str]:
    """The first of these paths as harmless texts, without ID numbers."""
    return [masked(visible(path)) for path in paths[:NAMED]]


def _unmapped_in_words(unmapped: Sequence[str]) -> str | None:
    if not unmapped:
        return None
    named = ", ".join(_named(unmapped)) + (", ..." if len(unmapped) > NAMED else "")
    return (
        f"No file is taken from {len(unmapped)} sub-folders without an owner ({named}): name their "
        "owners in ROLLBOOK_WATCH_OWNERS, or move them away."
    )
