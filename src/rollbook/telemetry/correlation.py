"""Which request a piece of work belongs to: an id that log lines carry through all processes.

The upload's record keeps the id of the request that brought it, so that the lines of a worker and
of its child, perhaps days later on another machine, are found by the id that the sender was given.
"""

from __future__ import annotations

import contextlib
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog

from rollbook.masking import masked

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What is taken over from a client: letters, digits and a few signs that no log or header minds,
#: and too short for a spreadsheet. 13 digits would be an ID number, and are no request's id.
_SANE: Final = re.compile(r"(?!\d{13}$)[A-Za-z0-9._:+/=-]{1,64}", re.ASCII)

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def taken_or_made(given: str | None) -> str:
    """The id that a client gave, if it is a sane one, else a new one."""
    # One with an ID number in it would stand whole in traces, and masked in the log.
    is_sane = given is not None and _SANE.fullmatch(given) and masked(given) == given
    return given if given is not None and is_sane else str(uuid4())


@contextlib.contextmanager
def bound(own: str | None) -> Iterator[None]:
    """Work for a request: its id is in every log line until the context ends."""
    token = request_id.set(own)
    try:
        if own is None:
            yield
        else:
            with structlog.contextvars.bound_contextvars(request_id=own):
                yield
    finally:
        request_id.reset(token)
