"""The headers that tell a browser what it may do with an answer (OWASP ASVS 5.0, 3.4 and 14.3.2).

No answer has a header of CORS, so that no page of another site can read one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Of every answer that has no such header of its own: the page's files have their own policy, and
#: may be kept.
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Of no use to what knows the policy above; for what doesn't.
    "X-Frame-Options": "DENY",
}


def add(headers: MutableHeaders, scope: Scope, *, hsts_s: int) -> None:
    """Add to an answer what it hasn't said itself.

    Args:
        headers: the answer's.
        scope: of the request; its scheme is what a trusted proxy says of it.
        hsts_s: seconds for which a browser is to come by HTTPS alone; 0 says nothing.
    """
    wanted = dict(HEADERS)
    if scope["scheme"] == "https" and hsts_s:
        wanted["Strict-Transport-Security"] = f"max-age={hsts_s}; includeSubDomains"
    for name, value in wanted.items():
        headers.setdefault(name, value)


class HeadersMiddleware:
    """Adds them to every answer; it lies around all else, also the answer to a fault of ours."""

    def __init__(self, app: ASGIApp, *, hsts_s: int) -> None:
        self._app = app
        self._hsts_s = hsts_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, and the answer back with its headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                add(MutableHeaders(scope=message), scope, hsts_s=self._hsts_s)
            await send(message)

        await self._app(scope, receive, answer)
