"""Connections of servers and clients in tests, and their ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

#: For a client that waits between its requests. By itself it keeps a connection for five seconds,
#: as the server does: one that both give up at the same moment is reset.
BRIEFLY = httpx.Limits(keepalive_expiry=2)


@contextlib.contextmanager
def closing(*lines: asyncio.StreamWriter) -> Iterator[None]:
    """Close connections at the end of the context.

    A loop that ends cancels its tasks, and nothing more is sent: their connections are aborted, or
    some later test would find them as garbage.
    """
    try:
        yield
    except asyncio.CancelledError:
        for line in lines:
            line.transport.abort()
        raise
    finally:
        for line in lines:
            line.close()
