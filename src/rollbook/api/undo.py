"""The routes with which operators undo an upload."""

from __future__ import annotations

from typing import Annotated, Final, Self
from uuid import UUID

from fastapi import Body, Response
from pydantic import AfterValidator, BaseModel, Field

from rollbook.api.access import OperatorParam, SystemParam, audited, routes
from rollbook.api.pages import Pages100, listed
from rollbook.backends.database import Row
from rollbook.contract import Answer, KeptBecause, Page, Undoing
from rollbook.masking import masked, masked_passport
from rollbook.members.answers import IdentityCountry, IdentityKind
from rollbook.uploads import undo

router = routes("/bulk-upload/undo", "undo", 401, 403, 404, 409)

_ID_NUMBER_DIGITS: Final = 13


class KeptMember(BaseModel):
    """A member whom undoing an upload keeps as it is, or would."""

    id_number: Annotated[str, AfterValidator(masked)] = Field(
        description="Masked; the downloaded list has it whole. The passport's number where "
        "identity_kind says so."
    )
    identity_kind: IdentityKind
    identity_country: IdentityCountry
    reason: KeptBecause
    later_upload: UUID | None = Field(
        description="The later upload that changed the member or holds the same of it."
    )

    @classmethod
    def of(cls, row: Row) -> Self:
        """The answer to a row of the queries ``kept`` and ``would_keep`` of undo."""
        number = row["id_number"]
        # The key of a member by passport is no ID number, and is not shown.
        is_passport = len(number) != _ID_NUMBER_DIGITS
        return cls(
            id_number=masked_passport(row["identity_number"] or "") if is_passport else number,
            identity_kind="passport" if is_passport else "za_id",
            identity_country=row["identity_country"],
            reason=row["reason"],
            later_upload=row["later_upload"],
        )


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
    job_id: UUID, system: SystemParam, user: OperatorParam, paging: Pages100
) -> Answer[Page[KeptMember]]:
    """List the members that undoing left unchanged, or would, and why."""
    found = await undo.kept(system, user, job_id, paging)
    items = [KeptMember.of(row) for row in found.rows]
    return listed(Page[KeptMember], items, found, paging, "{} members.")


@router.get("/{job_id}/kept.csv", response_class=Response, **audited("download_kept"))
async def kept_csv(job_id: UUID, system: SystemParam, user: OperatorParam) -> Response:
    """Download the same list as CSV."""
    headers = {"Content-Disposition": f'attachment; filename="kept-{job_id}.csv"'}
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
