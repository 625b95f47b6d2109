"""Scratch folders: local copies of files that are being worked on.

They hold members' data, so they are private, and they go when the work ends, however it ends: the
worker removes a killed child's, and the next worker on the machine removes a killed worker's.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK = "lock"

log = structlog.get_logger(__name__)


@contextlib.contextmanager
def folder(data_dir: Path) -> Iterator[Path]:
    """A folder for this worker, which goes with it; those of dead workers are removed first."""
    home = data_dir / "scratch"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in home.iterdir():
        _remove_if_dead(left)
    own = Path(tempfile.mkdtemp(prefix="worker-", dir=home))
    with (own / LOCK).open("wb") as lock:
        # The kernel gives the lock back when this process ends, in whatever way.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)


def empty(place: Path) -> None:
    """Remove what a child left in its folder."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700, parents=True)


def _remove_if_dead(left: Path) -> None:
    with contextlib.suppress(OSError), (left / LOCK).open("rb") as lock:
        # BlockingIOError, an OSError: its worker lives. No lock yet: it is just being made.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left)
        log.info("scratch folder of a dead worker removed", folder=left.name)
