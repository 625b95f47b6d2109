"""Retention: removes files, reports and records whose retention period has ended.

``rollbook purge`` and every worker run it, in one process at a time and once a day. Each step
deletes an item from the record before it removes the file from the store. A crash in between
leaves an orphaned file, which is found by listing the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import structlog
from psycopg.types.json import Json

from rollbook.accounts import audit
from rollbook.backends.database import (
    exclusive,
    execute,
    fetch_all,
    fetch_listed,
    fetch_one,
    queries,
    unbounded,
)
from rollbook.errors import ConflictError, InvalidRequestError, ServiceUnavailableError
from rollbook.service import clocks, store_proof

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
    from uuid import UUID

    from psycopg import AsyncConnection

    from rollbook.backends.database import Listed, Paging, Row
    from rollbook.backends.stored import Stored
    from rollbook.model import User
    from rollbook.service.system import System

#: Held while one process carries it out (any fixed number will do).
LOCK = 0x70757267
#: Seconds between two checks whether the daily round is due.
LOOK_S = 15 * 60
EVERY = dt.timedelta(days=1)
#: Seconds that a round may take before another process may begin one.
LONGEST_S = 6 * 3600.0
#: A file without a record may be an upload that is being received: its record is written last.
ORPHAN_AGE = dt.timedelta(days=1)
MIN_REPORT_DAYS = 7
#: Uploads at a time; of those whose reports go, in one transaction.
BATCH = 200
#: Rows, and uploads, whose rows one transaction removes; a larger upload has its own.
ROWS_BATCH = 50_000
UPLOADS_BATCH = 1_000
#: Calls to the store at a time, of a request that asks about several uploads.
STORE_CALLS = 10
#: Files that can't be removed, of which the log names so many in a round.
NAMED = 20
#: Uploads whose former values one transaction removes.
UNDO_BATCH = 20

_SQL, _FIXES = queries("retention"), queries("fixes")
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Purged:
    """What a round removed, or would remove."""

    #: Files of failed uploads and dry runs.
    sources: int = 0
    #: Uploads whose reports, refused rows, cells and ID numbers of rows went.
    reports: int = 0
    #: Outcomes of rows.
    rows: int = 0
    #: Files in the store that no upload knows.
    orphans: int = 0
    #: Of the files in the store.
    bytes: int = 0
    queue_jobs: int = 0
    voter_roll_answers: int = 0
    #: What members were before uploads that can't be undone any more.
    before_values: int = 0
    #: Records of whom an upload's file held.
    claims: int = 0
    #: Members on the lists of those whom undoing left unchanged.
    kept_members: int = 0
    #: Corrections by hand of people who are no members any more.
    corrections: int = 0
    notifications: int = 0
    audit_entries: int = 0
    #: Files that the store wouldn't remove. The record has forgotten them: the next round finds
    #: them as files of no upload.
    not_removed: int = 0

    def in_words(self) -> str:
        """What it was, for the audit trail."""
        found = [f"{number} {name}" for name, number in asdict(self).items() if number]
        return ", ".join(found).replace("_", " ") or "nothing"

    def left_in_words(self) -> str:
        """A sentence to add to others, where files could not be removed."""
        if not self.not_removed:
            return ""
        return (
            f" {self.not_removed} files could not be removed: the log names them, and the next "
            "round tries again."
        )


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the store holds."""

    #: Reports and workbooks of refused rows.
    reports: int
    bytes: int
    oldest_at: dt.datetime | None
    orphans: int
    orphan_bytes: int


@dataclass(frozen=True, slots=True)
class StoredReport:
    """An upload with what the store holds of it."""

    upload: Row
    report_bytes: int
    refused_bytes: int
    #: When retention removes it.
    kept_until: dt.datetime | None


async def run_once(system: System, *, dry_run: bool = False) -> Purged | None:
    """Remove everything whose retention has ended; None when another process is doing that.

    Raises:
        ServiceUnavailableError: Redis or the store doesn't answer, or the store isn't the
            installation's; what was done stays done, and the next round does the rest.
        ClockDiffersError: this machine's clock and PostgreSQL's don't agree; nothing was done.
    """
    settings = system.settings
    # First: files that aren't there would count as removed.
    await store_proof.prove(system)
    now = await clocks.agreed(system)
    purged = Purged()

    def ago(days: int) -> dt.datetime:
        return now - dt.timedelta(days=days)

    async with exclusive(system.pool, LOCK, idle_s=LONGEST_S) as connection:
        if connection is None:
            return None
        unbounded(connection)
        async with _noting_a_break(system, purged, who=None, dry_run=dry_run):
            await _purge_sources(system, ago(settings.source_retention_days), purged, dry_run)
            await _purge_reports(system, ago(settings.report_retention_days), purged, dry_run)
            await _purge_rows(system, ago(settings.keep_rows_days), now, purged, dry_run)
            await _purge_orphans(system, now, purged, dry_run)
            await _purge_queue(system, ago(settings.queue_retention_days), purged, dry_run)
            await _purge_undo(system, now, purged, dry_run)
        answers = {"before": ago(settings.voter_roll_cache_days)}
        purged.voter_roll_answers = await _rows(connection, "answers", answers, dry_run)
        delivered = {"before": ago(settings.queue_retention_days)}
        purged.notifications = await _rows(connection, "notifications", delivered, dry_run)
        purged.audit_entries = await audit.forget(connection, dry_run=dry_run)
        if not dry_run:
            note = {"now": now, "removed": Json(asdict(purged))}
            await connection.execute(_SQL["note"], note)
            await audit.record(connection, "purge", who=None, about=purged.in_words())
            if purged.not_removed:
                log.warning("files not removed", files=purged.not_removed)
            log.info("retention completed", **asdict(purged))
    return purged


async def run_when_due(system: System) -> Purged | None:
    """Run the daily round if no process has run it yet."""
    # At each check: an installation that shares the store by mistake has a day to find out.
    await store_proof.prove(system)
    now = await clocks.now(system.pool)
    async with system.pool.connection() as connection:
        await audit.keep_for(connection, days=system.settings.audit_retention_days)
        row = await fetch_one(connection, _SQL["last"])
    # A round in the future ran by a wrong clock: it must not prevent rounds for years.
    if row is not None and row["ran_at"] is not None and abs(now - row["ran_at"]) < EVERY:
        return None
    return await run_once(system)


async def clean_up(
    system: System, user: User, *, older_than_days: int | None, dry_run: bool
) -> Purged:
    """Remove stored reports over an age, and files of no upload, at an operator's request.

    Raises:
        InvalidRequestError: the age is under 7 days.
        ClockDiffersError: this machine's clock and PostgreSQL's don't agree; nothing was done.
    """
    days = older_than_days or system.settings.report_retention_days
    if days < MIN_REPORT_DAYS:
        raise InvalidRequestError(
            f"Reports stay for at least {MIN_REPORT_DAYS} days. Nothing was removed; delete a "
            "single one by its job id."
        )
    await store_proof.prove(system)
    now = await clocks.agreed(system)
    purged = Purged()
    async with _noting_a_break(system, purged, who=user, dry_run=dry_run):
        await _purge_reports(system, now - dt.timedelta(days=days), purged, dry_run)
        await _purge_orphans(system, now, purged, dry_run)
    if not dry_run:
        await audit.record(system.pool, "purge", who=user, about=purged.in_words())
    return purged


async def remove_orphans(system: System, user: User) -> Purged:
    """Remove stored files of no upload, at an operator's request.

    Raises:
        ServiceUnavailableError: the store doesn't answer; what was removed stays removed.
        ClockDiffersError: this machine's clock and PostgreSQL's don't agree; nothing was done.
    """
    now = await clocks.agreed(system)
    purged = Purged()
    async with _noting_a_break(system, purged, who=user, dry_run=False):
        await _purge_orphans(system, now, purged, dry_run=False)
    await audit.record(system.pool, "purge", who=user, about=purged.in_words())
    return purged


async def delete_report(system: System, user: User, upload: Row) -> int:
    """Remove an upload's report and refused rows; returns their size in bytes.

    Raises:
        ConflictError: the upload hasn't ended, or its report is still to be written again.
        ServiceUnavailableError: the store doesn't remove them; retention does it later.
    """
    async with system.pool.connection() as connection:
        wanted = {"ids": [upload["id"]], "is_purged": False}
        found = await fetch_one(connection, _SQL["forget_reports"], wanted)
        if found is not None:
            # Without the report, an erasure can't find a person among them.
            await connection.execute(_FIXES["forget_cells"], {"ids": [upload["id"]]})
            await audit.record(connection, "delete", who=user, job_id=upload["id"])
    if found is None:
        raise ConflictError(
            "This upload's report is still being made: the upload runs, or the voter roll is still "
            "being asked. Nothing was removed; try again when it has ended."
        )
    purged = Purged()
    keys = _report_keys(upload)
    size = sum([size async for size in _removed(system, keys, purged, dry_run=False)])
    if purged.not_removed:
        raise ServiceUnavailableError(
            f"The store didn't remove {purged.not_removed} of the {len(keys)} files. Nobody can "
            "download them any more, and retention tries again each day. The log says why."
        )
    return size


async def reports(
    system: System, paging: Paging, *, after: int | None = None
) -> tuple[list[StoredReport], Listed]:
    """A page of stored reports, the newest first, from before the ordinal ``after``."""
    return await _reports(system, "reports", {"after": after}, paging)


async def reports_of(
    system: System,
    user: User,
    paging: Paging,
    *,
    first: dt.datetime | None = None,
    until: dt.datetime | None = None,
) -> tuple[list[StoredReport], Listed]:
    """A page of the stored reports in a reader's scope, the newest first.

    Only of uploads that ended at ``first`` or later, and before ``until``.
    """
    parameters = {"first": first, "until": until, **user.scope.parameters()}
    return await _reports(system, "reports_of", parameters, paging)


async def _reports(
    system: System, query: str, parameters: dict[str, Any], paging: Paging
) -> tuple[list[StoredReport], Listed]:
    most = system.settings.list_most_counted
    found = await fetch_listed(system.pool, _SQL, query, parameters, paging, most=most)
    return await _each_stored(system, found.rows), found


async def holdings(system: System) -> Holdings:
    """The store's contents, listed by the store itself."""
    count = size = orphans = orphan_bytes = 0
    oldest = None
    now = await clocks.now(system.pool)
    async for batch in _listed(system, now):
        for file, is_orphan in batch:
            if is_orphan:
                orphans += 1
                orphan_bytes += file.bytes
            elif file.key.endswith(".xlsx") and not file.key.endswith("/source.xlsx"):
                count += 1
                size += file.bytes
                oldest = min(oldest or file.modified_at, file.modified_at)
    return Holdings(count, size, oldest, orphans, orphan_bytes)


@contextlib.asynccontextmanager
async def _noting_a_break(
    system: System, purged: Purged, *, who: User | None, dry_run: bool
) -> AsyncIterator[None]:
    """Record in the audit trail what was removed before the store or Redis failed."""
    try:
        yield
    except ServiceUnavailableError as error:
        if not dry_run and purged != Purged():
            async with system.pool.connection() as connection:
                await audit.record(
                    connection, "purge", who=who, failed=error.code, about=purged.in_words()
                )
        raise


async def _purge_reports(
    system: System, before: dt.datetime, purged: Purged, dry_run: bool
) -> None:
    """Remove the reports, refused rows, cells and ID numbers of uploads that ended before."""
    async for found in _batches(system, "reports_over", before, dry_run):
        ids = {upload["id"] for upload in found}
        if not dry_run:
            ids = await _forget(system, ids)
        purged.reports += len(ids)
        keys = [key for upload in found if upload["id"] in ids for key in _report_keys(upload)]
        async for size in _removed(system, keys, purged, dry_run):
            purged.bytes += size


async def _purge_rows(
    system: System, before: dt.datetime, now: dt.datetime, purged: Purged, dry_run: bool
) -> None:
    """Remove the outcomes of rows of uploads that ended before."""
    parameters = {"before": before, "now": now, "uploads": UPLOADS_BATCH, "rows": ROWS_BATCH}
    while True:
        async with system.pool.connection() as connection:
            unbounded(connection)
            if dry_run:
                purged.rows = await _rows(connection, "rows", parameters, dry_run)
                return
            marked = await fetch_all(connection, _SQL["mark_without_rows"], parameters)
            if not marked:
                return
            ids = {"ids": [upload["id"] for upload in marked]}
            purged.rows += await execute(connection, _SQL["remove_rows"], ids)
            await execute(connection, _FIXES["remove_of"], ids)


async def _purge_orphans(system: System, now: dt.datetime, purged: Purged, dry_run: bool) -> None:
    """Remove the files of no upload, found by listing the store.

    It removes none if another installation uses the store: the uploads of that installation are in
    another record.
    """
    if not await _may_remove_orphans(system, now):
        return
    async for batch in _listed(system, now):
        sizes = {file.key: file.bytes for file, is_orphan in batch if is_orphan}
        if dry_run:
            purged.orphans += len(sizes)
            purged.bytes += sum(sizes.values())
            continue
        async for size in _removed(system, sizes, purged, dry_run, sizes):
            purged.orphans += 1
            purged.bytes += size
    if not dry_run:
        await system.store.remove_empty(now - ORPHAN_AGE)


async def _may_remove_orphans(system: System, now: dt.datetime) -> bool:
    """Whether files of no upload may be removed: only this installation uses the store.

    This installation's mark must be older than ORPHAN_AGE: by then another one has left its mark.
    The age of a file is known only where the store's clock is right: a file that is being received
    could look old.
    """
    installation = await store_proof.prove(system)
    said = await system.store.installations()
    others = sorted(str(other) for other in said.keys() - {installation})
    if others:
        log.warning(
            "orphaned files not removed, another installation uses the file store",
            ours=str(installation),
            others=others,
        )
        return False
    if installation not in said or said[installation] > now - ORPHAN_AGE:
        return False
    ahead_s = (await system.store.now() - await clocks.now(system.pool)).total_seconds()
    if abs(ahead_s) > system.settings.clock_tolerance_s:
        log.error(
            "orphaned files not removed, the file store's clock differs from PostgreSQL's",
            ahead_s=round(ahead_s),
        )
        return False
    return True


async def _purge_sources(
    system: System, before: dt.datetime, purged: Purged, dry_run: bool
) -> None:
    async for found in _batches(system, "sources_over", before, dry_run):
        keys = {upload["id"]: upload["source_key"] for upload in found}
        if not dry_run:
            wanted = {"ids": list(keys), "keys": list(keys.values()), "before": before}
            forgotten = await _all(system, "forget_sources", wanted)
            keys = {upload["id"]: keys[upload["id"]] for upload in forgotten}
        async for size in _removed(system, keys.values(), purged, dry_run):
            purged.sources += 1
            purged.bytes += size


async def _purge_undo(system: System, now: dt.datetime, purged: Purged, dry_run: bool) -> None:
    """Remove former values when undoing is too late, and undo lists when reports are removed."""
    settings = system.settings
    undoable = {"before": now - dt.timedelta(days=settings.undo_days), "now": now}
    lists = {"before": now - dt.timedelta(days=settings.report_retention_days)}
    if not dry_run:
        async with system.pool.connection() as connection:
            unbounded(connection)
            # First, because this waits for an undo that is in progress; later ones are refused.
            await connection.execute(_SQL["end_undo"], undoable)
        purged.before_values = await _forget_before_values(system, undoable)
    async with system.pool.connection() as connection:
        unbounded(connection)
        if dry_run:
            purged.before_values = await _rows(connection, "before_values", undoable, dry_run)
        purged.claims = await _rows(connection, "claims", undoable, dry_run)
        purged.kept_members = await _rows(connection, "kept_members", lists, dry_run)
        days = dt.timedelta(days=settings.corrections_retention_days)
        old = {"before": now - days, "undoable": undoable["before"]}
        purged.corrections = await _rows(connection, "corrections", old, dry_run)


async def _forget_before_values(system: System, undoable: dict[str, Any]) -> int:
    """Remove the former values of uploads that can't be undone; returns how many there were."""
    ids = [row["upload_id"] for row in await _all(system, "before_values_of", undoable)]
    removed = 0
    for first in range(0, len(ids), UNDO_BATCH):
        async with system.pool.connection() as connection:
            unbounded(connection)
            some = {"ids": ids[first : first + UNDO_BATCH]}
            removed += await execute(connection, _SQL["forget_before_values"], some)
    return removed


async def _purge_queue(system: System, before: dt.datetime, purged: Purged, dry_run: bool) -> None:
    if dry_run:
        purged.queue_jobs = await system.queue.ended_before(before)
    else:
        purged.queue_jobs = sum((await system.queue.clean_before(before)).values())


async def _forget(system: System, ids: Collection[UUID]) -> set[UUID]:
    """Delete the files, cells and ID numbers of uploads from the record; returns of which."""
    async with system.pool.connection() as connection:
        unbounded(connection)
        await connection.execute(_SQL["by_index"])
        wanted = {"ids": list(ids), "is_purged": True}
        cleared = await fetch_all(connection, _SQL["forget_reports"], wanted)
        forgotten = [upload["id"] for upload in cleared]
        for query in ("forget_cells", "forget_verified"):
            await connection.execute(_SQL[query], {"ids": forgotten})
        await connection.execute(_FIXES["forget_cells"], {"ids": forgotten})
    return set(forgotten)


async def _listed(system: System, now: dt.datetime) -> AsyncIterator[list[tuple[Stored, bool]]]:
    """Every stored file, and whether it belongs to no upload, in batches."""
    batch: list[Stored] = []
    async for file in system.store.each():
        batch.append(file)
        if len(batch) == BATCH:
            yield await _with_owners(system, batch, now)
            batch = []
    yield await _with_owners(system, batch, now)


async def _with_owners(
    system: System, batch: list[Stored], now: dt.datetime
) -> list[tuple[Stored, bool]]:
    before = now - ORPHAN_AGE
    ids = list({file.upload_id for file in batch})
    found = await _all(system, "owned", {"ids": ids, "before": before})
    records = {row["id"]: row for row in found}

    def is_orphan(file: Stored) -> bool:
        record = records.get(file.upload_id)
        if file.modified_at > before:
            return False
        return record is None or (not record["is_open"] and file.key not in record["keys"])

    return [(file, is_orphan(file)) for file in batch]


async def _each_stored(system: System, uploads: Sequence[Row]) -> list[StoredReport]:
    """What the store holds of each: a bucket is asked about several at a time."""
    limit = asyncio.Semaphore(STORE_CALLS)

    async def one(upload: Row) -> StoredReport:
        async with limit:
            return await stored(system, upload)

    return list(await asyncio.gather(*map(one, uploads)))


async def stored(system: System, upload: Row) -> StoredReport:
    """An upload with what the store holds of it."""
    sizes = {file.key: file.bytes async for file in system.store.each(upload["id"])}
    ended: dt.datetime | None = upload["finished_at"]
    until = ended and ended + dt.timedelta(days=system.settings.report_retention_days)
    return StoredReport(
        upload, sizes.get(upload["report_key"], 0), sizes.get(upload["refused_key"], 0), until
    )


async def _removed(
    system: System,
    keys: Iterable[str],
    purged: Purged,
    dry_run: bool,
    sizes: Mapping[str, int] | None = None,
) -> AsyncIterator[int]:
    """Remove files that are no longer in the record; yields the size of each that is gone.

    A dry run only asks for the sizes. One that the store won't remove is counted and logged. What
    it leaves, and what a store leaves that is away, are orphans, which the next round removes.
    """
    store = system.store
    try:
        async for done in store.sizes(keys) if dry_run else store.remove_all(keys, sizes):
            if done.error is None:
                yield done.bytes
                continue
            purged.not_removed += 1
            if purged.not_removed <= NAMED:
                cause = done.error.__cause__
                log.warning("file not removed", key=done.key, reason=str(cause or done.error))
    except ServiceUnavailableError:
        if not dry_run:
            log.warning("store not reachable, orphaned files are removed in the next round")
        raise


async def _rows(
    connection: AsyncConnection[Row], what: str, parameters: dict[str, Any], dry_run: bool
) -> int:
    """Delete the rows of ``what`` whose retention has ended; returns their number.

    The query is the part from ``FROM`` on, so that both ways mean the same rows.
    """
    rows = _SQL[f"{what}_over"]
    if not dry_run:
        return await execute(connection, "DELETE " + rows, parameters)
    row = await fetch_one(connection, "SELECT count(*) AS found " + rows, parameters)
    assert row is not None
    return int(row["found"])


async def _batches(
    system: System, query: str, before: dt.datetime, dry_run: bool
) -> AsyncIterator[list[Row]]:
    """The uploads that a query finds, by the time of their end; a dry run's in one batch.

    A batch begins where the last one ended: otherwise, each would pass what earlier ones removed.
    """
    parameters = {
        "before": before,
        "since": dt.datetime.min.replace(tzinfo=dt.UTC),
        "limit": None if dry_run else BATCH,
    }
    while found := await _all(system, query, parameters):
        yield found
        if dry_run:
            return
        parameters["since"] = found[-1]["finished_at"]


async def _all(system: System, query: str, parameters: dict[str, Any]) -> list[Row]:
    return await fetch_all(system.pool, _SQL[query], parameters)


def _report_keys(upload: Row) -> list[str]:
    names = ("report_key", "refused_key", "report_tables_key")
    return [upload[name] for name in names if upload[name] is not None]
