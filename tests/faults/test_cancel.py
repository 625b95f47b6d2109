"""An upload that is cancelled just as one of its stages begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from rollbook.backends.database import connect, queries
from rollbook.errors import FencedError
from rollbook.model import STAGES, Progress
from tests.files import csv_file, members
from tests.pipeline_run import Site, open_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What an upload leaves beside its own row.
LEFT = ("members", "member_changes", "upload_rows", "upload_claims")


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    with open_site(database_url, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("stage", STAGES)
def test_an_upload_that_is_cancelled_as_a_stage_begins_changes_nothing_or_all(
    site: Site, database_url: str, stage: str
) -> None:
    was_cancelled: bool | None = None

    def cancel(progress: Progress) -> None:
        nonlocal was_cancelled
        if progress.stage != stage or was_cancelled is not None:
            return
        with connect(database_url, lock_timeout_s=0.5) as another:
            try:
                [upload] = another.execute("SELECT id FROM uploads").fetchall()
                cancelled = another.execute(queries("uploads")["cancel"], {"id": upload["id"]})
                was_cancelled = cancelled.fetchone() is not None
            except psycopg.errors.LockNotAvailable:  # the attempt is about to end it
                was_cancelled = False

    try:
        site.send(csv_file(members(50)), "members.csv", report_progress=cancel)
    except FencedError:
        assert was_cancelled
    else:
        assert was_cancelled is False
    with connect(database_url) as connection:
        [upload] = connection.execute("SELECT status, report_key FROM uploads").fetchall()
        for table in LEFT:
            [row] = connection.execute(f"SELECT count(*) AS n FROM {table}".encode()).fetchall()  # noqa: S608
            if was_cancelled:
                assert row["n"] == 0, table
    reports = list(site.folder.glob("store/*/report-*"))
    if was_cancelled:
        assert (upload["status"], upload["report_key"], reports) == ("cancelled", None, [])
    else:
        assert upload["status"] == "completed"
        assert len(reports) == 1
        assert len(site.members()) == 50
