"""Scratch folders: local copies of files that are being worked on.

They hold members' data, so they are private, and they go when the work ends, however it ends: the
worker removes a killed child's, and the next worker on the machine removes a killed worker's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
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
    """A folder that lives as long as this worker; those of dead workers are removed first."""
    home = data_dir / "scratch"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.ExitStack() as held:
        with _alone_in(home):
            for left in home.iterdir():
                _remove_if_dead(left)
            own = Path(tempfile.mkdtemp(prefix="worker-", dir=home))
            lock = held.enter_context((own / LOCK).open("wb"))
            # The kernel releases the lock when this process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)


@contextlib.contextmanager
def _alone_in(home: Path) -> Iterator[None]:
    """Serialise cleaning up and creating a folder over all workers of the machine.

    Without this lock, a worker could remove another's new folder that isn't locked yet.
    """
    place = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def empty(place: Path) -> None:
    """Remove what a child left in its folder."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700, parents=True)


def _remove_if_dead(left: Path) -> None:
    # A worker that died before it had made its lock left a folder without one.
    with contextlib.suppress(OSError), (left / LOCK).open("ab") as lock:
        # BlockingIOError, an OSError: its worker lives.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left)
        log.info("scratch folder of a dead worker removed", folder=left.name)
