"""The repository holds what belongs to it: no stray file is committed."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
#: What lies at the top. A new one is added here on purpose.
TOP = {
    ".ci", ".dockerignore", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "Dockerfile",
    "LICENSE", "Makefile", "README.md", "SECURITY.md", "benchmarks", "compose.yaml", "deploy",
    "docs", "pyproject.toml", "requirements", "scripts", "src", "tests", "zensical.toml",
}  # fmt: skip
IMAGES = {".avif", ".bmp", ".gif", ".ico", ".jpeg", ".jpg", ".png", ".svg", ".tiff", ".webp"}
#: The folders of images.
GALLERIES = ("docs/", "src/rollbook/page/")


def committed() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    if listed.returncode:
        pytest.skip("This is no clone of the repository, so there is nothing that Git tracks.")
    return [name for name in listed.stdout.split("\0") if name]


def stray(names: list[str]) -> list[str]:
    """The files that lie where none of their kind belongs."""
    return [
        name
        for name in names
        if name.partition("/")[0] not in TOP
        or (PurePosixPath(name).suffix.lower() in IMAGES and not name.startswith(GALLERIES))
    ]


def test_every_file_lies_where_it_belongs() -> None:
    names = committed()
    assert len(names) > 500
    assert stray(names) == []


def test_a_stray_file_is_found() -> None:
    strays = ["d1.png", "notes.txt", "tests/page/shot.PNG", "src/rollbook/shot.jpg", "tmp/a.py"]
    belong = ["README.md", "docs/images/one.png", "src/rollbook/page/icon.svg", "src/rollbook/a.py"]
    assert stray([*strays, *belong]) == strays
