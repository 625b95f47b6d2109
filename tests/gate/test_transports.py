"""Connections in tests: all end with their server, and one that is left open says whose it is."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import warnings
from pathlib import Path

import pytest

from tests.closing import closing, served

TESTS = Path(__file__).parents[1]


async def test_a_connection_says_in_which_test_it_was_made() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        _, line = await asyncio.open_connection(sock=ours)
        with closing(line):
            assert "::test_a_connection_says_in_which_test_it_was_made" in repr(line.transport)


async def aside(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hold a connection for as long as it may be held."""
    with closing(writer):
        await asyncio.Event().wait()  # no bound: until the server's end


@pytest.mark.parametrize("rounds", range(6))
def test_a_server_ends_with_all_its_connections_however_far_they_have_come(rounds: int) -> None:
    async def comes_last() -> None:
        async with served(aside) as port:
            client.connect(("127.0.0.1", port))
            for _ in range(rounds):
                await asyncio.sleep(0)

    with socket.socket() as client, warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        asyncio.run(comes_last())
        gc.collect()
        client.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    assert [str(one.message) for one in found] == []


def test_tests_serve_streams_by_what_ends_them() -> None:
    """asyncio's own servers leave a connection open whose handler never began."""
    starts = ("asyncio.start_server(", "asyncio.start_unix_server(")
    found = [
        path.relative_to(TESTS).as_posix()
        for path in TESTS.rglob("*.py")
        if path.name != "test_transports.py"
        if any(start in path.read_text() for start in starts)
    ]
    assert found == ["closing.py"]
