"""The files that a store holds, and the folder of a store on a disk."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
KEY = re.compile(rf"({ID})/(?:source\.\w+|(?:report|refused|members|part)-[\w-]+\.\w+)")
#: What a write that was cut off leaves in a folder: obstore writes beside the file and renames, and
#: doesn't list it.
CUT_OFF = re.compile(rf"{KEY.pattern}#\d+")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in the store's listing."""

    key: str
    upload_id: UUID
    bytes: int
    modified_at: dt.datetime


class Disk:
    """A store's folder on a disk or a share: what obstore doesn't do there.

    Every method blocks, for ever where a share hangs. Each can be repeated.

    Raises:
        OSError: from every method.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def is_there(self) -> bool:
        """Is the folder itself there?"""
        try:
            return stat.S_ISDIR(self.root.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def has(self, key: str) -> bool:
        """Is there a file of this key?"""
        try:
            self.size(key)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def size(self, key: str) -> int:
        """The size of a file in bytes."""
        return (self.root / key).stat().st_size

    def sync(self, key: str) -> None:
        """Put a file, its name, and the name of its folder on the disk."""
        path = self.root / key
        for place in (path, path.parent, path.parent.parent):
            descriptor = os.open(place, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def renew(self, key: str) -> None:
        """Make a file as young as a new one, and put it on the disk.

        A copy is a second name of the same file, and as old: young files are safe from retention
        until their record is written.
        """
        os.utime(self.root / key)
        self.sync(key)

    def unlink(self, key: str) -> int:
        """Remove a file, and its folder when it is the last; returns its size in bytes."""
        try:
            size = self.size(key)
            (self.root / key).unlink()
        finally:
            self._remove_if_empty(key.partition("/")[0])
        return size

    def tidy(self, key: str) -> None:
        """Remove what a write that failed has left, as far as possible."""
        path = self.root / key
        with contextlib.suppress(OSError):
            for left in path.parent.glob(f"{path.name}*"):
                left.unlink(missing_ok=True)
        self._remove_if_empty(path.parent.name)

    def _remove_if_empty(self, folder: str) -> None:
        if re.fullmatch(ID, folder):
            with contextlib.suppress(OSError):  # it holds something, or is gone
                (self.root / folder).rmdir()

    def files(self, folder: UUID | None) -> Iterator[Stored]:
        """The files of all uploads or of one, and those of writes that were cut off.

        Of all, a folder that may not be read is left out: one would hide all others.
        """
        names = os.listdir(self.root) if folder is None else [str(folder)]  # noqa: PTH208
        for name in names:
            if not re.fullmatch(ID, name):
                continue
            try:
                yield from _files_in(self.root, name)
            except FileNotFoundError:  # it has just been removed
                continue
            except PermissionError:
                if folder is not None:
                    raise
                log.warning("folder of the store can't be read", folder=name)

    def remove_empty(self, before: dt.datetime) -> Iterator[bool]:
        """Remove the folders of uploads that have been empty since before a moment.

        Yields:
            Whether it did, for each folder.
        """
        for folder in os.scandir(self.root):
            is_removed = False
            with contextlib.suppress(OSError):
                if re.fullmatch(ID, folder.name) and folder.stat().st_mtime < before.timestamp():
                    Path(folder.path).rmdir()  # fails where it holds anything
                    is_removed = True
            yield is_removed


def _files_in(root: Path, folder: str) -> Iterator[Stored]:
    with os.scandir(root / folder) as entries:
        for entry in entries:
            key = f"{folder}/{entry.name}"
            is_ours = KEY.fullmatch(key) or CUT_OFF.fullmatch(key)
            if is_ours and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):  # it has just been finished
                    about = entry.stat(follow_symlinks=False)
                    changed = dt.datetime.fromtimestamp(about.st_mtime, dt.UTC)
                    yield Stored(key, UUID(folder), about.st_size, changed)
