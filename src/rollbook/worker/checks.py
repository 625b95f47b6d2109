"""Checks of files and of rows in children of the API: what hangs or fills one harms no request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from rollbook.errors import (
    ChildDiedError,
    OutOfMemoryError,
    RollbookError,
    ServiceUnavailableError,
    TimedOutError,
)
from rollbook.languages import spoken
from rollbook.worker.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self
    from uuid import UUID

    from rollbook.config import Settings

log = structlog.get_logger(__name__)


class Checker:
    """Checks files in child processes, which the first check starts.

    An asynchronous context manager: the children live as long as the context lasts.
    """

    def __init__(self, settings: Settings) -> None:
        limits = {
            "concurrency": settings.checks_at_a_time,
            "job_timeout_s": settings.check_timeout_s,
            "child_memory_mb": settings.check_memory_mb,
        }
        self._slots = Slots(settings.model_copy(update=limits), is_workers=False)
        self._free = asyncio.Semaphore(settings.checks_at_a_time)
        #: An edited row must not wait for a whole file.
        self._free_for_rows = asyncio.Semaphore(settings.checks_at_a_time)
        #: Seconds that a check waits for its turn.
        self._wait_s = settings.check_timeout_s
        self._opening = asyncio.Lock()
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Begin without children and their folder: most processes are never asked."""
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._is_open:
            await self._slots.__aexit__(*error)

    async def check(self, check_id: UUID) -> dict[str, Any] | None:
        """How a checked file would be read (see ``pipeline.preview``); None if that takes too much.

        Raises:
            FileProblemError: the file can't be read.
            NotFoundError: the check was removed meanwhile.
            ServiceUnavailableError: a part is away, or the child can't be started.
        """
        try:
            return await self._run(self._free, check_id, "check")
        except (TimedOutError, OutOfMemoryError, ChildDiedError, TimeoutError) as error:
            log.warning("check given up", check_id=str(check_id), code=_code(error))
            return None

    async def check_rows(
        self, upload_id: UUID, rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The problems of edited rows of an upload; see ``pipeline.fix.check``.

        Raises:
            NotFoundError: its rows were removed.
            ServiceUnavailableError: it took too long, or a part is away.
        """
        found = await self._of_rows(self._free_for_rows, upload_id, "check_rows", {"rows": rows})
        checked: list[dict[str, Any]] = found["rows"]
        return checked

    async def write_rows(
        self,
        upload_id: UUID,
        rows: Sequence[Mapping[str, Any]],
        values: Sequence[Mapping[str, Any]],
        *,
        leave: Sequence[int],
        earlier: UUID | None,
    ) -> dict[str, Any]:
        """The stored file of a follow-up; see ``pipeline.fix.write``.

        Raises:
            NotFoundError: the rows of the upload were removed.
            ConflictError: one of the rows was.
            InvalidRequestError: a value can't be remembered.
            ServiceUnavailableError: it took too long, or a part is away.
        """
        payload = {
            "rows": rows,
            "values": values,
            "leave": leave,
            "earlier": earlier and str(earlier),
        }
        return await self._of_rows(self._free, upload_id, "write_rows", payload)

    async def read_accounts(self, file_id: UUID, kind: str) -> dict[str, Any]:
        """The rows of a stored list of accounts; see ``pipeline.account_list.read``.

        Raises:
            FileProblemError: it can't be read.
            ServiceUnavailableError: it took too long, or a part is away.
        """
        return await self._of_rows(self._free, file_id, "read_accounts", {"kind": kind})

    async def _of_rows(
        self, free: asyncio.Semaphore, upload_id: UUID, work: str, payload: Mapping[str, Any]
    ) -> dict[str, Any]:
        try:
            return await self._run(free, upload_id, work, payload)
        except (TimedOutError, OutOfMemoryError, ChildDiedError, TimeoutError) as error:
            log.warning("work on rows given up", job_id=str(upload_id), code=_code(error))
            raise ServiceUnavailableError(
                "This took too long or needed too much memory, so nothing was changed. Try again, "
                "with fewer rows at a time if it happens again."
            ) from error

    async def _run(
        self,
        free: asyncio.Semaphore,
        upload_id: UUID,
        work: str,
        payload: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        async with self._opening:
            if not self._is_open:
                await self._slots.__aenter__()
                self._is_open = True
        async with asyncio.timeout(self._wait_s):
            await free.acquire()
        try:
            said = {**(payload or {}), "language": spoken()}
            return await self._slots.run(upload_id, 0, lambda _: None, work, payload=said)
        finally:
            free.release()


def _code(error: Exception) -> str:
    return error.code if isinstance(error, RollbookError) else "busy"
