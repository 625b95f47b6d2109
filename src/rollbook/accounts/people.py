"""People's accounts, as administrators manage them: list, invite, change, close, reset.

Operators manage accounts of at most their own role, a province's administrator those of the
municipalities in it, and nobody their own. The administrator is read again and locked in the
transaction of each change. So of two who close each other one stays, and a super_admin always does.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

from rollbook import places
from rollbook.accounts import audit, links, passwords, second_factor
from rollbook.accounts.revocation import end_sessions
from rollbook.accounts.users import is_address, place_of, sign_in_again
from rollbook.backends.database import (
    FIRST_PAGE,
    Listed,
    Paging,
    fetch_one,
    fetch_page,
    lock,
    queries,
)
from rollbook.errors import (
    ConflictError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
)
from rollbook.masking import masked, visible
from rollbook.model import EVERYWHERE, Role, Scope, User

if TYPE_CHECKING:
    from rollbook.accounts.links import Link
    from rollbook.backends.database import Connection, Pool, Row
    from rollbook.config import Settings

State = Literal["active", "invited", "closed"]

_SQL = queries("people")
_USERS = queries("users")


async def listed(
    pool: Pool,
    reader: User,
    *,
    user_id: UUID | None = None,
    search: str | None = None,
    role: Role | None = None,
    state: State | None = None,
    place: Scope = EVERYWHERE,
    paging: Paging = FIRST_PAGE,
) -> Listed:
    """A page of people's accounts in the reader's scope.

    ``may_change`` of each row says whether the reader manages the account. ``search`` is a part of
    the address or the name; the province of ``place`` is a code or a name.
    """
    province = places.find_province(place.province) if place.province else None
    parameters = {
        "id": user_id,
        "search": search or None,
        "role": role,
        "state": state,
        "province": province.place.code if province else place.province,
        "municipality": _name_of(place.municipality),
        **reader.scope.parameters(),
    }
    found = await fetch_page(pool, _SQL["list"], parameters, paging)
    rows = [{**row, "may_change": _may_change(reader, row)} for row in found.rows]
    return Listed(rows, found.total)


async def invite(
    pool: Pool, settings: Settings, by: User, *, email: str, role: Role, place: Scope, name: str
) -> tuple[Row, Link]:
    """Add an account without a password, and make the link by which its person chooses one.

    What ``place`` leaves out is the administrator's own.

    Raises:
        InvalidRequestError: the address, the name, or the role with its place doesn't fit.
        NotAllowedError: the administrator may not manage such accounts.
        ConflictError: the address is taken.
    """
    if not is_address(email) or masked(email) != email:
        raise InvalidRequestError(f"{email!r} is not an e-mail address. No account was added.")
    _check_name(name)
    place = place_of(role, filled(role, place, by.scope))
    _check_may(by, role, place)
    # Nobody knows this password.
    unknown = await passwords.hash_of(secrets.token_urlsafe(32))
    async with pool.connection() as connection:
        by = await acting(connection, by)
        _check_may(by, role, place)
        added = User(uuid4(), email, name, role, place)
        link = await add(connection, settings, by, added, unknown)
        if link is None:
            raise ConflictError(f"There is already an account for {email}. Nothing was changed.")
    return await _one(pool, by, added.id), link


async def add(
    connection: Connection, settings: Settings, by: User, new: User, unknown: str, note: str = ""
) -> Link | None:
    """Add an account with the hash of an ``unknown`` password, and its link; None: it is taken."""
    parameters = {**asdict(new.scope), "password_hash": unknown, "role": new.role.value}
    parameters |= {"id": new.id, "email": new.email, "name": new.name}
    if await fetch_one(connection, _USERS["add"], parameters) is None:
        return None
    link = await links.make(connection, settings, new.id, kind="invitation", by=by)
    about = about_of(new.email, new.role, new.scope) + note
    await audit.record(connection, "user_add", who=by, about=about)
    return link


async def change(
    pool: Pool,
    by: User,
    user_id: UUID,
    *,
    version: int,
    role: Role | None = None,
    place: Scope = EVERYWHERE,
    is_open: bool = False,
) -> Row:
    """Set another role or place, which ends the account's sessions, or open a closed account.

    ``version`` is that of the account as it was read. A role of None, and what ``place`` leaves
    out, stay as they are.

    Raises:
        NotFoundError: there is no such account in the administrator's scope.
        NotAllowedError: they may not manage it, or not such accounts as it would become.
        ConflictError: it has changed since, or its role comes from the provider.
        InvalidRequestError: the role and the place don't fit.
    """
    async with pool.connection() as connection:
        by, row = await _changing(connection, by, user_id, version)
        user = User.from_row(row)
        is_same = role is None and place == EVERYWHERE
        new_role = role or user.role
        new_place = user.scope
        if not is_same:
            new_place = place_of(new_role, filled(new_role, place, user.scope))
            _check_may(by, new_role, new_place)
        if (new_role, new_place) != (user.role, user.scope):
            if row["oidc_issuer"] is not None:
                raise ConflictError(
                    "This account gets its role and place from the sign-in provider each time. "
                    "Change them there; nothing was changed here."
                )
            await _set_role(connection, by, user, new_role, new_place)
        if is_open and row["disabled_at"] is not None:
            await connection.execute(_SQL["open"], {"id": user_id})
            await audit.record(connection, "user_open", who=by, about=user.email)
    return await _one(pool, by, user_id)


async def close(pool: Pool, by: User, user_id: UUID, *, version: int | None = None) -> Row:
    """Close an account: its sessions, links and keys are refused from now on.

    ``version`` is that of the account as it was read; None closes any version.

    Raises:
        NotFoundError: there is no such account in the administrator's scope.
        NotAllowedError: they may not manage it.
        ConflictError: it has changed since, or is closed.
    """
    async with pool.connection() as connection:
        by, row = await _changing(connection, by, user_id, version)
        if row["disabled_at"] is not None:
            raise ConflictError("This account is closed already. Nothing was changed.")
        await connection.execute(_USERS["disable"], {"email": row["email"]})
        await end_sessions(connection, user_id)
        await audit.record(connection, "user_disable", who=by, about=row["email"])
    return await _one(pool, by, user_id)


async def reset(pool: Pool, settings: Settings, by: User, user_id: UUID) -> tuple[Row, Link]:
    """Make a new link for an account, also for an invitation that has expired.

    The password and the sessions stay good until the link is used.

    Raises:
        NotFoundError: there is no such account in the administrator's scope.
        NotAllowedError: they may not manage it.
        ConflictError: it is closed.
    """
    async with pool.connection() as connection:
        by, row = await _changing(connection, by, user_id, None)
        if row["disabled_at"] is not None:
            raise ConflictError("This account is closed. Open it first; no link was made.")
        kind: links.Kind = "invitation" if row["link_kind"] == "invitation" else "reset"
        link = await links.make(connection, settings, user_id, kind=kind, by=by)
        await audit.record(connection, "user_reset", who=by, about=row["email"])
    return await _one(pool, by, user_id), link


async def reset_second_factor(pool: Pool, by: User, user_id: UUID) -> Row:
    """Remove the second factor of an account whose person has lost it.

    Raises:
        NotFoundError: there is no such account in the administrator's scope.
        NotAllowedError: they may not manage it.
        ConflictError: it has none.
    """
    async with pool.connection() as connection:
        by, row = await _changing(connection, by, user_id, None)
        await second_factor.reset(connection, User.from_row(row), by=by)
    return await _one(pool, by, user_id)


async def _changing(
    connection: Connection, by: User, user_id: UUID, version: int | None
) -> tuple[User, Row]:
    """The administrator as they are now, and the account, both locked."""
    by = await acting(connection, by)
    row = await fetch_one(connection, _SQL["in_reach"], {"id": user_id, **by.scope.parameters()})
    if row is None:
        raise NotFoundError("There is no such account. Check its id.")
    user = User.from_row(row)
    if user.id == by.id:
        raise NotAllowedError(
            "This is your own account: ask another administrator. Your password can be changed "
            "under 'Your account'. Nothing was changed."
        )
    _check_may(by, user.role, user.scope)
    if version is not None and version != row["version"]:
        raise ConflictError(
            "Somebody has changed this account meanwhile. Load it again; nothing was changed."
        )
    return by, row


async def acting(connection: Connection, by: User) -> User:
    """The administrator as they are now, locked until the transaction ends.

    Raises:
        NotAuthenticatedError: the account is closed.
    """
    # One change after the other: two administrators who lock each other would wait for ever.
    await lock(connection, "accounts")
    row = await fetch_one(connection, _SQL["acting"], {"id": by.id})
    if row is None or row["disabled_at"] is not None:
        raise sign_in_again()
    return User.from_row(row)


async def _set_role(connection: Connection, by: User, user: User, role: Role, place: Scope) -> None:
    parameters = {
        "email": user.email,
        "role": role.value,
        **asdict(place),
    }
    await connection.execute(_USERS["set_role"], parameters)
    await end_sessions(connection, user.id)
    await audit.record(connection, "user_role", who=by, about=about_of(user.email, role, place))


async def _one(pool: Pool, by: User, user_id: UUID) -> Row:
    rows = (await listed(pool, by, user_id=user_id)).rows
    if not rows:
        raise NotFoundError("The account is no longer in your office.")
    return rows[0]


def filled(role: Role, place: Scope, default: Scope) -> Scope:
    """A place with the default's parts for those that it leaves out, where the role has them."""
    if role.is_operator:
        return place
    municipality = place.municipality
    if municipality is None and place.province is None and role is Role.MUNICIPALITY_ADMIN:
        municipality = default.municipality
    return Scope(place.province or default.province, municipality)


def may_manage(by: User, role: Role, place: Scope) -> bool:
    """Whether an administrator manages accounts of this role and place."""
    if by.role.is_operator:
        return role.priority >= by.role.priority
    is_below = by.role is Role.PROVINCE_ADMIN and role is Role.MUNICIPALITY_ADMIN
    return is_below and by.scope.includes(place)


def _may_change(by: User, row: Row) -> bool:
    place = Scope(row["province"], row["municipality"])
    return row["user_id"] != by.id and may_manage(by, Role(row["role"]), place)


def _check_may(by: User, role: Role, place: Scope) -> None:
    if not may_manage(by, role, place):
        raise NotAllowedError(
            "You may not manage this account. National administrators manage accounts of at most "
            "their own role, a province's administrator those of its municipalities. Nothing was "
            "changed."
        )


def is_name(name: str) -> bool:
    """Whether a text may be an account's name: one line without a person's ID number."""
    return name == masked(visible(name)) and "\n" not in name


def _check_name(name: str) -> None:
    if not is_name(name):
        raise InvalidRequestError(
            "A name is one line without a person's ID number. No account was added."
        )


def _name_of(municipality: str | None) -> str | None:
    found = places.find_municipality(municipality) if municipality else None
    return found.place.name if found else municipality


def about_of(email: str, role: Role, place: Scope) -> str:
    """An account in the audit trail."""
    return f"{email}: {role.value}, {place}"
