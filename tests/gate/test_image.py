"""``make image``: which program builds, what it is asked for, and what is said without one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.deploy.files import ROOT
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

#: Answers as podman does, and writes down what it is asked for.
STAND_IN = """#!/bin/sh
echo "$*" >> "{calls}"
case "$1" in
image) echo '[{{"Size": 104857600}}]' ;;
run) case "$*" in *--version*) echo "rollbook 9.9.9" ;; *) echo '{{"outcomes": {{}}}}' ;; esac ;;
esac
exit {code}
"""


def made(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the script with a stand-in podman as the only tool, and without the list of packages."""
    (folder / "podman").write_text(STAND_IN.format(calls=folder / "calls", code=code))
    (folder / "podman").chmod(0o755)
    for name in ("git", "sh"):
        found = subprocess.run(
            ["which", name], capture_output=True, text=True, check=True, timeout=PATIENCE_S
        ).stdout.strip()
        (folder / name).symlink_to(found)
    without_list = "import image; image._list_parts = lambda: None; image.main()"
    return subprocess.run(
        [sys.executable, "-c", without_list, *arguments],
        env={"PATH": str(folder), "PYTHONPATH": str(ROOT / "scripts"), "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_the_image_is_labelled_keeps_its_health_check_and_is_tried_closed(tmp_path: Path) -> None:
    done = made(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "built rollbook:" in done.stdout
    assert "size: 100 MB" in done.stdout
    _, build, _, version, trial, *_ = (tmp_path / "calls").read_text().splitlines()
    assert build.startswith("build ")
    # Without it podman and buildah write a format that has no health check.
    assert "--format=docker" in build
    for name in ("VERSION", "REVISION", "CREATED"):
        assert f"--build-arg={name}=" in build
    for run in (version, trial):
        assert "--read-only --user 10001:10001 --cap-drop ALL" in run
        assert "--network none" in run
        # podman takes no owner of a tmpfs: a volume has that of the image's folder.
        assert "--volume /var/lib/rollbook" in run
        assert "uid=" not in run


def test_the_image_is_built_on_the_base_that_is_named(tmp_path: Path) -> None:
    done = made(tmp_path, "--tool", "podman", "--base", "example.org/python:3.12")
    assert done.returncode == 0, done.stderr
    assert "--build-arg=PYTHON=example.org/python:3.12" in (tmp_path / "calls").read_text()


def test_without_a_program_that_works_nothing_is_built_and_each_reason_is_said(
    tmp_path: Path,
) -> None:
    done = made(tmp_path, code=1)
    assert done.returncode == 1
    assert "No image was built" in done.stderr
    assert "docker isn't installed" in done.stderr
    assert "podman doesn't work" in done.stderr
    assert "apt-get install podman" in done.stderr


def test_every_label_of_the_image_has_a_value_that_the_build_gives() -> None:
    last = (ROOT / "Dockerfile").read_text().rsplit("\nFROM ", 1)[1]
    for name in ("version", "revision", "created"):
        assert f"ARG {name.upper()}=" in last
        assert f'org.opencontainers.image.{name}="${{{name.upper()}}}"' in last
