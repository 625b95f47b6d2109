"""Columns that count up, as a cell that was dragged down does, are noted."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from tests.files import id_number, one_sheet

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.desk import Desk

#: A header with values that count up, and how many of them are noted at least.
UP: dict[str, tuple[Callable[[int], object], int]] = {
    "Cell": (lambda n: f"08212345{60 + n}", 4),
    "Landline": (lambda n: f"01112345{60 + n}", 4),
    "Email": (lambda n: f"{n + 1}thandi@example.org", 6),
    "Amount": (lambda n: 20 + n, 6),
    "Ward": (lambda n: f"Ward {12 + n}", 8),
    "Date Joined": (lambda n: dt.date(2024, 2, 27) + dt.timedelta(days=n), 6),
    "Payment Date": (lambda n: dt.date(2024 + n // 12, n % 12 + 1, 5), 6),
    "Expiry Date": (lambda n: dt.date(2020 + n, 5, 6), 6),
    "Address": (lambda n: f"12 Long Street, Soweto {1804 + n}", 4),
}


def counted(desk: Desk, header: str, values: list[object], **how: Any) -> str | None:
    """What the note on a file with these values says."""
    rows = [(id_number(n), "Thandi", "Mokoena", value) for n, value in enumerate(values)]
    headers = ("ID Number", "Firstname", "Surname", header)
    done = desk.send(one_sheet([headers, *rows]), "list.xlsx", **how)
    notes = {note["code"]: note["message"] for note in done.upload["reading"]["notes"]}
    return notes.get("column_counts_up")


@pytest.mark.parametrize("header", UP)
def test_a_column_that_counts_up_is_noted_from_so_many_rows(header: str, desk: Desk) -> None:
    value, least = UP[header]
    said = counted(desk, header, [value(n) for n in range(least)])
    assert said is not None
    assert f"'{header}' counts up by one in each row from row 2 to row {least + 1}," in said
    assert counted(desk, header, [value(n) for n in range(least - 1)]) is None
    assert counted(desk, header, [value(2 * n) for n in range(least)]) is None


def test_a_run_in_a_sorted_list_is_none_but_of_phones(desk: Desk) -> None:
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=n) for n in range(6)]
    sparse = [dt.date(2025, 1, 1) + dt.timedelta(days=3 * n) for n in range(7)]
    assert counted(desk, "Date Joined", [*days, *sparse]) is None
    phones = [f"08212345{60 + n}" for n in range(4)]
    others = [f"082{7654321 - 11 * n}" for n in range(20)]
    said = counted(desk, "Cell", [*others, *phones, *others[:3]])
    assert said is not None
    assert "from row 22 to row 25," in said


def test_rows_count_up_from_batch_to_batch(desk: Desk) -> None:
    said = counted(desk, "Cell", [f"08212345{60 + n}" for n in range(8)], batch_rows=3)
    assert said is not None
    assert "from row 2 to row 9," in said


def test_a_street_and_the_payments_of_one_person_may_count_up(desk: Desk) -> None:
    assert counted(desk, "Address", [f"{12 + n} Long Street" for n in range(20)]) is None
    assert counted(desk, "Address", [f"Stand {1204 + n}" for n in range(20)]) is None
    rows = [(id_number(1), "Ann", "Aa", f"2025-{month:02}-01") for month in range(1, 13)]
    done = desk.send(
        one_sheet([("ID Number", "Firstname", "Surname", "Payment Date"), *rows]), "paid.xlsx"
    )
    assert "column_counts_up" not in {note["code"] for note in done.upload["reading"]["notes"]}
