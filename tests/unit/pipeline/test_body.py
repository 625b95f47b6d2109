"""Rows of headers further below, and what is below them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rollbook.errors import SecondTableError
from rollbook.pipeline.read import ROW_NUMBER, Sheet, Wanted
from tests.files import id_number
from tests.unit.pipeline.sheets import read_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEADERS = ("ID Number", "Firstname", "Surname", "Cell")
MEMBERS = [(id_number(n), f"Ann{n}", f"Aa{n}", f"08211111{n:02}") for n in range(4)]
TURNED = [(number, surname, first, cell) for number, first, surname, cell in MEMBERS[2:]]


def rows_read(folder: Path, *rows: Sequence[str], wanted: Wanted | None = None) -> Sheet:
    path = folder / "list.csv"
    path.write_text("\n".join(",".join(row) for row in rows), "utf-8")
    return read_whole(path, "csv", wanted)


@pytest.mark.parametrize(
    "again",
    [
        ("", "Surname", "Firstname", "Cell"), ("Identity", "Surname", "Name", "Phone"),
        ("Number", "Surname", "Firstname", ""), ("", "Van", "Naam", "Selfoon"),
        ("Number", "Surname", "Name", "Signature"), ("", "Surname and Name", "Firstname", "Cell"),
        ("Passport", "Surname", "Firstname", "Cell"), ("ID Number", "Surname", "Firstname", "Cell"),
    ],
)  # fmt: skip
def test_headers_in_another_order_above_members_refuse_the_file_whatever_is_above_the_numbers(
    again: Sequence[str], tmp_path: Path
) -> None:
    with pytest.raises(SecondTableError, match="Row 4 has headers again, and other ones than"):
        rows_read(tmp_path, HEADERS, *MEMBERS[:2], again, *TURNED)


@pytest.mark.parametrize(
    "again",
    [
        ("", "Firstname", "Surname", "Cell"), ("Identity", "Name", "Surname", "Phone"),
        ("ID Number", "Firstname", "Surname", "Cell"), ("", "Voornaam", "Van", "Selfoon"),
    ],
)  # fmt: skip
def test_headers_in_the_same_order_are_left_out_whatever_is_above_the_numbers(
    again: Sequence[str], tmp_path: Path
) -> None:
    sheet = rows_read(tmp_path, HEADERS, *MEMBERS[:2], again, *MEMBERS[2:])
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 3, 5, 6]
    assert [note.code for note in sheet.reading.notes] == ["header_repeated"]


@pytest.mark.parametrize(
    "line",
    [
        ("", "Name", "Surname", "Signature"), ("Name:", "Surname:", "Date:", ""),
        ("", "Surname", "Firstname", "Cell"),
    ],
)  # fmt: skip
def test_a_line_to_sign_on_below_the_list_refuses_nothing(
    line: Sequence[str], tmp_path: Path
) -> None:
    sheet = rows_read(tmp_path, HEADERS, *MEMBERS, line, ("", "J", "Smith", ""))
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 3, 4, 5, 6, 7]


def test_a_line_to_sign_on_at_the_foot_of_each_page_refuses_nothing(tmp_path: Path) -> None:
    headers, line = ("No", "Surname", "Firstname", "ID Number"), ("Name", "Surname", "Signature")
    people = [(str(n), row[2], row[1], row[0]) for n, row in enumerate(MEMBERS)]
    sheet = rows_read(tmp_path, headers, people[0], line, headers, people[1], line)
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 3, 5, 6]
    with pytest.raises(SecondTableError, match="Row 3 has headers again"):
        rows_read(tmp_path, headers, people[0], line, people[1], headers, people[2])


@pytest.mark.parametrize(
    "row",
    [
        ("", "Vito", "Fane", "0821111111"), ("lost", "Maina", "Van", ""),
        (id_number(9), "Name", "Surname", ""), ("", "Van", "Wyk", "Cell"),
    ],
)  # fmt: skip
def test_people_whose_names_are_headers_are_no_headers(row: Sequence[str], tmp_path: Path) -> None:
    sheet = rows_read(tmp_path, HEADERS, *MEMBERS[:2], row, *MEMBERS[2:])
    assert sheet.frame[ROW_NUMBER].to_list() == [2, 3, 4, 5, 6]


def test_members_further_below_than_the_batch_of_the_other_headers_refuse_the_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "list.csv"
    people = [(id_number(n), "Ann", "Aa", "") for n in range(40)]
    filler = [("", "", "Note", "Dd") for _ in range(40)]
    rows = [HEADERS, *people, ("", "Surname", "Firstname", "Cell"), *filler, *TURNED]
    path.write_text("\n".join(",".join(row) for row in rows), "utf-8")
    with pytest.raises(SecondTableError, match="Row 42 has headers again"):
        read_whole(path, "csv", batch_rows=30)


def test_a_header_that_the_sender_named_is_one_further_below_too(tmp_path: Path) -> None:
    wanted = Wanted(columns={"Roepnaam": "firstname", "Agter": "surname"})
    headers, again = ("ID Number", "Roepnaam", "Agter"), ("", "Agter", "Roepnaam")
    people = [row[:3] for row in MEMBERS]
    with pytest.raises(SecondTableError):
        rows_read(tmp_path, headers, *people, again, *people, wanted=wanted)
