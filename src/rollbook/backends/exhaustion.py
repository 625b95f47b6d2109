"""What a process meets that gets no more open files, threads or processes from its system."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Final

from rollbook.errors import NoResourcesError

SENTENCE: Final = (
    "This machine has no more open files, threads or processes for Rollbook, so nothing was "
    "changed. Please try again in a few minutes. If it goes on, ask the operator to raise the "
    "limits (nofile, nproc or pids)."
)
_NUMBERS: Final = (errno.EMFILE, errno.ENFILE, errno.EAGAIN)
#: Words of the system, of Python's threads, and of Rust's threads and pools.
_WORDS: Final = (
    "Too many open files",
    "can't start new thread",
    "can't spawn worker thread",
    "failed to spawn thread",
    "thread pool has not been initialized",
    *(f"os error {number})" for number in _NUMBERS),
    *(f"code: {number}, kind: " for number in _NUMBERS),
)


#: Open files that a step of work needs, with a reserve.
_FILES: Final = 16
#: Threads of the runtime by which obstore works (tokio), which are started with its first call and
#: stay. By default they are as many as there are processors.
STORE_THREADS: Final = ("TOKIO_WORKER_THREADS", "2")
#: Seconds for which it isn't looked again: the runtime keeps a thread for ten after its last call.
_LOOK_S: Final = 1.0
#: Seconds that a thread has to end, once it has nothing more to do.
_GONE_S: Final = 1.0
_look = SimpleNamespace(at=None)


def is_met() -> bool:
    """Does this process get too few open files, or no thread, at the moment?

    Libraries that meet the limit often say something else: libpq says that the connection is bad.
    """
    try:
        with contextlib.ExitStack() as opened:
            for _ in range(_FILES):
                opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        _try_threads(1)
    except (OSError, RuntimeError, MemoryError) as error:
        # Another error says nothing of these limits. The caller is about to explain one of its own,
        # which must not be lost.
        return is_one(error)
    return False


def expect_store_threads() -> None:
    """Refuse a call of the file store that would wait for a thread for ever.

    Each call of obstore needs a thread. Where the system gives none while the runtime has others,
    it waits for one of these, and they never end: there is no error, and no answer.

    Raises:
        NoResourcesError: a thread can't be started.
    """
    if _look.at is not None and time.monotonic() - _look.at < _LOOK_S:
        return
    name, usual = STORE_THREADS
    count = 1 if _look.at is not None else 1 + int(os.environ.get(name, usual))
    try:
        _try_threads(count)
    except RuntimeError as error:
        raise NoResourcesError(SENTENCE) from error
    _look.at = time.monotonic()


def _try_threads(count: int) -> None:
    """Start so many threads at a time, and end them; a RuntimeError where one can't be started."""
    ended = threading.Event()
    started = []
    try:
        for _ in range(count):
            trial = threading.Thread(target=ended.wait, daemon=True)
            trial.start()
            started.append(trial)
    finally:
        ended.set()
        for trial in started:
            trial.join()
        _wait_until_gone(started)


def _wait_until_gone(threads: list[threading.Thread]) -> None:
    """Wait until the system counts threads no more: one that was joined may still be on its way.

    The next one would be refused for it, at a limit that has room.
    """
    tasks = [Path(f"/proc/self/task/{thread.native_id}") for thread in threads]
    until = time.monotonic() + _GONE_S
    while any(task.exists() for task in tasks) and time.monotonic() < until:
        time.sleep(0.001)


def is_one(error: BaseException) -> bool:
    """Does an error, or its cause, say that a limit of the system was reached?

    Libraries in other languages keep the system's number in their text, and panic where they can
    start no thread: that is no ``Exception``.
    """
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return True
    if any(words in str(error) for words in _WORDS):
        return True
    return error.__cause__ is not None and is_one(error.__cause__)
