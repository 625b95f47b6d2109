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
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import structlog

from rollbook.backends.calls import Calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

#: Seconds that the disk of the scratch folder gets to answer.
DISK_S = 10.0
NO_ANSWER = (
    "The scratch folder's disk gives no answer within {} seconds. It resumes automatically when it "
    "does."
)
#: Steps in the scratch folder, which may be on a disk or a share that hangs.
CALLS = Calls("rollbook-scratch", threads=4, no_answer=NO_ANSWER)

log = structlog.get_logger(__name__)


async def call(
    step: Callable[Arguments, Result], *args: Arguments.args, **named: Arguments.kwargs
) -> Result:
    """Run a step in the folder within ``DISK_S`` seconds; raises what ``Calls.call`` does."""
    return await CALLS.call(DISK_S, step, *args, **named)


@contextlib.contextmanager
def folder(data_dir: Path) -> Iterator[Path]:
    """A folder that lives as long as this worker; those of dead workers are removed first."""
    home = data_dir / "scratch"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.ExitStack() as held:
        # Without this lock, a worker could remove another's new folder that isn't locked yet.
        with _locked(home):
            for left in home.iterdir():
                _remove_if_dead(left)
            own = Path(tempfile.mkdtemp(prefix="worker-", dir=home))
            held.enter_context(_locked(own))
            # For one release: a worker of 0.1 on this machine looks only at a lock on this file.
            (own / "lock").touch(mode=0o600)
            held.enter_context(_locked(own / "lock"))
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)


@contextlib.contextmanager
def _locked(place: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Lock a folder. The kernel releases the lock when this process ends, however it ends.

    A file in the folder could be removed as an old one, with its lock.
    """
    opened = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(opened, how)
        yield
    finally:
        os.close(opened)


def empty(place: Path) -> None:
    """Remove what a child left in its folder.

    Raises:
        OSError: it can't be made, or the worker's folder was removed: nothing locks another one.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)


def _remove_if_dead(left: Path) -> None:
    # BlockingIOError, an OSError: its worker lives.
    with contextlib.suppress(OSError), contextlib.ExitStack() as held:
        for place in (left, *left.glob("lock")):  # workers of 0.1 lock a file in their folder
            held.enter_context(_locked(place, fcntl.LOCK_EX | fcntl.LOCK_NB))
        shutil.rmtree(left)
        log.info("scratch folder of a dead worker removed", folder=left.name)
