"""Ends a test that exceeds its time limit, and prints where it hangs.

pytest-timeout has the limit (``timeout`` in pyproject.toml, ``pytest.mark.timeout``). This plugin
replaces its report, which shows threads only and is lost under pytest-xdist: here the name of the
test, the stacks of all threads and asyncio tasks, and the child processes go to the real standard
error at once. Then the process ends; pytest-xdist reports the test as failed, starts another
process and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import os
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import pytest_timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import TextIO

#: Seconds after the limit until C code ends the process, which needs no lock of the interpreter.
GRACE_S = 15
#: Seconds that the process has from the last test's end to its own.
EXIT_S = 120


@dataclass(frozen=True, slots=True)
class _Limit:
    """A test's time limit, which runs."""

    seconds: float
    timer: threading.Timer


_real_stderr = pytest.StashKey["TextIO"]()
_running = pytest.StashKey[_Limit]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real standard error, which isn't captured at this moment."""
    stream = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
    config.stash[_real_stderr] = stream


def pytest_unconfigure(config: pytest.Config) -> None:
    """Limit the end of the process: a thread that never ends would keep it for ever."""
    faulthandler.dump_traceback_later(EXIT_S, exit=True, file=config.stash[_real_stderr])


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    """Start a test's time limit; pytest-timeout asks the first plugin that has this hook."""
    _start(item, settings.timeout)
    return True


def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    """Stop it."""
    if (limit := item.stash.get(_running, None)) is not None:
        limit.timer.cancel()
        faulthandler.cancel_dump_traceback_later()
    return True


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Start it again: pytest-timeout stops it when a test fails, and then its teardown may hang."""
    limit = node.stash.get(_running, None)
    if limit is not None and isinstance(node, pytest.Item) and not node.config.option.usepdb:
        _start(node, limit.seconds)


def _start(item: pytest.Item, seconds: float) -> None:
    stream = item.config.stash[_real_stderr]
    timer = threading.Timer(seconds, _expire, (item.nodeid, seconds, stream))
    timer.name = f"time limit of {item.nodeid}"
    timer.daemon = True
    item.stash[_running] = _Limit(seconds, timer)
    timer.start()
    faulthandler.dump_traceback_later(seconds + GRACE_S, exit=True, file=stream)


def _expire(name: str, seconds: float, stream: TextIO) -> None:
    if pytest_timeout.is_debugging():
        return
    try:
        stream.write(f"\n+++ TIMEOUT: {name} exceeded its limit of {seconds:g} s +++\n")
        stream.flush()
        for part in (_threads, _tasks, _children):
            _write(part, stream)
        stream.write(f"+++ end of the report on {name} +++\n")
        stream.flush()
    finally:
        os._exit(1)


def _write(part: Callable[[], Iterator[str]], stream: TextIO) -> None:
    """Write a part of the report, or why there is none: the other parts are written anyway.

    It is written as one piece, since other processes write to the same stream.
    """
    lines: list[str] = []
    try:
        lines.extend(part())
    except Exception:  # noqa: BLE001 - it is the report of a fault; its own must not hide that one
        lines.append(traceback.format_exc())
    stream.write("".join(lines))
    stream.flush()


def _threads() -> Iterator[str]:
    """The stack of each thread but this one."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            yield f"--- thread {names.get(ident, 'without a name')} ({ident})\n"
            yield from traceback.format_stack(frame)


def _tasks() -> Iterator[str]:
    """The stack of each task of each event loop, down to what it waits for."""
    for loop in [found for found in gc.get_objects() if _is_open_loop(found)]:
        for task in asyncio.all_tasks(loop):
            yield f"--- {task!r}\n"  # with its name and what it waits for
            for frame in _awaiting(task.get_coro()):
                yield from traceback.format_stack(frame, limit=1)


def _is_open_loop(found: object) -> bool:
    # By its class: an object may claim the __class__ of what it replaces.
    return issubclass(type(found), asyncio.AbstractEventLoop) and not found.is_closed()  # type: ignore[attr-defined]


def _awaiting(coroutine: Any) -> Iterator[FrameType]:
    """The frames of a coroutine and of what it awaits, the outermost first."""
    while coroutine is not None:
        for prefix, awaited in (("cr", "await"), ("gi", "yieldfrom"), ("ag", "await")):
            if (frame := getattr(coroutine, f"{prefix}_frame", None)) is not None:
                yield frame
                coroutine = getattr(coroutine, f"{prefix}_{awaited}")
                break
        else:
            return


def _children() -> Iterator[str]:
    """The processes that this one started; they are killed, since nobody else will end them."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            yield f"--- child process {child.pid} (killed): {' '.join(child.cmdline())}\n"
            child.kill()
