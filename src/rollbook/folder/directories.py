"""Folders and files by descriptors: reached part by part, without following a symbolic link."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Everybody who may use the folder above may use the new one.
SHARED = 0o777
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def reached(start: int, *names: str, make: int | None = None) -> Iterator[int]:
    """A folder below another, reached without following a link.

    Args:
        start: a descriptor of the folder to start from.
        names: the path's components.
        make: the mode of folders that are made where they are missing; ``SHARED`` gives each the
            mode of the folder above it, whatever the process' umask. None makes none.
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
    """Make a folder, and say whether it is new."""
    try:
        os.mkdir(name, mode, dir_fd=within)
    except FileExistsError:
        return False
    sync(within)
    return True


def described(within: int, name: str) -> os.stat_result:
    """What the system says of a name in a folder; of a link itself, where it is one."""
    return os.stat(name, dir_fd=within, follow_symlinks=False)


def is_folder(within: int, name: str) -> bool:
    """Is it there, and a folder of its own?"""
    try:
        return stat.S_ISDIR(described(within, name).st_mode)
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def unless_used() -> Iterator[None]:
    """Leave a folder where another program has put something, as file managers do."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST}:
            raise


def sync(folder: int) -> None:
    """Write a folder's names to the disk, where its file system can."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some shares'
            raise


def write(within: int, name: str, text: str, *, readable_as: int) -> None:
    """Write a text file in a folder, to the disk, readable by all who may read another folder."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o666, dir_fd=within)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, os.fstat(readable_as).st_mode & 0o666)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
