"""One warm child process for the workers of many tests, instead of a cold one for each.

A child takes a second of a processor to load what it needs. The tests' workers run in the tests'
own process, and each has children of its own; here a child is a copy of a process with loaded
modules (tests/warm_process.py), and one that is idle when its worker ends is kept for the next
worker. Its environment, and with it the address of the database, comes as a line on its standard
input, and its connections are kept (tests/kept_connections.py); there is no other difference to
``rollbook.worker.child``.

Cold children, as a worker starts them in production, are the subject of the tests with the mark
``cold_child``, and of all tests that start ``rollbook worker`` cold, as tests/acceptance does.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollbook import config
from rollbook.telemetry import logs, metrics
from rollbook.worker import child, scratch, slots
from tests import kept_connections, warm_process
from tests.waiting import PATIENCE_S, kill

if TYPE_CHECKING:
    import pytest

    from rollbook.config import Settings

PROGRAM = slots.PROGRAM
#: A larger child isn't kept: a test of the limit of memory would meet what others have left in it.
KEPT_MB = 350

_idle: list[subprocess.Popen[bytes]] = []
_starting = ThreadPoolExecutor(1, "start of a kept child")


class _Process:
    """A process as an event loop sees it; the part of asyncio's that is used."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.stdin: asyncio.StreamWriter
        self.stdout: asyncio.StreamReader

    async def connect(self) -> None:
        """Open the pipes in this loop, by copies that end with it."""
        loop = asyncio.get_running_loop()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdout = asyncio.StreamReader(limit=slots.MOST_ANSWER_BYTES)
        protocol = asyncio.StreamReaderProtocol(self.stdout)
        self._reading, _ = await loop.connect_read_pipe(
            lambda: protocol, os.fdopen(os.dup(self.process.stdout.fileno()), "rb")
        )
        writing, flow = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(os.dup(self.process.stdin.fileno()), "wb")
        )
        self.stdin = asyncio.StreamWriter(writing, flow, None, loop)

    def disconnect(self) -> None:
        """Close the copies; the pipes themselves stay open."""
        self._reading.close()
        self.stdin.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.poll()

    def kill(self) -> None:
        self.process.kill()

    async def wait(self) -> int:
        code = await asyncio.to_thread(self.process.wait, PATIENCE_S)
        self.disconnect()
        _close(self.process)
        return code


async def connected(process: subprocess.Popen[bytes]) -> _Process:
    """A process with unbuffered pipes, for this event loop."""
    made = _Process(process)
    await made.connect()
    return made


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


async def _start(
    cls: type[slots.Child], settings: Settings, folder: Path, stuck: set[slots.Child]
) -> slots.Child:
    """In place of ``Child.start``."""
    if slots.PROGRAM != PROGRAM:  # a test's own
        return await _cold_start(settings, folder, stuck)
    scratch.empty(folder)
    while _idle and _idle[-1].poll() is not None:
        _close(_idle.pop())
    process = await connected(_idle.pop() if _idle else await _begun())
    metrics.CHILDREN_STARTED.inc()
    started = cls(process, folder, stuck)  # type: ignore[arg-type]
    environment = {**config.environment_for(settings), "TMPDIR": str(folder)}
    process.stdin.write(
        json.dumps({"environment": environment, "cwd": str(Path.cwd())}).encode() + b"\n"
    )
    try:
        assert await started._receive() is not None, "the child ended while it started"
    except BaseException:  # as in ``Child.start``: nobody else could end it
        await started.kill()
        raise
    return started


async def _begun() -> subprocess.Popen[bytes]:
    """Another child; in a thread, since the first one waits until the modules are loaded."""
    starting = _starting.submit(
        warm_process.start_module,
        "tests.warm_child",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    try:
        return await asyncio.wrap_future(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(_keep_begun)
        raise


def _keep_begun(starting: Future[subprocess.Popen[bytes]]) -> None:
    if not starting.cancelled():
        _idle.append(starting.result())


_cold_start = slots.Child.start
_end = slots.Slots.__aexit__


async def _keep(ending: slots.Slots, *error: Any) -> None:
    """Before ``Slots.__aexit__``: what is idle is kept instead of killed."""
    for one in list(ending._idle):
        process: object = one._process
        if isinstance(process, _Process) and one.is_usable and one.memory_mb < KEPT_MB:
            ending._idle.remove(one)
            process.disconnect()
            shutil.rmtree(one._folder, ignore_errors=True)
            _idle.append(process.process)
    await _end(ending, *error)


def use(patch: pytest.MonkeyPatch) -> None:
    """Let the workers of this process use kept children."""
    patch.setattr(slots.Child, "start", classmethod(_start))
    patch.setattr(slots.Slots, "__aexit__", _keep)


def end() -> None:
    """End the kept children."""
    _starting.shutdown()
    for process in _idle:
        kill(process)
        _close(process)
    _idle.clear()


def main() -> None:
    """As ``child.main``, but for lines that change the environment."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    tasks: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=child._listen, args=(tasks,), daemon=True).start()
    settings = None
    kept_connections.use_in_child()
    while True:  # no bound: it ends with its standard input
        task = tasks.get()  # no bound: as above
        if "environment" in task:
            os.environ.clear()
            os.environ.update(task["environment"])
            os.chdir(task["cwd"])
            tempfile.tempdir = None
            settings = config.load(env_file=False)
            kept_connections.keep(settings.database_address)
            logs.configure(settings, component="child")
            child._send(answers, type="ready")
        else:
            assert settings is not None
            child._attempt(settings, task, answers)


if __name__ == "__main__":
    main()
