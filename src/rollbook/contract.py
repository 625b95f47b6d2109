"""The shapes of the answers: what the contract promises, field by field."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Generic, Literal, Self, TypeVar, get_args
from uuid import UUID

from pydantic import BaseModel, Field

from rollbook.accounts import audit
from rollbook.backends.database import Row
from rollbook.masking import mask_of, masked
from rollbook.model import OUTCOMES, RESULTS, Existing, Outcome, Result, Role, Status, User, Verify
from rollbook.pipeline.reading import How
from rollbook.uploads.forecast import Reason
from rollbook.uploads.lookup import rows_per_second, rows_removed_at
from rollbook.uploads.undo import Undone
from rollbook.uploads.waits import Waits
from rollbook.voter_roll.outlook import BudgetState, Outlook, RollState

T = TypeVar("T")


class Answer(BaseModel, Generic[T]):
    """The envelope of every success."""

    success: Literal[True] = True
    message: str
    data: T


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    page: int
    page_size: int
    total: int


class FieldProblem(BaseModel):
    """A field that doesn't fit."""

    field: str
    message: str


class Problem(BaseModel):
    """Every failure (RFC 9457); some kinds have members of their own beside these."""

    success: Literal[False] = False
    message: str
    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldProblem] | None = Field(None, description="The fields that don't fit.")


class Who(BaseModel):
    """An account, as its owner sees it."""

    id: UUID
    email: str
    name: str
    role: Role
    province: str | None
    municipality: str | None
    time_zone: str = Field(description="In which the page and mails give times, by its IANA name.")
    language: str | None = Field(
        default=None,
        description="The language that you have chosen: en, af, zu or xh; null: the one that a "
        "request's header Accept-Language prefers.",
    )
    lacks_second_factor: bool = Field(
        default=False,
        description="The role needs a second factor and the account has none: until it is set up, "
        "other calls are refused.",
    )

    @classmethod
    def of(cls, user: User, time_zone: str, *, lacks_second_factor: bool = False) -> Who:
        """The account of a user, and the setting of that name."""
        return cls(
            id=user.id,
            email=user.email,
            name=user.name,
            role=user.role,
            province=user.scope.province,
            municipality=user.scope.municipality,
            time_zone=time_zone,
            language=user.language,
            lacks_second_factor=lacks_second_factor,
        )


class SignedIn(BaseModel):
    """The answer to a good sign-in."""

    token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the scheme's name, not a secret
    expires_in: int = Field(description="Seconds until the token ends.")
    user: Who


class Receipt(BaseModel):
    """The answer to an upload that was taken in."""

    job_id: UUID
    status: Status
    file_name: str
    message: str
    queue_position: int = Field(description="1 is next; 0 when the job is running or has ended.")
    is_queued: bool = Field(
        description="False: the queue doesn't answer, and the file will be queued when it does."
    )


class UploadVerification(BaseModel):
    """What the voter roll says of an upload's rows, by result."""

    state: Literal["off", "pending", "verified"] = Field(
        description="off: nobody is asked about. verified: all answers are in, the report has them."
    )
    mode: Verify
    results: dict[Result, int] = Field(description="They add up to the rows that were merged.")
    seconds_left: float | None = Field(
        None, description="Until every row has been verified; null when that can't be estimated."
    )
    verified_at: dt.datetime | None

    @classmethod
    def of(cls, upload: Row, seconds_left: float | None = None) -> UploadVerification:
        """The verification of a row of the table ``uploads``."""
        return cls(
            state=upload["verification"],
            mode=upload["verify"],
            results={result: upload[f"roll_{result}"] for result in RESULTS},
            seconds_left=seconds_left,
            verified_at=upload["verified_at"],
        )


class SheetNotRead(BaseModel):
    """A sheet of the workbook that was not read."""

    name: str
    rows: int | None = Field(description="Null where the workbook does not say.")
    is_hidden: bool
    holds_members: bool


class ColumnUsed(BaseModel):
    """The field that a column of the file was read as."""

    field: str = Field(description="As in the columns' reference.")
    how: How = Field(
        description="given: by the sender. remembered: from an earlier upload of the office. "
        "known: by its header. tiers: by two header rows."
    )


class Note(BaseModel):
    """A warning about the file rather than about one cell."""

    code: str
    message: str
    rows: int | None = Field(description="Rows that it concerns; null where that is unknown.")


class FileReading(BaseModel):
    """What was found about the file as a whole, and how many rows are doubtful."""

    rows_with_warnings: int | None = Field(
        description="Rows with one warning or more, refused ones too; null before the end."
    )
    rows_needing_attention: int | None = Field(
        description="Rows that were refused or have a warning; null before the end."
    )
    warnings: dict[str, int] = Field(description="Rows by the warning's code.")
    emptied: dict[str, int] = Field(
        description="Members whose value was removed on purpose (empty_text), by field."
    )
    renewals: dict[str, int] | None = Field(
        description="Members of the file who are new, renewed, early or expired; null: no dates."
    )
    notes: list[Note]
    encoding: str | None = Field(description="Of a text file.")
    delimiter: str | None = Field(description="Of a text file.")
    header_row: int | None
    sheets_not_read: list[SheetNotRead]
    columns_used: dict[str, ColumnUsed] = Field(description="By header.")
    columns_not_read: list[str] = Field(
        description="Headers of columns that hold data and were not read as any field."
    )
    hidden_rows: int = Field(description="Hidden in the spreadsheet program; they were read.")
    hidden_columns: list[str]

    @classmethod
    def facts(cls, upload: Row) -> dict[str, Any]:
        """These members, from a row of the table ``uploads``."""
        found = upload["reading"] or {}
        warnings = sorted((upload["warnings"] or {}).items(), key=lambda one: (-one[1], one[0]))
        lists = ("notes", "sheets_not_read", "columns_not_read", "hidden_columns")
        return {
            "rows_with_warnings": upload["rows_with_warnings"],
            "rows_needing_attention": upload["rows_needing_attention"],
            "warnings": dict(warnings),
            "emptied": upload["emptied"] or {},
            "renewals": upload["renewals"],
            **{name: found.get(name) for name in ("encoding", "delimiter", "header_row")},
            **{name: found.get(name, []) for name in lists},
            "columns_used": {
                column["header"]: {"field": column["field"], "how": column["how"]}
                for column in found.get("columns_used", [])
            },
            "hidden_rows": found.get("hidden_rows", 0),
        }


class UploadStatus(FileReading, Waits):
    """Everything about one upload but its rows."""

    job_id: UUID
    file_name: str
    file_bytes: int
    owner: str
    province: str | None
    municipality: str | None
    status: Status
    stage: str | None
    progress: int = Field(description="0 to 100.")
    rows_done: int
    rows_total: int | None
    rows_per_second: float | None = Field(description="Since the attempt began, or in all.")
    outcomes: dict[Outcome, int]
    stage_seconds: dict[str, float]
    attempts: int = Field(description="Since it was sent, or retried by hand.")
    attempt: int = Field(description="Number of the latest attempt; it never starts again at 1.")
    dry_run: bool
    existing: Existing
    kind: Literal["members", "removal"]
    new_status: str | None = Field(description="Of a removal: the members' new status.")
    reason: str | None = Field(description="Of a removal: why.")
    all_or_nothing: bool
    sheet: str | None
    columns: dict[str, str | None] | None
    empty_text: str | None = Field(description="The text of a cell that empties its field.")
    verification: UploadVerification
    priority: int
    queue_position: int | None = None
    estimated_start_at: dt.datetime | None = Field(
        None, description="Of an upload that waits; null where it can't be estimated."
    )
    estimated_wait_seconds: float | None = None
    estimate_unknown: Reason | None = Field(None, description="Why a waiting upload has none.")
    queue_state: str | None = Field(None, description="BullMQ's word, where the queue was asked.")
    error_code: str | None
    error: str | None
    mends: UUID | None = Field(description="The upload whose rows this one fixes.")
    fixed: int | None = Field(
        None, description="Rows that follow-ups have taken in; null in lists."
    )
    refused_fixed: int | None = Field(
        None, description="Those of them that were refused; null in lists."
    )
    fixable_rows: int = Field(
        description="Refused and doubtful rows whose cells are stored, to be fixed."
    )
    undone_at: dt.datetime | None
    undone_by: str | None = Field(description="The address of the operator who undid it.")
    report_available: bool
    failed_rows_available: bool
    rows_removed_at: dt.datetime | None = Field(
        description="When retention removed the outcomes of its rows; null while they are kept."
    )
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None

    @classmethod
    def of(cls, upload: Row, *, seconds_left: float | None = None, **more: Any) -> UploadStatus:
        """The status of a row of the table ``uploads`` with its owner's address."""
        same = {name: upload[name] for name in cls.model_fields if name in upload}
        same["verification"] = UploadVerification.of(upload, seconds_left)
        same["rows_removed_at"] = rows_removed_at(upload)
        # What a header or a sheet is called is a user's text too.
        same["sheet"] = upload["sheet"] and masked(upload["sheet"])
        same["empty_text"] = upload["empty_text"] and masked(upload["empty_text"])
        if upload["columns"] is not None:
            same["columns"] = {masked(name): field for name, field in upload["columns"].items()}
        return cls(
            **same | cls.facts(upload),
            job_id=upload["id"],
            owner=upload["owner_email"],
            rows_per_second=rows_per_second(upload),
            outcomes={name: upload[name] for name in OUTCOMES},
            attempts=upload["attempt"] - upload["attempts_before"],
            report_available=upload["report_key"] is not None,
            failed_rows_available=upload["refused_key"] is not None,
            fixable_rows=(upload["grid"] or {}).get("rows", 0)
            if upload["status"] == "completed"
            else 0,
            **more,
        )


class RowProblem(BaseModel):
    """One thing that is wrong or doubtful in a row."""

    column: str | None
    value: str | None = Field(
        description="The cell's text, in which ID numbers are masked: the downloads have all of it."
    )
    code: str
    severity: Literal["error", "warning"]
    message: str
    kept: str | None = Field(
        None, description="What a doubtful cell was read as; null where the cell was left out."
    )

    @classmethod
    def of(cls, problem: Mapping[str, Any], message: str) -> RowProblem:
        """The answer to an entry of a row's ``problems``."""
        column, value, kept = problem["column"], problem["value"], problem.get("kept")
        hide = mask_of(problem["code"])
        shown = {
            "column": column and masked(column),
            "value": value and hide(value),
            "kept": kept and hide(kept),
        }
        return cls(**{**problem, **shown}, message=message)


class ProblemCount(BaseModel):
    """In how many rows of an upload a problem is."""

    code: str
    severity: Literal["error", "warning"]
    message: str
    rows: int


class RowVerification(BaseModel):
    """What the voter roll says of the person of a row."""

    result: Result
    ward: str | None
    voting_district: str | None = Field(
        description="8 digits; 22222222 registered without a district, 99999999 not registered, "
        "11111111 deceased, 33333333 international."
    )
    voting_station: str | None
    asked_at: dt.datetime | None


class RowOutcome(BaseModel):
    """What became of one row of the file."""

    row_number: int = Field(description="As the spreadsheet program shows it.")
    outcome: Outcome
    duplicate_of: int | None
    problems: list[RowProblem]
    verification: RowVerification | None = Field(
        None, description="Null for rows that weren't merged, and where verification is off."
    )


class VoterRollStanding(BaseModel):
    """The voter roll's budget, whether the roll answers, and what is still to be asked."""

    state: BudgetState = Field(
        description="off: no account is set. exceeded: nothing may be sent before reset_at."
    )
    limit: int = Field(description="Requests in a window of window_seconds that slides.")
    window_seconds: int
    used: int
    remaining: int
    reset_at: dt.datetime = Field(description="When a request may be sent again.")
    reset_in_seconds: float
    roll: RollState
    roll_down_since: dt.datetime | None
    roll_probe_at: dt.datetime | None = Field(description="When a roll that is down is tried next.")
    roll_error: str | None
    roll_last_answer_at: dt.datetime | None
    pending: int = Field(description="People who are still to be asked about, of all offices.")
    failing: int = Field(description="Those of them about whom asking has failed.")
    pending_seconds: float | None = Field(
        description="Until all of them are verified; null when that can't be estimated."
    )

    @classmethod
    def of(cls, outlook: Outlook) -> VoterRollStanding:
        """The answer that says an outlook."""
        found = asdict(outlook)
        for seconds in ("window", "reset_in", "pending"):
            found[f"{seconds}_seconds"] = found.pop(f"{seconds}_s")
        return cls(**found)


class CanUpload(BaseModel):
    """Whether a file may be sent now, and what the voter roll makes of it."""

    can_upload: bool
    is_verified_at_once: bool = Field(
        description="Whether the rest of the budget covers all pending people and the given rows."
    )
    rows: int
    verified_in_seconds: float | None = Field(
        description="Until these rows would be verified; null when that can't be estimated."
    )
    remaining: int
    reset_at: dt.datetime


class QueueStats(BaseModel):
    """Jobs by state."""

    waiting: int
    active: int
    completed: int
    failed: int
    delayed: int
    paused: int
    total: int
    is_paused: bool
    oldest_waiting_since: dt.datetime | None = Field(
        None, description="When the upload that has waited longest began to; null where none waits."
    )
    workers: int | None = Field(
        None, description="Living workers that take jobs; only `GET /queue/stats` counts them."
    )
    voter_roll: VoterRollStanding | None = Field(
        None, description="What keeps rows pending; null where the voter roll isn't asked."
    )


class WorkerState(BaseModel):
    """A living worker."""

    name: str
    host: str
    pid: int
    slots: int = Field(description="Jobs that it runs at a time.")
    jobs: list[UUID] = Field(description="What the slots in use hold.")
    problems: list[str] = Field(description="What keeps it from taking jobs, as sentences.")
    started_at: dt.datetime
    heartbeat_at: dt.datetime


#: Why undoing an upload leaves a member unchanged.
KeptBecause = Literal["later_upload", "edited", "joined", "creation_undone"]


class Undoing(BaseModel):
    """What undoing an upload did, or would do, by members."""

    job_id: UUID
    dry_run: bool = Field(description="True: nothing was changed.")
    removed: int = Field(description="Created by the upload, and gone.")
    restored: int = Field(
        description="Changed by the upload, and as they were before it; also in the stored records "
        "of members who were removed or joined to others since."
    )
    kept: int = Field(description="Kept as they are, because they were changed since.")
    kept_because: dict[KeptBecause, int] = Field(
        description="later_upload: a later upload changed, removed or holds them. edited: by hand. "
        "joined: another member was joined to them. creation_undone: the upload removed them, and "
        "the one that created them was undone since, while nothing else held them."
    )
    gone: int = Field(description="Created or changed by the upload, and deleted since.")
    undone_at: dt.datetime | None
    undone_by: str | None

    @classmethod
    def of(cls, undone: Undone) -> Undoing:
        """The answer that says what came of it."""
        counts = undone.counts
        return cls(
            job_id=undone.upload["id"],
            dry_run=undone.is_dry_run,
            removed=counts.removed,
            restored=counts.restored,
            kept=counts.kept,
            kept_because={name: getattr(counts, name) for name in get_args(KeptBecause)},
            gone=counts.gone,
            undone_at=undone.upload["undone_at"],
            undone_by=undone.upload["undone_by"],
        )


class FieldChange(BaseModel):
    """A field of a member before and after an upload; null where it was or is empty."""

    before: str | None
    after: str | None


class ChangedMember(BaseModel):
    """A member whom a row changed, or would change."""

    row_number: int = Field(description="As the spreadsheet program shows it.")
    member_id: UUID
    fields: dict[str, FieldChange] = Field(
        description="By the field's name, those that differ. expiry_is_derived: whether the expiry "
        "date follows from the last payment."
    )

    @classmethod
    def of(cls, row: Row) -> ChangedMember:
        """The answer to a row of the table ``upload_rows``."""
        fields = {
            name: FieldChange(before=before and masked(before), after=after and masked(after))
            for name, (before, after) in row["changes"].items()
        }
        return cls(row_number=row["row_number"], member_id=row["member_id"], fields=fields)


class AuditEntry(BaseModel):
    """One act: who, from where, on what, and what came of it."""

    id: int
    at: dt.datetime
    act: audit.Act
    outcome: Literal["done", "refused", "failed"]
    code: str | None = Field(description="Why it was refused or failed.")
    user_id: UUID | None = Field(description="Null for a worker and for somebody unknown.")
    email: str | None = Field(description="The address of the account at that time.")
    role: str | None
    address: str | None = Field(description="The client's; null for what was done on a server.")
    agent: str | None = Field(description="The client's program, or a worker's name.")
    job_id: UUID | None
    member_id: UUID | None = Field(None, description="The member concerned.")
    about: str | None
    kept_until: dt.datetime


class _Totals(BaseModel):
    """What the totals over any uploads have."""

    uploads: int
    completed: int
    failed: int
    cancelled: int
    rows: int
    outcomes: dict[Outcome, int]

    @classmethod
    def of(cls, totals: Row) -> Self:
        """The statistics of a row of totals."""
        return cls(**totals, outcomes={name: totals[name] for name in OUTCOMES})


class Stats(_Totals):
    """Totals over the uploads of a scope."""

    pending: int
    processing: int
    renewals: dict[str, int] = Field(description="As in a status; without dry runs.")
    success_rate: float | None = Field(description="0 to 1; null before anything has ended.")
    mean_seconds: float | None
    median_seconds: float | None


class DayStats(_Totals):
    """Totals over the uploads that were sent on one day, in South Africa."""

    day: dt.date


class StageDuration(BaseModel):
    """How long a stage took in the uploads that completed."""

    stage: str
    uploads: int
    median_seconds: float
    p95_seconds: float


class StatsOverTime(BaseModel):
    """The last days of a scope."""

    days: list[DayStats] = Field(description="Oldest first, up to today; empty days too.")
    stages: list[StageDuration] = Field(description="In the order of the way of a file.")
