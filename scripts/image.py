"""Builds the image, tries it as it is deployed, and lists what is in it.

``python scripts/image.py [--tool TOOL] [--base IMAGE]``: with docker, podman or buildah, whichever
is here (or the one that is named), on the Dockerfile's base or another image with Python.
Migration, API, worker and a sample run from the image on a read-only root, without capabilities, as
uid 10001. The list of what is in it goes to ``dist/`` (scripts/sbom.py).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = ("docker", "podman", "buildah")
#: Seconds for one step.
PATIENCE_S = 1800
#: As compose.yaml and the Kubernetes manifests run it.
CLOSED = (
    "--rm", "--read-only", "--user", "10001:10001", "--cap-drop", "ALL",
    "--security-opt", "no-new-privileges", "--network", "none", "--tmpfs", "/tmp",  # noqa: S108
    # Of no name, so it goes with the container; its owner is the image's folder's.
    "--volume", "/var/lib/rollbook",
)  # fmt: skip
#: Rows of the sample.
ROWS = 200
#: In one container, because they share the engines that the image has: migration, API and worker
#: (``up``), a sample sent to them, and its outcome.
TRIAL = f"""
set -e
rollbook migrate
rollbook up & pid=$!
rollbook sample /tmp/sample.xlsx --rows {ROWS}
python - <<'END'
import time, urllib.request
for _ in range(300):
    try:
        urllib.request.urlopen("http://127.0.0.1:8000/readyz", timeout=2)
        break
    except OSError:
        time.sleep(0.2)
else:
    raise SystemExit("the API wasn't ready within a minute")
END
rollbook upload /tmp/sample.xlsx --wait --json
kill $pid
wait $pid
"""


def main() -> None:
    """Build, try and list."""
    parser = argparse.ArgumentParser(description="Builds the image and tries it.")
    parser.add_argument("--tool", choices=TOOLS, help="the program that builds")
    parser.add_argument("--base", help="an image with Python 3.11 or newer as `python`")
    wanted = parser.parse_args()
    tool = _tool(wanted.tool)
    version = _version()
    name = f"rollbook:{version}"
    began = time.perf_counter()
    command = "bud" if tool.endswith("buildah") else "build"
    _run(tool, command, *_options(tool, version, wanted.base), "--tag", name, ".")
    print(f"built {name} with {Path(tool).name} in {time.perf_counter() - began:.0f} s")
    _list_parts()
    if tool.endswith("buildah"):
        print("buildah runs no images by itself, so this one wasn't tried; install podman for that")
        return
    size = json.loads(_run(tool, "image", "inspect", name))[0]["Size"]
    print(f"size: {size / 2**20:.0f} MB")
    began = time.perf_counter()
    said = _run(tool, "run", *CLOSED, name, "--version").strip()
    print(f"{said}, started in {time.perf_counter() - began:.1f} s")
    print(_run(tool, "run", *CLOSED, "--entrypoint", "sh", name, "-c", TRIAL).strip())


def _tool(wanted: str | None) -> str:
    """The path of a tool that works.

    Raises:
        SystemExit: there is none.
    """
    tried = []
    for name in [wanted] if wanted else TOOLS:
        path = shutil.which(name)
        if path is None:
            tried.append(f"{name} isn't installed")
            continue
        # docker is a client: its server may not run, or may not be this user's to ask.
        done = subprocess.run(
            [path, "info"], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode == 0:
            return path
        said = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        tried.append(f"{name} doesn't work: {said[-1]}")
    raise SystemExit(
        "No image was built, because nothing here can build one.\n  "
        + "\n  ".join(tried)
        + "\nInstall one of them (on Debian: apt-get install podman), and run it again."
    )


def _options(tool: str, version: str, base: str | None) -> list[str]:
    """The base, where one is named, the labels' values, and a format that has the health check."""
    revision = _run("git", "rev-parse", "HEAD").strip()
    created = dt.datetime.fromisoformat(_run("git", "show", "-s", "--format=%cI", "HEAD").strip())
    arguments = {
        "VERSION": version,
        "REVISION": revision,
        "CREATED": created.astimezone(dt.UTC).isoformat(timespec="seconds"),
    }
    if base:
        arguments["PYTHON"] = base
    options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    return options if tool.endswith("docker") else ["--format=docker", *options]


def _list_parts() -> None:
    print(_run(sys.executable, "scripts/sbom.py").strip())


def _version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version: str = project["version"]
    return version


def _run(*command: str) -> str:
    """Run a command at the top of the checkout; its standard output.

    Raises:
        SystemExit: it failed; its output is printed.
    """
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    if done.returncode != 0:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise SystemExit(f"failed ({done.returncode}): {' '.join(command)}")
    return done.stdout


if __name__ == "__main__":
    main()
