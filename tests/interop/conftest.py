"""The Node programs with their libraries."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from tests.waiting import PATIENCE_S

HERE = Path(__file__).parent
#: Kept from run to run, as the virtual environment is: npm works for two seconds.
INSTALLED = HERE.parents[1] / "build" / "node"
INSTALL = ("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock")


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs and what they need."""
    if shutil.which("npm") is None:
        pytest.skip("Node and npm are not installed (Debian: npm)")
    folder = tmp_path_factory.mktemp("node")
    for name in ("queue.mjs", "socket_io.mjs"):
        shutil.copy(HERE / name, folder)
    (folder / "node_modules").symlink_to(_installed() / "node_modules")
    return folder


def _installed() -> Path:
    """The folder with what ``package.json`` names."""
    wanted = (HERE / "package.json").read_bytes()
    place = INSTALLED / hashlib.sha256(wanted).hexdigest()[:16]
    if not place.exists():
        beside = INSTALLED / uuid4().hex
        beside.mkdir(parents=True)
        (beside / "package.json").write_bytes(wanted)
        subprocess.run(INSTALL, cwd=beside, check=True, timeout=PATIENCE_S)
        try:
            beside.rename(place)
        except OSError:  # another run was quicker
            shutil.rmtree(beside)
    return place
