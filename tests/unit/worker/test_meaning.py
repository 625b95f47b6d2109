"""What an error in a child means for the upload: a limit or a disk of the machine costs nothing."""

from __future__ import annotations

import errno
import shutil
import tempfile
import threading
from typing import TYPE_CHECKING

import pytest

from rollbook.config import Settings
from rollbook.errors import (
    AttemptError,
    NoResourcesError,
    NoRoomError,
    RollbookError,
    ScratchGoneError,
    ServiceUnavailableError,
    UnreadableFileError,
)
from rollbook.worker.child import _meant

if TYPE_CHECKING:
    from pathlib import Path


class Panic(BaseException):
    """As what a library in Rust raises: no Exception."""


@pytest.fixture
def settings() -> Settings:
    return Settings(_env_file=None)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "child"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (OSError(errno.EMFILE, "Too many open files"), NoResourcesError),
        (OSError(errno.ENFILE, "Too many open files in system"), NoResourcesError),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), NoResourcesError),
        (RuntimeError("can't start new thread"), NoResourcesError),
        (
            Panic(
                "could not spawn threads: ThreadPoolBuildError { kind: IOError(Os { code: 11, "
                'kind: WouldBlock, message: "Resource temporarily unavailable" }) }'
            ),
            NoResourcesError,
        ),
        (Panic("OS can't spawn worker thread: os error 11"), NoResourcesError),
        (OSError(errno.EROFS, "Read-only file system"), ScratchGoneError),
        (OSError(errno.ENOSPC, "No space left on device"), NoRoomError),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), NoRoomError),
    ],
)
def test_a_limit_or_disk_of_the_machine_is_no_fault_of_the_file(
    settings: Settings, error: BaseException, meaning: type[RollbookError]
) -> None:
    found = _meant(settings, error)
    assert type(found) is meaning
    assert isinstance(found, ServiceUnavailableError)  # which costs no attempt


def test_what_fails_without_its_folder_is_no_fault_of_the_file(
    settings: Settings, scratch: Path
) -> None:
    assert _meant(settings, FileNotFoundError(errno.ENOENT, "gone")) is None
    shutil.rmtree(scratch)
    assert type(_meant(settings, FileNotFoundError(errno.ENOENT, "gone"))) is ScratchGoneError


def test_what_was_found_in_the_file_stays_what_it_is(settings: Settings, scratch: Path) -> None:
    shutil.rmtree(scratch)
    for error in (UnreadableFileError("It is damaged."), AttemptError("It failed.")):
        assert _meant(settings, error) is error


@pytest.mark.parametrize(
    "other",
    [
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        MemoryError(),
        RuntimeError("can't create new thread at interpreter shutdown"),
    ],
)
def test_an_error_is_named_though_the_search_for_its_cause_fails(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, other: Exception
) -> None:
    def fails(_: threading.Thread) -> None:
        raise other

    monkeypatch.setattr(threading.Thread, "start", fails)
    error = ServiceUnavailableError("The database is away.")
    assert _meant(settings, error) is error
    assert _meant(settings, ValueError("a fault")) is None
