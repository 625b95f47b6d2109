"""The routes of the audit trail."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from rollbook.accounts import audit
from rollbook.api.access import OperatorParam, SystemParam, UserParam, failures, routes
from rollbook.api.pages import LongPage, counted, place
from rollbook.contract import Answer, AuditEntry
from rollbook.model import User
from rollbook.service.system import System

router = routes("/bulk-upload/audit", "audit", 401)


class Wanted(BaseModel):
    """The filter and the page."""

    job_id: UUID | None = None
    act: audit.Act | None = None
    after: int | None = Field(
        None, ge=0, le=2**63 - 1, description="The `next` of an earlier page: what follows it."
    )
    page: int = Field(1, ge=1, le=1_000_000)
    page_size: int = Field(50, ge=1, le=500)


WantedParam = Annotated[Wanted, Query()]


@router.get("", responses=failures(403))
async def entries(
    system: SystemParam, user: OperatorParam, wanted: WantedParam
) -> Answer[LongPage[AuditEntry]]:
    """List who did what, newest first."""
    return await _page(system, user, wanted, own=False)


@router.get("/mine")
async def mine(
    system: SystemParam, user: UserParam, wanted: WantedParam
) -> Answer[LongPage[AuditEntry]]:
    """List your own acts, newest first."""
    return await _page(system, user, wanted, own=True)


async def _page(
    system: System, user: User, wanted: Wanted, *, own: bool
) -> Answer[LongPage[AuditEntry]]:
    most = system.settings.list_most_counted
    listed = await audit.entries(system.pool, user, own=own, most=most, **wanted.model_dump())
    items = [AuditEntry.model_validate(row) for row in listed.rows]
    where = place(listed, "id", page=wanted.page, page_size=wanted.page_size)
    return Answer(
        message=counted(listed, "entries"), data=LongPage[AuditEntry](items=items, **where)
    )
