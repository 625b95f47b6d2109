"""The web server around the application, as live messages need it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from rollbook.api.app import create_app

if TYPE_CHECKING:
    import socket

    from fastapi import FastAPI

    from rollbook.config import Settings

#: Longest message of a client, in bytes: a token.
MAX_MESSAGE = 16 * 1024
#: Seconds after which a line that doesn't empty is cut.
LINGER_S = 5.0


class _Lines(WebSocketsSansIOProtocol):
    """WebSockets that are cut when the client reads nothing any more.

    Closing waits until what was written has gone out, which never happens for such a client.
    """

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.loop.call_later(LINGER_S, self.transport.abort)

    def shutdown(self) -> None:
        try:
            super().shutdown()
        except InvalidState:
            # The client has begun to close: one such line must not keep the server from its end.
            self.transport.close()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.loop.call_later(LINGER_S, self.transport.abort)


class _Requests(HttpToolsProtocol):
    """HTTP whose endless answers can be cut, for the same reason."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["cut"] = self.transport.abort


class Server(uvicorn.Server):
    """A server that ends the live messages first: they would keep it from ending."""

    def __init__(self, settings: Settings, **more: Any) -> None:
        self.app: FastAPI = create_app(settings)
        config = uvicorn.Config(
            self.app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            server_header=False,
            # Not None for 0, which would be waiting without limit.
            timeout_graceful_shutdown=settings.shutdown_grace_s,
            http=_Requests,
            ws=_Lines,
            ws_max_size=MAX_MESSAGE,
            # Each client would need its own compressor and have each message packed anew.
            ws_per_message_deflate=False,
            **more,
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the clients go, and then end."""
        feed = getattr(self.app.state, "feed", None)
        if feed is not None:
            feed.close()
            await asyncio.sleep(0)
        await super().shutdown(sockets)
