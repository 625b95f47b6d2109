"""The routes of uploads: send, follow, download, cancel, list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import UUID

import structlog
from fastapi import Body, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel

from rollbook import clock
from rollbook.accounts import audit
from rollbook.api import scopes
from rollbook.api.access import (
    ForecasterParam,
    SessionParam,
    SystemParam,
    UserParam,
    audited,
    routes,
)
from rollbook.api.form import FILE, UploadForm, described, received
from rollbook.api.operations import XLSX
from rollbook.api.pages import AfterParam, LongPage, Pages20, Pages100, listed
from rollbook.backends.database import Row
from rollbook.contract import (
    Answer,
    ProblemCount,
    Receipt,
    RowOutcome,
    RowProblem,
    UploadStatus,
)
from rollbook.errors import (
    InvalidRequestError,
    NotFoundError,
)
from rollbook.folder.intake import KEY_BEGINNING
from rollbook.languages import spoken
from rollbook.masking import masked
from rollbook.model import REFUSED, Outcome, Result, Session, Status, User
from rollbook.pipeline.problems import sentence
from rollbook.service.system import System
from rollbook.uploads import checks, control, fixes, lookup, receive, waits
from rollbook.uploads.forecast import Forecaster
from rollbook.uploads.options import Choices, Options
from rollbook.voter_roll.outlook import seconds_left

log = structlog.get_logger(__name__)

_CHECK = {
    "type": "string",
    "format": "uuid",
    "description": "Of a checked file, which is then not sent again.",
}
_FORM = {"file": FILE, "check_id": _CHECK, **Choices.model_json_schema()["properties"]}

router = routes("/bulk-upload", "uploads", 401, 404, 422)

#: Repeatable.
OutcomesParam = Annotated[list[Outcome] | None, Query(description="Only these; repeatable.")]
AttentionParam = Annotated[
    Literal["any", "refused", "doubtful", "left_out"] | None,
    Query(
        description="Only rows that were refused, have a warning (doubtful), of which a cell was "
        "left out, or any of these."
    ),
]
SearchParam = Annotated[
    str | None,
    Query(
        max_length=200,
        pattern=r"^[^\x00]*$",
        description="A part of the file's name or of the owner's address, or a job id.",
    ),
    # Masked, as the names that are searched are.
    AfterValidator(lambda text: text and masked(text)),
]


def _not_the_folders(key: str | None) -> str | None:
    """Refuse the folder's keys: an upload with one would make a file there look taken."""
    if key is not None and key.startswith(KEY_BEGINNING):
        raise ValueError(f"a key that begins with {KEY_BEGINNING} is the watched folder's")
    return key


IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=200), AfterValidator(_not_the_folders)
]


class RunRequest(BaseModel, strict=True):
    """How to run a dry run's file for real."""

    allow_duplicate: bool = False


@router.post(
    "/process",
    status_code=202,
    openapi_extra=described(_FORM),
    **audited("upload", 409, 413, 415, 503),
)
async def process(
    request: Request,
    response: Response,
    system: SystemParam,
    session: SessionParam,
    idempotency_key: IdempotencyKey = None,
) -> Answer[Receipt]:
    """Accept a file and answer at once; the work is done in the background."""
    form = UploadForm(request, system.settings)
    upload = await _take_in(form, system, session, idempotency_key)
    return await receipt_of(request, response, system, upload)


@router.post("/run/{job_id}", status_code=202, **audited("upload", 409, 503))
async def run(
    job_id: UUID,
    request: Request,
    response: Response,
    system: SystemParam,
    session: SessionParam,
    idempotency_key: IdempotencyKey = None,
    body: Annotated[RunRequest | None, Body()] = None,
) -> Answer[Receipt]:
    """Run a dry run's file for real, as a new upload with the same options."""
    options = Options(
        allow_duplicate=body is not None and body.allow_duplicate, idempotency_key=idempotency_key
    )
    dry_run = await lookup.get(system, session.user, job_id)
    if dry_run["kind"] == "removal":
        scopes.check_removal(session)
    upload = await receive.run_for_real(system, session.user, dry_run, options)
    return await receipt_of(request, response, system, upload)


async def receipt_of(
    request: Request, response: Response, system: System, upload: Row
) -> Answer[Receipt]:
    """The answer to an accepted file, with the address of its status."""
    job = f"job {upload['id']}"
    is_queued = await lookup.is_queued(system, upload)
    message = f"Your file is queued as {job}. It is safe to close this page."
    if not is_queued:
        message = (
            f"Your file is stored and recorded as {job}. The queue doesn't answer right now; the "
            "file will be queued automatically as soon as it does. It is safe to close this page."
        )
    if upload["status"] != "pending":  # the same request came before, and its upload went on
        message = f"This file was sent before as {job}, which is {upload['status']}."
        if upload["undone_at"] is not None:
            message += " It was undone since: send the file with another Idempotency-Key."
    receipt = Receipt(
        job_id=upload["id"],
        status=upload["status"],
        file_name=upload["file_name"],
        message=message,
        is_queued=is_queued,
        queue_position=await lookup.position(system, upload) or 0,
    )
    response.headers["Location"] = str(request.url_for("status", job_id=str(upload["id"])))
    return Answer(message=message, data=receipt)


async def _take_in(
    form: UploadForm, system: System, session: Session, idempotency_key: str | None
) -> Row:
    user = session.user
    stored, fields = await received(form, system, may_be_checked=True)
    check_id = fields.pop("check_id", None)
    if stored is None:
        checked, check = await checks.use(system, user, _as_id(check_id))
        # What the check was made with counts, where the form doesn't say otherwise.
        made_with = ("sheet", "columns", "empty_text")
        same = {name: check[name] for name in made_with if check[name] is not None}
        options = _options(session, **same | fields, idempotency_key=idempotency_key)
        # Its row stays for its time: a second request finds the upload that the first one made.
        return await receive.record(system, user, checked, options, is_checked=True)
    try:
        options = _options(session, **fields, idempotency_key=idempotency_key)
    except BaseException:
        await receive.discard(system, stored)
        raise
    return await receive.record(system, user, stored, options)


def _options(session: Session, **given: Any) -> Options:
    options = Options.of(**given)
    if options.kind == "removal":
        scopes.check_removal(session)
    return options


def _as_id(text: str | None) -> UUID:
    try:
        return UUID(text or "")
    except ValueError:
        raise InvalidRequestError(
            "The check_id is none that a check has answered with. Nothing was changed."
        ) from None


@router.get("/status/{job_id}", name="status")
async def status(
    job_id: UUID, system: SystemParam, user: UserParam, forecaster: ForecasterParam
) -> Answer[UploadStatus]:
    """Return how far an upload is."""
    upload = await lookup.get(system, user, job_id)
    position = await lookup.position(system, upload)
    [estimate] = await forecaster.estimates([upload])
    left = await seconds_left(system, upload)
    fixed = await fixes.fixed(system, upload)
    data = UploadStatus.of(
        upload,
        queue_position=position,
        seconds_left=left,
        **estimate.facts(),
        **fixed,
        **waits.facts(upload, user.scope),
    )
    return Answer(message=_in_words(data, system.settings.time_zone), data=data)


@router.get("/rows/{job_id}")
async def rows(
    job_id: UUID,
    system: SystemParam,
    user: UserParam,
    paging: Pages100,
    outcome: OutcomesParam = None,
    verification: Result | None = None,
    problem: Annotated[str | None, Query(max_length=100, pattern="^[a-z_]+$")] = None,
    attention: AttentionParam = None,
    after: AfterParam = None,
) -> Answer[LongPage[RowOutcome]]:
    """List the outcome of each row, in the order of the file."""
    upload = await lookup.get(system, user, job_id)
    found = await lookup.rows(
        system,
        upload,
        outcome=outcome,
        verification=verification,
        problem=problem,
        attention=attention,
        after=after,
        paging=paging,
    )
    items = [
        {
            **row,
            "problems": [
                RowProblem.of(problem, sentence(problem["code"]))
                for problem in row["problems"] or ()
            ],
            "verification": None if row["result"] is None else row,
        }
        for row in found.rows
    ]
    said = _rows_in_words(system, upload) or "{} rows."
    return listed(LongPage[RowOutcome], items, found, paging, said, key="row_number")


@router.get("/problems/{job_id}")
async def problems(
    job_id: UUID, system: SystemParam, user: UserParam, outcome: OutcomesParam = None
) -> Answer[list[ProblemCount]]:
    """Count the rows of each problem, most frequent first."""
    upload = await lookup.get(system, user, job_id)
    data = [
        ProblemCount(**found, message=sentence(found["code"]))
        for found in await lookup.problems(system, upload, outcome=outcome)
    ]
    message = _rows_in_words(system, upload) or f"{len(data)} kinds of problems."
    return Answer(message=message, data=data)


def _rows_in_words(system: System, upload: Row) -> str | None:
    removed = lookup.rows_removed_at(upload)
    if removed is None:
        return None
    return (
        f"The outcomes of rows are kept for {system.settings.keep_rows_days} days. Those of this "
        f"upload were removed at {clock.in_words(removed, system.settings.time_zone)}; its counts "
        "are still available."
    )


@router.get("/report/{job_id}", response_class=StreamingResponse, **audited("download_report"))
async def report(job_id: UUID, system: SystemParam, user: UserParam) -> StreamingResponse:
    """Download the Excel report of an upload that completed."""
    upload = await lookup.get(system, user, job_id)
    return await download(system, user, upload, "report")


@router.get(
    "/failed-rows/{job_id}", response_class=StreamingResponse, **audited("download_refused")
)
async def failed_rows(job_id: UUID, system: SystemParam, user: UserParam) -> StreamingResponse:
    """Download the refused rows, to fix and send again."""
    upload = await lookup.get(system, user, job_id)
    return await download(system, user, upload, "refused")


def _missing_in_words(upload: Row, what: Literal["report", "refused"]) -> str:
    name = "report" if what == "report" else "file of refused rows"
    if upload["status"] != "completed":
        return f"This upload has no {name}: it is {upload['status']}."
    refused = upload["invalid"] + upload["duplicate"] + upload["out_of_scope"]
    if what == "refused" and not refused:
        return f"This upload has no {name}: no row was refused."
    has_rows = lookup.rows_removed_at(upload) is None
    return (
        f"The {name} of this upload is gone: it was removed when its retention ended, or by an "
        f"operator. The counts {'and the outcome of each row ' if has_rows else ''}are still "
        "available."
    )


def download_name(upload: Row, what: Literal["report", "refused"]) -> str:
    """The file name of a downloaded workbook."""
    stem = upload["file_name"].rpartition(".")[0] or "upload"
    return f"{stem}-{what}.xlsx"


async def download(
    system: System, user: User, upload: Row, what: Literal["report", "refused"]
) -> StreamingResponse:
    """A stored workbook of an upload: its ``report`` or its ``refused`` rows.

    Raises:
        NotFoundError: there is none, or it was removed.
    """
    key = upload[f"{what}_key"]
    missing = NotFoundError(_missing_in_words(upload, what))
    if key is None:
        raise missing
    try:
        size, chunks = await system.store.open(key)
    except FileNotFoundError:
        raise missing from None
    act: audit.Act = "download_report" if what == "report" else "download_refused"
    await audit.record(system.pool, act, who=user, job_id=upload["id"])
    name = download_name(upload, what)
    plain = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "'")
    headers = {
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}",
        "Content-Length": str(size),
    }
    return StreamingResponse(chunks, media_type=XLSX, headers=headers)


@router.get("/template", response_class=Response)
def template(user: UserParam) -> Response:
    """Download the workbook to fill in: the expected columns, their lists of values, and notes.

    It is in your language.
    """
    from rollbook.pipeline.template import write_template

    with TemporaryDirectory(prefix="rollbook-") as folder:
        path = Path(folder) / "members-template.xlsx"
        write_template(path, user.scope)
        headers = {
            "Content-Disposition": f'attachment; filename="{path.name}"',
            "Content-Language": spoken(),
            "Vary": "Accept-Language",
        }
        return Response(path.read_bytes(), media_type=XLSX, headers=headers)


@router.post("/cancel/{job_id}", **audited("cancel", 403, 409))
async def cancel(job_id: UUID, system: SystemParam, user: UserParam) -> Answer[UploadStatus]:
    """Cancel a waiting or running upload; nothing of it is merged."""
    await control.cancel(system, user, job_id)
    data = UploadStatus.of(await lookup.get(system, user, job_id))
    return Answer(message="The upload is cancelled. No member was changed by it.", data=data)


@router.get("/history")
async def history(
    system: SystemParam,
    user: UserParam,
    forecaster: ForecasterParam,
    paging: Pages20,
    status: Status | None = None,
    search: SearchParam = None,
    after: AfterParam = None,
) -> Answer[LongPage[UploadStatus]]:
    """List the uploads of your scope, newest first."""
    found = await lookup.history(
        system, user, status=status, search=search, after=after, paging=paging
    )
    items = await statuses(system, user, forecaster, found.rows)
    return listed(LongPage[UploadStatus], items, found, paging, "{} uploads.", key="ordinal")


async def statuses(
    system: System,
    user: User,
    forecaster: Forecaster,
    found: list[Row],
    states: Sequence[str | None] | None = None,
) -> list[UploadStatus]:
    """The statuses of a list; ``states`` are the queue's of their jobs, where it was asked."""
    positions = await lookup.positions(system, found)
    estimates = await forecaster.estimates(found)
    of_queue = states or [None] * len(found)
    return [
        UploadStatus.of(
            upload,
            queue_state=state,
            queue_position=position,
            **estimate.facts(),
            **waits.facts(upload, user.scope),
        )
        for upload, state, position, estimate in zip(
            found, of_queue, positions, estimates, strict=True
        )
    ]


def _in_words(upload: UploadStatus, zone: str) -> str:
    match upload.status:
        case "pending":
            return _waiting_in_words(upload)
        case "processing":
            done = f"Processing: {upload.stage or 'starting'}, {upload.progress} %"
            return f"{done}; it {waits.in_words(upload)}." if upload.waits_since else f"{done}."
        case "completed":
            if upload.undone_at is not None:
                return f"Completed, and undone at {clock.in_words(upload.undone_at, zone)}."
            return _completed_in_words(upload)
        case "failed":
            return upload.error or "Failed."
        case "cancelled":
            return "Cancelled. No member was changed by it."


def _waiting_in_words(upload: UploadStatus) -> str:
    if upload.verification.results["pending"]:
        return f"Waiting for the voter roll before the merge: {_still_asking(upload)}"
    if upload.error:
        return f"Waiting for another attempt, after this: {upload.error}"
    return f"Waiting at position {upload.queue_position or '?'} of the queue."


def _completed_in_words(upload: UploadStatus) -> str:
    done = f"Completed: {upload.rows_total} rows, each with its outcome in the report."
    if upload.fixed:
        refused = sum(upload.outcomes[name] for name in REFUSED)
        done += f" Follow-ups have fixed {upload.refused_fixed} of {refused} refused rows"
        doubtful = upload.fixed - (upload.refused_fixed or 0)
        done += f" and {doubtful} doubtful ones." if doubtful else "."
    match upload.verification.state:
        case "pending":
            return f"{done} The voter roll is being asked: {_still_asking(upload)}"
        case "verified":
            return f"{done} The voter roll's answers are in it."
        case "off":
            return done


def _still_asking(upload: UploadStatus) -> str:
    pending = upload.verification.results["pending"]
    if not pending:
        return "all answers are in, and the report is written again."
    left = upload.verification.seconds_left
    when = "for an unknown time" if left is None else f"about {_duration(left)}"
    return f"{pending} rows are pending, {when}."


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"
