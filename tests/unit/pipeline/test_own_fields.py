"""Cells of own fields: each is read in the one way that it can be read in, or is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

from rollbook.fields import OwnField, Rule
from rollbook.pipeline import own_fields

if TYPE_CHECKING:
    from rollbook.fields.definition import Kind

UNCLEAR = "own.a.unclear"


def read(cell: str, kind: Kind, *, decimals: int = 2, choices: tuple[str, ...] = ()) -> str | None:
    """The value of a cell as a text; None where it was left out with a problem."""
    field = OwnField("a", ("A",), kind, Rule(choices=choices or None), decimals)
    found = own_fields.understood(field, pl.Series([cell]))
    value, doubt = found.values.item(), found.doubts.item()
    assert (value is None) == (doubt == UNCLEAR)
    return None if value is None else str(value)


@pytest.mark.parametrize(
    ("cell", "integer", "decimal", "of_three"),
    [
        ("12", "12", "12.00", "12.000"),
        ("12,500", None, None, None),
        ("12.500", None, None, "12.500"),
        ("1,000", None, None, None),
        ("-1.000", None, None, "-1.000"),
        ("1 000", "1000", "1000.00", "1000.000"),
        ("1'000", "1000", "1000.00", "1000.000"),
        ("'1000", "1000", "1000.00", "1000.000"),
        ("1,234,567", "1234567", "1234567.00", "1234567.000"),
        ("1.234.567", "1234567", "1234567.00", "1234567.000"),
        ("1.000,50", None, "1000.50", "1000.500"),
        ("1,000.50", None, "1000.50", "1000.500"),
        ("1 000,500", None, "1000.50", "1000.500"),
        ("12,5", None, "12.50", "12.500"),
        # No thousands begin with a zero, or have more than three digits before them.
        ("0,500", None, "0.50", "0.500"),
        ("1234.500", None, "1234.50", "1234.500"),
        ("12.0", "12", "12.00", "12.000"),
        ("1,00,000", None, None, None),
        ("012 345", None, None, None),
        ("(5)", None, None, None),
        ("5-", None, None, None),
        ("5%", None, None, None),
        ("1e3", None, None, None),
    ],
)
def test_a_number_is_read_only_where_its_separators_have_one_meaning(
    cell: str, integer: str | None, decimal: str | None, of_three: str | None
) -> None:
    read_as = (read(cell, "integer"), read(cell, "decimal"), read(cell, "decimal", decimals=3))
    assert read_as == (integer, decimal, of_three)


@pytest.mark.parametrize("cell", ["Straße", "STRASSE", "strasse", " straße. "])
def test_a_choice_matches_itself_however_its_letters_are_folded(cell: str) -> None:
    assert read(cell, "choice", choices=("Straße", "Weg")) == "Straße"
    checked = own_fields.checked(
        "street",
        Rule(choices=("Straße", "Weg")),
        own_fields.understood(OwnField("a", ("A",), "text", Rule()), pl.Series([cell])),
    )
    assert checked.values.to_list() == ["Straße"]


@pytest.mark.parametrize(
    ("cell", "value"), [("JA", "Yes"), ("no ", "No"), ("Nee", "No"), ("oui", None), ("2", None)]
)
def test_yes_and_no_are_known_words(cell: str, value: str | None) -> None:
    assert read(cell, "yes/no") == value
