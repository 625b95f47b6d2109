"""First names in the column of surnames, and the reverse."""

from __future__ import annotations

import datetime as dt
import random
from typing import TYPE_CHECKING

from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.turned import Turned
from tests.files import id_number
from tests.unit.pipeline.sheets import sheet_of

if TYPE_CHECKING:
    from collections.abc import Sequence

TODAY = dt.date(2026, 11, 29)
#: None of them is in the list of usual names.
FIRST = ("Xola", "Pinky", "Zodwa", "Kgomotso", "Refilwe", "Bafana", "Duduzile", "Fikile")
LAST = ("Aucamp", "Brits", "Cronje", "Daniels", "Engelbrecht", "Fortuin", "Gouws", "Human")
Names = tuple[str, str]


def people(count: int, seed: int = 1) -> list[Names]:
    drawn = random.Random(seed)
    return [(drawn.choice(FIRST), drawn.choice(LAST)) for _ in range(count)]


def turned(names: Sequence[Names]) -> list[Names]:
    return [(surname, first) for first, surname in names]


def said(names: Sequence[Names], pieces: int = 1) -> str:
    """The sentences about the columns."""
    found = Turned()
    size = -(-len(names) // pieces)
    for start in range(0, len(names), size):
        rows = [
            {"ID Number": id_number(n), "Name": first, "Surname": surname}
            for n, (first, surname) in enumerate(names[start : start + size])
        ]
        sheet = sheet_of(rows)
        sheet.frame.replace_column(0, sheet.frame.to_series(0) + start)
        found.add(normalise(sheet, TODAY))
    return " ".join(note.message for note in found.notes())


def test_right_names_are_not_noted() -> None:
    assert not said(people(300))
    # Names that are both, in any row.
    both = [("Xola", "Fikile"), ("Fikile", "Xola"), ("Human", "Brits"), ("Pinky", "Zodwa")]
    assert not said([name for pair in zip(people(100), both * 25, strict=True) for name in pair])


def test_columns_that_are_turned_as_a_whole_are_noted() -> None:
    names = [("Nkosi", "Thandi"), ("Dlamini", "Xola"), ("Botha", "Jan"), ("Brits", "Ann")] * 5
    found = said(names)
    assert found.startswith("In 15 of 20 rows the column 'Name' holds a usual surname")


def test_columns_that_are_turned_from_a_row_on_are_noted_with_the_row() -> None:
    names = people(400)
    found = said(names[:200] + turned(names[200:]))
    row = int(found.removeprefix("From row ").partition(" ")[0])
    # A few rows further up or down a name may not show it.
    assert 202 <= row <= 215
    assert "the columns 'Name' and 'Surname' hold names that the other one holds above" in found
    assert said(names[:200] + turned(names[200:]), pieces=3) == found


def test_cells_that_moved_by_a_column_are_noted() -> None:
    names = people(400)
    moved = [(surname, "Soweto") for _, surname in names[250:]]
    assert said(names[:250] + moved).startswith("From row 25")


def test_some_rows_that_are_turned_are_named() -> None:
    names = people(300)
    found = said(names[:100] + turned(names[100:112]) + names[112:])
    assert found.startswith("In 12 rows (102, 103, 104, 105, 106 and 7 more) the names in 'Name'")
    assert not said(names[:100] + turned(names[100:102]) + names[102:])


def test_one_column_of_whole_names_is_not_looked_at() -> None:
    rows = [
        {"ID Number": id_number(n), "Full Name": f"{surname} {first}"}
        for n, (first, surname) in enumerate(people(50))
    ]
    found = Turned()
    found.add(normalise(sheet_of(rows), TODAY))
    assert not list(found.notes())
