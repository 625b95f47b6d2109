"""Processes of ``rollbook`` that start as copies of one that has loaded its modules already.

``rollbook serve`` needs 1.5 s of a processor to load what it needs, and ``rollbook worker`` 0.8 s.
The fault tests, the page's tests and others start hundreds of them. Here one process for each
process of pytest loads the modules once, and forks for each command. The copy gets the arguments,
the environment, the folder and the standard streams of a process that is started as in production,
runs ``python -m rollbook`` from its first line, and is a child of pytest's process: its exit code,
its signals and its death are real. Passwords are hashed cheaply, as in the tests' own process.

What a command starts of ours, as a worker its children and ``up`` the other commands, would take
another second each. So a copy that starts some has a process beside it, with the name ``SPARE``,
which has the modules loaded and forks for the copy in the same way. It ends with the copy.

How a command starts by itself is the subject of ``tests/acceptance`` and ``tests/unit/cli``: each
command of theirs starts cold in some test, as everything does where the kernel isn't Linux.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import fcntl
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
import warnings
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from rollbook.accounts import passwords
from tests import hashes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[1]
#: What long-running processes load. Nothing here reads the environment before it is used.
MODULES = (
    "rollbook.api.app", "rollbook.api.server", "rollbook.worker.process",
    "rollbook.folder.watcher", "rollbook.service.doctor", "rich.console", "rich.markup", "typer",
    "typer.rich_utils", "uvloop",
)  # fmt: skip
CHILD = "rollbook.worker.child"
#: The commands that start other processes of ours.
HAVE_CHILDREN = {"serve", "worker", "up"}
#: The name of the process beside a copy.
SPARE = "rollbook-spare"
#: A request in bytes: an environment may be 128 KB in all.
MOST_BYTES = 2**20
#: Files that a copy gets: its standard streams, and a few more.
MOST_FILES = 16
#: Above the numbers that the files of a copy are to have.
HIGH = 200
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PATIENCE_S = 60

_asking = threading.Lock()


class Warm(subprocess.Popen[Any]):
    """``rollbook`` with arguments, as ``subprocess.Popen`` has it."""

    def _execute_child(self, *given: Any) -> None:
        with _asking:
            _execute(self, _begin(), *given)


def _execute(
    process: subprocess.Popen[Any], line: socket.socket, args: Sequence[str],
    _executable: Any, _preexec: Any, _close: Any, pass_fds: Iterable[int],
    cwd: Any, env: Mapping[str, str] | None, _info: Any, _flags: Any, _shell: Any,
    p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int, errread: int, errwrite: int,
    _signals: Any, _gid: Any, _gids: Any, _uid: Any, umask: int, is_session: bool,
    *_: Any,
) -> None:  # fmt: skip
    """``Popen._execute_child`` by a copy; the rest of ``Popen`` serves unchanged."""
    wanted = ((p2cread, 0), (c2pwrite, 1), (errwrite, 2))
    files = {number: number if given == -1 else given for given, number in wanted}
    files |= {number: number for number in pass_fds}
    request = {
        "arguments": list(args),
        "environment": dict(os.environ if env is None else env),
        "cwd": str(cwd or Path.cwd()),
        "umask": _umask() if umask == -1 else umask,
        "files": list(files),
        "is_session": is_session,
    }
    try:
        process.pid = _asked(line, json.dumps(request).encode(), list(files.values()))
        process._child_created = True  # type: ignore[attr-defined]
    finally:
        process._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def start(*arguments: str, **options: Any) -> subprocess.Popen[Any]:
    """Start ``rollbook`` with arguments; cwd, env, stdin, stdout, stderr and text as for Popen."""
    if sys.platform != "linux":
        return subprocess.Popen([sys.executable, "-m", "rollbook", *arguments], **options)
    return Warm(["rollbook", *arguments], **options)


def ran(*arguments: str, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run ``rollbook`` with arguments to its end, and what it has printed; options as for Popen."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(*arguments, **{"stdin": subprocess.DEVNULL, **pipes, **options}) as process:
        try:
            printed, said = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, printed, said)


def start_module(name: str, *arguments: str, **options: Any) -> subprocess.Popen[Any]:
    """Start a module of the tests, by its ``main``; options as for Popen."""
    if sys.platform != "linux":
        return subprocess.Popen([sys.executable, "-m", name, *arguments], cwd=ROOT, **options)
    return Warm([name, *arguments], cwd=ROOT, **options)


def is_spare(process: psutil.Process) -> bool:
    """Is it a process that only forks children? No installation has one outside of tests."""
    with suppress(psutil.NoSuchProcess):
        return process.name() == SPARE
    return False


def is_child(process: psutil.Process) -> bool:
    """Is it a child in which a worker or the API reads files, a copy or not?"""
    return process.name() == _name(CHILD) or CHILD in process.cmdline()


def is_command(process: psutil.Process, command: str) -> bool:
    """Is it a process of this command, a copy or not?"""
    return process.name() == _name(command) or command in process.cmdline()


def _name(running: str) -> str:
    """What a copy is called by ``ps``."""
    return f"rollbook-{running.rpartition('.')[2]}"


def _umask() -> int:
    """The mask of modes; ``os.umask`` would have to set it, for all threads."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("Umask:")[2].split()[0], 8)


def _asked(line: socket.socket, request: bytes, files: list[int]) -> int:
    """Ask for a copy; its process id."""
    with _adopting():
        socket.send_fds(line, [request], files)
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
    """Load the modules, and fork for each request."""
    line = socket.socket(fileno=os.dup(0))
    gc.disable()  # what this makes stays, and each look for garbage goes through all of it
    for module in MODULES:
        import_module(module)
    app: Any = import_module("rollbook.api.app")
    import_module("tests.warm_child")
    for route in app._router().routes:  # FastAPI builds them now, in a quarter of a second
        route.matches({"type": "http", "method": "GET", "path": "/", "headers": []})
    passwords._hasher = hashes.CHEAP
    gc.collect()
    gc.freeze()  # or the first collection of each copy would write to all of its memory
    gc.enable()
    _serve(line)


def _serve(line: socket.socket) -> None:
    """Fork for each request, until the line ends; each copy runs what was asked for."""
    while True:  # no bound: it ends with the line
        request, files, _, _ = socket.recv_fds(line, MOST_BYTES, MOST_FILES)
        if not request:
            os._exit(0)  # as in _end
        asked = json.loads(request)
        pid = _fork_orphan(is_session=asked["is_session"])
        if pid == 0:
            break
        line.send(str(pid).encode())
        for file in files:
            os.close(file)
    line.close()
    _take(asked, files)
    _run(asked["arguments"])


def _fork_orphan(*, is_session: bool) -> int:
    """Fork a process whose parent ends, so that the asking process adopts it; 0 in that process."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of threads. Those of polars and NumPy are idle, and hold no lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        between = os.fork()
    if between == 0:
        between = os.getpid()
        if os.fork():
            os._exit(0)
        while os.getppid() == between:  # no bound: it ends at once
            os.sched_yield()
        if is_session:
            os.setsid()
        os.write(writing, str(os.getpid()).encode())
        return 0
    os.waitpid(between, 0)
    os.close(writing)
    pid = int(os.read(reading, 64))
    os.close(reading)
    return pid


def _take(asked: dict[str, Any], files: list[int]) -> None:
    """Take what was asked for, in place of all that this process had."""
    high = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, HIGH) for file in files]
    _close_all(but=set(high))
    for file, number in zip(high, asked["files"], strict=True):
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a spare process ignores them
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    os.umask(asked["umask"])
    os.chdir(asked["cwd"])
    tempfile.tempdir = None
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )


def _close_all(*, but: set[int]) -> None:
    """Close all files but the standard streams and these."""
    for number in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # one was the list's own
            if number > 2 and number not in but:
                os.close(number)


def _run(arguments: list[str]) -> None:
    """Be ``python -m`` with these arguments."""
    program, *rest = sys.argv = arguments
    _prctl(PR_SET_NAME, _name(rest[0] if program == "rollbook" and rest else program).encode())
    if program != "rollbook":
        import_module(program).main()
        _end(0)
    if not HAVE_CHILDREN.isdisjoint(rest):
        ours, theirs = _line()
        if os.fork() == 0:
            ours.close()
            _be_spare(theirs)
            return
        theirs.close()
        _use(ours)
    code: object = None
    try:
        runpy.run_module("rollbook", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code
    if code is not None and not isinstance(code, int):
        raise SystemExit(code)
    _end(code or 0)


def _end(code: int) -> None:
    """End as the interpreter does, but for the release of what the copy shares with its original.

    That would write to 100 MB of memory, each page of which the system would copy first.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(code)  # the interpreter says what it says of a reader that is gone
    os._exit(code)


def _be_spare(line: socket.socket) -> None:
    """Fork for the copy at the other end."""
    _prctl(PR_SET_NAME, SPARE.encode())
    for number in (signal.SIGINT, signal.SIGTERM):  # which may go to the whole group
        signal.signal(number, signal.SIG_IGN)
    _close_all(but={line.fileno()})
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    _serve(line)


def _use(line: socket.socket) -> None:
    """Let the spare process at the end of a line fork what this process starts of ours."""
    connected = import_module("tests.warm_child").connected
    cold: Any = subprocess.Popen._execute_child  # type: ignore[attr-defined]
    coldly = asyncio.create_subprocess_exec

    def execute(process: subprocess.Popen[Any], args: Any, *given: Any) -> None:
        if is_ours(args):
            _execute(process, line, args[2:], *given)
        else:
            cold(process, args, *given)

    async def execute_for_loop(*program: str, **options: Any) -> Any:
        if not is_ours(program):
            return await coldly(*program, **options)
        pipe = subprocess.PIPE
        started = subprocess.Popen(  # noqa: ASYNC220 - a fork is as quick as the loop's own start
            program, stdin=pipe, stdout=pipe, bufsize=0, env=options["env"]
        )
        return await connected(started)

    def is_ours(args: Any) -> bool:
        is_module = isinstance(args, list | tuple) and [*args[:2]] == [sys.executable, "-m"]
        return is_module and args[2] in {"rollbook", CHILD}

    subprocess.Popen._execute_child = execute  # type: ignore[attr-defined]
    asyncio.create_subprocess_exec = execute_for_loop  # type: ignore[assignment]


if __name__ == "__main__":
    main()
