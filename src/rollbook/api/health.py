"""The probes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import structlog
from fastapi import APIRouter, Request, Response
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from rollbook.api.access import SystemParam
from rollbook.database import SCHEMA_REVISION
from rollbook.errors import RollbookError

if TYPE_CHECKING:
    from rollbook.system import System

router = APIRouter(tags=["health"])
log = structlog.get_logger(__name__)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer as long as the process does."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(system: SystemParam, request: Request, response: Response) -> dict[str, str]:
    """Answer 200 when every part is reachable and the schema new enough, 503 otherwise."""
    checks = {"postgresql": _database(system), "redis": _queue(system), "store": _store(system)}
    results = dict(zip(checks, await asyncio.gather(*checks.values()), strict=True))
    is_ready = all(result == "ok" for result in results.values())
    if not is_ready:
        response.status_code = 503
    # Probes come every few seconds: the log hears of changes.
    if results != getattr(request.app.state, "readiness", None):
        log.log(logging.INFO if is_ready else logging.WARNING, "readiness", **results)
    request.app.state.readiness = results
    return results


async def _database(system: System) -> str:
    try:
        async with system.pool.connection(timeout=3) as connection:
            cursor = await connection.execute("SELECT version_num FROM alembic_version")
            row = await cursor.fetchone()
    except (DatabaseError, PoolTimeout):
        return "not reachable, or not migrated"
    current = row["version_num"] if row else None
    # A newer one is fine: during an upgrade the version before works on it (how-to/upgrade.md).
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
        await system.store.has("probe")
    except RollbookError:
        return "not reachable"
    return "ok"
