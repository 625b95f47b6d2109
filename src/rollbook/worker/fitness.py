"""The worker's fitness checks, before it takes jobs: database, store, scratch folder, children."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import structlog

from rollbook.backends import exhaustion
from rollbook.backends.calls import Calls
from rollbook.backends.database import UNAVAILABLE, fetch_one, queries
from rollbook.errors import ServiceUnavailableError, WrongStoreError
from rollbook.service import store_proof
from rollbook.telemetry import metrics
from rollbook.worker import scratch

if TYPE_CHECKING:
    from rollbook.service.system import System
    from rollbook.worker.slots import Slots

#: Seconds for which a successful check of the store holds.
STORE_S = 60.0
#: Seconds between two rounds of checks.
LOOK_S = 3.0
PARTS = ("database", "store", "scratch", "machine", "child")
READ_ONLY = "PostgreSQL takes no changes right now (it is read-only)."
NO_STORE = "The file store doesn't answer."

_SQL = queries("sessions")
log = structlog.get_logger(__name__)


class Fitness:
    """Whether a worker may take jobs. A worker that would hand back every job takes none."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._problems: dict[str, str] = {}
        self._has_proved_store = False
        self._store_good_until = 0.0
        #: Asks the scratch folder's disk; there is one at most, although a disk may hang.
        self._looks = Calls("rollbook-look", threads=1, no_answer=scratch.NO_ANSWER)

    @property
    def problems(self) -> list[str]:
        """The reasons why the worker takes no jobs, as sentences."""
        return list(self._problems.values())

    def is_fit(self) -> bool:
        """Whether the worker may take jobs."""
        return self._has_proved_store and not self._problems

    async def look(self, slots: Slots) -> None:
        """Run every check, set the metrics and log what has changed."""
        before, was_fit = self._problems, self.is_fit()
        found = {**before, "machine": _machine(), "child": slots.stuck}
        if found["machine"] is None:  # the others need files and threads themselves
            found |= {
                "database": await self._database(),
                "store": await self._store(),
                "scratch": await self._scratch(slots),
            }
        self._problems = {part: text for part, text in found.items() if text is not None}
        for part in PARTS:
            metrics.WORKER_PROBLEM.labels(part=part).set(part in self._problems)
            now = self._problems.get(part)
            if now is not None and now != before.get(part):
                log.error("worker takes no jobs", part=part, reason=now)
        if self.is_fit() and not was_fit:
            log.info("worker takes jobs")

    async def doubt_store(self) -> None:
        """Check which installation owns the store, after a source file was missing there.

        Raises:
            WrongStoreError: it isn't the installation's.
            ServiceUnavailableError: it doesn't answer.
        """
        try:
            await store_proof.prove(self._system)
        except WrongStoreError as error:
            self._problems["store"] = error.message
            raise

    async def _database(self) -> str | None:
        try:
            row = await fetch_one(self._system.pool, _SQL["is_read_only"])
        except UNAVAILABLE:
            return "PostgreSQL doesn't answer."
        return READ_ONLY if row is not None and row["is_read_only"] else None

    async def _store(self) -> str | None:
        if time.monotonic() < self._store_good_until and "store" not in self._problems:
            return None
        try:
            await store_proof.prove(self._system)
        except WrongStoreError as error:
            return error.message
        except UNAVAILABLE:
            if self._has_proved_store and "store" not in self._problems:
                return None  # it is only unreachable: jobs are handed back until it answers
            return self._problems.get("store", NO_STORE)
        self._has_proved_store = True
        self._store_good_until = time.monotonic() + STORE_S
        return None

    async def _scratch(self, slots: Slots) -> str | None:
        wanted = self._system.settings.scratch_free_mb
        try:
            free = await self._looks.call(scratch.DISK_S, _free_mb, slots)
        except ServiceUnavailableError as error:
            return error.message
        except OSError as error:
            return f"The scratch folder can't be used ({error.strerror})."
        if free >= wanted:
            return None
        return (
            f"The disk of the scratch folder has {free} MB free, and a job needs {wanted} "
            "(ROLLBOOK_SCRATCH_FREE_MB). It resumes automatically when there is room."
        )


def _free_mb(slots: Slots) -> int:
    """Free megabytes on the disk of the scratch folder, which is made where it is gone."""
    slots.restore_folder()
    return shutil.disk_usage(slots.folder).free >> 20


def _machine() -> str | None:
    if not exhaustion.is_met():
        return None
    return (
        "The machine gives this worker no more open files or threads. It resumes automatically "
        "when some are free; raise the limits (nofile, nproc or pids) if it persists."
    )
