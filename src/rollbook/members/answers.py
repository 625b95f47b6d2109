"""The shapes of the answers about members, field by field."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from rollbook import fields
from rollbook.fields.definition import Kind
from rollbook.masking import masked, masked_passport
from rollbook.members.duplicates import Status, Why
from rollbook.members.history import Event, How, Source
from rollbook.members.profile import Profile, version_of
from rollbook.members.report import MOST_VALUES, Report
from rollbook.members.search import Found, Roll

if TYPE_CHECKING:
    from rollbook.backends.database import Row
    from rollbook.fields import OwnField

#: A cell of a file may hold an ID number wherever it likes.
Text = Annotated[str | None, AfterValidator(lambda text: text and masked(text))]


IdentityKind = Annotated[Literal["za_id", "passport"], Field(description="What names the person.")]
IdentityCountry = Annotated[
    str | None, Field(description="The passport's country, by ISO 3166-1's code of three letters.")
]


def _identity(member: Row) -> dict[str, str | None]:
    """What names a member; the key of one by passport is no ID number, and is not shown."""
    kind = member["identity_kind"]
    if kind is None:
        return {"identity_kind": "za_id", "identity_country": None}
    return {
        "identity_kind": kind,
        "identity_country": member["identity_country"],
        "id_number": masked_passport(member["identity_number"]),
    }


class MemberLine(BaseModel):
    """A member in a list."""

    member_id: UUID
    id_number: Annotated[str, AfterValidator(masked)] = Field(
        description="Masked. The passport's number where identity_kind says so."
    )
    identity_kind: IdentityKind
    identity_country: IdentityCountry
    firstname: Text
    surname: Text
    province: Text
    municipality: Text
    ward: Text
    status: Text
    expiry_date: dt.date | None
    roll: Roll = Field(description="What the voter roll says; not_asked: nothing yet.")

    @classmethod
    def of(cls, member: Row) -> Self:
        """The line of a row of the table ``members``."""
        roll = member["roll_status"] or "not_asked"
        return cls.model_validate({**member, **_identity(member), "roll": roll})


class MemberPage(BaseModel):
    """A page of members."""

    items: list[MemberLine]
    page: int
    page_size: int
    total: int = Field(description="How many were found; with has_more, at least that many.")
    next: str | None = Field(
        description="Sent as `after`, it gives the page that follows; null on the last one. Nobody "
        "who wasn't changed is missed or shown twice where members come and go meanwhile, and it "
        "goes on after `total`. Null where a number is searched for."
    )
    has_more: bool = Field(
        description="There are more than are counted and paged through: narrow the search. In any "
        "order but that of names, a list without a search is sorted as a whole, and the result of "
        "a search is sorted among those that were counted."
    )
    uploads_not_indexed: int = Field(
        description="Completed uploads whose members a search doesn't find yet, or finds as they "
        "were before; usually none after a few seconds."
    )
    index_is_filling: bool = Field(
        description="The members of before an upgrade are being indexed, so some aren't found yet."
    )

    @classmethod
    def of(cls, found: Found, *, page: int, page_size: int) -> Self:
        """The answer to a search."""
        return cls(
            items=[MemberLine.of(row) for row in found.rows],
            page=page,
            page_size=page_size,
            total=found.total,
            next=found.following,
            has_more=found.has_more,
            uploads_not_indexed=found.behind.uploads,
            index_is_filling=found.behind.is_filling,
        )


class MemberRoll(BaseModel):
    """What the voter roll says of a member."""

    status: Roll
    ward: Text
    voting_district: str | None = Field(
        description="8 digits; 22222222 registered without a district, 99999999 not registered, "
        "11111111 deceased, 33333333 international."
    )
    asked_at: dt.datetime | None


class MemberFields(BaseModel):
    """The fields of a member, as files bring them."""

    firstname: Text
    surname: Text
    date_of_birth: dt.date | None = Field(description="Null for a member by passport.")
    gender: Text
    citizenship: Text
    race: Text
    language: Text
    cell_number: Text
    landline_number: Text
    email: Text
    residential_address: Text
    occupation: Text
    qualification: Text
    province: Text
    region: Text
    municipality: Text
    ward: Text
    voting_station: Text
    voting_district: Text
    date_joined: dt.date | None
    last_payment: dt.date | None
    expiry_date: dt.date | None
    expiry_is_derived: bool | None = Field(
        description="Whether the expiry date follows from the last payment; null: not recorded."
    )
    subscription: Text
    membership_amount: Decimal | None
    status: Text


class OwnFieldType(BaseModel):
    """A field that the organisation has defined for itself."""

    field: str = Field(description="Its name in mappings, corrections and histories.")
    title: str
    type: Kind
    choices: list[str] = Field(description="The values of a choice; empty where any is taken.")
    is_needed: bool

    @classmethod
    def of(cls, field: OwnField) -> Self:
        """The answer to a field of the fields file."""
        return cls(
            field=field.key,
            title=field.title,
            type=field.kind,
            choices=list(field.rule.choices or ()),
            is_needed=field.rule.needed,
        )


class OwnFieldTypes(BaseModel):
    """The organisation's own fields."""

    items: list[OwnFieldType]

    @classmethod
    def current(cls) -> Self:
        """Those of the fields file, in its order."""
        return cls(items=[OwnFieldType.of(field) for field in fields.current().fields])


class OwnValue(BaseModel):
    """An own field of a member."""

    field: str
    title: str
    value: Text = Field(description="As a text; null where the member has none.")


class Member(BaseModel):
    """What is known of a member."""

    member_id: UUID
    id_number: Annotated[str, AfterValidator(masked)] = Field(
        description="Masked; see POST /members/{member_id}/id-number. The passport's number where "
        "identity_kind says so."
    )
    identity_kind: IdentityKind
    identity_country: IdentityCountry
    version: int = Field(
        description="Give it with a change: it is refused if the member has changed since."
    )
    fields: MemberFields
    own_fields: list[OwnValue] = Field(
        description="The organisation's own fields, in the order of its fields file."
    )
    roll: MemberRoll
    created_at: dt.datetime
    changed_at: dt.datetime

    @classmethod
    def of(cls, member: Row) -> Self:
        """The answer to a row of the table ``members``."""
        shown = cls.model_fields.keys() - {"own_fields"}
        same = {name: member[name] for name in shown if name in member}
        values = MemberFields(**{name: member[name] for name in MemberFields.model_fields})
        stored = member["own_fields"] or {}
        own = [
            OwnValue(field=one.key, title=one.title, value=_text(stored.get(one.name)))
            for one in fields.current().fields
        ]
        roll = MemberRoll(
            status=member["roll_status"] or "not_asked",
            ward=member["roll_ward"],
            voting_district=member["roll_voting_district"],
            asked_at=member["roll_asked_at"],
        )
        same |= _identity(member)
        return cls(**same, version=version_of(member), fields=values, own_fields=own, roll=roll)


class MemberSource(BaseModel):
    """Where a value comes from."""

    how: How = Field(
        description="created: with the member. upload, correction: by one. elsewhere: in the "
        "database itself."
    )
    at: dt.datetime | None
    job_id: UUID | None = Field(description="The upload; null where it is another office's.")
    row_number: int | None = Field(
        description="The row of its file; null where that is not stored, or not any more."
    )
    by: Text = Field(description="Who corrected it; null where it is another office's account.")
    reason: Text = Field(description="Why it was corrected.")
    is_certain: bool = Field(
        description="False: from this upload or an earlier one; what was before is not stored."
    )

    @classmethod
    def of(cls, source: Source) -> Self:
        """The answer to a source."""
        return cls(**asdict(source))


class MemberChange(BaseModel):
    """A field before and after; null where it was or is empty."""

    before: Text
    after: Text


class MemberEvent(BaseModel):
    """Something that changed the member; the first one created it."""

    source: MemberSource
    fields: dict[str, MemberChange]

    @classmethod
    def of(cls, event: Event) -> Self:
        """The answer to an event."""
        fields = {
            name: MemberChange(before=_text(before), after=_text(after))
            for name, (before, after) in event.changes.items()
        }
        return cls(source=MemberSource.of(event.source), fields=fields)


class MemberUpload(BaseModel):
    """An upload that held the member."""

    job_id: UUID
    file_name: Text
    how: Literal["created", "changed", "confirmed"] = Field(
        description="confirmed: the file held the member, and nothing of it was new."
    )
    row_number: int | None
    finished_at: dt.datetime | None
    undone_at: dt.datetime | None


class MemberProfile(Member):
    """Everything that is known of a member, and where from."""

    sources: dict[str, MemberSource] = Field(description="By field, where it has a value.")
    history: list[MemberEvent] = Field(
        description="The latest first. Former values are stored for ROLLBOOK_UNDO_DAYS."
    )
    uploads: list[MemberUpload] = Field(
        description="Your scope's uploads that held the member, the latest first."
    )

    @classmethod
    def of_profile(cls, profile: Profile) -> Self:
        """The answer to a profile."""
        return cls(
            **Member.of(profile.member).model_dump(),
            sources={
                name: MemberSource.of(source) for name, source in profile.history.sources.items()
            },
            history=[MemberEvent.of(event) for event in profile.history.events],
            uploads=[MemberUpload(**upload) for upload in profile.uploads],
        )


def _text(value: object) -> str | None:
    """A value of a JSON document as it is shown."""
    return None if value is None else str(value)


class MembersFile(BaseModel):
    """A file of members that somebody asked for: an export, or one person's file."""

    job_id: UUID
    kind: Literal["export", "access"]
    format: Literal["xlsx", "csv", "json"]
    status: Literal["pending", "completed", "failed", "removed"]
    rows_done: int
    rows_total: int | None = Field(description="Null until it is counted.")
    file_bytes: int | None
    error: str | None
    created_at: dt.datetime
    finished_at: dt.datetime | None
    expires_at: dt.datetime | None = Field(description="When it is removed.")

    @classmethod
    def of(cls, row: Row) -> Self:
        """The answer to a row of the table ``member_files``."""
        return cls(**row, job_id=row["id"])


class ErasureReceipt(BaseModel):
    """The receipt of an erasure; it says nothing of the person."""

    receipt: UUID
    status: Literal["pending", "completed"] = Field(
        description="pending: the record is gone, and a worker looks through what else is stored."
    )
    reason: str
    by: str = Field(description="Who erased the person.")
    counts: dict[str, int] = Field(description="How much was removed or rewritten, by kind.")
    erased_at: dt.datetime
    finished_at: dt.datetime | None
    waits_for: list[UUID] = Field(
        [],
        description="Uploads (job ids) that were being processed when the erasure began, and may "
        "hold the person. It goes on when they have ended.",
    )
    joined: list[UUID] = Field(
        [],
        description="Receipts of the records that were joined to this one and are erased with it; "
        "only in the answer to erasing.",
    )
    remains: list[str] = Field(description="What Rollbook can't reach, as sentences.")

    @classmethod
    def of(cls, row: Row) -> Self:
        """The answer to a row of the table ``erasures``."""
        more = {"receipt": row["id"], "by": row["email"], "erased_at": row["created_at"]}
        return cls(**row, **more, remains=list(_REMAINS))


#: What stays for a while after an erasure.
_REMAINS = (
    "PostgreSQL's write-ahead log and backups hold the person until they are recycled or expire.",
    "Deleted rows stay in PostgreSQL's files until VACUUM FULL, or until their place is reused.",
    "Files in the watched folder's processed/ and failed/ stay until their retention ends.",
    "A file that was sent to be checked and isn't uploaded yet stays until it expires.",
    "Files that somebody has downloaded are out of reach.",
)


class DuplicatePair(BaseModel):
    """Two members who may be one person."""

    pair_id: UUID
    why: Why = Field(
        description="name_and_birth: the same birth date. one_digit: the ID numbers differ in one "
        "digit beside the check digit. phone: the same phone number."
    )
    score: float = Field(description="How alike the names are, 0 to 100.")
    found_at: dt.datetime
    status: Status
    decided_at: dt.datetime | None
    kept: UUID | None = Field(
        description="Of a join: the member_id of the one who was kept; null if that one is gone."
    )
    members: list[MemberLine] = Field(
        description="Of a join: also the one who went, as the record was."
    )

    @classmethod
    def of(cls, pair: Row) -> Self:
        """The answer to a row of the queries ``page`` and ``joined_page`` of duplicates."""
        members = [pair[name] for name in ("one_member", "other_member") if pair[name] is not None]
        return cls(**pair, pair_id=pair["id"], members=list(map(MemberLine.of, members)))


class JoinedMembers(BaseModel):
    """The member who was kept."""

    member_id: UUID
    filled: list[str] = Field(description="The fields that only the other record had.")


class ValueCount(BaseModel):
    """How many members have a value."""

    value: Text = Field(description="Null: they have none.")
    members: int


class MonthCount(BaseModel):
    """How many members joined in a month, and how many renewed."""

    month: dt.date = Field(description="Its first day.")
    joined: int
    renewed: int = Field(description="Whose last payment is in it, after they had joined.")


class PhoneCount(BaseModel):
    """How many members have a cell number."""

    phone: str
    members: int


class MembersReport(BaseModel):
    """How many members a scope has, by what."""

    day: dt.date
    members: int
    by_field: dict[Literal["province", "municipality", "ward", "status"], list[ValueCount]] = Field(
        description="The most frequent values first, up to 100 of each field."
    )
    expiring: dict[
        Literal["expired", "within_30", "within_60", "within_90", "later", "unknown"], int
    ] = Field(description="within_60: in 30 to 59 days. No member is in two of them.")
    by_month: list[MonthCount] = Field(description="The last 12 months, oldest first.")
    shared_phones: list[PhoneCount] = Field(description="The most shared, up to 100.")
    phones_found: int = Field(description="Cell numbers of more than one member.")

    @classmethod
    def of(cls, report: Report) -> Self:
        """The answer to a report."""
        return cls(
            day=report.today,
            members=report.members,
            by_field={
                name: [ValueCount(value=value, members=n) for value, n in counts[:MOST_VALUES]]
                for name, counts in report.by_field.items()
            },
            expiring=report.expiring,
            by_month=[
                MonthCount(month=month, joined=joined, renewed=renewed)
                for month, joined, renewed in report.by_month
            ],
            shared_phones=[
                PhoneCount(phone=phone, members=n)
                for phone, n in report.shared_phones[:MOST_VALUES]
            ],
            phones_found=report.phones_found,
        )


class IdNumber(BaseModel):
    """A whole ID number."""

    id_number: str
