"""A watcher that runs for a while, and the outcome of the files."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from rollbook.backends.database import connect
from rollbook.folder.watcher import Watcher
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.service.system import System


#: Settings under which a file is taken soon after its last change.
QUICK = {"watch_still_s": 0.05, "watch_sweep_s": 0.1, "watch_events": False}


@contextlib.asynccontextmanager
async def watching(system: System) -> AsyncIterator[Watcher]:
    stop = asyncio.Event()
    one = Watcher(system)
    task = asyncio.create_task(one.run(stop))
    try:
        yield one
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await task


async def until(
    condition: Callable[[], bool | Awaitable[bool]], *, patience_s: float = PATIENCE_S
) -> None:
    """Look again and again until it is so."""
    async with asyncio.timeout(patience_s):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)


def recorded(settings: Settings) -> list[Row]:
    with connect(settings.database_address) as connection:
        return connection.execute(
            "SELECT uploads.*, users.email AS owner FROM uploads JOIN users ON users.id = owner_id "
            "ORDER BY ordinal"
        ).fetchall()


def names(folder: Path, sub: str) -> list[str]:
    """The names in processed/ or failed/ as the files had them before, and what is beside them."""
    within = folder / sub
    return sorted(p.name.split("-", 2)[2] for p in within.iterdir()) if within.exists() else []


def names_of_files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file()]


def nothing_is_claimed(folder: Path) -> bool:
    return not list((folder / ".taking").iterdir())
