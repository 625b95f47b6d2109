"""Folders and files by descriptors, opened component by component without following links."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The new folder gets the access rights of its parent.
SHARED = 0o777
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def reached(start: int, *names: str, make: int | None = None) -> Iterator[int]:
    """A folder below another, reached without following a link.

    ``start`` is a descriptor, and the names are the path's components.

    ``make`` is the mode of folders that are made where they are missing; ``SHARED`` gives each the
    mode of the folder above it, independent of the process' umask. None makes none.
    """
    current = os.dup(start)
    try:
        for name in names:
            is_new = make is not None and _make(current, name, make)
            following = os.open(name, _DIRECTORY, dir_fd=current)
            if is_new and make == SHARED:
                os.fchmod(following, stat.S_IMODE(os.fstat(current).st_mode))
            os.close(current)
            current = following
        yield current
    finally:
        os.close(current)


def _make(within: int, name: str, mode: int) -> bool:
    """Create a folder; returns whether it is new."""
    try:
        os.mkdir(name, mode, dir_fd=within)
    except FileExistsError:
        return False
    sync(within)
    return True


def described(within: int, name: str) -> os.stat_result:
    """The status of a name in a folder; of a link, its own."""
    return os.stat(name, dir_fd=within, follow_symlinks=False)


def is_folder(within: int, name: str) -> bool:
    """Is it a folder, and no link to one?"""
    try:
        return stat.S_ISDIR(described(within, name).st_mode)
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def unless_used() -> Iterator[None]:
    """Ignore that a folder isn't empty: file managers put files there."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST}:
            raise


def sync(folder: int) -> None:
    """Sync a folder's entries to disk, where its file system can."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some shares'
            raise


def write(within: int, name: str, text: str, *, readable_as: int) -> None:
    """Write and sync a text file, readable by everybody who may read another folder."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o666, dir_fd=within)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, os.fstat(readable_as).st_mode & 0o666)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
