"""A slow line between browser and server, which can be cut."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

#: Bytes that are passed on at a time.
PIECE = 16 * 1024


class SlowLine:
    """Passes on what the browser sends, so many bytes a second, and cuts the line on demand.

    Only the direction to the server is slow. A cut closes all connections that are open.
    """

    def __init__(self, port: int, *, bytes_a_second: int) -> None:
        """Listen at a port of its own.

        Args:
            port: the server's, on this machine.
            bytes_a_second: how much one connection may send.
        """
        self._server = ("127.0.0.1", port)
        self._rate = bytes_a_second
        self._cuts: list[int] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        #: Bytes that the browser has sent.
        self.sent = 0
        #: How many times the line was cut.
        self.times_cut = 0
        self._listener = socket.socket()
        # A small window, or the browser would believe that megabytes have gone.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> SlowLine:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        self._cut()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:  # no bound: a server's loop, which ends with its socket
                browser, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                with self._lock:
                    self._open |= {browser, server}
                threading.Thread(target=self._up, args=(browser, server), daemon=True).start()
                threading.Thread(target=self._down, args=(server, browser), daemon=True).start()

    def _up(self, browser: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := browser.recv(PIECE):  # no bound: ends with its socket
                time.sleep(len(data) / self._rate)  # the line's rate
                with self._lock:
                    self.sent += len(data)
                    is_cut = bool(self._cuts) and self.sent >= self._cuts[-1]
                    if is_cut:
                        self._cuts.pop()
                        self.times_cut += 1
                server.sendall(data)
                if is_cut:
                    self._cut()
        self._close(browser, server)

    def _down(self, server: socket.socket, browser: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(PIECE):  # no bound: as above
                browser.sendall(data)
        self._close(browser, server)

    def _cut(self) -> None:
        with self._lock:
            ends, self._open = self._open, set()
        self._close(*ends)

    def cut_next(self, *counts: int) -> None:
        """Cut the line when the browser has sent so many bytes more."""
        with self._lock:
            self._cuts = sorted((self.sent + count for count in counts), reverse=True)

    def _close(self, *ends: socket.socket) -> None:
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        with self._lock:
            self._open -= set(ends)
