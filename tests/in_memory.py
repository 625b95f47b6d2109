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
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = Path("/dev/shm")
#: Bytes that must be free, for the engines of some processes at a time.
LEAST_FREE = 4 << 30
#: Seconds for which the folders of a run that was killed are left.
KEPT_S = 6 * 3600


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
    _remove_left()
    return SHARED


def _remove_left() -> None:
    """Remove what runs have left that were killed.

    Not what is fresh: a run in another container may have the same folder, and other processes.
    """
    for left in SHARED.glob(_prefix("*") + "*"):
        process = left.name.split("-")[1]
        is_gone = process.isdigit() and not psutil.pid_exists(int(process))
        with contextlib.suppress(FileNotFoundError):  # another process removes it, too
            if is_gone and left.stat().st_mtime < time.time() - KEPT_S:
                shutil.rmtree(left, ignore_errors=True)


def _prefix(process: int | str) -> str:
    return f"rb-{process}-"
