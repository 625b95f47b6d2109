"""PostgreSQL of the operator's own, over TLS: what DATABASE_URL says of it holds everywhere.

The wheel's PostgreSQL is built without TLS, so a proxy speaks it before the real server, as the
protocol has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import threading
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote, urlsplit

import psycopg
import pytest
import trustme

from rollbook.backends import schema
from rollbook.backends.database import SCHEMA_REVISION, connect, make_pool
from rollbook.engines.postgres import SOCKET_NAME
from rollbook.errors import ServiceUnavailableError
from tests.closing import served
from tests.waiting import PATIENCE_S, join

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104


class Encrypting:
    """Takes nothing but TLS at a port, and passes what is in it on to a Unix socket."""

    def __init__(self, socket_path: str, authority: trustme.CA) -> None:
        self._behind = socket_path
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(self._context)
        self._loop = asyncio.new_event_loop()
        self.port = 0

    def __enter__(self) -> Encrypting:
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,))
        self._thread.start()
        assert started.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        join(self._thread)

    def _run(self, started: threading.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(started))

    async def _serve(self, started: threading.Event) -> None:
        self._ending = asyncio.Event()
        async with served(self._take) as self.port:
            started.set()
            await self._ending.wait()  # no bound: until __exit__

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._line(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:  # no bound: a server's loop, which ends with its line
            length, code = struct.unpack("!II", await reader.readexactly(8))
            if (length, code) == (8, SSL_REQUEST):
                break
            if code != GSS_REQUEST:  # in clear text
                writer.close()
                return
            writer.write(b"N")
        writer.write(b"S")
        await writer.drain()
        await writer.start_tls(self._context)
        inner_reader, inner_writer = await asyncio.open_unix_connection(self._behind)
        try:
            await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        finally:
            inner_writer.transport.abort()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):  # no bound: a server's loop
            target.write(data)
            await target.drain()
    target.close()


@pytest.fixture
def encrypted(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The address of this test's database by TLS, but for who has signed."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    parts = urlsplit(database_url)
    [folder] = parse_qs(parts.query)["host"]
    with Encrypting(f"{unquote(folder)}/{SOCKET_NAME}", authority) as proxy:
        yield f"postgresql://rollbook@127.0.0.1:{proxy.port}{parts.path}?sslmode=verify-full"


def signed_by(path: Path) -> str:
    return f"&sslrootcert={quote(str(path))}"


async def test_every_kind_of_connection_is_encrypted_and_knows_the_server(
    encrypted: str, tmp_path: Path
) -> None:
    address = encrypted + signed_by(tmp_path / "ca.pem")
    assert schema.migrate(address) == SCHEMA_REVISION
    with connect(address) as connection:
        assert connection.pgconn.ssl_in_use
    async with make_pool(address) as pool, pool.connection() as pooled:
        assert pooled.pgconn.ssl_in_use


def test_a_server_that_nobody_vouches_for_is_refused(encrypted: str, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    address = encrypted + signed_by(tmp_path / "other.pem")
    with pytest.raises(ServiceUnavailableError):
        connect(address)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(address)
