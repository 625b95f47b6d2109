"""Keys for programs: a name, a role and place, scopes, and an end.

A key is 256 random bits and is shown once; its SHA-256 is stored. Each has an account of its own,
which owns what is sent with it, so that limits, the audit trail and lists treat it like a user's.
A key does at most what its maker may do at that moment: it stops while the maker's account is
closed or has a lesser role or another place (docs/decisions/0043).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID, uuid4

from rollbook.accounts import audit
from rollbook.accounts.users import place_of, sign_in_again
from rollbook.backends.database import (
    FIRST_PAGE,
    Listed,
    Paging,
    execute,
    fetch_all,
    fetch_one,
    fetch_page,
    queries,
)  # fmt: skip
from rollbook.errors import (
    ConflictError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
)
from rollbook.masking import masked, visible
from rollbook.model import EVERYWHERE, KeyScope, Role, Scope, Session, User

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection

    from rollbook.backends.database import Pool, Row
    from rollbook.config import Settings

#: What every key begins with, so that programs that search for leaked secrets find it.
PREFIX: Final = "rbk_"
KEY_BYTES: Final = 32
#: Length of the part of a key that is shown, so that its owner recognises it.
_HINT: Final = len(PREFIX) + 8
NAME_LENGTH: Final = 80
State = Literal["active", "stopped", "expired", "revoked"]

_SQL = queries("keys")


async def make(
    pool: Pool,
    settings: Settings,
    maker: User,
    *,
    name: str,
    scopes: Collection[KeyScope],
    role: Role | None = None,
    place: Scope = EVERYWHERE,
    expires_at: dt.datetime | None = None,
) -> tuple[Row, str]:
    """Make a key for a program.

    ``role``, ``place`` and ``expires_at`` are at most the maker's and ROLLBOOK_KEY_DAYS from now,
    which are also the defaults; a place with a municipality or province implies the role.

    Returns:
        The key as ``listed`` shows it, and the key itself, which isn't stored.

    Raises:
        InvalidRequestError: the name, the role with its place, or the end doesn't fit.
        NotAllowedError: the key could do more than its maker.
        ConflictError: the maker has as many keys as the settings allow.
    """
    role, place = _completed(maker, role, place)
    place = place_of(role, place)
    _check_name(name)
    if not _may(maker.role, maker.scope, role, place):
        raise NotAllowedError(
            "A key can do at most what its maker may do: choose your own role or a lesser one, in "
            "your own place. No key was made."
        )
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    hint = key[:_HINT]
    parameters: dict[str, Any] = {
        "user_id": uuid4(),
        "made_by": maker.id,
        "account": f"{name} (key {hint})",
        "name": name,
        "role": role.value,
        **asdict(place),
        "hash": _hash(key),
        "hint": hint,
        "scopes": sorted(set(scopes)),
        "expires_at": expires_at,
        "days": settings.key_days,
        "most_days": settings.key_days,
    }
    async with pool.connection() as connection:
        await connection.execute(_SQL["lock_maker"], parameters)
        counted = await fetch_one(connection, _SQL["count"], parameters)
        if counted is not None and counted["keys"] >= settings.keys_per_user:
            raise ConflictError(
                f"You have {counted['keys']} keys, which is the limit. Revoke one that isn't used "
                "any more; no key was made."
            )
        await connection.execute(_SQL["add_account"], parameters)
        added = await fetch_one(connection, _SQL["add"], parameters)
        if added is None:
            raise InvalidRequestError(
                f"A key ends within {settings.key_days} days from now, and not in the past. No key "
                "was made."
            )
        await audit.record(
            connection, "key_add", who=maker, about=f"{name} ({hint}): {', '.join(sorted(scopes))}"
        )
    return (await listed(pool, maker, key_id=added["id"])).rows[0], key


async def listed(
    pool: Pool, reader: User, paging: Paging = FIRST_PAGE, *, key_id: UUID | None = None
) -> Listed:
    """A page of the keys in the reader's scope, each with its ``state``."""
    parameters = {"id": key_id, **reader.scope.parameters()}
    found = await fetch_page(pool, _SQL["list"], parameters, paging)
    return Listed([{**row, "state": _state(row)} for row in found.rows], found.total)


async def revoke(pool: Pool, by: User, key_id: UUID) -> Row:
    """End a key: it is refused from now on, and its live connections end within seconds.

    Raises:
        NotFoundError: there is none of this id in the reader's scope.
        NotAllowedError: it is a colleague's, and no operator asks.
        ConflictError: it was revoked before.
    """
    parameters = {"id": key_id, **by.scope.parameters()}
    async with pool.connection() as connection:
        found = await fetch_one(connection, _SQL["in_reach"], parameters)
        if found is None:
            raise NotFoundError("There is no such key. Check its id.")
        if found["made_by"] != by.id and not by.role.is_operator:
            raise NotAllowedError("Only who made the key, or an operator, can revoke it.")
        if await fetch_one(connection, _SQL["revoke"], {"id": key_id}) is None:
            raise ConflictError("This key was revoked before. Nothing was changed.")
        about = f"{found['name']} ({found['hint']})"
        await audit.record(connection, "key_revoke", who=by, about=about)
    return (await listed(pool, by, key_id=key_id)).rows[0]


async def session(pool: Pool, key: str) -> Session:
    """The session of a key, with its account as it is now; the use is recorded.

    Raises:
        NotAuthenticatedError: there is no such key, it has ended or was revoked, or its maker may
            not do this any more.
    """
    address = audit.network_of(audit.origin.get().address)
    row = await fetch_one(pool, _SQL["by_hash"], {"hash": _hash(key), "address": address})
    if row is None or not _is_good(row):
        raise sign_in_again()
    found = _session(row)
    if row["is_use_due"] or row["is_from_elsewhere"]:
        await _note_use(pool, found, address)
    return found


async def changed(pool: Pool, sessions: Collection[Session]) -> set[Session]:
    """Which of these sessions have ended, or belong to keys that may do something else now."""
    rows = await fetch_all(pool, _SQL["by_ids"], {"ids": [one.id for one in sessions]})
    now = {row["key_id"]: (_user(row), frozenset(row["scopes"])) for row in rows if _is_good(row)}
    return {one for one in sessions if now.get(one.id) != (one.user, one.scopes)}


async def _note_use(pool: Pool, used: Session, address: str) -> None:
    parameters = {"id": used.id, "address": address}
    async with pool.connection() as connection:
        await execute(connection, _SQL["note_use"], parameters)
        if await fetch_one(connection, _SQL["note_address"], parameters) is not None:
            about = "first from this address"
            await audit.record(connection, "key_use", who=used.user, about=about)


def _session(row: Row) -> Session:
    made = row["made_at"]
    scopes = frozenset(row["scopes"])
    return Session(row["key_id"], _user(row), made, made, row["expires_at"], scopes)


def _user(row: Row) -> User:
    # Without this scope an operator's key doesn't act on what others have sent.
    return replace(User.from_row(row), operates="operate" in row["scopes"])


def _is_good(row: Row) -> bool:
    """Whether the maker may still do everything that the key may."""
    return _may(
        Role(row["maker_role"]),
        Scope(row["maker_province"], row["maker_municipality"]),
        Role(row["role"]),
        Scope(row["province"], row["municipality"]),
    )


def _completed(maker: User, role: Role | None, place: Scope) -> tuple[Role, Scope]:
    """The role and the place of a new key, where what isn't said is the maker's."""
    if role is None and place == EVERYWHERE:
        return maker.role, maker.scope
    if role is not None and role.is_operator:
        return role, place
    province = place.province or maker.scope.province
    municipality = place.municipality
    if municipality is None and role is not Role.PROVINCE_ADMIN:
        municipality = maker.scope.municipality
    if role is None:
        role = Role.PROVINCE_ADMIN if municipality is None else Role.MUNICIPALITY_ADMIN
    return role, Scope(province, municipality)


def _may(maker_role: Role, maker_place: Scope, role: Role, place: Scope) -> bool:
    return role.priority >= maker_role.priority and maker_place.includes(place)


def _state(row: Row) -> State:
    if row["revoked_at"] is not None:
        return "revoked"
    if row["is_expired"]:
        return "expired"
    return "active" if row["is_open"] and _is_good(row) else "stopped"


def _check_name(name: str) -> None:
    is_plain = name == name.strip() and "@" not in name and name == masked(visible(name))
    if not 0 < len(name) <= NAME_LENGTH or not is_plain or "\n" in name:
        raise InvalidRequestError(
            f"A key's name has 1 to {NAME_LENGTH} characters, without @ and without a person's ID "
            "number. No key was made."
        )


def _hash(key: str) -> bytes:
    # Of 256 random bits: neither a salt nor a slow hash would make guessing harder.
    return hashlib.sha256(key.encode()).digest()
