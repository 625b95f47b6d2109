"""A served API and listeners to its live messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonschema import Draft202012Validator
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from rollbook.accounts.users import issue_token
from rollbook.api.server import Server
from tests.closing import closing, served
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rollbook.config import Settings
    from rollbook.model import User

PATH = "/api/v1/bulk-upload"
#: What says how things are, and isn't an event.
STATES = frozenset({"snapshot", "queue_stats", "heartbeat"})

Heard = dict[str, Any]

_DOCUMENT = yaml.safe_load(
    (Path(__file__).parents[1] / "docs" / "reference" / "asyncapi.yaml").read_text("utf-8")
)


@cache
def _validator(kind: str) -> Draft202012Validator:
    schema = {**_DOCUMENT, "$ref": f"#/components/schemas/{kind}"}
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def conforms(message: Heard) -> None:
    """Raise unless a message is as docs/reference/asyncapi.yaml has it."""
    _validator(message["type"]).validate(message)


class Site:
    """One API process's worth of a server, in this process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.server = Server(settings)
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Site:
        """Serve, once the feed has begun: a client isn't served for long without it."""
        self._serving = asyncio.create_task(self.server.serve())
        async with asyncio.timeout(PATIENCE_S):
            while not (self.server.started and self.feed._began.is_set()):
                await asyncio.wait({self._serving}, timeout=0.02)
                if self._serving.done():
                    self._serving.result()
                    raise AssertionError("the server didn't start")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop as SIGTERM does."""
        assert self._serving is not None
        self.server.should_exit = True
        async with asyncio.timeout(PATIENCE_S):
            await self._serving

    @property
    def host(self) -> str:
        port: int = self.server.servers[0].sockets[0].getsockname()[1]
        return f"127.0.0.1:{port}"

    @property
    def feed(self) -> Any:
        return self.server.app.state.feed

    @contextlib.asynccontextmanager
    async def listening(
        self, user: User, since: int | None = None, **options: Any
    ) -> AsyncIterator[Listener]:
        """A client that has signed in by sub-protocol and has its snapshot, still to be read.

        What is sent before the snapshot is part of it, and no event. One that goes on with
        ``since`` gets no snapshot: it misses nothing.
        """
        token = issue_token(self.settings, user)
        async with self.connected(["rollbook", f"bearer.{token}"], since, **options) as line:
            listener = Listener(line)
            if since is None:
                await listener.begin()
            yield listener

    def connected(
        self, protocols: list[str] | None = None, since: int | None = None, **options: Any
    ) -> Any:
        """A bare connection."""
        query = "" if since is None else f"?since={since}"
        return connect(
            f"ws://{self.host}{PATH}/ws{query}",
            subprotocols=protocols,  # type: ignore[arg-type]
            proxy=None,
            **{"open_timeout": PATIENCE_S, **options},
        )


class Gate:
    """Stands before Redis's Unix socket, and can be shut: then nobody gets through, or in."""

    def __init__(self, address: str, folder: Path) -> None:
        self._behind, _, self._query = address.removeprefix("unix://").partition("?")
        self._path = folder / "gate"
        self._served = contextlib.AsyncExitStack()

    @property
    def address(self) -> str:
        return f"unix://{self._path}?{self._query}"

    async def open(self) -> None:
        await self._served.enter_async_context(served(self._pass, path=self._path))

    async def shut(self) -> None:
        self._path.unlink(missing_ok=True)
        await self._served.aclose()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            behind_reader, behind_writer = await asyncio.open_unix_connection(self._behind)
            with closing(behind_writer):
                await asyncio.gather(
                    self._copy(reader, behind_writer), self._copy(behind_reader, writer)
                )

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):  # no bound: a server's loop
                target.write(data)
        target.close()


class Listener:
    """Keeps all that it receives, and checks what holds for every listener."""

    def __init__(self, line: ClientConnection) -> None:
        self.line = line
        self.heard: list[Heard] = []
        self._first: str | bytes | None = None

    async def begin(self) -> None:
        """Wait for the first message, and leave it to ``next``; so also with a refusal."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionClosed):
                self._first = await self.line.recv()

    @property
    def events(self) -> list[Heard]:
        return [message for message in self.heard if message["type"] not in STATES]

    @property
    def seq(self) -> int:
        return int(self.heard[-1]["seq"])

    async def next(self) -> Heard:
        first, self._first = self._first, None
        async with asyncio.timeout(PATIENCE_S):
            message: Heard = json.loads(await self.line.recv() if first is None else first)
        assert not self.heard or message["seq"] >= self.seq, "seq went back"
        conforms(message)
        self.heard.append(message)
        return message

    async def until(self, wanted: Callable[[Heard], bool]) -> Heard:
        """The first message from here on that is wanted."""
        async with asyncio.timeout(PATIENCE_S):
            while not wanted(message := await self.next()):
                pass
            return message

    async def ended(self) -> tuple[int, str]:
        """Listen until the server lets go; the code and the reason."""
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await self.next()
        close = self.line.protocol.close_rcvd
        assert close is not None, "it broke off without a word"
        return close.code, close.reason


def of_type(*kinds: str) -> Callable[[Heard], bool]:
    return lambda message: message["type"] in kinds


def quick(settings: Settings, **more: Any) -> Settings:
    """These settings with any free port."""
    return settings.model_copy(update={"port": 0, **more})
