"""The peers' own environments: Python's by uv from hashed requirements, Node's by npm.

To lock anew, from the root: ``uv pip compile --universal --python-version 3.11 --generate-hashes
--no-header --no-annotate --no-emit-index-url --upgrade benchmarks/requirements-pipeline.in -o
benchmarks/requirements-pipeline.txt``, and in ``benchmarks/pipeline/peers`` ``npm install
--package-lock-only --omit-lockfile-registry-resolved``. Neither lock names a host.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from benchmarks.queue.environments import BENCHMARKS, ROOT

__all__ = [
    "PEERS",
    "PYTHON",
    "ROOT",
    "make_all",
    "make_python",
    "node_version",
    "python_versions",
    "versions",
]

#: Where the peers' programs and Node's packages are.
PEERS = Path(__file__).resolve().parent / "peers"
PYTHON = BENCHMARKS / ".venv-pipeline" / "bin" / "python"
_REQUIREMENTS = BENCHMARKS / "requirements-pipeline.txt"


def make_python() -> None:
    """Make Python's environment, or bring it to what its lock says."""
    uv = Path(sys.prefix) / "bin" / "uv"
    if not PYTHON.exists():
        home = PYTHON.parent.parent
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, home], check=True)
    sync: list[str | Path] = [uv, "pip", "sync", "--quiet", "--require-hashes", _REQUIREMENTS]
    subprocess.run([*sync, "--python", PYTHON], check=True)


def make_all() -> None:
    """Make both environments, or bring them to what their locks say."""
    make_python()
    lock, installed = PEERS / "package-lock.json", PEERS / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        install = ["npm", "ci", "--silent", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=PEERS, check=True)


def python_versions(*names: str) -> dict[str, str]:
    """Installed versions of distributions of Python."""
    found = _distributions()
    return {name: found[name] for name in names}


def _distributions() -> dict[str, str]:
    (packages,) = PYTHON.parent.parent.glob("lib/python*/site-packages")
    return {d.name.lower(): d.version for d in metadata.distributions(path=[str(packages)])}


def versions(*names: str) -> dict[str, str]:
    """Installed versions: of a distribution of Python, or of a package of Node."""
    found = _distributions()
    for manifest in (PEERS / "node_modules").glob("*/package.json"):
        found.setdefault(manifest.parent.name, json.loads(manifest.read_text())["version"])
    return {name: found[name] for name in names}


def node_version() -> str:
    """Such as ``20.20.2``."""
    said = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True)
    return said.stdout.strip().removeprefix("v")
