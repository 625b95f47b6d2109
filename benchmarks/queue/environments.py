"""The peers' virtual environments, made by uv from requirements that are locked with hashes.

To lock anew, from the root: ``uv pip compile --universal --python-version 3.11 --generate-hashes
--no-header --no-annotate --no-emit-index-url --upgrade benchmarks/requirements.in -o
benchmarks/requirements.txt``, and the same with ``requirements-redis5``.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
ROOT = BENCHMARKS.parent

#: Key: the end of the name of the requirements file and of the environment's folder.
_SUFFIXES = {"peers": "", "redis5": "-redis5"}


def folder(environment: str) -> Path:
    """Where an environment is; ``rollbook`` is the one that this process runs in."""
    if environment == "rollbook":
        return Path(sys.prefix)
    return BENCHMARKS / f".venv{_SUFFIXES[environment]}"


def make_all() -> None:
    """Make the environments, or bring them to what their requirements say."""
    uv = Path(sys.prefix) / "bin" / "uv"
    for environment, suffix in _SUFFIXES.items():
        home = folder(environment)
        if not (home / "bin" / "python").exists():
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, home], check=True)
        requirements = BENCHMARKS / f"requirements{suffix}.txt"
        sync: list[str | Path] = [uv, "pip", "sync", "--quiet", "--require-hashes", requirements]
        sync += ["--python", home / "bin" / "python"]
        subprocess.run(sync, check=True)


def versions(environment: str, distributions: tuple[str, ...]) -> dict[str, str]:
    """The installed versions of some distributions."""
    (packages,) = folder(environment).glob("lib/python*/site-packages")
    found = {d.name.lower(): d.version for d in metadata.distributions(path=[str(packages)])}
    return {name: found[name] for name in distributions}
