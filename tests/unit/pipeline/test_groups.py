"""Columns with a value only in the first row of each group."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from rollbook.pipeline.groups import Groups
from rollbook.pipeline.normalise import normalise
from tests.files import id_number
from tests.unit.pipeline.sheets import sheet_of

if TYPE_CHECKING:
    from collections.abc import Sequence

TODAY = dt.date(2026, 11, 29)


def said(header: str, cells: Sequence[str], surnames: Sequence[str] = (), pieces: int = 1) -> str:
    """The sentence about a column; empty where there is none."""
    names = surnames or ["Aa"] * len(cells)
    rows = [
        {"ID Number": id_number(n), "Firstname": "Ann", "Surname": name, header: cell or None}
        for n, (name, cell) in enumerate(zip(names, cells, strict=True))
    ]
    groups = Groups()
    size = -(-len(rows) // pieces)
    for start in range(0, len(rows), size):
        groups.add(normalise(sheet_of(rows[start : start + size]), TODAY))
    return " ".join(note.message for note in groups.notes())


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("header", ["Ward", "Municipality", "Voting Station", "Region", "VD"])
def test_a_place_in_the_first_row_of_each_group_is_noted(header: str, pieces: int) -> None:
    found = said(header, ["1", "", "", "2", "", "3", "", "", ""], pieces=pieces)
    assert f"The column '{header}' seems to be filled only in the first row of each" in found
    assert "3 groups, and 6 rows that have none in the file" in found


@pytest.mark.parametrize(
    "cells",
    [
        ["1", "1", "1", "2", "2", "3", "3"],  # in each row
        ["1", "", "", "", ""],  # one value only
        ["", "1", "", "", "2", "", ""],  # the first rows belong to none
        ["1", "", "1", "", "2", "", "1", "", "2", ""],  # for some members
        ["1", "2", "3", "", "4", "5"],  # hardly a gap
        ["", "", "", ""],
    ],
)
def test_other_columns_of_places_are_not(cells: Sequence[str]) -> None:
    assert not said("Ward", cells)


def test_an_address_is_that_of_a_family_only_with_its_surname() -> None:
    cells = ["1 Long St", "", "", "2 Short St", ""]
    assert "2 groups, and 3 rows that have none in the file" in said(
        "Address", cells, ["A", "A", "A", "B", "B"]
    )
    # Across the border of two batches as well.
    assert said("Address", cells, ["A", "A", "A", "B", "B"], pieces=5)
    assert not said("Address", cells, ["A", "B", "C", "D", "E"])


def test_a_long_column_without_gaps_is_forgotten() -> None:
    groups = Groups()
    rows = [
        {"ID Number": id_number(n), "Firstname": "A", "Surname": "B", "Ward": str(n % 97 + 1)}
        for n in range(2_000)
    ]
    groups.add(normalise(sheet_of(rows), TODAY))
    empty = [{**row, "Ward": None} for row in rows for _ in range(2)]
    groups.add(normalise(sheet_of(empty), TODAY))
    assert not list(groups.notes())


def test_a_status_of_the_first_row_of_a_group_is_noted_where_it_says_that_people_left() -> None:
    cells = ["Active", "", "", "Resigned", "", ""]
    assert "2 groups, and 4 rows that have none in the file" in said("Status", cells)
    assert not said("Status", ["Chairperson", "", "", "Secretary", "", ""])
    assert not said("Status", ["Active", "", "", "Active", "", "Resigned", "", "Active", ""])
    assert not said("Status", ["", "", "Resigned", "", "", "Suspended", ""])
