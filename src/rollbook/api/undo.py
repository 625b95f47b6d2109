"""The routes with which operators undo an upload."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, Response
from pydantic import BaseModel

from rollbook.api.access import OperatorParam, SystemParam, audited, routes
from rollbook.api.pages import PageParam, PageSizeParam, listed
from rollbook.contract import Answer, KeptMember, Page, Undoing
from rollbook.uploads import undo

router = routes("/bulk-upload/undo", "undo", 401, 403, 404, 409)


class UndoRequest(BaseModel, strict=True):
    """Whether to only count, or to undo."""

    dry_run: bool = True


@router.post("/{job_id}", **audited("undo"))
async def undo_upload(
    job_id: UUID,
    system: SystemParam,
    user: OperatorParam,
    body: Annotated[UndoRequest | None, Body()] = None,
) -> Answer[Undoing]:
    """Restore members to what they were before an upload; without `dry_run: false`, only count."""
    wanted = body or UndoRequest()
    data = Undoing.of(await undo.undo(system, user, job_id, dry_run=wanted.dry_run))
    return Answer(message=_in_words(data), data=data)


@router.get("/{job_id}/kept")
async def kept(
    job_id: UUID,
    system: SystemParam,
    user: OperatorParam,
    page: PageParam = 1,
    page_size: PageSizeParam = 100,
) -> Answer[Page[KeptMember]]:
    """List the members that undoing left unchanged, or would, and why."""
    found, total = await undo.kept(system, user, job_id, page=page, page_size=page_size)
    items = [KeptMember.model_validate(row) for row in found]
    return listed(Page[KeptMember], items, total, page, page_size, of="members")


@router.get("/{job_id}/kept.csv", response_class=Response, **audited("download_kept"))
async def kept_csv(job_id: UUID, system: SystemParam, user: OperatorParam) -> Response:
    """Download the same list as CSV."""
    headers = {
        "Content-Disposition": f'attachment; filename="kept-{job_id}.csv"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    content = await undo.kept_csv(system, user, job_id)
    return Response(content, media_type="text/csv; charset=utf-8", headers=headers)


def _in_words(done: Undoing) -> str:
    if done.dry_run:
        return (
            f"Undoing would remove {done.removed} members and restore {done.restored}; "
            f"{done.kept} would be kept, because a later upload holds them or they were edited "
            "since. Nothing was changed."
        )
    return (
        f"The upload is undone: {done.removed} members removed, {done.restored} restored, "
        f"{done.kept} kept, because a later upload holds them or they were edited since."
    )
