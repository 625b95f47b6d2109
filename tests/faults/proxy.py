"""Proxies that cut a connection right after a commit, or let connections die without a word."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from rollbook.engines.postgres import SOCKET_NAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

#: The last statement of a merge's transaction, and the one that records an upload.
MERGE = b"SET status = 'completed', stage = 'report'"
RECORD = b"INSERT INTO uploads"


class CommitCutter:
    """Passes everything on, but the answer to the first commit that follows a statement."""

    def __init__(self, address: str, folder: Path, statement: bytes) -> None:
        self._statement = statement
        parts = urlsplit(address)
        [host] = parse_qs(parts.query)["host"]
        self._server = f"{unquote(host)}/{SOCKET_NAME}"
        self._folder = folder / "proxy"
        self._folder.mkdir()
        self.address = f"postgresql://{parts.netloc}{parts.path}?host={quote(str(self._folder))}"
        #: Set when the answer was kept back and the connection cut.
        self.cut = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> CommitCutter:
        self._listener.bind(str(self._folder / SOCKET_NAME))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:  # no bound: a server's loop, which ends with its socket
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                state = _Connection(client, server)
                threading.Thread(target=self._to_server, args=(state,), daemon=True).start()
                threading.Thread(target=self._to_client, args=(state,), daemon=True).start()

    def _to_server(self, state: _Connection) -> None:
        with suppress(OSError):
            while data := state.client.recv(65536):  # no bound: as above
                state.has_written |= self._statement in data
                if state.has_written and b"COMMIT" in data:
                    state.is_committing = True
                state.server.sendall(data)
        state.close()

    def _to_client(self, state: _Connection) -> None:
        with suppress(OSError):
            while data := state.server.recv(65536):  # no bound: as above
                if state.is_committing and not self.cut.is_set() and b"COMMIT" in data:
                    self.cut.set()
                    break
                state.client.sendall(data)
        state.close()


class _Connection:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.has_written = False
        self.is_committing = False

    def close(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Swallower:
    """Passes everything on until ``swallow``: then connections stay open and carry nothing.

    As when an address moves or a machine is lost: no end of the connection hears of it. New
    connections are served, unless they are to be swallowed too.
    """

    def __init__(self, server: str, path: Path) -> None:
        """Listen at a socket of the file system, and pass on to another one."""
        self._server = server
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._lock = threading.Lock()
        self._connections: list[_Passed] = []
        self._threads: list[threading.Thread] = []
        self._swallows_new = False
        #: Connections that were swallowed.
        self.lost = 0

    def __enter__(self) -> Swallower:
        self._listener.bind(str(self._path))
        self._listener.listen()
        self._begin(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(timeout=10)  # or it could take one more connection
        for connection in self._connections:
            connection.shut()
        for thread in self._threads:
            thread.join(timeout=10)
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def swallow(self, *, new: bool = False) -> None:
        """Swallow what comes by the present connections, and by new ones as long as ``new``."""
        with self._lock:
            self._swallows_new = new
            for connection in self._connections:
                self.lost += not connection.is_swallowed
                connection.is_swallowed = True

    def _begin(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was shut
            while True:  # no bound: a server's loop, which ends with its socket
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(self._server)
                except OSError:  # it is away, and its clients are disconnected
                    client.close()
                    server.close()
                    continue
                with self._lock:
                    connection = _Passed(client, server, self._swallows_new)
                    self.lost += self._swallows_new
                    self._connections.append(connection)
                self._begin(connection.pass_on, client, server)
                self._begin(connection.pass_on, server, client)


class _Passed:
    """A connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket, is_swallowed: bool) -> None:
        self._ends = (client, server)
        self.is_swallowed = is_swallowed

    def pass_on(self, source: socket.socket, target: socket.socket) -> None:
        """Take what one end says to the other, until one of them is done."""
        with suppress(OSError):
            while data := source.recv(65536):  # no bound: as above
                if not self.is_swallowed:
                    target.sendall(data)
        if not self.is_swallowed:
            self.shut()

    def shut(self) -> None:
        """Tell both ends that it is over."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give both sockets back."""
        for end in self._ends:
            end.close()
