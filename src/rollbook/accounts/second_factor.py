"""The second factor of an account: codes of an authenticator app (TOTP, RFC 6238).

A code is accepted once, a recovery code too. Wrong codes delay the next one, beside the limits on
sign-ins: who gets so far knows the password. Secrets are stored as they are, because codes are
computed from them (docs/decisions/0059); recovery codes are stored as SHA-256.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import io
import math
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import pyotp
import segno

from rollbook import clock
from rollbook.accounts import audit
from rollbook.accounts.revocation import end_sessions
from rollbook.backends.database import fetch_one, queries
from rollbook.errors import (
    ConflictError,
    InvalidRequestError,
    NotAllowedError,
    NotAuthenticatedError,
    RollbookError,
    SecondFactorNeededError,
    TooManySignInsError,
)
from rollbook.languages import phrase

if TYPE_CHECKING:
    from uuid import UUID

    from rollbook.backends.database import Connection, Pool, Row
    from rollbook.config import Settings
    from rollbook.model import User

ISSUER: Final = "Rollbook"
#: Seconds of a code, and codes before and after the present one that are accepted: clocks differ.
STEP_S: Final = 30
NEAR_STEPS: Final = 1
#: How long a new secret may wait for its first code, in seconds.
SET_UP_S: Final = 600
RECOVERY_CODES: Final = 10
RECOVERY_BYTES: Final = 10
#: Characters of a recovery code between two hyphens.
_GROUP: Final = 4

_SQL = queries("second_factors")


@dataclass(frozen=True, slots=True)
class State:
    """Whether an account has a second factor."""

    is_on: bool = False
    since: dt.datetime | None = None
    recovery_codes_left: int = 0


@dataclass(frozen=True, slots=True)
class Begun:
    """A secret that is to be confirmed by its first code."""

    #: In base32, to be typed where no camera is.
    secret: str
    #: ``otpauth://``, which the image holds.
    address: str
    #: An image as SVG.
    qr: str


@dataclass(frozen=True, slots=True)
class On:
    """A second factor that was just switched on."""

    #: They are shown this once.
    recovery_codes: list[str]
    #: Sessions that began before it have ended.
    tokens_from: dt.datetime


async def state(pool: Pool, user_id: UUID) -> State:
    """Whether an account has a second factor, and how many recovery codes are left."""
    row = await fetch_one(pool, _SQL["read"], {"user_id": user_id})
    if row is None or not row["is_on"]:
        return State()
    return State(
        is_on=True, since=row["confirmed_at"], recovery_codes_left=row["recovery_codes_left"]
    )


async def verify(pool: Pool, settings: Settings, user: User, code: str | None) -> str:
    """Check the code of somebody who has shown the password; an account without one passes.

    Returns:
        What was shown besides, for the audit trail; may be empty.

    Raises:
        SecondFactorNeededError: no code was given.
        NotAuthenticatedError: the code is wrong, or was used before.
        TooManySignInsError: too many codes were wrong.
    """
    async with pool.connection() as connection:
        row = await fetch_one(connection, _SQL["lock"], {"user_id": user.id})
        if row is None or row["secret"] is None:
            return ""
        shown = await _shown(connection, settings, row, code) if code else _needed()
        is_wrong = isinstance(shown, NotAuthenticatedError) and bool(code)
        if isinstance(shown, RollbookError) and is_wrong:
            await audit.record(
                connection, "sign_in", who=user, refused=shown.code, about="code of the app"
            )
    if isinstance(shown, str):
        return shown
    if is_wrong:  # the waits limit how many there are
        raise shown
    async with audit.refusals(pool, "sign_in", who=user):
        raise shown


async def begin(pool: Pool, user: User) -> Begun:
    """Make a secret; it counts once its first code is given, within ``SET_UP_S``."""
    secret = pyotp.random_base32()
    now = clock.now()
    async with pool.connection() as connection:
        begun = {"user_id": user.id, "secret": secret, "now": now}
        await connection.execute(_SQL["begin"], begun)
        await connection.execute(_SQL["forget_begun"], {"now": now, "good_s": SET_UP_S})
    address = pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=ISSUER)
    image = io.BytesIO()
    segno.make(address, error="m").save(
        image, kind="svg", xmldecl=False, svgns=True, border=4, omitsize=True
    )
    return Begun(secret, address, image.getvalue().decode())


async def confirm(pool: Pool, settings: Settings, user: User, code: str) -> On:
    """Switch the second factor on by the first code of the secret that was shown.

    All sessions of the account end: one that began with the password only isn't opened by this.

    Raises:
        ConflictError: none was begun, or too long ago.
        InvalidRequestError: the code is wrong.
        TooManySignInsError: too many codes were wrong.
    """
    async with pool.connection() as connection:
        row = await fetch_one(connection, _SQL["lock"], {"user_id": user.id})
        if row is None or row["new_secret"] is None:
            raise ConflictError("Begin with a new secret first. Nothing was changed.")
        begun = row["new_secret_at"]
        if begun is None or clock.now() > begun + dt.timedelta(seconds=SET_UP_S):
            raise ConflictError(
                f"The secret was shown more than {SET_UP_S // 60} minutes ago and is no longer "
                "good. Nothing was changed; begin again, with a new one."
            )
        wait = _wait(row["new_locked_until"])
        step = None if wait else _step(row["new_secret"], code)
        if step is not None:
            parameters = {"user_id": user.id, "now": clock.now(), "step": step}
            await connection.execute(_SQL["confirm"], parameters)
            # Those that began without it.
            tokens_from = await end_sessions(connection, user.id)
            made = await _recovery_codes(connection, user.id)
            about = "replaced" if row["secret"] is not None else None
            await audit.record(connection, "second_factor_on", who=user, about=about)
            return On(made, tokens_from)
        if not wait:
            await _fail(connection, settings, user.id, "fail_new")
    raise wait or InvalidRequestError(
        "The code doesn't fit. Check that the device's clock is right, and give the code that the "
        "app shows now. Nothing was changed."
    )


async def renew_recovery_codes(pool: Pool, user: User) -> list[str]:
    """Make new recovery codes, which are shown this once; the former ones end.

    Raises:
        ConflictError: the account has no second factor.
    """
    async with pool.connection() as connection:
        row = await fetch_one(connection, _SQL["lock"], {"user_id": user.id})
        if row is None or row["secret"] is None:
            raise _is_off()
        made = await _recovery_codes(connection, user.id)
        await audit.record(connection, "second_factor_codes", who=user)
    return made


async def switch_off(pool: Pool, settings: Settings, user: User) -> None:
    """Switch the account's own second factor off.

    Raises:
        NotAllowedError: the role must have one.
        ConflictError: it is off.
    """
    if settings.needs_second_factor(user.role):
        raise NotAllowedError(
            "Your role needs a second factor, so it stays on. You can replace it by a new one."
        )
    async with pool.connection() as connection:
        if await fetch_one(connection, _SQL["remove"], {"user_id": user.id}) is None:
            raise _is_off()
        await audit.record(connection, "second_factor_off", who=user)


async def reset(connection: Connection, user: User, *, by: User | None) -> None:
    """Remove the second factor of somebody who has lost it.

    Args:
        connection: in the transaction of who may do so.
        user: the account.
        by: who does it; None: the command line.

    Raises:
        ConflictError: the account has none.
    """
    if await fetch_one(connection, _SQL["remove"], {"user_id": user.id}) is None:
        raise ConflictError("This account has no second factor. Nothing was changed.")
    await audit.record(connection, "second_factor_reset", who=by, about=user.email)


async def _shown(
    connection: Connection, settings: Settings, row: Row, code: str
) -> str | NotAuthenticatedError | TooManySignInsError:
    """How a code was right, or the refusal, which is returned so that the failure is stored."""
    if (wait := _wait(row["locked_until"])) is not None:
        return wait
    own = {"user_id": row["user_id"]}
    step = _step(row["secret"], code)
    if step is not None and step > row["last_step"]:
        await connection.execute(_SQL["accept"], {**own, "step": step})
        return "with a code"
    if await fetch_one(connection, _SQL["use_recovery"], {**own, "hash": _hash(code)}):
        await connection.execute(_SQL["accept"], {**own, "step": 0})
        return "with a recovery code"
    await _fail(connection, settings, row["user_id"], "fail")
    return NotAuthenticatedError(phrase("refusal.code_wrong"))


async def _fail(
    connection: Connection, settings: Settings, user_id: UUID, query: Literal["fail", "fail_new"]
) -> None:
    parameters = {
        "user_id": user_id,
        "now": clock.now(),
        "free": settings.second_factor_failures,
        "longest_s": settings.sign_in_longest_wait_s,
    }
    await connection.execute(_SQL[query], parameters)


def _wait(locked_until: dt.datetime | None) -> TooManySignInsError | None:
    """The refusal while wrong codes delay the next one."""
    if locked_until is None or locked_until <= clock.now():
        return None
    seconds = max(math.ceil((locked_until - clock.now()).total_seconds()), 1)
    return TooManySignInsError(
        phrase("refusal.codes_wrong", n=seconds),
        wait_s=seconds,
    )


def _step(secret: str, code: str) -> int | None:
    """The period of a code; None where it is none of the present ones."""
    digits = "".join(code.split())
    if len(digits) != pyotp.TOTP(secret).digits or not digits.isascii():
        return None
    totp = pyotp.TOTP(secret, interval=STEP_S)
    now = int(clock.now().timestamp()) // STEP_S
    steps = range(now - NEAR_STEPS, now + NEAR_STEPS + 1)
    good = [step for step in steps if hmac.compare_digest(totp.generate_otp(step), digits)]
    return max(good, default=None)


async def _recovery_codes(connection: Connection, user_id: UUID) -> list[str]:
    await connection.execute(_SQL["forget_recovery"], {"user_id": user_id})
    made = [_recovery_code() for _ in range(RECOVERY_CODES)]
    hashes = [_hash(code) for code in made]
    await connection.execute(_SQL["add_recovery"], {"user_id": user_id, "hashes": hashes})
    return made


def _recovery_code() -> str:
    text = base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def _hash(code: str) -> bytes:
    # Of 80 random bits: a slow hash would not make guessing harder.
    plain = "".join(code.split()).replace("-", "").lower()
    return hashlib.sha256(plain.encode()).digest()


def _needed() -> SecondFactorNeededError:
    return SecondFactorNeededError(phrase("refusal.code_needed"))


def _is_off() -> ConflictError:
    return ConflictError("Your account has no second factor. Nothing was changed.")
