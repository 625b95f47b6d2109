"""The routes of the audit trail."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from rollbook.accounts import audit
from rollbook.api.access import OperatorParam, SystemParam, UserParam, failures, routes
from rollbook.api.pages import LongPage, Pages50, listed
from rollbook.backends.database import Paging
from rollbook.contract import Answer, AuditEntry
from rollbook.model import User
from rollbook.service.system import System

router = routes("/bulk-upload/audit", "audit", 401)


class Wanted(BaseModel):
    """Which entries."""

    job_id: UUID | None = None
    act: audit.Act | None = None
    after: int | None = Field(
        None, ge=0, le=2**63 - 1, description="The `next` of an earlier page: what follows it."
    )


WantedParam = Annotated[Wanted, Query()]


@router.get("", responses=failures(403))
async def entries(
    system: SystemParam, user: OperatorParam, paging: Pages50, wanted: WantedParam
) -> Answer[LongPage[AuditEntry]]:
    """List who did what, newest first."""
    return await _page(system, user, paging, wanted, own=False)


@router.get("/mine")
async def mine(
    system: SystemParam, user: UserParam, paging: Pages50, wanted: WantedParam
) -> Answer[LongPage[AuditEntry]]:
    """List your own acts, newest first."""
    return await _page(system, user, paging, wanted, own=True)


async def _page(
    system: System, user: User, paging: Paging, wanted: Wanted, *, own: bool
) -> Answer[LongPage[AuditEntry]]:
    most = system.settings.list_most_counted
    asked = wanted.model_dump()
    found = await audit.entries(system.pool, user, own=own, most=most, paging=paging, **asked)
    return listed(LongPage[AuditEntry], found.rows, found, paging, "{} entries.", key="id")
