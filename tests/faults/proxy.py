"""A PostgreSQL proxy that cuts a child's connection right after its merge was committed."""

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

#: How a child's connection names itself in its first packet.
CHILD = b"rollbook-child"
#: The last statement of the merge's transaction.
FINAL_WRITE = b"status = 'completed'"


class CommitCutter:
    """Passes everything on, but the answer to the first commit of a merge."""

    def __init__(self, address: str, folder: Path) -> None:
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
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                state = _Connection(client, server)
                threading.Thread(target=self._to_server, args=(state,), daemon=True).start()
                threading.Thread(target=self._to_client, args=(state,), daemon=True).start()

    def _to_server(self, state: _Connection) -> None:
        with suppress(OSError):
            while data := state.client.recv(65536):
                state.is_child |= CHILD in data
                state.wrote_final |= FINAL_WRITE in data
                if state.is_child and state.wrote_final and b"COMMIT" in data:
                    state.committing = True
                state.server.sendall(data)
        state.close()

    def _to_client(self, state: _Connection) -> None:
        with suppress(OSError):
            while data := state.server.recv(65536):
                if state.committing and not self.cut.is_set() and b"COMMIT" in data:
                    self.cut.set()
                    break
                state.client.sendall(data)
        state.close()


class _Connection:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.is_child = False
        self.wrote_final = False
        self.committing = False

    def close(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
