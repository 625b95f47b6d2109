"""Socket.IO for the first system's clients: protocol 5, Engine.IO 4, by polling or WebSocket.

Each client is one of the live feed, as a WebSocket of ours is: with the same scope, limits, expiry
and end of its session. What differs is the protocol and the names (``events``). python-socketio
speaks the protocol; this module limits what a client may cost before and after it has signed in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

import socketio
import structlog
from socketio.exceptions import ConnectionRefusedError as Refused
from socketio.packet import BINARY_ACK, BINARY_EVENT, Packet
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Message as ASGIMessage
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from rollbook import clock
from rollbook.accounts.audit import network_of
from rollbook.api.access import admitted, the_limits
from rollbook.api.first_system.events import MOST_JOBS, Listener
from rollbook.api.live import AUTHENTICATE_S, CLOSE_S, FOREIGN, carry, is_welcome, parts
from rollbook.backends.database import UNAVAILABLE
from rollbook.contract import UploadStatus
from rollbook.errors import (
    NotAllowedError,
    NotFoundError,
    RollbookError,
    TooManyRequestsError,
)
from rollbook.live.client import (
    PART_UNAVAILABLE,
    RESTART,
    TOO_MANY_REQUESTS,
    TOO_SLOW,
    Client,
    End,
)
from rollbook.live.feed import Feed
from rollbook.live.messages import Message, timestamp
from rollbook.model import Session
from rollbook.service.rounds import every
from rollbook.service.system import System
from rollbook.telemetry import logs
from rollbook.uploads import lookup

PATH: Final = "/socket.io"
#: Bytes of one message, or of one POST of a polling client.
MOST_BYTES: Final = 16 * 1024
#: Packets that may wait in the connection; a client's other messages wait in the feed's queue.
IN_FLIGHT: Final = 16
#: Messages that a WebSocket may send at once, and then each second.
BURST: Final = 100
PER_SECOND: Final = 10
#: Seconds between two rounds that end connections which don't sign in.
SWEEP_S: Final = 5.0
#: Ends after which a client reconnects automatically: to it, they look like a lost connection.
_LOST: Final = frozenset({RESTART, TOO_SLOW, PART_UNAVAILABLE})
_NO_TOKEN: Final = "Sign in and send the token in the handshake: auth: {token}."  # noqa: S105
#: Keys of the environment and the scope of a connection.
_LINE, _CUT = "rollbook.line", "rollbook.cut"

log = structlog.get_logger(__name__)
#: The library logs what clients send wrongly; our own faults are logged here.
_quiet = logging.getLogger("rollbook.socket_io")
_quiet.setLevel(logging.CRITICAL)


class _TextPacket(Packet):  # type: ignore[misc]  # the library has no types
    """A packet without binary attachments, which the library would collect without a limit."""

    uses_binary_events = False

    def decode(self, encoded_packet: str) -> int:
        """Decode a packet.

        Raises:
            ValueError: it is malformed, or announces attachments.
        """
        attachments: int = super().decode(encoded_packet)
        if attachments or self.packet_type in {BINARY_EVENT, BINARY_ACK}:
            raise ValueError("binary packets aren't used here")
        return 0


@dataclass(slots=True)
class _Line:
    """A client that has signed in."""

    #: The client's id in Socket.IO and in Engine.IO.
    sid: str
    transport_id: str
    client: Client
    listener: Listener
    environ: Mapping[str, Any]
    #: Set when the client has disconnected.
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    #: Sends the client its events.
    task: asyncio.Task[None] | None = None


class SocketIo:
    """The ASGI application below ``/socket.io``, and its clients in this process."""

    def __init__(self) -> None:
        self._server = socketio.AsyncServer(
            async_mode="asgi",
            namespaces=["/"],
            serializer=_TextPacket,
            async_handlers=False,  # one event of a client at a time
            logger=_quiet,
            engineio_logger=_quiet,
            max_http_buffer_size=MOST_BYTES,
            http_compression=False,
            # Foreign origins are refused before this.
            cors_allowed_origins=lambda _origin, _environ: True,
            cors_credentials=False,
        )
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._disconnected)
        self._server.on("subscribe_bulk_upload_job", self._subscribe)
        self._server.on("unsubscribe_bulk_upload_job", self._unsubscribe)
        self._server.on("*", self._other)
        self._lines: dict[str, _Line] = {}
        #: When each connection without an account was first seen.
        self._strangers: dict[str, float] = {}
        #: Of connections that were refused.
        self._endings: set[asyncio.Task[None]] = set()
        #: Ends the WebSocket to which a polling client has changed.
        self._cuts: dict[str, Callable[[], None]] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve clients for as long as the context lasts."""
        async with every(SWEEP_S, self._sweep, service="socket.io strangers"):
            try:
                yield
            finally:
                await self.close()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_S):
                        await self._server.shutdown()

    async def close(self) -> None:
        """End every connection: this process ends, and another one serves the clients."""
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        for line in list(self._lines.values()):
            line.client.end(RESTART)
        if tasks:
            await asyncio.wait(tasks, timeout=2 * CLOSE_S)
        for transport_id in list(self._server.eio.sockets):
            await self._hang_up(transport_id)

    # --- HTTP and WebSocket -------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket until it ends."""
        connection = HTTPConnection(scope)
        system, _ = parts(connection)
        scope["route"] = SimpleNamespace(path=PATH)  # for metrics
        if not is_welcome(connection, system):
            if scope["type"] == "websocket":
                socket = WebSocket(scope, receive, send)
                await socket.send_denial_response(Response(FOREIGN, status_code=403))
                return
            raise NotAllowedError(FOREIGN)
        if scope["type"] == "websocket":
            await self._serve_websocket(connection, receive, send)
            return
        if "j" in connection.query_params:
            raise HTTPException(400, "JSONP isn't served. Use polling or websocket.")
        if scope["method"] == "POST":
            length = connection.headers.get("content-length", "")
            if not length.isdigit():
                raise HTTPException(411, "Send the length of the body.")
            if int(length) > MOST_BYTES:
                raise HTTPException(413, f"A message has at most {MOST_BYTES // 1024} KB.")
        self._admit(connection)
        transport = self._server.eio.sockets.get(connection.query_params.get("sid", ""))
        await self._server.handle_request(scope, receive, send)
        if transport is not None and transport.closed:
            transport.queue.put_nowait(None)  # ends its GET, which would wait for a ping

    def _admit(self, connection: HTTPConnection) -> None:
        """Refuse a new connection while too many haven't signed in.

        A session by polling outlives its connections, so the limit on those doesn't count it.

        Raises:
            HTTPException: there are too many, of this address or of all.
        """
        if "sid" in connection.query_params:
            return
        settings = parts(connection)[0].settings
        strangers = [
            _address(environ.get("asgi.scope", {}))
            for one in self._server.eio.sockets
            if not (environ := self._server.environ.get(one, {})).get(_LINE)
        ]
        if strangers.count(_address(connection.scope)) >= settings.strangers_per_address:
            raise HTTPException(
                429, "Too many connections from your address have not signed in. Close some."
            )
        if len(strangers) >= settings.strangers:
            raise HTTPException(503, "Too many connections have not signed in. Try again soon.")

    async def _serve_websocket(
        self, connection: HTTPConnection, receive: Receive, send: Send
    ) -> None:
        try:
            self._admit(connection)
        except HTTPException as error:
            socket = WebSocket(connection.scope, receive, send)
            await socket.send_denial_response(Response(error.detail, error.status_code))
            return
        serving = asyncio.create_task(
            self._server.handle_request(connection.scope, _limited(receive), send)
        )

        def cut() -> None:
            # The library takes the first for a client that left, and then waits for its writer.
            serving.cancel()
            asyncio.get_running_loop().call_later(0.1, serving.cancel)

        connection.scope[_CUT] = cut
        transport_id = connection.query_params.get("sid", "")
        if transport_id in self._server.eio.sockets:
            self._cuts[transport_id] = cut
        try:
            await asyncio.wait({serving})
        finally:
            serving.cancel()
            if self._cuts.get(transport_id) is cut:
                del self._cuts[transport_id]
        fault = None if serving.cancelled() else serving.exception()
        if fault is not None:  # a packet that the library can't decode
            log.info("socket.io connection ended", error=type(fault).__name__)

    # --- signing in ---------------------------------------------------------------------------

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object) -> None:
        """Sign a client in.

        Raises:
            Refused: its token isn't good, or its limits are used up; the client gets the sentence.
        """
        transport_id = self._server.manager.eio_sid_from_sid(sid, "/")
        if transport_id is None or _LINE in environ:  # one try for each connection
            raise Refused(_NO_TOKEN)
        environ[_LINE] = None
        connection = HTTPConnection(environ["asgi.scope"])
        try:
            session = await _introduced(connection, auth)
        except Refused:
            # Once the client has its answer, the connection is of no use.
            loop = asyncio.get_running_loop()
            loop.call_later(CLOSE_S, self._end_stranger, transport_id, environ)
            raise
        if self._server.environ.get(transport_id) is not environ:
            raise Refused("The connection has ended.")  # meanwhile: nothing else would close it
        _, feed = parts(connection)
        listener = Listener(session.user, feed.owner)
        line = _Line(sid, transport_id, Client(session), listener, environ)
        environ[_LINE] = self._lines[sid] = line
        self._strangers.pop(transport_id, None)
        # It begins after this has returned, when the client knows that it is connected.
        line.task = asyncio.create_task(self._serve(line, feed))

    async def _serve(self, line: _Line, feed: Feed) -> None:
        """Send a client its events until one of both ends the connection."""

        async def write(message: Message) -> None:
            for name, data in line.listener.events(message):
                await self._emit(line, name, data)

        why: End | None = None
        try:
            why = await carry(feed, line.client, None, write, _until(line.gone))
        except Exception as error:  # noqa: BLE001 - its text may quote data
            log.error("socket.io client failed", error=type(error).__name__,
                      where=logs.places(error))  # fmt: skip
            why = PART_UNAVAILABLE
        finally:
            self._lines.pop(line.sid, None)
            if why is not None:
                feed.clients.count_end(why)
                await self._end(line, why)

    async def _emit(self, line: _Line, name: str, data: dict[str, Any]) -> None:
        """Send an event, and wait while too many packets wait in the connection."""
        await self._server.emit(name, data, to=line.sid)
        socket = self._server.eio.sockets.get(line.transport_id)
        if socket is not None and socket.queue.qsize() > IN_FLIGHT:
            await socket.queue.join()

    async def _end(self, line: _Line, why: End) -> None:
        """End a client's connection: for good where it must sign in again."""
        if why in _LOST:
            await self._hang_up(line.transport_id, line.environ)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._server.disconnect(line.sid)
        # By then the client has closed it. At once, a polling client would take it for a lost line:
        # it handles the end of the transport before the end of its session.
        loop = asyncio.get_running_loop()
        loop.call_later(CLOSE_S, self._end_stranger, line.transport_id, line.environ)

    async def _hang_up(self, transport_id: str, environ: Mapping[str, Any] | None = None) -> None:
        """Close a connection; one that can't be closed in order is cut."""
        environ = environ or self._server.environ.get(transport_id, {})
        cut = self._cuts.get(transport_id) or environ.get("asgi.scope", {}).get(_CUT)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._server.eio.disconnect(transport_id)
        except TimeoutError:  # the client reads nothing, or doesn't poll
            if cut is not None:
                cut()
        else:
            # The client was asked to close its WebSocket. The library would wait for that as long
            # as the client sends something.
            if cut is not None:
                asyncio.get_running_loop().call_later(CLOSE_S, cut)
        self._server.eio.sockets.pop(transport_id, None)
        self._strangers.pop(transport_id, None)

    def _end_stranger(self, transport_id: str, environ: Mapping[str, Any]) -> None:
        task = asyncio.create_task(self._hang_up(transport_id, environ))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _sweep(self) -> None:
        """End the connections that have had their time to sign in."""
        now = time.monotonic()
        known = {line.transport_id for line in self._lines.values()}
        strangers = [one for one in self._server.eio.sockets if one not in known]
        self._strangers = {one: self._strangers.get(one, now) for one in strangers}
        for transport_id, since in list(self._strangers.items()):
            if now - since > AUTHENTICATE_S:
                await self._hang_up(transport_id)

    async def _disconnected(self, sid: str, _reason: object = None) -> None:
        line = self._lines.get(sid)
        if line is not None:
            line.gone.set()

    # --- what clients send --------------------------------------------------------------------

    async def _subscribe(self, sid: str, data: object = None, *_: object) -> dict[str, Any]:
        """Follow a job of the client's scope; the client is sent its state at once."""
        return await self._answered(sid, lambda line: self._follow(line, data))

    async def _unsubscribe(self, sid: str, data: object = None, *_: object) -> dict[str, Any]:
        """Stop following a job; without any, the client is sent its own uploads again."""

        async def forget(line: _Line) -> dict[str, Any]:
            line.listener.jobs.discard(str(_job_id(data)))
            return {"success": True, "message": "Unsubscribed."}

        return await self._answered(sid, forget)

    async def _other(self, _event: str, sid: str, *_: object) -> dict[str, Any]:
        """An event that isn't known; it counts against the limits."""

        async def refuse(_line: _Line) -> dict[str, Any]:
            return {"success": False, "message": "There is no such event."}

        return await self._answered(sid, refuse)

    async def _follow(self, line: _Line, data: object) -> dict[str, Any]:
        system, app = self._system(line), line.environ["asgi.scope"]["app"]
        if len(line.listener.jobs) >= MOST_JOBS:
            return {"success": False, "message": f"A client follows at most {MOST_JOBS} jobs."}
        upload = await lookup.get(system, line.client.session.user, _job_id(data))
        line.listener.jobs.add(str(upload["id"]))
        position = await lookup.position(system, upload)
        [estimate] = await app.state.forecaster.estimates([upload])
        status = UploadStatus.of(upload, queue_position=position, **estimate.facts())
        facts = status.model_dump(mode="json")
        for name, event in line.listener.of_status(facts, timestamp(clock.now())):
            await self._emit(line, name, event)
        return {"success": True, "message": "Subscribed.", "job_id": str(upload["id"])}

    async def _answered(
        self, sid: str, act: Callable[[_Line], Awaitable[dict[str, Any]]]
    ) -> dict[str, Any]:
        """Carry out what a client asks for; the answer goes to a client that wants one."""
        line = self._lines.get(sid)
        if line is None:
            return {"success": False, "message": _NO_TOKEN}
        try:
            connection = HTTPConnection(line.environ["asgi.scope"])
            await the_limits(connection).count(line.client.session.user)
            return await act(line)
        except TooManyRequestsError as error:
            line.client.end(TOO_MANY_REQUESTS)
            return {"success": False, "message": error.message}
        except RollbookError as error:
            return {"success": False, "message": error.message}
        except UNAVAILABLE as error:
            log.warning("socket.io client not served", error=type(error).__name__)
            line.client.end(PART_UNAVAILABLE)
        except Exception as error:  # noqa: BLE001 - its text may quote data
            log.error("socket.io event failed", error=type(error).__name__,
                      where=logs.places(error))  # fmt: skip
            line.client.end(PART_UNAVAILABLE)
        return {"success": False, "message": "The request failed."}

    def _system(self, line: _Line) -> System:
        return parts(HTTPConnection(line.environ["asgi.scope"]))[0]


async def _introduced(connection: HTTPConnection, auth: object) -> Session:
    """The session of the token that a client sent.

    Raises:
        Refused: its token isn't good, or its limits are used up.
    """
    system, _ = parts(connection)
    token = auth.get("token") if isinstance(auth, dict) else None
    if not isinstance(token, str):
        raise Refused(_NO_TOKEN)
    try:
        return await admitted(connection, system, token)
    except UNAVAILABLE as error:
        log.warning("socket.io client not authenticated", error=type(error).__name__)
        raise Refused("A part of the system doesn't answer. Try again soon.") from None
    except RollbookError as error:
        raise Refused(error.message) from None


def _address(scope: Mapping[str, Any]) -> str:
    """The network of a connection's client."""
    client = scope.get("client")
    return network_of(client[0] if client else None)


def _job_id(data: object) -> UUID:
    """The job id in an event's data.

    Raises:
        NotFoundError: there is none; answered like the id of no upload.
    """
    try:
        return UUID(str(data["job_id"] if isinstance(data, dict) else data))
    except (KeyError, ValueError):
        raise NotFoundError("There is no such upload. Check the job id.") from None


async def _until(gone: asyncio.Event) -> None:
    await gone.wait()


def _limited(receive: Receive) -> Receive:
    """A WebSocket's messages, which ends when the client sends too many."""
    budget, before = float(BURST), time.monotonic()

    @wraps(receive)
    async def counted() -> ASGIMessage:
        nonlocal budget, before
        message = await receive()
        now = time.monotonic()
        budget = min(budget + (now - before) * PER_SECOND, BURST) - 1
        before = now
        if budget < 0:
            log.warning("socket.io client ended, it sends too much")
            return {"type": "websocket.disconnect", "code": 1008}
        return message

    return counted
