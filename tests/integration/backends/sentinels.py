"""A server, its replica and three Sentinels, as an operator runs them; with TLS where asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme
from redis import Redis
from redis.exceptions import RedisError

from rollbook.engines.valkey import _binary as valkey
from tests import waiting
from tests.ports import free_port
from tests.waiting import kill

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

PASSWORD = "server's: p@ss"
SENTINEL_PASSWORD = "sentinels' own/pass"
#: Milliseconds without an answer after which a server counts as down: while one is to fail, and at
#: all other times, when it is only slow.
QUICK_MS, NEVER_MS = 400, 600_000


def tls_program() -> Path | None:
    """A server with TLS, which the wheel's isn't: Debian keeps Redis in its checking tool."""
    found = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    return Path(found) if found else None


@dataclass
class Node:
    """One process and how to reach it."""

    port: int
    process: subprocess.Popen[bytes]


class Watched:
    """The five of them, reachable at 127.0.0.1."""

    def __init__(self, folder: Path, *, tls: bool) -> None:
        self._folder = folder
        self.tls = tls
        program = tls_program() if tls else valkey()
        assert program is not None
        self._program = program
        self.ca_file = folder / "ca.pem"
        if tls:
            authority = trustme.CA()
            authority.cert_pem.write_to_path(str(self.ca_file))
            certificate = authority.issue_cert("127.0.0.1")
            certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        self.servers: list[Node] = []
        self.sentinels: list[Node] = []
        #: By the ports of their nodes.
        self._clients: dict[int, Redis] = {}

    def __enter__(self) -> Watched:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        first = self._server()
        self.servers = [first, self._server(first)]
        self.sentinels = [self._sentinel(n, first) for n in range(3)]
        until(self._is_whole, "three Sentinels and a replica that know each other")

    def stop(self) -> None:
        for client in self._clients.values():
            client.close()
        for node in (*self.sentinels, *self.servers):
            kill(node.process)

    def client(self, node: Node, password: str = PASSWORD) -> Redis:
        """A client that is kept: a connection with TLS takes 20 ms of a processor."""
        if node.port in self._clients:
            return self._clients[node.port]
        tls: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(self.ca_file)} if self.tls else {}
        self._clients[node.port] = Redis(
            port=node.port, host="127.0.0.1", password=password, socket_timeout=20,
            decode_responses=True, **tls,
        )  # fmt: skip
        return self._clients[node.port]

    @property
    def master(self) -> Node:
        """The one that is in charge now, as all Sentinels agree."""
        [port] = {self._said_master(node) for node in self.sentinels}
        return next(node for node in self.servers if node.port == port)

    def replicated(self) -> None:
        """Wait until the replica has what the master has written so far."""
        client = self.client(self.master)
        until(lambda: self._offsets_agree(client), "the replica is up to date")

    def fail(self, number: signal.Signals) -> Node:
        """Kill or freeze the master; return it when another one has taken over."""
        old = self.master
        self._is_down_after(QUICK_MS)
        old.process.send_signal(number)
        until(lambda: self.master is not old, "another master")
        self._is_down_after(NEVER_MS)
        return old

    def _is_down_after(self, silent_ms: int) -> None:
        """Set the silence after which the Sentinels choose another master."""
        for node in self.sentinels:
            client = self.client(node, SENTINEL_PASSWORD)
            client.execute_command(  # type: ignore[no-untyped-call]
                "SENTINEL", "SET", "members", "down-after-milliseconds", silent_ms
            )

    def _offsets_agree(self, client: Redis) -> bool:
        said: Any = client.info("replication")
        return int(said["slave0"]["offset"]) >= int(said["master_repl_offset"])

    def _said_master(self, node: Node) -> int:
        client = self.client(node, SENTINEL_PASSWORD)
        told: Any = client.sentinel_get_master_addr_by_name("members")
        return int(told[1])

    def _is_whole(self) -> bool:
        for node in self.sentinels:
            client = self.client(node, SENTINEL_PASSWORD)
            state: Any = client.sentinel_master("members")
            replicas: Any = client.sentinel_slaves("members")
            known = [replica["flags"] for replica in replicas]
            if state["num-other-sentinels"] != 2 or known not in (["slave"], [{"slave"}]):
                return False
        client = self.client(self.servers[1])
        said: Any = client.info("replication")
        return bool(said["master_link_status"] == "up")

    def _server(self, master: Node | None = None) -> Node:
        port = free_port()
        folder = self._folder / str(port)
        folder.mkdir()
        options = {
            **self._listening(port),
            "requirepass": PASSWORD,
            "masterauth": PASSWORD,
            "save": "",
            "repl-diskless-sync-delay": "0",
            "maxmemory-policy": "noeviction",
        }
        if master is not None:
            options["replicaof"] = f"127.0.0.1 {master.port}"
        return self._run(folder, port, options)

    def _sentinel(self, number: int, master: Node) -> Node:
        port = free_port()
        folder = self._folder / f"sentinel-{number}"
        folder.mkdir()
        options = {
            **self._listening(port),
            "requirepass": SENTINEL_PASSWORD,
            "sentinel sentinel-pass": SENTINEL_PASSWORD,
            "sentinel monitor members": f"127.0.0.1 {master.port} 2",
            "sentinel auth-pass members": PASSWORD,
            "sentinel down-after-milliseconds members": str(NEVER_MS),
            "sentinel failover-timeout members": "1500",
        }
        return self._run(folder, port, options, "--sentinel")

    def _listening(self, port: int) -> dict[str, str]:
        if not self.tls:
            return {"port": str(port), "bind": "127.0.0.1"}
        pair = str(self._folder / "server.pem")
        return {
            "port": "0",
            "tls-port": str(port),
            "bind": "127.0.0.1",
            "tls-cert-file": pair,
            "tls-key-file": pair,
            "tls-ca-cert-file": str(self.ca_file),
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }

    def _run(self, folder: Path, port: int, options: dict[str, str], *more: str) -> Node:
        config = folder / "server.conf"
        lines = [f"{name} {_value(name, value)}" for name, value in options.items()]
        config.write_text("\n".join(lines) + "\n")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["redis-server", str(config), *more],
                executable=self._program,
                cwd=folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C"},
            )
        node = Node(port, process)
        password = SENTINEL_PASSWORD if more else PASSWORD
        try:
            until(
                lambda: self._answers(node, password), f"a server: {(folder / 'log').read_text()}"
            )
        except BaseException:
            kill(process)
            raise
        return node

    def _answers(self, node: Node, password: str) -> bool:
        assert node.process.poll() is None, "it ended"
        client = self.client(node, password)
        return bool(client.ping())


def _value(name: str, value: str) -> str:
    """A setting's value as a configuration file has it."""
    has_parts = name.startswith("sentinel monitor") or name == "replicaof"
    return value if has_parts else '"' + value.replace('"', '\\"') + '"'


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; a server that doesn't answer or Sentinels at odds count as not yet."""
    not_yet = (RedisError, OSError, ValueError, KeyError)
    waiting.until(condition, what, pause_s=0.2, not_yet=not_yet)
