"""The routes of the stored reports and their retention, for operators."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

from fastapi import Body
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field

from rollbook.api.access import OperatorParam, SystemParam, audited, routes
from rollbook.api.pages import AfterParam, LongPage, Pages20, listed
from rollbook.api.uploads import download
from rollbook.contract import Answer
from rollbook.errors import NotFoundError
from rollbook.model import Status
from rollbook.uploads import lookup, retention

router = routes("/bulk-upload/reports", "stored reports", 401, 403, 503)

#: Only ids match: DELETE on ``/stats`` is then a wrong method instead of a wrong id.
ONE = "/{job_id:uuid}"


#: In JSON 7.0 is a whole number; a text isn't.
Days = Annotated[
    int,
    Field(ge=retention.MIN_REPORT_DAYS, le=36500),
    BeforeValidator(lambda n: int(n) if isinstance(n, float) and n.is_integer() else n),
]


class StoredReport(BaseModel):
    """An upload's workbooks in the store."""

    job_id: UUID
    file_name: str
    owner: str
    status: Status
    report_bytes: int = Field(description="0 where there is no report.")
    refused_bytes: int = Field(description="0 where no row was refused.")
    finished_at: dt.datetime | None
    kept_until: dt.datetime | None = Field(description="When retention removes them.")


class ReportStats(BaseModel):
    """What the store holds, as it lists it."""

    reports: int = Field(description="Reports and workbooks of refused rows.")
    bytes: int
    oldest_at: dt.datetime | None
    orphans: int = Field(description="Files of no upload, older than a day; cleanup removes them.")
    orphan_bytes: int
    retention_days: int


class Deleted(BaseModel):
    """What was removed."""

    bytes: int


class CleanupRequest(BaseModel, strict=True):
    """The minimum age of what is removed."""

    older_than_days: Days | None = Field(None, description="Default: the retention.")
    dry_run: Annotated[bool, Field(description="Only count what would be removed.")] = False


class CleanedUp(BaseModel):
    """What was removed, or would be."""

    reports: int = Field(description="Uploads whose workbooks were removed.")
    orphans: int
    bytes: int


@router.get("")
async def reports(
    system: SystemParam,
    _: OperatorParam,
    paging: Pages20,
    after: AfterParam = None,
) -> Answer[LongPage[StoredReport]]:
    """List the uploads with stored workbooks, newest first."""
    found, uploads = await retention.reports(system, paging, after=after)
    items = [
        {
            **stored.upload,
            **asdict(stored),
            "job_id": stored.upload["id"],
            "owner": stored.upload["owner_email"],
        }
        for stored in found
    ]
    said = "{} uploads have stored reports."
    return listed(LongPage[StoredReport], items, uploads, paging, said, key="ordinal")


@router.get("/stats")
async def stats(system: SystemParam, _: OperatorParam) -> Answer[ReportStats]:
    """Count what the store holds."""
    found = await retention.holdings(system)
    data = ReportStats(**asdict(found), retention_days=system.settings.report_retention_days)
    return Answer(message=f"{data.reports} files, {data.bytes} bytes.", data=data)


@router.get(ONE, response_class=StreamingResponse, **audited("download_report", 404))
async def report(job_id: UUID, system: SystemParam, user: OperatorParam) -> StreamingResponse:
    """Download an upload's report."""
    return await download(system, user, await lookup.get(system, user, job_id), "report")


@router.delete(ONE, **audited("delete", 404, 409))
async def delete(job_id: UUID, system: SystemParam, user: OperatorParam) -> Answer[Deleted]:
    """Remove an upload's report and refused rows; the upload and its members stay."""
    upload = await lookup.get(system, user, job_id)
    if upload["report_key"] is None and upload["refused_key"] is None:
        raise NotFoundError("This upload has no stored report. Nothing was removed.")
    size = await retention.delete_report(system, user, upload)
    return Answer(
        message="The report and the refused rows are removed. No member was changed.",
        data=Deleted(bytes=size),
    )


@router.post("/cleanup", **audited("purge"))
async def cleanup(
    system: SystemParam,
    user: OperatorParam,
    body: Annotated[CleanupRequest | None, Body()] = None,
) -> Answer[CleanedUp]:
    """Remove the reports and refused rows over an age, and files of no upload."""
    wanted = body or CleanupRequest(older_than_days=None, dry_run=False)
    purged = await retention.clean_up(
        system, user, older_than_days=wanted.older_than_days, dry_run=wanted.dry_run
    )
    data = CleanedUp(reports=purged.reports, orphans=purged.orphans, bytes=purged.bytes)
    would = "would be" if wanted.dry_run else "were"
    return Answer(
        message=f"Reports of {data.reports} uploads and {data.orphans} files of no upload "
        f"{would} removed.{purged.left_in_words()}",
        data=data,
    )
