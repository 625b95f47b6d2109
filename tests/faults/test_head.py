"""The head of a request that dribbles, connections that do nothing, and too many of them."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from rollbook.api.connections import Door
from tests.integration.folder.watching import until
from tests.listening import PATH, Site, quick
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from rollbook.config import Settings
    from rollbook.model import User

    MakeUser = Callable[..., Awaitable[User]]

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIMITS = {"head_timeout_s": 1, "idle_connection_s": 1}
#: Limits of which only the number of connections is reached.
FEW = {"connections_per_address": 5, "head_timeout_s": 60}
#: Seconds within which the server must have closed a connection with these limits; less than what
#: the tests dribble takes.
SOON_S = 20.0


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with Site(quick(settings, **LIMITS)) as served:
        yield served


@pytest.fixture
async def impatient_site(settings: Settings) -> AsyncIterator[Site]:
    limits = {"body_grace_s": 1, "idle_connection_s": 60}
    async with Site(quick(settings, **limits)) as served:
        yield served


@pytest.fixture
async def counting_site(settings: Settings) -> AsyncIterator[Site]:
    async with Site(quick(settings, **FEW)) as served:
        yield served


def limit_heads(site: Site, seconds: float) -> None:
    """Let each head that begins from here on come within these seconds."""
    given: Any = site.server.config.http
    given.args[0].head_s = seconds


async def connected(site: Site, source: str = "127.0.0.1") -> Any:
    host, port = site.host.split(":")
    return await asyncio.open_connection(host, int(port), local_addr=(source, 0))


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What is said until the server closes the connection; it must do that soon."""
    said = bytearray()
    async with asyncio.timeout(SOON_S):
        try:
            while block := await reader.read(1 << 16):
                said += block
        except ConnectionResetError:
            # The server closes while bytes are on their way to it. What it has said is there,
            # and asyncio's reader raises instead of giving it.
            said += reader._buffer  # type: ignore[attr-defined]
    return bytes(said)


async def dribble(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send a byte now and then, for as long as somebody reads."""
    try:
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)
    except OSError:
        pass


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\n" + b"X-Pad: a\r\n" * 50,
        b"GET /" + b"a" * 500,
        f"GET {PATH}/ws HTTP/1.1\r\nUpgrade: websocket\r\n".encode() + b"X-Pad: a\r\n" * 50,
        b"\r\n" * 300,
    ],
    ids=["headers", "request line", "handshake of a WebSocket", "blank lines"],
)
async def test_a_head_that_dribbles_is_answered_and_cut_off(site: Site, head: bytes) -> None:
    began = time.monotonic()
    reader, writer = await connected(site)
    sending = asyncio.create_task(dribble(writer, head))
    answer = await rest(reader)
    assert 0.9 < time.monotonic() - began < SOON_S
    sending.cancel()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408")
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert "too slowly" in problem["detail"]


async def test_a_connection_that_says_nothing_is_closed(site: Site) -> None:
    reader, writer = await connected(site)
    assert (await rest(reader)).startswith(b"HTTP/1.1 408")
    writer.close()


@pytest.mark.parametrize("more", [b"", b"\r\n", b"GET /heal"])
async def test_a_connection_that_says_no_more_after_an_answer_is_closed(
    site: Site, more: bytes
) -> None:
    limit_heads(site, PATIENCE_S)
    reader, writer = await connected(site)
    writer.write(GET)
    first = await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE_S)
    assert first.startswith(b"HTTP/1.1 200")
    limit_heads(site, 1)
    writer.write(more)
    await rest(reader)
    writer.close()


async def test_a_head_that_never_ends_is_refused_before_it_fills_the_memory(site: Site) -> None:
    limit_heads(site, PATIENCE_S)
    reader, writer = await connected(site)
    writer.write(b"GET /healthz HTTP/1.1\r\n")
    answer = asyncio.create_task(rest(reader))
    line = b"X-Pad: " + b"a" * 8000 + b"\r\n"
    try:
        for _ in range(20):
            writer.write(line)
            await writer.drain()
    except OSError:
        pass
    assert (await answer).startswith(b"HTTP/1.1 431")
    await until(lambda: site.server.server_state.connections == set())
    writer.close()


POST = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nX-Pad: a", b"408"),
        (b"GET /healthz HTTP/1.1\r\nX-Pad: " + b"a" * 100_000, b"431"),
        (POST + b"Content-Length: 100\r\n\r\n{", b"408"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
    ],
    ids=["slow head", "large head", "slow body", "no HTTP"],
)
async def test_a_client_that_is_refused_while_it_sends_reads_the_answer(
    impatient_site: Site, sent: bytes, status: bytes
) -> None:
    """A connection that is reset takes the answer with it, for many clients."""
    is_slow_head = sent.startswith(b"GET ") and status == b"408"
    limit_heads(impatient_site, 1 if is_slow_head else PATIENCE_S)
    host, port = impatient_site.host.split(":")

    def talk() -> bytes:
        said = b""
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
            client.sendall(sent)
            while block := client.recv(1 << 16):  # no bound: the server closes, or the time is up
                said += block
            for _ in range(3):  # what is sent to a closed connection is answered by a reset
                client.sendall(b"a" * 100)
        return said

    answer = await asyncio.to_thread(talk)
    assert answer.startswith(b"HTTP/1.1 " + status)
    await until(lambda: impatient_site.server.server_state.connections == set())


async def test_a_client_that_is_refused_and_does_not_leave_is_left(site: Site) -> None:
    reader, writer = await connected(site)
    writer.write(b"GET /healthz HTTP/1.1\r\nX-Pad: a")
    assert (await rest(reader)).startswith(b"HTTP/1.1 408")
    await until(lambda: site.server.server_state.connections == set())
    writer.close()


async def test_a_client_with_a_slow_body_or_answer_has_its_connection_for_longer_than_a_head(
    site: Site, make_user: MakeUser
) -> None:
    """The limit is on the head: neither a WebSocket nor a body in good time is cut off."""
    async with site.listening(await make_user()) as listener:
        await listener.next()
        body = b'{"email": "nobody@example.org", "password": "wrong"}'
        reader, writer = await connected(site)
        writer.write(
            b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
            b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n"
        )
        await dribble(writer, body[:30])
        writer.write(body[30:])
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), PATIENCE_S)
        assert answer.startswith(b"HTTP/1.1 401")
        writer.close()
        assert (await listener.next())["type"] in {"heartbeat", "queue_stats"}


async def test_one_address_cannot_hold_all_connections(
    counting_site: Site, make_user: MakeUser
) -> None:
    """Also not with WebSockets; others are served, and it is again when some are closed."""
    site = counting_site
    user = await make_user()
    async with site.listening(user, local_addr=("127.0.0.2", 0)):
        held = [await connected(site, "127.0.0.2") for _ in range(4)]
        for _, writer in held:
            writer.write(b"POST /api/v1/auth/login HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
        reader, writer = await connected(site, "127.0.0.2")
        answer = await rest(reader)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 429")
        assert b"too many connections from your address" in answer
        for source in ("127.0.0.3", "127.0.0.1"):
            reader, writer = await connected(site, source)
            writer.write(GET)
            assert (await asyncio.wait_for(reader.readline(), PATIENCE_S)).startswith(
                b"HTTP/1.1 200"
            )
            writer.close()
        for _, writer in held:
            writer.close()

    async def is_served() -> bool:
        reader, writer = await connected(site, "127.0.0.2")
        writer.write(GET)
        line = await asyncio.wait_for(reader.readline(), PATIENCE_S)
        writer.close()
        return bool(line.startswith(b"HTTP/1.1 200"))

    await until(is_served)


@pytest.mark.parametrize(
    ("trusted", "address", "is_counted"),
    [
        ("127.0.0.1", "127.0.0.1", False),
        ("10.0.0.0/8, 192.0.2.1", "10.1.2.3", False),
        ("10.0.0.0/8,192.0.2.1", "::ffff:192.0.2.1", False),
        ("10.0.0.0/8", "192.0.2.1", True),
        ("no/network", "192.0.2.1", True),
        ("*", "192.0.2.1", False),
        ("fd00::/8", "fd00::1%eth0", False),
        (None, "192.0.2.1", True),
    ],
)
def test_only_a_proxys_address_is_not_counted(
    settings: Settings, trusted: str | None, address: str, is_counted: bool
) -> None:
    door = Door(settings.model_copy(update={"connections_per_address": 1}), trusted)
    first, second = (_Transport(address) for _ in range(2))
    assert door.admit(first)
    assert door.admit(second) is not is_counted
    door.release(first)
    assert door.admit(second)


def test_an_ipv6_subscriber_has_one_share(settings: Settings) -> None:
    """Of 2^64 addresses; an IPv4 address has the same share in both of its spellings."""
    door = Door(settings.model_copy(update={"connections_per_address": 1}), None)
    for first, second, other in (
        ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ("fe80::1%eth0", "fe80::2%eth0", "fe80:0:0:1::1%eth0"),
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
    ):
        held = _Transport(first)
        assert door.admit(held)
        assert not door.admit(_Transport(second))
        assert door.admit(_Transport(other))
        door.release(held)
        assert door.admit(_Transport(second))


class _Transport(asyncio.BaseTransport):
    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 4711)})


async def test_a_trusted_reverse_proxy_is_not_counted(counting_site: Site) -> None:
    """All clients come from its address."""
    held = [await connected(counting_site) for _ in range(8)]
    for reader, writer in held:
        writer.write(GET)
        line = await asyncio.wait_for(reader.readline(), PATIENCE_S)
        assert line.startswith(b"HTTP/1.1 200")
    for _, writer in held:
        writer.close()
