"""Number formats, end to end: what the sheet shows is what becomes of the member."""

from __future__ import annotations

import datetime as dt
import io
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
import xlwt

if TYPE_CHECKING:
    from tests.desk import Answer_co, Desk, Place, Sent

NOW = dt.datetime(2026, 11, 24, 8, 0, tzinfo=dt.UTC)
HEADERS = ("ID Number", "Firstname", "Surname", "Cell Number", "Date Joined", "Membership Amount")
#: Born on 1 January 2001: a spreadsheet program has no zeros before the number itself.
ZEROS, NUMBER = "0101015000082", 101015000082
SERIAL = 45_352  # 1 March 2024


def send(place: Place[Answer_co], kind: str, values: dict[str, tuple[Any, str]]) -> Answer_co:
    """Send one member, whose cells have these values and formats."""
    plain = {"Firstname": ("Ann", "General"), "Surname": ("Aa", "General")}
    cells = {"ID Number": (NUMBER, "0000000000000"), **plain, **values}
    target = io.BytesIO()
    if kind == "xlsx":
        book = openpyxl.Workbook()
        assert book.active is not None
        for column, header in enumerate(HEADERS, start=1):
            book.active.cell(1, column, header)
            if header in cells:
                value, code = cells[header]
                book.active.cell(2, column, value).number_format = code
        book.save(target)
    else:
        old = xlwt.Workbook()
        sheet = old.add_sheet("Members")
        for column, header in enumerate(HEADERS):
            sheet.write(0, column, header)
            if header in cells:
                value, code = cells[header]
                style = xlwt.XFStyle()
                style.num_format_str = code
                sheet.write(1, column, value, style)
        old.save(target)
    return place.send(target.getvalue(), f"members.{kind}")


def codes(done: Sent) -> list[tuple[str, str, str | None]]:
    return [
        (problem["column"], problem["code"], problem.get("kept"))
        for row in done.rows
        for problem in row["problems"] or ()
    ]


@pytest.mark.parametrize("kind", ["xlsx", "xls"])
def test_digits_that_the_format_shows_belong_to_the_value(kind: str, desk: Desk) -> None:
    done = send(desk, kind, {"Cell Number": (821234567, '"27"000000000')})
    [member] = desk.members().values()
    assert (member["id_number"], member["cell_number"]) == (ZEROS, "+27821234567")
    # Nothing was restored: the sheet shows the zero.
    assert codes(done) == []


@pytest.mark.parametrize("kind", ["xlsx", "xls"])
def test_a_month_that_the_sheet_shows_is_no_day(kind: str, desk: Desk) -> None:
    done = send(desk, kind, {"Date Joined": (SERIAL, "mmm-yy")})
    [member] = desk.members().values()
    assert member["date_joined"] == dt.date(2024, 3, 1)
    assert codes(done) == [("Date Joined", "date_shown_in_part", "2024-03-01")]


@pytest.mark.parametrize("kind", ["xlsx", "xls"])
def test_a_number_that_the_format_hides_is_not_taken_silently(kind: str, desk: Desk) -> None:
    done = send(desk, kind, {"Membership Amount": (120, ";;;")})
    [member] = desk.members().values()
    assert member["membership_amount"] is None
    assert codes(done) == [("Membership Amount", "hidden_left_out", None)]
    done = send(desk, kind, {"ID Number": (NUMBER, ";;;")})
    assert codes(done) == [("ID Number", "hidden_value", None)]


@pytest.mark.parametrize("kind", ["xlsx", "xls"])
def test_a_percentage_is_no_amount(kind: str, desk: Desk) -> None:
    done = send(desk, kind, {"Membership Amount": (0.5, "0%")})
    [member] = desk.members().values()
    assert member["membership_amount"] is None
    assert codes(done) == [("Membership Amount", "amount_unclear", None)]
