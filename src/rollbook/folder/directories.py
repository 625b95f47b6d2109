"""Folders and files by descriptors: reached part by part, without following a symbolic link."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def reached(start: int, *names: str, make: int | None = None) -> Iterator[int]:
    """A folder below another, reached without following a link; made (in a mode) where missing."""
    current = os.dup(start)
    try:
        for name in names:
            if make is not None:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, make, dir_fd=current)
                    sync(current)
            following = os.open(name, _DIRECTORY, dir_fd=current)
            os.close(current)
            current = following
        yield current
    finally:
        os.close(current)


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


def write(within: int, name: str, text: str) -> None:
    """Write a text file in a folder, to the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o666, dir_fd=within)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
