"""The request id that log lines of all processes carry.

The upload's record stores the id of its request. So the log lines of a worker and its child,
perhaps days later on another machine, are found by the id that the sender got.
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

#: Accepted ids of clients: short, with characters that are safe in logs and headers. 13 digits
#: could be an ID number.
_SANE: Final = re.compile(r"(?!\d{13}$)[A-Za-z0-9._:+/=-]{1,64}", re.ASCII)

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def given_or_new(given: str | None) -> str:
    """The client's id if it is acceptable, else a new one."""
    # An ID number in it would be whole in traces, and masked in the log.
    is_sane = given is not None and _SANE.fullmatch(given) and masked(given) == given
    return given if given is not None and is_sane else str(uuid4())


@contextlib.contextmanager
def bound(own: str | None) -> Iterator[None]:
    """Add a request's id to every log line until the context ends."""
    token = request_id.set(own)
    try:
        if own is None:
            yield
        else:
            with structlog.contextvars.bound_contextvars(request_id=own):
                yield
    finally:
        request_id.reset(token)
