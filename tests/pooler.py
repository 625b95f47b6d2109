"""The real PgBouncer before a test's database."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from rollbook.engines.postgres import SOCKET_NAME
from tests.ports import free_port
from tests.waiting import kill, until

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pooled(
    address: str,
    *,
    mode: Literal["session", "transaction"],
    host: str = "127.0.0.1",
    password: str = "",
    size: int = 5,
    more: str = "",
) -> Iterator[str]:
    """Run a pooler before the database of an address; yields the address through it.

    Args:
        address: a PostgreSQL URL by a Unix socket.
        mode: its ``pool_mode``.
        host: where it listens.
        password: what it asks clients for; nothing where this is empty.
        size: how many sessions of the server it opens.
        more: further lines of its configuration.
    """
    if PROGRAM is None:
        pytest.skip("no PgBouncer: apt-get install pgbouncer")
    parts = urlsplit(address)
    query = parse_qs(parts.query)
    folder, server_port = unquote(query["host"][0]), query.get("port", ["5432"])[0]
    port = free_port()
    is_root = os.geteuid() == 0
    if is_root:  # as whom it refuses to run, and nobody else reaches the socket
        for way in (Path(folder), *Path(folder).parents):
            if way.stat().st_mode & 0o007 == 0:
                way.chmod(0o711)
        Path(folder, SOCKET_NAME).chmod(0o777)
    with tempfile.TemporaryDirectory(prefix="rollbook-pooler-") as name:
        home = Path(name)
        home.chmod(0o755)  # for its user
        (home / "users.txt").write_text(f'"rollbook" "{password}"\n', encoding="utf-8")
        (home / "pgbouncer.ini").write_text(
            f"""[databases]
* = host={folder} port={server_port}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = {"scram-sha-256" if password else "trust"}
auth_file = {home / "users.txt"}
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 100
{more}
""",
            encoding="utf-8",
        )
        nobody = 65534 if is_root else None
        process = subprocess.Popen([PROGRAM, home / "pgbouncer.ini"], user=nobody, group=nobody)
        try:
            until(lambda: process.poll() is not None or _listens(host, port), "the pooler listens")
            assert process.poll() is None
            signed = f"rollbook:{password}" if password else "rollbook"
            yield f"postgresql://{signed}@{host}:{port}{parts.path}"
        finally:
            kill(process)


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
