"""The API as ``rollbook serve`` runs it, which also notes how late each message is put on a line.

The notes go to the file that BENCH_LAGS names when the process ends: milliseconds from the moment
at which Redis took an event down to the moment at which it was handed to a client's line.
"""

from __future__ import annotations

import asyncio
import os
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

from rollbook import config
from rollbook.api.server import Server
from rollbook.live.client import Client
from rollbook.live.messages import PER_MS

if TYPE_CHECKING:
    import socket

    from rollbook.live.messages import Message

LAGS = array("f")


async def _noted(self: Client, following=Client.next) -> Message:  # type: ignore[no-untyped-def]
    message: Message = await following(self)
    if message.job_id:
        LAGS.append(time.time() * 1000 - message.seq // PER_MS)
    return message


class _NotingServer(Server):
    """Writes the notes when it ends: the signal that ends it is raised again afterwards."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        notes = Path(os.environ["BENCH_LAGS"])
        await asyncio.to_thread(notes.write_bytes, LAGS.tobytes())


def main() -> None:
    """Serve until SIGTERM."""
    Client.next = _noted  # type: ignore[method-assign]
    _NotingServer(config.load()).run()


if __name__ == "__main__":
    main()
