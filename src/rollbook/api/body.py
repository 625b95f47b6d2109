"""The limit on a request's body where it isn't a file: JSON of a few fields.

FastAPI has such a limit too, which answers in plain text instead of as a problem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Container

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 64 * 1024


class BodyLimitMiddleware:
    """Lets no route but those that count for themselves read more than so much."""

    def __init__(self, app: ASGIApp, *, unlimited: Container[str]) -> None:
        self._app = app
        self._unlimited = unlimited

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, with a body that breaks off where it becomes too large."""
        if scope["type"] != "http" or scope["path"] in self._unlimited:
            await self._app(scope, receive, send)
            return
        # What a client says of the length is believed only when it is too much.
        said = Headers(scope=scope).get("content-length", "0")
        received = int(said) if said.isdigit() and int(said) > MAX_BODY_BYTES else 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise HTTPException(
                    413, f"A request has at most {MAX_BODY_BYTES // 1024} KB. Nothing was kept."
                )
            return message

        await self._app(scope, counted, send)
