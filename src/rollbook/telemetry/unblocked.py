"""Writes log lines to standard error without waiting for a reader that has stopped.

A terminal after Ctrl-S, or a log collector that hangs, takes nothing more. A process that waited
for it would answer nobody and renew no lock. Lines are dropped instead, and counted.
"""

from __future__ import annotations

import logging
import os
import select
import stat
import time

#: Seconds that a line waits for a slow reader; none while the last line found no room.
PATIENCE_S = 1.0
#: Bytes that go out in one write: a pipe takes as many at once or none.
PIECE_BYTES = 4096
DROPPED = "%d log lines were dropped while nobody read them"
NOT_WRITTEN = "a log line of %s could not be written (%s)"


class UnblockedHandler(logging.Handler):
    """A handler that drops what its descriptor doesn't take."""

    def __init__(self, descriptor: int) -> None:
        """Write to the descriptor of a pipe, a terminal, a socket or a file."""
        super().__init__()
        self._descriptor = _not_blocking(descriptor)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)
        self._dropped = 0
        self._is_cut = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or count it as dropped."""
        try:
            line = f"{self.format(record)}\n"
        except Exception as error:  # noqa: BLE001 - as every handler does
            # The library would say what was to be logged, and all errors that were being handled:
            # both may quote a cell.
            place = f"{record.filename}:{record.lineno}"
            line = f"{self.format(_note(NOT_WRITTEN, place, type(error).__name__))}\n"
        if self._dropped:
            line = f"{self.format(_note(DROPPED, self._dropped))}\n{line}"
        until = time.monotonic() + (0 if self._dropped else PATIENCE_S)
        if self._is_cut:
            line = f"\n{line}"
        if self._write(line.encode("utf-8", "backslashreplace"), until):
            self._dropped = 0
        else:
            self._dropped += 1

    def _write(self, line: bytes, until: float) -> bool:
        """Whether all of it went out in time."""
        left = line
        while left:
            wait_ms = max(0, round((until - time.monotonic()) * 1000))
            try:
                if not self._poll.poll(wait_ms):
                    break
                left = left[os.write(self._descriptor, left[:PIECE_BYTES]) :]
            except BlockingIOError:  # another process was quicker to fill the pipe
                if time.monotonic() >= until:
                    break
                time.sleep(0.01)
            except OSError:  # nobody will read it any more
                break
        self._is_cut = (self._is_cut and left == line) or bool(left and left != line)
        return not left


def _note(text: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, values, None)


def _not_blocking(descriptor: int) -> int:
    """A pipe opened again: the flag belongs to the opening, which other processes share."""
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        try:
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # no /proc, as on macOS
            pass
    return descriptor
