"""Signing in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field

from rollbook import accounts
from rollbook.api.access import SystemParam, UserParam
from rollbook.api.answers import Answer, Problem, SignedIn, Who

router = APIRouter(prefix="/auth", tags=["auth"])


def _without_nul(text: str) -> str:
    # PostgreSQL has no such text, and would fail the request instead of finding nobody.
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    return text


class Credentials(BaseModel, strict=True):
    """What a person types to sign in."""

    email: Annotated[str, AfterValidator(_without_nul)] = Field(max_length=320)
    password: str = Field(max_length=1024)


@router.post("/login", responses={401: {"model": Problem}})
async def login(credentials: Credentials, system: SystemParam) -> Answer[SignedIn]:
    """Exchange an e-mail address and a password for a token."""
    token, user = await accounts.sign_in(
        system.pool, system.settings, credentials.email, credentials.password
    )
    data = SignedIn(
        token=token, expires_in=system.settings.token_lifetime_min * 60, user=Who.of(user)
    )
    return Answer(message="Signed in.", data=data)


@router.get("/me", responses={401: {"model": Problem}})
async def me(user: UserParam) -> Answer[Who]:
    """Say who the token stands for."""
    return Answer(message="You are signed in.", data=Who.of(user))
