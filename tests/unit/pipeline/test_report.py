"""The report and the refused rows, read back as a person's program reads them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any
from uuid import UUID

import openpyxl
import polars as pl
import pytest

from rollbook.model import Scope
from rollbook.pipeline import report
from rollbook.pipeline.match import EXISTING, KNOWN, People, find_repeats, ledger_of
from rollbook.pipeline.merge import count, foreseen, outcomes
from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.read import Sheet
from rollbook.pipeline.summary import FILLS, Facts, words_of
from rollbook.pipeline.tally import tally
from rollbook.pipeline.validate import validate
from rollbook.pipeline.verify import RESULTS
from rollbook.spreadsheets.workbook import WorkbookWriter
from tests.files import member
from tests.unit.pipeline.sheets import sheet_of

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime(2026, 11, 24, 8, 30, tzinfo=dt.UTC)
SHEETS = [
    "Summary", "All Uploaded Rows", "Invalid IDs", "Duplicates", "Not Registered Voters",
    "New Members", "Existing Members (Updated)", "Changes",
]  # fmt: skip
OURS = [
    "IEC Registered", "IEC Ward", "IEC VD Code", "Already Exists", "Existing Member Name",
    "Existing Ward", "Existing VD", "Outcome", "Problems",
]  # fmt: skip
MEMBERS = [
    member(1),
    member(2, Surname="", Province="Atlantis"),
    member(1),
    member(3, Firstname="=A1+1", Surname="<b> & co"),
    member(4, Province="Limpopo"),
]


def written(folder: Path, *sheets: Sheet, **changes: object) -> report.Files:
    """The files of a table, in batches, whose fourth row is a member already."""
    upload = {
        "id": "00000000-0000-4000-8000-000000000001",
        "file_name": "=cmd()|<members>.xlsx",
        "owner_email": "office@example.org",
        "province": "GP",
        "municipality": None,
        "created_at": NOW,
        "attempt": 1,
        "dry_run": False,
        "existing": "update",
        "kind": "members",
        "all_or_nothing": False,
        "empty_text": None,
        "columns": None,
        **changes,
    }
    validated = [validate(normalise(s, NOW.date()), s, Scope("GP", None)) for s in sheets]
    ledger = pl.concat([ledger_of(batch.rows) for batch in validated])
    ledger = find_repeats(ledger, People(ledger))
    members = ledger.filter(row_number=5).select("row_number")
    member = members.with_columns(
        taken=pl.lit(value=False), changes=pl.lit(value=True), version=pl.lit(7), dates=None
    )
    member = member.cast(pl.Schema(KNOWN))
    lines = outcomes(ledger, foreseen(ledger, member))
    changed = '{"surname":["Old","New"],"ward":[null,"79800002"]}'
    values = (5, "Name", "Old", None, None, str(UUID(int=7)), changed, None, None, None, None)
    known = pl.DataFrame([values], schema=EXISTING, orient="row")
    headers = sheets[-1].frame.columns[1:]
    with report.ReportWriter(folder, upload=upload, headers=headers, created=NOW) as writer:
        start = 0
        for sheet, batch in zip(sheets, validated, strict=True):
            some = lines.slice(start, sheet.frame.height)
            start += sheet.frame.height
            nothing = [pl.lit(None, kind).alias(name) for name, kind in list(RESULTS.items())[1:]]
            joined = some.join(
                known, on="row_number", how="left", maintain_order="left"
            ).with_columns(nothing)
            writer.add(sheet.frame, joined, batch.problems)
        facts = Facts(
            upload,
            sheets[-1].sheet_name,
            count(lines),
            tally([(lines, pl.concat(batch.problems for batch in validated))]),
            {"read": 0.5, "merge": 1.25},
            NOW,
        )
        return writer.finish(facts)


def test_the_report_lists_what_changed_of_which_member(sheets: dict[str, Any]) -> None:
    assert sheets["Changes"] == [
        ("Row", "Member", "Field", "Before", "After"),
        (5, "Name Old", "Surname", "Old", "New"),
        (5, "Name Old", "Ward", None, "79800002"),
    ]


def tables(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    book = openpyxl.load_workbook(path)
    try:
        return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book}
    finally:
        book.close()


@pytest.fixture
def sheets(tmp_path: Path) -> dict[str, list[tuple[Any, ...]]]:
    return tables(written(tmp_path, sheet_of(MEMBERS)).report)


def test_the_report_has_its_eight_sheets(sheets: dict[str, Any]) -> None:
    assert list(sheets) == SHEETS
    headers = ["Row", *MEMBERS[0], *OURS]
    for name in SHEETS[1:-1]:
        assert list(sheets[name][0]) == headers


def test_every_row_is_there_with_its_outcome_and_all_its_problems(sheets: dict[str, Any]) -> None:
    rows = sheets["All Uploaded Rows"][1:]
    assert [(row[0], row[-2], row[-1]) for row in rows] == [
        (2, "New member", None),
        (
            3,
            "Refused: invalid",
            "Surname: The surname is missing.\n"
            "Province: This is not the name or code of a province, so it was left out.",
        ),
        (4, "Refused: repeats another row", "Repeats row 2."),
        (
            5,
            "Existing member, updated",
            "Firstname: This may be no name, or more than a name; it was kept as it is. "
            "Kept: =A1+1.\nSurname: This may be no name, or more than a name; it was kept as it "
            "is. Kept: <b> & co.",
        ),
        (
            6,
            "Refused: belongs to another office",
            "Province: This place is not your office's, so the row was not taken in. Kept: LP.\n"
            "Municipality: The municipality does not lie in the province that the row names; both "
            "were kept. Kept: City of Johannesburg.",
        ),
    ]


def test_no_refused_row_is_said_to_be_new(sheets: dict[str, Any]) -> None:
    headers, *rows = sheets["All Uploaded Rows"]
    at = headers.index("Already Exists")
    said = {row[0]: row[at] for row in rows}
    assert (said[2], said[3], said[4], said[5]) == (
        "No", "not looked up", "not looked up", "Yes",
    )  # fmt: skip


def test_each_sheet_has_the_rows_of_its_kind(sheets: dict[str, Any]) -> None:
    numbers = {name: [row[0] for row in sheets[name][1:]] for name in SHEETS[1:-1]}
    assert numbers == {
        "All Uploaded Rows": [2, 3, 4, 5, 6],
        "Invalid IDs": [3],
        "Duplicates": [4],
        "Not Registered Voters": [],
        "New Members": [2],
        "Existing Members (Updated)": [5],
    }


def test_the_persons_cells_stay_as_they_were_and_nobody_is_called_unregistered(
    sheets: dict[str, Any],
) -> None:
    row = dict(zip(*sheets["Existing Members (Updated)"], strict=True))
    assert {header: row[header] for header in MEMBERS[3]} == MEMBERS[3]
    assert row["Existing Member Name"] == "Name Old"
    assert (row["Already Exists"], row["IEC Registered"]) == ("Yes", "not asked")


def test_the_summary_adds_up(sheets: dict[str, Any]) -> None:
    summary = {row[0]: row[1:] for row in sheets["Summary"]}
    assert [summary[words][0] for words in words_of({"kind": "members"}).values()] == [
        1,
        1,
        0,
        1,
        1,
        1,
    ]
    assert summary["New member"][1] == pytest.approx(0.2)
    assert summary["Rows in the file"][0] == 5
    assert summary["The surname is missing."] == (1, "refuses the row")
    assert summary["Name"][0] == "=cmd()|<members>.xlsx"
    assert summary["Office"][0] == "GP"
    # As the page and mails give it.
    assert summary["Received"][0] == dt.datetime(2026, 11, 24, 10, 30)  # noqa: DTZ001
    assert summary["Time zone"][0] == "Africa/Johannesburg"
    assert summary["Merging"][0] == 1.25
    assert not any("Dry run:" in str(name) for name in summary)


def test_the_summary_has_a_chart(tmp_path: Path) -> None:
    book = openpyxl.load_workbook(written(tmp_path, sheet_of(MEMBERS)).report)
    [chart] = book["Summary"]._charts
    [series] = chart.series
    cells = series.val.numRef.f.split("!")[1].replace("$", "")
    assert [cell.value for [cell] in book["Summary"][cells]] == [1, 1, 0, 1, 1, 1]
    book.close()


def test_a_dry_run_says_so_first(tmp_path: Path) -> None:
    path = written(tmp_path, sheet_of(MEMBERS), dry_run=True).report
    assert "Nothing was changed" in str(tables(path)["Summary"][2][0])


def test_refused_rows_keep_the_files_columns_and_say_what_to_mend(tmp_path: Path) -> None:
    refused = written(tmp_path, sheet_of(MEMBERS)).refused
    assert refused is not None
    [(headers, *rows)] = tables(refused).values()
    assert list(headers) == [*MEMBERS[0], "Row in your file", "Errors"]
    assert [row[-2] for row in rows] == [3, 4, 6]
    assert [row[:-2] for row in rows] == [
        tuple(value or None for value in MEMBERS[n].values()) for n in (1, 2, 4)
    ]
    assert [row[-1].splitlines()[0] for row in rows] == [
        "Refused: invalid",
        "Refused: repeats another row",
        "Refused: belongs to another office",
    ]


def test_wrong_cells_of_refused_rows_are_marked_and_dates_are_dates(tmp_path: Path) -> None:
    rows = [
        {**member(1, Surname=""), "Joined": "2024-05-03", "Paid": "2024-05-03"},
        {**member(2, **{"ID Number": "=1+1"}), "Joined": "2023-01-31", "Paid": "2024-02-30"},
    ]
    refused = written(tmp_path, sheet_of(rows)).refused
    assert refused is not None
    book = openpyxl.load_workbook(refused)
    assert book.active is not None
    headers, *lines = book.active.iter_rows()
    place = {cell.value: n for n, cell in enumerate(headers)}
    marked = {
        (n, header)
        for n, line in enumerate(lines)
        for header, column in place.items()
        if line[column].fill.fgColor.rgb == FILLS["invalid"]
    }
    assert marked == {(0, "Surname"), (1, "ID Number")}
    # A marked text stays inert when it is edited.
    number = lines[1][place["ID Number"]]
    assert (number.value, number.data_type, number.quotePrefix) == ("=1+1", "s", True)
    joined = [line[place["Joined"]].value for line in lines]
    assert joined == [dt.datetime(2024, 5, 3), dt.datetime(2023, 1, 31)]  # noqa: DTZ001
    # One cell of the column is no date: all are as they were sent.
    assert [line[place["Paid"]].value for line in lines] == ["2024-05-03", "2024-02-30"]
    book.close()


def test_a_date_cell_has_no_midnight_that_nobody_wrote(tmp_path: Path) -> None:
    """The readers of workbooks give each date a time."""
    cells = [
        {"Joined": "2024-05-03 00:00:00", "Paid": "2024-05-03 00:00:00"},
        {"Joined": "2023-01-31 00:00:00", "Paid": "2023-01-31 07:30:00"},
        {"Joined": "2022-06-30 00:00:00", "Paid": "from 2024-05-03 00:00:00"},
    ]
    rows = [{**member(n, Surname=""), **of_row} for n, of_row in enumerate(cells, 1)]
    files = written(tmp_path, sheet_of(rows))
    header, *lines = tables(files.report)["All Uploaded Rows"]
    shown = {name: [line[header.index(name)] for line in lines] for name in cells[0]}
    assert shown["Joined"] == ["2024-05-03", "2023-01-31", "2022-06-30"]
    assert shown["Paid"] == ["2024-05-03", *(of_row["Paid"] for of_row in cells[1:])]
    assert files.refused is not None
    [(header, *lines)] = tables(files.refused).values()
    refused = {name: [line[header.index(name)] for line in lines] for name in cells[0]}
    days = [dt.datetime.fromisoformat(day) for day in shown["Joined"]]
    assert refused == {"Joined": days, "Paid": shown["Paid"]}


def test_nothing_refused_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Path] = []
    begin = WorkbookWriter.__enter__

    def noted(writer: WorkbookWriter) -> WorkbookWriter:
        begun.append(writer._path)
        return begin(writer)

    monkeypatch.setattr(WorkbookWriter, "__enter__", noted)
    files = written(tmp_path, sheet_of(MEMBERS[:1]))
    assert files.refused is None
    # Nor is one written and thrown away.
    assert begun == [files.report]


def test_columns_of_the_file_that_are_called_like_ours_are_kept_beside_them(
    tmp_path: Path,
) -> None:
    rows = [
        {
            **member(1),
            "Outcome": "mine",
            "Outcome (file)": "too",
            "Row": "seven",
            "__fill": "y",
            "*": "s",
        }
    ]
    header, cells = tables(written(tmp_path, sheet_of(rows)).report)["All Uploaded Rows"]
    found = dict(zip(header, cells, strict=True))
    assert (found["Outcome (file) (file)"], found["Outcome (file)"]) == ("mine", "too")
    assert found["Outcome"] == "New member"
    assert (found["Row (file)"], found["Row"]) == ("seven", 2)
    assert (found["__fill (file)"], found["*"]) == ("y", "s")


def test_a_refused_row_keeps_a_column_that_is_called_like_a_pattern(tmp_path: Path) -> None:
    refused = written(
        tmp_path, sheet_of([{"*": "x", "^.*$": "y", **member(1, Surname="")}])
    ).refused
    assert refused is not None
    [(headers, cells)] = tables(refused).values()
    assert dict(zip(headers, cells, strict=True)) | {"*": "x", "^.*$": "y"} == dict(
        zip(headers, cells, strict=True)
    )


def test_batches_make_one_table_as_wide_as_the_widest(tmp_path: Path) -> None:
    second = sheet_of([{**member(9, Surname=""), "Column 20": "far out"}])
    numbered = second.frame.with_columns(pl.lit(7, pl.UInt32).alias("row_number"))
    later = Sheet(numbered, second.sheet_name, second.columns, second.fingerprint)
    files = written(tmp_path, sheet_of(MEMBERS), later)
    header, *rows = tables(files.report)["All Uploaded Rows"]
    assert [row[0] for row in rows] == [2, 3, 4, 5, 6, 7]
    assert [row[header.index("Column 20")] for row in rows] == [None] * 5 + ["far out"]
    summary = {row[0]: row[1:] for row in tables(files.report)["Summary"]}
    assert summary["The surname is missing."] == (2, "refuses the row")


def test_a_report_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    upload = {"file_name": "members.xlsx", "kind": "members"}
    with (
        pytest.raises(OSError, match="No space"),
        report.ReportWriter(tmp_path, upload=upload, headers=["a"], created=NOW),
    ):
        raise OSError("No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_refused_rows_keep_headers_that_are_called_like_ours(tmp_path: Path) -> None:
    row = member(1, Surname="") | {"Outcome": "mine", "Row": "seven"}
    refused = written(tmp_path, sheet_of([row])).refused
    assert refused is not None
    [(headers, *_)] = tables(refused).values()
    assert list(headers) == [*row, "Row in your file", "Errors"]
