"""Processes of ``rollbook`` that start as copies of one that has loaded its modules already.

``rollbook serve`` needs 1.5 s of a processor to load what it needs, and ``rollbook worker`` 0.8 s.
The fault tests, the page's tests and others start hundreds of them. Here one process for each
process of pytest loads the modules once, and forks for each command. The copy gets the arguments,
the environment, the folder and the standard streams of a process that is started as in production,
runs ``python -m rollbook`` from its first line, and is a child of pytest's process: its exit code,
its signals and its death are real. The workers' own children are started cold. Passwords are hashed
cheaply, as in the tests' own process.

How a command starts by itself is the subject of ``tests/acceptance`` and ``tests/unit/cli``, which
start it cold, as everything does where the kernel isn't Linux.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
#: A request in bytes: an environment may be 128 KB in all.
MOST_BYTES = 2**20
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
            "arguments": args[1:],
            "environment": dict(os.environ if env is None else env),
            "cwd": str(cwd or Path.cwd()),
        }
        wanted = ((p2cread, 0), (c2pwrite, 1), (errwrite, 2))
        streams = [number if given == -1 else given for given, number in wanted]
        try:
            self.pid = _asked(json.dumps(request).encode(), streams)
            self._child_created = True
        finally:
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def start(*arguments: str, **options: Any) -> subprocess.Popen[Any]:
    """Start ``rollbook`` with arguments; cwd, env, stdin, stdout, stderr and text as for Popen."""
    if sys.platform != "linux":
        return subprocess.Popen([sys.executable, "-m", "rollbook", *arguments], **options)
    return Warm(["rollbook", *arguments], **options)


def _asked(request: bytes, streams: list[int]) -> int:
    """Ask for a copy; its process id."""
    with _asking:
        line = _begin()
        with _adopting():
            socket.send_fds(line, [request], streams)
            answer = line.recv(64)
    assert answer, "the process with the loaded modules has ended"
    return int(answer)


@cache
def _begin() -> socket.socket:
    """The line to the process that has loaded the modules, which starts with the first request."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE_S)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_BYTES)
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


@contextmanager
def _adopting() -> Iterator[None]:
    """Let this process be the parent of grandchildren whose own parent ends."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def main() -> None:
    """Load the modules, fork for each request, and end with the line."""
    line = socket.socket(fileno=os.dup(0))
    for module in MODULES:
        import_module(module)
    passwords._hasher = hashes.CHEAP
    gc.collect()
    gc.freeze()  # or the first collection of each copy would write to all of its memory
    while True:  # no bound: it ends with the line
        request, streams, _, _ = socket.recv_fds(line, MOST_BYTES, 3)
        if not request:
            return
        pid = _fork_orphan()
        if pid == 0:
            break
        line.send(str(pid).encode())
        for stream in streams:
            os.close(stream)
    line.close()
    _become(json.loads(request), streams)


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


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """Be ``python -m rollbook`` with what was asked for."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for number in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # one was the list's own
            if number > 2:
                os.close(number)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )
    sys.argv = ["rollbook", *request["arguments"]]
    runpy.run_module("rollbook", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
