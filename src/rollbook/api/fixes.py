"""The routes of rows that can be fixed: list them, check edits, send them as a follow-up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import Body, Query, Request, Response
from pydantic import BaseModel, Field, StringConstraints

from rollbook.api.access import SessionParam, SystemParam, UserParam, audited, failures, routes
from rollbook.api.uploads import IdempotencyKey, receipt_of
from rollbook.contract import Answer, Receipt, RowProblem
from rollbook.errors import InvalidRequestError
from rollbook.model import Outcome
from rollbook.pipeline.problems import sentence
from rollbook.uploads import fixes, lookup
from rollbook.uploads.fixes import Edits
from rollbook.worker.checks import Checker

#: Rows that are checked at a time: more than a screen shows.
MOST_CHECKED = 200
#: Rows and values that one follow-up may name.
MOST_ROWS = 50_000
MOST_VALUES = 50

router = routes("/bulk-upload", "uploads", 401, 404, 422)

#: PostgreSQL can't store a NUL.
Text = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
HeaderText = Annotated[str, StringConstraints(max_length=40_000, pattern=r"^[^\x00]*$")]


class FixableColumn(BaseModel):
    """A column of the file."""

    header: str
    field: str | None = Field(description="As in the columns' reference; null: it isn't read.")


class FixableRow(BaseModel):
    """A row that was refused or is doubtful, with its cells."""

    row_number: int
    outcome: Outcome
    duplicate_of: int | None
    cells: list[str | None] = Field(description="In the order of `columns`.")
    problems: list[RowProblem]
    fixed_by: UUID | None = Field(description="The follow-up that has the row.")
    is_fixed: bool = Field(description="That follow-up has taken the row in.")


class RowCounts(BaseModel):
    """How many rows can be fixed."""

    any: int
    refused: int
    doubtful: int
    left_out: int


class FixableRows(BaseModel):
    """Some of the rows of an upload that can be fixed."""

    columns: list[FixableColumn]
    items: list[FixableRow]
    next_after: int | None = Field(description="`after` of the next page; null after the last.")
    counts: RowCounts | None = Field(description="Of all pages; only on the first.")
    is_whole: bool = Field(description="False: values are masked, since another person sent them.")
    not_stored: int = Field(
        description="Rows that can't be fixed here, since there are more than "
        "ROLLBOOK_FIXABLE_ROWS; the report has them."
    )


class Facet(BaseModel):
    """A value that several rows have, with the same problem."""

    column: str
    field: str | None
    value: str
    rows: int
    problem: str = Field(description="The code of the problem.")
    severity: Literal["error", "warning"]
    message: str
    suggestion: str | None = Field(description="What may be meant, for a person to decide on.")


class Facets(BaseModel):
    """Equal wrong values, the most frequent first."""

    values: list[Facet]


class EditedRow(BaseModel, strict=True):
    """The edited cells of a row."""

    row_number: Annotated[int, Field(ge=1, le=2_000_000_000)]
    cells: dict[HeaderText, Text | None] = Field(
        max_length=1000, description="Value by header; null empties the cell."
    )


class ReplacedValue(BaseModel, strict=True):
    """A value that is replaced in every row where it has a problem, but in no repeat."""

    column: HeaderText
    value: Annotated[str, StringConstraints(max_length=40_000, pattern=r"^[^\x00]*$")]
    becomes: Text
    remember: bool = Field(
        default=False,
        description="Read the value so in your office's next files too; for provinces, "
        "municipalities, gender, citizenship, race and language.",
    )


class CheckRequest(BaseModel, strict=True):
    """Rows to check."""

    rows: Annotated[list[EditedRow], Field(min_length=1, max_length=MOST_CHECKED)]


class FixRequest(BaseModel, strict=True):
    """Rows to send."""

    rows: Annotated[list[EditedRow], Field(max_length=MOST_ROWS)] = []
    values: Annotated[list[ReplacedValue], Field(max_length=MOST_VALUES)] = []
    leave: Annotated[
        list[Annotated[int, Field(ge=1, le=2_000_000_000)]],
        Field(
            max_length=MOST_ROWS,
            description="Rows in which no value is replaced: they are sent only if `rows` names "
            "them. Name here the rows whose own edits aren't sent.",
        ),
    ] = []


class CheckedEdit(BaseModel):
    """What a row would be with its edited cells."""

    row_number: int
    verdict: Literal["valid", "invalid", "out_of_scope"]
    problems: list[RowProblem]


@router.get("/mend/{job_id}")
async def fixable_rows(
    job_id: UUID,
    system: SystemParam,
    user: UserParam,
    attention: Annotated[
        Literal["any", "refused", "doubtful", "left_out"], Query(description="Only these rows.")
    ] = "any",
    is_open: Annotated[bool, Query(description="Only rows that no follow-up has.")] = False,
    after: Annotated[
        int, Query(ge=0, le=2_000_000_000, description="Rows after this row number.")
    ] = 0,
    skip: Annotated[int, Query(ge=0, le=1_000_000, description="Rows to skip after that.")] = 0,
    page_size: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Answer[FixableRows]:
    """List refused and doubtful rows with their cells, whole for the person who sent them."""
    reader = fixes.reader_of(await lookup.get(system, user, job_id), user)
    found, counts = await fixes.rows(
        system,
        reader,
        after=after,
        skip=skip,
        limit=page_size + 1,
        attention=attention,
        only_open=is_open,
    )
    more, found = len(found) > page_size, found[:page_size]
    data = FixableRows(
        columns=[
            FixableColumn(header=header, field=field)
            for header, field in zip(reader.headers, reader.fields, strict=True)
        ],
        items=[
            FixableRow.model_validate(
                {
                    **row,
                    "cells": reader.cells(row["cells"]),
                    "problems": _problems(reader.problem(one) for one in row["problems"] or ()),
                    "is_fixed": bool(row["is_fixed"]),
                }
            )
            for row in found
        ],
        next_after=found[-1]["row_number"] if more else None,
        counts=None if counts is None else RowCounts(**counts),
        is_whole=reader.sees_all,
        not_stored=reader.left_out,
    )
    return Answer(message=f"{len(found)} rows that can be fixed.", data=data)


@router.get("/facets/{job_id}")
async def facets(
    job_id: UUID,
    system: SystemParam,
    user: UserParam,
    column: Annotated[
        str | None,
        Query(max_length=1000, pattern=r"^[^\x00]*$", description="Only of this header."),
    ] = None,
    least: Annotated[int, Query(ge=1, le=1_000_000, description="Rows that a value has.")] = 2,
) -> Answer[Facets]:
    """List equal wrong values of the rows that can be fixed, with counts."""
    reader = fixes.reader_of(await lookup.get(system, user, job_id), user)
    found = await fixes.facets(system, reader, column=column, least=least)
    values = [
        Facet(**{**row, "problem": row["code"]}, message=sentence(row["code"])) for row in found
    ]
    return Answer(message=f"{len(values)} values.", data=Facets(values=values))


@router.post("/mend/{job_id}/check", responses=failures(409, 413, 503))
async def check_fixes(
    job_id: UUID,
    request: Request,
    system: SystemParam,
    session: SessionParam,
    body: Annotated[CheckRequest, Body()],
) -> Answer[list[CheckedEdit]]:
    """Check edited rows by the rules of the pipeline, without sending them.

    Repeats and members of other offices are found when the rows are sent. A key without the scope
    `read` gets masked values.
    """
    user = session.user
    may_read = session.scopes is None or "read" in session.scopes
    upload = await lookup.get(system, user, job_id)
    reader = fixes.reader_of(upload, user, may_read=may_read)
    own = reader.own(Edits(_rows(body.rows)))
    found = await _checker(request).check_rows(job_id, own.rows)
    if any(row["problems"] for row in found):
        await fixes.note_seen(system.pool, reader)
    data = [
        CheckedEdit(**{**row, "problems": _problems(map(reader.problem, row["problems"]))})
        for row in found
    ]
    return Answer(message=f"{len(data)} rows are checked. Nothing was changed.", data=data)


@router.post("/mend/{job_id}", status_code=202, **audited("fix_rows", 409, 413, 503))
async def send_fixes(
    job_id: UUID,
    request: Request,
    response: Response,
    system: SystemParam,
    user: UserParam,
    body: Annotated[FixRequest, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Answer[Receipt]:
    """Send fixed rows as an upload of their own, with the choices of the one that they fix."""
    if not body.rows and not body.values:
        raise InvalidRequestError("Name rows or values that you have fixed. Nothing was sent.")
    reader = fixes.reader_of(await lookup.get(system, user, job_id), user)
    reader.refuse_undone()
    own = reader.own(Edits(_rows(body.rows), [value.model_dump() for value in body.values]))
    earlier = await fixes.sent_with(system, reader, idempotency_key)
    written = await _checker(request).write_rows(
        job_id, own.rows, own.values, leave=body.leave, earlier=earlier
    )
    upload = await fixes.send(system, reader, written, idempotency_key=idempotency_key)
    answer = await receipt_of(request, response, system, upload)
    message = f"{len(written['rows'])} fixed rows: {answer.message}"
    return Answer(message=message, data=answer.data.model_copy(update={"message": message}))


def _rows(edited: list[EditedRow]) -> list[dict[str, Any]]:
    numbers = [row.row_number for row in edited]
    if len(set(numbers)) < len(numbers):
        raise InvalidRequestError("A row is named twice. Name each row once. Nothing was changed.")
    return [row.model_dump() for row in edited]


def _problems(found: Iterable[dict[str, Any]]) -> list[RowProblem]:
    return [RowProblem(**one, message=sentence(one["code"])) for one in found]


def _checker(request: Request) -> Checker:
    return cast("Checker", request.app.state.checker)
