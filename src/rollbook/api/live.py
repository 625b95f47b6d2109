"""The routes of live messages: a WebSocket, and Server-Sent Events with the same messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, Header, Query, Request, WebSocket
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from rollbook.accounts import users
from rollbook.api.access import BearerParam, admitted, failures
from rollbook.backends.database import UNAVAILABLE
from rollbook.errors import NotAllowedError, NotAuthenticatedError, TooManyRequestsError
from rollbook.live.client import (
    ACCOUNT_CHANGED,
    NOT_AUTHENTICATED,
    PART_UNAVAILABLE,
    TOO_MANY_REQUESTS,
    UNEXPECTED_MESSAGE,
    Client,
    End,
)
from rollbook.live.feed import Feed
from rollbook.live.messages import Message, as_json
from rollbook.model import Session
from rollbook.service.system import System

#: Our sub-protocol, and the prefix of the one that carries a token where headers can't be set.
PROTOCOL = "rollbook"
TOKEN_PREFIX = "bearer."  # noqa: S105 - no secret
#: Seconds that a client has to authenticate.
AUTHENTICATE_S = 10.0
#: Seconds that the connection has to send the reason for its end.
CLOSE_S = 1.0
_DEFAULT_PORTS = {"http": 80, "https": 443}

FOREIGN = (
    "Pages of this site may not listen here. An operator can allow it: ROLLBOOK_ALLOWED_ORIGINS."
)

router = APIRouter(prefix="/bulk-upload", tags=["live"])
log = structlog.get_logger(__name__)

#: The number of the last message that a client knows.
SinceParam = Annotated[int | None, Query(ge=0, lt=2**53)]


class _UnexpectedMessageError(Exception):
    """A client sent something other than a token."""


# --- WebSocket --------------------------------------------------------------------------------


@router.websocket("/ws")
async def websocket(socket: WebSocket, since: SinceParam = None) -> None:
    """Send a client the messages of its scope over a WebSocket."""
    system, feed = parts(socket)
    if not is_welcome(socket, system):
        await socket.send_denial_response(Response(FOREIGN, status_code=403))
        return
    offered: list[str] = socket.scope["subprotocols"]
    await socket.accept(PROTOCOL if PROTOCOL in offered else None)
    tokens = (name[len(TOKEN_PREFIX) :] for name in offered if name.startswith(TOKEN_PREFIX))
    try:
        session = await _session(socket, system, next(tokens, None), AUTHENTICATE_S)
    except WebSocketDisconnect:
        return
    if isinstance(session, End):
        why: End | None = session
    else:
        client = Client(session)

        async def write(message: Message) -> None:
            await socket.send({"type": "websocket.send", "text": message.text})

        why = await carry(feed, client, since, write, _hear_out(socket, system, client))
    if why is not None:
        feed.clients.count_end(why)
        # A client that reads nothing doesn't get the reason either; the server then aborts.
        with contextlib.suppress(TimeoutError, RuntimeError, OSError, WebSocketDisconnect):
            async with asyncio.timeout(CLOSE_S):
                await socket.close(why.code, why.reason)


async def _session(
    socket: WebSocket, system: System, token: str | None = None, wait_s: float | None = None
) -> Session | End:
    """The session of a token, or of the one in the client's next message; or why there is none.

    Raises:
        WebSocketDisconnect: the client has disconnected.
    """
    try:
        if token is None:
            async with asyncio.timeout(wait_s):
                token = _token(await socket.receive())
        return await admitted(socket, system, token)
    except (NotAuthenticatedError, NotAllowedError, TimeoutError):
        return NOT_AUTHENTICATED
    except _UnexpectedMessageError:
        return UNEXPECTED_MESSAGE
    except TooManyRequestsError:
        return TOO_MANY_REQUESTS
    except UNAVAILABLE as error:
        log.warning("live client not authenticated", error=type(error).__name__)
        return PART_UNAVAILABLE


async def _hear_out(socket: WebSocket, system: System, client: Client) -> None:
    """Return when the client has disconnected; until then it may only send newer tokens."""
    while True:
        try:
            session = await _session(socket, system)
        except WebSocketDisconnect:
            return
        if isinstance(session, End):
            client.end(session)
        elif session.user == client.session.user:
            client.renew(session)
        else:
            client.end(ACCOUNT_CHANGED)


def _token(received: Mapping[str, Any]) -> str:
    """The token in a client's message.

    Raises:
        WebSocketDisconnect: the client has disconnected.
        _UnexpectedMessageError: the message is something else.
    """
    if received["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(received.get("code", 1006))
    try:
        message = json.loads(received.get("text") or "")
        if message["type"] == "authenticate" and isinstance(message["token"], str):
            return str(message["token"])
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise _UnexpectedMessageError


# --- Server-Sent Events -----------------------------------------------------------------------


@router.get(
    "/events",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **failures(401, 403),
    },
)
async def events(
    request: Request,
    credentials: BearerParam,
    since: SinceParam = None,
    last_event_id: Annotated[str | None, Header(max_length=32)] = None,
) -> Response:
    """Send a client the messages of its scope as Server-Sent Events."""
    system, feed = parts(request)
    if not is_welcome(request, system):
        raise NotAllowedError(FOREIGN)
    if credentials is None:
        raise users.sign_in_again()
    session = await admitted(request, system, credentials.credentials)
    # The header is newer: a browser that reconnects automatically keeps the address.
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        since = int(last_event_id)
    return _EventStream(feed, session, since)


class _EventStream(Response):
    """An answer that lasts until the client disconnects or is disconnected."""

    def __init__(self, feed: Feed, session: Session, since: int | None) -> None:
        headers = {
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx would buffer events
        }
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._feed = feed
        self._session = session
        self._since = since

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer by ASGI."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)

        async def body(text: str, *, more: bool = True) -> None:
            part = {"type": "http.response.body", "body": text.encode(), "more_body": more}
            await send(part)

        async def write(message: Message) -> None:
            await body(f"id: {message.seq}\nevent: {message.type}\ndata: {message.text}\n\n")

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        why = await carry(self._feed, Client(self._session), self._since, write, gone())
        if why is not None:
            self._feed.clients.count_end(why)
            last = as_json({"code": why.code, "reason": why.reason})
            try:
                async with asyncio.timeout(CLOSE_S):
                    await body(f"event: end\ndata: {last}\n\n", more=False)
            except (TimeoutError, OSError):
                # It reads nothing: an orderly close would wait until it does.
                scope["state"]["cut"]()


# --- both -------------------------------------------------------------------------------------


async def carry(
    feed: Feed,
    client: Client,
    since: int | None,
    write: Callable[[Message], Awaitable[None]],
    gone: Coroutine[Any, Any, None],
) -> End | None:
    """Send a client its messages until it is disconnected.

    ``since`` is the number of the last message that it knows. ``write`` waits while the
    connection's buffer is full; ``gone`` returns when the client has disconnected.

    Returns:
        Why we disconnected it; None when it disconnected itself.
    """

    async def write_all() -> None:
        try:
            await feed.join(client, since)
            while True:
                await write(await client.next())
        except UNAVAILABLE as error:
            log.warning("live client not served", error=type(error).__name__)
            client.end(PART_UNAVAILABLE)
        except (OSError, WebSocketDisconnect):
            pass  # it has disconnected

    tasks = [asyncio.create_task(write_all()), asyncio.create_task(gone)]
    waited_for: list[asyncio.Future[Any]] = [*tasks, client.ended]
    try:
        await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
    finally:
        feed.leave(client)
        client.gone()
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):  # our own fault, to be logged
            raise end
    return client.ended.result() if client.ended.done() else None


def parts(connection: HTTPConnection) -> tuple[System, Feed]:
    """The opened parts of the process, and the source of live messages."""
    state = connection.app.state
    return cast("System", state.system), cast("Feed", state.feed)


def is_welcome(connection: HTTPConnection, system: System) -> bool:
    """May a page of this origin connect? Programs send no origin; browsers always do."""
    origin = connection.headers.get("origin")
    if origin is None or origin.lower() in system.settings.origins:
        return True
    parts = urlsplit(origin.lower())
    # A proxy may have ended the encryption, so only the host says where the page is from.
    default = f":{_DEFAULT_PORTS.get(parts.scheme, '')}"
    host = connection.headers.get("host", "").lower()
    if parts.netloc and parts.netloc.removesuffix(default) == host.removesuffix(default):
        return True
    log.warning("foreign origin refused", origin=origin[:200])
    return False
