"""Columns of corrections beside the wrong values: no old value is merged without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rollbook.pipeline.columns import is_correction, map_headers
from tests.files import one_sheet

if TYPE_CHECKING:
    from tests.desk import Answer_co, Desk, Place, Sent

ANN = "8001015009087"
BEN = "9202204720083"
NAMES = ("First Name", "Surname")
THANDI = ("Thandi", "Mokoena")
OLD_CELL, NEW_CELL = "0821234567", "0831234567"


def send(place: Place[Answer_co], *rows: tuple[Any, ...]) -> Answer_co:
    return place.send(one_sheet(rows), "list.xlsx")


def said(done: Sent) -> list[tuple[int, str, str, str, str | None]]:
    """Row, column, the cell's text, the code and what was kept, of each problem."""
    return [
        (row["row_number"], one["column"], one["value"], one["code"], one["kept"])
        for row in done.rows
        for one in row["problems"] or ()
    ]


@pytest.mark.parametrize(
    "header",
    [
        "Corrected ID Number", "Correct ID", "New ID No", "ID Number (corrected)", "Regte ID",
        "Correction of ID Number", "CorrectedID", "ID Number - amended", "Nuwe ID-nommer",
        "ID Number (if different)", "ID Correct", "Inombolo kamazisi efanele",
    ],
)  # fmt: skip
def test_a_row_whose_id_number_is_corrected_is_refused(header: str, desk: Desk) -> None:
    done = send(desk, ("ID Number", header, *NAMES), (ANN, BEN, *THANDI), (ANN, ANN, *THANDI))
    assert done.by_row == {2: "invalid", 3: "valid"}
    assert said(done) == [(2, header, BEN, "id_corrected", ANN)]
    assert set(desk.members()) == {ANN}


def test_a_correction_that_says_nothing_else_is_no_problem(desk: Desk) -> None:
    cells = (None, "yes", "Same", "2024-05-01", "✓", "8001015009087 ", "800101 5009 08 7")
    head = ("ID Number", "ID Correct", *NAMES, "Surname Corrected", "Address", "Address Updated")
    home = ("Mokoena", "1 Long St", "2024-05-01")
    done = send(desk, head, *((ANN, cell, *THANDI, *home) for cell in cells))
    assert {one for one in said(done) if one[3] != "repeat_differs"} == set()
    assert desk.members()[ANN]["residential_address"] == "1 Long St"


def test_a_correction_counts_where_the_plain_cell_is_empty(desk: Desk) -> None:
    head = ("ID Number", "Corrected ID", *NAMES, "Cell", "New Cell")
    done = send(desk, head, (None, BEN, *THANDI, None, NEW_CELL))
    assert said(done) == []
    assert desk.members()[BEN]["cell_number"] == "+27831234567"


@pytest.mark.parametrize(
    ("plain", "corrected", "cells", "kept"),
    [
        ("Cell", "New Cell", (OLD_CELL, NEW_CELL), "+27821234567"),
        ("Sel", "Nuwe Sel", (OLD_CELL, NEW_CELL), "+27821234567"),
        ("Iwadi", "Iwadi entsha", ("12", "13"), "12"),
        ("Ward", "New Ward", ("12", "13"), "12"),
        ("Expiry Date", "Updated Expiry Date", ("2027-01-31", "2028-01-31"), "2027-01-31"),
        ("Address", "Current Address", ("1 Long St", "2 Short St"), "1 Long St"),
    ],
)
def test_another_correction_is_flagged(
    plain: str, corrected: str, cells: tuple[str, str], kept: str, desk: Desk
) -> None:
    done = send(desk, ("ID Number", *NAMES, plain, corrected), (ANN, *THANDI, *cells))
    assert done.by_row == {2: "valid"}
    assert said(done) == [(2, corrected, cells[1], "correction_left_out", kept)]


@pytest.mark.parametrize("surname", ["Nkosi", "Mokoena-Nkosi"])
@pytest.mark.parametrize("header", ["New Surname", "Surname (corrected)", "Surname: new"])
def test_a_new_surname_is_flagged(header: str, surname: str, desk: Desk) -> None:
    done = send(desk, ("ID Number", *NAMES, header), (ANN, *THANDI, surname))
    assert said(done) == [(2, header, surname, "correction_left_out", "Mokoena")]
    assert desk.members()[ANN]["surname"] == "Mokoena"


def test_a_new_surname_beside_whole_names_is_flagged(desk: Desk) -> None:
    head = ("ID Number", "Full Name", "New Surname")
    done = send(desk, head, (ANN, "Thandi Mokoena", "Nkosi"), (BEN, "Ben Dube", None))
    assert (2, "New Surname", "Nkosi", "correction_left_out", "Mokoena") in said(done)
    members = desk.members()
    assert [(one["firstname"], one["surname"]) for one in (members[ANN], members[BEN])] == [
        ("Thandi", "Mokoena"), ("Ben", "Dube"),
    ]  # fmt: skip


def test_a_corrected_whole_name_is_compared_with_the_names(desk: Desk) -> None:
    head = ("ID Number", *NAMES, "Correct Full Name")
    done = send(desk, head, (ANN, *THANDI, "Thandi Nkosi"), (BEN, *THANDI, "Mokoena Thandi"))
    assert said(done) == [
        (2, "Correct Full Name", "Thandi Nkosi", "correction_left_out", "Thandi / Mokoena")
    ]


@pytest.mark.parametrize("header", ["Corrected ID Number", "New ID", "ID Number (correct)"])
def test_a_correction_is_the_field_where_no_other_column_is(header: str, desk: Desk) -> None:
    done = send(desk, (header, *NAMES), (ANN, *THANDI))
    assert said(done) == []
    assert set(desk.members()) == {ANN}


def test_the_new_value_counts_beside_a_former_one(desk: Desk) -> None:
    head = ("Old ID Number", "New ID Number", *NAMES, "Old Ward", "New Ward")
    done = send(desk, head, (ANN, BEN, *THANDI, "12", "13"), (ANN, None, *THANDI, "12", None))
    assert said(done) == [
        (2, "Old ID Number", ANN, "second_column_differs", BEN),
        (2, "Old Ward", "12", "second_column_differs", "13"),
    ]
    members = desk.members()
    assert (members[BEN]["ward"], members[ANN]["ward"]) == ("13", "12")


def test_a_former_value_beside_the_plain_one_is_not_read(desk: Desk) -> None:
    done = send(desk, ("ID Number", *NAMES, "Cell", "Old Cell"), (ANN, *THANDI, None, OLD_CELL))
    assert desk.members()[ANN]["cell_number"] is None
    assert done.upload["reading"]["columns_not_read"] == ["Old Cell"]


def test_old_and_new_below_one_header(desk: Desk) -> None:
    head = ("ID Number", "ID Number", *NAMES)
    done = send(desk, head, ("Old", "New", None, None), (ANN, BEN, *THANDI))
    assert [one[3:] for one in said(done)] == [("second_column_differs", BEN)]
    assert set(desk.members()) == {BEN}


def test_old_and_new_above_the_headers(desk: Desk) -> None:
    above = ("Old", None, None, "New", None)
    head = ("ID Number", *NAMES, "ID Number", "Ward")
    done = send(desk, above, head, (ANN, *THANDI, BEN, "12"))
    assert [one[3:] for one in said(done)] == [("id_corrected", ANN)]
    assert desk.members() == {}


def test_two_columns_of_payments_say_which_was_kept(desk: Desk) -> None:
    head = ("ID Number", *NAMES, "Payment Date", "Payment Date")
    done = send(desk, head, (ANN, *THANDI, "2026-05-20", "2026-06-20"))
    assert said(done) == [
        (2, "Payment Date (2)", "2026-06-20", "second_column_differs", "2026-05-20")
    ]


@pytest.mark.parametrize(
    "header",
    [
        "New Member", "New Members", "New Member Status", "New Member Since", "Correct as at",
        "New", "Last Updated", "Date Updated", "New Ward Councillor", "Current Employer",
        "Corrected Spouse ID Number", "To be Paid", "True Copy",
    ],
)  # fmt: skip
def test_a_word_of_correction_may_mean_something_else(header: str) -> None:
    head = ("ID Number", *NAMES, "Ward", "Status", "Date Joined", header)
    assert not is_correction(header)
    assert map_headers(head).unknown == (header,)


def test_a_word_after_the_name_is_no_field_by_itself() -> None:
    # "Status Updated" is a date more often than a status.
    assert map_headers(("ID Number", *NAMES, "Status Updated")).unknown == ("Status Updated",)


def test_a_column_that_was_given_is_no_correction() -> None:
    head = ("ID Number", "Corrected ID Number", *NAMES)
    left_out = map_headers(head, {"Corrected ID Number": None})
    assert left_out.headers["id_number"] == ("ID Number",)
    chosen = map_headers(head, {"ID Number": "id_number"})
    assert chosen.headers["id_number"] == ("ID Number", "Corrected ID Number")
