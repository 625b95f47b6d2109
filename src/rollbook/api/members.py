"""The routes of members: search, and one of them."""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query
from pydantic import AfterValidator, BaseModel, Field

from rollbook.api.access import SystemParam, UserParam, audited, routes
from rollbook.contract import Answer
from rollbook.members import profile, search
from rollbook.members.answers import IdNumber, Member, MemberPage
from rollbook.members.search import Filters, Roll, Sort
from rollbook.model import User
from rollbook.service.system import System

router = routes("/members", "members", 401, 404, 422)

#: Without zero bytes, which PostgreSQL's texts can't hold.
_Text = Annotated[str | None, Field(max_length=200, pattern=r"^[^\x00]*$")]
PageParam = Annotated[int, Query(ge=1, le=1_000_000)]
PageSizeParam = Annotated[int, Query(ge=1, le=500)]


def _without_id_number(text: str | None) -> str | None:
    """Refuse an ID number in an address: addresses are logged and stored by browsers."""
    if text is not None and search.holds_id_number(text):
        raise ValueError("an ID number is searched for with POST /members/search")
    return text


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
    expires_before: dt.date | None = None

    def filters(self) -> Filters:
        """These filters."""
        return Filters(**self.model_dump(include=set(FiltersAsked.model_fields)))


class SearchRequest(FiltersAsked):
    """A search in a body, which may hold a whole ID number."""

    id_number: Annotated[str | None, Field(pattern=r"^[0-9]{13}$")] = Field(
        None, description="Whole: 13 digits."
    )
    sort: Sort = "name"
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Field(ge=1, le=500)] = 50

    def filters(self) -> Filters:
        """These filters."""
        found = self.model_dump(include={*FiltersAsked.model_fields, "id_number"})
        return Filters(**found)


@router.get("")
async def members(
    system: SystemParam,
    user: UserParam,
    asked: Annotated[FiltersAsked, Query()],
    sort: Sort = "name",
    page: PageParam = 1,
    page_size: PageSizeParam = 50,
) -> Answer[MemberPage]:
    """List your scope's members, or search among them; ID numbers are masked."""
    return await _page(system, user, asked.filters(), sort, page, page_size)


@router.post("/search")
async def find(system: SystemParam, user: UserParam, body: SearchRequest) -> Answer[MemberPage]:
    """Search as with `GET /members`, and by a whole ID number, which belongs in no address."""
    return await _page(system, user, body.filters(), body.sort, body.page, body.page_size)


@router.get("/{member_id}")
async def member(member_id: UUID, system: SystemParam, user: UserParam) -> Answer[Member]:
    """Everything that is known of a member; the ID number is masked."""
    found = await profile.get(system.pool, user, member_id)
    return Answer(message="The member.", data=Member.of(found))


@router.post("/{member_id}/id-number", dependencies=[Depends(audited("open_id_number"))])
async def id_number(member_id: UUID, system: SystemParam, user: UserParam) -> Answer[IdNumber]:
    """Open a member's whole ID number; who did is in the audit trail."""
    found = await profile.open_id_number(system, user, member_id)
    return Answer(
        message="The whole ID number. That you opened it is recorded.",
        data=IdNumber(id_number=found),
    )


async def _page(
    system: System, user: User, filters: Filters, sort: Sort, page: int, page_size: int
) -> Answer[MemberPage]:
    found = await search.find(system, user, filters, sort=sort, page=page, page_size=page_size)
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
