"""The worker's slots: each runs one attempt at a time in a child process that stays warm."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import signal
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import structlog

from rollbook import errors
from rollbook.config import environment_for
from rollbook.errors import (
    ChildDiedError,
    NoResourcesError,
    OutOfMemoryError,
    RollbookError,
    ServiceUnavailableError,
    TimedOutError,
)
from rollbook.model import Progress
from rollbook.telemetry import metrics
from rollbook.worker import scratch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path
    from typing import Self
    from uuid import UUID

    from rollbook.config import Settings

#: Seconds between two checks of a child's memory.
MEMORY_INTERVAL_S = 0.2
#: The longest line that a child answers with: what it says of a file has many columns and samples.
MOST_ANSWER_BYTES = 16 << 20
#: Seconds that a killed child gets to end. One that waits for a disk or share that hangs takes no
#: signal before that answers.
END_S = 10.0
#: A child that is larger than this after an attempt is replaced: allocators rarely return memory.
KEPT_CHILD_MB = 700

PROGRAM = (sys.executable, "-m", "rollbook.worker.child")
#: The allocator of polars has a thread for each processor that returns memory. Where the system
#: gives it one and no second one, that one asks again without a pause: it takes a whole processor,
#: holds up the others, and writes megabytes a second to the log. So it has one only.
ALLOCATOR = ("_RJEM_MALLOC_CONF", "max_background_threads:1")
NOT_STARTED = "The process for the file could not be started. It will be tried again."
STUCK = (
    "A process of an earlier file was killed and doesn't end (process id {}), as when a disk or "
    "share hangs. It may still hold its memory, so no other is started until it has ended."
)
#: Without an answer of the disk, or a thread to ask it, a folder is left to the next worker.
_LEFT = (ServiceUnavailableError, RuntimeError)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StageTimes:
    """How long each stage of an attempt took."""

    seconds: dict[str, float]
    #: When each first began and last ended, in nanoseconds since 1970.
    spans: dict[str, tuple[int, int]]


class Child:
    """One child process; ``child`` describes its work and its protocol."""

    def __init__(
        self, process: asyncio.subprocess.Process, folder: Path, stuck: set[Child]
    ) -> None:
        self._process = process
        self._folder = folder
        self._stuck = stuck

    @classmethod
    async def start(cls, settings: Settings, folder: Path, stuck: set[Child]) -> Child:
        """Start a child that works in a folder, and wait until it has loaded what it needs.

        It adds itself to ``stuck`` where it is killed and doesn't end.

        Raises:
            ServiceUnavailableError: it can't be started now (no memory, no room on the disk, ...),
                or takes longer than ROLLBOOK_CHILD_START_S.
        """
        try:
            await scratch.call(scratch.empty, folder)
            process = await asyncio.create_subprocess_exec(
                *PROGRAM,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=MOST_ANSWER_BYTES,
                env=_environment(settings, folder),
            )
        except OSError as error:
            raise ServiceUnavailableError(NOT_STARTED) from error
        metrics.CHILDREN_STARTED.inc()
        child = cls(process, folder, stuck)
        try:
            async with asyncio.timeout(settings.child_start_s):
                is_ready = await child._receive() is not None
            if not is_ready:
                raise ServiceUnavailableError(NOT_STARTED)
        except TimeoutError as error:
            await child.kill()
            raise ServiceUnavailableError(NOT_STARTED) from error
        except BaseException:  # also on cancellation: no other code can end the process
            await child.kill()
            raise
        return child

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Has the process not ended, nor been killed?"""
        return not self.has_ended and self not in self._stuck

    async def has_folder(self) -> bool:
        """Is its folder still there?

        Raises:
            ServiceUnavailableError: the disk doesn't say.
        """
        return await scratch.call(self._folder.is_dir)

    @property
    def has_ended(self) -> bool:
        """Has the process ended?"""
        return self._process.returncode is not None

    async def run(
        self,
        upload_id: UUID,
        attempt: int,
        on_progress: Callable[[Progress], None],
        work: str,
        *,
        bound: Mapping[str, str],
        payload: Mapping[str, Any] | None = None,
        on_stages: Callable[[StageTimes], None],
    ) -> dict[str, Any]:
        """Run one attempt, or other ``work`` that ``child`` knows, and return its result.

        Raises:
            RollbookError: what the attempt met, as the class it met it as.
            ChildDiedError: the process ended without an answer.
        """
        assert self._process.stdin is not None
        task = {
            "upload_id": str(upload_id), "attempt": attempt, "work": work, "bound": bound,
            "payload": payload,
        }  # fmt: skip
        with contextlib.suppress(ConnectionError):  # a dead child is seen by the read below
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            await self._process.stdin.drain()
        while (message := await self._receive()) is not None:
            kind = message.pop("type")
            if kind == "progress":
                on_progress(Progress(**message))
            elif kind == "stages":
                on_stages(StageTimes(**message))
            elif kind == "result":
                return message
            elif kind == "error":
                raise _error(message["kind"], message["message"])
        code = await self._process.wait()
        raise ChildDiedError(
            "The process that worked on the file died "
            f"({signal.Signals(-code).name if code < 0 else f'exit code {code}'}). Nothing of the "
            "file was merged."
        )

    async def watch_memory(self, limit_mb: int) -> None:
        """Return when the process exceeds its memory limit."""
        while True:
            await asyncio.sleep(MEMORY_INTERVAL_S)
            if self.memory_mb > limit_mb:
                return

    @property
    def memory_mb(self) -> float:
        """Resident memory; 0 when the process has ended, or no file can be opened to learn it."""
        try:
            return float(psutil.Process(self.pid).memory_info().rss) / 2**20
        except (psutil.NoSuchProcess, OSError):
            return 0.0

    async def kill(self) -> None:
        """End the process at once; an open transaction of it is rolled back by PostgreSQL.

        One that doesn't end within ``END_S`` seconds is left to itself, among the stuck ones.
        """
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self in self._stuck:
            return
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            if not self.has_ended:
                self._stuck.add(self)
                log.error("child killed and not ended", pid=self.pid)
                return
        await self.remove_folder()

    async def remove_folder(self) -> None:
        """Remove what the process has worked on; where its disk hangs, the next worker does."""
        with contextlib.suppress(*_LEFT):
            await scratch.call(shutil.rmtree, self._folder, ignore_errors=True)

    async def _receive(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None


class Slots:
    """The children of one worker process: one for each concurrent job, started ahead.

    What isn't an attempt at a job (a file of members, an erasure, a report that is written again)
    has one child more: a worker needs memory for ROLLBOOK_CONCURRENCY children and one.

    An asynchronous context manager: the children live as long as the context lasts.
    """

    def __init__(self, settings: Settings, *, is_workers: bool = True) -> None:
        """``is_workers``: start the children ahead, and show them in the metrics."""
        self._settings = settings
        self._is_workers = is_workers
        self._names = itertools.count()
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._stuck: set[Child] = set()
        #: Of the work beside the attempts, one piece at a time: its callers hold this from its
        #: claim on.
        self.beside = asyncio.Semaphore(1)
        self._folder = settings.data_dir / "scratch" / "none"
        #: Keeps the folder, and its lock; None while none can be made.
        self._scratch: contextlib.AbstractContextManager[Path] | None = None
        self._restoring = threading.Lock()
        #: Removals of the folders of children that have ended late.
        self._removing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Start the children, so that the first file doesn't wait for one."""
        try:
            await scratch.call(self.restore_folder)
        except (OSError, *_LEFT) as error:
            # A full disk, or one that hangs: it is tried again before each child.
            log.warning("no scratch folder", reason=getattr(error, "strerror", None) or str(error))
        if not self._is_workers:
            return self
        metrics.SLOTS.set(self._settings.concurrency)
        metrics.SLOTS_IN_USE.set_function(lambda: len(self._busy))
        metrics.CHILD_LIMIT.set(self._settings.child_memory_mb * 2**20)
        try:
            await asyncio.gather(*(self._warm_up() for _ in range(self._settings.concurrency)))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every child and remove what they worked on."""
        await asyncio.gather(*(child.kill() for child in (*self._idle, *self._busy)))
        self._idle.clear()
        if self._scratch is not None:
            with contextlib.suppress(*_LEFT):
                await scratch.call(self._scratch.__exit__, None, None, None)

    def measure(self) -> None:
        """Note the memory of each child; a slot's number says nothing but how many there are."""
        metrics.CHILD_MEMORY.clear()
        for slot, child in enumerate((*self._busy, *self._idle, *self._stuck)):
            metrics.CHILD_MEMORY.labels(slot=str(slot)).set(child.memory_mb * 2**20)

    @property
    def stuck(self) -> str | None:
        """Why no child is started, as a sentence: one that was killed hasn't ended."""
        for child in [child for child in self._stuck if child.has_ended]:
            self._stuck.discard(child)
            self._removing.add(removing := asyncio.create_task(child.remove_folder()))
            removing.add_done_callback(self._removing.discard)
            log.info("child that was killed has ended", pid=child.pid)
        if not self._stuck:
            return None
        return STUCK.format(", ".join(sorted(str(child.pid) for child in self._stuck)))

    @property
    def folder(self) -> Path:
        """The folder in which the children work."""
        return self._folder

    def restore_folder(self) -> None:
        """Make the folder, or another one where it was removed.

        Raises:
            OSError: none can be made now.
        """
        with self._restoring:
            if self._scratch is not None and self._folder.is_dir():
                return
            removed, fresh = self._scratch, scratch.folder(self._settings.data_dir)
            self._folder = fresh.__enter__()
            self._scratch = fresh
            if removed is not None:
                removed.__exit__(None, None, None)
                log.warning("scratch folder was removed, another one is used")

    async def run(
        self,
        upload_id: UUID,
        attempt: int,
        on_progress: Callable[[Progress], None],
        work: str = "attempt",
        *,
        bound: Mapping[str, str] | None = None,
        payload: Mapping[str, Any] | None = None,
        on_stages: Callable[[StageTimes], None] = lambda _: None,
    ) -> dict[str, Any]:
        """Run an attempt, or other ``work`` of ``child``, within the limits of time and memory.

        When the caller is cancelled, the child is killed. ``bound`` has further fields for the
        child's log lines; ``on_stages`` receives each stage's duration, if the child reports them.

        Raises:
            TimedOutError: it took longer than ROLLBOOK_JOB_TIMEOUT_S.
            ServiceUnavailableError: no child can be started, or an earlier one doesn't end.
            OutOfMemoryError: it needed more than ROLLBOOK_CHILD_MEMORY_MB.
            RollbookError: what the attempt itself raised.
        """
        limits = self._settings
        rows: int | None = None

        def note(progress: Progress) -> None:
            nonlocal rows
            rows = progress.rows_total
            on_progress(progress)

        async with self._child() as child:
            running = asyncio.create_task(
                child.run(
                    upload_id,
                    attempt,
                    note,
                    work,
                    bound=bound or {},
                    payload=payload,
                    on_stages=on_stages,
                )
            )
            memory = asyncio.create_task(child.watch_memory(limits.child_memory_mb))
            try:
                async with asyncio.timeout(limits.job_timeout_s):
                    await asyncio.wait({running, memory}, return_when=asyncio.FIRST_COMPLETED)
            except TimeoutError:
                raise TimedOutError(
                    f"The file took longer than {limits.job_timeout_s} seconds and was stopped. "
                    f"Nothing of it was merged. {_smaller(rows)}, or ask the operator to raise "
                    "ROLLBOOK_JOB_TIMEOUT_S."
                ) from None
            finally:
                memory.cancel()
                if not running.done():
                    running.cancel()
                    await child.kill()
                elif not _is_told(running):
                    # The rest of what it says would be taken for the answer to another task.
                    await child.kill()
            if not running.done() or running.cancelled():
                raise OutOfMemoryError(
                    f"The file needs more than {limits.child_memory_mb} MB of memory and was "
                    f"stopped. Nothing of it was merged. {_smaller(rows)}, or ask the operator to "
                    "raise ROLLBOOK_CHILD_MEMORY_MB."
                )
            return running.result()

    async def write_report(self, upload_id: UUID) -> None:
        """Write an upload's report again, in a child like an attempt; raises what ``run`` does."""
        await self.run(upload_id, 0, lambda _: None, "report")

    async def make_members_file(
        self, file_id: UUID, attempt: int, on_progress: Callable[[Progress], None]
    ) -> None:
        """Make a file of members, in a child like an attempt; raises what ``run`` does."""
        await self.run(file_id, attempt, on_progress, "members_file")

    async def erase(self, erasure_id: UUID) -> bool:
        """Go on with an erasure, in a child like an attempt; returns whether it is done."""
        done = await self.run(erasure_id, 0, lambda _: None, "erase")
        return bool(done["is_done"])

    async def _warm_up(self) -> None:
        try:
            self._idle.append(await self._start())
        except ServiceUnavailableError as error:
            # The next job starts it again, and is postponed while that fails.
            log.warning("child not started", reason=error.message, cause=repr(error.__cause__))

    async def _start(self) -> Child:
        try:
            await scratch.call(self.restore_folder)
        except OSError as error:
            raise ServiceUnavailableError(NOT_STARTED) from error
        folder = self._folder / f"child-{next(self._names)}"
        return await Child.start(self._settings, folder, self._stuck)

    async def _spare(self) -> Child | None:
        """An idle child that can go on, if there is one; those that can't are ended.

        Raises:
            ServiceUnavailableError: the disk of its folder gives no answer.
        """
        while self._idle:
            child = self._idle.pop()
            try:
                can_go_on = child.is_usable and await child.has_folder()
            except BaseException:  # also on cancellation: no other code can end the process
                self._idle.append(child)
                raise
            if can_go_on:
                return child
            await child.kill()
        return None

    @contextlib.asynccontextmanager
    async def _child(self) -> AsyncIterator[Child]:
        if (reason := self.stuck) is not None:
            raise ServiceUnavailableError(reason)
        child = await self._spare() or await self._start()
        self._busy.add(child)
        try:
            yield child
        finally:
            self._busy.discard(child)
            has_room = len(self._idle) < self._settings.concurrency
            if has_room and child.is_usable and child.memory_mb < KEPT_CHILD_MB:
                self._idle.append(child)
            else:
                await child.kill()


def _environment(settings: Settings, folder: Path) -> dict[str, str]:
    """The environment of a child; what the operator has set for the allocator has the last word."""
    environment = environment_for(settings)
    name, value = ALLOCATOR
    given = environment.get(name)
    return {**environment, name: f"{value},{given}" if given else value, "TMPDIR": str(folder)}


def _is_told(running: asyncio.Task[Any]) -> bool:
    """Whether the child can go on: it gave its answer to the end, a result or an error of ours."""
    if running.cancelled():
        return False
    error = running.exception()
    # Libraries that could start no thread don't recover.
    is_sound = isinstance(error, RollbookError) and not isinstance(error, NoResourcesError)
    return error is None or is_sound


def _smaller(rows: int | None) -> str:
    """How a sender makes a file of these rows smaller; None: they weren't counted yet."""
    few = "look for cells with very long texts and for empty rows or columns with a format"
    if rows is None:
        return f"If it has many rows, split it into smaller files; if it has few, {few}"
    if rows <= 1:
        return f"It has one row, so it can't be split: {few}"
    return "Split it into smaller files"


def _error(kind: str, message: str) -> RollbookError:
    found = getattr(errors, kind, RollbookError)
    assert issubclass(found, RollbookError)
    return found(message)
