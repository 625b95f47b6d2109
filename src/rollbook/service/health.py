"""Readiness of a process, for its probes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from rollbook.backends import clamd
from rollbook.backends.database import SCHEMA_REVISION, fetch_one
from rollbook.errors import RollbookError, WrongStoreError

if TYPE_CHECKING:
    from rollbook.service.system import System

#: Timeout for PostgreSQL, in seconds.
DATABASE_S = 3.0

log = structlog.get_logger(__name__)


class Readiness:
    """Checks the parts that a process needs; only changes are logged."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._last: dict[str, str] | None = None

    async def check(self) -> tuple[bool, dict[str, str]]:
        """Whether the process is ready, and ``ok`` or the problem of each part."""
        system = self._system
        checks = {"postgresql": _database(system), "redis": _queue(system), "store": _store(system)}
        if system.settings.clamd_url is not None:
            checks["scanner"] = _scanner(system)
        results = dict(zip(checks, await asyncio.gather(*checks.values()), strict=True))
        is_ready = all(result == "ok" for result in results.values())
        if results != self._last:  # probes come every few seconds
            log.log(logging.INFO if is_ready else logging.WARNING, "readiness", **results)
        self._last = results
        return is_ready, results


async def _database(system: System) -> str:
    try:
        async with system.pool.connection(timeout=DATABASE_S) as connection:
            row = await fetch_one(connection, "SELECT version_num FROM alembic_version")
    except (DatabaseError, PoolTimeout):
        return "not reachable, or not migrated"
    current = row["version_num"] if row else None
    # A newer schema is fine: during an upgrade the old version works on it (how-to/upgrade.md).
    is_enough = current is not None and current >= SCHEMA_REVISION
    return "ok" if is_enough else f"schema {current} is too old, run `rollbook migrate`"


async def _queue(system: System) -> str:
    try:
        await system.queue.ping()
    except RollbookError:
        return "not reachable"
    return "ok"


async def _store(system: System) -> str:
    try:
        await system.store.check()
    except WrongStoreError:
        return "not this installation's"
    except RollbookError:
        return "not reachable"
    return "ok"


async def _scanner(system: System) -> str:
    try:
        await clamd.ping(system.settings)
    except RollbookError:
        return "not reachable"
    return "ok"
