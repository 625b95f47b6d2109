"""A migrated PostgreSQL cluster, copied in place of initdb and the migrations.

They take a second of a processor, and every test with engines of its own would pay it.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING

from rollbook.backends import schema
from rollbook.engines import Engines
from tests import in_memory

if TYPE_CHECKING:
    from pathlib import Path


def put(data_dir: Path) -> None:
    """Put a cluster with an empty, migrated database into a data folder that has none yet."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # With owners and modes, and as references to the same blocks where the file system can.
    # The folder itself may be there already: a disk of its own.
    subprocess.run(["cp", "-Rp", f"{_template()}/.", data_dir / "postgres"], check=True, timeout=60)


@cache
def _template() -> Path:
    folder = in_memory.made()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with Engines(folder, valkey=False, fast_unsafe=True) as addresses:
        assert addresses.database_url is not None
        schema.migrate(addresses.database_url)
    return folder / "postgres"
