"""A file goes through in batches, and the report is begun before the merge has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from rollbook.cli.sample_file import write_sample
from rollbook.languages import phrase
from rollbook.model import Scope
from rollbook.pipeline import report, run, spill
from rollbook.pipeline.merge import merge
from tests.files import csv_file, id_number, member, workbook
from tests.pipeline_run import Done, Site, open_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import polars as pl

    from rollbook.model import Progress


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    with open_site(database_url, tmp_path) as opened:
        yield opened


def told(done: Done, members: dict[str, dict[str, Any]]) -> tuple[Any, ...]:
    """All that must not depend on how a file was cut, without ids and times."""
    own = ("upload_id", "created_by_upload", "changed_by_upload", "created_at", "changed_at",
           "member_id")  # fmt: skip
    sheets = [done.sheet(name).rows() for name in report._part_names()]
    rows = [{name: row[name] for name in row if name not in own} for row in done.rows]
    kept = {n: {k: row[k] for k in row if k not in own} for n, row in members.items()}
    return done.outcomes, rows, kept, sheets


@pytest.mark.parametrize("kind", ["xlsx", "csv"])
def test_how_a_file_is_cut_into_batches_changes_nothing(
    kind: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"sample.{kind}"
    facts = write_sample(path, 70, seed=7, duplicate_share=0.2, invalid_share=0.1)
    found = []
    for batch_rows, kept_bytes in ((30, 0), (40, 20_000), (1000, spill.KEPT_BYTES)):
        site.clean()
        monkeypatch.setattr(spill, "KEPT_BYTES", kept_bytes)
        done = site.send(path.read_bytes(), path.name, batch_rows=batch_rows)
        assert done.outcomes["duplicate"] == facts.duplicates > 0
        found.append(told(done, site.members()))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("kind", ["xlsx", "csv"])
def test_progress_is_told_twice_a_second_with_rows_and_their_speed(kind: str, site: Site) -> None:
    content = workbook(180) if kind == "xlsx" else csv_file(180)
    heard: list[tuple[float, Progress]] = []
    done = site.send(
        content,
        f"members.{kind}",
        batch_rows=30,
        report_progress=lambda progress: heard.append((time.perf_counter(), progress)),
    )
    seconds = heard[-1][0] - heard[0][0]
    assert len(heard) >= 2 * seconds
    told = [progress for _, progress in heard]
    assert [p.percent for p in told] == sorted(p.percent for p in told)
    assert [p.rows_done for p in told] == sorted(p.rows_done for p in told)
    reading = [p for p in told if p.stage == "normalise"]
    assert len(reading) >= 5
    # The file has no blank row, so what the file says is what it has.
    assert {p.rows_total for p in reading} == {sum(done.outcomes.values())}
    assert all(p.rows_per_second for p in told if p.rows_done)
    assert 0 < told[-1].rows_done <= 180


def test_a_merge_that_came_in_between_is_in_the_report(
    site: Site, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else brings one person in, and takes another, after they were looked up."""

    def merge_after_another(*args: Any, **named: Any) -> pl.Series:
        with psycopg.connect(database_url) as other:
            for n, province in ((1, "GP"), (2, "LP")):
                other.execute(
                    "INSERT INTO members (id_number, firstname, surname, date_of_birth, province,"
                    " created_by_upload, changed_by_upload) VALUES (%s, 'A', 'B', '1980-01-01',"
                    " %s, gen_random_uuid(), gen_random_uuid())",
                    (id_number(n), province),
                )
        return merge(*args, **named)

    monkeypatch.setattr(run, "merge", merge_after_another)
    rows = [member(n) for n in (1, 2, 3)]
    done = site.send(workbook(rows), "members.xlsx", scope=Scope("GP"))
    assert done.by_row == {2: "updated", 3: "out_of_scope", 4: "inserted"}
    assert done.outcomes["updated"] == done.outcomes["inserted"] == done.outcomes["out_of_scope"]
    assert done.sheet("All Uploaded Rows")["Outcome"].to_list() == [
        phrase(f"report.outcome.{done.by_row[number]}") for number in (2, 3, 4)
    ]
    assert done.sheet("New Members").height == 1
    everything = done.sheet("All Uploaded Rows")
    assert everything["Already Exists"].to_list() == ["Yes", "Yes", "No"]
    assert everything["Existing Member Name"].to_list() == [None, None, None]
    assert done.refused is not None


def test_what_another_merge_changed_in_between_is_the_value_before(
    site: Site, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.send(workbook([member(n) for n in (1, 2, 3)]), "members.xlsx")

    def merge_after_another(*args: Any, **named: Any) -> pl.Series:
        with psycopg.connect(database_url) as other:
            other.execute(
                "UPDATE members SET surname = 'Between', ward = '79800009', changed_at = now(),"
                " changed_by_upload = gen_random_uuid() WHERE id_number = %s",
                (id_number(1),),
            )
        return merge(*args, **named)

    monkeypatch.setattr(run, "merge", merge_after_another)
    rows = [member(n, Surname="New") for n in (1, 2, 3)]
    for is_dry in (True, False):
        done = site.send(workbook(rows), "members.xlsx", dry_run=is_dry)
        found = [row["changes"] for row in done.rows]
        # A dry run changes nothing, so the same is in between again.
        assert found == [
            {"surname": ["Between", "New"], "ward": ["79800009", "79800001"]},
            {"surname": ["Last2", "New"]},
            {"surname": ["Last3", "New"]},
        ]
        ids = {row["member_id"] for row in site.members().values()}
        assert {row["member_id"] for row in done.rows} == ids
        changes = done.sheet("Changes")
        assert changes["Before"].to_list() == ["Between", "79800009", "Last2", "Last3"]


def test_what_another_office_knows_of_its_member_is_not_in_the_report(site: Site) -> None:
    theirs = member(1, Province="Limpopo", Surname="Theirs")
    site.send(workbook([theirs]), "theirs.xlsx", scope=Scope("LP"))
    rows = [member(1, Province="", Surname="Ours"), member(2)]
    done = site.send(workbook(rows), "ours.xlsx", scope=Scope("GP"))
    assert done.by_row == {2: "out_of_scope", 3: "inserted"}
    row = done.sheet("All Uploaded Rows").row(0, named=True)
    assert row["Already Exists"] == "Yes"
    assert row["Existing Member Name"] is None
