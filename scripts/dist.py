"""Builds what is published and tries it as a newcomer would: with pip and nothing of this checkout.

``python -m scripts.dist [PYTHON ...]``: sdist and wheel go to ``dist/``; the sdist makes the wheel.
Their metadata is checked. Each Python installs the wheel into an empty environment, where
the demonstration runs; without arguments, every supported Python that is found here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from scripts import sbom

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
#: Seconds for one step.
PATIENCE_S = 900
#: Rows of the demonstration.
ROWS = 200


def run(*command: str | Path, **more: str) -> str:
    """Run a command in the temporary folder of ``TMPDIR``; its standard output.

    Raises:
        SystemExit: it failed; its output is printed.
    """
    # Nothing of this checkout and its environment is visible to what was installed.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ROLLBOOK_"))}
    # The next Python, and the next run, don't load each wheel again.
    environment.setdefault("PIP_CACHE_DIR", str(Path(tempfile.gettempdir()) / "rollbook-wheels"))
    done = subprocess.run(
        command, env=environment | more, cwd=tempfile.gettempdir(), capture_output=True, text=True,
        check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    if done.returncode != 0:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise SystemExit(f"failed ({done.returncode}): {' '.join(map(str, command))}")
    return done.stdout


def find(version: str) -> str | None:
    """The Python of a version as ``3.12``: on the path, or one that pyenv has."""
    uv = Path(sys.executable).with_name("uv")
    found = subprocess.run(
        [uv, "python", "find", "--no-python-downloads", version],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    ).stdout.strip()  # fmt: skip
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    others = sorted(root.glob(f"versions/{version}.*/bin/python"))
    return found or (str(others[-1]) if others else None)


def pythons() -> list[str]:
    """The versions that the metadata names and that are installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [line.rpartition(" ")[2] for line in project["classifiers"] if ":: 3." in line]
    found = [find(version) for version in named]
    missing = [version for version, path in zip(named, found, strict=True) if not path]
    if missing:
        print(f"not installed here, so not tried: Python {', '.join(missing)}")
    return [path for path in found if path]


def build() -> tuple[Path, Path]:
    """Build the sdist, and from it the wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    uv = Path(sys.executable).with_name("uv")
    run(uv, "build", "--no-build-isolation", "--python", sys.executable, "--out-dir", DIST, ROOT)
    [sdist], [wheel] = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    return sdist, wheel


def check(programs: Path, *files: Path) -> None:
    """Check the metadata, and that an index can show the README."""
    print(run(programs / "twine", "check", "--strict", *files, NO_COLOR="1").strip())


def try_it(python: str, folder: Path, wheel: Path) -> None:
    """Install the wheel with pip only, and run the demonstration."""
    environment = folder / f"python-{Path(python).resolve().parent.parent.name}"
    run(python, "-m", "venv", environment)
    pip, rollbook = environment / "bin" / "pip", environment / "bin" / "rollbook"
    run(pip, "install", "--quiet", "--disable-pip-version-check", wheel)
    version = run(environment / "bin" / "python", "-V").strip()
    begun = time.monotonic()
    result = json.loads(run(rollbook, "demo", "--rows", str(ROWS), "--json").splitlines()[-1])
    took_s = time.monotonic() - begun
    counts = result["outcomes"]
    if sum(counts.values()) != ROWS:
        raise SystemExit(f"{version}: the outcomes of {ROWS} rows are {counts}")
    print(f"{version}: installed by pip, demonstration in {took_s:.1f} s, {counts}")


def main() -> None:
    """Build, list, check and try."""
    sdist, wheel = build()
    for file in (sdist, wheel):
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory(prefix="rollbook-dist-") as folder:
        programs = sbom.tools(Path(folder) / "tools")
        sbom.write(programs)
        check(programs, sdist, wheel)
        for python in sys.argv[1:] or pythons():
            try_it(python, Path(folder), wheel)


if __name__ == "__main__":
    main()
