"""Rewrites the report when the voter roll's last answer is in.

For an upload with pending rows the report's table and summary are stored. So the file itself need
not be stored, nor read again by a newer Rollbook that might read it differently
(docs/decisions/0011).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import structlog

from rollbook import clock
from rollbook.backends import files as keys
from rollbook.backends.database import holding, queries
from rollbook.errors import SourceGoneError
from rollbook.languages import phrase, speaking
from rollbook.model import RESULTS
from rollbook.notifications import outbox
from rollbook.pipeline import report, summary, verify
from rollbook.pipeline.report_tables import changes_of, rows_of, summary_of
from rollbook.spreadsheets.workbook import Cell

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from psycopg import Connection

    from rollbook.backends.database import Row
    from rollbook.backends.files import FileStore
    from rollbook.config import Settings
    from rollbook.spreadsheets.workbook import AnyCell
    from rollbook.spreadsheets.workbook.worksheet import CellValue

_UPLOADS, _SQL = queries("uploads"), queries("verifications")
log = structlog.get_logger(__name__)


def process(
    connection: Connection[Row],
    store: FileStore,
    settings: Settings,
    *,
    upload_id: UUID,
) -> dict[str, Any]:
    """Write an upload's report again, with the roll's answers.

    Of two workers the second one waits, and finds it written. An erasure waits too: what was read
    before it would bring the person back into the report.

    Returns:
        Whether there was something to write.
    """
    with holding(connection, keys.reports_lock(upload_id), waits=True):
        return {"is_written": _written(connection, store, settings, upload_id)}


def _written(
    connection: Connection[Row], store: FileStore, settings: Settings, upload_id: UUID
) -> bool:
    upload = connection.execute(_UPLOADS["by_id_and_owner"], {"id": upload_id}).fetchone()
    if upload is None or upload["verification"] != "pending" or upload["roll_pending"]:
        return False
    found = verify.results(connection, upload)
    connection.commit()
    report_key = keys.verified_report_key(upload_id, upload["attempt"])
    with tempfile.TemporaryDirectory(prefix="rollbook-") as name:
        folder = Path(name)
        try:
            store.fetch(upload["report_tables_key"], folder / "tables.parquet")
        except SourceGoneError:
            # A retry wouldn't bring them back. The answers are in the record nevertheless.
            log.error("report not rewritten, its tables are gone")
            report_key = upload["report_key"]
        else:
            with speaking(upload["language"]):
                _write(folder, found, upload, settings.time_zone)
            store.put(report_key, folder / "report.xlsx")
    parameters = {"id": upload_id, "report_key": report_key}
    is_written = connection.execute(_SQL["report_written"], parameters).rowcount == 1
    if is_written:
        connection.execute(*outbox.entry(upload_id, "verified", settings.notification_channels))
    connection.commit()
    if is_written:
        # The record no longer names them; a crash's leftovers are removed with the upload's folder.
        for key in {upload["report_key"], upload["report_tables_key"]} - {report_key}:
            store.discard(key)
    return is_written


def _write(folder: Path, found: pl.DataFrame, upload: Row, time_zone: str) -> None:
    """Write the report from its tables, with the answers in the place of what was pending."""
    answers = found.select(pl.col("row_number").alias(report.ROW), *report.roll_columns())
    cells, chart = summary_of(folder / "tables.parquet")
    said = summary.roll_in_words({result: upload[f"roll_{result}"] for result in RESULTS})
    written = clock.now()
    now: dict[str, CellValue] = {
        phrase("report.label.voter_roll"): said,
        phrase("report.label.written"): clock.local(written, time_zone),
    }
    report.write_again(
        folder / "report.xlsx",
        (
            table.update(answers, on=report.ROW, how="left", include_nulls=False)
            for table in rows_of(folder / "tables.parquet")
        ),
        changes_of(folder / "tables.parquet"),
        cells=[_renewed(row, now) for row in cells],
        chart=chart,
        upload=upload,
        written=written,
    )


def _renewed(row: list[AnyCell], now: Mapping[str, CellValue]) -> list[AnyCell]:
    """A row of the summary; one whose label is among those that changed, with its new value."""
    match row:
        case [Cell(value=str(label)), Cell(look=look)] if label in now:
            return [row[0], Cell(now[label], look)]
        case _:
            return row
