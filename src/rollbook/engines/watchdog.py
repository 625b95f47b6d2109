"""Stops the engines when their owner dies, where the kernel doesn't (macOS has no death signal).

Run by path, as ``python -I -S watchdog.py DATA_FOLDER``. Standard input is a pipe whose only
lasting writer is the owner, so its end shows that the owner has ended, for any reason. Each engine
writes one line into it, ``PID SIGNAL LOCK``, before it becomes the engine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from pathlib import Path

#: Time for the engines to react to the signal before they are killed, in seconds.
PATIENCE_S = 30.0
POLL_S = 0.02


def is_held(lock: Path) -> bool:
    """Whether a living process holds this lock file, which a pid doesn't prove."""
    try:
        fd = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def wait_free(lock: Path, patience_s: float) -> bool:
    """Wait until the lock file is free; False after the timeout."""
    deadline = time.monotonic() + patience_s
    while is_held(lock):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def main() -> None:
    """Wait for the owner's end, then stop the engines that still run."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folder = Path(sys.argv[1])
    engines = [line.split() for line in sys.stdin.read().splitlines()]
    for pid, name, lock in engines:
        _signal(int(pid), int(name), folder / lock)
    for pid, _, lock in engines:
        if not wait_free(folder / lock, PATIENCE_S):
            _signal(int(pid), signal.SIGKILL, folder / lock)


def _signal(pid: int, number: int, lock: Path) -> None:
    # After a clean stop no process holds the lock, and the pid may be another program's.
    if is_held(lock):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    main()
