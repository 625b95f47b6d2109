"""A connection that a test leaves open says which test that was."""

from __future__ import annotations

import asyncio
import socket

from tests.closing import closing


async def test_a_connection_says_in_which_test_it_was_made() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        _, line = await asyncio.open_connection(sock=ours)
        with closing(line):
            assert "::test_a_connection_says_in_which_test_it_was_made" in repr(line.transport)
