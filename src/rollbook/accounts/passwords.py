"""Passwords: how they are hashed, and which ones are refused.

Length and guessability count, kinds of characters don't (OWASP ASVS 5.0, 6.2.1, 6.2.5, 6.2.12; NIST
SP 800-63B). ``zxcvbn`` estimates how many guesses a password needs, with common passwords, names,
dates and rows of keys, and with the words of the account itself.
"""

from __future__ import annotations

import re
import secrets
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from rollbook.errors import InvalidRequestError
from rollbook.languages import phrase
from rollbook.masking import masked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rollbook.model import User

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 1024
#: The lowest accepted score of zxcvbn, 0 to 4; 3 is safe where hashes are slow and were stolen.
STRENGTH: Final = 3
#: Characters that zxcvbn gets: its time grows with their cube, to a quarter of a second here. Each
#: later character only makes a password stronger.
_RATED_LENGTH: Final = 32
#: Argon2id as RFC 9106, section 4, recommends where memory is scarce: above the least that OWASP
#: names (19 MiB with 2 passes). A hash of other figures is renewed at the next sign-in.
HASHER: Final = Argon2Hasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)
#: Passwords hashed at a time in one process: each takes 64 MiB.
AT_A_TIME: Final = 4

BETTER: Final = (
    "Nothing was changed; a few words that have nothing to do with each other or with you make a "
    "good password."
)

_hasher = PasswordHash((HASHER,))
_limiter: Final = cache(lambda: anyio.CapacityLimiter(AT_A_TIME))
#: zxcvbn keeps the account's words in a global: one rating at a time.
_one_rating: Final = cache(lambda: anyio.CapacityLimiter(1))


async def check(password: str, user: User, *, strength: int = STRENGTH) -> None:
    """Refuse a password that can be guessed, also by the user's own words.

    ``strength`` is the lowest accepted score, 0 to 4.

    Raises:
        InvalidRequestError: it is too short, too long or too easy to guess; the sentence says why
            and how to find a better one.
    """
    if len(password) < MIN_LENGTH:
        raise InvalidRequestError(phrase("refusal.password_short", least=MIN_LENGTH))
    if len(password) > MAX_LENGTH:
        raise InvalidRequestError(
            f"A password has at most {MAX_LENGTH} characters. Nothing was changed."
        )
    if masked(password) != password:
        raise InvalidRequestError(
            "This password has an ID number in it, which others know too. Nothing was changed."
        )
    rating = await anyio.to_thread.run_sync(
        _rate, password[:_RATED_LENGTH], list(_own_words(user)), limiter=_one_rating()
    )
    if rating["score"] < strength:
        feedback = rating["feedback"]
        advice = filter(None, (feedback["warning"], *feedback["suggestions"]))
        raise InvalidRequestError(
            " ".join(("This password is too easy to guess.", *advice, BETTER))
        )


def _rate(password: str, own_words: list[str]) -> dict[str, Any]:
    from zxcvbn import zxcvbn  # noqa: PLC0415 - slow to import, and seldom needed

    rating: dict[str, Any] = zxcvbn(password, user_inputs=own_words)
    return rating


def _own_words(user: User) -> Iterable[str]:
    """What an attacker tries first for this account."""
    yield "rollbook"
    for text in (user.email, user.name, user.scope.province, user.scope.municipality):
        if text:
            yield text
            yield text.partition("@")[0]
            yield from re.split(r"[\W_]+", text)


async def hash_of(password: str) -> str:
    """The hash to store."""
    return await anyio.to_thread.run_sync(_hasher.hash, password, limiter=_limiter())


async def verify(password: str, known_hash: str | None) -> tuple[bool, str | None]:
    """Compare a password with a hash, in constant time; without a hash it takes as long.

    Returns:
        Whether it is right, and the hash to store from now on where the settings have changed.
    """

    def compare() -> tuple[bool, str | None]:
        good, newer = _hasher.verify_and_update(password, known_hash or _nobodys_hash())
        return good and known_hash is not None, newer

    return await anyio.to_thread.run_sync(compare, limiter=_limiter())


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe(16))
