"""Signed tokens (JWT): one algorithm, one issuer, an audience for each use, keys that rotate.

A token names its key (``kid``). After a change of ROLLBOOK_SECRET_KEY, tokens signed with
ROLLBOOK_FORMER_SECRET_KEYS stay valid until they expire.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import jwt

from rollbook import clock

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from pydantic import SecretStr

    from rollbook.config import Settings

ALGORITHM: Final = "HS256"
ISSUER: Final = "rollbook"
#: Allowed difference between the clocks of two of our machines, in seconds.
SKEW_S: Final = 60
#: The audience of API tokens; a token for one audience is invalid for another.
API: Final = "rollbook"


class BadTokenError(Exception):
    """A token is malformed, forged, expired, or for another audience."""


def sign(settings: Settings, audience: str, claims: dict[str, Any], *, until: dt.datetime) -> str:
    """Sign a token with these claims, valid until a time."""
    key = signing_key(settings)
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
    """Verify a token and return its claims, among them those of ``wants``.

    Raises:
        BadTokenError: it is malformed, forged, expired or for another audience, or lacks a claim.
    """
    try:
        named = jwt.get_unverified_header(token)["kid"]
        key = {key_id(key): key for key in verifying_keys(settings)}[str(named)]
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=audience,
            issuer=ISSUER,
            options={
                "require": ["iss", "aud", "iat", "exp", *wants],
                # Checked below, by our clock.
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
    """The id of a key; it reveals nothing of the key."""
    return hashlib.sha256(f"rollbook key id {key}".encode()).hexdigest()[:16]


def signing_key(settings: Settings) -> str:
    """The key that signs tokens: ROLLBOOK_SECRET_KEY, or one generated in the data folder."""
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    return _stored_key((settings.data_dir / "secret.key").absolute())


def verifying_keys(settings: Settings) -> tuple[str, ...]:
    """The keys whose tokens are accepted: the one that signs, then the former ones."""
    return (signing_key(settings), *_listed(settings.former_secret_keys))


def erasure_keys(settings: Settings) -> tuple[str, ...]:
    """The keys by which people who were erased are known: those, and keys that open nothing."""
    return (*verifying_keys(settings), *_listed(settings.erasure_keys))


def _listed(keys: SecretStr | None) -> list[str]:
    return keys.get_secret_value().replace(",", " ").split() if keys else []


@cache  # each request needs it, and the folder may be on a share that hangs
def _stored_key(path: Path) -> str:
    """Read the key file, and create it first if needed; concurrent processes get the same key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    if not path.exists():
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(48))
        try:
            path.hardlink_to(fresh)  # fails where another process was quicker: its key counts
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()
