"""One attempt at a file, stage by stage, inside the child process.

From ``match`` on everything happens in one transaction, and the upload's final state is its last
statement: a report is in the store before the merge is committed, so a completed upload has its
report, and whatever ends before the commit has changed nothing.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Json

from rollbook import clock
from rollbook import store as keys
from rollbook.database import queries
from rollbook.errors import FencedError, RowsRefusedError
from rollbook.pipeline import report
from rollbook.pipeline.match import match
from rollbook.pipeline.merge import count, keep_rows, merge
from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.read import Wanted, read
from rollbook.pipeline.stages import Progress, Stages
from rollbook.pipeline.validate import validate
from rollbook.pipeline.verify import Verification
from rollbook.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from psycopg import Connection

    from rollbook.database import Row
    from rollbook.pipeline.read import Sheet
    from rollbook.store import FileStore

_SQL = queries("uploads")


def process(
    connection: Connection[Row],
    store: FileStore,
    *,
    upload_id: UUID,
    attempt: int,
    report_progress: Callable[[Progress], None],
    verify_days: int | None = None,
) -> dict[str, Any]:
    """Take the upload's file through all stages and commit what became of it.

    Args:
        connection: of this attempt alone.
        store: where the file is and the report goes.
        upload_id: of which upload.
        attempt: the fence.
        report_progress: hears how far the attempt is.
        verify_days: for how many days an answer of the voter roll is good; None when the roll isn't
            to be asked.

    Returns:
        ``rows_total`` and the counts by outcome.

    Raises:
        FencedError: the upload is no longer this attempt's; nothing was written.
        FileProblemError: the file can't be processed; nothing was merged.
        VoterRollPendingError: the upload waits for the voter roll before it merges anything.
    """
    upload = _upload(connection, upload_id, attempt)
    scope = Scope(upload["province"], upload["municipality"])
    with (
        Stages(report_progress, file_bytes=upload["file_bytes"]) as stages,
        tempfile.TemporaryDirectory(prefix="rollbook-") as name,
    ):
        folder = Path(name)
        source = folder / f"source.{upload['file_kind']}"
        stages.begin("read")
        store.fetch(upload["source_key"], source)
        wanted = Wanted(upload["sheet"], upload["columns"], _remembered(connection, scope))
        sheet = read(source, upload["file_kind"], wanted)
        total = sheet.frame.height
        stages.begin("normalise", rows_total=total)
        normalised = normalise(sheet, clock.today())
        stages.begin("validate", rows_total=total)
        validated = validate(normalised, sheet, scope)
        verification = Verification(connection, upload, cache_days=verify_days)
        verification.wait_for_answers(validated.rows)
        with connection.transaction():
            stages.begin("match", rows_total=total)
            rows = match(connection, validated.rows)
            stages.begin("verify", rows_total=total)
            verification.prepare(validated.rows)
            stages.begin("merge", rows_total=total)
            connection.execute("SAVEPOINT unmerged")
            rows = merge(
                connection, rows, upload_id=upload_id, scope=scope, existing=upload["existing"]
            )
            outcomes = count(rows)
            refused = sum(outcomes[name] for name in report.REFUSED)
            is_refused = upload["all_or_nothing"] and refused > 0
            if upload["dry_run"] or is_refused:
                connection.execute("ROLLBACK TO SAVEPOINT unmerged")
            rows = verification.settle(rows, is_refused=is_refused)
            stages.begin("report", rows_total=total)
            facts = report.Facts(
                upload,
                outcomes,
                stages.seconds,
                clock.now(),
                is_refused=is_refused,
                not_asked_because=verification.not_asked_because,
            )
            with ThreadPoolExecutor(1, thread_name_prefix="report") as beside:
                writing = beside.submit(
                    report.write, folder, facts, sheet, rows, validated.problems
                )
                if not is_refused:
                    # Beside the report, because this is PostgreSQL's work and that is ours.
                    keep_rows(connection, rows, validated.problems, upload_id=upload_id)
                files = writing.result()
                stored = _stored(store, upload, files)
                tables_key = _kept_tables(store, upload, files)
            stages.end()
            if upload["columns"]:
                _remember(connection, upload, sheet)
            final = {
                "id": upload_id,
                "attempt": attempt,
                "rows_total": total,
                **outcomes,
                "stage_seconds": Json(stages.seconds),
                **stored,
            }
            last_write = "note_report" if is_refused else "complete"
            if connection.execute(_SQL[last_write], final).rowcount != 1:
                raise FencedError("Another attempt has the upload now, or it was cancelled.")
            verification.count(tables_key=tables_key)
    if is_refused:
        raise RowsRefusedError(
            f"{refused} of the {total} rows were refused, and you asked for all rows or none, so "
            "nothing was changed. The report says why; mend these rows and send the file again."
        )
    return {"rows_total": total, "outcomes": outcomes}


def _stored(store: FileStore, upload: Row, files: report.Files) -> dict[str, str | None]:
    """Put the workbooks into the store and say where they are."""
    report_key = keys.report_key(upload["id"], upload["attempt"])
    store.put(report_key, files.report)
    refused_key = None
    if files.refused is not None:
        refused_key = keys.refused_key(upload["id"], upload["attempt"])
        store.put(refused_key, files.refused)
    return {"report_key": report_key, "refused_key": refused_key}


def _kept_tables(store: FileStore, upload: Row, files: report.Files) -> str | None:
    """Keep what the report is to be written from again, where rows wait for the voter roll."""
    if files.tables is None:
        return None
    key = keys.report_tables_key(upload["id"], upload["attempt"])
    store.put(key, files.tables)
    return key


def _remembered(connection: Connection[Row], scope: Scope) -> dict[str, Mapping[str, str | None]]:
    """What this office said of the columns of earlier files, by the fingerprint of the headers."""
    office = {"province": scope.province, "municipality": scope.municipality}
    found = connection.execute(_SQL["column_mappings"], office).fetchall()
    connection.commit()
    return {row["fingerprint"]: row["columns"] for row in found}


def _remember(connection: Connection[Row], upload: Row, sheet: Sheet) -> None:
    connection.execute(
        _SQL["remember_columns"],
        {
            "province": upload["province"],
            "municipality": upload["municipality"],
            "fingerprint": sheet.fingerprint,
            "columns": Json(upload["columns"]),
            "upload_id": upload["id"],
        },
    )


def _upload(connection: Connection[Row], upload_id: UUID, attempt: int) -> Row:
    upload = connection.execute(_SQL["by_id_and_owner"], {"id": upload_id}).fetchone()
    connection.commit()
    if upload is None or upload["attempt"] != attempt or upload["status"] != "processing":
        raise FencedError("Another attempt has the upload now, or it was cancelled.")
    return upload
