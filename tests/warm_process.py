"""Processes of ``rollbook`` that start as copies of one that has loaded its modules already.

``rollbook serve`` needs 1.5 s of a processor to load what it needs, and ``rollbook worker`` 0.8 s.
The fault tests, the page's tests and others start hundreds of them. Here one process for each
process of pytest loads the modules once, and forks for each command. The copy gets the arguments,
the environment, the folder and the standard streams of a process that is started as in production,
runs ``python -m rollbook`` from its first line, and is a child of pytest's process: its exit code,
its signals and its death are real. Passwords are hashed cheaply, as in the tests' own process.

A child in which a worker or the API reads files takes another second to start. So each copy has a
process beside it, with the name ``SPARE``, which has the modules loaded and forks for such a child
in the same way. It ends with the copy.

How a command starts by itself is the subject of ``tests/acceptance`` and ``tests/unit/cli``, which
start it cold, as everything does where the kernel isn't Linux.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from rollbook.accounts import passwords
from tests import hashes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[1]
#: What long-running processes load. Nothing here reads the environment before it is used.
MODULES = (
    "rollbook.api.app", "rollbook.api.server", "rollbook.worker.process",
    "rollbook.folder.watcher", "rich.console", "rich.markup", "typer", "typer.rich_utils",
)  # fmt: skip
CHILD = "rollbook.worker.child"
#: The module that runs in a copy in place of ``rollbook``, for a child of a worker in this process.
KEPT_CHILD = "tests.warm_child"
#: The commands that start children.
HAVE_CHILDREN = {"serve", "worker"}
#: The name of the process beside a copy, and of the child that it forks.
SPARE, FORKED = "rollbook-spare", "rollbook-child"
#: A request in bytes: an environment may be 128 KB in all.
MOST_BYTES = 2**20
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PATIENCE_S = 60

_asking = threading.Lock()


class Warm(subprocess.Popen[Any]):
    """``rollbook`` with arguments, as ``subprocess.Popen`` has it."""

    def _execute_child(  # that of subprocess, whose rest serves unchanged
        self, args: list[str], _executable: Any, _preexec: Any, _close: Any, _pass: Any,
        cwd: Any, env: Mapping[str, str] | None, _info: Any, _flags: Any, _shell: Any,
        p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int, errread: int, errwrite: int,
        *_: Any,
    ) -> None:  # fmt: skip
        request = {
            "arguments": args,
            "environment": dict(os.environ if env is None else env),
            "cwd": str(cwd or Path.cwd()),
            "umask": _umask(),
        }
        wanted = ((p2cread, 0), (c2pwrite, 1), (errwrite, 2))
        streams = [number if given == -1 else given for given, number in wanted]
        try:
            with _asking:
                self.pid = _asked(self._forking(), json.dumps(request).encode(), streams)
            self._child_created = True
        finally:
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]

    def _forking(self) -> socket.socket:
        """The line to the process that forks."""
        return _begin()


def start(*arguments: str, **options: Any) -> subprocess.Popen[Any]:
    """Start ``rollbook`` with arguments; cwd, env, stdin, stdout, stderr and text as for Popen."""
    if sys.platform != "linux":
        return subprocess.Popen([sys.executable, "-m", "rollbook", *arguments], **options)
    return Warm(["rollbook", *arguments], **options)


def start_kept_child(**options: Any) -> subprocess.Popen[Any]:
    """Start ``tests.warm_child``, with options as for Popen."""
    if sys.platform != "linux":
        return subprocess.Popen([sys.executable, "-m", KEPT_CHILD], cwd=ROOT, **options)
    return Warm([KEPT_CHILD], cwd=ROOT, **options)


def is_spare(process: psutil.Process) -> bool:
    """Is it a process that only forks children? No installation has one outside of tests."""
    with suppress(psutil.NoSuchProcess):
        return process.name() == SPARE
    return False


def _umask() -> int:
    """The mask of modes; ``os.umask`` would have to set it, for all threads."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("Umask:")[2].split()[0], 8)


def _asked(line: socket.socket, request: bytes, streams: list[int]) -> int:
    """Ask for a copy; its process id."""
    with _adopting():
        socket.send_fds(line, [request], streams)
        answer = line.recv(64)
    assert answer, "the process with the loaded modules has ended"
    return int(answer)


@cache
def _begin() -> socket.socket:
    """The line to the process that has loaded the modules, which starts with the first request."""
    ours, theirs = _line()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm_process"],
        cwd=ROOT,
        stdin=theirs.fileno(),
        stdout=subprocess.DEVNULL,
    )
    theirs.close()
    atexit.register(process.wait, PATIENCE_S)
    atexit.register(ours.close)  # first: the process ends with its line
    return ours


def _line() -> tuple[socket.socket, socket.socket]:
    """The two ends of a line for requests; the first is the one that asks."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_BYTES)
    ends[0].settimeout(PATIENCE_S)
    return ends


@contextmanager
def _adopting() -> Iterator[None]:
    """Let this process be the parent of grandchildren whose own parent ends."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        _prctl(PR_SET_CHILD_SUBREAPER, 0)


def _prctl(option: int, value: int | bytes) -> None:
    assert ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0


def main() -> None:
    """Load the modules, and fork for each request a copy that has a spare process beside it."""
    line = socket.socket(fileno=os.dup(0))
    for module in MODULES:
        import_module(module)
    sys.modules["sqlalchemy"] = None  # type: ignore[assignment]  # as in rollbook.worker.child
    import_module(KEPT_CHILD)
    del sys.modules["sqlalchemy"]
    passwords._hasher = hashes.CHEAP
    gc.collect()
    gc.freeze()  # or the first collection of each copy would write to all of its memory
    if (asked := _fork_for_each(line)) is None:
        return
    request, streams = asked
    sys.argv = request["arguments"]
    if sys.argv == [KEPT_CHILD]:
        _take(request, streams)
        import_module(KEPT_CHILD).main()
        return
    if HAVE_CHILDREN.isdisjoint(sys.argv):
        _take(request, streams)
    else:
        ours, theirs = _line()
        if os.fork() == 0:
            ours.close()
            _be_spare(theirs, streams)
            return
        theirs.close()
        _take(request, streams, kept=ours.fileno())
        _use(ours)
    runpy.run_module("rollbook", run_name="__main__", alter_sys=True)


def _fork_for_each(line: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork for each request, which the copy gets with its streams; None at the end of the line."""
    while True:  # no bound: it ends with the line
        request, streams, _, _ = socket.recv_fds(line, MOST_BYTES, 3)
        if not request:
            return None
        pid = _fork_orphan()
        if pid == 0:
            line.close()
            return json.loads(request), streams
        line.send(str(pid).encode())
        for stream in streams:
            os.close(stream)


def _fork_orphan() -> int:
    """Fork a process whose parent ends, so that pytest's process adopts it; 0 in that process."""
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        between = os.getpid()
        pid = os.fork()
        if pid:
            os.write(writing, str(pid).encode())
            os._exit(0)
        while os.getppid() == between:  # no bound: it ends at once
            os.sched_yield()
        os.close(reading)
        os.close(writing)
        return 0
    os.waitpid(between, 0)
    os.close(writing)
    pid = int(os.read(reading, 64))
    os.close(reading)
    return pid


def _be_spare(line: socket.socket, streams: list[int]) -> None:
    """Fork children for a copy whose streams these were."""
    _prctl(PR_SET_NAME, SPARE.encode())
    for number in (signal.SIGINT, signal.SIGTERM):  # which may go to the whole group
        signal.signal(number, signal.SIG_IGN)
    for stream in streams:
        os.close(stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # it was the line of the first process
    if (asked := _fork_for_each(line)) is None:
        return
    request, streams = asked
    _prctl(PR_SET_NAME, FORKED.encode())
    _take(request, streams)
    import_module(CHILD).main()


def _use(line: socket.socket) -> None:
    """Let the slots of this process have children that the spare process forks."""
    connected = import_module(KEPT_CHILD).connected
    cold = asyncio.create_subprocess_exec

    class Forked(Warm):
        def _forking(self) -> socket.socket:
            return line

    async def execute(*program: str, **options: Any) -> Any:
        if program != (sys.executable, "-m", CHILD):
            return await cold(*program, **options)
        pipe = subprocess.PIPE
        return await connected(
            Forked(program, stdin=pipe, stdout=pipe, bufsize=0, env=options["env"])
        )

    asyncio.create_subprocess_exec = execute


def _take(request: dict[str, Any], streams: list[int], *, kept: int | None = None) -> None:
    """Take what was asked for, in place of all that this process had but one open file."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for number in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # one was the list's own
            if number > 2 and number != kept:
                os.close(number)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    tempfile.tempdir = None
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )


if __name__ == "__main__":
    main()
