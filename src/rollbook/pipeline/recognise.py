"""Recognise a column by its values, for headers that say nothing.

The result is only a suggestion: the sender decides, and no column is read because of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline import cells, id_numbers
from rollbook.pipeline.columns import suggested
from rollbook.pipeline.dates import Order, dates
from rollbook.pipeline.emails import emails
from rollbook.pipeline.phones import kinds, phones
from rollbook.pipeline.places import provinces

if TYPE_CHECKING:
    import datetime as dt

    from rollbook.pipeline.columns import ColumnMap

#: The most values that are checked.
SAMPLE: Final = 1_000
#: The share of a column's values that must be of a kind: some cells hold something else.
_SHARE: Final = 0.8
#: An ID number is proved by its check digit and birth date, so fewer are enough: a list that an
#: office typed has wrong ones.
_SHARE_OF_NUMBERS: Final = 0.6
_DATES: Final = ("date_joined", "last_payment", "expiry_date")
#: Fields of few known values.
_SPELT: Final = ("gender", "race", "language", "citizenship")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The fields that a column of the file may be."""

    header: str
    #: The most likely first.
    fields: tuple[str, ...]
    #: Whether its values show it (``values``), or only its header (``near``).
    how: str


def suggestions(frame: pl.DataFrame, columns: ColumnMap, today: dt.date) -> list[Suggestion]:
    """The fields that the unknown columns of a table may be, in the order of the file.

    The headers and the first ``SAMPLE`` rows count. A field that has a column is not suggested
    again, except the ID number. ``today`` decides which birth dates are possible.
    """
    found = []
    for header in columns.unknown:
        place = frame.get_column_index(header)
        by_values = recognised(frame.to_series(place).head(SAMPLE), today)
        by_header = suggested(header)
        # Where both suggest fields, the values decide among those that the header may mean.
        both = [field for field in by_header if field in by_values]
        fields = tuple(dict.fromkeys([*both, *by_values, *(() if by_values else by_header)]))
        free = tuple(
            field for field in fields if field == "id_number" or field not in columns.headers
        )
        if free:
            found.append(Suggestion(header, free, "values" if by_values else "near"))
    return found


def recognised(values: pl.Series, today: dt.date) -> tuple[str, ...]:
    """The fields that a column of these values may be, the most likely first.

    Thirteen digits with a possible birth date and a right check digit are ID numbers under any
    header.
    """
    texts = cells.without_nothing(cells.clean(cells.shown(values.alias("cell")))).drop_nulls()
    if texts.is_empty():
        return ()
    numbers = id_numbers.numbers(texts, today).values.to_frame("number")
    valid = numbers.select(id_numbers.is_valid(pl.col("number"), today)).to_series()
    if _mean(valid) >= _SHARE_OF_NUMBERS:
        return ("id_number",)
    found = phones(texts).values
    kinds_of = (
        (("email",), emails(texts).values),
        (_by_form(texts), texts),
        (_DATES, dates(texts, Order(), "date_joined", today).values),
        (_by_kind(found), found),
    )
    for fields, values_of in kinds_of:
        if fields and _share(values_of) >= _SHARE:
            return fields
    return _by_spelling(texts)


def _by_form(texts: pl.Series) -> tuple[str, ...]:
    """Eight digits: dates without separators, or a ward's or a voting district's code."""
    day = r"^(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])[0-3][0-9]$"
    if _mean(texts.str.contains(day)) >= _SHARE:
        return _DATES
    if _mean(texts.str.contains(r"^[1-9][0-9]{7}$")) < _SHARE:
        return ()
    # A ward has several districts, so its code repeats more.
    is_often = texts.n_unique() * 3 <= len(texts)
    return ("ward", "voting_district") if is_often else ("voting_district", "ward")


def _by_kind(numbers: pl.Series) -> tuple[str, ...]:
    counted = kinds(iter(numbers.drop_nulls()))
    return tuple(sorted(counted, key=lambda field: -counted[field]))


def _by_spelling(texts: pl.Series) -> tuple[str, ...]:
    """Fields of few known values; one letter is a spelling of many things."""
    if _mean(texts.str.len_chars() == 1) >= _SHARE:
        return ()
    shares = {field: _share(cells.known_spelling(field, texts)) for field in _SPELT}
    shares["province"] = _share(provinces(texts).values)
    likely = [field for field, share in shares.items() if share >= _SHARE]
    return tuple(sorted(likely, key=lambda field: -shares[field]))


def _mean(holds: pl.Series) -> float:
    return float(holds.sum()) / len(holds)


def _share(found: pl.Series) -> float:
    return 1 - found.null_count() / len(found)
