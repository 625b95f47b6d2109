"""The rules of South African ID numbers, for whole columns at a time.

A number has 13 digits, ``YYMMDDSSSSCAZ``: birth date, sequence (5000 and up for men), citizenship
(0 citizen, 1 permanent resident, 2 refugee), a digit that means nothing any more, and a check digit
by Luhn's method (Identification Act 68 of 1997 and the Department of Home Affairs' practice).
Each function takes the number as an expression of text and answers null or false, never an error,
for text that isn't one.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import datetime as dt

LENGTH = 13


def has_form(number: pl.Expr) -> pl.Expr:
    """Is it 13 digits?"""
    return number.str.contains(r"^[0-9]{13}$").fill_null(value=False)


def birth_date(number: pl.Expr, today: dt.date) -> pl.Expr:
    """The date in the first six digits: this century's, or the last one's where that is to come."""
    digits = number.str.head(6)
    recent = ("20" + digits).str.to_date("%Y%m%d", strict=False)
    earlier = ("19" + digits).str.to_date("%Y%m%d", strict=False)
    return pl.when(has_form(number)).then(
        pl.coalesce(pl.when(recent <= today).then(recent), earlier)
    )


def gender(number: pl.Expr) -> pl.Expr:
    """``female`` or ``male``."""
    return (
        pl.when(has_form(number))
        .then(
            pl.when(number.str.slice(6, 1) >= "5").then(pl.lit("male")).otherwise(pl.lit("female"))
        )
        .otherwise(pl.lit(None, pl.String))
    )


def citizenship(number: pl.Expr) -> pl.Expr:
    """``citizen``, ``permanent resident`` or ``refugee``; null for another digit."""
    meaning = {"0": "citizen", "1": "permanent resident", "2": "refugee"}
    return pl.when(has_form(number)).then(
        number.str.slice(10, 1).replace_strict(meaning, default=None, return_dtype=pl.String)
    )


def check_digit_fits(number: pl.Expr) -> pl.Expr:
    """Does Luhn's sum end in 0?"""
    value = pl.when(has_form(number)).then(number).cast(pl.Int64, strict=False)
    # Four digits at a time: an even number of them, so that every stretch begins with a digit that
    # counts once.
    total = sum(
        (pl.lit(_luhn_sums()).gather(value // 10**place % 10_000) for place in (0, 4, 8, 12)),
        start=pl.lit(0, pl.UInt8),
    )
    return (total % 10 == 0).fill_null(value=False)


@cache
def _luhn_sums() -> pl.Series:
    """Luhn's sum of every number of four digits; 72 at most."""
    doubled = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
    return pl.Series(
        [
            doubled[n // 1000] + n // 100 % 10 + doubled[n // 10 % 10] + n % 10
            for n in range(10_000)
        ],
        dtype=pl.UInt8,
    )


def is_valid(number: pl.Expr, today: dt.date) -> pl.Expr:
    """Does the number keep every rule?"""
    return (
        has_form(number)
        & birth_date(number, today).is_not_null()
        & citizenship(number).is_not_null()
        & check_digit_fits(number)
    )
