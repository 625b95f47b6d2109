"""What the text of a cell means, for whole columns at a time.

Each function takes cells as an expression of text without space around it, and gives an expression
that is null where the text can't be understood.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline.columns import key
from rollbook.spreadsheets.books.values import DAYS_TO_1904

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What Excel's serial numbers of days count from; 1 January 1970 is this many days later.
EXCEL_EPOCH_DAYS: Final = 25_569
#: Dates from 1927 to 2118, as serial numbers: others are more likely something else, such as a
#: time of day, which a workbook keeps as a time on the last day of 1899.
SERIALS: Final = (10_000, 80_000)

#: What people and programs put between digits: space, dots, dashes of any length, and marks that
#: nobody sees, such as those around a number that was copied from a telephone or a web page.
NO_DIGITS: Final = r"[\s.\p{Pd}\p{Cf}]"

#: How a date may be written, beside a serial number: ISO first, then day first.
_DATE_SHAPES: Final = {
    "^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}$": "%Y-%m-%d",
    "^[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}$": "%d-%m-%Y",
    "^[0-9]{1,2}-[A-Za-z]{3}-[0-9]{4}$": "%d-%b-%Y",
    "^[0-9]{1,2}-[A-Za-z]{4,9}-[0-9]{4}$": "%d-%B-%Y",
    "^[0-9]{8}$": "%Y%m%d",
    "^[0-9]{1,2}-[0-9]{1,2}-[0-9]{2}$": "%d-%m-%y",
}


def whole(cell: pl.Expr) -> pl.Expr:
    """The text without the decimal part that a number's cell may bring along."""
    return cell.str.replace(r"([0-9])\.0+$", "$1")


def collapsed(cell: pl.Expr) -> pl.Expr:
    """The text with single spaces."""
    return cell.str.replace_all(r"\s+", " ")


def date(cell: pl.Expr, *, is_1904: bool = False) -> pl.Expr:
    """A date from Excel's serial number, or from text: ISO, or day first.

    Args:
        cell: the text.
        is_1904: whether the workbook counts days from 1904 instead of 1900.
    """
    days = cell.str.extract(r"^([0-9]{5})(\.[0-9]+)?$").cast(pl.Int32, strict=False)
    serial = _date_of(days + DAYS_TO_1904 if is_1904 else days)
    text = _date_text(cell)
    shapes = (
        pl.when(text.str.contains(shape)).then(text).str.to_date(form, strict=False)
        for shape, form in _DATE_SHAPES.items()
    )
    found = pl.coalesce(serial, *shapes)
    first, last = (_date_of(pl.lit(number)) for number in SERIALS)
    return pl.when(found.is_between(first, last)).then(found)


def is_ambiguous_date(cell: pl.Expr) -> pl.Expr:
    """Could day and month be the other way round?"""
    pattern = "^([0-9]{1,2})-([0-9]{1,2})-(?:19|20|21)?[0-9]{2}$"
    parts = _date_text(cell).str.extract_groups(pattern)
    day, month = (parts.struct.field(name).cast(pl.Int8) for name in ("1", "2"))
    return ((day <= 12) & (month <= 12) & (day != month)).fill_null(value=False)


def _date_of(serial: pl.Expr) -> pl.Expr:
    """The date of one of Excel's serial numbers."""
    return (serial - EXCEL_EPOCH_DAYS).cast(pl.Date)


def _date_text(cell: pl.Expr) -> pl.Expr:
    """A date's text with one separator, and without the time that a date cell brings along."""
    return cell.str.replace(r"[ T][0-9]{1,2}:[0-9]{2}(:[0-9]{2})?(\.[0-9]+)?$", "").str.replace_all(
        r"[/. ]+", "-"
    )


def phone(cell: pl.Expr) -> pl.Expr:
    """A South African number as +27 and nine digits; another country's as + and its digits."""
    number = cell.str.strip_suffix(".0").str.strip_prefix("'")
    text = number.str.replace_all(rf"{NO_DIGITS}|[()/]", "")
    # Abroad no number is as short as these nine digits behind 00: the zero of a mobile's is double.
    text = text.str.replace("^00([678][0-9]{8})$", "0$1")
    national = text.str.extract(r"^(?:\+27|0027|27)?0?([1-8][0-9]{8})$")
    foreign = text.str.extract(r"^(?:\+|00)([1-9][0-9]{7,14})$")
    # Ours begin with 27 too, and a wrong one of ours isn't another country's.
    other = pl.when(~foreign.str.starts_with("27")).then("+" + foreign)
    return pl.coalesce("+27" + national, other)


def email(cell: pl.Expr) -> pl.Expr:
    """An address in small letters; only its form is looked at."""
    text = cell.str.to_lowercase().str.strip_prefix("<").str.strip_suffix(">")
    text = text.str.strip_prefix("mailto:")
    name, word = r"[^@\s<>()\[\],;:\"]+", r"[^@\s<>()\[\],;:\".]{2,}"
    return pl.when(text.str.contains(rf"^{name}@{name}\.{word}$")).then(text)


def voting_district(cell: pl.Expr) -> pl.Expr:
    """The 8 digits of a voting district."""
    text = whole(cell)
    return pl.when(text.str.contains("^[0-9]{8}$")).then(text)


def amount(cell: pl.Expr) -> pl.Expr:
    """Rand with two decimals, from ``R10.00``, ``1 200,50`` and the like."""
    text = cell.str.replace("(?i)^(zar|r)", "").str.replace_all(r"\s", "")
    point = text.str.replace(r",([0-9]{1,2})$", ".$1").str.replace_all(",", "", literal=True)
    plain = pl.when(point.str.contains(r"^[0-9]{1,9}(\.[0-9]+)?$")).then(point)
    return plain.str.to_decimal(scale=2).cast(pl.Decimal(12, 2), strict=False)


def known_spelling(field: str, cell: pl.Expr) -> pl.Expr:
    """The one spelling of a value that stands in ``values.toml``."""
    plain = cell.str.normalize("NFKD").str.to_lowercase().str.replace_all("[^a-z0-9]", "")
    return plain.replace_strict(spellings(field), default=None, return_dtype=pl.String)


@cache
def spellings(field: str) -> Mapping[str, str]:
    """The one spelling by every variant, as ``columns.key`` writes it."""
    text = files("rollbook.pipeline").joinpath("values.toml").read_text(encoding="utf-8")
    table: dict[str, list[str]] = tomllib.loads(text)[field]
    return {key(variant): value for value, names in table.items() for variant in (value, *names)}
