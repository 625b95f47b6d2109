"""Accounts of an outside provider's users: created at the first sign-in, updated at each one."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from rollbook import clock
from rollbook.accounts import audit, passwords
from rollbook.accounts.revocation import end_sessions
from rollbook.accounts.users import is_address, place_of
from rollbook.backends.database import fetch_one, queries
from rollbook.errors import (
    ConflictError,
    InvalidRequestError,
    NotAllowedError,
    NotAuthenticatedError,
    RollbookError,
)
from rollbook.model import Role, Scope, User

if TYPE_CHECKING:
    import datetime as dt

    from psycopg import AsyncConnection

    from rollbook.backends.database import Pool, Row
    from rollbook.config import Settings

_SQL = queries("users")
_OPERATOR = "Nothing was changed; the person who runs Rollbook for you can help."


async def enter(pool: Pool, settings: Settings, claims: dict[str, Any]) -> User:
    """The account of a person whom the provider has verified.

    Raises:
        NotAuthenticatedError: the account is closed.
        NotAllowedError: the address isn't verified, or the claims give no role and place.
        ConflictError: another account has the address; it is left unchanged.
    """
    email = _verified_address(claims)
    role, scope = _place(settings, claims)
    name = claims.get("name")
    shown = name if isinstance(name, str) and name.isprintable() and len(name) <= 200 else ""
    parameters = {
        "id": uuid4(),
        "email": email,
        "name": shown,
        "role": role.value,
        **asdict(scope),
        "issuer": settings.oidc_issuer,
        "subject": claims["sub"],
    }
    async with pool.connection() as connection:
        row = await fetch_one(connection, _SQL["by_subject"], parameters)
        if row is None:
            # Nobody knows this password: an operator can set one.
            unknown = await passwords.hash_of(secrets.token_urlsafe(32))
            parameters["password_hash"] = unknown
            added = await fetch_one(connection, _SQL["add_of_provider"], parameters)
            if added is None:
                raise _taken(email)
            await _note(connection, settings, "user_add", email)
        else:
            parameters["id"] = row["id"]
            await _update(connection, settings, row, parameters)
    return User(parameters["id"], email, shown, role, scope)


async def _update(
    connection: AsyncConnection[Row], settings: Settings, row: Row, parameters: dict[str, Any]
) -> None:
    if row["disabled_at"] is not None:
        raise NotAuthenticatedError(f"You were not signed in: your account is closed. {_OPERATOR}")
    taken = await fetch_one(connection, _SQL["address_taken"], parameters)
    if taken is not None:
        raise _taken(parameters["email"])
    await connection.execute(_SQL["set_of_provider"], parameters)
    if any(row[name] != parameters[name] for name in ("role", "province", "municipality")):
        await end_sessions(connection, row["id"])
        await _note(connection, settings, "user_role", parameters["email"])


async def _note(
    connection: AsyncConnection[Row], settings: Settings, act: audit.Act, email: str
) -> None:
    agent = f"sign-in with {settings.oidc_name}"
    await audit.record(connection, act, who=None, about=email, agent=agent)


async def signed_in(pool: Pool, settings: Settings, user_id: UUID) -> User:
    """The account of a finished sign-in; writes its entry in the audit trail.

    Raises:
        NotAuthenticatedError: it was closed meanwhile.
    """
    async with pool.connection() as connection:
        row = await fetch_one(connection, _SQL["by_id"], {"id": user_id})
        if row is None or row["disabled_at"] is not None:
            raise NotAuthenticatedError(f"Your account is closed. {_OPERATOR}")
        user = User.from_row(row)
        await audit.record(connection, "sign_in", who=user, about=f"with {settings.oidc_name}")
    return user


async def refused(
    pool: Pool, settings: Settings, error: RollbookError, claims: dict[str, Any] | None
) -> None:
    """Write an audit entry for a sign-in with the provider that was refused."""
    email = (claims or {}).get("email")
    await audit.record(
        pool,
        "sign_in",
        who=None,
        refused=error.code,
        email=email if isinstance(email, str) and "\0" not in email else None,
        about=f"with {settings.oidc_name}",
    )


async def use_once(pool: Pool, one: UUID, until: dt.datetime) -> bool:
    """Is this the first use of a one-time id? It may be forgotten after ``until``."""
    async with pool.connection() as connection:
        await connection.execute(_SQL["forget_used"], {"now": clock.now()})
        parameters = {"id": one, "until": until}
        used = await fetch_one(connection, _SQL["use_once"], parameters)
    return used is not None


def _verified_address(claims: dict[str, Any]) -> str:
    email = claims.get("email")
    if not isinstance(email, str) or len(email) > 320 or not is_address(email):
        raise NotAllowedError(f"You were not signed in: no e-mail address was given. {_OPERATOR}")
    if claims.get("email_verified") is not True:
        raise NotAllowedError(
            "You were not signed in: your e-mail address hasn't been verified there. Verify it, "
            "then try again."
        )
    return email


def _place(settings: Settings, claims: dict[str, Any]) -> tuple[Role, Scope]:
    given = claim(claims, settings.oidc_role_claim)
    values = given if isinstance(given, list) else [given]
    known = settings.oidc_roles
    roles = [Role(known[value]) for value in values if isinstance(value, str) and value in known]
    if not roles:
        raise NotAllowedError(
            f"You were not signed in: you have no role for Rollbook there. {_OPERATOR}"
        )
    role = min(roles, key=lambda one: one.priority)  # who has several has the widest
    province = municipality = None
    if not role.is_operator:
        province = _text(claims, settings.oidc_province_claim)
    if role == Role.MUNICIPALITY_ADMIN:
        municipality = _text(claims, settings.oidc_municipality_claim)
    try:
        return role, place_of(role, Scope(province, municipality))
    except InvalidRequestError as error:
        reason = "no place was given for your role there."
        if province is not None:
            reason = f"the place that was given for your role there can't be used. {error.message}"
        raise NotAllowedError(f"You were not signed in: {reason} {_OPERATOR}") from None


def claim(claims: dict[str, Any], path: str) -> object:
    """The value at a path of claims; a claim whose name is the whole path wins."""
    if path in claims:
        return claims[path]
    found: object = claims
    for part in path.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found


def _text(claims: dict[str, Any], path: str) -> str | None:
    found = claim(claims, path)
    if isinstance(found, list) and len(found) == 1:
        found = found[0]  # some providers make a list of every attribute
    is_good = isinstance(found, str) and found.strip() and found.isprintable() and len(found) <= 200
    return str(found).strip() if is_good else None


def _taken(email: str) -> ConflictError:
    return ConflictError(
        f"You were not signed in: there is already another account for {email}. Sign in to it with "
        "its password, or ask the person who runs Rollbook for you."
    )
