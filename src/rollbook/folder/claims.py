"""The watched folder on disk: which files are wanted, how one is claimed, and where it goes.

A file is claimed by a rename into ``.taking/<claim>/``, which succeeds for one process only and
survives every crash. The claim's name holds its time, priority and id, so any process that finds it
later can continue. Nothing here follows a symbolic link.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import re
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

from rollbook.backends.calls import Calls
from rollbook.config import OWN_FOLDERS
from rollbook.errors import FileWaitsError, ServiceUnavailableError
from rollbook.folder.directories import (
    SHARED,
    described,
    is_folder,
    reached,
    sync,
    unless_used,
    write,
)
from rollbook.spreadsheets.kinds import ENDINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from io import FileIO
    from pathlib import Path

    from rollbook.backends.calls import Arguments, Result

#: Steps in the folder.
CALLS = Calls(
    "rollbook-folder",
    threads=4,
    no_answer="The watched folder doesn't answer within {} seconds (ROLLBOOK_WATCH_ANSWER_S). "
    "Nothing was lost: files stay where they are until it does. Check the share that it is on, and "
    "mount it again where it hangs.",
)
TAKING = ".taking"
#: In a claim: a file of the folder itself. Names of sub-folders begin with no dot.
_ROOT = ".root"
_ERROR = ".error.txt"
_STAMP = "%Y%m%dT%H%M%SZ"
_CLAIM = re.compile(r"(\d{8}T\d{6}Z)-(\d{1,9})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_FINISHED = re.compile(r"(\d{8}T\d{6}Z)-[0-9a-f]{8}-")
#: Length of a name in most file systems, in bytes, less our prefix and suffix.
_NAME_BYTES = 255 - len("20260101T000000Z-00000000-") - len(_ERROR)

_IGNORED_BEGINNINGS = (".", "~$")
#: The last is of the explanation beside a refused file.
_IGNORED_ENDINGS = (".tmp", "~", _ERROR)
_IGNORED_NAMES = frozenset({".ds_store", "thumbs.db"})
_ENDINGS = tuple(f".{ending}" for ending in ENDINGS)

#: Errors for a file that is gone or was replaced by a symbolic link or a socket.
_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.ENXIO)
#: Non-blocking, because opening a named pipe would wait for its other end.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Mark:
    """What changes when a file is written to; inode numbers of a share may change at any time."""

    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Mark:
        """The mark of a file, from its status."""
        return cls(found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file in the folder that isn't claimed."""

    #: The sub-folder; None: the folder itself.
    sub: str | None
    name: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed file."""

    id: UUID
    at: dt.datetime
    priority: int
    sub: str | None
    name: str
    mark: Mark

    @property
    def folder(self) -> str:
        """The name of the claim's folder in ``.taking``."""
        return f"{self.at:{_STAMP}}-{self.priority}-{self.id}"

    @property
    def path(self) -> tuple[str, str, str]:
        """Path components of the claimed file's folder."""
        return TAKING, self.folder, self.sub or _ROOT

    @property
    def label(self) -> str:
        """Prefix of the name in ``processed/`` or ``failed/``: the time and a part of the id."""
        return f"{self.at:{_STAMP}}-{self.id.hex[:8]}"

    @property
    def final_name(self) -> str:
        """The name in ``processed/`` or ``failed/``, unique to this claim."""
        stem, dot, ending = self.name.rpartition(".")
        while len(os.fsencode(stem + dot + ending)) > _NAME_BYTES:
            stem = stem[:-1]
        return f"{self.label}-{stem}{dot}{ending}"


@dataclass(frozen=True, slots=True)
class Look:
    """The content of the folder, oldest first."""

    files: Sequence[Waiting]
    claims: Sequence[Claim]
    #: Sub-folders without an owner; their files are left unchanged.
    unmapped: Sequence[str]
    #: What is no file of a kind that is taken, by its path in the folder: other kinds and links.
    #: Temporary, lock and hidden files aren't listed, because programs make and remove them.
    left_alone: Sequence[str]
    #: Sub-folders with an owner.
    mapped: Sequence[str]


@dataclass(frozen=True, slots=True)
class Purged:
    """Finished files whose time is over."""

    #: Without error texts.
    removed: int
    #: Files and texts that can't be removed.
    stuck: int
    #: Whether there are no more.
    is_done: bool = True


def is_wanted(name: str) -> bool:
    """Is a file of this name wanted? Other kinds and temporary, lock and hidden files are not.

    Excel's lock files begin with ``~$`` and have the workbook's ending.
    """
    return name.lower().endswith(_ENDINGS) and not _is_passing(name)


def _is_passing(name: str) -> bool:
    """Is it a temporary, lock or hidden file, or an explanation beside a refused one?"""
    lower = name.lower()
    return (
        lower.startswith(_IGNORED_BEGINNINGS)
        or lower.endswith(_IGNORED_ENDINGS)
        or lower in _IGNORED_NAMES
    )


class Folder:
    """A watched folder; its methods block, so give them to ``call``.

    Raises:
        ServiceUnavailableError: from every method, when the folder isn't there.
        FileWaitsError: from methods for one file, when that file can't be used now.
    """

    def __init__(self, path: Path, subs: Sequence[str] = (), *, answer_s: float = 60) -> None:
        #: Opened again for each call: a share may have been remounted.
        self.path = path
        self._subs = subs
        self._answer_s = answer_s

    async def call(
        self,
        step: Callable[Arguments, Result],
        *args: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """Run a method of the folder, or of a file in it, in a thread of the folder.

        Raises:
            ServiceUnavailableError: the folder doesn't answer in time.
            What the method raises.
        """
        return await CALLS.call(self._answer_s, step, *args, **named)

    def look(self) -> Look:
        """List the waiting and the claimed files."""
        with self._opened() as root:
            left_alone: list[str] = []
            files = list(_files(root, None, left_alone))
            folders = {name for name in os.listdir(root) if is_folder(root, name)}  # noqa: PTH208
            mapped = [sub for sub in self._subs if sub in folders]
            for sub in mapped:
                with reached(root, sub) as within:
                    files.extend(_files(within, sub, left_alone))
            claims = list(_claims(root)) if TAKING in folders else []
        unmapped = {
            name for name in folders.difference(mapped)
            if not name.startswith(".") and name.lower() not in OWN_FOLDERS
        }  # fmt: skip
        files.sort(key=lambda file: (file.mark.mtime_ns, file.name))
        claims.sort(key=lambda claim: (claim.at, claim.name))
        return Look(files, claims, sorted(unmapped), sorted(left_alone), mapped)

    def claim(
        self, file: Waiting, claim_id: UUID, *, priority: int, at: dt.datetime
    ) -> Claim | None:
        """Claim a file for this process; None when another one was quicker.

        The caller holds the claim's lock, so no other process removes its still empty folder.
        """
        claim = Claim(claim_id, at.replace(microsecond=0), priority, file.sub, file.name, file.mark)
        with self._opened(for_file=True) as root, reached(root, *_parts(file.sub)) as source:
            try:
                # A file that this process may not read stays where it is.
                os.close(os.open(file.name, _READ, dir_fd=source))
            except PermissionError:
                raise FileWaitsError(
                    "Rollbook may not read a file in the watched folder, so the file waits there. "
                    "Give the account that runs Rollbook the right to read it."
                ) from None
            except OSError as error:
                if error.errno in _NO_FILE:
                    return None
                raise
            with reached(root, *claim.path, make=0o700) as target:
                try:
                    os.rename(file.name, file.name, src_dir_fd=source, dst_dir_fd=target)
                except FileNotFoundError:
                    self._clear(root, claim)
                    return None
                # A power cut after the upload is recorded must not bring the file back.
                sync(target)
                sync(source)
        return claim

    @contextlib.contextmanager
    def reading(self, claim: Claim) -> Iterator[FileIO | None]:
        """The claimed file, open; None where it is no plain file."""
        with self._opened(for_file=True) as root, reached(root, *claim.path) as within:
            try:
                descriptor = os.open(claim.name, _READ, dir_fd=within)
            except OSError:
                if stat.S_ISREG(described(within, claim.name).st_mode):
                    raise
                yield None  # a symbolic link that took the file's place
                return
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                yield None  # a folder that did
                return
            # Without a buffer, closing it waits for no step that is still reading.
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                yield file

    def explain(self, claim: Claim, error: str) -> None:
        """Write why a claimed file is refused, beside it; ``finish`` moves both to ``failed``.

        First of all, while nobody has heard of the refusal: it needs room on the folder's disk.
        """
        with (
            self._opened(for_file=True) as root,
            reached(root, *_parts(claim.sub), "failed", make=SHARED) as goal,
            contextlib.suppress(FileNotFoundError),
            reached(root, *claim.path) as within,
        ):
            write(within, _ERROR, error, readable_as=goal)

    def finish(self, claim: Claim, target: str) -> None:
        """Move a claimed file to its target, with the text of a refusal; repeating it is fine.

        ``target`` is ``processed`` or ``failed``, in the folder that the file came from.
        """
        is_refused = target == "failed"
        with (
            self._opened(for_file=True) as root,
            reached(root, *_parts(claim.sub), target, make=SHARED) as goal,
        ):
            with (
                contextlib.suppress(FileNotFoundError),
                reached(root, *claim.path) as within,
            ):
                if is_refused:
                    # Before the file: a person who finds the file finds the text too.
                    with contextlib.suppress(FileNotFoundError):
                        os.rename(
                            _ERROR, claim.final_name + _ERROR, src_dir_fd=within, dst_dir_fd=goal
                        )
                os.rename(claim.name, claim.final_name, src_dir_fd=within, dst_dir_fd=goal)
                sync(goal)
            if not is_refused:
                with contextlib.suppress(FileNotFoundError):
                    self._forget_refusal(root, claim)
            self._clear(root, claim)

    def renew(self, claim: Claim, at: dt.datetime) -> Claim:
        """Give a claim another time, from which retention counts.

        The caller holds the claim's lock.
        """
        renewed = replace(claim, at=at.replace(microsecond=0))
        with self._opened(for_file=True) as root, reached(root, TAKING) as taking:
            os.rename(claim.folder, renewed.folder, src_dir_fd=taking, dst_dir_fd=taking)
            sync(taking)
        return renewed

    def clear(self, claim: Claim) -> None:
        """Remove the folder of a claim without a file."""
        with self._opened(for_file=True) as root:
            self._clear(root, claim)

    def purge(self, before: dt.datetime, *, most: int | None = None) -> Purged:
        """Remove finished files from before a time, and their texts: ``most`` of both."""
        removed = stuck = steps = 0
        with self._opened() as root:
            for within, name in self._finished(root, before):
                if steps == most:
                    return Purged(removed, stuck, is_done=False)
                try:
                    os.unlink(name, dir_fd=within)
                except FileNotFoundError:  # another process was quicker
                    continue
                except OSError:  # keeps no other file from being removed
                    stuck += 1
                    continue
                steps += 1
                removed += not name.endswith(_ERROR)
        return Purged(removed, stuck)

    def count_finished(self, before: dt.datetime) -> int:
        """The number of files that ``purge`` would remove."""
        with self._opened() as root:
            return sum(not name.endswith(_ERROR) for _, name in self._finished(root, before))

    def _finished(self, root: int, before: dt.datetime) -> Iterator[tuple[int, str]]:
        """The files and texts that were moved on before a time: descriptor of a folder, name."""
        for parts in [(t,) for t in ("processed", "failed")] + [
            (sub, t) for sub in self._subs for t in ("processed", "failed")
        ]:
            with contextlib.suppress(FileNotFoundError), reached(root, *parts) as within:
                for name in os.listdir(within):  # noqa: PTH208
                    found = _FINISHED.match(name)
                    at = found and _time(found[1])
                    if at and at < before and not is_folder(within, name):
                        yield within, name

    @contextlib.contextmanager
    def _opened(self, *, for_file: bool = False) -> Iterator[int]:
        root = None
        try:
            # The folder itself may be a link: the operator named it.
            root = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            yield root
        except OSError as error:
            if for_file and root is not None:
                raise FileWaitsError(
                    f"A file in the watched folder can't be used ({error.strerror}) and waits. "
                    "Check that Rollbook may read it and write in its folder, that there is room, "
                    "and that processed/ and failed/ are folders of the same file system."
                ) from error
            raise ServiceUnavailableError(
                f"The watched folder can't be used ({error.strerror}). Nothing was lost: "
                "files stay where they are until it can. Check that it is mounted, and that "
                "Rollbook may read and write it."
            ) from error
        finally:
            if root is not None:
                os.close(root)

    def _forget_refusal(self, root: int, claim: Claim) -> None:
        """Remove the text of a refusal that a crash interrupted and that no longer applies."""
        with reached(root, *_parts(claim.sub), "failed") as failed:
            os.unlink(claim.final_name + _ERROR, dir_fd=failed)

    def _clear(self, root: int, claim: Claim) -> None:
        with contextlib.suppress(FileNotFoundError), reached(root, TAKING) as taking:
            with contextlib.suppress(FileNotFoundError), reached(taking, claim.folder) as within:
                with (
                    contextlib.suppress(FileNotFoundError),
                    reached(within, claim.sub or _ROOT) as inner,
                ):
                    os.unlink(_ERROR, dir_fd=inner)
                with unless_used():
                    os.rmdir(claim.sub or _ROOT, dir_fd=within)
            with unless_used():
                os.rmdir(claim.folder, dir_fd=taking)


def _files(within: int, sub: str | None, left_alone: list[str]) -> Iterator[Waiting]:
    """The wanted files of a folder; the paths of those that aren't are added to ``left_alone``."""
    with os.scandir(within) as entries:
        for entry in entries:
            if _is_passing(entry.name):
                continue
            with contextlib.suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and is_wanted(entry.name):
                    yield Waiting(sub, entry.name, Mark.of(found))
                elif not stat.S_ISDIR(found.st_mode):
                    left_alone.append(entry.name if sub is None else f"{sub}/{entry.name}")


def _claims(root: int) -> Iterator[Claim]:
    """Every claim; a claim without a file has an empty name."""
    with reached(root, TAKING) as taking:
        for folder in os.listdir(taking):  # noqa: PTH208
            found = _CLAIM.fullmatch(folder)
            if found is None:
                continue
            at, priority = _time(found[1]), int(found[2])
            if at is None or not priority:
                continue
            with contextlib.suppress(FileNotFoundError), reached(taking, folder) as within:
                origin, name, mark = _content(within)
                sub = None if origin == _ROOT else origin
                yield Claim(UUID(found[3]), at, priority, sub, name, mark)


def _content(claim: int) -> tuple[str, str, Mark]:
    """A claim's origin, and its file's name and mark; the name is empty where there is none."""
    origin = _ROOT
    for folder in os.listdir(claim):
        if not is_folder(claim, folder):
            continue
        origin = folder
        with reached(claim, folder) as within:
            for name in os.listdir(within):  # noqa: PTH208
                if is_wanted(name):  # and not what a file manager put there
                    return origin, name, Mark.of(described(within, name))
    return origin, "", Mark(0, 0)


def _time(stamp: str) -> dt.datetime | None:
    """The time of a stamp; None where it is no date."""
    try:
        return dt.datetime.strptime(stamp, _STAMP).replace(tzinfo=dt.UTC)
    except ValueError:
        return None


def _parts(sub: str | None) -> tuple[str, ...]:
    return () if sub is None else (sub,)
