"""One-time links by which a person chooses a password: an invitation, or a reset.

A link's token is 256 random bits and is shown once; its SHA-256 is stored. It follows the ``#`` of
an address, so that no server's log and no ``Referer`` holds it (docs/decisions/0051).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from rollbook.accounts import audit, failed_sign_ins, passwords, second_factor, users
from rollbook.accounts.revocation import end_sessions
from rollbook.backends.database import fetch_one, queries
from rollbook.errors import NotFoundError
from rollbook.model import User

if TYPE_CHECKING:
    import datetime as dt
    from uuid import UUID

    from rollbook.backends.database import Connection, Pool
    from rollbook.config import Settings

Kind = Literal["invitation", "reset"]
TOKEN_BYTES: Final = 32

_SQL = queries("links")


@dataclass(frozen=True, slots=True)
class Link:
    """A link that was just made."""

    #: Whole where ROLLBOOK_PUBLIC_URL is set, else from the server's root.
    address: str
    expires_at: dt.datetime
    kind: Kind
    #: That its account has chosen.
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """What a good link shows of its account."""

    user: User
    kind: Kind
    expires_at: dt.datetime


async def make(
    connection: Connection, settings: Settings, user_id: UUID, *, kind: Kind, by: User
) -> Link:
    """Make the account's link; a former one is no longer good."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    row = await fetch_one(
        connection,
        _SQL["make"],
        {
            "user_id": user_id,
            "hash": _hash(token),
            "kind": kind,
            "made_by": by.id,
            "hours": settings.invitation_h if kind == "invitation" else settings.reset_link_h,
        },
    )
    assert row is not None
    return Link(
        f"{settings.public_url or ''}/#/link/{token}", row["expires_at"], kind, row["language"]
    )


async def opened(pool: Pool, token: str) -> Opened:
    """The account of a link, which isn't used by this.

    Raises:
        NotFoundError: the link isn't good; the same for all reasons.
    """
    row = await fetch_one(pool, _SQL["by_hash"], {"hash": _hash(token)})
    if row is None:
        raise _not_good()
    return Opened(User.from_row(row), row["link_kind"], row["link_expires_at"])


async def use(
    pool: Pool, settings: Settings, token: str, password: str, code: str | None = None
) -> tuple[str, User]:
    """Give the link's account this password; returns a token with which the person is signed in.

    Sessions that the account has end. A refused password leaves the link as it is.

    Raises:
        NotFoundError: the link isn't good, or was used a moment before.
        InvalidRequestError: the password is refused.
        What ``second_factor.verify`` raises: a link replaces a password, and no second factor.
    """
    known = (await opened(pool, token)).user
    await passwords.check(password, known, strength=settings.password_strength)
    await second_factor.verify(pool, settings, known, code)
    hashed = await passwords.hash_of(password)
    async with pool.connection() as connection:
        await connection.execute(_SQL["lock"], {"id": known.id})
        parameters = {"hash": _hash(token), "password_hash": hashed}
        row = await fetch_one(connection, _SQL["use"], parameters)
        if row is None:
            raise _not_good()
        user = User.from_row(row)
        begun = await end_sessions(connection, user.id)
        await failed_sign_ins.clear(connection, user.email)
        about = f"{user.email}, by a one-time link"
        await audit.record(connection, "user_password", who=user, about=about)
        await audit.record(connection, "sign_in", who=user, about="by a one-time link")
    return users.issue_token(settings, user, begun=begun), user


def _not_good() -> NotFoundError:
    return NotFoundError(
        "This link can't be used: it was used before, replaced by a newer one, or has expired. "
        "Ask the administrator who sent it for another one."
    )


def _hash(token: str) -> bytes:
    # Of 256 random bits: neither a salt nor a slow hash would make guessing harder.
    return hashlib.sha256(token.encode()).digest()
