"""Failed sign-ins delay the next one (OWASP ASVS 5.0, 6.3.1), without locking accounts out.

Failures are counted in PostgreSQL by account and address together, by address, and by account over
all addresses. An attempt is noted before its password is checked, and only so many may be under way
at a time that none could be one guess too many; the others wait for these, so that many right
sign-ins at once all succeed and many guesses at once gain nothing.

A stranger's failures must not keep the owner out: from an address at which an account has signed in
before, a wait is a few seconds at most, and the attempt is held instead of being refused.
Nothing that was typed is stored: keys are hashed, and unknown addresses count like known ones.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rollbook import clock
from rollbook.accounts import audit
from rollbook.backends.database import fetch_one, queries
from rollbook.errors import TooManySignInsError

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from rollbook.backends.database import Pool, Row
    from rollbook.config import Settings

#: Delay before an attempt that waits for others is tried again, in seconds.
_POLL_S: Final = 0.1
#: Longest time for which an attempt is held before it is refused, in seconds.
_PATIENCE_S: Final = 20.0
#: Age after which an attempt under way counts as lost with its process, in seconds.
_LOST_S: Final = 30

_SQL = queries("failed_sign_ins")


@dataclass(frozen=True, slots=True)
class _Counter:
    """What is counted together."""

    key: str
    #: The hash of the account, null for an address: a new password clears all of an account's.
    account: str | None
    #: Failures before the next attempt waits.
    free: int
    #: The longest wait, in seconds.
    longest_s: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in that may be tried; ``fail``, ``succeed`` or ``release`` ends it."""

    account: str
    #: The account at this address, which is known once it has signed in there.
    pair: str
    is_known: bool
    #: Each must have room for the attempt.
    gates: tuple[_Counter, ...]
    #: Each counts a failure.
    counters: tuple[_Counter, ...]


async def begin(pool: Pool, settings: Settings, email: str) -> Attempt:
    """Wait until an attempt to sign in may be tried, and note that it is under way.

    Raises:
        TooManySignInsError: too many have failed. The audit trail gets one entry for each wait,
            however often it is tried.
    """
    attempt = await _attempt(pool, settings, email)
    waited = 0.0
    while True:
        async with pool.connection() as connection:
            closed = await _enter(connection, settings, attempt)
            if closed is None:
                return attempt
            wait_s = (await _locked_for_s(connection, closed)) or _POLL_S
            # An attempt is refused, unless it waits for others under way or its address is known.
            is_patient = attempt.is_known or wait_s == _POLL_S
            if not is_patient or waited + wait_s > _PATIENCE_S:
                refused = await _refusal(connection, closed, wait_s, email)
                break
        await asyncio.sleep(wait_s)
        waited += wait_s
    raise refused


async def fail(connection: AsyncConnection[Row], settings: Settings, attempt: Attempt) -> None:
    """Count a failure."""
    for counter in attempt.counters:
        held = counter in attempt.gates
        await connection.execute(
            _SQL["fail"], {**_parameters(settings, counter), "held": int(held)}
        )
    old = {"now": clock.now(), "forget_s": settings.sign_in_forget_min * 60}
    await connection.execute(_SQL["forget_old"], old)


async def succeed(connection: AsyncConnection[Row], settings: Settings, attempt: Attempt) -> None:
    """End the attempt: the account's count at this address begins again, and the address is known.

    The counts of the address and of the account as a whole stay: somebody who knows one account
    could otherwise try all others in between.
    """
    for counter in attempt.gates:
        query = "reset" if counter.key == attempt.pair else "release"
        await connection.execute(_SQL[query], {"key": counter.key})
    known = {"key": attempt.pair, "account": attempt.account, "now": clock.now()}
    await connection.execute(_SQL["remember"], known)
    old = {"now": clock.now(), "days": settings.sign_in_known_days}
    await connection.execute(_SQL["forget_known"], old)


async def release(pool: Pool, attempt: Attempt) -> None:
    """End an attempt with the right password that is no sign-in: all counts stay as they are."""
    async with pool.connection() as connection:
        for counter in attempt.gates:
            await connection.execute(_SQL["release"], {"key": counter.key})


async def clear(connection: AsyncConnection[Row], email: str) -> None:
    """Forget all failures of an account, which has a new password."""
    await connection.execute(_SQL["clear"], {"account": _hash(email)})


async def _attempt(pool: Pool, settings: Settings, email: str) -> Attempt:
    account, address = _hash(email), _address()
    pair = _hash(f"{account} {address}")
    known = {"key": pair, "now": clock.now(), "days": settings.sign_in_known_days}
    is_known = await fetch_one(pool, _SQL["is_known"], known) is not None
    longest_s = settings.sign_in_longest_wait_s
    here = _Counter(
        pair,
        account,
        settings.sign_in_failures,
        min(settings.sign_in_known_wait_s, longest_s) if is_known else longest_s,
    )
    of_address = _Counter(address, None, settings.sign_in_failures_per_address, longest_s)
    of_account = _Counter(account, account, settings.sign_in_failures_per_account, longest_s)
    counters = (of_address, here, of_account)
    return Attempt(account, pair, is_known, (here,) if is_known else counters, counters)


async def _enter(
    connection: AsyncConnection[Row], settings: Settings, attempt: Attempt
) -> _Counter | None:
    """Note the attempt at every gate, or at none and return the one that is closed."""
    for number, counter in enumerate(attempt.gates):
        parameters = _parameters(settings, counter)
        if await fetch_one(connection, _SQL["enter"], parameters) is None:
            for entered in attempt.gates[:number]:
                await connection.execute(_SQL["release"], {"key": entered.key})
            return counter
    return None


def _parameters(settings: Settings, counter: _Counter) -> dict[str, Any]:
    return {
        "key": counter.key,
        "account": counter.account,
        "free": counter.free,
        "longest_s": counter.longest_s,
        "now": clock.now(),
        "forget_s": settings.sign_in_forget_min * 60,
        "lost_s": _LOST_S,
    }


async def _locked_for_s(connection: AsyncConnection[Row], counter: _Counter) -> float | None:
    """Seconds until a counter lets the next attempt in; None where it waits for others only."""
    parameters = {"key": counter.key, "longest_s": counter.longest_s, "now": clock.now()}
    row = await fetch_one(connection, _SQL["locked"], parameters)
    if row is None:
        return None
    return max(float((row["locked_until"] - clock.now()).total_seconds()), _POLL_S * 2)


async def _refusal(
    connection: AsyncConnection[Row], counter: _Counter, wait_s: float, email: str
) -> TooManySignInsError:
    seconds = max(math.ceil(wait_s), 1)
    wait = f"{seconds} second{'s' * (seconds > 1)}"
    if seconds > 120:
        wait = f"{math.ceil(seconds / 60)} minutes"
    whose = "from your address" if counter.account is None else "to this account"
    refused = TooManySignInsError(
        f"Too many sign-ins {whose} failed, so this one was not tried. Please wait {wait}, then "
        "try again. A new password set by an operator ends the wait of an account at once.",
        wait_s=seconds,
    )
    row = await fetch_one(connection, _SQL["note"], {"key": counter.key})
    if row is not None and row["is_first"]:
        await audit.record(connection, "sign_in", who=None, refused=refused.code, email=email)
    return refused


def _hash(text: str) -> str:
    return hashlib.sha256(text.lower().encode()).hexdigest()


def _address() -> str:
    return f"address:{audit.network_of(audit.origin.get().address)}"
