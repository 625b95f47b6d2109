"""Connections of servers and clients in tests, and their ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx

from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from pathlib import Path

#: For a client that waits between its requests. By itself it keeps a connection for five seconds,
#: as the server does: one that both give up at the same moment is reset.
BRIEFLY = httpx.Limits(keepalive_expiry=2)


@contextlib.contextmanager
def closing(*lines: asyncio.StreamWriter) -> Iterator[None]:
    """Close connections at the end of the context.

    A loop that ends cancels its tasks, and nothing more is sent: their connections are aborted, or
    some later test would find them as garbage.
    """
    try:
        yield
    except asyncio.CancelledError:
        for line in lines:
            line.transport.abort()
        raise
    finally:
        for line in lines:
            line.close()


async def shut(server: asyncio.Server) -> None:
    """Accept no more, and let each connection that was accepted reach its protocol.

    asyncio's own ``close`` leaves one open that was accepted and has no transport yet.
    """
    for one in server.sockets:
        server.get_loop().remove_reader(one)
    for _ in range(3):  # the task that accepted it, its transport, its handler
        await asyncio.sleep(0)
    server.close()


@contextlib.asynccontextmanager
async def served(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
    port: int = 0,
    path: Path | None = None,
) -> AsyncIterator[int]:
    """Serve streams at a port of this machine, which it yields, or at a Unix socket.

    All connections end with the context, also one that has just come: asyncio itself leaves a
    connection open whose handler is cancelled before it has begun.
    """
    lines: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def over(task: asyncio.Task[None]) -> None:
        writer = lines.pop(task)
        if task.cancelled():
            writer.transport.abort()
            return
        writer.close()
        if fault := task.exception():
            told = {"message": "a handler of a test's server failed", "exception": fault}
            asyncio.get_running_loop().call_exception_handler(told)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        lines[task] = writer
        task.add_done_callback(over)

    if path is None:
        server = await asyncio.start_server(begin, "127.0.0.1", port)
    else:
        server = await asyncio.start_unix_server(begin, path)
    try:
        yield 0 if path else server.sockets[0].getsockname()[1]
    finally:
        await shut(server)
        for task in list(lines):
            task.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*lines, return_exceptions=True)
            await server.wait_closed()
