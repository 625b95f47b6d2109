"""Lists what an installation consists of, as CycloneDX, in ``dist/``.

``python scripts/sbom.py``: from the lock file that the image is installed from, with its hashes.
The program that makes the list has an environment of its own, by requirements/dist.txt.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
#: Seconds for one step.
PATIENCE_S = 900


def tools(folder: Path) -> Path:
    """Make an environment with what requirements/dist.txt locks; returns its programs' folder."""
    uv = Path(sys.executable).with_name("uv")
    _run(uv, "venv", "--quiet", "--python", sys.executable, folder)
    _run(
        uv, "pip", "install", "--quiet", "--require-hashes", "--python", folder,
        "--requirement", ROOT / "requirements" / "dist.txt",
    )  # fmt: skip
    return folder / "bin"


def write(programs: Path) -> Path:
    """Write the list by the ``programs`` of ``tools``, and return its path.

    Raises:
        SystemExit: it couldn't be made, or it lacks something of the lock file.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    DIST.mkdir(exist_ok=True)
    path = DIST / f"rollbook-{project['version']}.cdx.json"
    locked = ROOT / "requirements" / "run.txt"
    _run(
        programs / "cyclonedx-py", "requirements", locked,
        "--pyproject", ROOT / "pyproject.toml", "--output-reproducible",
        "--output-format", "JSON", "--output-file", path,
    )  # fmt: skip
    listed = {part["name"] for part in json.loads(path.read_text(encoding="utf-8"))["components"]}
    if missing := locked_names(locked.read_text(encoding="utf-8")) - listed:
        raise SystemExit(f"{path} lacks {', '.join(sorted(missing))}")
    print(f"{path.relative_to(ROOT)}: {len(listed)} packages")
    return path


def locked_names(text: str) -> set[str]:
    """The names of the packages in a lock file."""
    return {line.partition("==")[0] for line in text.splitlines() if "==" in line}


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if done.returncode != 0:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise SystemExit(f"failed ({done.returncode}): {' '.join(map(str, command))}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="rollbook-sbom-") as name:
        write(tools(Path(name) / "tools"))
