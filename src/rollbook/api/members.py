"""The routes of members: search, one of them, and corrections by hand."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from fastapi import Body, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from rollbook.api import scopes
from rollbook.api.access import (
    OperatorParam,
    SessionParam,
    SystemParam,
    UserParam,
    audited,
    failures,
    routes,
)
from rollbook.api.pages import CountedPage, PageParam, Pages50, PageSizeParam, listed
from rollbook.backends.database import Row
from rollbook.contract import Answer, FieldProblem
from rollbook.members import (
    correct,
    duplicates,
    erase,
    export,
    index,
    profile,
    removal,
    report,
    search,
)
from rollbook.members.answers import (
    DuplicatePair,
    ErasureReceipt,
    IdNumber,
    JoinedMembers,
    MemberPage,
    MemberProfile,
    MembersFile,
    MembersReport,
    OwnFieldTypes,
)
from rollbook.members.search import Filters, Roll, Sort
from rollbook.model import User
from rollbook.service.system import System
from rollbook.uploads.options import NewStatus, Reason

router = routes("/members", "members", 401, 404, 422)

#: Without zero bytes, which PostgreSQL's texts can't hold.
_Text = Annotated[str | None, Field(max_length=200, pattern=r"^[^\x00]*$")]
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_AFTER: Final = (
    "The `next` of an earlier page: what follows it, in the same order. `page` counts from there."
)
#: What is written between the groups of a passport number, and the number itself; see
#: ``pipeline.documents``.
_BETWEEN: Final = re.compile(r"[ _-]+")
_PASSPORT: Final = re.compile(r"(?=.*[0-9])[A-Z0-9]{5,15}")
_TYPES: Final = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
}


def _without_id_number(text: str | None) -> str | None:
    """Refuse an ID number in an address: addresses are logged and stored by browsers."""
    if text is not None and search.holds_id_number(text):
        raise ValueError("an ID number is searched for with POST /members/search")
    return text


def _passport(given: str | None) -> str | None:
    """A passport number as it is stored, which is how files give it."""
    if given is None:
        return None
    number = "".join(_BETWEEN.split(given)).upper()
    if not _PASSPORT.fullmatch(number):
        raise ValueError("a passport number has 5 to 15 letters and digits, one digit at least")
    return number


def _day(given: object) -> object:
    """Refuse numbers, which pydantic takes as seconds since 1970."""
    if given is not None and not (isinstance(given, str) and _DAY.fullmatch(given)):
        raise ValueError("give a day such as 2027-06-30")
    return given


_Passport = Annotated[str | None, Field(max_length=40), AfterValidator(_passport)]


class FiltersAsked(BaseModel):
    """Which members; what is left out is open."""

    search: Annotated[_Text, AfterValidator(_without_id_number)] = Field(
        None,
        description="Words of a name in any order, without regard to accents and capitals (three "
        "letters find what they begin), the beginning of a phone number or of an e-mail address. "
        "All words must fit.",
    )
    province: _Text = Field(None, description="A code or a name.")
    municipality: _Text = None
    ward: _Text = None
    status: _Text = None
    roll: Roll | None = Field(None, description="What the voter roll says.")
    expires_before: Annotated[dt.date | None, BeforeValidator(_day)] = None

    def filters(self) -> Filters:
        """These filters."""
        return Filters(**self.model_dump(include={one.name for one in dataclasses.fields(Filters)}))


class NumbersAsked(FiltersAsked):
    """Filters in a body, which may hold a whole ID number or passport number."""

    id_number: Annotated[str | None, Field(pattern=r"^[0-9]{13}$")] = Field(
        None, description="Whole: 13 digits."
    )
    passport_number: _Passport = Field(
        None,
        description="Whole, of any country; spaces, dashes and small letters are read as in files.",
    )


class SearchRequest(NumbersAsked):
    """A search in a body."""

    sort: Sort = "name"
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Field(ge=1, le=500)] = 50
    after: Annotated[str | None, Field(max_length=2000, description=_AFTER)] = None


class ExportRequest(NumbersAsked):
    """Which members, and as what."""

    format: export.Format = "xlsx"


class RemovalRequest(NumbersAsked):
    """Which members are removed or get another status, and why."""

    new_status: NewStatus | None = Field(
        None, description="The status that they get; without it, they are removed."
    )
    reason: Reason = Field(description="For the record. It must not name a person.")
    dry_run: bool = False
    members: Annotated[int | None, Field(ge=1)] = Field(
        None, description="How many you have seen that fit; without it, they are only counted."
    )

    def filters(self) -> Filters:
        """These filters."""
        return Filters(**self.model_dump(include=set(NumbersAsked.model_fields)))


class SeparateRequest(BaseModel):
    """Why a join is taken back."""

    reason: Annotated[str, Field(min_length=3, max_length=500, pattern=r"^[^\x00]*$")]


class JoinRequest(SeparateRequest):
    """Which of the two stays, and why they are one."""

    keep: UUID = Field(description="The member_id of the one who stays.")


class RemovalCount(BaseModel):
    """How many members fit, and the upload that removes or changes them."""

    members: int
    job_id: UUID | None = Field(description="Null where they were only counted.")


class AccessRequest(BaseModel):
    """As what a person's file is made."""

    format: Literal["xlsx", "json"] = "xlsx"


class ErasureRequest(BaseModel, strict=True):
    """Why a person is erased, and that it is meant."""

    reason: Annotated[str, Field(min_length=3, max_length=500, pattern=r"^[^\x00]*$")]
    confirm: Literal[True] = Field(description="It can't be taken back.")


class ErasureByNumber(ErasureRequest):
    """The same, with whom it is about."""

    id_number: Annotated[str, Field(pattern=r"^[0-9]{13}$")]


class ReadmitRequest(BaseModel):
    """Who may be taken in again: by an ID number, or by a passport."""

    id_number: Annotated[str | None, Field(pattern=r"^[0-9]{13}$")] = None
    passport_number: _Passport = Field(None, description="Whole, with its country.")
    passport_country: Annotated[_Text, Field(min_length=1)] = Field(
        None, description="By its name, or by its code of two or three letters."
    )

    @model_validator(mode="after")
    def _names_one_person(self) -> Self:
        passport = (self.passport_number, self.passport_country)
        if (self.id_number is None) is (None in passport) or (self.id_number and any(passport)):
            raise ValueError("give an ID number, or a passport's number and country")
        return self


class _Change(BaseModel):
    """What every change by hand says."""

    version: int = Field(description="Of the member as you have seen it.")
    reason: Annotated[str, Field(min_length=3, max_length=500, pattern=r"^[^\x00]*$")]


def _list_fields(schema: dict[str, Any]) -> None:
    """Say in the OpenAPI document which fields can be corrected."""
    schema["propertyNames"] = {"enum": list(correct.correctable())}


class CorrectionRequest(_Change):
    """A correction by hand."""

    fields: Annotated[
        dict[str, Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")] | None],
        Field(min_length=1, json_schema_extra=_list_fields),
    ] = Field(
        description="The new text by field, as a cell of a file would have it; null empties it. An "
        "expiry date that is emptied follows from the last payment."
    )


class StatusRequest(_Change):
    """A new status."""

    status: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class CorrectedMember(MemberProfile):
    """A member after a correction."""

    corrected: list[str] = Field(description="The fields that differ now.")
    doubts: list[FieldProblem] = Field(description="What was taken and should be looked at.")


@router.get("")
async def members(
    system: SystemParam,
    user: UserParam,
    asked: Annotated[FiltersAsked, Query()],
    sort: Sort = "name",
    page: PageParam = 1,
    page_size: PageSizeParam = 50,
    after: Annotated[str | None, Query(max_length=2000, description=_AFTER)] = None,
) -> Answer[MemberPage]:
    """List your scope's members, or search among them; ID numbers are masked."""
    found = await search.find(
        system, user, asked.filters(), sort=sort, page=page, page_size=page_size, after=after
    )
    return _listed(found, page, page_size)


@router.post("/search")
async def find(system: SystemParam, user: UserParam, body: SearchRequest) -> Answer[MemberPage]:
    """Search as with `GET /members`, and by a whole ID or passport number, not for addresses."""
    wanted = body.model_dump(include={"sort", "page", "page_size", "after"})
    found = await search.find(system, user, body.filters(), **wanted)
    return _listed(found, body.page, body.page_size)


@router.post("/export", status_code=202, **audited("export_members", 429))
async def export_members(
    system: SystemParam, user: UserParam, response: Response, body: ExportRequest
) -> Answer[MembersFile]:
    """Ask for your scope's members, or those that fit filters, as a file to edit and send back."""
    asked = await export.ask(system, user, body.filters(), file_format=body.format)
    behind = await index.behind(system.pool) if body.search or body.ward else None
    said = "The file is being made."
    if behind is not None and (behind.uploads or behind.is_filling):
        said += " Members of the latest uploads aren't indexed yet and may be missing."
    return _file(response, asked, said)


@router.post("/removal", **audited("upload", 409, 429, 503))
async def remove_members(
    system: SystemParam,
    session: SessionParam,
    request: Request,
    response: Response,
    body: RemovalRequest,
) -> Answer[RemovalCount]:
    """Count the members that fit filters; with their number, remove them or set their status.

    It is an upload of kind `removal`: dry run, report, undo and audit are the upload's.
    """
    user = session.user
    if body.members is None:
        members = len(await removal.found(system, user, body.filters()))
        removal.check_number(system, members)
        said = f"{members:,} members fit. Nothing is changed until you confirm that number."
        return Answer(message=said, data=RemovalCount(members=members, job_id=None))
    scopes.check_removal(session)
    upload = await removal.send(
        system,
        user,
        body.filters(),
        expected=body.members,
        dry_run=body.dry_run,
        new_status=body.new_status,
        reason=body.reason,
    )
    response.status_code = 202
    response.headers["Location"] = str(request.url_for("status", job_id=str(upload["id"])))
    return Answer(
        message=f"The list of {body.members:,} members is queued as job {upload['id']}.",
        data=RemovalCount(members=body.members, job_id=upload["id"]),
    )


class DuplicatePage(CountedPage[DuplicatePair]):
    """A page of possible duplicates."""

    is_behind: bool = Field(description="Members of a merge are still to be looked at.")


_SAID_OF_PAIRS: Final[dict[duplicates.Status, str]] = {
    "open": "{:,} pairs of members may be one person.",
    "joined": "{:,} joins can be taken back.",
    "different": "{:,} pairs of members are different people.",
}


@router.get("/duplicates")
async def possible_duplicates(
    system: SystemParam,
    user: UserParam,
    paging: Pages50,
    status: Annotated[
        duplicates.Status,
        Query(description="open: not decided yet. joined: those that can be taken back."),
    ] = "open",
    why: duplicates.Why | None = None,
) -> Answer[DuplicatePage]:
    """List members of your scope who may be one person, the likeliest first, or decided pairs."""
    found = await duplicates.page(system, user, paging, status=status, why=why)
    items = [DuplicatePair.of(row) for row in found.rows]
    is_behind = await duplicates.is_behind(system)
    about = "" if found.is_exact else "About "
    said = about + _SAID_OF_PAIRS[status].format(found.total)
    return listed(DuplicatePage, items, found, paging, said, is_behind=is_behind)


@router.post("/duplicates/{pair_id}/different", **audited("members_differ", 503))
async def members_differ(pair_id: UUID, system: SystemParam, user: UserParam) -> Answer[None]:
    """Remember that two members are different people; the pair isn't listed again."""
    await duplicates.are_different(system, user, pair_id)
    return Answer(message="They are different people. The pair isn't listed again.", data=None)


@router.post("/duplicates/{pair_id}/join", **audited("join_members", 503))
async def join_members(
    pair_id: UUID, system: SystemParam, user: UserParam, body: JoinRequest
) -> Answer[JoinedMembers]:
    """Join two members: one stays and gets what only the other has, whose record goes."""
    filled = await duplicates.join(system, user, pair_id, keep=body.keep, reason=body.reason)
    return Answer(
        message="The two are one member now. It can be taken back.",
        data=JoinedMembers(member_id=body.keep, filled=list(filled)),
    )


@router.post("/duplicates/{pair_id}/separate", **audited("separate_members", 409, 503))
async def separate_members(
    pair_id: UUID, system: SystemParam, user: UserParam, body: SeparateRequest
) -> Answer[None]:
    """Take a join back: the record that went comes back, and filled fields are emptied.

    It doesn't come back where the upload that created it was undone since and nothing else held it.
    """
    is_back = await duplicates.separate(system, user, pair_id, reason=body.reason)
    message = (
        "They are two members again."
        if is_back
        else "The join is taken back. The record that went isn't brought back: the upload that "
        "created it was undone since, and nothing else held the person."
    )
    return Answer(message=message, data=None)


@router.get("/report")
async def members_report(system: SystemParam, user: UserParam) -> Answer[MembersReport]:
    """Count your scope's members by place, status, expiry and month, and shared phone numbers."""
    found = MembersReport.of(await report.read(system, user))
    return Answer(message=f"{found.members:,} members.", data=found)


@router.get("/report/content", response_class=Response, **audited("download_members_report"))
async def members_report_content(system: SystemParam, user: UserParam) -> Response:
    """Download the same as a workbook, with all values."""
    headers = {"Content-Disposition": 'attachment; filename="members-report.xlsx"'}
    content = await report.workbook(system, user)
    return Response(content, media_type=_TYPES["xlsx"], headers=headers)


@router.get("/fields")
async def own_fields(user: UserParam) -> Answer[OwnFieldTypes]:
    """List the organisation's own fields (`ROLLBOOK_FIELDS_FILE`)."""
    del user
    found = OwnFieldTypes.current()
    return Answer(message=f"{len(found.items)} own fields.", data=found)


@router.get("/files/{file_id}")
async def members_file(file_id: UUID, system: SystemParam, user: UserParam) -> Answer[MembersFile]:
    """Say how far a file that you have asked for is."""
    found = MembersFile.of(await export.get(system, user, file_id))
    return Answer(message=f"The file is {found.status}.", data=found)


@router.get("/files/{file_id}/content", response_class=Response, **audited("download_export", 409))
async def content(file_id: UUID, system: SystemParam, user: UserParam) -> StreamingResponse:
    """Download a file that you have asked for; it holds whole ID numbers, and that is recorded."""
    row, size, chunks = await export.download(system, user, file_id)
    name = "members" if row["kind"] == "export" else "person"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}-{file_id}.{row["format"]}"',
        "Content-Length": str(size),
    }
    return StreamingResponse(chunks, media_type=_TYPES[row["format"]], headers=headers)


@router.get("/erasures/{receipt_id}", responses=failures(403))
async def erasure(
    receipt_id: UUID, system: SystemParam, user: OperatorParam
) -> Answer[ErasureReceipt]:
    """Show the receipt of an erasure."""
    del user
    found = ErasureReceipt.of(await erase.get(system, receipt_id))
    message = f"The erasure is {found.status}."
    if found.waits_for:
        message += (
            f" It waits for {len(found.waits_for)} upload(s) that were being processed when it "
            "began (waits_for). If the queue is paused, an upload whose worker has died doesn't "
            "go on: resume the queue, or cancel the upload."
        )
    return Answer(message=message, data=found)


@router.post("/readmit", **audited("readmit_person", 403, 409))
async def readmit(system: SystemParam, user: OperatorParam, body: ReadmitRequest) -> Answer[None]:
    """Let an erased person be taken in again, because the person has joined again."""
    number = body.id_number or body.passport_number
    assert number is not None  # the body has one of them
    await erase.readmit(system, user, number, body.passport_country)
    return Answer(
        message="Files may hold this person again. Send the file with the person's row.", data=None
    )


# Only ids: PATCH /members/search is then no correction of a member "search".
@router.get("/{member_id:uuid}")
async def member(member_id: UUID, system: SystemParam, user: UserParam) -> Answer[MemberProfile]:
    """Show a member: all fields and where each comes from, the history, and the uploads."""
    found = await profile.profile(system, user, member_id)
    return Answer(message="The member.", data=MemberProfile.of_profile(found))


@router.patch("/{member_id:uuid}", **audited("correct_member", 409))
async def correct_member(
    member_id: UUID, system: SystemParam, user: UserParam, body: CorrectionRequest
) -> Answer[CorrectedMember]:
    """Correct fields of a member by hand; each is checked as a cell of a file is."""
    done = await correct.correct(
        system, user, member_id, version=body.version, reason=body.reason, given=body.fields
    )
    return await _corrected(system, user, done)


@router.post("/{member_id}/status", **audited("member_status", 409))
async def status(
    member_id: UUID, system: SystemParam, user: UserParam, body: StatusRequest
) -> Answer[CorrectedMember]:
    """Set a member's status."""
    given = {"status": body.status}
    done = await correct.correct(
        system, user, member_id, version=body.version, reason=body.reason, given=given,
        act="member_status",
    )  # fmt: skip
    return await _corrected(system, user, done)


@router.post("/{member_id}/access", status_code=202, **audited("access_member", 429))
async def access(
    member_id: UUID,
    system: SystemParam,
    user: UserParam,
    response: Response,
    body: Annotated[AccessRequest | None, Body()] = None,
) -> Answer[MembersFile]:
    """Ask for everything that is held about a person, as a workbook or as JSON."""
    wanted = (body or AccessRequest()).format
    asked = await export.ask_for_person(system, user, member_id, file_format=wanted)
    return _file(response, asked, "The person's file is being made.")


@router.post("/erase", status_code=202, **audited("erase_member", 403, 404))
async def erase_by_number(
    system: SystemParam, user: OperatorParam, body: ErasureByNumber
) -> Answer[ErasureReceipt]:
    """Erase a person by the ID number, also one who was removed or joined and is no member."""
    receipt = await erase.erase(system, user, body.id_number, reason=body.reason)
    return _being_erased(receipt)


@router.post("/{member_id}/erase", status_code=202, **audited("erase_member", 403))
async def erase_member(
    member_id: UUID, system: SystemParam, user: OperatorParam, body: ErasureRequest
) -> Answer[ErasureReceipt]:
    """Erase a person from everything that is held, for good; only a keyed hash stays."""
    return _being_erased(await erase.erase(system, user, member_id, reason=body.reason))


def _being_erased(receipt: Row) -> Answer[ErasureReceipt]:
    return Answer(
        message="The record is erased. What else is stored is being looked through; the receipt "
        "says when that is done.",
        data=ErasureReceipt.of(receipt),
    )


@router.post("/{member_id}/id-number", **audited("open_id_number"))
async def id_number(member_id: UUID, system: SystemParam, user: UserParam) -> Answer[IdNumber]:
    """Open a member's whole ID number; who did is in the audit trail."""
    found = await profile.open_id_number(system, user, member_id)
    return Answer(
        message="The whole ID number. That you opened it is recorded.",
        data=IdNumber(id_number=found),
    )


def _file(response: Response, asked: Row, said: str) -> Answer[MembersFile]:
    """The answer to a request for a file, and where to ask for it."""
    response.headers["Location"] = f"/api/v1/members/files/{asked['id']}"
    return Answer(message=said, data=MembersFile.of(asked))


async def _corrected(
    system: System, user: User, done: correct.Correction
) -> Answer[CorrectedMember]:
    found = MemberProfile.of_profile(await profile.profile(system, user, done.member["member_id"]))
    doubts = [FieldProblem(field=name, message=said) for name, said in done.doubts]
    message = "Nothing differs, so nothing was changed."
    if done.changed:
        message = f"Corrected: {', '.join(done.changed)}."
    if doubts:
        message += " Please look at what is doubtful."
    data = CorrectedMember(**found.model_dump(), corrected=done.changed, doubts=doubts)
    return Answer(message=message, data=data)


def _listed(found: search.Found, page: int, page_size: int) -> Answer[MemberPage]:
    data = MemberPage.of(found, page=page, page_size=page_size)
    return Answer(message=_in_words(data), data=data)


def _in_words(found: MemberPage) -> str:
    said = f"{'More than ' if found.has_more else ''}{found.total:,} members."
    if found.index_is_filling:
        said += " Members of before the upgrade are still being indexed, so some may be missing."
    elif found.uploads_not_indexed:
        said += (
            f" The index is {found.uploads_not_indexed} uploads behind: their members may be "
            "missing for a moment."
        )
    return said
