"""The check of a file before it is sent: how it would be read, and what would be asked about it."""

from __future__ import annotations

import json
from typing import Annotated, Literal, cast
from uuid import UUID

from fastapi import Body, Request
from pydantic import BaseModel, Field

from rollbook.api.access import SystemParam, UserParam, audited, routes
from rollbook.api.form import FILE, UploadForm, described, received
from rollbook.contract import Answer
from rollbook.errors import FileProblemError
from rollbook.uploads import checks
from rollbook.uploads.options import Choices, FieldByHeader, Options
from rollbook.uploads.receive import StoredFile
from rollbook.worker.checks import Checker

#: The fields of the form beside the file.
_CHOICES = ("sheet", "columns", "empty_text", "allow_duplicate")
_FORM = {
    "file": FILE,
    **{name: Choices.model_json_schema()["properties"][name] for name in _CHOICES},
}

router = routes("/bulk-upload", "uploads", 401, 404, 422)


class CheckedSheet(BaseModel):
    """A sheet of the file."""

    name: str
    rows: int | None = Field(description="Rows below its headers; null where the file doesn't say.")
    is_hidden: bool
    holds_members: bool = Field(description="It has a column of ID numbers, and rows.")
    is_chosen: bool = Field(description="The check is about this one.")


class CheckedColumn(BaseModel):
    """A column of the file."""

    header: str
    field: str | None = Field(description="What it would be read as; null: it would not be read.")
    how: Literal["known", "remembered", "near", "values", "unknown"] = Field(
        description="Why: a known header, a mapping of your office; or, for a column that would "
        "not be read, what the suggestions come from."
    )
    suggestions: list[str] = Field(description="Fields that it may be, the likeliest first.")
    samples: list[str] = Field(description="Up to five of its values; ID numbers are masked.")


class CheckedWarning(BaseModel):
    """A problem in the first rows."""

    code: str
    severity: Literal["error", "warning"]
    rows: int = Field(description="Of the first thousand rows of the file.")
    message: str


class CheckedRow(BaseModel):
    """One of the first rows."""

    row_number: int
    cells: list[str] = Field(description="In the order of `columns`; ID numbers are masked.")


class CheckedNote(BaseModel):
    """A remark on the file as a whole."""

    code: str
    message: str
    rows: int | None = None


class Check(BaseModel):
    """How a file would be read."""

    check_id: UUID = Field(description="Send the file with it: `check_id` instead of `file`.")
    file_name: str
    kind: str
    is_checked: bool = Field(
        description="False: the check took too much time or memory. The file can be sent all the "
        "same; a worker has more of both."
    )
    encoding: str | None = None
    delimiter: str | None = None
    sheets: list[CheckedSheet] = []
    header_row: int | None = None
    columns: list[CheckedColumn] = []
    missing: list[str] = Field([], description="Needed fields for which there is no column.")
    warnings: list[CheckedWarning] = []
    rows_expected: int | None = None
    rows: list[CheckedRow] = []
    emptied: dict[str, int] = Field(
        {},
        description="How many of the first thousand rows empty which field, by their `empty_text`.",
    )
    notes: list[CheckedNote] = []


class CheckChoices(BaseModel, strict=True):
    """What a checked file is checked with."""

    sheet: str | None = Field(
        None,
        max_length=1000,
        pattern=r"^[^\x00]*$",
        description=Choices.model_fields["sheet"].description,
    )
    columns: FieldByHeader | None = Field(
        None,
        description="The field by header, for headers that Rollbook does not know; null leaves a "
        "column out.",
        examples=[{"Lid No": "id_number"}],
    )
    empty_text: str | None = Field(
        None,
        max_length=1000,
        description=Choices.model_fields["empty_text"].description,
    )
    allow_duplicate: bool = Field(
        default=True,
        description="False: answer 409 where the same file was sent before, as for a new file. For "
        "a file that came in by parts, which nobody has asked about yet.",
    )


@router.post(
    "/check",
    openapi_extra=described(_FORM, required=["file"]),
    **audited("upload", 409, 413, 415, 503),
)
async def check(request: Request, system: SystemParam, user: UserParam) -> Answer[Check]:
    """Store a file and say how it would be read, without processing it."""
    form = UploadForm(request, system.settings)
    stored, fields = await received(form, system)
    try:
        await checks.add(system, user, stored, Options.of(**fields))
    except BaseException:
        await checks.discard(system, stored)
        raise
    try:
        return await _checked(request, system, stored)
    except FileProblemError:
        await checks.discard(system, stored)  # no choice of the sender's makes it readable
        raise


@router.post("/check/{check_id}", **audited("upload", 409, 503))
async def check_again(
    check_id: UUID,
    request: Request,
    system: SystemParam,
    user: UserParam,
    body: Annotated[CheckChoices, Body()],
) -> Answer[Check]:
    """Say how a checked file would be read with another sheet, columns or text that empties fields.

    The choices count when the file is sent, where the form gives no others.
    """
    columns = None if body.columns is None else json.dumps(body.columns)
    options = Options.of(
        sheet=body.sheet,
        columns=columns,
        empty_text=body.empty_text,
        allow_duplicate="true" if body.allow_duplicate else "false",
    )
    stored = await checks.change(system, user, check_id, options)
    # A file that these choices can't read is kept: others may.
    return await _checked(request, system, stored)


async def _checked(request: Request, system: SystemParam, stored: StoredFile) -> Answer[Check]:
    checker = cast("Checker", request.app.state.checker)
    found = await checker.check(stored.upload_id)
    data = Check(
        check_id=stored.upload_id,
        file_name=stored.name,
        kind=stored.kind,
        is_checked=found is not None,
        **found or {},
    )
    hours = system.settings.check_hours
    message = (
        f"The file is stored for {hours} h. Nothing is processed until you send it."
        if found is not None
        else "The file is stored, but checking it took too long. You can send it anyway."
    )
    return Answer(message=message, data=data)
