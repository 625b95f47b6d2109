"""Stores the schema of a release: ``python -m tests.upgrade.make``, before its version is raised.

The dump holds a few uploads and members too, all of them made up: what a release has written must
fit into the schema of the versions after it.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

from rollbook.backends import schema
from rollbook.engines import Engines
from rollbook.engines.postgres import programs
from tests.files import csv_file, member, members
from tests.pipeline_run import open_site
from tests.waiting import PATIENCE_S

FOLDER: Final = Path(__file__).parent


def dumped(address: str, *options: str) -> str:
    """A database as ``pg_dump`` writes it, without comments and the key that each dump makes up."""
    written = subprocess.run(
        [programs() / "pg_dump", "--no-owner", *options, "--dbname", address],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    ).stdout
    without = re.sub(r"^(--.*|\\(un)?restrict .*)$", "", written, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", without).strip() + "\n"


def main() -> None:
    """Write the dump of this version."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Engines(folder / "engines", fast_unsafe=True, valkey=False) as addresses:
            assert addresses.database_url is not None
            schema.migrate(addresses.database_url)
            with open_site(addresses.database_url, folder) as site:
                site.send(csv_file(members(3)), "members.csv")
                changed = [member(0, Surname="Changed"), member(1), member(7)]
                refused = {**member(8), "ID Number": "12"}
                site.send(csv_file([*changed, refused]), "more.csv")
            dump = dumped(addresses.database_url)
    (FOLDER / f"{version('rollbook')}.sql").write_text(dump, encoding="utf-8")


if __name__ == "__main__":
    main()
