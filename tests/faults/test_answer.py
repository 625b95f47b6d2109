"""An answer that nobody reads, or that is read slowly."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from rollbook.api.connections import Requests, _Line
from tests.integration.folder.watching import until
from tests.listening import Site, quick
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rollbook.config import Settings

#: Requests whose answers are more than the buffers of both sides hold.
REQUESTS = 60
#: Bytes that a client reads between two looks: more than its own buffer holds.
ENOUGH = 16 * 1024
GET = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    limits = {"body_grace_s": 2, "body_least_rate": 100, "idle_connection_s": 1}
    async with Site(quick(settings, **limits)) as served:
        yield served


def connected(site: Site) -> socket.socket:
    """A client with a small buffer."""
    host, port = site.host.split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(PATIENCE_S)
    client.connect((host, int(port)))
    return client


async def test_an_answer_that_nobody_reads_is_cut_off(site: Site) -> None:
    """Otherwise such clients hold connections, memory and files of the store for ever."""
    with await asyncio.to_thread(connected, site) as client:
        await asyncio.to_thread(client.sendall, GET * REQUESTS)
        assert await asyncio.to_thread(client.recv, 1) == b"H"
        await until(lambda: site.server.server_state.connections == set())


async def test_an_answer_that_is_read_slowly_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is that the client reads, and not how long that takes."""
    looks = has_read = 0
    look = Requests._look_at_reader

    def counted(protocol: Requests, *arguments: Any) -> None:
        nonlocal looks, has_read
        if has_read < ENOUGH:  # the client is in this process, which had no turn meanwhile
            protocol._await_reader()
            return
        looks += 1
        has_read = 0
        look(protocol, *arguments)

    monkeypatch.setattr(Requests, "_look_at_reader", counted)
    with await asyncio.to_thread(connected, site) as client:
        await asyncio.to_thread(client.sendall, GET * REQUESTS)

        async def is_looked_at_twice() -> bool:
            nonlocal has_read
            block = await asyncio.to_thread(client.recv, 1024)
            assert block
            has_read += len(block)
            return looks >= 2

        await until(is_looked_at_twice)
        assert len(site.server.server_state.connections) == 1


async def test_the_rest_of_an_ended_answer_that_nobody_reads_is_cut_off(site: Site) -> None:
    """asyncio resumes the writing of a closing connection, too."""
    connections = site.server.server_state.connections
    with await asyncio.to_thread(connected, site) as client:
        await until(lambda: len(connections) == 1)
        [protocol] = connections
        assert isinstance(protocol, Requests)
        held = protocol.transport.get_extra_info("socket")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        await asyncio.to_thread(client.sendall, last)
        await until(protocol.transport.is_closing)
        protocol.resume_writing()
        await until(lambda: connections == set())


async def test_an_answer_to_a_fault_of_ours_says_that_its_connection_ends(site: Site) -> None:
    """The server closes it: a request that came meanwhile on a kept connection would be reset."""
    site.server.app.state.readiness = None
    with await asyncio.to_thread(connected, site) as client:
        await asyncio.to_thread(client.sendall, GET.replace(b"/openapi.json", b"/readyz"))
        answer = b""
        while block := await asyncio.to_thread(client.recv, 1024):  # no bound: it has a time limit
            answer += block
    head, _, body = answer.lower().partition(b"\r\n\r\n")
    assert head.startswith(b"http/1.1 500")
    assert b"\r\nconnection: close" in head
    assert b"urn:rollbook:problem:internal" in body


async def test_nothing_is_written_after_the_end_of_a_line() -> None:
    """asyncio raises, and uvicorn resets a connection whose application has failed."""
    ours, theirs = socket.socketpair()
    with theirs:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        line = _Line(transport, PATIENCE_S, lambda: True, lambda: None)
        try:
            line.write(b"answer")
            line.close()
            line.write(b"more")
            theirs.settimeout(PATIENCE_S)
            assert await asyncio.to_thread(theirs.recv, 100) == b"answer"
            assert await asyncio.to_thread(theirs.recv, 100) == b""
        finally:
            transport.abort()
