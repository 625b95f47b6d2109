"""The language of each request: that of its account, or of its header ``Accept-Language``.

A client that asks for neither gets English, as clients of older versions do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders

from rollbook.languages import preferred, speaking, spoken

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Answers whose sentences are in the language of the request.
_SENTENCES: Final = ("application/json", "application/problem+json")


class LanguageMiddleware:
    """Speaks a request's language while it is answered, and names it in the answer.

    ``access.admitted`` puts the account's choice in its place.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on in its language."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").partition(";")[0] in _SENTENCES:
                    headers.setdefault("Content-Language", spoken())
                    headers.add_vary_header("Accept-Language")
            await send(message)

        with speaking(preferred(Headers(scope=scope).get("accept-language"))):
            await self._app(scope, receive, answer)
