"""An S3 server in a process of its own, and a door before it that can be shut."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, TypeVar

import httpx
import pytest

from tests.closing import closing, served
from tests.ports import free_port
from tests.waiting import PATIENCE_S, kill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

AnyDoor = TypeVar("AnyDoor", "Door", "MoodyDoor")

BUCKET = "members-files"


@contextlib.contextmanager
def s3_server(folder: Path, host: str = "127.0.0.1") -> Iterator[int]:
    """The port of a server with an empty bucket."""
    port = free_port()
    with (folder / "s3.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                httpx.put(f"http://{host}:{port}/{BUCKET}", timeout=PATIENCE_S).raise_for_status()
                break
            except httpx.TransportError:
                assert process.poll() is None, (folder / "s3.log").read_text()
                assert time.monotonic() < deadline, "the S3 server didn't start"
                time.sleep(0.05)
        yield port
    finally:
        kill(process)


@contextlib.asynccontextmanager
async def opened(door: AnyDoor) -> AsyncIterator[AnyDoor]:
    """A door that is open; the environment points there, as an operator's would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{door.port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "synthetic")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "synthetic")
        patch.setenv("AWS_REGION", "af-south-1")
        await door.open()
        try:
            yield door
        finally:
            await door.shut()


SLOW_DOWN = (
    b"503 Slow Down",
    b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>",
)
FAULT = (
    b"500 Internal Server Error",
    b"<Error><Code>InternalError</Code><Message>We had an internal error.</Message></Error>",
)
#: What a moody store does instead of answering, by name.
MOODS = ("slow_down", "fault", "reset", "cut")


class MoodyDoor:
    """Passes requests on to a port of this machine, one a connection, or does something else.

    While ``mood`` is one of ``MOODS``, a request for which ``is_met`` holds gets 503 SlowDown, 500
    InternalError, a reset, or the first half of its answer. ``share`` of such requests do.
    """

    def __init__(self, behind: int, port: int | None = None) -> None:
        self._behind = behind
        self.port = port or free_port()
        self.mood: str | None = None
        self.share = 1.0
        #: Decides by the request's first line, such as ``PUT /bucket/key HTTP/1.1``.
        self.is_met: Callable[[str], bool] = lambda _: True
        #: How many requests met the mood.
        self.met = 0
        self._random = random.Random(1)
        self._served = contextlib.AsyncExitStack()

    async def open(self) -> None:
        await self._served.enter_async_context(served(self._serve, self.port))

    async def shut(self) -> None:
        await self._served.aclose()

    def begin(self, mood: str, method: str, name: str) -> None:
        """Have a mood for requests of this method with this in their address."""
        self.is_met = lambda line: line.startswith(f"{method} ") and name in line
        self.met = 0
        self.mood = mood

    def end(self) -> None:
        """Pass everything on."""
        self.mood = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            body = await reader.readexactly(int(found[1]) if found else 0)
            line = head.partition(b"\r\n")[0].decode()
            mood = self.mood if self.is_met(line) and self._random.random() < self.share else None
            self.met += mood is not None
            if mood == "reset":
                writer.transport.abort()
                return
            if mood in {"slow_down", "fault"}:
                status, content = SLOW_DOWN if mood == "slow_down" else FAULT
                length = str(len(content)).encode()
                writer.write(
                    b"HTTP/1.1 " + status + b"\r\nContent-Length: " + length
                    + b"\r\nConnection: close\r\n\r\n" + content
                )  # fmt: skip
            else:
                answer = await self._asked(head, body)
                if mood == "cut":
                    begins = answer.index(b"\r\n\r\n") + 4
                    answer = answer[: begins + (len(answer) - begins) // 2]
                writer.write(answer)
            await writer.drain()

    async def _asked(self, head: bytes, body: bytes) -> bytes:
        """The server's whole answer to a request."""
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        lines = [
            one for one in head[:-4].split(b"\r\n") if not one.lower().startswith(b"connection:")
        ]
        with closing(inner_writer):
            asked = b"\r\n".join([*lines, b"Connection: close"])
            inner_writer.write(asked + b"\r\n\r\n" + body)
            await inner_writer.drain()
            answer = await inner_reader.read()
        first, _, rest = answer.partition(b"\r\n")
        return (
            first
            + b"\r\nConnection: close\r\n"
            + re.sub(rb"(?i)^connection: [^\r]*\r\n", b"", rest, count=1, flags=re.MULTILINE)
        )


class Door:
    """Passes all on to a port of this machine, until it is shut."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self.port = free_port()
        self._served = contextlib.AsyncExitStack()

    async def open(self) -> None:
        await self._served.enter_async_context(served(self._pass, self.port))

    async def shut(self) -> None:
        await self._served.aclose()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._behind)
            with closing(inner_writer):
                await asyncio.gather(
                    self._copy(reader, inner_writer), self._copy(inner_reader, writer)
                )

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):  # no bound: a server's loop
                target.write(data)
                await target.drain()
        target.close()
