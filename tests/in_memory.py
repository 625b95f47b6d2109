"""Folders in memory for the data of engines, where the system has room for them.

A cluster has fifteen hundred files, and PostgreSQL makes six hundred for each database. On a disk
that others use too, a copy of a cluster takes up to a second of a processor, and in memory less
than a tenth.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = Path("/dev/shm")
#: Bytes that must be free, for the engines of some processes at a time.
LEAST_FREE = 4 << 30


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """An empty folder for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix=_prefix(os.getpid()), dir=place()) as name:
        yield Path(name)


def made() -> Path:
    """An empty folder, which somebody else removes."""
    return Path(tempfile.mkdtemp(prefix=_prefix(os.getpid()), dir=place()))


@cache
def place() -> Path | None:
    """Where such folders are made; None for where all temporary files are."""
    try:
        found = os.statvfs(SHARED)
    except OSError:
        return None
    free = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available)
    # Engines may run from a copy of their programs beside their data.
    if found.f_flag & os.ST_NOEXEC or free < LEAST_FREE or not os.access(SHARED, os.W_OK):
        return None
    for left in SHARED.glob(_prefix("*") + "*"):  # by runs that were killed
        process = left.name.split("-")[1]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    return SHARED


def _prefix(process: int | str) -> str:
    return f"rb-{process}-"
