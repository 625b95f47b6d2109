"""The routes of people's accounts and of offices; only people use them, never a key."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Body, Query
from pydantic import BaseModel, BeforeValidator, Field

from rollbook.accounts import offices, people
from rollbook.accounts.links import Kind, Link
from rollbook.accounts.offices import SHOWN
from rollbook.accounts.people import State
from rollbook.api.access import SystemParam, UserParam, audited, routes
from rollbook.api.pages import Pages50, listed
from rollbook.backends.database import Listed, Row
from rollbook.contract import Answer, Page
from rollbook.model import Role, Scope, User
from rollbook.notifications import invitation
from rollbook.service.system import System

router = routes("/users", "accounts", 401, 403)
of_offices = routes("/offices", "accounts", 401)

#: PostgreSQL can't store a NUL.
Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
#: JSON has one kind of number: 3.0 is a whole one.
_Version = Annotated[
    int, BeforeValidator(lambda n: int(n) if isinstance(n, float) and n.is_integer() else n)
]
_Role = Annotated[Role | None, Field(strict=False)]


class NewAccount(BaseModel, strict=True):
    """Whose account it is, and what it may do."""

    email: Annotated[str, Field(max_length=320, pattern=r"^[^\x00]*$")]
    role: Annotated[Role, Field(strict=False)] = Field(
        description="At most your own; a province's administrator adds `municipality_admin`."
    )
    province: Text | None = Field(None, description="A code or a name; default: yours.")
    municipality: Text | None = Field(None, description="A name of the register; default: yours.")
    name: Text = Field("", description="The person's name.")
    by_mail: bool | None = Field(
        None, description="Mail the link to the person; default: where mail is configured."
    )


class NewLink(BaseModel, strict=True):
    """How a new link reaches its person."""

    by_mail: bool = Field(default=False, description="Mail the link to the account's address.")


class AccountChange(BaseModel, strict=True):
    """A change of an account; fields that are left out stay as they are."""

    version: _Version = Field(ge=1, le=2**31 - 1, description="Of the account as you read it.")
    role: _Role = Field(None, description="At most your own.")
    province: Text | None = Field(None, description="A code or a name.")
    municipality: Text | None = Field(None, description="A name of the register.")
    is_open: Literal[True] | None = Field(None, description="Open a closed account again.")


class Account(BaseModel):
    """A person's account."""

    user_id: UUID
    email: str
    name: str
    role: Role
    province: str | None
    municipality: str | None
    state: State = Field(description="invited: nobody has opened the invitation's link yet.")
    version: int = Field(description="Counts the changes of the account.")
    created_at: dt.datetime
    closed_at: dt.datetime | None
    link_kind: Kind | None = Field(description="Of the link that is out.")
    link_expires_at: dt.datetime | None
    has_second_factor: bool = Field(description="Signing in takes a code besides the password.")
    is_of_provider: bool = Field(description="Its role comes from the sign-in provider.")
    may_change: bool = Field(description="Whether you manage it.")


class OneTimeLink(BaseModel):
    """A link by which the person chooses a password."""

    address: str = Field(
        description="Shown this once. Without ROLLBOOK_PUBLIC_URL it begins at the server's root."
    )
    kind: Kind
    expires_at: dt.datetime
    is_mailed: bool = Field(description="The mail server has accepted it for the person.")
    mail_error: str | None = Field(description="Why it was not mailed; null: nobody asked for it.")

    @classmethod
    def of(cls, link: Link, *, by_mail: bool, error: str | None) -> OneTimeLink:
        """The link, with what became of its mail."""
        is_mailed = by_mail and error is None
        return cls(**asdict(link), is_mailed=is_mailed, mail_error=error)


class InvitedAccount(Account):
    """An account with the link that was just made."""

    invitation: OneTimeLink


async def _with_link(
    system: System, by: User, row: Row, link: Link, *, by_mail: bool
) -> InvitedAccount:
    """The account with its link, which is mailed where that is wanted."""
    error = await invitation.send(system, by, row["email"], link) if by_mail else None
    shown = OneTimeLink.of(link, by_mail=by_mail, error=error)
    return InvitedAccount.model_validate({**row, "invitation": shown})


def _said(made: InvitedAccount) -> str:
    if made.invitation.is_mailed:
        return f"The link was mailed to {made.email}. Here it is shown this once."
    return "Send the link to its person: it is shown this once."


class OfficePerson(BaseModel):
    """Who has an account at an office."""

    user_id: UUID
    email: str
    name: str
    role: Role
    state: State


class OfficeOf(BaseModel):
    """A place of the register, or one where accounts are."""

    code: str | None = Field(description="The register's; null: the national office, or unknown.")
    name: str
    province: str | None
    municipality: str | None
    is_known: bool = Field(description="Whether the place is in the register.")
    accounts: int = Field(description="Open accounts.")
    people: list[OfficePerson] = Field(description=f"The first {SHOWN} of them.")


@router.get("")
async def list_users(
    system: SystemParam,
    user: UserParam,
    paging: Pages50,
    search: Annotated[Text | None, Query(description="A part of the address or name.")] = None,
    role: Annotated[Role | None, Query(description="Only this role.")] = None,
    state: Annotated[State | None, Query(description="Only accounts in this state.")] = None,
    province: Annotated[Text | None, Query(description="A code or a name.")] = None,
    municipality: Annotated[Text | None, Query(description="A name of the register.")] = None,
) -> Answer[Page[Account]]:
    """List the accounts of people in your scope, open ones first."""
    found = await people.listed(
        system.pool,
        user,
        search=search,
        role=role,
        state=state,
        place=Scope(province or None, municipality or None),
        paging=paging,
    )
    return listed(Page[Account], found.rows, found, paging, "{} accounts.")


@router.post("", status_code=201, **audited("user_add", 409))
async def add_user(
    body: NewAccount, system: SystemParam, user: UserParam
) -> Answer[InvitedAccount]:
    """Add an account; the answer shows once the link by which the person chooses a password."""
    row, link = await people.invite(
        system.pool,
        system.settings,
        user,
        email=body.email.strip(),
        role=body.role,
        place=Scope(body.province or None, body.municipality or None),
        name=body.name.strip(),
    )
    by_mail = invitation.is_possible(system.settings) if body.by_mail is None else body.by_mail
    made = await _with_link(system, user, row, link, by_mail=by_mail)
    return Answer(message=f"The account is added. {_said(made)}", data=made)


@router.patch("/{user_id:uuid}", **audited("user_role", 404, 409))
async def change_user(
    user_id: UUID, body: AccountChange, system: SystemParam, user: UserParam
) -> Answer[Account]:
    """Set another role or place, which signs the person out, or open a closed account."""
    row = await people.change(
        system.pool,
        user,
        user_id,
        version=body.version,
        role=body.role,
        place=Scope(body.province or None, body.municipality or None),
        is_open=body.is_open is True,
    )
    return Answer(message="The account is changed.", data=Account.model_validate(row))


@router.delete("/{user_id:uuid}", **audited("user_disable", 404, 409))
async def close_user(
    user_id: UUID,
    system: SystemParam,
    user: UserParam,
    version: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="Of the account as you read it.")
    ] = None,
) -> Answer[Account]:
    """Close an account: its sessions and keys are refused at once; its uploads stay."""
    row = await people.close(system.pool, user, user_id, version=version)
    return Answer(message="The account is closed.", data=Account.model_validate(row))


@router.post("/{user_id}/reset", **audited("user_reset", 404, 409))
async def reset_user(
    user_id: UUID,
    system: SystemParam,
    user: UserParam,
    body: Annotated[NewLink | None, Body()] = None,
) -> Answer[InvitedAccount]:
    """Make a new one-time link; until it is used, the present password stays good."""
    row, link = await people.reset(system.pool, system.settings, user, user_id)
    made = await _with_link(system, user, row, link, by_mail=body is not None and body.by_mail)
    return Answer(message=f"A former link has ended. {_said(made)}", data=made)


@router.delete("/{user_id}/second-factor", **audited("second_factor_reset", 404, 409))
async def reset_second_factor(
    user_id: UUID, system: SystemParam, user: UserParam
) -> Answer[Account]:
    """Remove the second factor of a person who has lost it; the password stays."""
    row = await people.reset_second_factor(system.pool, user, user_id)
    return Answer(
        message="The second factor is removed. The person signs in with the password, and can set "
        "up another.",
        data=Account.model_validate(row),
    )


@of_offices.get("")
async def list_offices(
    system: SystemParam,
    user: UserParam,
    paging: Pages50,
    search: Annotated[Text | None, Query(description="A part of the name, or the code.")] = None,
    province: Annotated[Text | None, Query(description="A code or a name.")] = None,
    has_account: Annotated[
        bool | None, Query(description="Only offices with, or without, an open account.")
    ] = None,
) -> Answer[Page[OfficeOf]]:
    """List the register's places in your scope, with who has an account there."""
    found = await offices.listed(
        system.pool, user, search=search, province=province, has_account=has_account
    )
    first = paging.bounds()["offset"]
    items = [
        {**asdict(one), **asdict(one.place)} for one in found[first : first + paging.page_size]
    ]
    return listed(Page[OfficeOf], items, Listed([], len(found)), paging, "{} offices.")
