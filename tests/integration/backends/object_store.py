"""An S3 server in a process of its own, and a door before it that can be shut."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx

from tests.ports import free_port
from tests.waiting import kill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET = "members-files"
PATIENCE_S = 60


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[int]:
    """The port of a server with an empty bucket."""
    port = free_port()
    with (folder / "s3.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                httpx.put(f"http://127.0.0.1:{port}/{BUCKET}").raise_for_status()
                break
            except httpx.TransportError:
                assert process.poll() is None, (folder / "s3.log").read_text()
                assert time.monotonic() < deadline, "the S3 server didn't start"
                time.sleep(0.05)
        yield port
    finally:
        kill(process)


class Door:
    """Passes all on to a port of this machine, until it is shut."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def shut(self) -> None:
        assert self._server is not None
        self._server.close()
        for line in list(self._lines):
            line.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        self._lines |= {writer, inner_writer}
        try:
            await asyncio.gather(self._copy(reader, inner_writer), self._copy(inner_reader, writer))
        finally:
            self._lines -= {writer, inner_writer}

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):  # no bound: a server's loop
                target.write(data)
                await target.drain()
        target.close()
