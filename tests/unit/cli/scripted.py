"""A server that answers as a test says, one answer after the other, and notes what it got."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from rollbook import __version__
from tests.waiting import join

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


@dataclass
class Reply:
    """One answer."""

    status: int = 200
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    #: Close the connection after this many bytes; 0: without any answer.
    cut_after: int | None = None


@dataclass
class Got:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def success(data: Any, message: str = "Done.") -> Reply:
    """The envelope of a success."""
    return Reply(content=json.dumps({"success": True, "message": message, "data": data}).encode())


def problem(status: int, detail: str, code: str = "conflict", **headers: str) -> Reply:
    """The envelope of a failure."""
    content = {"success": False, "detail": detail, "type": f"urn:rollbook:problem:{code}"}
    kind = {"Content-Type": "application/problem+json", **headers}
    return Reply(status, json.dumps(content).encode(), kind)


class Scripted:
    """The server; a request for the API's description is answered with its version."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.got: list[Got] = []
        self.version = __version__
        self.address = ""

    def then(self, *replies: Reply) -> None:
        """Answer the next requests so."""
        self.replies += replies

    @contextmanager
    def running(self, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
        """Serve for as long as the context lasts."""
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _answer(self) -> None:
                if self.path.endswith("/openapi.json"):
                    info = {"info": {"version": script.version}}
                    self._send(Reply(content=json.dumps(info).encode()))
                    return
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                if self.headers.get("Transfer-Encoding") == "chunked":
                    raise AssertionError("the length of a file is known")
                script.got.append(Got(self.command, self.path, dict(self.headers), body))
                self._send(script.replies.pop(0))

            def _send(self, reply: Reply) -> None:
                if reply.cut_after == 0:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.content)))
                self.end_headers()
                self.wfile.write(reply.content[: reply.cut_after])
                self.close_connection = reply.cut_after is not None

            do_GET = do_POST = _answer  # noqa: N815 - the names that the library calls

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            if tls is not None:
                server.socket = tls.wrap_socket(server.socket, server_side=True)
            scheme = "http" if tls is None else "https"
            self.address = f"{scheme}://127.0.0.1:{server.server_address[1]}"
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                join(thread)
