"""Files that come in by parts: a cut line costs only the bytes that were under way.

Each part is an object in the store, and the row has the keys in their order. The last part makes
the file: the parts are joined into the source of a check with the same id. Retention removes a part
that no row has, as every orphan of the store.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import structlog

from rollbook.backends.database import execute, fetch_all, fetch_one, fetch_row, queries
from rollbook.backends.files import part_key
from rollbook.errors import (
    BusyFileError,
    ChecksumError,
    ConflictError,
    EmptyFileError,
    FileTooLargeError,
    InfectedFileError,
    NotFoundError,
    ServiceUnavailableError,
    TooManyUploadsError,
    UnsupportedFileError,
)
from rollbook.spreadsheets.kinds import kind_of
from rollbook.uploads import checks, receive
from rollbook.uploads.options import Options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from rollbook.backends.database import Row
    from rollbook.model import User
    from rollbook.service.system import System

#: Bytes of a part at most. A request holds one part in memory.
PART_BYTES = 4 * 1024 * 1024
#: Seconds between two parts that are joined, after which another request may try; the virus scan
#: comes on top.
JOIN_S = 300
#: The checksums that a request may have, by their names in the protocol.
CHECKSUMS = ("sha1", "sha256", "md5")

#: What makes sending the same bytes again useless.
_REFUSED = (
    UnsupportedFileError, EmptyFileError, FileTooLargeError, InfectedFileError, NotFoundError,
)  # fmt: skip

_SQL = queries("partial_files")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PartialFile:
    """A file and how much of it has come in."""

    id: UUID
    name: str
    kind: str
    bytes: int
    received: int
    expires_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of a request must add up to."""

    algorithm: str
    digest: bytes


async def create(system: System, user: User, file_name: str, size: int) -> PartialFile:
    """Begin a file of so many bytes.

    Raises:
        UnsupportedFileError: the name's ending is not that of a spreadsheet.
        EmptyFileError: there are no bytes.
        FileTooLargeError: there are more than the limit.
        TooManyUploadsError: the user has too many files that aren't sent.
    """
    name = receive.clean_name(file_name)
    kind = kind_of(name)
    if size == 0:
        raise EmptyFileError(receive.EMPTY)
    if size > system.settings.max_upload_bytes:
        raise FileTooLargeError(receive.too_large(system.settings))
    file_id = uuid4()
    parameters = {
        "id": file_id,
        "owner_id": user.id,
        "file_name": name,
        "file_kind": kind,
        "file_bytes": size,
    }
    async with system.pool.connection() as connection:
        await checks.refuse_many(system, connection, user, file_id)
        return _partial(system, await fetch_row(connection, _SQL["add"], parameters))


async def find(system: System, user: User, file_id: UUID) -> PartialFile:
    """The user's own file: partial, or complete.

    Raises:
        NotFoundError: there is none (any more).
    """
    own = {"id": file_id, "owner_id": user.id}
    row = await fetch_one(system.pool, _SQL["find"], own)
    if row is None:
        raise NotFoundError(
            "There is no such file that is coming in; one that isn't finished is removed after "
            f"{system.settings.resume_hours} h. Send it from its beginning."
        )
    return _partial(system, row)


async def append(
    system: System,
    user: User,
    file_id: UUID,
    chunks: AsyncIterator[bytes],
    *,
    offset: int,
    checksum: Checksum | None = None,
) -> PartialFile:
    """Add bytes to a file. What came in before ``chunks`` ends early is kept.

    Args:
        system: the opened parts.
        user: the file's sender.
        file_id: which file.
        chunks: the bytes from the offset on.
        offset: how much the sender believes to have come in.
        checksum: of all of ``chunks``; then they are kept all or none.

    Returns:
        The file as it is now. A complete one is a check.

    Raises:
        NotFoundError: there is no such file.
        ConflictError: more or less has come in than the offset says.
        BusyFileError: another request is joining the parts.
        ChecksumError: the bytes don't add up to the checksum.
        FileTooLargeError: there are more bytes than the file has.
        What ``receive.store_file`` and ``checks.add`` raise for the complete file. One that is
        refused for what it holds is removed.
    """
    partial = await find(system, user, file_id)
    if partial.received != offset:
        raise _wrong_offset(partial.received)
    digest = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
    received, recorded = offset, offset
    loose: list[str] = []  # stored, and not in the row
    try:
        async for part in _parts(chunks):
            if received + len(part) > partial.bytes:
                raise FileTooLargeError(
                    f"The file was announced with {partial.bytes} bytes, and more came. The rest "
                    "was not kept; send it again under its right length."
                )
            key = part_key(file_id, received)
            loose.append(key)
            await system.store.receive(key, _once(part))
            received += len(part)
            if digest is not None:
                digest.update(part)
            elif received < partial.bytes:
                await _extend(system, user, file_id, recorded, received, loose)
                recorded, loose = received, []
        if checksum and digest and digest.digest() != checksum.digest:
            raise ChecksumError(
                "The bytes don't have the checksum that was sent with them: they changed on their "
                "way. None of this request was kept; send it again."
            )
        if loose and received < partial.bytes:
            await _extend(system, user, file_id, recorded, received, loose)
        elif loose:
            await _join(system, user, partial, recorded, loose)
    except (ChecksumError, FileTooLargeError, ConflictError):
        # After other failures a commit's answer may be lost, and the row then needs its parts.
        await _remove(system, loose)
        raise
    return await find(system, user, file_id)


async def remove(system: System, user: User, file_id: UUID) -> None:
    """Remove a file that is coming in.

    Raises:
        NotFoundError: there is none, or it is complete; a complete one expires by itself.
        BusyFileError: another request is joining its parts.
    """
    own = {"id": file_id, "owner_id": user.id}
    forgotten = await fetch_one(system.pool, _SQL["withdraw"], own)
    if forgotten is None:
        if (await fetch_row(system.pool, _SQL["is_partial"], own))["found"]:
            raise BusyFileError(
                "Another request is finishing this file, so nothing was removed. It is removed by "
                "itself if nobody sends it."
            )
        raise NotFoundError("There is no such file that is coming in. Nothing was removed.")
    await _remove(system, forgotten["parts"])


async def remove_expired(system: System) -> int:
    """Remove the files that were begun over ROLLBOOK_RESUME_HOURS ago; returns how many.

    Not those whose parts are being joined: the request that does it needs them.
    """
    hours = {"hours": system.settings.resume_hours}
    found = await fetch_all(system.pool, _SQL["expired"], hours)
    for row in found:
        await _remove(system, row["parts"])
    if found:
        log.info("partial files removed that nobody finished", files=len(found))
    return len(found)


async def _extend(
    system: System, user: User, file_id: UUID, offset: int, until: int, keys: list[str]
) -> None:
    parameters = {
        "id": file_id, "owner_id": user.id, "offset": offset, "until": until, "keys": keys,
    }  # fmt: skip
    if await fetch_one(system.pool, _SQL["extend"], parameters) is None:
        raise _wrong_offset((await find(system, user, file_id)).received)


async def _join(
    system: System, user: User, partial: PartialFile, recorded: int, last: list[str]
) -> None:
    """Make the file of its parts, and a check of it; the last parts are not in the row."""
    own = {"id": partial.id, "owner_id": user.id}
    seconds = JOIN_S + system.settings.clamd_timeout_s
    wanted = {**own, "offset": recorded, "seconds": seconds}
    claimed = await fetch_one(system.pool, _SQL["claim"], wanted)
    if claimed is None:
        raise BusyFileError(
            "Another request is finishing this file. Ask how much has come in, and go on from "
            "there."
        )
    keys = [*claimed["parts"], *last]
    try:
        stored = await receive.store_file(
            system, partial.name, _joined(system, keys, wanted), upload_id=partial.id
        )
        try:
            # Whether it came before is said when it is checked, without losing what came in.
            await checks.add(system, user, stored, Options.of(allow_duplicate="true"))
        except TooManyUploadsError:
            # After other failures the commit's answer may be lost, and the check needs its file.
            await receive.discard(system, stored)
            raise
    except _REFUSED:
        await execute(system.pool, _SQL["forget"], own)
        await _remove(system, keys)
        raise
    except BaseException:
        await execute(system.pool, _SQL["release"], own)
        raise
    await execute(system.pool, _SQL["forget"], own)
    await _remove(system, keys)


async def _parts(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        while len(waiting) >= PART_BYTES:
            yield bytes(waiting[:PART_BYTES])
            del waiting[:PART_BYTES]
    if waiting:
        yield bytes(waiting)


async def _joined(
    system: System, keys: Iterable[str], claim: dict[str, Any]
) -> AsyncIterator[bytes]:
    """The bytes of the parts; the claim is renewed before each part."""
    for key in keys:
        await execute(system.pool, _SQL["renew"], claim)
        try:
            _, chunks = await system.store.open(key)
        except FileNotFoundError:
            raise NotFoundError(
                "A part of the file is no longer in the store. Nothing of it was kept; send it "
                "from its beginning."
            ) from None
        async for chunk in chunks:
            yield chunk


async def _once(part: bytes) -> AsyncIterator[bytes]:
    yield part


async def _remove(system: System, keys: Iterable[str]) -> None:
    try:
        for key in keys:
            await system.store.remove(key)
    except ServiceUnavailableError:
        log.warning("store not reachable, parts of files are removed later")


def _wrong_offset(received: int) -> ConflictError:
    return ConflictError(
        f"{received} bytes of this file have come in, and the request goes on from elsewhere. "
        f"Nothing of it was kept; go on from {received}."
    )


def _partial(system: System, row: Row) -> PartialFile:
    hours = system.settings.resume_hours
    if row["received"] == row["file_bytes"]:
        hours = system.settings.check_hours
    expires_at = row["created_at"] + dt.timedelta(hours=hours)
    return PartialFile(
        row["id"], row["file_name"], row["file_kind"], row["file_bytes"], row["received"],
        expires_at,
    )  # fmt: skip
