"""A PostgreSQL proxy that cuts a connection right after what it wrote was committed."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote, urlsplit

from rollbook.engines.postgres import SOCKET_NAME

if TYPE_CHECKING:
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
