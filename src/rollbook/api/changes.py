"""The route of what an upload changed, or would change."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from rollbook import clock
from rollbook.api.access import SystemParam, UserParam, routes
from rollbook.api.pages import AfterParam, LongPage, Pages100, listed
from rollbook.contract import Answer, ChangedMember
from rollbook.uploads import lookup

if TYPE_CHECKING:
    from rollbook.backends.database import Row
    from rollbook.service.system import System

router = routes("/bulk-upload/changes", "uploads", 401, 404, 422)


@router.get("/{job_id}")
async def changes(
    job_id: UUID,
    system: SystemParam,
    user: UserParam,
    paging: Pages100,
    after: AfterParam = None,
) -> Answer[LongPage[ChangedMember]]:
    """List the members whom an upload changed, or a dry run would change, in the file's order."""
    upload = await lookup.get(system, user, job_id)
    found = await lookup.changes(system, upload, paging, after=after)
    items = [ChangedMember.of(row) for row in found.rows]
    said = _in_words(system, upload)
    return listed(LongPage[ChangedMember], items, found, paging, said, key="row_number")


def _in_words(system: System, upload: Row) -> str:
    if upload["status"] != "completed":
        return f"The upload is {upload['status']} and has changed no member."
    removed = lookup.rows_removed_at(upload) or upload["purged_at"]
    if removed is not None:
        days = min(system.settings.report_retention_days, system.settings.keep_rows_days)
        return (
            f"What an upload changed is kept for {days} days. Of this upload it was removed at "
            f"{clock.in_words(removed, system.settings.time_zone)}."
        )
    if upload["dry_run"]:
        return "{} members would change. Nothing was changed."
    if upload["undone_at"] is not None:
        return "{} members were changed, and the upload was undone since."
    return "{} members were changed."
