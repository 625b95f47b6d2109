"""The life of a worker or watcher process: its parts, its name, heartbeats, and signing off."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, LiteralString

import structlog

from rollbook.backends.database import UNAVAILABLE, execute
from rollbook.service import exposition
from rollbook.service.signals import stop_on_signals
from rollbook.service.system import open_system
from rollbook.telemetry import traces

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Mapping

    from rollbook.backends.database import Pool
    from rollbook.config import Settings
    from rollbook.service.system import System

#: Seconds that signing off may take; a process that can't is forgotten with its heartbeat.
LEAVE_S = 2

log = structlog.get_logger(__name__)


@asynccontextmanager
async def running(
    settings: Settings, component: str, metrics_listener: socket.socket | None
) -> AsyncIterator[tuple[System, asyncio.Event]]:
    """The opened parts of a process and its stop event, with its traces and metrics served."""
    stop = stop_on_signals()
    async with (
        open_system(settings) as system,
        traces.exported(settings, component),
        exposition.served(system, component, metrics_listener),
    ):
        yield system, stop


def new_name() -> str:
    """A name for this process: its host, its process id, and a random part."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


async def beat(pool: Pool, sql: Mapping[str, LiteralString], name: str, **state: Any) -> None:
    """Write a heartbeat, and remove the processes that have sent none for a day.

    ``sql`` has the queries ``beat`` and ``bury``; ``state`` is what others see of the process.
    """
    parameters = {"name": name, "host": socket.gethostname(), "pid": os.getpid(), **state}
    async with pool.connection() as connection:
        await execute(connection, sql["beat"], parameters)
        await execute(connection, sql["bury"])


async def leave(pool: Pool, sql: Mapping[str, LiteralString], name: str) -> None:
    """Sign off: remove this process from those that are alive (query ``leave``)."""
    try:
        async with pool.connection(timeout=LEAVE_S) as connection:
            await execute(connection, sql["leave"], {"name": name})
    except UNAVAILABLE:
        log.warning("sign-off failed, the heartbeat will expire")
