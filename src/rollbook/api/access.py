"""Who is asking: the dependencies through which every route gets its user and its system."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from rollbook import accounts
from rollbook.accounts import User
from rollbook.errors import NotAllowedError, NotAuthenticatedError
from rollbook.system import System

bearer = HTTPBearer(auto_error=False, description="The token that /auth/login answers with.")


def the_system(request: Request) -> System:
    """The parts that the process opened at its start."""
    return cast("System", request.app.state.system)


SystemParam = Annotated[System, Depends(the_system)]


async def signed_in(
    system: SystemParam,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> User:
    """The user whom the bearer token names.

    Raises:
        NotAuthenticatedError: there is no token, or no good one.
    """
    if credentials is None:
        raise NotAuthenticatedError(accounts.SIGN_IN_AGAIN)
    return await accounts.from_token(system.pool, system.settings, credentials.credentials)


UserParam = Annotated[User, Depends(signed_in)]


async def operating(user: UserParam) -> User:
    """The user, who must be an operator.

    Raises:
        NotAllowedError: the role may not steer the queue.
    """
    if not user.role.is_operator:
        raise NotAllowedError(
            "Only national administrators can do this. Nothing was changed; please ask one of them."
        )
    return user


OperatorParam = Annotated[User, Depends(operating)]
