"""The routes of stored reports that the first system's clients call.

Lists are limited to the reader's scope. Only operators may remove something.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel

from rollbook import clock
from rollbook.api.access import OperatorParam, SystemParam, UserParam, audited, failures, routes
from rollbook.api.first_system.names import pagination, report_path
from rollbook.api.pages import PageParam
from rollbook.api.uploads import download_name
from rollbook.backends.database import Paging
from rollbook.contract import Answer
from rollbook.errors import InvalidRequestError, NotFoundError
from rollbook.uploads import lookup, retention

router = routes("/bulk-upload/reports", "stored reports of the first system", 401, 503)

LimitParam = Annotated[int, Query(ge=1, le=500)]
MomentParam = Annotated[str, Query(max_length=40)]


class ReportMetadata(BaseModel):
    """A stored report."""

    job_id: UUID
    file_name: str
    #: The API path from which it is downloaded; no path of a file system.
    file_path: str
    file_size: int
    created_at: dt.datetime

    @classmethod
    def of(cls, stored: retention.StoredReport) -> ReportMetadata:
        """The answer to a stored report."""
        upload = stored.upload
        path = report_path({"job_id": upload["id"], "report_available": True})
        assert path is not None
        return cls(
            job_id=upload["id"],
            file_name=download_name(upload, "report"),
            file_path=path,
            file_size=stored.report_bytes,
            created_at=upload["finished_at"],
        )


class ReportList(BaseModel):
    """A page of stored reports, newest first."""

    #: How many are listed here; ``pagination`` has how many there are.
    count: int
    reports: list[ReportMetadata]
    pagination: dict[str, int]


class Removed(BaseModel):
    """What was removed."""

    count: int
    bytes: int


@router.get("/metadata")
async def metadata(
    system: SystemParam, user: UserParam, page: PageParam = 1, limit: LimitParam = 20
) -> Answer[ReportList]:
    """List the stored reports of your scope, newest first."""
    return await _listed(system, user, page=page, limit=limit)


@router.get("/date-range", responses=failures(422))
async def date_range(
    system: SystemParam,
    user: UserParam,
    start_date: MomentParam,
    end_date: MomentParam,
    page: PageParam = 1,
    limit: LimitParam = 500,
) -> Answer[ReportList]:
    """List the stored reports of uploads that ended in a period, newest first.

    Days are South African, and the last one is part of the period.
    """
    first = _moment("start_date", start_date)
    until = _moment("end_date", end_date, is_end=True)
    if until <= first:
        raise InvalidRequestError("end_date is not after start_date. Nothing was looked up.")
    return await _listed(system, user, page=page, limit=limit, first=first, until=until)


@router.get("/{job_id:uuid}/metadata", responses=failures(404))
async def one(job_id: UUID, system: SystemParam, user: UserParam) -> Answer[ReportMetadata]:
    """Return an upload's stored report."""
    upload = await lookup.get(system, user, job_id)
    if upload["report_key"] is None:
        raise NotFoundError("This upload has no stored report.")
    data = ReportMetadata.of(await retention.stored(system, upload))
    return Answer(message=f"{data.file_size} bytes.", data=data)


@router.post("/cleanup-orphaned", **audited("purge", 403))
async def cleanup_orphaned(system: SystemParam, user: OperatorParam) -> Answer[Removed]:
    """Remove stored files of no upload, older than a day. A body is ignored, paths included."""
    purged = await retention.remove_orphans(system, user)
    return Answer(
        message=f"{purged.orphans} files of no upload were removed.{purged.left_in_words()}",
        data=Removed(count=purged.orphans, bytes=purged.bytes),
    )


async def _listed(
    system: SystemParam, user: UserParam, *, page: int, limit: int, **period: dt.datetime
) -> Answer[ReportList]:
    found, uploads = await retention.reports_of(system, user, Paging(page, limit), **period)
    total = uploads.total
    facts: dict[str, Any] = {"page": page, "page_size": limit, "total": total}
    reports = [ReportMetadata.of(stored) for stored in found]
    shown = "" if len(reports) == total else f" {len(reports)} of them are listed here."
    return Answer(
        message=f"{total} stored reports.{shown}",
        data=ReportList(count=len(reports), reports=reports, pagination=pagination(facts)),
    )


def _moment(name: str, text: str, *, is_end: bool = False) -> dt.datetime:
    """A time of ISO 8601, or the beginning of a day; the end of the day where ``is_end``."""
    text = text.replace(" ", "+")  # a plus sign that was sent as it is
    try:
        if len(text) == len("2026-01-31"):
            day = dt.datetime.fromisoformat(text).replace(tzinfo=clock.SOUTH_AFRICA)
            return day + dt.timedelta(days=1) if is_end else day
        moment = dt.datetime.fromisoformat(text)
        zone = moment.tzinfo or clock.SOUTH_AFRICA
        return moment.replace(tzinfo=zone).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise InvalidRequestError(
            f"{name} is a date such as 2026-01-31 or a time such as 2026-01-31T08:00:00Z. "
            "Nothing was looked up."
        ) from None
