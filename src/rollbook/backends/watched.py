"""Connections that find out while they wait that their server waits for them.

A merge's statement may take minutes, so no clock can tell one that runs from one whose answer was
lost on the way. Keepalives find a server that is gone, but not one behind a proxy that keeps both
ends up. The server itself knows, and a second connection asks it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg.abc import PQGen

Answer = TypeVar("Answer")

#: Seconds between two looks that find the server idle, after which the answer counts as lost: one
#: that is on its way has come by then.
SURE_S = 5.0
#: Where a loop's looks run: the threads that asyncio has may all wait for a disk that hangs.
_LOOKS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="rollbook-watch")


class WatchedConnection(psycopg.Connection[Any]):
    """A connection that ``watch`` may end."""

    #: Since when an answer is waited for, by the monotonic clock; None while none is.
    waiting_since: float | None = None
    #: Ends the watch.
    is_done: threading.Event | None = None

    def wait(self, gen: PQGen[Answer], *args: Any, **more: Any) -> Answer:
        """Wait for an answer; raises ``OperationalError`` where the connection is ended."""
        self.waiting_since = time.monotonic()
        try:
            return super().wait(gen, *args, **more)
        finally:
            self.waiting_since = None

    def close(self) -> None:
        """Close the connection, and end the thread that watches it."""
        super().close()
        if self.is_done is not None:
            self.is_done.set()


def watch(
    connection: WatchedConnection, is_at_work: Callable[[], bool | None], answer_s: float
) -> None:
    """End a connection once its server doesn't work on what it waits for.

    A thread watches it until it is closed. After each ``answer_s`` seconds of waiting,
    ``is_at_work`` asks whether the server works for this session; None when it can't be asked now.
    It is asked again before the connection is ended: the answer may just have come.
    """
    done = connection.is_done = threading.Event()
    arguments = (connection, done, is_at_work, answer_s)
    threading.Thread(target=_watch, args=arguments, daemon=True).start()


def _watch(
    connection: WatchedConnection,
    done: threading.Event,
    is_at_work: Callable[[], bool | None],
    answer_s: float,
) -> None:
    pause_s = answer_s / 2
    lost_since: float | None = None
    while not done.wait(pause_s if lost_since is None else min(SURE_S, pause_s)):
        since = connection.waiting_since
        if since is None or time.monotonic() - since < answer_s:
            lost_since = None
            continue
        with suppress(OSError, psycopg.Error):  # it has been closed meanwhile
            is_lost = is_at_work() is False
            # It is still the same wait, and was lost at the last look.
            if is_lost and lost_since == since == connection.waiting_since:
                _end(connection.fileno())
            lost_since = since if is_lost else None


async def watch_wait(
    connection: psycopg.AsyncConnection[Any],
    is_at_work: Callable[[], bool | None],
    answer_s: float,
) -> None:
    """The same beside one wait of a connection of asyncio; the waiting task cancels this."""
    loop = asyncio.get_running_loop()
    was_lost = False
    while True:
        await asyncio.sleep(min(SURE_S, answer_s / 2) if was_lost else answer_s)
        try:
            is_lost = await loop.run_in_executor(_LOOKS, is_at_work) is False
        except RuntimeError:  # the machine gives no thread now
            is_lost = False
        if was_lost and is_lost:
            with suppress(OSError, psycopg.Error):  # it has been closed meanwhile
                _end(connection.fileno())
            return
        was_lost = is_lost


def _end(descriptor: int) -> None:
    """Let the wait for an answer hear that the connection is over."""
    with socket.socket(fileno=os.dup(descriptor)) as own:
        own.shutdown(socket.SHUT_RDWR)
