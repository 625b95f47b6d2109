"""Dependencies of routes: the system, the session, the user and the audit of refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection

from rollbook.accounts import audit, sessions, users
from rollbook.api import scopes
from rollbook.api.limits import RequestLimits
from rollbook.api.requests import route_of
from rollbook.contract import Problem
from rollbook.errors import NotAllowedError, SecondFactorRequiredError
from rollbook.languages import phrase, speak
from rollbook.model import Session, User
from rollbook.service.system import System
from rollbook.uploads.forecast import Forecaster

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

bearer = HTTPBearer(
    auto_error=False,
    description="The token that /auth/login answers with, or a key for programs (rbk_...).",
)


#: What an account can do that needs a second factor and has none.
_OPEN_TO_SET_IT_UP = frozenset(
    {
        "/api/v1/auth/me",
        "/api/v1/auth/renew",
        "/api/v1/auth/logout",
        "/api/v1/auth/second-factor",
        "/api/v1/auth/second-factor/confirm",
    }
)


# Coroutines, since FastAPI runs a function in one of forty threads, which may all be busy.
async def the_system(request: Request) -> System:
    """The opened parts of the process."""
    return cast("System", request.app.state.system)


async def the_forecaster(request: Request) -> Forecaster:
    """The forecast of when waiting uploads start."""
    return cast("Forecaster", request.app.state.forecaster)


def the_limits(connection: HTTPConnection) -> RequestLimits:
    """The limits on requests."""
    return cast("RequestLimits", connection.app.state.limits)


SystemParam = Annotated[System, Depends(the_system)]
ForecasterParam = Annotated[Forecaster, Depends(the_forecaster)]
BearerParam = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


async def admitted(connection: HTTPConnection, system: System, credential: str) -> Session:
    """The session of a token or key; the request counts against its user's limits.

    Raises:
        NotAuthenticatedError: the token or key is invalid.
        TooManyRequestsError: the user or the office has made too many requests.
        KeyScopeError: the key's scopes don't open the route.
        SecondFactorRequiredError: the role needs one, and the account has none.
    """
    session = await sessions.session(system.pool, system.settings, credential)
    if session.user.language is not None:
        speak(session.user.language)  # before what the request asks for
    await the_limits(connection).count(session.user)
    if session.lacks_second_factor and route_of(connection.scope) not in _OPEN_TO_SET_IT_UP:
        raise SecondFactorRequiredError(phrase("refusal.second_factor_required"))
    if session.scopes is not None:
        async with audit.refusals(system.pool, "key_use", who=session.user):
            scopes.check(connection, session)
    return session


async def in_session(
    request: Request,
    system: SystemParam,
    credentials: BearerParam,
) -> Session:
    """The session of the bearer token or key.

    Raises:
        What ``admitted`` raises, and NotAuthenticatedError where there is no token.
    """
    if credentials is None:
        raise users.sign_in_again()
    return await admitted(request, system, credentials.credentials)


SessionParam = Annotated[Session, Depends(in_session)]


async def signed_in(session: SessionParam) -> User:
    """The user of the bearer token."""
    return session.user


UserParam = Annotated[User, Depends(signed_in)]


def failures(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The failures of a route, for its description."""
    return {code: {"model": Problem} for code in codes}


def routes(prefix: str, tag: str, *codes: int) -> APIRouter:
    """A router whose routes need a signed-in user, and may all fail with these codes."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        dependencies=[Depends(signed_in)],
        responses=failures(*codes),
    )


async def operating(user: UserParam) -> User:
    """The user, who must be an operator.

    Raises:
        NotAllowedError: the role may not steer the queue.
    """
    if not user.role.is_operator:
        raise NotAllowedError(phrase("refusal.operators_only"))
    return user


OperatorParam = Annotated[User, Depends(operating)]


def audited(act: audit.Act, *codes: int) -> dict[str, Any]:
    """Arguments of a route that audits refusals of this act, and may fail with these codes."""

    async def refusals(
        request: Request, system: SystemParam, user: UserParam
    ) -> AsyncIterator[None]:
        job_id = _as_uuid(request.path_params.get("job_id"))
        member_id = _as_uuid(request.path_params.get("member_id"))
        async with audit.refusals(system.pool, act, who=user, job_id=job_id, member_id=member_id):
            yield

    return {"dependencies": [Depends(refusals)], "responses": failures(*codes)}


def _as_uuid(given: str | UUID | None) -> UUID | None:
    try:
        return UUID(str(given)) if given else None
    except ValueError:  # the answer says so
        return None


class OriginMiddleware:
    """Sets the origin of each request for the audit trail."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on with its origin set."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        agent = dict(scope["headers"]).get(b"user-agent", b"").decode("latin-1")
        client = scope.get("client")
        before = audit.origin.set(audit.Origin.of_request(client[0] if client else None, agent))
        try:
            await self._app(scope, receive, send)
        finally:
            audit.origin.reset(before)
