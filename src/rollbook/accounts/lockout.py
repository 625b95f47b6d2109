"""Failed sign-ins make the next one wait, per account and per address (OWASP ASVS 5.0, 6.3.1).

Each attempt is counted before its password is looked at, in one statement that waits for its
like, so that many at once are no way around it; a good one takes the count back. Nobody is locked
out for good: the wait doubles up to a limit, and is forgotten. It stands in PostgreSQL, so that
neither a restart nor another process knows nothing of it. What was typed isn't kept: keys are
hashed, and unknown addresses are counted like known ones.
"""

from __future__ import annotations

import hashlib
import math
from ipaddress import ip_address
from typing import TYPE_CHECKING

from rollbook import clock
from rollbook.accounts import audit
from rollbook.backends.database import fetch_one, queries
from rollbook.errors import TooManySignInsError

if TYPE_CHECKING:
    import datetime as dt

    from psycopg import AsyncConnection

    from rollbook.backends.database import Pool, Row
    from rollbook.config import Settings

_SQL = queries("lockout")


async def take(pool: Pool, settings: Settings, email: str) -> None:
    """Count an attempt to sign in.

    Raises:
        TooManySignInsError: the account or the client's address must wait first. The audit trail
            gets one entry for each such wait, however often it is tried.
    """
    limits = {
        _of_account(email): settings.sign_in_failures,
        _of_address(): settings.sign_in_failures_per_address,
    }
    now = clock.now()
    refused: TooManySignInsError | None = None
    async with pool.connection() as connection:
        for number, (key, free) in enumerate(limits.items()):
            parameters = {
                "key": key,
                "now": now,
                "free": free,
                "longest_s": settings.sign_in_longest_wait_s,
                "forget_s": settings.sign_in_forget_min * 60,
            }
            taken = await fetch_one(connection, _SQL["take"], parameters)
            if taken is None:
                if number:
                    await _give_back(connection, _of_account(email))
                refused = await _refusal(connection, key, now, email)
                break
        old = {"now": now, "forget_s": settings.sign_in_forget_min * 60}
        await connection.execute(_SQL["forget_old"], old)
    if refused is not None:
        raise refused


async def succeed(connection: AsyncConnection[Row], email: str) -> None:
    """A good sign-in: the account's count begins anew, and the address' takes this one back.

    Not all of the address': whoever knows one account could try all others in between.
    """
    await connection.execute(_SQL["succeed"], {"key": _of_account(email)})
    await _give_back(connection, _of_address())


async def _give_back(connection: AsyncConnection[Row], key: str) -> None:
    await connection.execute(_SQL["give_back"], {"key": key})


async def _refusal(
    connection: AsyncConnection[Row], key: str, now: dt.datetime, email: str
) -> TooManySignInsError:
    row = await fetch_one(connection, _SQL["refuse"], {"key": key})
    wait_s = 1
    if row is not None:
        wait_s = max(math.ceil((row["locked_until"] - now).total_seconds()), 1)
    wait = f"{wait_s} second{'s' * (wait_s > 1)}"
    if wait_s > 120:
        wait = f"{math.ceil(wait_s / 60)} minutes"
    refused = TooManySignInsError(
        f"There were too many sign-ins that failed, so this one was not tried. Please wait {wait}, "
        "then try again; an operator can set a new password.",
        wait_s=wait_s,
    )
    if row is not None and row["is_first"]:
        await audit.record(connection, "sign_in", who=None, refused=refused.code, email=email)
    return refused


def _of_account(email: str) -> str:
    return "account:" + hashlib.sha256(email.lower().encode()).hexdigest()


def _of_address() -> str:
    """The client's address; in IPv6 the network of 64 bits that one subscriber has."""
    given = audit.origin.get().address or ""
    try:
        address = ip_address(given)
    except ValueError:
        return "address:" + given[:64]
    if address.version == 6 and address.ipv4_mapped is None:
        return f"address:{int(address) >> 64:x}::/64"
    return f"address:{address}"
