"""Errors of a file store as ours: away, full, or without resources of this machine."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obstore.exceptions import BaseError

from rollbook.backends import exhaustion
from rollbook.errors import (
    NoResourcesError,
    NoRoomError,
    RollbookError,
    ServiceUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one of several files."""

    key: str
    #: Its size; 0 where it is gone already, or ``error`` says why nothing could be done.
    bytes: int
    error: ServiceUnavailableError | None = None


def done_of(key: str, end: int | BaseException) -> Done:
    """What came of a file whose size was found, or that met an error; others are raised."""
    if isinstance(end, int):
        return Done(key, end)
    try:
        with _translated():
            raise end
    except FileNotFoundError:
        return Done(key, 0)
    except ServiceUnavailableError as error:
        return Done(key, 0, error)


@contextlib.contextmanager
def mapped() -> Iterator[None]:
    """Map the store's failures to our error; a missing file stays a FileNotFoundError.

    A call within the context isn't begun without a thread for it.
    """
    exhaustion.expect_store_threads()
    with _translated():
        yield


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise unavailable(
            error,
            "The file store doesn't answer right now. Nothing was changed; please try again in a "
            "few minutes.",
        ) from error
    except BaseException as error:
        if exhaustion.is_one(error):
            raise NoResourcesError(exhaustion.SENTENCE) from error
        raise


def unavailable(error: Exception, sentence: str) -> RollbookError:
    """Our own error: a full disk and a store that is away are different errors."""
    if exhaustion.is_one(error):
        return NoResourcesError(exhaustion.SENTENCE)
    if is_full(error):
        return NoRoomError(
            "The disk of the file store is full, so nothing was changed. Work resumes "
            "automatically when there is room again."
        )
    return ServiceUnavailableError(sentence)


def is_full(error: BaseException) -> bool:
    """Does an error say that a disk is full, or a quota used up?

    Libraries in other languages keep the system's number in their text.
    """
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    text = str(error)
    return any(f"os error {number})" in text for number in _FULL) or "No space left" in text
