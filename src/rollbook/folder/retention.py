"""Retention of the watched folder: old files leave its ``processed`` and ``failed`` folders."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import structlog

from rollbook.accounts import audit
from rollbook.folder import intake
from rollbook.service import clocks

if TYPE_CHECKING:
    from rollbook.service.system import System

#: Files and texts that are removed in one step, whose time is limited.
AT_ONCE = 500

log = structlog.get_logger(__name__)


async def purge(system: System, *, dry_run: bool = False) -> int:
    """Remove files whose retention has ended; returns their number.

    Watchers do this too, because theirs may be the only machine with the folder.

    Raises:
        ServiceUnavailableError: the folder can't be used from here.
        ClockDiffersError: this machine's clock and PostgreSQL's don't agree; nothing was done.
    """
    settings = system.settings
    if settings.watch_dir is None:
        return 0
    before = await clocks.agreed(system) - dt.timedelta(days=settings.watch_retention_days)
    folder = intake.folder_of(settings)
    if dry_run:
        return await folder.call(folder.count_finished, before)
    removed, is_done = 0, False
    while not is_done:
        purged = await folder.call(folder.purge, before, most=AT_ONCE)
        removed, is_done = removed + purged.removed, purged.is_done
    if purged.stuck:
        log.warning("files not removed from the watched folder", files=purged.stuck)
    if removed:
        await audit.record(system.pool, "purge", who=None, about=f"{removed} folder files")
        log.info("old files removed from the watched folder", files=removed)
    return removed
