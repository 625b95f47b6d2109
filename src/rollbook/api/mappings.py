"""The routes of the columns that are remembered for an office."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

from pydantic import BaseModel, Field

from rollbook.api.access import SystemParam, UserParam, audited, routes
from rollbook.api.pages import Pages100, listed
from rollbook.backends.database import Row
from rollbook.contract import Answer, Page
from rollbook.masking import masked
from rollbook.uploads import mappings
from rollbook.uploads.options import FieldByHeader

router = routes("/bulk-upload/mappings", "uploads", 401, 404, 422)


class ColumnMapping(BaseModel):
    """What an upload has taught about the columns of its office's files."""

    id: UUID
    province: str | None
    municipality: str | None
    columns: dict[str, str | None] = Field(
        description="The field by header; null: the column isn't read."
    )
    job_id: UUID = Field(description="The upload that taught it.")
    file_name: str | None
    remembered_at: dt.datetime | None
    changed_at: dt.datetime | None = Field(description="When somebody changed it since.")
    changed_by: str | None = Field(description="The address of that account.")

    @classmethod
    def of(cls, mapping: Row) -> ColumnMapping:
        """The answer to a row of ``mappings.sql``."""
        # A header is a user's text.
        columns = {masked(name): field for name, field in mapping["columns"].items()}
        return cls(**{**mapping, "columns": columns}, job_id=mapping["upload_id"])


@router.get("")
async def remembered(
    system: SystemParam, user: UserParam, paging: Pages100
) -> Answer[Page[ColumnMapping]]:
    """List what is remembered about the columns of your office's files, newest first."""
    found = await mappings.mappings(system, user, paging)
    items = [ColumnMapping.of(row) for row in found.rows]
    return listed(Page[ColumnMapping], items, found, paging, "{} mappings are remembered.")


class MappingChange(BaseModel):
    """What the headers of a mapping are to mean."""

    columns: FieldByHeader = Field(
        description="The field by header, as the list shows it; null leaves a column out. A header "
        "that is not named is read by its own name again.",
        min_length=1,
        examples=[{"Lid No": "id_number"}],
    )


@router.patch("/{mapping_id}", **audited("change_mapping"))
async def change(
    mapping_id: UUID, body: MappingChange, system: SystemParam, user: UserParam
) -> Answer[ColumnMapping]:
    """Change what the headers of a mapping mean; the changed mapping has a new id."""
    changed = await mappings.change(system, user, mapping_id, body.columns)
    return Answer(
        message="The mapping is changed. Uploads that used it stay as they are.",
        data=ColumnMapping.of(changed),
    )


@router.delete("/{mapping_id}", **audited("forget_mapping"))
async def forget(mapping_id: UUID, system: SystemParam, user: UserParam) -> Answer[None]:
    """Forget a mapping; later files with these headers are read by their headers again."""
    await mappings.forget(system, user, mapping_id)
    return Answer(
        message="The mapping is forgotten. Uploads that used it stay as they are.", data=None
    )
