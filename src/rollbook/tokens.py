"""Signed tokens (JWT): one algorithm, one issuer, an audience for each use, keys that can change.

A token names its key (``kid``), so that after a change of ROLLBOOK_SECRET_KEY those of
ROLLBOOK_FORMER_SECRET_KEYS are still read until they end.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import jwt

from rollbook import clock

if TYPE_CHECKING:
    import datetime as dt

    from rollbook.config import Settings

ALGORITHM: Final = "HS256"
ISSUER: Final = "rollbook"
#: Seconds by which the clocks of two of our machines may differ.
SKEW_S: Final = 60
#: What a token is for: one of a kind is none of another.
API: Final = "rollbook"


class BadTokenError(Exception):
    """A token is malformed, forged, expired, or for another use."""


def sign(settings: Settings, audience: str, claims: dict[str, Any], *, until: dt.datetime) -> str:
    """A signed token of these claims."""
    key = settings.signing_key()
    issued = clock.now()
    whole = {
        **claims,
        "iss": ISSUER,
        "aud": audience,
        "iat": issued.timestamp(),
        "exp": int(until.timestamp()),  # of a part of a second, readers would cut the rest off
    }
    return jwt.encode(whole, key, algorithm=ALGORITHM, headers={"kid": key_id(key)})


def read(settings: Settings, audience: str, token: str, *, wants: list[str]) -> dict[str, Any]:
    """The claims of a token.

    Args:
        settings: have the keys.
        audience: what it must be for.
        token: as it came.
        wants: claims that it must have beside those that all have.

    Raises:
        BadTokenError: it isn't ours, isn't for this, or its time is over.
    """
    try:
        named = jwt.get_unverified_header(token)["kid"]
        key = {key_id(key): key for key in settings.verifying_keys()}[str(named)]
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=audience,
            issuer=ISSUER,
            options={
                "require": ["iss", "aud", "iat", "exp", *wants],
                # Below, by the one clock of ours.
                "verify_exp": False,
                "verify_iat": False,
            },
        )
        now = clock.now().timestamp()
        if not float(claims["iat"]) - SKEW_S <= now < float(claims["exp"]):
            raise BadTokenError
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
        raise BadTokenError from None
    return claims


def key_id(key: str) -> str:
    """The name of a key, from which nobody learns the key."""
    return hashlib.sha256(f"rollbook key id {key}".encode()).hexdigest()[:16]
