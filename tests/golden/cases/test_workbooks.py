"""Workbooks that came out wrong once, end to end: members, rows, and what is said of the file."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastexcel
import openpyxl
import pytest
import xlsxwriter

from rollbook.errors import UnreadableFileError
from tests.files import id_number

if TYPE_CHECKING:
    from tests.desk import Answer_co, Desk, Place, Sent
    from tests.pipeline_run import Done, Site

FOLDER = Path(__file__).parent
NOW = dt.datetime(2026, 11, 24, 8, 0, tzinfo=dt.UTC)
#: What every workbook says of a sheet with eight members.
EIGHT = {"rows": 8, "holds_members": True}


def send(place: Place[Answer_co], name: str, **columns: Any) -> Answer_co:
    return place.send((FOLDER / name).read_bytes(), name, **columns)


def problems(done: Sent) -> list[tuple[int, str, str]]:
    return [
        (row["row_number"], problem["column"], problem["code"])
        for row in done.rows
        for problem in row["problems"] or ()
    ]


def summary(done: Done) -> dict[str, str | None]:
    return {name: value for name, value, *_ in done.sheet("Summary").iter_rows()}


@pytest.mark.parametrize("kind", ["xlsx", "xls"])
def test_a_number_is_a_date_of_the_1904_system_where_the_workbook_says_so(
    kind: str, desk: Desk
) -> None:
    send(desk, f"dates_1904.{kind}")
    [member] = desk.members().values()
    assert member["date_joined"] == dt.date(2024, 6, 19)


def test_a_hidden_sheet_is_not_chosen_by_itself_and_is_named(site: Site) -> None:
    done = send(site, "hidden_sheet_first.xlsx")
    assert done.outcomes["inserted"] == 8
    assert "7404271120088" in site.members()
    assert "7304221110082" not in site.members()
    assert done.upload["reading"]["sheets_not_read"] == [
        {"name": "Archive", "is_hidden": True, **EIGHT}
    ]
    said = summary(done)["Sheets that were not read"]
    assert said == "Archive (8 rows, hidden, holds members)"


def test_a_hidden_sheet_is_read_where_it_is_named(desk: Desk) -> None:
    done = send(desk, "hidden_sheet_first.xlsx", sheet="archive ")
    assert "7304221110082" in desk.members()
    assert done.upload["reading"]["sheets_not_read"] == [
        {"name": "Members", "is_hidden": False, **EIGHT}
    ]


def test_a_second_sheet_with_members_is_named(desk: Desk) -> None:
    done = send(desk, "two_member_sheets.xlsx")
    assert done.verdicts["valid"] == len(desk.members()) == 8
    assert "7004081080082" in desk.members()
    assert done.upload["reading"]["sheets_not_read"] == [
        {"name": "Notes", "rows": 2, "is_hidden": False, "holds_members": False},
        {"name": "Ward 7", "is_hidden": False, **EIGHT},
        {"name": "Old members 2019", "is_hidden": True, **EIGHT},
    ]

    place, note = done.upload["reading"]["notes"]
    assert (place["code"], note["code"]) == ("place_above", "more_sheets")
    assert "'Ward 7'" in note["message"]
    assert "Old members" not in note["message"]


def test_all_visible_sheets_with_members_are_read_as_one_table(site: Site) -> None:
    done = send(site, "two_member_sheets.xlsx", sheet="*")
    assert done.outcomes["inserted"] == len(site.members()) == 16
    assert [sheet["name"] for sheet in done.upload["reading"]["sheets_not_read"]] == [
        "Notes", "Old members 2019",
    ]  # fmt: skip
    # Each sheet's name is a ward's, and none of them has a column of wards.
    codes = [note["code"] for note in done.upload["reading"]["notes"]]
    assert codes == ["place_above", "place_above"]
    rows = done.sheet("All Uploaded Rows").select("Row", "Sheet", "Sheet row", "ID Number").rows()
    assert rows[0] == ("2", "Ward 4", "2", "7004081080082")
    assert rows[8] == ("11", "Ward 7", "2", "7104131090089")
    assert summary(done)["Sheet"] == "Ward 4, Ward 7"


def test_the_value_of_merged_cells_counts_for_all_their_rows(desk: Desk) -> None:
    assert send(desk, "merged_province.xlsx").verdicts["valid"] == 3
    assert {member["province"] for member in desk.members().values()} == {"GP"}


def test_rows_that_a_filter_hides_are_read_and_counted(site: Site) -> None:
    done = send(site, "hidden_rows.xlsx")
    assert done.outcomes["inserted"] == 6
    assert done.upload["reading"]["hidden_rows"] == 2
    assert summary(done)["Hidden rows, which were read"] == "2"


def test_a_formula_that_was_never_calculated_is_named_and_not_called_missing(site: Site) -> None:
    done = send(site, "formula_without_result.xlsx")
    assert done.by_row == {2: "invalid"}
    assert problems(done) == [(2, "ID Number", "formula_not_calculated")]
    row = done.sheet("Invalid IDs").row(0, named=True)
    assert "a formula that was never calculated" in row["Problems"]
    assert not site.members()


def test_two_rows_of_headers_are_read_and_a_row_of_totals_is_no_person(site: Site) -> None:
    done = send(site, "two_tier_header.xlsx")
    assert done.outcomes["inserted"] == done.upload["rows_total"] == 12
    members = site.members().values()
    assert all(member["residential_address"] for member in members)
    assert sum(member["cell_number"] is not None for member in members) >= 10
    [note] = done.upload["reading"]["notes"]
    assert (note["code"], note["rows"]) == ("total_rows", 1)
    assert "Row 19" in note["message"]
    assert note["message"] in summary(done)


@pytest.mark.parametrize("sheet", ["Members", "members", " MEMBERS  "])
def test_the_name_of_a_sheet_is_found_without_spaces_at_its_ends(sheet: str, desk: Desk) -> None:
    assert send(desk, "sheet_name_trailing_space.xlsx", sheet=sheet).verdicts["valid"] == 1


def test_a_part_that_nobody_reads_makes_no_workbook_damaged(desk: Desk) -> None:
    assert send(desk, "empty_thumbnail.xlsx").verdicts["valid"] == 2


@pytest.mark.parametrize("name", ["plain.ods", "plain.xlsm"])
def test_the_same_twelve_members_are_in_every_format(name: str, desk: Desk) -> None:
    done = send(desk, name)
    assert done.verdicts["valid"] == done.upload["rows_total"] == 12
    member = desk.members()["7505021130084"]
    assert (member["firstname"], member["surname"]) == ("Anele", "Sithole")
    assert member["cell_number"] == "+27821234567"
    assert member["date_joined"] == dt.date(2021, 3, 12)


@pytest.mark.parametrize("name", ["write_protected.xlsx", "write_protected_2007.xlsx"])
def test_a_workbook_that_is_only_write_protected_is_opened(name: str, desk: Desk) -> None:
    done = send(desk, name)
    assert done.verdicts["valid"] == 12
    assert "7505021130084" in desk.members()


@pytest.mark.parametrize("name", ["password.xlsx", "password_2007.xlsx"])
def test_a_workbook_with_a_password_of_its_own_is_named_as_such(name: str, desk: Desk) -> None:
    with pytest.raises(UnreadableFileError, match="has a password"):
        send(desk, name)


def test_five_wrong_rows_are_to_be_fixed_and_the_others_merged(site: Site) -> None:
    done = send(site, "five_wrong.xlsx")
    assert [each for each in problems(done) if each[1] != "Ward"] == [
        (3, "ID Number", "id_check_digit"),
        (4, "Cell", "phone_unclear"), (5, "ID Number", "id_length"),
        (6, "Date Joined", "date_unclear"), (7, "ID Number", "id_characters"),
        (9, "Surname", "surname_missing"), (11, "First Name", "firstname_missing"),
    ]  # fmt: skip
    # The ward's code isn't one of the municipality's.
    assert {each[2] for each in problems(done) if each[1] == "Ward"} == {"ward_in_other_place"}
    assert (done.outcomes["inserted"], done.outcomes["invalid"]) == (7, 5)
    members = site.members()
    assert members["6806111062083"]["cell_number"] is None
    assert members["6808241064088"]["date_joined"] is None
    # The refused rows come back whole, with their names, to be fixed.
    assert done.refused is not None
    sent_back = fastexcel.read_excel(done.refused).load_sheet(0, dtypes="string").to_polars()
    assert sent_back.select("ID Number", "First Name", "Surname", "Cell", "Province").rows() == [
        ("6805056061085", "Sipho", "Naidoo", "0825550001", "Gauteng"),
        ("680718606308", "Thabo", "Nkosi", "0825550003", "Gauteng"),
        ("8o09306065085", "Pieter", "Petersen", "0825550005", "Gauteng"),
        ("6812136067081", "Johan", None, "0825550007", "Gauteng"),
        ("6902256069080", None, "Khumalo", "0825550009", "Gauteng"),
    ]


HEADERS = ["ID Number", "Firstname", "Surname", "Cell"]


def several(**sheets: list[list[Any]]) -> bytes:
    """A workbook with these sheets."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


@pytest.mark.parametrize("sheet", [None, "*"])
@pytest.mark.parametrize("cells", [["Bob", "Bb"], ["Bob", "Bb", "0821111111"]])
def test_people_in_a_sheet_without_headers_are_noted(
    sheet: str | None, cells: list[str], desk: Desk
) -> None:
    content = several(A=[HEADERS, [id_number(0), "Ann", "Aa"]], B=[[id_number(1), *cells]])
    done = desk.send(content, "list.xlsx", sheet=sheet)
    assert len(desk.members()) == 1
    [note] = done.upload["reading"]["notes"]
    assert note["code"] == "sheets_without_headers"
    assert "1 sheet with ID numbers was not read" in note["message"]
    assert "'B'" in note["message"]


def test_a_sheet_whose_names_have_no_header_is_noted_where_all_are_read(desk: Desk) -> None:
    rows = [["ID Number", "", "Cell"], [id_number(1), "Bob Bb", "0821111111"]]
    content = several(A=[HEADERS, [id_number(0), "Ann", "Aa"]], B=rows)
    done = desk.send(content, "list.xlsx", sheet="*")
    assert [note["code"] for note in done.upload["reading"]["notes"]] == ["sheets_without_headers"]


@pytest.mark.parametrize(
    "rows", [[["Total", 12]], [[id_number(1), "yes"]], [["By", "Bob", "0821111111"]], [[]]]
)
def test_a_sheet_of_something_else_is_not_noted(rows: list[list[Any]], desk: Desk) -> None:
    content = several(A=[HEADERS, [id_number(0), "Ann", "Aa"]], B=rows)
    assert desk.send(content, "list.xlsx").upload["reading"]["notes"] == []


def test_the_people_of_a_sheet_for_the_deceased_are_no_members_unsaid(desk: Desk) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "Deceased 2024"
    book.active.append(["ID Number", "Firstname", "Surname"])
    book.active.append([id_number(80_000), "Ann", "Aa"])
    target = io.BytesIO()
    book.save(target)
    done = desk.send(target.getvalue(), "members.xlsx")
    assert done.upload["warnings"] == {"sheet_of_former": 1}
    assert done.upload["rows_with_warnings"] == 1


def test_the_people_of_a_file_or_a_title_of_the_resigned_are_no_members_unsaid(desk: Desk) -> None:
    rows = f"ID Number,Firstname,Surname\n{id_number(80_000)},Ann,Aa\n"
    done = desk.send(rows.encode(), "Deceased members 2023.csv")
    assert done.upload["warnings"] == {"sheet_of_former": 1}
    done = desk.send(f"RESIGNED MEMBERS 2024\n{rows}".encode(), "members.csv")
    assert done.upload["warnings"] == {"below_no_members": 1}
    assert done.upload["rows_with_warnings"] == 1


@pytest.mark.parametrize("are_shared", [True, False])
def test_the_part_of_a_text_that_is_struck_through_is_left_out(
    are_shared: bool, desk: Desk
) -> None:
    """A clerk strikes the old number through and writes the new one beside it."""
    target = io.BytesIO()
    # Without all rows in memory, texts are in their cells instead of a table.
    options = {"constant_memory": not are_shared}
    with xlsxwriter.Workbook(target, options) as book:
        struck = book.add_format({"font_strikeout": True})
        sheet = book.add_worksheet("Members")
        sheet.write_row(0, 0, ["ID Number", "Firstname", "Surname", "Cell Number"])
        sheet.write_row(1, 0, [id_number(90_000), "Ann"])
        sheet.write_rich_string(1, 2, struck, "Smith ", "Jones")
        sheet.write_rich_string(1, 3, struck, "0824441111", " 0835552222")
        sheet.write_row(2, 0, [id_number(100_000), "Bob", "Bee"])
        # All of it is struck through: that is not what is meant by it.
        sheet.write_rich_string(2, 3, struck, "082444", struck, "3333")
    done = desk.send(target.getvalue(), "members.xlsx")
    members = desk.members()
    ann, bob = members[id_number(90_000)], members[id_number(100_000)]
    assert (ann["surname"], ann["cell_number"]) == ("Jones", "+27835552222")
    assert bob["cell_number"] == "+27824443333"
    assert [note["code"] for note in done.upload["reading"]["notes"]] == ["struck_texts"]


@pytest.mark.parametrize("slow", [False, True])
def test_the_raised_digits_of_a_footnote_are_no_digits_of_the_value(slow: bool, desk: Desk) -> None:
    target = io.BytesIO()
    with xlsxwriter.Workbook(target, {"in_memory": True}) as book:
        raised = book.add_format({"font_script": 1})
        struck = book.add_format({"font_strikeout": True})
        sheet = book.add_worksheet("Members")
        sheet.write_row(0, 0, ["ID Number", "Firstname", "Surname", "Amount", "Ward", "Address"])
        sheet.write_row(1, 0, [id_number(1), "Ann"])
        sheet.write_rich_string(1, 2, "Smith", raised, "2")
        sheet.write_rich_string(1, 3, "R50", raised, "1")
        sheet.write_rich_string(1, 4, "12", raised, "2")
        sheet.write_rich_string(1, 5, "1", raised, "st", " Avenue 3")
        if slow:
            # Such a file is read by another reader.
            sheet.write_rich_string(1, 6, struck, "old", "new")
    done = desk.send(target.getvalue(), "members.xlsx")
    member = desk.members()[id_number(1)]
    assert (str(member["membership_amount"]), member["ward"]) == ("50.00", "12\u00b2")
    assert member["residential_address"] == "1st Avenue 3"
    said = {one["code"] for one in done.rows[0]["problems"]}
    assert said == {"name_doubtful", "amount_remark", "ward_implausible"}
