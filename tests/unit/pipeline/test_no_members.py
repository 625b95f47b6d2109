"""Names of sheets and files that say that their people are no members."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openpyxl
import pytest

from rollbook.pipeline.no_members import file_says_no_members, says_no_members
from rollbook.pipeline.read import ALL_SHEETS, Wanted, read

if TYPE_CHECKING:
    from pathlib import Path

    from rollbook.pipeline.read import Sheet

HEADERS = ("ID Number", "Firstname", "Surname")
ANN, BOB = ("8001015009087", "Ann", "Aa"), ("9002280101087", "Bob", "Bee")


@pytest.mark.parametrize(
    "name",
    [
        "Deceased", "DECEASED MEMBERS", "Resigned 2024", "Resignations", "Cancelled",
        "Ward 4 lapsed",
        "Old", "Old members 2019", "Archive", "Archived", "Ex-members", "Members (old)",
        "Inactive", "Backup of Members", "Removed", "Former members 2020",
        "Deleted", "Previous", "Left", "Dead", "Historical members",
        "Oorlede", "Bedank", "Gewese lede", "Ou lede", "Argief", "Gekanselleer",
        "Abashonile", "Ababhubhileyo", "Amalungu amadala",
        "Non-members", "NonMembers", "Waiting list", "Transferred", "Rejected", "Declined",
        "Applicants", "RIP", "Blacklist", "Duplicates", "Opted out", "Unsubscribed", "Test",
        "Example", "Voorbeeld", "Removed members Ward 5", "Passed away", "Waglys", "Besoekers",
        "Do not contact", "Dependants", "Spouses ward 5", "Voters' roll", "Voters roll VD 32990012",
        "Potential members", "Pending applications", "Leavers", "DO NOT UPLOAD", "Afhanklikes",
    ],
)  # fmt: skip
def test_a_name_of_former_members(name: str) -> None:
    assert says_no_members(name)


@pytest.mark.parametrize(
    "name",
    [
        "Members",
        "Ward 4",
        "Old Location",
        "Oudtshoorn",
        "Old Mutual",
        "Left Bank",
        "Sheet1",
        "Active",
        "Active and resigned",
        "Excl. deceased",
        "Not deceased",
        "New members",
        "2019",
        "Lede",
        "Exeter",
        "Olden",
        "Latest",
        "Duplicates removed",
        "Former Transkei",
        "Removed duplicates",
        "Dead Sea Branch",
        "Historical Monuments",
        "Abadala",
        "None resigned",
        "Past Street",
        "Expired Ward 3 road",
        "Transferred in",
        "Test Street",
        "Old ward 4",
        "Refused rows",
        "Geweierde rye",
        "Membership applications",
        "Members and dependants",
        "Members' voters roll",
        "Registered voters",
        "Old voting district",
        "",
    ],
)
def test_a_name_of_anything_else(name: str) -> None:
    assert not says_no_members(name)


def sheets(folder: Path, *names: str, wanted: Wanted | None = None) -> list[Sheet]:
    """What is read of a workbook in which each sheet holds another person."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, person in zip(names, (ANN, BOB), strict=False):
        sheet = book.create_sheet(name)
        sheet.append(HEADERS)
        sheet.append(person)
    book.save(folder / "members.xlsx")
    return list(read(folder / "members.xlsx", "xlsx", wanted))


def said(sheet: Sheet) -> list[str]:
    return [note.code for note in sheet.reading.notes]


def flagged(sheet: Sheet) -> list[tuple[int, str]]:
    return sheet.row_problems.rows()


def test_such_a_sheet_is_not_chosen_before_another_one(tmp_path: Path) -> None:
    [sheet] = sheets(tmp_path, "Deceased", "Ward 4")
    assert (sheet.sheet_name, said(sheet), flagged(sheet)) == (
        "Ward 4", ["place_above", "former_sheets"], [],
    )  # fmt: skip
    assert "'Deceased'" in sheet.reading.notes[-1].message


def test_all_sheets_are_those_of_members(tmp_path: Path) -> None:
    [sheet] = sheets(tmp_path, "Members", "Resigned", wanted=Wanted(sheet=ALL_SHEETS))
    assert (sheet.sheet_name, said(sheet)) == ("Members", ["former_sheets"])
    [other] = sheet.reading.sheets_not_read
    assert (other.name, other.holds_members) == ("Resigned", True)


@pytest.mark.parametrize("asked", [None, ALL_SHEETS])
def test_where_it_is_the_only_one_its_rows_are_flagged(tmp_path: Path, asked: str | None) -> None:
    [sheet] = sheets(tmp_path, "Old members", wanted=Wanted(sheet=asked))
    assert flagged(sheet) == [(2, "sheet_of_former")]


def test_who_names_the_sheet_has_decided(tmp_path: Path) -> None:
    [sheet] = sheets(tmp_path, "Members", "Deceased", wanted=Wanted(sheet="deceased"))
    assert (sheet.sheet_name, flagged(sheet), said(sheet)) == ("Deceased", [], ["more_sheets"])


def test_a_list_of_removals_reads_it_as_any_other(tmp_path: Path) -> None:
    [sheet] = sheets(tmp_path, "Deceased", "Members", wanted=Wanted(is_removal=True))
    assert (sheet.sheet_name, flagged(sheet)) == ("Deceased", [])


def test_several_such_sheets_are_named_in_the_plural(tmp_path: Path) -> None:
    path = tmp_path / "members.xlsx"
    sheets(tmp_path, "Members", "Resigned")
    book = openpyxl.load_workbook(path)
    book.copy_worksheet(book["Resigned"]).title = "Deceased"
    book.save(path)
    [sheet] = read(path, "xlsx")
    assert "2 sheets hold people who are no members, so" in sheet.reading.notes[-1].message


@pytest.mark.parametrize(
    ("name", "says_so"),
    [
        ("Deceased members 2023.xlsx", True), ("DeceasedMembers.xlsx", True),
        ("waiting_list.xlsx", True), ("non-members.csv", True), ("Oorlede lede.xlsx", True),
        ("Members excl deceased.xlsx", False), ("old.xlsx", False), ("test.csv", False),
        ("Members backup.xlsx", False), ("members-refused.xlsx", False), ("members.xlsx", False),
        ("", False),
    ],
)  # fmt: skip
def test_the_name_of_a_file(name: str, says_so: bool) -> None:
    assert file_says_no_members(name) is says_so


def test_the_files_name_counts_where_no_sheets_name_explains_it(tmp_path: Path) -> None:
    wanted = Wanted(file_name="Deceased members 2023.xlsx")
    [sheet] = sheets(tmp_path, "Sheet1", wanted=wanted)
    assert flagged(sheet) == [(2, "sheet_of_former")]
    [sheet] = sheets(tmp_path, "Active", wanted=wanted)
    assert flagged(sheet) == []
    [sheet] = sheets(tmp_path, "Members", "Deceased", wanted=wanted)
    assert (sheet.sheet_name, flagged(sheet)) == ("Members", [])
    wanted = Wanted(file_name=wanted.file_name, is_removal=True)
    [sheet] = sheets(tmp_path, "Sheet1", wanted=wanted)
    assert flagged(sheet) == []


def test_the_waiting_list_is_not_chosen_before_the_members(tmp_path: Path) -> None:
    [sheet] = sheets(tmp_path, "Waiting list", "Members")
    assert (sheet.sheet_name, said(sheet)) == ("Members", ["former_sheets"])


@pytest.mark.parametrize("asked", [None, ALL_SHEETS])
def test_a_sheet_with_such_a_title_is_not_read_beside_another_one(
    asked: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "members.xlsx"
    book = openpyxl.Workbook()
    for name, title, person in (("A", "DECEASED MEMBERS", ANN), ("B", "MEMBERS", BOB)):
        sheet = book.create_sheet(name)
        for row in ((title,), HEADERS, person):
            sheet.append(row)
    book.save(path)
    [found] = read(path, "xlsx", Wanted(sheet=asked))
    assert (found.sheet_name, said(found), flagged(found)) == ("B", ["former_sheets"], [])
    [found] = read(path, "xlsx", Wanted(sheet="A"))
    assert flagged(found) == [(3, "below_no_members")]
    del book["B"]
    book.save(path)
    [found] = read(path, "xlsx", Wanted(sheet=asked))
    assert (found.sheet_name, flagged(found)) == ("A", [(3, "below_no_members")])
