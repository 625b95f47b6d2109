"""Errors of the commands, and the exit code of each error (docs/reference/commands.md)."""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import TYPE_CHECKING

from rollbook.errors import ConfigurationError, RollbookError

if TYPE_CHECKING:
    from types import ModuleType


class ExitCode(IntEnum):
    """The exit codes that scripts rely on; 0 is success."""

    #: The work failed, or isn't possible in the present state.
    FAILED = 1
    #: The command, a setting, a value or the file doesn't fit: repeating it fails again.
    WRONG = 2
    #: There is no such job, account or file.
    NOT_FOUND = 3
    #: The server, or a part of it, doesn't answer or is too busy: a later try may succeed.
    UNAVAILABLE = 4
    #: Not signed in, or not allowed.
    NOT_ALLOWED = 5
    #: ``--timeout`` is over and the job continues; the code of timeout(1).
    TIMED_OUT = 124
    #: Stopped by Ctrl-C.
    INTERRUPTED = 130
    #: The program that read the output has ended; the code of a program that SIGPIPE ends.
    READER_GONE = 141


class UploadFailedError(RollbookError, code="upload_failed"):
    """The upload that the command waited for didn't complete."""


class FileNotMadeError(RollbookError, code="file_not_made"):
    """The file of members that the command waited for wasn't made, or was removed since."""


class WaitedTooLongError(RollbookError, code="waited_too_long"):
    """The command's longest wait is over; the job continues."""


class OtherVersionError(RollbookError, code="other_version"):
    """An answer lacks what this version of the command needs; ``members["server"]`` gave it."""


class NoInstallationError(ConfigurationError, code="no_installation"):
    """There is no installation where the settings say, and the command may not make one."""


_BY_STATUS = {
    400: ExitCode.WRONG,
    401: ExitCode.NOT_ALLOWED,
    403: ExitCode.NOT_ALLOWED,
    404: ExitCode.NOT_FOUND,
    413: ExitCode.WRONG,
    415: ExitCode.WRONG,
    422: ExitCode.WRONG,
    429: ExitCode.UNAVAILABLE,
    502: ExitCode.UNAVAILABLE,
    503: ExitCode.UNAVAILABLE,
    504: ExitCode.UNAVAILABLE,
}


def explained(error: Exception) -> tuple[ExitCode, str] | None:
    """The exit code and the sentence of an error; None for an unforeseen one."""
    if isinstance(error, OtherVersionError):
        return ExitCode.FAILED, f"{error.message} {_versions(error.members['server'])}".rstrip()
    if isinstance(error, WaitedTooLongError):
        return ExitCode.TIMED_OUT, error.message
    if isinstance(error, RollbookError):
        if isinstance(error, ConfigurationError):
            return ExitCode.WRONG, error.message
        return _BY_STATUS.get(error.status, ExitCode.FAILED), error.message
    # Not imported here: a command that talks to a server starts without a driver of PostgreSQL. An
    # error of the driver can only come from a module that is loaded.
    database: ModuleType | None = sys.modules.get("rollbook.backends.database")
    if database is not None and isinstance(error, database.UNAVAILABLE):
        why = f" ({database.reason(error)})" if isinstance(error, database.psycopg.Error) else ""
        return (
            ExitCode.UNAVAILABLE,
            f"PostgreSQL doesn't answer{why}. Is it started, and is DATABASE_URL right? `rollbook "
            "doctor` says more.",
        )
    return None


def _versions(server: str | None) -> str:
    """The versions of a server and of this command, in a sentence; nothing on the server itself."""
    if server is None:
        return ""
    from rollbook.cli.target import versions

    return versions(server)
