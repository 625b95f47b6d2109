"""Connections of servers and clients in tests, which end with their task."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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
