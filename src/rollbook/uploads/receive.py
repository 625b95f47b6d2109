"""Receiving a file: into the store, into the record, into the queue, in this order.

The same code serves HTTP and the watched folder. After ``record`` returned, the file is safe: the
row is committed, and the reconciler queues what could not be queued.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import structlog
from psycopg.types.json import Json, Jsonb

from rollbook import clock
from rollbook.accounts import audit, users
from rollbook.backends import clamd
from rollbook.backends.database import UNAVAILABLE, execute, fetch_all, fetch_one, lock, queries
from rollbook.backends.files import source_key
from rollbook.backends.store import SOURCE_GONE
from rollbook.errors import (
    ConflictError,
    DuplicateUploadError,
    EmptyFileError,
    FileTooLargeError,
    IdempotencyConflictError,
    NotAllowedError,
    RollbookError,
    ServiceUnavailableError,
    SourceGoneError,
    TooManyUploadsError,
    UnsupportedFileError,
)
from rollbook.languages import asked_for, phrase
from rollbook.masking import masked, visible
from rollbook.model import Scope
from rollbook.service import store_proof
from rollbook.spreadsheets.kinds import HEAD_BYTES, check_beginning, kind_of
from rollbook.telemetry import correlation, metrics, traces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from psycopg import AsyncConnection

    from rollbook.backends.database import Row
    from rollbook.config import Settings
    from rollbook.model import User
    from rollbook.service.system import System
    from rollbook.uploads.options import Options

MAX_NAME_LENGTH = 200
EMPTY = (
    "The file is empty (0 bytes), so nothing was kept. Open it, check that it has rows, save it "
    "and send it again."
)
ROWS_UNDONE = (
    "The upload of these rows was undone, so they can't be fixed. Nothing was changed. Correct "
    "them in your own file and send that."
)
#: Rows that an error lists.
_MOST_NAMED = 1000
#: ``Retry-After`` of a sender with too many waiting uploads, in seconds.
WAIT_S = 30

_SQL, _FIXES = queries("uploads"), queries("fixes")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is in the store and not yet in the record."""

    upload_id: UUID
    name: str
    kind: str
    bytes: int
    #: Hexadecimal.
    sha256: str

    @property
    def key(self) -> str:
        """Where it lies in the store."""
        return source_key(self.upload_id, self.kind)


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What makes an upload one that fixes rows of another."""

    #: Whose rows.
    mends: UUID
    #: How the cells are read; see ``pipeline.fixable``.
    grid: Mapping[str, Any]
    #: The numbers of the rows there, in the order of the follow-up's file.
    rows: Sequence[int]


async def run_for_real(system: System, user: User, dry_run: Row, options: Options) -> Row:
    """Make an upload of a dry run's file, which the store still has, without sending it again.

    The new upload has the dry run's owner, place and options, so that it does what the dry run
    said; only ``allow_duplicate`` and ``idempotency_key`` are new.

    Raises:
        ConflictError: it was no dry run, or hasn't completed.
        NotAllowedError: its owner's account is closed, and the user is no operator.
        SourceGoneError: the stored file's retention has ended.
        Any error of ``record``.
    """
    if not dry_run["dry_run"] or dry_run["status"] != "completed":
        raise ConflictError(
            "Only a dry run that completed can be run for real. Send the file as a new upload."
        )
    if dry_run["mends"] is not None:
        raise ConflictError(
            "These rows fix a dry run, so they can't be run for real by themselves. Nothing was "
            f"changed. Run that one for real (job {dry_run['mends']}), and fix its rows there."
        )
    owner, is_open = await users.found(system.pool, dry_run["owner_id"])
    if not is_open and not user.is_operator:
        raise NotAllowedError(
            "The account that sent this file is closed, so only an operator can run it. Nothing "
            "was changed; ask one, or send the file yourself."
        )
    new = uuid4()
    kind = dry_run["file_kind"]
    if dry_run["source_key"] is None:
        raise SourceGoneError(SOURCE_GONE)
    await system.store.copy(dry_run["source_key"], source_key(new, kind))
    stored = StoredFile(
        new, dry_run["file_name"], kind, dry_run["file_bytes"], dry_run["file_sha256"]
    )
    same = {name: dry_run[name] for name in options.recorded()}
    by = None if user.id == owner.id else user
    wanted = options.model_copy(update={**same, "dry_run": False, "by": by})
    place = Scope(dry_run["province"], dry_run["municipality"])
    return await record(system, replace(owner, scope=place), stored, wanted)


async def store_file(
    system: System,
    file_name: str,
    chunks: AsyncIterator[bytes],
    *,
    upload_id: UUID | None = None,
) -> StoredFile:
    """Stream a file into the store while it is counted, hashed and inspected.

    Args:
        system: the opened parts.
        file_name: as its sender calls it.
        chunks: its bytes.
        upload_id: the id that its upload will have; None: a new one.

    Raises:
        UnsupportedFileError: the name's ending or the first bytes aren't those of a spreadsheet.
        EmptyFileError: there are no bytes.
        FileTooLargeError: there are more than the limit.
        InfectedFileError: the virus scanner found something.
        FileNotScannedError: it couldn't look at the file.
        WrongStoreError: the store isn't the installation's.
        ServiceUnavailableError: the store doesn't take it, or the scanner isn't there.
        Nothing is stored in any of these cases.
    """
    name = clean_name(file_name)
    kind = kind_of(name)
    if not system.store.is_proven:
        await store_proof.prove(system)
    upload_id = upload_id or uuid4()
    digest = hashlib.sha256()
    size = 0

    async def checked() -> AsyncIterator[bytes]:
        nonlocal size
        async for chunk in _inspected(chunks, kind, name):
            size += len(chunk)
            if size > system.settings.max_upload_bytes:
                raise FileTooLargeError(too_large(system.settings))
            digest.update(chunk)
            yield chunk

    with traces.span("store file") as own:
        await system.store.receive(source_key(upload_id, kind), checked())
        if own is not None:
            own.attributes |= {"rollbook.file.kind": kind, "rollbook.file.bytes": size}
    stored = StoredFile(upload_id, name, kind, size, digest.hexdigest())
    if system.settings.clamd_url is not None:
        await _scan(system, stored)
    return stored


async def _scan(system: System, stored: StoredFile) -> None:
    """Scan a stored file for viruses, and remove it unless it is clean.

    The scan follows the upload because the scanner has few connections: a slow sender must not
    occupy one.
    """
    try:
        _, chunks = await system.store.open(stored.key)
        await clamd.scan(system.settings, chunks)
    except BaseException:
        await asyncio.shield(discard(system, stored))
        raise


async def record(
    system: System,
    user: User,
    stored: StoredFile,
    options: Options,
    *,
    is_checked: bool = False,
    follow_up: FollowUp | None = None,
) -> Row:
    """Write the upload's row, then queue it; the stored file of a refused one is removed.

    The file of a check (``is_checked``) stays: its sender may send it with other options. A
    ``follow_up`` claims the rows that it fixes.

    Returns:
        The row of the table ``uploads``: a new one, or the earlier one of the same
        Idempotency-Key and content.

    Raises:
        ConflictError: another follow-up has one of the rows.
        DuplicateUploadError: the same content came within the window.
        TooManyUploadsError: the user's or the office's limit of waiting uploads is reached.
        IdempotencyConflictError: the key came before with another file, or for a dry run where this
            is none, or the other way round.
    """
    traceparent = traces.carried()
    try:
        with traces.span("record upload"):
            upload = await _record(
                system,
                user,
                stored,
                options,
                traceparent,
                is_checked=is_checked,
                follow_up=follow_up,
            )
    except RollbookError:
        if not is_checked:
            await discard(system, stored)
        raise
    except BaseException:
        # The commit's answer may be lost, and a recorded upload needs its file.
        if not is_checked:
            await asyncio.shield(_discard_unless_recorded(system, stored))
        raise
    if upload["id"] != stored.upload_id:
        if not is_checked:
            await discard(system, stored)
        return upload
    metrics.RECORDED.labels(kind=stored.kind).inc()
    metrics.RECORDED_BYTES.inc(stored.bytes)
    log.info("upload recorded", job_id=str(upload["id"]), bytes=stored.bytes, kind=stored.kind)
    try:
        with traces.span("queue upload", kind=traces.PRODUCER):
            await system.queue.add(upload["id"], priority=upload["priority"])
    except ServiceUnavailableError:
        log.warning("queue not reachable, the reconciler will add it", job_id=str(upload["id"]))
    return upload


async def discard(system: System, stored: StoredFile) -> None:
    """Remove a stored file that is refused; while the store is away, retention does it later."""
    try:
        await system.store.remove(stored.key)
    except ServiceUnavailableError:
        log.warning("store not reachable, orphaned file is removed later", key=stored.key)


async def _discard_unless_recorded(system: System, stored: StoredFile) -> None:
    try:
        async with system.pool.connection() as connection:
            # A commit in progress holds this lock until it ends.
            await lock(connection, stored.sha256)
            recorded = await fetch_one(connection, _SQL["by_id"], {"id": stored.upload_id})
    except UNAVAILABLE:
        log.warning("record not reachable, stored file is not removed", key=stored.key)
        return
    if recorded is None:
        await discard(system, stored)


async def _record(
    system: System,
    user: User,
    stored: StoredFile,
    options: Options,
    traceparent: str | None,
    *,
    is_checked: bool,
    follow_up: FollowUp | None,
) -> Row:
    async with system.pool.connection() as connection:
        # Two copies sent at the same moment wait for each other here, until the first is recorded.
        await lock(connection, stored.sha256)
        if is_checked:
            sent = await fetch_one(connection, _SQL["by_id"], {"id": stored.upload_id})
            if sent is not None:
                return _same_request(sent, stored, options, name="check_id")
        if options.idempotency_key is not None:
            key = {"owner_id": user.id, "idempotency_key": options.idempotency_key}
            if earlier := await fetch_one(connection, _SQL["by_idempotency_key"], key):
                return _same_request(earlier, stored, options)
        if follow_up is not None:
            earlier = await _claim_rows(connection, user, stored, follow_up)
            if earlier is not None:
                return earlier
        if not options.allow_duplicate:
            await refuse_repeat(system, connection, user, stored, options)
        if options.act != "take":  # files in the watched folder wait there and here alike
            await _refuse_flood(system, connection, user)
        parameters = {
            "id": stored.upload_id,
            "owner_id": user.id,
            **asdict(user.scope),
            "file_name": stored.name,
            "file_kind": stored.kind,
            "file_bytes": stored.bytes,
            "file_sha256": stored.sha256,
            "idempotency_key": options.idempotency_key,
            "priority": options.priority or user.role.priority,
            **options.recorded(),
            "columns": Json(options.columns) if options.columns else None,
            "source_key": stored.key,
            "request_id": correlation.request_id.get(),
            "traceparent": traceparent,
            "mends": follow_up and follow_up.mends,
            "language": user.language or asked_for() or system.settings.language,
            "grid": None if follow_up is None else Jsonb(follow_up.grid),
        }
        recorded = await fetch_one(connection, _SQL["record"], parameters)
        if recorded is not None:
            who = options.by or user
            await audit.record(
                connection, options.act, who=who, job_id=stored.upload_id, about=options.about
            )
            return recorded
        # A request with the same key was recorded between our check and our insert.
        earlier = await fetch_one(connection, _SQL["by_idempotency_key"], key)
        assert earlier is not None
        return _same_request(earlier, stored, options)


async def _claim_rows(
    connection: AsyncConnection[Row], user: User, stored: StoredFile, follow_up: FollowUp
) -> Row | None:
    """Claim the rows that a follow-up fixes, or return the one that was sent before.

    Raises:
        ConflictError: another follow-up has one of the rows, or their upload was undone meanwhile.
        SourceGoneError: their cells were removed meanwhile.
    """
    first = await _lock_rows(connection, follow_up.mends)
    if first["grid"] is None:
        raise SourceGoneError(
            "The rows of this upload were removed meanwhile, so nothing was sent. Correct them in "
            "your own file and send that."
        )
    own = {
        "mends": follow_up.mends,
        "rows": list(follow_up.rows),
        "upload_id": stored.upload_id,
        "file_sha256": stored.sha256,
        "owner_id": user.id,
    }
    if earlier := await fetch_one(connection, _FIXES["sent_before"], own):
        return earlier
    await _refuse_taken(
        connection,
        own,
        "meanwhile, so nothing of yours was sent. Load the rows again: those that are left keep "
        "your changes.",
    )
    await execute(connection, _FIXES["take"], own)
    return None


async def claim_again(connection: AsyncConnection[Row], upload: Row) -> None:
    """Claim the rows of a failed follow-up that is to run again: failing has freed them.

    Raises:
        ConflictError: another follow-up has one of them, or their upload was undone.
        SourceGoneError: which rows they are is no longer stored.
    """
    if upload["grid"] is None:
        raise SourceGoneError(
            "How the rows of this upload are read is no longer stored, so it can't run again. "
            "Nothing was changed. Correct the rows in your own file and send it."
        )
    await _lock_rows(connection, upload["mends"])
    own = {"upload_id": upload["id"], "mends": upload["mends"]}
    rows = [row["mends_row"] for row in await fetch_all(connection, _FIXES["claimed"], own)]
    if not rows:
        raise SourceGoneError(
            "Which rows this upload fixes is no longer stored, so it can't run again. Nothing was "
            "changed. Correct the rows in your own file and send it."
        )
    await _refuse_taken(
        connection,
        {**own, "rows": rows},
        "after this upload had failed. Run again, it would write the older values over theirs, so "
        "nothing was changed. Send the rows that are left from the page.",
    )
    await execute(connection, _FIXES["take"], {**own, "rows": rows})


async def _lock_rows(connection: AsyncConnection[Row], mends: UUID) -> Row:
    """Lock the rows of an upload against other follow-ups and against undoing it; returns it.

    Raises:
        ConflictError: it was undone.
        SourceGoneError: its record is gone.
    """
    # Of the upload that all began with: a row can be reached from it and from each follow-up.
    root = await fetch_one(connection, _FIXES["root"], {"id": mends})
    if root is not None and root["id"] != mends:
        await lock(connection, lock_of_rows(root["id"]))
    await lock(connection, lock_of_rows(mends))
    first = await fetch_one(connection, _SQL["by_id"], {"id": mends})
    if first is None:
        raise SourceGoneError(
            "The upload that these rows are of is no longer stored. Nothing was changed."
        )
    if first["undone_at"] is not None:
        raise ConflictError(ROWS_UNDONE)
    return first


def lock_of_rows(upload_id: UUID) -> str:
    """The name of the lock that sending, running again and undoing hold."""
    return f"mends {upload_id}"


async def _refuse_taken(
    connection: AsyncConnection[Row], own: Mapping[str, Any], consequence: str
) -> None:
    taken = await fetch_one(connection, _FIXES["taken"], own)
    if taken is not None:
        rows = taken["rows"]
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        were = "were" if more else "was"
        raise ConflictError(
            f"Row {rows[0]}{more} {were} sent by {taken['email']} as job {taken['upload_id']} "
            f"{consequence}",
            job_id=str(taken["upload_id"]),
            rows=rows[:_MOST_NAMED],
        )


def _same_request(
    earlier: Row, stored: StoredFile, options: Options, *, name: str = "Idempotency-Key"
) -> Row:
    """The upload that an earlier request with this key or check made, if it asked for the same."""
    if earlier["file_sha256"] != stored.sha256:
        raise IdempotencyConflictError(
            f"This Idempotency-Key was used for the upload {earlier['id']} of another file. "
            "Nothing was kept; send the new file under a new key.",
            job_id=str(earlier["id"]),
        )
    others = [
        name
        for name, value in options.recorded().items()
        if (earlier[name] or None) != (value or None)
    ]
    if others:
        # Answered with the earlier upload, this file would be merged by rules of another request.
        raise IdempotencyConflictError(
            f"This {name} was used for the upload {earlier['id']} of the same file with another "
            f"{' and '.join(others)}. Nothing was changed; send the file again under a new one.",
            job_id=str(earlier["id"]),
        )
    return earlier


async def refuse_repeat(
    system: System,
    connection: AsyncConnection[Row],
    user: User,
    stored: StoredFile,
    options: Options,
) -> None:
    """Refuse content that came within ROLLBOOK_DUPLICATE_WINDOW_H.

    Raises:
        DuplicateUploadError: with the earlier upload.
    """
    parameters = {
        "file_sha256": stored.sha256,
        "hours": system.settings.duplicate_window_h,
        "dry_run": options.dry_run,
        **user.scope.parameters(),
    }
    earlier = await fetch_one(connection, _SQL["same_content"], parameters)
    if earlier is not None:
        raise DuplicateUploadError(
            phrase(
                "refusal.repeat",
                file=repr(earlier["file_name"]),
                moment=clock.in_words(earlier["created_at"], system.settings.time_zone),
                job=earlier["id"],
            ),
            job_id=str(earlier["id"]),
            file_name=earlier["file_name"],
            created_at=earlier["created_at"].isoformat(),
        )


async def whose_uploads_wait(
    settings: Settings, connection: AsyncConnection[Row], user: User
) -> str | None:
    """Whose limit of waiting uploads is reached: "2 of your", "9 of your office's"; else None."""
    own_limit, office_limit = settings.waiting_uploads_per_user, settings.waiting_uploads_per_office
    office = asdict(user.scope)
    row = await fetch_one(connection, _SQL["waiting"], {"owner_id": user.id, **office})
    assert row is not None
    if row["own"] >= own_limit:
        return f"{row['own']} of your"
    return f"{row['office']} of your office's" if row["office"] >= office_limit else None


async def _refuse_flood(system: System, connection: AsyncConnection[Row], user: User) -> None:
    """Refuse an upload when the user's or the office's limit of waiting uploads is reached."""
    # Two that are recorded at the same moment must not both be the last.
    await lock(connection, f"waiting uploads: {user.scope}".lower())
    whose = await whose_uploads_wait(system.settings, connection, user)
    if whose is not None:
        raise TooManyUploadsError(
            f"{whose} uploads are still waiting, so this one was not stored. Send it again "
            "when some of them are through.",
            wait_s=WAIT_S,
        )


async def _inspected(chunks: AsyncIterator[bytes], kind: str, name: str) -> AsyncIterator[bytes]:
    """Pass on the chunks once the first bytes match the kind that the name promises."""
    head = b""
    is_inspected = False
    async for chunk in chunks:
        if is_inspected:
            yield chunk
            continue
        head += chunk
        if len(head) >= HEAD_BYTES:
            check_beginning(head[:HEAD_BYTES], kind, name)
            is_inspected = True
            yield head
    if not head:
        raise EmptyFileError(EMPTY)
    if not is_inspected:
        check_beginning(head[:HEAD_BYTES], kind, name)
        yield head


def too_large(settings: Settings) -> str:
    """The sentence for a file that is over the limit."""
    return phrase("refusal.too_large", most=settings.max_upload_mb)


def clean_name(file_name: str) -> str:
    """The last part of the sender's file name, as harmless text; no stored file has this name.

    An ID number in it is masked for good, because the name is shown and sent with the upload.

    Raises:
        UnsupportedFileError: it has a NUL, after which some programs ignore the rest.
    """
    if "\0" in file_name:
        raise UnsupportedFileError(
            "The file's name has a NUL character, which no real name has, so nothing was kept. "
            "Give it a plain name and send it again."
        )
    last = PurePosixPath(file_name.replace("\\", "/")).name
    name = masked(visible(last).replace("\n", "").strip())
    if len(name) > MAX_NAME_LENGTH:
        stem, dot, ending = name.rpartition(".")
        name = stem[: MAX_NAME_LENGTH - len(dot) - len(ending)] + dot + ending
    return name
