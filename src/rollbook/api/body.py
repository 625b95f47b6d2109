"""How much of a request's body is read: a few fields of JSON, and behind an answer no end of it.

FastAPI has such a limit too, which answers in plain text instead of as a problem. The limit on the
body with a file is ``form``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Container

    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimitMiddleware:
    """Lets no route but those that count for themselves read more than so much."""

    def __init__(self, app: ASGIApp, *, most_kb: int, unlimited: Container[str]) -> None:
        self._app = app
        self._most_kb = most_kb
        self._unlimited = unlimited

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, with a body that breaks off where it becomes too large."""
        if scope["type"] != "http" or scope["path"] in self._unlimited:
            await self._app(scope, receive, send)
            return
        most = self._most_kb * 1024
        # What a client says of the length is believed only when it is too much.
        said = Headers(scope=scope).get("content-length", "0")
        received = int(said) if said.isdigit() and int(said) > most else 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(
                    413, f"A request has at most {self._most_kb} KB. Nothing was kept."
                )
            return message

        await self._app(scope, counted, send)


class UnreadBodyMiddleware:
    """Closes the line where an answer goes out before the whole body came in.

    The server would go on reading, and throw away what comes, for as long as it comes. What is left
    is read up to the limit first, as a client that can't finish sending may never come to read the
    answer.
    """

    def __init__(self, app: ASGIApp, *, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, and look at how much of the body is left when it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        said = headers.get("content-length", "0")
        has_more = said != "0" or "transfer-encoding" in headers
        # What a client sends only when it is asked for, it isn't asked for in vain.
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
                while has_more and not waits and received <= self._most_bytes:
                    await counted()
                if has_more:
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, counted, closing)
