"""A migrated PostgreSQL cluster, copied in place of initdb and the migrations.

They take two seconds of a processor, and every process of the tests and every test with engines of
its own would pay them. The processes of a run share one.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from rollbook.backends import schema
from rollbook.engines import Engines
from tests import in_memory
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The folder that the processes of a run share, in their environment.
SHARED = "TESTS_CLUSTER"


def share() -> None:
    """Make the folder for this process and those that it starts; it goes with this process."""
    folder = in_memory.made()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[SHARED] = str(folder)


def put(data_dir: Path) -> None:
    """Put a cluster with an empty, migrated database into a data folder that has none yet."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # With owners and modes, and as references to the same blocks where the file system can.
    # The folder itself may be there already: a disk of its own.
    subprocess.run(["cp", "-Rp", f"{template()}/.", data_dir / "postgres"], check=True, timeout=60)


@cache
def template() -> Path:
    """The cluster that is copied; the first process that needs one makes it."""
    if SHARED not in os.environ:
        share()
    folder = Path(os.environ[SHARED])
    with (folder / "lock").open("w") as lock, _held(lock):
        if not (folder / "is-made").exists():
            with Engines(folder, valkey=False, fast_unsafe=True) as addresses:
                assert addresses.database_url is not None
                schema.migrate(addresses.database_url)
            (folder / "is-made").touch()
    return folder / "postgres"


@contextlib.contextmanager
def _held(lock: IO[str]) -> Iterator[None]:
    """The lock, once no other process has it; it goes with the file."""

    def is_ours() -> bool:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    until(is_ours, "another process has made the cluster")
    yield
