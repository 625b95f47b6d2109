"""The routes of the words that an office keeps for values."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

from pydantic import BaseModel, Field

from rollbook.api.access import SystemParam, UserParam, audited, routes
from rollbook.api.pages import Pages100, listed
from rollbook.contract import Answer, Page
from rollbook.masking import masked
from rollbook.uploads import aliases

router = routes("/bulk-upload/aliases", "uploads", 401, 404, 422)


class Alias(BaseModel):
    """What an office means by a text."""

    id: UUID
    province: str | None
    municipality: str | None
    field: str = Field(description="As in the columns' reference.")
    text: str = Field(description="In small letters, as cells are compared with it.")
    value: str
    job_id: UUID = Field(description="The upload of fixed rows with which it was kept.")
    file_name: str | None
    created_at: dt.datetime
    created_by: str


@router.get("")
async def kept(system: SystemParam, user: UserParam, paging: Pages100) -> Answer[Page[Alias]]:
    """List what your office means by words that Rollbook doesn't know, newest first."""
    found = await aliases.aliases(system, user, paging)
    items = [
        Alias(**{**row, "text": masked(row["text"])}, job_id=row["upload_id"]) for row in found.rows
    ]
    return listed(Page[Alias], items, found, paging, "{} words are remembered.")


@router.delete("/{alias_id}", **audited("forget_alias"))
async def forget(alias_id: UUID, system: SystemParam, user: UserParam) -> Answer[None]:
    """Forget a word; later files with it are read without it."""
    await aliases.forget(system, user, alias_id)
    return Answer(
        message="The word is forgotten. Uploads that used it stay as they are.", data=None
    )
