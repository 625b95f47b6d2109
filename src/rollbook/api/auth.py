"""Signing in."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field

from rollbook.accounts import links, sessions, users
from rollbook.accounts.links import Kind
from rollbook.api.access import SessionParam, SystemParam, UserParam, failures
from rollbook.contract import Answer, SignedIn, Who
from rollbook.languages import phrase, speak
from rollbook.model import Session, Via
from rollbook.service.system import System

router = APIRouter(prefix="/auth", tags=["auth"])

#: With room for spaces and hyphens.
Code = Annotated[str, Field(max_length=40, pattern=r"^[^\x00]*$")]


def _without_nul(text: str) -> str:
    # PostgreSQL can't store it: the request would fail instead of finding nobody.
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    return text


class Credentials(BaseModel, strict=True):
    """The credentials of a person."""

    email: Annotated[str, AfterValidator(_without_nul)] = Field(max_length=320)
    password: str = Field(max_length=1024)
    code: Code | None = Field(
        None,
        description="Of the authenticator app, or a recovery code, where the account has a second "
        "factor. Without it the answer is then 401 with the type second_factor_needed.",
    )


class NewPassword(BaseModel, strict=True):
    """The current password and the new one."""

    current_password: str = Field(max_length=1024)
    new_password: str = Field(
        max_length=1024, description="12 characters or more, and hard to guess."
    )


class OwnAccount(BaseModel, strict=True):
    """What a person may change of their own account."""

    language: str | None = Field(
        max_length=20, description="en, af, zu or xh; null: the one that the browser prefers."
    )


_Token = Annotated[str, Field(min_length=1, max_length=200, description="What follows `#/link/`.")]


class LinkToken(BaseModel, strict=True):
    """The token of a one-time link."""

    token: _Token


class FirstPassword(LinkToken, strict=True):
    """The token of a one-time link, and the password that its person has chosen."""

    password: str = Field(max_length=1024, description="12 characters or more, and hard to guess.")
    code: Code | None = Field(
        None, description="As in a sign-in, where the account has a second factor."
    )


class OpenSession(BaseModel):
    """A session of your account that is good."""

    session_id: UUID
    begun_at: dt.datetime
    used_at: dt.datetime = Field(description="When it began, or its token was renewed last.")
    until: dt.datetime = Field(description="When it ends by itself.")
    via: Via = Field(description="How you signed in: by password, or with the sign-in provider.")
    address: str | None = Field(description="From which it was used last.")
    agent: str | None = Field(description="The program, as it names itself.")
    is_this: bool = Field(description="The session of this request.")


class OpenedLink(BaseModel):
    """The account of a one-time link."""

    user: Who
    kind: Kind
    expires_at: dt.datetime


@router.post("/login", responses=failures(401, 429))
async def login(credentials: Credentials, system: SystemParam) -> Answer[SignedIn]:
    """Exchange an e-mail address and a password for a token."""
    token, _ = await users.sign_in(
        system.pool, system.settings, credentials.email, credentials.password, credentials.code
    )
    return Answer(message="Signed in.", data=await opened(system, token))


@router.post("/renew")
async def renew(session: SessionParam, system: SystemParam) -> Answer[SignedIn]:
    """Exchange a valid token for a newer one of the same session.

    A session ends after ROLLBOOK_SESSION_LIFETIME_MIN, renewed or not.
    """
    token = users.issue_token(system.settings, session.user, renews=session)
    return Answer(message="Renewed.", data=await opened(system, token))


@router.post("/logout")
async def logout(session: SessionParam, system: SystemParam) -> Answer[None]:
    """End this session and its tokens."""
    await users.sign_out(system.pool, system.settings, session)
    return Answer(message="You are signed out.", data=None)


@router.get("/sessions", responses=failures(401))
async def list_sessions(session: SessionParam, system: SystemParam) -> Answer[list[OpenSession]]:
    """List the open sessions of your account, the last used first."""
    rows = await sessions.listed(system.pool, session)
    items = [OpenSession.model_validate(row) for row in rows]
    return Answer(message=f"{len(items)} sessions.", data=items)


@router.delete("/sessions/{session_id}", responses=failures(401, 404))
async def end_session(session_id: UUID, session: SessionParam, system: SystemParam) -> Answer[None]:
    """End one of your sessions: its tokens are refused at once."""
    await sessions.end(system.pool, system.settings, session, session_id)
    return Answer(message="The session is ended.", data=None)


@router.post("/password")
async def password(body: NewPassword, user: UserParam, system: SystemParam) -> Answer[SignedIn]:
    """Change your own password; all your other sessions end."""
    token = await users.change_password(
        system.pool, system.settings, user, current=body.current_password, new=body.new_password
    )
    data = await opened(system, token)
    return Answer(message="Your password is changed. Elsewhere you are signed out.", data=data)


@router.post("/link", responses=failures(404))
async def link(body: LinkToken, system: SystemParam) -> Answer[OpenedLink]:
    """Return the account of a one-time link, without using the link."""
    found = await links.opened(system.pool, body.token)
    who = Who.of(found.user, system.settings.time_zone)
    data = OpenedLink(user=who, kind=found.kind, expires_at=found.expires_at)
    return Answer(message="The link is good.", data=data)


@router.post("/link/password", responses=failures(404))
async def link_password(body: FirstPassword, system: SystemParam) -> Answer[SignedIn]:
    """Choose a password by a one-time link, and sign in; other sessions of the account end."""
    token, _ = await links.use(system.pool, system.settings, body.token, body.password, body.code)
    data = await opened(system, token)
    return Answer(message="Your password is set, and you are signed in.", data=data)


@router.get("/me", responses=failures(401))
async def me(session: SessionParam, system: SystemParam) -> Answer[Who]:
    """Return the account of the token."""
    return Answer(message="You are signed in.", data=_who(system, session))


@router.patch("/me", responses=failures(401))
async def change_me(body: OwnAccount, session: SessionParam, system: SystemParam) -> Answer[Who]:
    """Choose the language of your account: of the page, of sentences, of reports and mails."""
    user = await users.set_language(system.pool, session.user, body.language)
    speak(user.language)
    return Answer(message=phrase("said.language"), data=_who(system, replace(session, user=user)))


async def opened(system: System, token: str) -> SignedIn:
    """The answer to a sign-in."""
    session = await users.session(system.pool, system.settings, token)
    await sessions.note(system.pool, system.settings, session)
    seconds = (session.expires - session.issued).total_seconds()
    return SignedIn(token=token, expires_in=max(round(seconds), 0), user=_who(system, session))


def _who(system: System, session: Session) -> Who:
    return Who.of(
        session.user,
        system.settings.time_zone,
        lacks_second_factor=session.lacks_second_factor,
    )
