"""Rows that add up the list: they are left out, with a note."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.languages import listed
from rollbook.pipeline.header import is_number
from rollbook.pipeline.id_numbers import LENGTH
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rollbook.pipeline.columns import ColumnMap

#: The first words of such a row, in the languages of the headers.
_TOTAL: Final = (
    r"(?i)^\s*(?:(?:grand|sub|final)[\s-]*)?"
    r"(?:totals?|totaal|totale|subtotaal|eindtotaal|som|sum|isamba|kakaretso)\b[^0-9]*[0-9 .,]*$"
)
#: As a spreadsheet program names its subtotals: "Ward 12 Total", "Soweto Count".
_OF_GROUP: Final = (
    r"(?i)^\s*\S.{0,60}\s(?:totals?|subtotal|count|totaal|subtotaal|getal)\s*:?[0-9 .,]*$"
)
#: From this many digits on, a text is an attempt at an ID number.
_ID_DIGITS: Final = 6


def are_totals(body: pl.DataFrame, columns: ColumnMap) -> pl.Series | None:
    """Which rows add up the list; None where no row does.

    Such a row begins with a word for a total, or its first text ends with one. It has neither an ID
    number, a passport number nor both names.
    """
    places = {field: body.get_column_index(header) for header, field in columns.known.items()}
    if "id_number" not in places:
        return None
    # Under a fixed name: a header of the file may be a pattern.
    numbers = body.to_series(places["id_number"]).alias("cell")
    # Almost every cell is a whole ID number, which is a faster check than counting digits.
    is_whole = is_number(numbers) & (numbers.str.len_bytes() == LENGTH)
    if is_whole.all():
        return None
    suspects = (~is_whole).arg_true()
    has_number = numbers[suspects].str.count_matches("[0-9]") >= _ID_DIGITS
    suspects = suspects.filter(~has_number.fill_null(value=False))
    if not len(suspects):
        return None
    rows = body[suspects]
    texts = rows.select(pl.all().str.strip_chars().replace("", None))
    first = texts.select(pl.coalesce(pl.all())).to_series().alias("cell")
    found = first.str.contains(f"{_TOTAL}|{_OF_GROUP}").fill_null(value=False)
    if not found.any():
        return None
    names = [
        texts.to_series(places[field]).is_not_null()
        for field in ("firstname", "surname")
        if field in places
    ]
    if len(names) == 2:
        found &= ~(names[0] & names[1])
    if "passport_number" in places:
        found &= texts.to_series(places["passport_number"]).is_null()
    return pl.repeat(value=False, n=body.height, eager=True).scatter(suspects, found)


def notes(numbers: Sequence[int]) -> Iterator[Note]:
    """The note on such rows."""
    if numbers:
        yield Note("total_rows", len(numbers), {"rows": listed(numbers), "n": len(numbers)})
