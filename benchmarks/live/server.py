"""The API as ``rollbook serve`` runs it, which also notes how late each message is put on a line.

The notes go to the file that BENCH_LAGS names when the process ends: milliseconds from the moment
at which Redis took an event down to the moment at which it was handed to a client's line.
"""

from __future__ import annotations

import os
import time
from array import array
from typing import TYPE_CHECKING

from rollbook import config
from rollbook.api.server import Server
from rollbook.live.client import Client
from rollbook.live.messages import PER_MS

if TYPE_CHECKING:
    from rollbook.live.messages import Message

LAGS = array("f")


async def _noted(self: Client, following=Client.next) -> Message:  # type: ignore[no-untyped-def]
    message: Message = await following(self)
    if message.job_id:
        LAGS.append(time.time() * 1000 - message.seq // PER_MS)
    return message


def main() -> None:
    """Serve until SIGTERM."""
    Client.next = _noted  # type: ignore[method-assign]
    try:
        Server(config.load()).run()
    finally:
        with open(os.environ["BENCH_LAGS"], "wb") as file:  # noqa: PTH123 - array wants a file
            LAGS.tofile(file)


if __name__ == "__main__":
    main()
