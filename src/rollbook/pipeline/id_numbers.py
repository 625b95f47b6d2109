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

from rollbook.pipeline.cells import SEPARATORS, Understood, nulls, of_power, without

if TYPE_CHECKING:
    import datetime as dt

LENGTH = 13

_CELL = pl.col("cell")
#: A number with a label in front or a remark behind that say only that it is one, without
#: separators: ``ID No: 8001015009087``, ``8001015009087 (SA)``.
_LABELLED = (
    r"(?i)^[(\[]?(?:r?sa)?(?:id|identity|identiteits?)?(?:no|nr|num|number|nommer)?[:#=;]*"
    r"([0-9]{13})"
    r"[:;]?[(\[]?(?:(?:r?sa)?(?:id)?|southafrican?|suidafrikaans?)[)\]]?$"
)


def has_form(number: pl.Expr) -> pl.Expr:
    """Whether it has 13 digits."""
    return number.str.contains(r"^[0-9]{13}$").fill_null(value=False)


def birth_date(number: pl.Expr, today: dt.date, *, age: pl.Expr | None = None) -> pl.Expr:
    """The date in the first six digits.

    It is in this century, or in the last one if this century's date is in the future or the age in
    years says so: a person of 101 has the same six digits as one of 1.
    """
    digits = number.str.head(6)
    is_recent = digits <= f"{today:%y%m%d}"
    if age is not None:
        years = today.year - 2000 - digits.str.head(2).cast(pl.Int32, strict=False)
        # In the middle between the two ages, a hundred years apart.
        is_recent &= (age - years < 50).fill_null(value=True)
    century = pl.when(is_recent).then(pl.lit("20")).otherwise(pl.lit("19"))
    date = (century + digits).str.to_date("%Y%m%d", strict=False)
    return pl.when(has_form(number)).then(date)


def numbers(texts: pl.Series, today: dt.date) -> Understood:
    """ID numbers of clean texts, without separators and with the zeros that a numeric cell dropped.

    Birth dates, which must lie before today, prove dropped zeros. A text that isn't a number stays
    as it is; ``validate`` refuses it. Null, with the doubt ``id_shortened``, where a spreadsheet
    program dropped digits. A label or remark such as ``ID:`` and ``(SA)`` goes, with the doubt
    ``id_remark``, where a valid number is left.
    """
    usual = texts.str.contains("^[0-9]{13}$")
    none = nulls(len(texts))
    if usual.all():
        return Understood(texts, none)
    usual = usual.fill_null(value=True)
    odd = texts.filter(~usual)
    if (is_power := odd.str.contains("[eE]")).any():
        read = [of_power(text, digits=range(10, LENGTH + 1)) for text in odd.filter(is_power)]
        digits = pl.Series([found for found, _ in read], dtype=pl.String)
        odd = odd.scatter(is_power.arg_true(), digits.fill_null(odd.filter(is_power)))
        rows = is_power.arg_true().filter(pl.Series([code is not None for _, code in read]))
    else:
        rows = pl.Series([], dtype=pl.UInt32)
    # An apostrophe in front makes a spreadsheet program treat a number as text.
    text = _CELL.str.strip_prefix("'").str.replace(r"^([0-9]+)[.,]0+$", "$1")
    text = without(text, (*SEPARATORS, ",", "_"))
    found = odd.to_frame("cell").select(
        number=pl.when(text != "").then(text), doubt=pl.lit(None, pl.String)
    )
    longer = (found["number"].str.len_bytes() > LENGTH).arg_true()
    labelled = found[longer].select(number=pl.col("number").str.extract(_LABELLED))
    if (is_labelled := labelled["number"].is_not_null()).any():
        is_read = is_labelled & labelled.select(is_valid(pl.col("number"), today)).to_series()
        read_as = labelled["number"].filter(is_read)
        found = _with(found, longer.filter(is_read), read_as, "id_remark")
    is_short = found["number"].str.contains("^[0-9]{10,12}$").fill_null(value=False)
    if is_short.any():
        padded = pl.col("number").str.zfill(LENGTH)
        short = found.filter(is_short).select(padded, lost=is_valid(padded, today))
        places, restored = is_short.arg_true().filter(short["lost"]), short.filter("lost")["number"]
        found = _with(found, places, restored, "id_zeros_restored")
    if len(rows):
        found = _with(found, rows, None, "id_shortened")
    places = (~usual).arg_true()
    return Understood(
        texts.clone().scatter(places, found["number"]), none.scatter(places, found["doubt"])
    )


def _with(
    found: pl.DataFrame, places: pl.Series, numbers: pl.Series | None, doubt: str
) -> pl.DataFrame:
    """The numbers with others in some places, and the doubt there."""
    return found.with_columns(
        found["number"].scatter(places, numbers), found["doubt"].scatter(places, doubt)
    )


def gender(number: pl.Expr) -> pl.Expr:
    """``female`` or ``male``."""
    is_male = number.str.slice(6, 1) >= "5"
    said = pl.when(is_male).then(pl.lit("male")).otherwise(pl.lit("female"))
    return pl.when(has_form(number)).then(said)


def citizenship(number: pl.Expr) -> pl.Expr:
    """``citizen``, ``permanent resident`` or ``refugee``; null for another digit."""
    meaning = {"0": "citizen", "1": "permanent resident", "2": "refugee"}
    return pl.when(has_form(number)).then(
        number.str.slice(10, 1).replace_strict(meaning, default=None, return_dtype=pl.String)
    )


def check_digit_fits(number: pl.Expr) -> pl.Expr:
    """Whether Luhn's sum ends in 0."""
    value = pl.when(has_form(number)).then(number).cast(pl.Int64, strict=False)
    # Four digits at a time: an even number of them, so that every group begins with a digit that
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
    """Whether the number satisfies every rule."""
    return (
        has_form(number)
        & birth_date(number, today).is_not_null()
        & citizenship(number).is_not_null()
        & check_digit_fits(number)
    )
