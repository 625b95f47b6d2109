"""The files that a store holds, and the folders of a store on a disk."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
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


def files_of(root: Path, folder: UUID | None) -> Iterator[Stored]:
    """The files of all uploads or of one, and those of writes that were cut off.

    Of all, a folder that may not be read is left out: one would hide all others.
    """
    names = os.listdir(root) if folder is None else [str(folder)]  # noqa: PTH208
    for name in names:
        if not re.fullmatch(ID, name):
            continue
        try:
            yield from _files_in(root, name)
        except FileNotFoundError:  # it has just been removed
            continue
        except PermissionError:
            if folder is not None:
                raise
            log.warning("folder of the store can't be read", folder=name)


def remove_empty(root: Path, before: dt.datetime) -> int:
    """Remove the folders of uploads that have been empty since before a moment; their number."""
    removed = 0
    for folder in os.scandir(root):
        if not re.fullmatch(ID, folder.name):
            continue
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < before.timestamp():
                Path(folder.path).rmdir()  # fails where it holds anything
                removed += 1
    return removed


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
