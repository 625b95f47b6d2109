"""Limits on how much of a request's body is read, before and after the answer.

FastAPI's own limit answers in plain text instead of as a problem. ``form`` limits the body with a
file.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from rollbook.config import Settings


class BodyLimitMiddleware:
    """Limits the body for all routes but those that count for themselves."""

    def __init__(
        self, app: ASGIApp, *, most_kb: int, unlimited: re.Pattern[str], larger: Mapping[str, int]
    ) -> None:
        """Begin with the limits: ``larger`` ones by the beginning of the path, in kilobytes."""
        self._app = app
        self._most_kb = most_kb
        self._unlimited = unlimited
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on; reading fails where the body becomes too large."""
        if scope["type"] != "http" or self._unlimited.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        larger = (kb for start, kb in self._larger.items() if scope["path"].startswith(start))
        most_kb = next(larger, self._most_kb)
        most = most_kb * 1024
        # The client's own length counts only when it is over the limit.
        said = Headers(scope=scope).get("content-length", "0")
        received = int(said) if said.isdigit() and int(said) > most else 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413, f"A request has at most {most_kb} KB. Nothing was kept.")
            return message

        await self._app(scope, counted, send)


class SlowBodyMiddleware:
    """Ends the wait for a body that takes too long, or of which less comes in than may.

    What counts is the time in which we wait for the client, and not that of our own work.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._most_s = settings.body_timeout_s
        self._least_rate = settings.body_least_rate
        self._grace_s = settings.body_grace_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, with a body that breaks off where it becomes too slow."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received, waited, has_ended = 0, 0.0, False

        async def timed() -> Message:
            nonlocal received, waited, has_ended
            if has_ended:  # an answer that streams waits for the client to leave
                return await receive()
            allowed = min(max(self._grace_s, received / self._least_rate), self._most_s)
            began = time.monotonic()
            try:
                async with asyncio.timeout(max(allowed - waited, 0)):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    408,
                    "The body of the request came in too slowly and was cut off. Nothing was kept; "
                    "please send it again over a better line.",
                    headers={"Connection": "close"},
                ) from None
            waited += time.monotonic() - began
            received += len(message.get("body", b""))
            has_ended = not message.get("more_body", False)
            return message

        await self._app(scope, timed, send)


class UnreadBodyMiddleware:
    """Closes the connection when the answer is sent before the whole body was received.

    The server would read and discard the rest of the body without an end. The rest is read up to
    the limit first, because a client that can't finish sending may never read the answer.
    """

    def __init__(self, app: ASGIApp, *, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, and check how much of the body is left when it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        said = headers.get("content-length", "0")
        has_more = said != "0" or "transfer-encoding" in headers
        # A client that waits for "100 Continue" isn't asked to send a body that nobody reads.
        waits = "expect" in headers or (said.isdigit() and int(said) > self._most_bytes)
        received = 0

        async def counted() -> Message:
            nonlocal received, has_more, waits
            waits = False
            message = await receive()
            received += len(message.get("body", b""))
            has_more = message.get("more_body", False)
            return message

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                with suppress(HTTPException):  # what is left comes too slowly: the line is closed
                    while has_more and not waits and received <= self._most_bytes:
                        await counted()
                if has_more:
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, counted, closing)
