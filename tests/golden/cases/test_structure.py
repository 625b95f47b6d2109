"""Lists with rows that are no members, and with names or places in the wrong rows, end to end."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest

from rollbook.errors import SecondTableError
from tests.files import id_number, one_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.desk import Answer_co, Desk, Place, Sent
    from tests.pipeline_run import Site

NOW = dt.datetime(2026, 11, 29, 8, 0, tzinfo=dt.UTC)
HEADERS = ("ID Number", "Firstname", "Surname", "Cell")
NAMES = [
    ("Thandi", "Nkosi"), ("Sipho", "Dlamini"), ("Lerato", "Mokoena"), ("Jan", "Botha"),
    ("Zanele", "Khumalo"), ("Pieter", "Venter"),
]  # fmt: skip
PEOPLE = [
    (id_number(n), first, surname, f"08255500{n:02}") for n, (first, surname) in enumerate(NAMES)
]
NUMBERS = [number for number, *_ in PEOPLE]


def send(
    place: Place[Answer_co], *rows: Sequence[str], merged: Sequence[str] = (), **columns: Any
) -> Answer_co:
    """Send the rows as the only sheet of a workbook."""
    return place.send(one_sheet(rows, merged), "list.xlsx", **columns)


def notes(done: Sent) -> dict[str, str]:
    return {note["code"]: note["message"] for note in done.upload["reading"]["notes"]}


def codes(done: Sent) -> list[list[str]]:
    """The codes of each row."""
    return [[problem["code"] for problem in row["problems"] or ()] for row in done.rows]


def wards(place: Place[Any]) -> list[str | None]:
    stored = place.members()
    return [stored[number]["ward"] if number in stored else None for number in NUMBERS]


SECTIONS = (HEADERS, ("WARD 12",), *PEOPLE[:3], ("WARD 13",), *PEOPLE[3:])


@pytest.mark.parametrize("merged", [["A2:D2", "A6:D6"], []])
def test_a_ward_above_its_members_is_theirs_and_in_the_report(
    merged: list[str], site: Site
) -> None:
    done = send(site, *SECTIONS, merged=merged)
    assert done.outcomes["inserted"] == done.upload["rows_total"] == len(PEOPLE)
    assert wards(site) == ["12"] * 3 + ["13"] * 3
    assert "row 2 'WARD 12', 6 'WARD 13'" in notes(done)["place_lines"]
    reported = done.sheet("All Uploaded Rows")
    assert reported["Ward (line above)"].to_list() == ["12"] * 3 + ["13"] * 3
    used = {one["header"]: one["field"] for one in done.upload["reading"]["columns_used"]}
    assert used["Ward (line above)"] == "ward"


def test_a_ward_above_its_members_can_be_left_out(desk: Desk) -> None:
    done = send(desk, *SECTIONS, columns={"Ward (line above)": None})
    assert done.verdicts["valid"] == len(PEOPLE)
    assert wards(desk) == [None] * 6
    assert done.upload["reading"]["columns_not_read"] == ["Ward (line above)"]


def test_a_refused_row_comes_back_with_the_ward_above_it(site: Site) -> None:
    broken = ("8001015009086", *PEOPLE[0][1:])
    done = send(site, HEADERS, ("WARD 12",), broken, *PEOPLE[1:3])
    assert done.refused is not None
    site.send(_with_first_number(done.refused, NUMBERS[0]), "refused.xlsx")
    assert wards(site)[:3] == ["12"] * 3


def _with_first_number(path: Path, number: str) -> bytes:
    book = openpyxl.load_workbook(path)
    sheet = book.active
    assert sheet is not None
    [column] = [cell.column for cell in sheet[1] if cell.value == "ID Number"]
    sheet.cell(row=2, column=column, value=number)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


@pytest.mark.parametrize("line", ["RESIGNED", "Non-members", "Waiting list (not paid)", "OORLEDE"])
def test_people_below_a_line_such_as_resigned_are_flagged_and_the_line_is_named(
    line: str, desk: Desk
) -> None:
    done = send(desk, HEADERS, *PEOPLE[:3], (line,), *PEOPLE[3:5], ("WARD 3",), PEOPLE[5])
    assert done.verdicts["valid"] == done.upload["rows_total"] == len(PEOPLE)
    assert f"row 5 '{line}'" in notes(done)["lines_left_out"]
    flagged = [row["row_number"] for row in done.rows if row["problems"]]
    assert (flagged, done.upload["warnings"]) == ([6, 7], {"below_no_members": 2})
    done = send(desk, HEADERS, *PEOPLE[:3], ("NEW MEMBERS 2026",), *PEOPLE[3:])
    assert not done.upload["warnings"]


def test_a_table_without_numbers_above_the_headers_is_not_read_and_noted(desk: Desk) -> None:
    committee = [("COMMITTEE",), ("Position", "Name", "Surname"), ("Chair", "Ann", "Aa"), ()]
    done = send(desk, *committee, HEADERS, *PEOPLE)
    assert done.verdicts["valid"] == len(PEOPLE)
    assert notes(done)["table_above"].startswith("Row 3 above the headers is below other headers")
    # The upper one of two rows of headers is no table.
    groups = ("ID Number", "Name", "Surname", "Contact")
    assert "table_above" not in notes(send(desk, groups, ("", "", "", "Cell"), *PEOPLE))
    form = [("Name of branch:", "Soweto"), ("Date:", "2026-01-01", "Page", "1")]
    assert "table_above" not in notes(send(desk, *form, HEADERS, *PEOPLE))


def test_a_title_that_is_merged_across_the_columns_of_names_is_no_member(desk: Desk) -> None:
    people = [(first, surname, number) for number, first, surname, _ in PEOPLE]
    headers = ("Name", "Surname", "ID Number")
    done = send(desk, headers, *people[:3], ("SOWETO",), *people[3:], merged=["A5:C5"])
    assert done.verdicts["valid"] == done.upload["rows_total"] == len(PEOPLE)
    assert "row 5 'SOWETO'" in notes(done)["lines_left_out"]


@pytest.mark.parametrize(("column", "name"), [(0, "ID Number"), (1, "Firstname"), (2, "Surname")])
def test_a_column_from_which_a_cell_was_deleted_is_noted(
    column: int, name: str, desk: Desk
) -> None:
    rows = [list(row) for row in PEOPLE]
    cells = [row[column] for row in PEOPLE]
    del cells[2]
    for row, cell in zip(rows, [*cells, ""], strict=True):
        row[column] = cell
    done = send(desk, HEADERS, *rows)
    assert done.verdicts["invalid"] == 1
    said = notes(done)["column_moved_up"]
    assert said.startswith(f"The last row, 7, has no '{name}', and all others have.")
    # Further up, it is the row's own.
    first, *others = PEOPLE
    unknown = ["N/A" if at == column else cell for at, cell in enumerate(PEOPLE[-1])]
    for lacking in ([first, ("", *others[0][1:]), *others[1:]], PEOPLE, [*PEOPLE[:-1], unknown]):
        assert "column_moved_up" not in notes(send(desk, HEADERS, *lacking))


def test_genders_that_are_not_those_of_the_numbers_are_noted_for_the_file(desk: Desk) -> None:
    # Each of these numbers is a woman's.
    people = [(id_number(n), "Ab", "Cd", "") for n in range(30)]
    rows = [(*row, "F" if n % 2 else "M") for n, row in enumerate(people)]
    done = send(desk, (*HEADERS, "Gender"), *rows)
    assert notes(done)["numbers_apart"].startswith("In 15 of 30 rows the gender in column 'Gender'")
    rows = [(*row, "M" if n < 5 else "F") for n, row in enumerate(people)]
    assert "numbers_apart" not in notes(send(desk, (*HEADERS, "Gender"), *rows))


def test_titles_that_are_not_those_of_the_numbers_are_noted_for_the_file(desk: Desk) -> None:
    # Each of these numbers is a woman's, and "Dr" says nothing.
    for men, found in ((10, True), (5, False)):
        titles = ["Mr."] * men + ["Mrs"] * 10 + ["Dr"] * 10
        rows = [(id_number(n), "Ab", "Cd", "", title) for n, title in enumerate(titles)]
        said = notes(send(desk, (*HEADERS, "Title"), *rows)).get("numbers_apart", "")
        assert said.startswith("In 10 of 20 rows the gender in column 'Title'") is found


@pytest.mark.parametrize("batch_rows", [7, 100])
@pytest.mark.parametrize(("column", "least"), [(1, 8), (2, 12)])
def test_a_name_that_was_dragged_down_is_noted(
    column: int, least: int, batch_rows: int, desk: Desk
) -> None:
    def said(people: int, *, is_sorted: bool = False) -> str | None:
        rows = [list(PEOPLE[n % 6]) for n in range(20)]
        for row in rows[20 - people :]:
            row[column] = "Zulu"
        rows = sorted(rows, key=lambda row: row[column]) if is_sorted else rows
        numbered = [(id_number(n), *row[1:3], "") for n, row in enumerate(rows)]
        return notes(send(desk, HEADERS, *numbered, batch_rows=batch_rows)).get("name_filled_down")

    found = said(least)
    assert found is not None
    assert found.startswith(f"From row {22 - least} to row 21 the column '{HEADERS[column]}'")
    assert f"for {least} people" in found
    assert said(least - 1) is None
    assert said(least, is_sorted=True) is None
    # Some lists are of one family.
    assert said(20) is None


@pytest.mark.parametrize("row", [("Ward 1 Count", "", "", "2"), ("Soweto Total", "", "", "")])
def test_a_subtotal_as_excel_names_it_is_no_member(row: Sequence[str], desk: Desk) -> None:
    done = send(desk, HEADERS, *PEOPLE[:2], row, *PEOPLE[2:])
    assert done.verdicts["valid"] == done.upload["rows_total"] == len(PEOPLE)
    assert "Row 4 adds up the list" in notes(done)["total_rows"]


def test_a_ward_in_the_first_row_of_each_group_is_noted(desk: Desk) -> None:
    rows = [(*row, "12" if n == 0 else "13" if n == 3 else "") for n, row in enumerate(PEOPLE)]
    done = send(desk, (*HEADERS, "Ward"), *rows)
    assert wards(desk) == ["12", None, None, "13", None, None]
    assert "first row of each group: 2 groups, and 4 rows" in notes(done)["first_of_group"]
    # Merged cells say what the empty ones don't.
    done = send(desk, (*HEADERS, "Ward"), *rows, merged=["E2:E4", "E5:E7"])
    assert wards(desk) == ["12"] * 3 + ["13"] * 3
    assert "first_of_group" not in notes(done)


@pytest.mark.parametrize("above", ["", "Number", "Identity"])
def test_names_below_headers_in_another_order_are_never_stored_the_wrong_way_round(
    above: str, desk: Desk
) -> None:
    turned = [(number, surname, first, cell) for number, first, surname, cell in PEOPLE[3:]]
    with pytest.raises(SecondTableError, match="Row 5 has headers again"):
        send(desk, HEADERS, *PEOPLE[:3], (above, "Surname", "Firstname", "Cell"), *turned)


def test_columns_of_names_that_are_the_wrong_way_round_are_noted(desk: Desk) -> None:
    done = send(desk, ("ID Number", "Name", "Surname"), *[(n, s, f) for n, f, s, _ in PEOPLE])
    assert "the columns 'Name' and 'Surname' are probably" in notes(done)["names_turned"]


def test_codes_of_wards_among_voting_districts_are_flagged(desk: Desk) -> None:
    headers = (*HEADERS[:3], "Voting District")
    districts = ["79800012", "79800013", "32960001"]
    rows = [(*row[:3], cell) for row, cell in zip(PEOPLE, districts, strict=False)]
    done = send(desk, headers, *rows)
    assert done.upload["warnings"] == {"voting_district_is_ward": 2}
    # One that has the form by chance is none.
    others = ["32960001", "32960002", "10101001"]
    rows = [(*row[:3], cell) for row, cell in zip(PEOPLE, others, strict=False)]
    assert not send(desk, headers, *rows).upload["warnings"]


#: The doubt about a name, by first name and surname.
DOUBTS: dict[tuple[str, str], str | None] = {
    ("Siph0", "Nkosi"): "name_doubtful",
    ("NKOSl", "Thandi"): "name_doubtful",
    ("Thandi", "DIamini"): "name_doubtful",
    ("John", "Doe"): "name_doubtful",
    ("MOKOENA T", "Thandi"): "names_swapped",
    ("Thandi M", "Mokoena"): None,
    ("McIntyre", "MacIver"): None,
    ("SIpho", "Zulu"): None,
    ("Thandi", "O'Neil"): None,
}


def test_names_with_a_wrong_sign_and_names_that_fill_a_form_are_flagged(desk: Desk) -> None:
    rows = [(id_number(n), *names, "") for n, names in enumerate(DOUBTS)]
    done = send(desk, HEADERS, *rows)
    assert dict(zip(DOUBTS, codes(done), strict=True)) == {
        names: [code] if code else [] for names, code in DOUBTS.items()
    }
    assert [(m["firstname"], m["surname"]) for m in desk.members().values()] == list(DOUBTS)


def test_more_signs_that_mean_as_above_are_left_out_and_flagged(desk: Desk) -> None:
    signs = [",,", "↓", "^", '" " "', "''''", "´´", "ibid", "soos hierbo"]
    rows = [(id_number(n), "Ann", "Aa", text) for n, text in enumerate(["1 Long St", *signs])]
    done = send(desk, (*HEADERS[:3], "Address"), *rows)
    assert dict(zip(signs, codes(done)[1:], strict=True)) == {
        sign: ["ditto_left_out"] for sign in signs
    }
    kept = [member["residential_address"] for member in desk.members().values()]
    assert kept == ["1 Long St", *[None] * len(signs)]


def test_other_texts_with_such_signs_are_no_ditto_marks(desk: Desk) -> None:
    texts = ["1 Long St ^ 2", "'", '5" Pipe Rd', "Flat 3,, Soweto"]
    rows = [(id_number(n), "Ann", "Aa", text) for n, text in enumerate(texts)]
    done = send(desk, (*HEADERS[:3], "Address"), *rows)
    assert dict(zip(texts, codes(done), strict=True)) == {text: [] for text in texts}
