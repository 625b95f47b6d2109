"""The Node programs with their libraries."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs and what they need."""
    if shutil.which("npm") is None:
        pytest.skip("Node and npm are not installed (Debian: npm)")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "queue.mjs", "socket_io.mjs"):
        shutil.copy(HERE / name, folder)
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
    subprocess.run(install, cwd=folder, check=True, timeout=PATIENCE_S)
    return folder
