"""Takes a file from the watched folder: claims it, receives it as HTTP does, moves it.

Each step is repeatable. A claimed file is recorded under a key made of its claim, so a process that
finds the claim after a crash sees whether the upload exists. A file becomes one upload, or is
refused with an error text beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import textwrap
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from rollbook import clock
from rollbook.accounts import audit, users
from rollbook.backends.database import exclusive, fetch_one, queries
from rollbook.errors import (
    ConflictError,
    FileNotScannedError,
    FileTooLargeError,
    FileWaitsError,
    InvalidRequestError,
    NotFoundError,
    RollbookError,
    ServiceUnavailableError,
    UnsupportedFileError,
)
from rollbook.folder.claims import Claim, Folder, Mark, Waiting, is_wanted
from rollbook.model import User
from rollbook.service import clocks
from rollbook.spreadsheets.kinds import LISTED
from rollbook.telemetry import correlation, traces
from rollbook.uploads import receive
from rollbook.uploads.options import Options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from io import FileIO
    from uuid import UUID

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.service.system import System

#: Priorities of files that a watcher takes, and of those that an operator takes by hand.
PRIORITY = 5
BY_HAND = 1
#: Age from which a resumed claim gets the current time.
OLD = dt.timedelta(days=1)
READ_BYTES = 1024 * 1024
#: Width of the error text; editors that don't wrap lines show it whole.
LINE_LENGTH = 80
#: Prefix of the Idempotency-Keys of claims; other keys can't have it.
KEY_BEGINNING = "folder:"
_TAKEN = "The file has just been taken by a watcher. The most recent jobs show it."

_SQL = queries("folder")
_UPLOADS = queries("uploads")
_USERS = queries("users")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of taking a file: one of the two."""

    upload: Row | None = None
    refusal: RollbookError | None = None


def folder_of(settings: Settings) -> Folder:
    """The watched folder.

    Raises:
        ConflictError: there is none.
    """
    if settings.watch_dir is None:
        raise ConflictError(
            "No folder is watched here. Set ROLLBOOK_WATCH_DIR for every process and start again."
        )
    return Folder(
        settings.watch_dir, tuple(settings.watch_owners), answer_s=settings.watch_answer_s
    )


async def accept(
    system: System,
    folder: Folder,
    file: Waiting,
    *,
    priority: int = PRIORITY,
    by: User | None = None,
) -> Taken | None:
    """Accept a file that is no longer written to; None when another process was first.

    ``by`` is the operator who asked for it; None: a watcher.

    Raises:
        FileWaitsError: it can't be taken now and waits.
        ServiceUnavailableError: a part is away; the file stays claimed until it is back.
    """
    owner = await _owner(system, file.sub)
    claim_id = uuid4()
    now = await clocks.now(system.pool)
    async with _locked(system, claim_id):
        claim = await folder.call(folder.claim, file, claim_id, priority=priority, at=now)
        return None if claim is None else await _carry_on(system, folder, claim, owner, by)


async def resume(system: System, folder: Folder, claim: Claim) -> Taken | None:
    """Resume an unfinished claim; None when another process works on it.

    Raises:
        What ``take`` raises.
    """
    async with _locked(system, claim.id) as is_ours:
        if not is_ours:
            return None
        if not claim.name:
            await folder.call(folder.clear, claim)
            return None
        log.info("claim resumed", claim=str(claim.id))
        now = await clocks.now(system.pool)
        if abs(now - claim.at) > OLD:
            # With its first time, the file's retention might already be over.
            claim = await folder.call(folder.renew, claim, now)
        parameters = {"key": _key(claim)}
        recorded = await fetch_one(system.pool, _SQL["by_claim"], parameters)
        if recorded is not None:
            await folder.call(folder.finish, claim, "processed")
            return Taken(upload=recorded)
        return await _carry_on(system, folder, claim, await _owner(system, claim.sub))


async def accept_by_hand(system: System, user: User, file_name: str) -> Row:
    """Take one file of the folder now, before all others; its upload is the folder account's.

    Raises:
        InvalidRequestError: it isn't the name of a file.
        NotFoundError: the folder lists no such file.
        ConflictError: no folder is watched, the file is still being written, or a watcher takes it.
        Any error that refuses the file.
    """
    folder = folder_of(system.settings)
    check_name(file_name)
    before = await _find(folder, file_name)
    await asyncio.sleep(system.settings.watch_still_s)
    try:
        file = await _find(folder, file_name)
    except NotFoundError:
        raise ConflictError(_TAKEN) from None
    if file.mark != before.mark:
        raise ConflictError(
            "Somebody is still writing to this file, so it was left where it is. Try again when it "
            "is complete; a watcher then takes it automatically."
        )
    taken = await accept(system, folder, file, priority=BY_HAND, by=user)
    if taken is None:
        raise ConflictError(_TAKEN)
    if taken.refusal is not None:
        raise taken.refusal
    assert taken.upload is not None
    return taken.upload


def check_name(file_name: str) -> None:
    """Refuse a text that can't be a file name.

    Raises:
        InvalidRequestError: it is a path, is empty or has characters that no name has.
    """
    is_path = "/" in file_name or "\\" in file_name or file_name in {"", ".", ".."}
    is_odd = any(unicodedata.category(character)[0] == "C" for character in file_name)
    if is_path or is_odd or len(file_name) > 255:
        raise InvalidRequestError(
            "file_name must be the name of one file in the watched folder, without any path. "
            "Nothing was taken."
        )


async def _find(folder: Folder, file_name: str) -> Waiting:
    """The file of this name, found in the folder's list and never opened by the given name."""
    look = await folder.call(folder.look)
    for file in look.files:
        if file.sub is None and file.name == file_name:
            return file
    reason = "" if is_wanted(file_name) else f" Only {LISTED} files are taken."
    raise NotFoundError(f"The watched folder has no such file. Nothing was taken.{reason}")


async def _carry_on(
    system: System, folder: Folder, claim: Claim, owner: User, by: User | None = None
) -> Taken:
    options = Options(
        priority=claim.priority,
        idempotency_key=_key(claim),
        act="take",
        by=by,
        about=claim.label,
    )
    try:
        with correlation.bound(f"folder-{claim.id}"), traces.span("take file of the folder"):
            stored = await _store(system, folder, claim)
            upload = await receive.record(system, owner, stored, options)
    except FileWaitsError:
        raise
    except RollbookError as error:
        if error.status >= 500:
            raise
        words = _in_words(claim, error, system.settings.time_zone)
        # Where its disk is full, the file waits for room, and isn't refused again and again.
        await folder.call(folder.explain, claim, words)
        if by is None:  # the API route writes the entry of an operator's refusal
            await audit.record(
                system.pool, "take", who=owner, refused=error.code, about=claim.label
            )
        await folder.call(folder.finish, claim, "failed")
        log.warning("file refused", claim=str(claim.id), code=error.code)
        return Taken(refusal=error)
    await folder.call(folder.finish, claim, "processed")
    log.info("file taken", claim=str(claim.id), job_id=str(upload["id"]))
    return Taken(upload=upload)


async def _store(system: System, folder: Folder, claim: Claim) -> receive.StoredFile:
    settings = system.settings
    async with _reading(folder, claim) as file:
        if file is None:
            raise UnsupportedFileError(
                "This is a link or a device instead of a file, so nothing was kept. Put the file "
                "itself into the folder."
            )
        await _check_mark(folder, file, claim)
        # Before a byte is read: a mistaken export may be larger than the store.
        if claim.mark.bytes > settings.max_upload_bytes:
            raise FileTooLargeError(
                f"The file is larger than {settings.max_upload_mb} MB, so nothing was kept. Split "
                "it into several files and put them into the folder one by one."
            )
        try:
            stored = await receive.store_file(system, claim.name, _chunks(folder, file))
        except FileNotScannedError as error:  # must not hold up the other files
            raise FileWaitsError(
                "A file waits, because the virus scanner couldn't look at it. The log says why."
            ) from error
        try:
            await _check_mark(folder, file, claim)
        except RollbookError:
            await system.store.remove(stored.key)
            raise
    return stored


async def _check_mark(folder: Folder, file: FileIO, claim: Claim) -> None:
    if Mark.of(await folder.call(os.fstat, file.fileno())) != claim.mark:
        raise FileWaitsError(
            "A file is still being written to. It is taken in when it no longer changes."
        )


@contextlib.asynccontextmanager
async def _reading(folder: Folder, claim: Claim) -> AsyncIterator[FileIO | None]:
    stack = contextlib.ExitStack()
    try:
        yield await folder.call(stack.enter_context, folder.reading(claim))
    finally:
        # A share that hangs may hold what closes a file, too. What was read of it is whole.
        with contextlib.suppress(ServiceUnavailableError):
            await folder.call(stack.close)


async def _chunks(folder: Folder, file: FileIO) -> AsyncIterator[bytes]:
    while chunk := await folder.call(file.read, READ_BYTES):
        yield chunk


async def _owner(system: System, sub: str | None) -> User:
    """The owner of a file, whose scope applies to its rows."""
    email = users.FOLDER if sub is None else system.settings.watch_owners.get(sub)
    if email is not None:
        row = await fetch_one(system.pool, _USERS["by_email"], {"email": email})
        if row is not None and row["disabled_at"] is None:
            return User.from_row(row)
    raise FileWaitsError(
        f"Files wait in {'the folder' if sub is None else repr(sub)}, because "
        f"{email or 'its owner'} is no open account. Open one, or name another in "
        "ROLLBOOK_WATCH_OWNERS."
    )


@contextlib.asynccontextmanager
async def _locked(system: System, claim_id: UUID) -> AsyncIterator[bool]:
    """Hold the claim's lock; False when another process holds it.

    The lock only saves work. If it is lost with its connection, the claim's key still prevents
    two processes from recording the file twice.
    """
    async with exclusive(system.pool, f"{KEY_BEGINNING}{claim_id}") as connection:
        yield connection is not None


def _key(claim: Claim) -> str:
    return f"{KEY_BEGINNING}{claim.id}"


def _in_words(claim: Claim, error: RollbookError, zone: str) -> str:
    paragraphs = (
        error.title,
        error.message,
        "The file is beside this text, and nothing of it was imported. Fix it and put it into the "
        "folder again under any name, or send it on Rollbook's page, where a file that was sent "
        "before can be sent again.",
    )
    return (
        "\n\n".join(textwrap.fill(paragraph, LINE_LENGTH) for paragraph in paragraphs)
        + f"\n\nFile: {receive.clean_name(claim.name)}\nTime: {clock.in_words(claim.at, zone)}\n"
        f"Reason: {error.code}\n"
    )
