"""The routes of an account's second factor: codes of an authenticator app."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict

from pydantic import BaseModel, Field

from rollbook.accounts import second_factor, users
from rollbook.api.access import SessionParam, SystemParam, failures, routes
from rollbook.api.auth import Code, opened
from rollbook.contract import Answer, SignedIn

router = routes("/auth/second-factor", "auth", 401)


class SecondFactor(BaseModel):
    """Whether the account has a second factor."""

    is_on: bool
    is_required: bool = Field(description="The role needs one (ROLLBOOK_SECOND_FACTOR_ROLES).")
    since: dt.datetime | None
    recovery_codes_left: int


class PasswordAndCode(BaseModel, strict=True):
    """What shows that it is you."""

    current_password: str = Field(max_length=1024)
    code: Code | None = Field(
        None,
        description="Of the app, or a recovery code; needed where the second factor is on.",
    )


class FirstCode(BaseModel, strict=True):
    """The first code of a new secret."""

    code: Code


class NewSecret(BaseModel):
    """What an authenticator app needs; it counts once its first code is confirmed."""

    secret: str = Field(description="To be typed, in base32.")
    address: str = Field(description="`otpauth://totp/...`, which the image holds.")
    qr: str = Field(description="A QR code as SVG, for the app's camera.")


class RecoveryCodes(BaseModel):
    """Codes for the day on which the device is lost."""

    recovery_codes: list[str] = Field(description="Each is good once. They are shown this once.")


class SwitchedOn(SignedIn, RecoveryCodes):
    """The recovery codes, and a new session in place of those that have ended."""


@router.get("")
async def show_second_factor(session: SessionParam, system: SystemParam) -> Answer[SecondFactor]:
    """Say whether your account has a second factor."""
    found = await second_factor.state(system.pool, session.user.id)
    return Answer(
        message="The second factor is on." if found.is_on else "There is no second factor.",
        data=SecondFactor(
            **asdict(found), is_required=system.settings.needs_second_factor(session.user.role)
        ),
    )


@router.post("", responses=failures(429))
async def begin_second_factor(
    body: PasswordAndCode, session: SessionParam, system: SystemParam
) -> Answer[NewSecret]:
    """Make a secret for an authenticator app; a present one is good until this is confirmed."""
    await _confirm(body, session, system)
    begun = await second_factor.begin(system.pool, session.user)
    return Answer(
        message="Scan the image with your authenticator app, then confirm with the code it shows.",
        data=NewSecret(**asdict(begun)),
    )


@router.post("/confirm", responses=failures(409, 429))
async def confirm_second_factor(
    body: FirstCode, session: SessionParam, system: SystemParam
) -> Answer[SwitchedOn]:
    """Switch the second factor on by the app's first code; the answer shows the recovery codes.

    All sessions of the account end; the answer has the token of a new one.
    """
    token, made = await users.confirm_second_factor(
        system.pool, system.settings, session, body.code
    )
    signed_in = await opened(system, token)
    return Answer(
        message="The second factor is on, and elsewhere you are signed out. Keep the recovery "
        "codes: they are shown this once.",
        data=SwitchedOn(**dict(signed_in), recovery_codes=made),
    )


@router.post("/recovery-codes", responses=failures(409, 429))
async def renew_recovery_codes(
    body: PasswordAndCode, session: SessionParam, system: SystemParam
) -> Answer[RecoveryCodes]:
    """Make new recovery codes; the former ones are no longer good."""
    await _confirm(body, session, system)
    made = await second_factor.renew_recovery_codes(system.pool, session.user)
    return Answer(
        message="These are your recovery codes now: they are shown this once.",
        data=RecoveryCodes(recovery_codes=made),
    )


@router.post("/off", responses=failures(403, 409, 429))
async def switch_off_second_factor(
    body: PasswordAndCode, session: SessionParam, system: SystemParam
) -> Answer[None]:
    """Switch your second factor off, where your role may be without one."""
    await _confirm(body, session, system)
    await second_factor.switch_off(system.pool, system.settings, session.user)
    return Answer(message="The second factor is off.", data=None)


async def _confirm(body: PasswordAndCode, session: SessionParam, system: SystemParam) -> None:
    """Check that it is the account's owner: a session may be somebody else's by now.

    Raises:
        InvalidRequestError: the password or the code is wrong.
        TooManySignInsError: too many were wrong.
    """
    await users.confirm_owner(
        system.pool, system.settings, session.user, body.current_password, body.code
    )
