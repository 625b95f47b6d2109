"""What an error of PostgreSQL means for the person who waits: one class for each remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import errors
from psycopg_pool import PoolTimeout

from rollbook.backends import exhaustion
from rollbook.errors import (
    BusyError,
    NoResourcesError,
    NoRoomError,
    RollbookError,
    ServerLimitError,
    ServiceUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

BUSY = (
    "Another transaction has locked the same records, so nothing was changed. Please try again in "
    "a moment."
)
AWAY = (
    "The database doesn't answer right now, so nothing was changed. Please try again in a moment."
)
FULL = (
    "The disk of PostgreSQL is full, so nothing was changed. Work resumes automatically when "
    "there is room again."
)
READ_ONLY = (
    "PostgreSQL takes no changes right now (it is read-only), so nothing was changed. Please try "
    "again in a few minutes."
)
#: By the class of the error; what is not here, and not ours, means that PostgreSQL is away.
_MEANINGS: Mapping[type[psycopg.Error], tuple[type[RollbookError], str]] = {
    errors.LockNotAvailable: (BusyError, BUSY),
    errors.DeadlockDetected: (BusyError, BUSY),
    errors.SerializationFailure: (BusyError, BUSY),
    errors.DiskFull: (NoRoomError, FULL),
    errors.ReadOnlySqlTransaction: (ServiceUnavailableError, READ_ONLY),
    # A limit of our own, for a process that was frozen.
    errors.IdleInTransactionSessionTimeout: (ServiceUnavailableError, AWAY),
}
#: A limit that the server has for a role, a database or everybody.
_LIMITS = (
    errors.TransactionTimeout,
    errors.ConfigurationLimitExceeded,
)


def explained(error: Exception) -> RollbookError | None:
    """Our own error for one of PostgreSQL or its pool; None for a fault of ours."""
    for kind, (ours, sentence) in _MEANINGS.items():
        if isinstance(error, kind):
            return ours(sentence)
    if isinstance(error, psycopg.Error) and _is_limit(error):
        said = error.diag.message_primary or type(error).__name__
        return ServerLimitError(
            f"PostgreSQL ended the work because of a limit that is set there ({said}). Nothing was "
            "changed. Ask the operator to raise the limit for Rollbook's role, then try again."
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | PoolTimeout):
        if exhaustion.is_one(error):
            return NoResourcesError(exhaustion.SENTENCE)
        return ServiceUnavailableError(AWAY)
    return None


def _is_limit(error: psycopg.Error) -> bool:
    if isinstance(error, errors.QueryCanceled):
        # Somebody who cancels a statement by hand, or we ourselves, set no limit.
        return "timeout" in (error.diag.message_primary or "")
    return isinstance(error, _LIMITS)
