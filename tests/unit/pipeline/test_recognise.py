"""Columns recognised by their values, and offered."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from rollbook.pipeline.columns import map_headers
from rollbook.pipeline.recognise import Suggestion, recognised, suggestions
from tests.files import id_number

TODAY = dt.date(2026, 11, 28)


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ([id_number(n) for n in range(9)], ("id_number",)),
        ([*(id_number(n) for n in range(7)), "none yet", "8001015009086"], ("id_number",)),
        ([f"{1000000000000 + n}" for n in range(20)], ()),
        (["a@x.org", "b@x.org", None, "-"], ("email",)),
        (["082 123 4567", "+27831234567", "none"] * 4 + ["0731234567"] * 9,
         ("cell_number", "landline_number")),
        (["011 123 4567", "0123456789"], ("landline_number", "cell_number")),
        (["2024-05-03", "3 May 2024"], ("date_joined", "last_payment", "expiry_date")),
        (["20240503", "20231231"], ("date_joined", "last_payment", "expiry_date")),
        (["79800012"] * 9, ("ward", "voting_district")),
        (["33000123", "33000124", "33000125"], ("voting_district", "ward")),
        (["Gauteng", "KZN", "Limpopo"], ("province",)),
        (["isiZulu", "English"], ("language",)),
        (["M", "F", "M"], ()),
        (["Thandi", "Sipho"], ()),
        ([None, "", "N/A"], ()),
        ([], ()),
    ],
)  # fmt: skip
def test_values_say_what_a_column_is(values: list[str | None], fields: tuple[str, ...]) -> None:
    assert recognised(pl.Series("^x$", values, dtype=pl.String), TODAY) == fields


def test_headers_and_values_are_offered_together() -> None:
    frame = pl.DataFrame(
        {
            "Lid No": [id_number(n) for n in range(5)],
            "Roepnaam": ["Thandi", "Sipho", "Anele", "Zodwa", "Musa"],
            "Nommer": ["0821234567"] * 5,
            "Opmerkings": ["betaal", None, "x", "y", "z"],
            "Surname": ["Dube"] * 5,
            "Surnme": ["Dube"] * 5,
        }
    )
    columns = map_headers(frame.columns)
    assert suggestions(frame, columns, TODAY) == [
        Suggestion("Lid No", ("id_number",), "values"),
        Suggestion("Roepnaam", ("firstname",), "near"),
        Suggestion("Nommer", ("cell_number", "landline_number"), "values"),
    ]
