"""The processes of a trial: producers that answer, workers that are stopped or killed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import psutil
import redis
from benchmarks.queue import environments

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.queue.peers import Peer

#: Seconds that a worker gets to end on its own.
STOP_S = 3.0


@dataclass(frozen=True, slots=True)
class Start:
    """A job started."""

    #: Seconds of the clock that all processes share.
    at_s: float
    job_id: str


class Trial:
    """One peer on an empty database of the shared Valkey, with a pipe in which its jobs report."""

    def __init__(
        self,
        peer: Peer,
        folder: Path,
        socket_url: str,
        *,
        database: int = 0,
        hold_s: float = 0,
        tuned: bool = False,
    ) -> None:
        self.peer = peer
        self._redis_url = f"{socket_url}?db={database}"
        folder.mkdir()
        self._fifo = folder / "started"
        os.mkfifo(self._fifo)
        # Opened for both, so that no end of the pipe is ever missing.
        self._pipe = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""
        self.log = folder / "log"
        self._variables = {
            "PATH": f"{environments.folder(peer.environment) / 'bin'}:/usr/bin:/bin",
            "PYTHONPATH": str(environments.ROOT),
            "BENCH_REDIS_URL": self._redis_url,
            "BENCH_FIFO": str(self._fifo),
            "BENCH_HOLD_S": str(hold_s),
            "BENCH_TUNED": str(int(tuned)),
            "ROLLBOOK_LOG_LEVEL": "warning",
            "TMPDIR": str(folder),
            **peer.variables,
        }
        client = redis.Redis.from_url(self._redis_url)
        client.flushdb()
        client.close()

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._pipe)

    def produce(self, what: str, first: int, amount: float) -> Any:
        """Let a producer do something to its end; what it measured."""
        with self.log.open("a") as log:
            done = subprocess.run(
                self._producer(what, first, amount),
                env=self._variables,
                cwd=environments.ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{self.peer.name}: the producer failed\n{self.log.read_text()}")
        return json.loads(done.stdout)

    @contextmanager
    def producing(self, what: str, first: int, amount: float) -> Iterator[None]:
        """Let a producer do something meanwhile."""
        with self.log.open("a") as log:
            process = self._popen(self._producer(what, first, amount), log)
        try:
            yield
        finally:
            kill([process])

    @contextmanager
    def working(self) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Run the peer's worker; it is asked to end, and killed if it doesn't."""
        program, *arguments = self.peer.worker
        command = [str(environments.folder(self.peer.environment) / "bin" / program), *arguments]
        with self.log.open("a") as log:
            workers = [self._popen(command, log) for _ in range(self.peer.processes)]
        try:
            yield workers
        finally:
            for worker in workers:
                worker.terminate()
            ends = time.monotonic() + STOP_S
            for worker in workers:
                with suppress(subprocess.TimeoutExpired):
                    worker.wait(max(0.0, ends - time.monotonic()))
            kill(workers)

    def started(self, patience_s: float) -> list[Start]:
        """The jobs that have started since the last call; waits for the first of them."""
        if not select.select([self._pipe], [], [], patience_s)[0]:
            return []
        *lines, self._rest = (self._rest + os.read(self._pipe, 1 << 16)).split(b"\n")
        pairs = (line.decode().split() for line in lines)
        return [Start(int(nanoseconds) / 1e9, job_id) for nanoseconds, job_id in pairs]

    def _producer(self, what: str, first: int, amount: float) -> list[str]:
        python = environments.folder(self.peer.environment) / "bin" / "python"
        module = "benchmarks.queue.producer"
        return [str(python), "-m", module, self.peer.module, what, str(first), str(amount)]

    def _popen(self, command: list[str], log: TextIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            env=self._variables,
            cwd=environments.ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def kill(processes: list[subprocess.Popen[bytes]]) -> None:
    """SIGKILL for processes and all that they started; parents first: none sees a child die."""
    family = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(process.pid)
            family += [parent, *parent.children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.send_signal(signal.SIGKILL)
    for process in processes:
        process.wait()
