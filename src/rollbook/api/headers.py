"""Security headers of every answer (OWASP ASVS 5.0, 3.4 and 14.3.2).

No answer has a CORS header, so pages of other sites can't read it; except those to Socket.IO's
polling, for pages of ROLLBOOK_ALLOWED_ORIGINS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Set where the answer doesn't set them itself: the page's files have their own policy and caching.
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # For browsers that don't know the policy above.
    "X-Frame-Options": "DENY",
}


def add(headers: MutableHeaders, scope: Scope, *, hsts_s: int) -> None:
    """Add the headers that an answer doesn't set itself.

    The scheme is the scope's, which a trusted proxy sets. Browsers must use HTTPS for ``hsts_s``
    seconds; 0: no such header.
    """
    wanted = dict(HEADERS)
    if scope["scheme"] == "https" and hsts_s:
        wanted["Strict-Transport-Security"] = f"max-age={hsts_s}; includeSubDomains"
    for name, value in wanted.items():
        headers.setdefault(name, value)


class HeadersMiddleware:
    """Adds the headers to every answer, including those to unforeseen errors."""

    def __init__(self, app: ASGIApp, *, hsts_s: int) -> None:
        self._app = app
        self._hsts_s = hsts_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, and add the headers to its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                add(MutableHeaders(scope=message), scope, hsts_s=self._hsts_s)
            await send(message)

        await self._app(scope, receive, answer)
