"""Readiness of a process, for its probes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from rollbook.backends import clamd
from rollbook.backends.database import SCHEMA_REVISION, fetch_one, queries
from rollbook.errors import RollbookError, WrongStoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rollbook.service.system import System

#: Seconds that each part gets to answer; probes usually wait for five.
PART_S = 3.0
NOT_REACHABLE = "not reachable"

log = structlog.get_logger(__name__)


class Readiness:
    """Checks the parts that a process needs; only changes are logged."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._last: dict[str, str] | None = None
        self._under_way: dict[str, asyncio.Task[str]] = {}

    async def check(self) -> tuple[bool, dict[str, str]]:
        """Whether the process is ready, and ``ok`` or the problem of each part."""
        system = self._system
        checks = {"postgresql": _database, "redis": _queue, "store": _store}
        if system.settings.clamd_url is not None:
            checks["scanner"] = _scanner
        answers = await asyncio.gather(
            *(self._answer(part, check) for part, check in checks.items())
        )
        results = dict(zip(checks, answers, strict=True))
        is_ready = all(result == "ok" for result in results.values())
        if results != self._last:  # probes come every few seconds
            log.log(logging.INFO if is_ready else logging.WARNING, "readiness", **results)
        self._last = results
        return is_ready, results

    async def _answer(self, part: str, check: Callable[[System], Awaitable[str]]) -> str:
        """The answer of a part, or that it isn't reachable where it takes too long.

        A check that is late isn't waited for, also not for its cancellation: a frozen server
        answers neither. The next probe waits for the same check instead of starting one more.
        """
        task = self._under_way.get(part)
        if task is None:
            task = asyncio.ensure_future(check(self._system))
            self._under_way[part] = task
            task.add_done_callback(lambda _: self._under_way.pop(part))
        done, _ = await asyncio.wait({task}, timeout=PART_S)
        return task.result() if done else NOT_REACHABLE


async def _database(system: System) -> str:
    try:
        async with system.pool.connection(timeout=PART_S) as connection:
            row = await fetch_one(connection, "SELECT version_num FROM alembic_version")
            state = await fetch_one(connection, queries("sessions")["is_read_only"])
    except (DatabaseError, PoolTimeout):
        return "not reachable, or not migrated"
    current = row["version_num"] if row else None
    # A newer schema is fine: during an upgrade the old version works on it (how-to/upgrade.md).
    if current is None or current < SCHEMA_REVISION:
        return f"schema {current} is too old, run `rollbook migrate`"
    # A standby, asked by mistake, or an operator's setting: no file could be recorded.
    return "read-only" if state is not None and state["is_read_only"] else "ok"


async def _queue(system: System) -> str:
    try:
        await system.queue.ping()
    except RollbookError:
        return NOT_REACHABLE
    return "ok"


async def _store(system: System) -> str:
    try:
        await system.store.check()
    except WrongStoreError:
        return "not this installation's"
    except RollbookError:
        return NOT_REACHABLE
    return "ok"


async def _scanner(system: System) -> str:
    try:
        await clamd.ping(system.settings)
    except RollbookError:
        return NOT_REACHABLE
    return "ok"
