"""The route of what an upload changed, or would change."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from rollbook import clock
from rollbook.api.access import SystemParam, UserParam, routes
from rollbook.api.pages import AfterParam, LongPage, PageParam, PageSizeParam, place
from rollbook.contract import Answer, ChangedMember
from rollbook.uploads import lookup

if TYPE_CHECKING:
    from rollbook.backends.database import Listed, Row
    from rollbook.service.system import System

router = routes("/bulk-upload/changes", "uploads", 401, 404, 422)


@router.get("/{job_id}")
async def changes(
    job_id: UUID,
    system: SystemParam,
    user: UserParam,
    after: AfterParam = None,
    page: PageParam = 1,
    page_size: PageSizeParam = 100,
) -> Answer[LongPage[ChangedMember]]:
    """List the members whom an upload changed, or a dry run would change, in the file's order."""
    upload = await lookup.get(system, user, job_id)
    found = await lookup.changes(system, upload, after=after, page=page, page_size=page_size)
    items = [ChangedMember.of(row) for row in found.rows]
    return Answer(
        message=_in_words(system, upload, found),
        data=LongPage[ChangedMember](
            items=items, **place(found, "row_number", page=page, page_size=page_size)
        ),
    )


def _in_words(system: System, upload: Row, found: Listed) -> str:
    if upload["status"] != "completed":
        return f"The upload is {upload['status']} and has changed no member."
    removed = lookup.rows_removed_at(upload) or upload["purged_at"]
    if removed is not None:
        days = min(system.settings.report_retention_days, system.settings.keep_rows_days)
        return (
            f"What an upload changed is kept for {days} days. Of this upload it was removed at "
            f"{clock.in_words(removed, system.settings.time_zone)}."
        )
    number = f"{'' if found.is_exact else 'About '}{found.total} members"
    if upload["dry_run"]:
        return f"{number} would change. Nothing was changed."
    if upload["undone_at"] is not None:
        return f"{number} were changed, and the upload was undone since."
    return f"{number} were changed."
