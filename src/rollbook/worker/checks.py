"""Checks of files in children of the API: a file that hangs or fills one harms no other request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from rollbook.errors import ChildDiedError, OutOfMemoryError, TimedOutError
from rollbook.worker.slots import Slots

if TYPE_CHECKING:
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
        async with self._opening:
            if not self._is_open:
                await self._slots.__aenter__()
                self._is_open = True
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            log.warning("check given up", check_id=str(check_id), code="busy")
            return None
        try:
            return await self._slots.run(check_id, 0, lambda _: None, "check")
        except (TimedOutError, OutOfMemoryError, ChildDiedError) as error:
            log.warning("check given up", check_id=str(check_id), code=error.code)
            return None
        finally:
            self._free.release()
