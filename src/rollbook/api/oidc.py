"""Sign-in with an outside provider: redirect, callback, one-time exchange; no token in a URL."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final, cast
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse

from rollbook import clock
from rollbook.accounts import provider as oidc
from rollbook.accounts import provider_accounts, tokens, users
from rollbook.accounts.provider import Provider
from rollbook.api.access import SystemParam, failures
from rollbook.api.auth import opened
from rollbook.api.inputs import AnyParameter
from rollbook.config import Settings
from rollbook.contract import Answer, SignedIn
from rollbook.errors import (
    ConflictError,
    NotAllowedError,
    NotAuthenticatedError,
    NotFoundError,
    RollbookError,
    ServiceUnavailableError,
)

router = APIRouter(prefix="/auth/oidc", tags=["auth"])

#: Names of the cookies, and audiences of the tokens in them.
BEGUN: Final = "rollbook-oidc-begun"
ENDED: Final = "rollbook-oidc-ended"
#: Time for the person at the provider, and for the page's exchange.
BEGUN_FOR: Final = dt.timedelta(minutes=10)
ENDED_FOR: Final = dt.timedelta(minutes=1)
#: Tells the page that a sign-in with the provider has ended.
BACK: Final = "?from=provider"
_REFUSALS: Final[dict[str, type[RollbookError]]] = {
    kind.code: kind
    for kind in (ConflictError, NotAllowedError, NotAuthenticatedError, ServiceUnavailableError)
}
_AGAIN: Final = "Please begin again with the button on the page."


class OutsideProvider(BaseModel):
    """Whether an outside provider is set, and its name."""

    is_set: bool
    name: str | None = Field(description="For the button: 'Sign in with ...'.")


async def the_provider(request: Request) -> Provider:
    """The provider and its cached documents."""
    return cast("Provider", request.app.state.provider)


async def the_set_provider(provider: Annotated[Provider, Depends(the_provider)]) -> Provider:
    """The provider, which must be set.

    Raises:
        NotFoundError: none is set.
    """
    if not provider.is_set:
        raise NotFoundError("There is no sign-in with a provider here. Sign in with a password.")
    return provider


ProviderParam = Annotated[Provider, Depends(the_set_provider)]
#: Together they fit into an address of 64 KB, even with every character escaped.
Code = Annotated[str | None, Query(max_length=4096)]
State = Annotated[str | None, Query(max_length=64)]
Part = Annotated[str | None, Query(max_length=384)]


@router.get("")
async def provider(found: Annotated[Provider, Depends(the_provider)]) -> Answer[OutsideProvider]:
    """Return whether sign-in with an outside provider is possible."""
    name = found.name if found.is_set else None
    message = f"Sign in with {name}." if name else "Sign in with a password."
    return Answer(message=message, data=OutsideProvider(is_set=found.is_set, name=name))


@router.get("/start", status_code=303, response_class=RedirectResponse, responses=failures(404))
async def start(provider: ProviderParam, system: SystemParam) -> Response:
    """Send the browser to the provider."""
    state, nonce, verifier = str(uuid4()), oidc.new_secret(), oidc.new_secret()
    try:
        url = await provider.authorization_url(state=state, nonce=nonce, verifier=verifier)
    except ServiceUnavailableError as error:
        return _back(system.settings, _refusal_claims(error))
    answer = RedirectResponse(url, 303)
    claims = {"state": state, "nonce": nonce, "verifier": verifier}
    _set_cookie(answer, system.settings, BEGUN, claims, BEGUN_FOR)
    return answer


@router.get(
    "/callback",
    status_code=303,
    response_class=RedirectResponse,
    dependencies=[AnyParameter],  # a provider may send more (RFC 6749, section 4.1.2)
    responses=failures(404),
)
async def callback(
    request: Request,
    provider: ProviderParam,
    system: SystemParam,
    code: Code = None,
    state: State = None,
    iss: Part = None,
    error: Part = None,
) -> Response:
    """Handle the redirect from the provider, and send the browser to the page."""
    settings, claims, was_asked = system.settings, None, False
    try:
        begun = await _begun(request, system.settings, state)
        until = dt.datetime.fromtimestamp(begun["exp"], dt.UTC)
        if not await provider_accounts.use_once(system.pool, UUID(begun["state"]), until):
            raise NotAuthenticatedError(f"This sign-in was used before. {_AGAIN}")
        if error is not None or code is None:
            raise NotAuthenticatedError(
                f"{provider.name} didn't sign you in, or you went back. {_AGAIN}"
            )
        was_asked = True
        claims = await provider.claims(
            code=code, issuer=iss, nonce=begun["nonce"], verifier=begun["verifier"]
        )
        user = await provider_accounts.enter(system.pool, settings, claims)
    except tuple(_REFUSALS.values()) as refused:
        # Anybody can call this at any rate, and entries are retained for years: none is written
        # before the provider was asked.
        if was_asked and not isinstance(refused, ServiceUnavailableError):
            await provider_accounts.refused(system.pool, settings, refused, claims)
        return _back(settings, _refusal_claims(refused))
    return _back(settings, {"user": str(user.id)})


@router.post(
    "/token",
    responses=failures(401, 403, 404, 409, 503),
)
async def token(
    request: Request, response: Response, _: ProviderParam, system: SystemParam
) -> Answer[SignedIn]:
    """Exchange the cookie of a finished sign-in for a token, once."""
    settings = system.settings
    try:
        given = request.cookies.get(_name(settings, ENDED), "")
        ended = tokens.read(settings, ENDED, given, wants=["jti"])
        until = dt.datetime.fromtimestamp(ended["exp"], dt.UTC)
        one = UUID(ended["jti"])
    except (tokens.BadTokenError, ValueError):
        raise NotAuthenticatedError(f"This sign-in has ended. {_AGAIN}") from None
    if not await provider_accounts.use_once(system.pool, one, until):
        raise NotAuthenticatedError(f"This sign-in was used before. {_AGAIN}")
    if "code" in ended:
        raise _REFUSALS[ended["code"]](ended["message"])
    user = await provider_accounts.signed_in(system.pool, settings, UUID(ended["user"]))
    _delete_cookie(response, settings, ENDED)
    made = await users.begin_session(system.pool, settings, user)
    return Answer(message="Signed in.", data=await opened(system, made))


async def _begun(request: Request, settings: Settings, state: str | None) -> dict[str, Any]:
    """The sign-in that this browser began, if the redirect belongs to it."""
    try:
        given = request.cookies.get(_name(settings, BEGUN), "")
        begun = tokens.read(settings, BEGUN, given, wants=["state", "nonce", "verifier"])
    except tokens.BadTokenError:
        begun = {}
    if not begun or begun["state"] != state:
        raise NotAuthenticatedError(
            f"This sign-in was not begun in this browser, or more than ten minutes ago. {_AGAIN}"
        )
    return begun


def _refusal_claims(error: RollbookError) -> dict[str, Any]:
    kind = next(code for code, kind in _REFUSALS.items() if isinstance(error, kind))
    return {"code": kind, "message": error.message}


def _back(settings: Settings, claims: dict[str, Any]) -> Response:
    """A redirect to the page, which then asks for the result."""
    answer = RedirectResponse(f"{settings.public_url}/{BACK}", 303)
    _delete_cookie(answer, settings, BEGUN)
    _set_cookie(answer, settings, ENDED, {**claims, "jti": str(uuid4())}, ENDED_FOR)
    return answer


def _set_cookie(
    answer: Response, settings: Settings, name: str, claims: dict[str, Any], lasts: dt.timedelta
) -> None:
    answer.set_cookie(
        _name(settings, name),
        tokens.sign(settings, name, claims, until=clock.now() + lasts),
        max_age=int(lasts.total_seconds()),
        **_where(settings),
    )


def _delete_cookie(answer: Response, settings: Settings, name: str) -> None:
    answer.delete_cookie(_name(settings, name), **_where(settings))


def _name(settings: Settings, name: str) -> str:
    return f"__Secure-{name}" if _is_encrypted(settings) else name


def _where(settings: Settings) -> dict[str, Any]:
    path = urlsplit(settings.public_url or "").path
    return {
        "path": f"{path}/api/v1/auth/oidc",
        "secure": _is_encrypted(settings),
        "httponly": True,
        "samesite": "lax",
    }


def _is_encrypted(settings: Settings) -> bool:
    return (settings.public_url or "").startswith("https:")
