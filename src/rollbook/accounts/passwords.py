"""Passwords: how they are hashed, and which are refused.

Length counts, kinds of characters don't (OWASP ASVS 5.0, 6.2.1, 6.2.5, 6.2.12; NIST SP 800-63B).
What is refused beside short ones is what is tried first: common phrases, rows of keys, repetitions,
and the account's own address.
"""

from __future__ import annotations

import re
import secrets
from functools import cache
from typing import Final

import anyio
import anyio.to_thread
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from rollbook.errors import InvalidRequestError

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 1024
#: Argon2id as RFC 9106, section 4, recommends where memory is scarce: above the least that OWASP
#: names (19 MiB with 2 passes). A hash of other figures is renewed at the next sign-in.
HASHER: Final = Argon2Hasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)
#: Passwords hashed at a time in one process: each takes 64 MiB.
AT_A_TIME: Final = 4

#: What long common passwords are made of, in plain letters.
_COMMON: Final = (
    "password", "passphrase", "passcode", "letmein", "welcome", "qwertyuiop", "qwerty", "asdfghjkl",
    "zxcvbnm", "iloveyou", "administrator", "admin", "changeme", "trustno", "princess", "sunshine",
    "football", "baseball", "superman", "batman", "dragon", "monkey", "master", "shadow", "michael",
    "liverpool", "chelsea", "arsenal", "kaizerchiefs", "orlandopirates", "southafrica", "mandela",
    "johannesburg", "capetown", "pretoria", "durban", "springboks", "rollbook", "default", "guest",
    "login", "secret", "system", "server", "please", "january", "february", "march", "april",
    "june", "july", "august", "september", "october", "november", "december", "monday", "tuesday",
    "wednesday", "thursday", "friday", "saturday", "sunday", "summer", "winter", "spring",
    "autumn", "love", "jesus", "god", "user", "test", "member", "members", "abc", "xyz", "the",
    "my", "is", "our", "to", "me", "in",
)  # fmt: skip
_COMMON_ONLY: Final = re.compile(f"(?:{'|'.join(sorted(_COMMON, key=len, reverse=True))})+")
_ROWS: Final = (
    "abcdefghijklmnopqrstuvwxyz", "01234567890123456789", "qwertyuiopasdfghjklzxcvbnm",
    "1q2w3e4r5t6y7u8i9o0p", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
)  # fmt: skip
_PLAIN: Final = str.maketrans("@4310!$5780", "aaelOissTbo".lower())

_hasher = PasswordHash((HASHER,))
_limiter: Final = cache(lambda: anyio.CapacityLimiter(AT_A_TIME))


def check(password: str, *, email: str = "") -> None:
    """Refuse a password that would be guessed.

    Raises:
        InvalidRequestError: it is too short, too long or too common; the sentence says which.
    """
    if len(password) < MIN_LENGTH:
        raise InvalidRequestError(
            f"A password needs at least {MIN_LENGTH} characters. Nothing was changed."
        )
    if len(password) > MAX_LENGTH:
        raise InvalidRequestError(
            f"A password has at most {MAX_LENGTH} characters. Nothing was changed."
        )
    if is_common(password, email=email):
        raise InvalidRequestError(
            "This password is among those that are tried first. Nothing was changed; a few words "
            "that don't belong together make a good one."
        )


def is_common(password: str, *, email: str = "") -> bool:
    """Is a password one of those that are tried first?"""
    small = password.casefold()
    if re.fullmatch(r"(.{1,6}?)\1+.{0,5}", small) or len(set(small)) < 5:
        return True
    if any(small in row * 2 or small[::-1] in row * 2 for row in _ROWS):
        return True
    rest = small
    for part in re.split(r"[\W_]+", email.casefold()):
        if len(part) >= 4:
            rest = rest.replace(part, "")
    stem = re.sub(r"[\W\d_]+$", "", rest)
    if not stem:  # digits and signs alone, beside the account's own address
        return len(rest) < 12 or (rest.isdigit() and len(rest) < 16)
    words = (re.sub(r"[\W\d_]+", "", stem), re.sub(r"[\W\d_]+", "", stem.translate(_PLAIN)))
    return any(len(word) < 3 or _COMMON_ONLY.fullmatch(word) for word in words)


async def hash_of(password: str) -> str:
    """The hash to be kept."""
    return await anyio.to_thread.run_sync(_hasher.hash, password, limiter=_limiter())


async def verify(password: str, known_hash: str | None) -> tuple[bool, str | None]:
    """Compare a password with a hash, in constant time.

    Args:
        password: as it was typed.
        known_hash: None where there is no account: the answer then takes as long.

    Returns:
        Is it good, and the hash to keep from now on where the settings have changed.
    """

    def compare() -> tuple[bool, str | None]:
        good, newer = _hasher.verify_and_update(password, known_hash or _nobodys_hash())
        return good and known_hash is not None, newer

    return await anyio.to_thread.run_sync(compare, limiter=_limiter())


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe(16))
