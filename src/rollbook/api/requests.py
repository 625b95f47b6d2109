"""Middleware of every request: an id for log and answer, a span, and metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from rollbook.telemetry import correlation, metrics, traces

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"
#: The methods of HTTP (RFC 9110, 5789); others are no label.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: Requested every few seconds by machines, so not traced.
_UNTRACED = frozenset({"/healthz", "/readyz", "/metrics", "/socket.io/"})
#: Polling for live messages: an answer may take half a minute without being slow.
_POLLED = "/socket.io/"

log = structlog.get_logger(__name__)


class RequestMiddleware:
    """Follows each request, named by the template of its route and never by its path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, and record its result."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        request_id = correlation.given_or_new(headers.get(b"x-request-id"))
        # The answer to an unforeseen error is made outside of this middleware.
        scope.setdefault("state", {})["request_id"] = request_id
        with correlation.bound(request_id):
            if scope["type"] == "websocket":
                await self._app(scope, receive, send)
            elif scope["path"] in _UNTRACED:
                await self._follow(scope, receive, send, request_id)
            else:
                await self._trace(scope, receive, send, request_id, headers.get(b"traceparent"))

    async def _trace(
        self, scope: Scope, receive: Receive, send: Send, request_id: str, parent: str | None
    ) -> None:
        with traces.span("HTTP", kind=traces.SERVER, parent=parent) as own:
            status = 500
            try:
                status = await self._follow(scope, receive, send, request_id)
            finally:
                if own is not None:
                    method, route = method_of(scope), route_of(scope)
                    own.name = f"{method} {route}"
                    own.attributes |= {
                        "http.request.method": method,
                        "http.route": route,
                        "http.response.status_code": status,
                        "rollbook.request_id": request_id,
                    }

    async def _follow(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> int:
        status, is_stream = 500, scope["path"] == _POLLED

        async def noted(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                kind = dict(message.get("headers", ())).get(b"content-type", b"")
                own = (HEADER.lower().encode(), request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), own]}
                if kind.startswith(
                    b"text/event-stream"
                ):  # it lasts for hours, and counts as a live client
                    is_stream = True
                    metrics.HTTP_OPEN.dec()
            await send(message)

        began = time.perf_counter()
        if not is_stream:
            metrics.HTTP_OPEN.inc()
        try:
            await self._app(scope, receive, noted)
        finally:
            method, route = method_of(scope), route_of(scope)
            metrics.HTTP_REQUESTS.labels(method=method, route=route, status=str(status)).inc()
            taken = time.perf_counter() - began
            if not is_stream:
                metrics.HTTP_OPEN.dec()
                metrics.HTTP_SECONDS.labels(method=method, route=route).observe(taken)
            log.debug("request", method=method, route=route, status=status, seconds=round(taken, 4))
        return status


def route_of(scope: Scope) -> str:
    """The template of a request's route, such as ``/api/v1/bulk-upload/status/{job_id}``."""
    # FastAPI has the template with its prefix here; older versions have it in the route.
    whole = scope.get("fastapi", {}).get("effective_route_context", scope.get("route"))
    path = getattr(whole, "path", None)
    if not path:  # a WebSocket's route is inside of its context
        path = getattr(getattr(whole, "starlette_route", None), "path", None)
    return path or "none"


def method_of(scope: Scope) -> str:
    """The request's method, if it is one of HTTP's."""
    return scope["method"] if scope["method"] in _METHODS else "other"
