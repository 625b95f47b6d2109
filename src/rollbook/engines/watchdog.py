"""Stop the engines when their owner dies, where the kernel doesn't (macOS has no death signal).

Run by path, as ``python -I -S watchdog.py DATA_FOLDER``. Standard input is a pipe whose only
lasting writer is the owner: its end is the owner's end, however that came. Each engine writes one
line into it, ``PID SIGNAL LOCK``, before it becomes the engine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from pathlib import Path

#: Seconds that the engines have to follow the signal before they are killed.
PATIENCE_S = 30.0
POLL_S = 0.02


def is_held(lock: Path) -> bool:
    """Does a living process hold this lock file? A pid alone doesn't prove that."""
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
    """Wait for the owner's end, then end what still runs."""
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
    # After a clean stop nobody holds the lock, and the pid may be a stranger's by now.
    if is_held(lock):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    main()
