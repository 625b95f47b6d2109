"""Columns of corrections beside that of the field, such as "Corrected ID Number".

The plain column is read. A correction that differs is never used or dropped silently: which of the
two is right is the sender's to say.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from rollbook.pipeline.columns import built_in, words_of
from rollbook.pipeline.correction_words import no_corrections

#: Fields whose cells may be a yes or a no.
_OF_ANSWERS: Final = frozenset({"citizenship", "status", "subscription"})
_IDENTITIES: Final = frozenset({"id_number", "passport_number"})
_DATES: Final = frozenset({"date_joined", "last_payment", "expiry_date"})
_DATE: Final = r"^\s*[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}(?:[ T(].*)?$"
_NOTHING: Final = pl.Series([None], dtype=pl.String)


def code(field: str) -> str:
    """The code of a correction that differs from the plain column."""
    # An error: the old number may be another person's, whom the row would change.
    return "id_corrected" if field in _IDENTITIES else "correction_left_out"


def said(
    field: str, raw: pl.Series, values: pl.Series, doubts: pl.Series | None
) -> tuple[pl.Series, pl.Series, pl.Series | None]:
    """The cells of a column of corrections, without those that correct nothing.

    Such are "Yes", "same" and the date of the change. Of ID numbers, they have no digit.

    Args:
        field: what the column corrects.
        raw: the cells as the file has them.
        values: what they were read as.
        doubts: the code of each cell's doubt; None where no cell has any.
    """
    if field not in built_in():
        return raw, values, doubts
    nothing = [] if field in _OF_ANSWERS else no_corrections()
    is_empty = raw.str.strip_chars(" .!?*'").str.to_lowercase().is_in(nothing)
    if field not in _DATES:
        is_empty |= raw.str.contains(_DATE)
    if field in _IDENTITIES:
        is_empty |= ~raw.str.contains("[0-9]")
    is_said = ~is_empty.fill_null(value=True)
    return (
        raw.zip_with(is_said, _NOTHING),
        values.zip_with(is_said, pl.Series([None], dtype=values.dtype)),
        None if doubts is None else doubts.zip_with(is_said, _NOTHING),
    )


def names_differ(whole: pl.Series, read: pl.Series) -> pl.Series:
    """Where a corrected whole name has other words than first name and surname ("Ann / Dube")."""
    pairs = zip(whole, read, strict=True)
    return pl.Series(
        [
            one is not None
            and other is not None
            and set(words_of(one).split()) != set(words_of(other).split())
            for one, other in pairs
        ],
        dtype=pl.Boolean,
    )
