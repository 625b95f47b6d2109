"""Tables that lie otherwise than rows of members below one row of headers, end to end."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
from openpyxl.comments import Comment
from openpyxl.styles import Font

from rollbook.errors import (
    NoIdColumnError,
    RowsAboveHeadersError,
    SecondTableError,
    ShiftedColumnError,
)
from rollbook.model import EVERYWHERE, Scope
from rollbook.pipeline.read import BATCH_ROWS
from tests.files import csv_file, id_number, member, one_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.desk import Answer_co, Desk, Place, Sent
    from tests.pipeline_run import Site

NOW = dt.datetime(2026, 11, 28, 8, 0, tzinfo=dt.UTC)
ANN, BOB, CAT, DAN = map(id_number, range(4))
HEADERS = ("ID Number", "Firstname", "Surname", "Cell")


def send(
    place: Place[Answer_co], *rows: Sequence[str], merged: Sequence[str] = (), **columns: Any
) -> Answer_co:
    """Send the rows as the only sheet of a workbook."""
    return place.send(one_sheet(rows, merged), "list.xlsx", **columns)


def read(desk: Desk, *rows: Sequence[str]) -> dict[str, str]:
    """The notes on the only sheet of a workbook with these rows, as it is read."""
    return desk.notes(one_sheet(rows), "list.xlsx")


def notes(done: Sent) -> dict[str, str]:
    return {note["code"]: note["message"] for note in done.upload["reading"]["notes"]}


@pytest.mark.parametrize("above", [1, 2])
def test_members_above_the_headers_refuse_the_file(above: int, desk: Desk) -> None:
    rows = [(ANN, "Ann", "Aa", "0821111111"), (BOB, "Bob", "Bb", ""), (CAT, "Cat", "Cc", "")]
    with pytest.raises(RowsAboveHeadersError, match=f"which are in row {above + 1},"):
        send(desk, *rows[:above], HEADERS, *rows[above:])
    with pytest.raises(RowsAboveHeadersError):
        send(desk, *rows, HEADERS)


def test_a_table_with_other_columns_above_the_headers_refuses_the_file(desk: Desk) -> None:
    first = [("Surname", "Number"), ("Bb", BOB), ("Cc", CAT), ()]
    with pytest.raises(RowsAboveHeadersError, match="Rows 2, 3 above the headers"):
        send(desk, *first, HEADERS, (ANN, "Ann", "Aa", ""))


def test_one_number_in_a_title_is_no_member(desk: Desk) -> None:
    send(desk, ("Coordinator", BOB), HEADERS, (ANN, "Ann", "Aa", ""))
    assert set(desk.members()) == {ANN}


@pytest.mark.parametrize("file_type", ["xlsx", "csv"])
def test_a_contact_with_a_number_in_the_header_row_hides_no_header(
    file_type: str, desk: Desk
) -> None:
    rows = (*HEADERS, f"Questions: Bob <bob@example.org>, {BOB}"), (ANN, "Ann", "Aa", "", "")
    if file_type == "xlsx":
        send(desk, *rows)
    else:
        lines = (",".join(f'"{cell}"' for cell in row) for row in rows)
        desk.send("\n".join(lines).encode(), "list.csv")
    assert set(desk.members()) == {ANN}


def test_a_form_with_its_values_beside_their_names_is_no_header_row(desk: Desk) -> None:
    with pytest.raises(NoIdColumnError):
        send(desk, *(("ID Number", n, "First Name", "Ann", "Surname", "Aa") for n in (ANN, BOB)))


def test_two_tables_side_by_side_refuse_the_file(desk: Desk) -> None:
    with pytest.raises(SecondTableError, match="column F is 'ID Number' again, as column A is"):
        send(
            desk,
            (*HEADERS, "", *HEADERS),
            (ANN, "Ann", "Aa", "", "", BOB, "Bob", "Bb", "0822222222"),
        )
    # The sender can say that the second one isn't to be read.
    left_out = dict.fromkeys([f"{header} (2)" for header in HEADERS])
    send(
        desk,
        (*HEADERS, "", *HEADERS),
        (ANN, "Ann", "Aa", "", "", BOB, "Bob", "Bb", "0822222222"),
        columns=left_out,
    )
    assert desk.members()[ANN]["cell_number"] is None


def test_columns_that_come_twice_with_equal_values_are_one_table(desk: Desk) -> None:
    headers = (*HEADERS, "", "ID Number", "Surname")
    rows = [(ANN, "Ann", "Aa", "", "", ANN, "AA "), (BOB, "Bob", "Bb", "", "", BOB, "")]
    done = send(desk, headers, *rows)
    assert set(desk.members()) == {ANN, BOB}
    assert not [row for row in done.rows if row["problems"]]
    # One row with another person is enough, however far below it is.
    rows += [(id_number(n), "Ann", "Aa", "", "", id_number(n), "Aa") for n in range(4, 100)]
    with pytest.raises(SecondTableError, match="column F is 'ID Number' again"):
        send(desk, headers, *rows, (CAT, "Cat", "Cc", "", "", DAN, "Cc"))
    with pytest.raises(SecondTableError, match="column F is 'ID Number' again"):
        send(desk, headers, *rows, ("", "", "", "", "", DAN, "Dd"))


def test_columns_beyond_an_empty_one_are_read_and_noted(desk: Desk) -> None:
    done = send(
        desk,
        (*HEADERS, "", "Province", "Members"),
        (ANN, "Ann", "Aa", "", "", "Gauteng", "12"),
    )
    assert desk.members()[ANN]["province"] == "GP"
    assert notes(done)["columns_apart"].startswith("The column 'Province' is set apart")
    done = send(desk, (*HEADERS, "Province"), (ANN, "Ann", "Aa", "", "Gauteng"))
    assert "columns_apart" not in notes(done)


@pytest.mark.parametrize("colon", ["", ":"])
def test_a_table_on_its_side_is_refused_with_what_to_do(colon: str, desk: Desk) -> None:
    rows = zip(HEADERS, (ANN, "Ann", "Aa", ""), (BOB, "Bob", "Bb", ""), strict=True)
    with pytest.raises(NoIdColumnError, match="Transpose"):
        send(desk, *((header + colon, *cells) for header, *cells in rows))


@pytest.mark.parametrize("title", ["Spouse", "Next of Kin", "Details of Recruiter"])
def test_a_group_of_columns_about_another_person_is_not_the_members(title: str, desk: Desk) -> None:
    done = send(
        desk,
        ("Member", "", "", "", title, "", "", ""),
        (*HEADERS, *HEADERS),
        (ANN, "Ann", "Aa", "", BOB, "Bob", "Bb", "0822222222"),
        merged=["A1:D1", "E1:H1"],
    )
    [member] = desk.members().values()
    assert (member["id_number"], member["surname"], member["cell_number"]) == (ANN, "Aa", None)
    assert done.upload["reading"]["columns_not_read"] == [f"{title} {name}" for name in HEADERS]


@pytest.mark.parametrize("header", ["Cell", "Contact Number"])
def test_a_phone_after_the_next_of_kin_is_not_the_members(header: str, desk: Desk) -> None:
    done = send(
        desk,
        (*HEADERS, "Next of kin", "Relationship", header, "Ward"),
        (ANN, "Ann", "Aa", "", "Bob", "Brother", "0822222222", "12"),
    )
    member = desk.members()[ANN]
    assert (member["cell_number"], member["ward"]) == (None, "12")
    other = "Cell (2)" if header == "Cell" else header
    assert done.upload["reading"]["columns_not_read"] == ["Next of kin", "Relationship", other]


def test_the_only_phone_is_noted_where_it_follows_another_person(desk: Desk) -> None:
    done = send(
        desk,
        (*HEADERS[:3], "Recruited by", "Cell"),
        (ANN, "Ann", "Aa", "Bob", "0822222222"),
    )
    assert desk.members()[ANN]["cell_number"] == "+27822222222"
    assert "'Cell' after 'Recruited by'" in notes(done)["column_of_other"]


def test_what_a_member_needs_is_the_members_also_after_who_captured_it(desk: Desk) -> None:
    headers = ("Captured by", "Reference", *HEADERS, "Ward", "Phone")
    done = send(desk, headers, ("Zed", "R1", ANN, "Ann", "Aa", "0821111111", "12", "0832222222"))
    member = desk.members()[ANN]
    assert (member["surname"], member["cell_number"]) == ("Aa", "+27821111111")
    assert done.upload["reading"]["columns_not_read"] == ["Captured by", "Reference"]
    assert not notes(done)


OTHER_BEFORE = ("Next of Kin", "Cell Number", "ID Number", "First Name", "Surname")


def test_the_only_phone_between_the_next_of_kin_and_the_member_is_noted(desk: Desk) -> None:
    done = send(desk, OTHER_BEFORE, ("Bob", "0822222222", ANN, "Ann", "Aa"))
    assert desk.members()[ANN]["cell_number"] == "+27822222222"
    assert "'Cell Number' after 'Next of Kin'" in notes(done)["column_of_other"]


def test_the_members_phone_after_the_names_is_read_and_not_that_of_the_next_of_kin(
    desk: Desk,
) -> None:
    done = send(
        desk,
        (*OTHER_BEFORE, "Cell Number"),
        ("Bob", "0822222222", ANN, "Ann", "Aa", "0833333333"),
    )
    assert desk.members()[ANN]["cell_number"] == "+27833333333"
    assert done.upload["reading"]["columns_not_read"] == ["Next of Kin", "Cell Number"]


def test_the_surname_of_the_next_of_kin_is_not_the_members_in_a_run_with_both(desk: Desk) -> None:
    headers = ("Next of Kin", "Surname", "Cell", "ID Number", "First Name", "Surname", "Phone")
    send(desk, headers, ("Bob", "Bb", "0822222222", ANN, "Ann", "Aa", "0833333333"))
    member = desk.members()[ANN]
    assert (member["surname"], member["cell_number"]) == ("Aa", "+27833333333")


@pytest.mark.parametrize(
    ("own", "others"),
    [
        (("First Name", "Surname"), ("Full name",)),
        (("Full name",), ("First Name", "Surname")),
    ],
)
def test_names_after_the_next_of_kin_are_not_the_members_however_they_are_divided(
    own: tuple[str, ...], others: tuple[str, ...], desk: Desk
) -> None:
    cells = {"First Name": "Ann", "Surname": "Aa", "Full name": "Ann Aa"}
    theirs = {"First Name": "Bob", "Surname": "Bb", "Full name": "Bob Bb"}
    done = send(
        desk,
        ("ID Number", *own, "Next of kin", *others),
        (ANN, *(cells[name] for name in own), "Brother", *(theirs[name] for name in others)),
    )
    member = desk.members()[ANN]
    assert (member["firstname"], member["surname"]) == ("Ann", "Aa")
    assert done.upload["reading"]["columns_not_read"] == ["Next of kin", *others]


@pytest.mark.parametrize(
    ("title_rows", "merged"),
    [
        ([("Member", "", "", "", "Next of kin")], ["A1:D1", "E1:F1"]),
        ([("", "", "", "", "Next of kin")], ["E1:F1"]),
        ([("", "", "", "", "Next of kin")], []),
        ([("Member", "", "", "", "Next of kin"), ("Personal", "", "", "", "Details")], []),
        ([("Member", "", "", "", "Spouse"), ("",)], ["E1:F1"]),
    ],
)
def test_columns_below_a_title_of_another_person_are_not_the_members_however_far_above(
    title_rows: list[Sequence[str]], merged: list[str], desk: Desk
) -> None:
    cells = (ANN, "Ann", "Aa", "0821111111", "Bob", "0822222222")
    done = send(desk, *title_rows, (*HEADERS, "Name", "Cell"), cells, merged=merged)
    assert desk.members()[ANN]["cell_number"] == "+27821111111"
    title = title_rows[0][4]
    unread = done.upload["reading"]["columns_not_read"]
    assert unread == [f"{title} Name", f"{title} Cell"]
    assert "second_column_differs" not in done.upload["warnings"]


@pytest.mark.parametrize("merged", [["D1:E1"], []])
def test_the_only_phone_below_a_title_of_another_person_is_never_read_without_a_note(
    merged: list[str], desk: Desk
) -> None:
    titles = ("", "", "", "Next of kin")
    cells = (ANN, "Ann", "Aa", "Bob", "0822222222")
    done = send(desk, titles, (*HEADERS[:3], "Name", "Cell"), cells, merged=merged)
    # A title in one cell may be that of its own column only.
    assert desk.members()[ANN]["cell_number"] == (None if merged else "+27822222222")
    assert ("column_of_other" in notes(done)) is not bool(merged)


@pytest.mark.parametrize("line", ["Members and their spouses", "Captured by: J Smith"])
def test_a_line_above_all_columns_makes_none_of_them_another_persons(line: str, desk: Desk) -> None:
    done = send(desk, (line,), HEADERS, (ANN, "Ann", "Aa", "0821111111"))
    assert desk.members()[ANN]["cell_number"] == "+27821111111"
    assert done.upload["reading"]["columns_not_read"] == []


SEVEN = ("ID Number", "First Name", "Surname", "Cell Number", "Email", "Address", "Ward")
OF_ANN = (ANN, "Ann", "Aa", "0821111111", "a@example.org", "1 Long St", "12")


@pytest.mark.parametrize(
    ("line", "doubtful"),
    [
        (("", "", "", "Compiled by J Smith", "", "", ""), None),
        (("", "", "", "", "Printed by admin", "", ""), None),
        (("", "", "", "Captured by Ann Botha", "", "", ""), None),
        (("Branch X", "", "", "Compiled by J Smith", "", "", ""), None),
        (
            ("", "", "", "Volunteer Database", "", "", ""),
            "'Cell Number' below 'Volunteer Database'",
        ),
        (("Branch X", "", "", "Secretary", "", "", ""), "'Cell Number' below 'Secretary'"),
    ],
)
def test_a_line_in_one_cell_above_the_columns_takes_none_from_the_member(
    line: tuple[str, ...], doubtful: str | None, desk: Desk
) -> None:
    done = send(desk, line, SEVEN, OF_ANN)
    member = desk.members()[ANN]
    said = (member["cell_number"], member["email"], member["residential_address"], member["ward"])
    assert said == ("+27821111111", "a@example.org", "1 Long St", "12")
    assert done.upload["reading"]["columns_not_read"] == []
    found = notes(done).get("column_of_other")
    assert (doubtful in found) if doubtful and found else found is doubtful


@pytest.mark.parametrize("title", ["Registered by", "Captured by Agent", "Next of kin"])
@pytest.mark.parametrize("merged", [["E1:G1"], []])
def test_a_title_of_another_person_takes_the_columns_that_the_member_has_already(
    title: str, merged: list[str], desk: Desk
) -> None:
    headers = (*HEADERS, "Full Name", "Relationship", "Cell")
    cells = (ANN, "Ann", "Aa", "0821234567", "Bob Bb", "Brother", "0837654321")
    done = send(desk, ("", "", "", "", title, "", ""), headers, cells, merged=merged)
    member = desk.members()[ANN]
    assert (member["firstname"], member["cell_number"]) == ("Ann", "+27821234567")
    unread = done.upload["reading"]["columns_not_read"]
    assert {f"{title} Full Name", f"{title} Cell"} <= set(unread)
    assert not done.upload["rows_with_warnings"]


@pytest.mark.parametrize("merged", [["A1:A2", "B1:B2", "C1:C2", "D1:F1"], []])
@pytest.mark.parametrize(
    ("title", "below", "read"),
    [
        ("Contact", ("Spouse Cell", "Cell", "E-mail"), {"cell_number": "+27832222222"}),
        ("Contact", ("Cell", "Shoe size", "E-mail"), {"cell_number": "+27821111111"}),
        ("Address", ("Street", "Town", "Email"), {"residential_address": "0821111111"}),
    ],
)
def test_a_title_of_several_columns_may_be_a_header_of_its_own(
    merged: list[str], title: str, below: tuple[str, ...], read: dict[str, str], desk: Desk
) -> None:
    send(
        desk,
        (*HEADERS[:3], title, "", ""),
        ("", "", "", *below),
        (ANN, "Ann", "Aa", "0821111111", "0832222222", "a@example.org"),
        merged=merged,
    )
    member = desk.members()[ANN]
    assert {name: member[name] for name in read} == read
    assert member["email"] == "a@example.org"


def test_first_name_and_surname_below_the_title_name_are_no_whole_names(desk: Desk) -> None:
    rows = [("ID Number", "Name", ""), ("", "First Name", "Surname"), (ANN, "Ann", "Aa")]
    done = send(desk, *rows, merged=["A1:A2", "B1:C1"])
    member = desk.members()[ANN]
    assert (member["firstname"], member["surname"]) == ("Ann", "Aa")
    assert not done.upload["rows_with_warnings"]


@pytest.mark.parametrize(
    "who",
    [
        "Registered by", "Introduced by", "Submitted by", "Verified by", "Volunteer", "Employer",
        "Fieldworker", "Block leader", "Street Leader", "Ingevul deur", "Agent", "Referee",
        "Assistant", "Signatory", "Household head", "NOK", "N.O.K. Name", "Isihlobo", "Motswadi",
    ],
)  # fmt: skip
def test_a_phone_after_any_other_person_is_noted(who: str, desk: Desk) -> None:
    rows = (*HEADERS[:3], who, "Cell"), (ANN, "Ann", "Aa", "Bob", "0822222222")
    assert f"'Cell' after '{who}'" in read(desk, *rows)["column_of_other"]


@pytest.mark.parametrize(
    ("header", "contacts", "is_noted"),
    [
        ("Tel", ("011 123 4567", "011 123 4567"), True),
        ("Address", ("1 Factory Rd", "1 Factory Rd"), True),
        # Two people of one company have their own, and a mobile number is somebody's own.
        ("Address", ("1 Long St", "2 Short St"), False),
        ("Phone", ("0821234567", "0831234567"), False),
        ("Home Address", ("1 Long St", "1 Long St"), False),
    ],
)
@pytest.mark.parametrize("owner", ["Company", "Name of School"])
def test_contacts_after_a_company_are_noted_unless_they_are_the_members_own(
    owner: str, header: str, contacts: tuple[str, str], is_noted: bool, desk: Desk
) -> None:
    people = [
        (ANN, "Ann", "Aa", "Phumlani", contacts[0]),
        (BOB, "Bob", "Bb", "Phumlani", contacts[1]),
    ]
    found = read(desk, (*HEADERS[:3], owner, header), *people).get("column_of_other", "")
    assert (f"'{header}' after '{owner}'" in found) is is_noted


@pytest.mark.parametrize(
    ("headers", "owner"),
    [
        (("Passport Number", "Country of Issue", "Expiry Date"), "Passport Number"),
        (("Licence No", "Expiry Date"), "Licence No"),
        (("ID Card", "Date Issued", "Valid Until"), "ID Card"),
        (("Passport Number", "Ward", "Expiry Date"), None),
        (("Passport Number", "Passport Expiry", "Ward", "Expiry Date"), None),
        (("Expiry Date", "Passport Number"), None),
    ],
)
def test_an_expiry_date_after_a_document_is_noted(
    headers: tuple[str, ...], owner: str | None, desk: Desk
) -> None:
    last = ["2031-05-06" if one in {"Expiry Date", "Valid Until"} else "" for one in headers]
    found = read(desk, (*HEADERS, *headers), (ANN, "Ann", "Aa", "0821111111", *last))
    said = found.get("expiry_of_document")
    assert said is None if owner is None else f"follows '{owner}'" in (said or "")


def test_an_expiry_date_below_the_title_of_a_document_is_noted(desk: Desk) -> None:
    titles = ("", "ID Document", "", "", "Membership", "")
    headers = ("Firstname", "ID Number", "Expiry Date", "Surname", "Date Joined", "Amount")
    found = read(desk, titles, headers, ("Ann", ANN, "2031-05-06", "Aa", "2024-01-01", "20"))
    assert "follows 'ID Document'" in found["expiry_of_document"]
    headers = ("Firstname", "ID Number", "Amount", "Surname", "Expiry Date", "Ward")
    found = read(desk, titles, headers, ("Ann", ANN, "20", "Aa", "2028-01-01", ""))
    assert "expiry_of_document" not in found


@pytest.mark.parametrize("header", ["Standby", "Nearby school", "Agency", "Deurnommer", "By"])
def test_words_that_only_resemble_another_person_are_none(header: str, desk: Desk) -> None:
    rows = (*HEADERS[:3], header, "Cell"), (ANN, "Ann", "Aa", "Bob", "0822222222")
    assert "column_of_other" not in read(desk, *rows)


@pytest.mark.parametrize(
    ("above", "said"),
    [
        ([("Membership list of Ward 12",)], "'Membership list of Ward 12'"),
        (
            [("Municipality:", "Emfuleni"), ("Ward No:", "12")],
            "'Municipality: Emfuleni', 'Ward No: 12'",
        ),
        ([("Province", "Gauteng")], "'Province: Gauteng'"),
        ([("LIMPOPO",)], "'LIMPOPO'"),
        ([("Emfuleni Local Municipality",)], "'Emfuleni Local Municipality'"),
        ([("WYK NR. 7",), ("",)], "'WYK NR. 7'"),
    ],
)
def test_a_place_above_the_list_is_noted_where_no_column_has_it(
    above: list[tuple[str, ...]], said: str, desk: Desk
) -> None:
    assert f"says {said} above" in read(desk, *above, HEADERS, PEOPLE[0])["place_above"]


@pytest.mark.parametrize(
    ("title", "scope", "ward", "is_noted"),
    [
        ("Gauteng Province", Scope("LP"), "12", True),
        # The office's own place is that of its rows, and a ward's code tells the place.
        ("Gauteng Province", Scope("GP"), "12", False),
        ("Emfuleni Municipality", Scope("GP", "Emfuleni"), "12", False),
        ("Gauteng", EVERYWHERE, "79800012", False),
        ("George", EVERYWHERE, "12", False),
        ("EC", EVERYWHERE, "12", False),
    ],
)
def test_a_title_that_names_another_place_than_the_offices_is_noted(
    title: str, scope: Scope, ward: str, is_noted: bool, desk: Desk
) -> None:
    rows = (title,), (*HEADERS, "Ward"), (*PEOPLE[0], ward)
    assert ("place_above" in notes(send(desk, *rows, scope=scope))) is is_noted


@pytest.mark.parametrize(
    "above",
    [("Members who moved forward 12 times",), ("Updated by", "Joe"), ("Ward", "Place", "x")],
)
def test_another_line_above_the_list_is_no_place(above: tuple[str, ...], desk: Desk) -> None:
    assert not read(desk, above, HEADERS, PEOPLE[0])


def test_a_ward_above_a_list_with_wards_is_not_noted(desk: Desk) -> None:
    assert not read(desk, ("Ward 12",), (*HEADERS, "Ward"), (*PEOPLE[0], "12"))


PEOPLE = [
    (id_number(n), first, surname, f"08211111{n:02}")
    for n, (first, surname) in enumerate(
        [("Ann", "Aa"), ("Bob", "Bb"), ("Cat", "Cc"), ("Dan", "Dd"), ("Eve", "Ee"), ("Fay", "Ff")]
    )
]
NOBODY = ("", "", "", "")


def moved(columns: Sequence[int], by: int, start: int = 0) -> list[tuple[str, ...]]:
    """The rows of the people, with some columns moved down, or up where ``by`` is negative."""
    rows = [list(row) for row in (*[NOBODY] * -by, *PEOPLE, *[NOBODY] * by)]
    for column in columns:
        cells = [row[column] for row in PEOPLE]
        cells[start:start] = [""] * abs(by) if by > 0 else []
        for row, cell in zip(rows, [*cells, *[""] * abs(by)], strict=False):
            row[column] = cell
    return [tuple(row) for row in rows]


@pytest.mark.parametrize(
    ("columns", "by", "lacks"),
    [
        ([0], 1, "Row 2 has no 'ID Number', and row 8 nothing else"),
        ([0], -1, "Row 8 has no 'ID Number', and row 2 nothing else"),
        ([1, 2], 1, "Row 8 has no 'ID Number', and row 2 nothing else"),
        ([1, 2], 2, "Row 8 has no 'ID Number', and row 2 nothing else"),
        ([0, 3], 1, "Row 2 has no 'ID Number', and row 8 nothing else"),
    ],
)
@pytest.mark.parametrize("below", [[], [("Signed: J Smith",), ("", "", "", "60")]])
def test_columns_that_lie_beside_other_rows_refuse_the_file(
    columns: list[int], by: int, lacks: str, below: list[tuple[str, ...]], desk: Desk
) -> None:
    with pytest.raises(ShiftedColumnError, match=lacks):
        send(desk, HEADERS, *moved(columns, by), *below)


@pytest.mark.parametrize(
    ("columns", "by", "said"),
    [
        ([2], 1, "Row 2 has no 'Surname', and row 8 nothing else"),
        ([1], -1, "Row 8 has no 'Firstname', and row 2 nothing else"),
    ],
)
def test_a_column_of_names_that_lies_beside_other_rows_is_noted(
    columns: list[int], by: int, said: str, desk: Desk
) -> None:
    assert notes(send(desk, HEADERS, *moved(columns, by)))["columns_shifted"].startswith(said)
    assert desk.members()


@pytest.mark.parametrize("footer", ["Chairperson", "Compiled by J Smith", "Sekretaris:"])
@pytest.mark.parametrize("column", [1, 2])
def test_a_line_below_the_names_is_no_moved_column(column: int, footer: str, desk: Desk) -> None:
    first = list(PEOPLE[0])
    first[column] = ""
    line = ["", "", "", ""]
    line[column] = footer
    done = send(desk, HEADERS, first, *PEOPLE[1:], line)
    assert done.verdicts["valid"] == len(PEOPLE) - 1
    assert "columns_shifted" not in notes(done)


def test_the_note_on_a_moved_column_names_it_in_the_persons_language(site: Site) -> None:
    done = send(site, HEADERS, *moved([2], 1), language="af")
    assert notes(done)["columns_shifted"].startswith("Ry 2 het geen 'Van' nie, en ry 8")


def test_columns_that_lie_beside_other_rows_are_found_across_batches(site: Site) -> None:
    rows = moved([0], 1)
    book = [HEADERS, *rows[:4], *((id_number(n), f"A{n:03}x", "Aa", "") for n in range(50, 120))]
    with pytest.raises(ShiftedColumnError, match="and row 78 nothing else"):
        send(site, *book, *rows[4:], batch_rows=30)
    assert not site.members()


def test_a_column_that_was_moved_from_the_middle_on_is_noted(desk: Desk) -> None:
    done = send(desk, HEADERS, *moved([0], 1, start=3))
    assert notes(done)["columns_shifted"].startswith("Row 5 has no 'ID Number', and row 8")
    assert done.verdicts["invalid"] == 2


def test_a_phone_below_the_last_member_is_noted(desk: Desk) -> None:
    done = send(desk, HEADERS, *moved([3], 1))
    assert "The last row, 8, has 'Cell Number'" in notes(done)["contacts_shifted"]


@pytest.mark.parametrize(
    "rows",
    [
        [*PEOPLE, NOBODY],
        [("", *PEOPLE[0][1:]), *PEOPLE[1:]],
        [*PEOPLE[:-1], (PEOPLE[-1][0], "", "", "")],
        [*PEOPLE[:2], ("", *PEOPLE[2][1:]), (PEOPLE[3][0], "", "", ""), *PEOPLE[4:]],
        [("", *PEOPLE[0][1:]), (PEOPLE[1][0], "", "", "")],
        [*PEOPLE, ("Signed: J Smith", "", "", "")],
        [(*PEOPLE[0][:3], ""), *PEOPLE[1:], ("", "", "", "60")],
    ],
)
def test_rows_that_lack_something_are_no_moved_column(
    rows: list[tuple[str, ...]], desk: Desk
) -> None:
    assert not {"columns_shifted", "contacts_shifted"} & set(notes(send(desk, HEADERS, *rows)))


def test_rows_that_are_struck_through_and_comments_are_noted(desk: Desk) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (HEADERS, (ANN, "Ann", "Aa", None), (BOB, "Bob", "Bb", None)):
        sheet.append(row)
    sheet["A1"].font = sheet["B3"].font = Font(strike=True)
    sheet["C2"].comment = Comment("resigned", "secretary")
    target = io.BytesIO()
    book.save(target)
    done = desk.send(target.getvalue(), "list.xlsx")
    said = notes(done)
    assert set(desk.members()) == {ANN, BOB}
    assert "struck through in row 3." in said["struck_rows"]
    assert said["comments_not_read"].endswith("does not read: C2.")
    # A workbook without marks says nothing.
    assert not notes(send(desk, HEADERS, (ANN, "Ann", "Aa", "")))


def phones_of(desk: Desk, *phones: str, batch_rows: int = BATCH_ROWS) -> list[str]:
    """The notes on shared phone numbers of a file with these."""
    rows = [member(number, **{"Cell Number": phone}) for number, phone in enumerate(phones)]
    done = desk.send(csv_file(rows), "list.csv", batch_rows=batch_rows)
    found = done.upload["reading"]["notes"]
    return [note["message"] for note in found if note["code"] == "phone_shared"]


def test_a_phone_number_of_many_rows_is_noted(desk: Desk) -> None:
    office, school = ["082 123 4567", "+27821234567"] * 6, ["0835550101"] * 10
    own = [f"08411122{number:02}" for number in range(20)]
    # Over batches, in any spelling; the numbers of nine rows and empty cells aren't noted.
    said = phones_of(desk, *school, *own, *office, *["0725550123"] * 9, *[""] * 30, batch_rows=7)
    assert said == [
        f"{people}. It may be an office's and not the members' own. It was kept."
        for people in (
            "12 people have one phone number (rows 32, 33, 34, 35, 36 and 7 more)",
            "10 people have one phone number (rows 2, 3, 4, 5, 6 and 5 more)",
        )
    ]
    assert not phones_of(desk, *own)


@pytest.mark.parametrize(
    ("above", "beside", "below", "said"),
    [
        ([("Red = deceased",), ()], "", [], "Red = deceased"),
        ([("Members marked in yellow have not paid",)], "", [], "Members marked in yellow"),
        ([("Rooi: oorlede",)], "", [], "Rooi: oorlede"),
        ([], "Grey - resigned", [], "Grey - resigned"),
        ([], "", [(), ("Red", "Deceased")], "Red Deceased"),
        ([("RED LOCATION BRANCH",), ("Green Party of Soweto",)], "Blue", [], None),
    ],
)
def test_a_legend_of_colours_is_noted(
    above: list[tuple[str, ...]], beside: str, below: list[tuple[str, ...]], said: str | None,
    desk: Desk,
) -> None:  # fmt: skip
    headers = ("ID Number", "Firstname", "Surname", "", "Key")
    people = [(ANN, "Ann", "Aa", "", beside), (BOB, "Bob", "Bb", "", "")]
    done = send(desk, *above, headers, *people, *below)
    found = notes(done).get("colours_not_read", "")
    assert (f"colours mean ('{said}" in found) if said else not found
    assert set(desk.members()) == {ANN, BOB}
    assert not done.upload["warnings"]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("A = active, D = deceased",), "A = active, D = deceased"),
        (("Key: R - resigned",), "Key: R - resigned"),
        (("DEC = oorlede",), "DEC = oorlede"),
        (("A = active, P = paid up",), None),
        (("Ward 5 - Lapsed and paid up",), None),
    ],
)
def test_a_legend_of_codes_is_noted(texts: tuple[str, ...], said: str | None, desk: Desk) -> None:
    for rows in ([texts, HEADERS, (ANN, "Ann", "Aa")], [HEADERS, (ANN, "Ann", "Aa"), (), texts]):
        found = notes(send(desk, *rows)).get("codes_not_read", "")
        assert (f"codes mean ('{said}')" in found) if said else not found


@pytest.mark.parametrize("meaning", ["Deceased", "Paid up"])
def test_a_legend_of_codes_on_a_sheet_of_its_own_is_noted(meaning: str, desk: Desk) -> None:
    book = openpyxl.Workbook()
    book.active.append((*HEADERS[:3], "Code"))
    book.active.append((ANN, "Ann", "Aa", "2"))
    legend = book.create_sheet("Key")
    for row in (("Code", "Meaning"), (1, "Active"), (2, meaning)):
        legend.append(row)
    target = io.BytesIO()
    book.save(target)
    found = notes(desk.send(target.getvalue(), "list.xlsx"))
    assert ("codes_not_read" in found) is (meaning == "Deceased")


def test_an_email_address_of_many_rows_is_noted(desk: Desk) -> None:
    emails = ["Branch@Example.org"] * 6 + ["branch@example.org"] * 5 + ["own@example.org"] * 9
    rows = [{**member(number), "Email": email} for number, email in enumerate(emails)]
    done = desk.send(csv_file(rows, headers=[*rows[0]]), "list.csv", batch_rows=7)
    assert notes(done)["email_shared"] == (
        "11 people have one e-mail address (rows 2, 3, 4, 5, 6 and 6 more). It may be an office's, "
        "or that of the person who filled in their forms. It was kept."
    )


def test_a_phone_number_in_many_rows_of_one_person_is_not_noted(desk: Desk) -> None:
    months = [f"2025-{month:02}-01" for month in range(1, 13)]
    rows = [member(1, **{"Cell Number": "0821234567", "Last Payment": day}) for day in months]
    done = desk.send(csv_file(rows, headers=[*rows[0]]), "list.csv", batch_rows=5)
    assert done.upload["reading"]["notes"] == []


def test_of_many_shared_phone_numbers_the_largest_have_notes_and_the_rest_one(desk: Desk) -> None:
    phones = [f"07255501{n:02}" for n in range(8) for _ in range(10 + n)]
    rows = [member(number, **{"Cell Number": phone}) for number, phone in enumerate(phones)]
    found = desk.send(csv_file(rows), "list.csv").upload["reading"]["notes"]
    said = [note["message"] for note in found if note["code"] == "phone_shared"]
    assert [text.partition(" have")[0] for text in said] == [
        f"{people} people" for people in (17, 16, 15, 14, 13)
    ]
    [rest] = [note for note in found if note["code"] == "phones_shared"]
    assert rest["rows"] == 12 + 11 + 10
    assert rest["message"].startswith("3 more phone numbers are each those of 10 people or more.")


@pytest.mark.parametrize("title", ["Pastor", "Shop Steward", "Umfundisi", "Captured"])
@pytest.mark.parametrize("name", ["Name", "Full Name"])
def test_contacts_in_a_group_with_a_name_of_its_own_are_doubted(
    title: str, name: str, desk: Desk
) -> None:
    titles, headers = ("", "", "", title, ""), (*HEADERS[:3], name, "Cell")
    row = (ANN, "Ann", "Aa", "Joe Soap", "0821111111")
    said = f"The column 'Cell' below '{title}' was read as the member's own"
    for merged in ((), ("D1:E1",)):
        done = send(desk, titles, headers, row, merged=merged)
        assert notes(done)["column_of_other"].startswith(said)


@pytest.mark.parametrize(
    ("titles", "headers", "row"),
    [
        (("", "Members 2026"), HEADERS, (ANN, "Ann", "Aa", "0821111111")),
        (
            ("", "", "Details", ""), ("ID Number", "Surname", "First Names", "Cell"),
            (ANN, "Aa", "Ann", "0821111111"),
        ),
        (
            ("", "", "", "Details", ""), (*HEADERS[:3], "Known As", "Cell"),
            (ANN, "Ann", "Aa", "Annie", "0821111111"),
        ),
    ],
)  # fmt: skip
def test_contacts_in_a_group_with_the_members_names_are_not(
    titles: Sequence[str], headers: Sequence[str], row: Sequence[str], desk: Desk
) -> None:
    assert "column_of_other" not in notes(send(desk, titles, headers, row))


@pytest.mark.parametrize("title", ["Employer", "Place of birth", "Previous branch", "Postal"])
def test_a_place_in_a_group_about_another_place_is_not_where_the_member_is(
    title: str, desk: Desk
) -> None:
    titles = ("", "", "", title, "", "")
    headers = (*HEADERS[:3], "Province", "Branch", "Address")
    send(desk, titles, headers, (ANN, "Ann", "Aa", "Limpopo", "12", "1 Oak St"), merged=["D1:F1"])
    fields = ("province", "ward", "residential_address")
    assert [desk.members()[ANN][field] for field in fields] == [None] * 3


@pytest.mark.parametrize("header", ["Ward: 12", "Ward - 12"])
def test_a_ward_in_the_header_of_running_numbers_is_no_column_of_wards(
    header: str, desk: Desk
) -> None:
    done = send(desk, (header, *HEADERS), ("1", ANN, "Ann", "Aa"), ("2", BOB, "Bob", "Bb"))
    assert desk.members()[BOB]["ward"] is None
    assert done.upload["reading"]["columns_not_read"] == [header]
