"""Users, their roles, passwords and tokens."""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeGuard
from uuid import UUID, uuid4

from rollbook import clock, languages, places
from rollbook.accounts import audit, failed_sign_ins, passwords, second_factor, tokens
from rollbook.accounts.revocation import end_sessions
from rollbook.backends.database import execute, fetch_all, fetch_one, fetch_row, queries
from rollbook.errors import (
    ConflictError,
    InvalidRequestError,
    NotAuthenticatedError,
    NotFoundError,
    RollbookError,
)
from rollbook.languages import phrase
from rollbook.model import Role, Scope, Session, User, Via

if TYPE_CHECKING:
    from collections.abc import Collection

    from rollbook.backends.database import Pool, Row
    from rollbook.config import Settings

#: The account that owns files from the watched folder.
FOLDER = "folder"

_SQL = queries("users")


async def add(
    pool: Pool,
    *,
    email: str,
    password: str,
    role: Role,
    scope: Scope,
    name: str = "",
    strength: int = passwords.STRENGTH,
) -> User:
    """Create an account, for the command line; ``strength`` is as in ``passwords.check``.

    Raises:
        InvalidRequestError: the address, the password or the role with its place doesn't fit.
        ConflictError: the address is taken.
    """
    if not is_address(email):
        raise InvalidRequestError(f"{email!r} is not an e-mail address.")
    scope = place_of(role, scope)
    user = User(uuid4(), email, name, role, scope)
    await passwords.check(password, user, strength=strength)
    parameters = {
        "id": user.id,
        "email": email,
        "name": name,
        "role": role.value,
        **asdict(scope),
        "password_hash": await passwords.hash_of(password),
    }
    async with pool.connection() as connection:
        added = await fetch_one(connection, _SQL["add"], parameters)
        if added is None:
            raise ConflictError(f"There is already an account for {email}.")
        await audit.record(connection, "user_add", who=None, about=email)
    return user


async def add_first(pool: Pool, settings: Settings) -> tuple[str, str | None] | None:
    """Create the first super_admin if there is no account yet.

    Returns:
        Its address, and its password if that was generated; None where accounts exist.
    """
    found = await fetch_one(pool, _SQL["any"])
    if found and found["found"]:
        return None
    email = settings.admin_email or "admin@localhost"
    given = settings.admin_password
    password = given.get_secret_value() if given else secrets.token_urlsafe(15)
    try:
        await add(
            pool,
            email=email,
            password=password,
            role=Role.SUPER_ADMIN,
            scope=Scope(),
            name="First administrator",
            strength=settings.password_strength,
        )
    except ConflictError:
        return None  # another process was quicker
    return email, None if given else password


async def acting(pool: Pool, email: str | None) -> User:
    """The account in whose name the command line acts; shell access is enough authority.

    Without an address, it is the first super_admin's.

    Raises:
        NotFoundError: there is no such account, or it is closed.
    """
    query = "first_super_admin" if email is None else "by_email"
    row = await fetch_one(pool, _SQL[query], {"email": email})
    if row is None or row["disabled_at"] is not None:
        raise NotFoundError(
            f"There is no open account for {email}."
            if email
            else "There is no super_admin yet. `rollbook up` makes one, or `rollbook users add`."
        )
    return User.from_row(row)


async def listed(pool: Pool) -> list[Row]:
    """Every account, without password hashes."""
    return await fetch_all(pool, _SQL["all"])


async def set_password(
    pool: Pool, email: str, password: str, *, strength: int = passwords.STRENGTH
) -> None:
    """Set a new password: all tokens of the account end, its failed sign-ins are forgotten.

    Raises:
        InvalidRequestError: the password won't do.
        NotFoundError: there is no such account.
    """
    row = await fetch_one(pool, _SQL["by_email"], {"email": email})
    if row is None:
        raise _unknown(email)
    await passwords.check(password, User.from_row(row), strength=strength)
    await _store_password(pool, email, password, by=None)


async def _store_password(pool: Pool, email: str, password: str, *, by: User | None) -> dt.datetime:
    parameters = {"email": email, "password_hash": await passwords.hash_of(password)}
    return await _change(pool, "set_password", parameters, act="user_password", by=by)


def sign_in_again() -> NotAuthenticatedError:
    """The refusal of a token that is missing or no longer good."""
    return NotAuthenticatedError(phrase("refusal.sign_in_again"))


async def set_language(pool: Pool, user: User, language: str | None) -> User:
    """Store the language that the person has chosen; None: the browser's.

    Raises:
        InvalidRequestError: it isn't available.
    """
    if language is not None and language not in languages.available():
        raise InvalidRequestError(
            phrase("refusal.no_language", tags=", ".join(languages.available()))
        )
    await execute(pool, _SQL["set_language"], {"id": user.id, "language": language})
    return replace(user, language=language)


async def set_role(pool: Pool, email: str, role: Role, scope: Scope) -> None:
    """Set another role or place; all tokens of the account end.

    Raises:
        InvalidRequestError: the role and the place don't fit.
        NotFoundError: there is no such account.
    """
    scope = place_of(role, scope)
    parameters = {
        "email": email,
        "role": role.value,
        **asdict(scope),
    }
    await _change(pool, "set_role", parameters, act="user_role")


async def reset_second_factor(pool: Pool, email: str) -> None:
    """Remove the second factor of somebody who has lost it.

    Raises:
        NotFoundError: there is no such account.
        ConflictError: it has no second factor.
    """
    async with pool.connection() as connection:
        row = await fetch_one(connection, _SQL["by_email"], {"email": email})
        if row is None or row["is_system"]:
            raise _unknown(email)
        await second_factor.reset(connection, User.from_row(row), by=None)


async def disable(pool: Pool, email: str) -> None:
    """Close an account; its uploads stay, and those that wait are left to an operator's decision.

    Raises:
        NotFoundError: there is no such account.
    """
    await _change(pool, "disable", {"email": email}, act="user_disable")


async def found(pool: Pool, user_id: UUID) -> tuple[User, bool]:
    """An account of a known id, and whether it is open."""
    row = await fetch_row(pool, _SQL["by_id"], {"id": user_id})
    return User.from_row(row), row["disabled_at"] is None


async def sign_in(
    pool: Pool, settings: Settings, email: str, password: str, code: str | None = None
) -> tuple[str, User]:
    """Check a password, and a code where the account has a second factor, and issue a token.

    Raises:
        NotAuthenticatedError: the same for an unknown address, a wrong password and a closed
        account, so that addresses can't be probed; or the code is wrong.
        SecondFactorNeededError: the password is right, and no code was given.
        TooManySignInsError: too many have failed shortly before.
    """
    # Before the password is checked: a change of it meanwhile ends this session too.
    begun = clock.now()
    user, tokens_from, attempt = await _verified(pool, settings, email, password)
    try:
        about = await second_factor.verify(pool, settings, user, code)
    except RollbookError:
        # Only a whole sign-in clears the failures: this may be somebody with a stolen password.
        await failed_sign_ins.release(pool, attempt)
        raise
    async with pool.connection() as connection:
        await failed_sign_ins.succeed(connection, settings, attempt)
        await audit.record(connection, "sign_in", who=user, about=about or None)
    return issue_token(settings, user, begun=max(begun, tokens_from)), user


async def begin_session(pool: Pool, settings: Settings, user: User) -> str:
    """Issue a token to a user whose identity the sign-in provider has just checked."""
    row = await fetch_row(pool, _SQL["by_id"], {"id": user.id})
    begun = max(clock.now(), row["tokens_from"])
    return issue_token(settings, user, begun=begun, via="provider")


async def change_password(
    pool: Pool, settings: Settings, user: User, *, current: str, new: str
) -> str:
    """Change the user's own password; returns a token with which they stay signed in here.

    Raises:
        TooManySignInsError: too many sign-ins have failed shortly before.
        InvalidRequestError: the current password is wrong, which counts as a failed sign-in, or the
        new one is refused.
    """
    await passwords.check(new, user, strength=settings.password_strength)
    attempt = await _with_password(pool, settings, user, current)
    # The new password ends all counts; until then they stay as they are.
    await failed_sign_ins.release(pool, attempt)
    begun = await _store_password(pool, user.email, new, by=user)
    return issue_token(settings, user, begun=begun)


async def confirm_second_factor(
    pool: Pool, settings: Settings, session: Session, code: str
) -> tuple[str, list[str]]:
    """Switch the person's second factor on; all sessions of the account end.

    Returns:
        A token with which they stay signed in here, and the recovery codes.

    Raises:
        What ``second_factor.confirm`` raises.
    """
    on = await second_factor.confirm(pool, settings, session.user, code)
    token = issue_token(settings, session.user, begun=on.tokens_from, via=session.via)
    return token, on.recovery_codes


async def confirm_owner(
    pool: Pool, settings: Settings, user: User, password: str, code: str | None
) -> None:
    """Check that somebody who is signed in is the account's owner: by the password and the code.

    They count as one sign-in: failures are forgotten only when both are right.

    Raises:
        TooManySignInsError: too many sign-ins or codes have failed shortly before.
        InvalidRequestError: the password is wrong, which counts as a failed sign-in; or the code
            is wrong or missing, and the account has a second factor.
    """
    attempt = await _with_password(pool, settings, user, password)
    try:
        await second_factor.verify(pool, settings, user, code)
    except RollbookError as error:
        await failed_sign_ins.release(pool, attempt)
        if isinstance(error, NotAuthenticatedError):  # 401 would mean the session's end
            raise InvalidRequestError(error.message) from None
        raise
    async with pool.connection() as connection:
        await failed_sign_ins.succeed(connection, settings, attempt)


async def _with_password(
    pool: Pool, settings: Settings, user: User, password: str
) -> failed_sign_ins.Attempt:
    """The attempt of somebody who is signed in and gives the password; the caller ends it."""
    try:
        _, _, attempt = await _verified(pool, settings, user.email, password)
    except NotAuthenticatedError:
        raise InvalidRequestError(phrase("refusal.current_password")) from None
    return attempt


async def _verified(
    pool: Pool, settings: Settings, email: str, password: str
) -> tuple[User, dt.datetime, failed_sign_ins.Attempt]:
    """The account with this address and password, and when its tokens were last revoked.

    A session begins then at the earliest: the clock of the machine that revoked them may be ahead.
    The caller ends the attempt.
    """
    attempt = await failed_sign_ins.begin(pool, settings, email)
    row = await fetch_one(pool, _SQL["by_email"], {"email": email})
    # PostgreSQL's lower() maps other letters too, such as the Turkish İ to i. Each such spelling
    # would have a count of failures of its own.
    if row is not None and (row["is_system"] or row["email"].lower() != email.lower()):
        row = None  # it is another address, or no person's
    good, newer_hash = await passwords.verify(password, row["password_hash"] if row else None)
    user = User.from_row(row) if row else None
    if row is None or user is None or not good or row["disabled_at"] is not None:
        refused = NotAuthenticatedError(
            "The e-mail address or the password is wrong. Check both and try again; an operator "
            "can set a new password."
        )
        async with pool.connection() as connection:
            await failed_sign_ins.fail(connection, settings, attempt)
            await audit.record(connection, "sign_in", who=user, refused=refused.code, email=email)
        raise refused
    if newer_hash is not None:
        await execute(pool, _SQL["rehash"], {"id": row["id"], "password_hash": newer_hash})
    return user, row["tokens_from"], attempt


def issue_token(
    settings: Settings,
    user: User,
    *,
    renews: Session | None = None,
    begun: dt.datetime | None = None,
    via: Via = "password",
) -> str:
    """A signed token that names the user and the session, but no rights.

    It continues the session ``renews``, or begins a new one. ``begun`` is when the sign-in began,
    by default now; ``via`` is how the person signed in, and stays when a session is renewed.
    """
    now = clock.now()
    begun = renews.begun if renews else begun or now
    claims = {
        "sub": str(user.id),
        "sid": str(renews.id if renews else uuid4()),
        "auth_time": begun.timestamp(),
        "via": renews.via if renews else via,
    }
    until = min(
        now + dt.timedelta(minutes=settings.token_lifetime_min),
        begun + dt.timedelta(minutes=settings.session_lifetime_min),
    )
    return tokens.sign(settings, tokens.API, claims, until=until)


async def sign_out(pool: Pool, settings: Settings, session: Session) -> None:
    """End a session and its tokens; other sessions of the account continue."""
    until = session.begun + dt.timedelta(minutes=settings.session_lifetime_min)
    async with pool.connection() as connection:
        await connection.execute(_SQL["end_session"], {"id": session.id, "until": until})
        await connection.execute(_SQL["forget_ended"], {"now": clock.now()})
        await audit.record(connection, "sign_out", who=session.user)


async def session(pool: Pool, settings: Settings, token: str) -> Session:
    """The session of a token, with its user as the account is now.

    Raises:
        NotAuthenticatedError: the token is malformed, forged, expired or revoked.
    """
    try:
        claims = tokens.read(settings, tokens.API, token, wants=["sub", "sid", "auth_time"])
        ids = {"id": UUID(claims["sub"]), "session": UUID(claims["sid"])}
        begun, issued, expires = (
            dt.datetime.fromtimestamp(claims[name], dt.UTC) for name in ("auth_time", "iat", "exp")
        )
    except (tokens.BadTokenError, ValueError):
        raise sign_in_again() from None
    row = await fetch_one(pool, _SQL["by_session"], ids)
    if not _is_good(row, begun):
        raise sign_in_again()
    user = User.from_row(row)
    via: Via = claims.get("via", "password")  # a token of an older version doesn't say it
    needs_one = via == "password" and settings.needs_second_factor(user.role)
    return Session(
        ids["session"],
        user,
        begun,
        issued,
        expires,
        via=via,
        lacks_second_factor=needs_one and not row["has_second_factor"],
    )


async def changed(pool: Pool, sessions: Collection[Session]) -> set[Session]:
    """Which of these sessions have ended, or belong to accounts that have changed since."""
    users = {"ids": list({one.user.id for one in sessions})}
    ids = {"ids": list({one.id for one in sessions})}
    async with pool.connection() as connection:
        rows = await fetch_all(connection, _SQL["by_ids"], users)
        ended = {row["id"] for row in await fetch_all(connection, _SQL["ended"], ids)}
    now = {row["id"]: row for row in rows}
    return {one for one in sessions if one.id in ended or not _is_same(one, now.get(one.user.id))}


def _is_same(session: Session, row: Row | None) -> bool:
    return row is not None and _is_good(row, session.begun) and User.from_row(row) == session.user


def _is_good(row: Row | None, begun: dt.datetime) -> TypeGuard[Row]:
    """Is the account open, and did the session begin after its tokens were last revoked?

    The token's own time doesn't count: one that is renewed at that moment would be later.
    """
    return row is not None and row["disabled_at"] is None and begun >= row["tokens_from"]


def is_address(text: str) -> bool:
    """Does a text look like an e-mail address?"""
    return "@" in text.strip("@") and text.isprintable() and " " not in text


def place_of(role: Role, scope: Scope) -> Scope:
    """The place of a role, as the register writes it: the province's code, the municipality's name.

    Raises:
        InvalidRequestError: there is one part too many or too few, or no such place; the sentence
            names the nearest ones.
    """
    wanted = {
        Role.PROVINCE_ADMIN: (True, False),
        Role.MUNICIPALITY_ADMIN: (True, True),
    }.get(role, (False, False))
    if (scope.province is not None, scope.municipality is not None) != wanted:
        raise InvalidRequestError(
            "A province_admin needs a province, a municipality_admin a province and a "
            "municipality, and the other roles neither. Nothing was changed."
        )
    if scope.province is None:
        return scope
    province = places.find_province(scope.province)
    if province is None or province.how != "known":
        raise InvalidRequestError(
            f"There is no province {scope.province!r}. The nearest are "
            f"{', '.join(places.nearest_provinces(scope.province))}. Nothing was changed."
        )
    code = province.place.code
    if scope.municipality is None:
        return Scope(code)
    found = places.find_municipality(scope.municipality, province=code)
    if found is None or found.how != "known" or found.place.province != code:
        nearest = places.nearest_municipalities(scope.municipality, province=code)
        raise InvalidRequestError(
            f"There is no municipality {scope.municipality!r} in {province.place.name}. The "
            f"nearest are {', '.join(nearest)}. Nothing was changed."
        )
    return Scope(code, found.place.name)


async def _change(
    pool: Pool, query: str, parameters: dict[str, Any], *, act: audit.Act, by: User | None = None
) -> dt.datetime:
    """Change an account and end its sessions; returns when the next one begins at the earliest."""
    async with pool.connection() as connection:
        changed = await fetch_one(connection, _SQL[query], parameters)
        if changed is None:
            raise _unknown(parameters["email"])
        tokens_from = await end_sessions(connection, changed["id"])
        if act == "user_password":
            await failed_sign_ins.clear(connection, parameters["email"])
        await audit.record(connection, act, who=by, about=parameters["email"])
    return tokens_from


def _unknown(email: str) -> NotFoundError:
    return NotFoundError(f"There is no account for {email}.")
