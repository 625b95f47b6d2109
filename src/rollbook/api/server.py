"""The web server, with connections that can be aborted, as live messages need."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from rollbook.api.app import create_app
from rollbook.api.connections import Door, Requests

if TYPE_CHECKING:
    import socket

    from fastapi import FastAPI

    from rollbook.config import Settings

#: Maximum size of a client's message, in bytes: a token.
MAX_MESSAGE = 16 * 1024
#: Seconds after which a connection whose buffer doesn't empty is aborted.
LINGER_S = 5.0


class _Lines(WebSocketsSansIOProtocol):
    """WebSockets that are aborted when the client stops reading.

    An orderly close waits until the buffer is sent, which never happens for such a client.
    """

    def __init__(self, door: Door, **more: Any) -> None:
        super().__init__(**more)
        self._door = door

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.release(self.transport)
        super().connection_lost(exc)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.loop.call_later(LINGER_S, self.transport.abort)

    def shutdown(self) -> None:
        try:
            super().shutdown()
        except InvalidState:
            # The client has begun to close; that must not keep the server from stopping.
            self.transport.close()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.loop.call_later(LINGER_S, self.transport.abort)


class Server(uvicorn.Server):
    """A server that disconnects live clients first, because they would keep it from stopping."""

    def __init__(self, settings: Settings, **more: Any) -> None:
        self.app: FastAPI = create_app(settings)
        config = uvicorn.Config(
            self.app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            server_header=False,
            # 0 must stay 0: None would wait without limit.
            timeout_graceful_shutdown=settings.shutdown_grace_s,
            timeout_keep_alive=settings.idle_connection_s,
            http=Requests,
            ws=_Lines,
            ws_max_size=MAX_MESSAGE,
            # Compression needs a compressor per client and compresses each message for each one.
            ws_per_message_deflate=False,
            **more,
        )
        door = Door(settings, config.forwarded_allow_ips)
        # uvicorn calls what it is given, and passes on no settings.
        config.http = partial(Requests, door)  # type: ignore[assignment]
        config.ws = partial(_Lines, door)  # type: ignore[assignment]
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Disconnect the live clients, then stop."""
        feed = getattr(self.app.state, "feed", None)
        if feed is not None:
            feed.close()
            await asyncio.sleep(0)
        if self.app.state.socket_io is not None:
            await self.app.state.socket_io.close()
        await super().shutdown(sockets)
