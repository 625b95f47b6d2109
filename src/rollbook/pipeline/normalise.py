"""Normalise: every cell of a known column in one spelling and of its type.

A cell that can't be understood becomes null and a warning; it never refuses the row. The rules that
do are in ``validate``.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import polars as pl

from rollbook.pipeline import id_numbers, problems
from rollbook.pipeline.columns import key, variants
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from rollbook.pipeline.read import Sheet

FIELDS = tuple(variants())
DATES = ("date_joined", "last_payment", "expiry_date")
PHONES = ("cell_number", "landline_number")
#: Months that a membership lasts from its last payment, where the file has no expiry date.
MEMBERSHIP_MONTHS = 24
#: What Excel's serial numbers of days count from; 1 January 1970 is this many days later.
EXCEL_EPOCH_DAYS = 25_569
#: Serial numbers from 1927 to 2118: others are more likely something else.
SERIALS = (10_000, 80_000)

#: How a date may be written, beside a serial number: ISO first, then day first.
_DATE_SHAPES = {
    r"^\d{4}-\d{1,2}-\d{1,2}$": "%Y-%m-%d",
    r"^\d{1,2}-\d{1,2}-\d{4}$": "%d-%m-%Y",
    r"^\d{1,2}-[A-Za-z]{3}-\d{4}$": "%d-%b-%Y",
    r"^\d{1,2}-[A-Za-z]{4,9}-\d{4}$": "%d-%B-%Y",
    r"^\d{8}$": "%Y%m%d",
}


@dataclass(frozen=True, slots=True)
class Normalised:
    """The known columns of a file."""

    #: ``row_number``, every field (null where the file has no such column), and from a valid ID
    #: number ``date_of_birth``, ``gender_from_id`` and ``citizenship_from_id``.
    frame: pl.DataFrame
    #: The same cells as the file has them: ``row_number`` and every field as text.
    raw: pl.DataFrame
    #: Warnings; see ``problems.SCHEMA``, with the field's name in ``column``.
    warnings: pl.DataFrame


def normalise(sheet: Sheet, today: dt.date) -> Normalised:
    """Bring every known column into one spelling.

    Args:
        sheet: as ``read`` gave it.
        today: decides the century of two-digit years in ID numbers.
    """
    raw = _known_columns(sheet)
    given_id = pl.col("id_number").str.replace(r"\.0+$", "").str.replace_all(r"[\s\-.]", "")
    padded = given_id.str.zfill(id_numbers.LENGTH)
    lost_zeros = given_id.str.contains(r"^[0-9]{10,12}$") & id_numbers.is_valid(padded, today)
    restored = pl.when(lost_zeros).then(padded).otherwise(given_id)
    frame = (
        raw.lazy()
        .with_columns(id_number=_or_null(restored), lost_zeros=lost_zeros.fill_null(value=False))
        .with_columns(
            *(_collapsed(name) for name in ("firstname", "surname", "municipality", "region")),
            *(_date(name) for name in DATES),
            *(_phone(name) for name in PHONES),
            *(_spelling(name, strict=True) for name in ("province", "gender", "citizenship")),
            *(_spelling(name, strict=False) for name in ("race", "language")),
            email=_email(),
            ward=_number_as_text("ward"),
            voting_district=_voting_district(),
            membership_amount=_amount(),
            age=pl.col("age").str.replace(r"\.0+$", "").cast(pl.Int16, strict=False),
        )
        .with_columns(
            expiry_date=pl.coalesce(
                "expiry_date", pl.col("last_payment").dt.offset_by(f"{MEMBERSHIP_MONTHS}mo")
            ),
            date_of_birth=id_numbers.birth_date(pl.col("id_number"), today),
            gender_from_id=id_numbers.gender(pl.col("id_number")),
            citizenship_from_id=id_numbers.citizenship(pl.col("id_number")),
        )
        .collect()
    )
    return Normalised(frame.drop("lost_zeros"), raw, _warnings(raw, frame))


def _known_columns(sheet: Sheet) -> pl.DataFrame:
    """Every field as the file's text, stripped; null where there is none."""
    header = {field: name for name, field in sheet.columns.known.items()}
    return sheet.frame.select(
        ROW_NUMBER,
        *(
            _or_null(pl.col(header[field]).str.strip_chars()).alias(field)
            if field in header
            else pl.lit(None, pl.String).alias(field)
            for field in FIELDS
        ),
    )


def _warnings(raw: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    lost = {
        **dict.fromkeys(DATES, "date_unclear"),
        **dict.fromkeys(PHONES, "phone_unclear"),
        "email": "email_unclear",
        "membership_amount": "amount_unclear",
        "province": "province_unknown",
        "gender": "gender_unknown",
        "voting_district": "voting_district_unclear",
    }
    found = [
        select(raw, frame[field].is_null() & raw[field].is_not_null(), field, code)
        for field, code in lost.items()
    ]
    found += [select(raw, _is_ambiguous(raw[field]), field, "date_ambiguous") for field in DATES]
    found.append(select(raw, frame["lost_zeros"], "id_number", "id_zeros_restored"))
    for field in ("gender", "citizenship"):
        differs = (frame[field] != frame[f"{field}_from_id"]).fill_null(value=False)
        found.append(select(raw, differs, field, f"{field}_contradicts_id"))
    return pl.concat(found)


def select(raw: pl.DataFrame, where: pl.Series, field: str, code: str) -> pl.DataFrame:
    """The problem ``code`` of ``field`` in the rows where it holds."""
    severity = problems.catalogue()[code].severity
    return raw.filter(where).select(
        ROW_NUMBER,
        pl.lit(field).alias("column"),
        pl.col(field).alias("value"),
        pl.lit(code).alias("code"),
        pl.lit(severity).alias("severity"),
    )


def _or_null(text: pl.Expr) -> pl.Expr:
    return pl.when(text != "").then(text)


def _collapsed(field: str) -> pl.Expr:
    return pl.col(field).str.replace_all(r"\s+", " ")


def _number_as_text(field: str) -> pl.Expr:
    return pl.col(field).str.replace(r"\.0+$", "")


def _date_text(text: pl.Expr) -> pl.Expr:
    """A date's text with one separator, and without the time that a date cell brings along."""
    return text.str.replace(r"[ T]\d{1,2}:\d{2}(:\d{2})?(\.\d+)?$", "").str.replace_all(
        r"[/. ]+", "-"
    )


def _date(field: str) -> pl.Expr:
    raw = pl.col(field)
    text = _date_text(raw)
    days = raw.str.extract(r"^(\d{5})(\.\d+)?$").cast(pl.Int32, strict=False)
    serial = pl.when(days.is_between(*SERIALS)).then((days - EXCEL_EPOCH_DAYS).cast(pl.Date))
    shapes = (
        pl.when(text.str.contains(shape)).then(text).str.to_date(form, strict=False)
        for shape, form in _DATE_SHAPES.items()
    )
    return pl.coalesce(serial, *shapes).alias(field)


def _is_ambiguous(text: pl.Series) -> pl.Series:
    """Day and month of a text date could be the other way round."""
    parts = pl.col("text").str.extract_groups(r"^(\d{1,2})-(\d{1,2})-\d{4}$")
    day, month = (parts.struct.field(n).cast(pl.Int8) for n in ("1", "2"))
    return (
        text.to_frame("text")
        .with_columns(_date_text(pl.col("text")))
        .select(((day <= 12) & (month <= 12) & (day != month)).fill_null(value=False))
        .to_series()
    )


def _phone(field: str) -> pl.Expr:
    """A South African number as +27 and nine digits; another country's as + and its digits."""
    text = pl.col(field).str.replace(r"\.0+$", "").str.replace_all(r"[\s()\-./]", "")
    national = pl.coalesce(
        text.str.extract(r"^(?:\+27|0027|27)0?([1-8]\d{8})$"),
        text.str.extract(r"^0([1-8]\d{8})$"),
        text.str.extract(r"^([1-8]\d{8})$"),
    )
    foreign = text.str.extract(r"^(?:\+|00)([1-9]\d{7,14})$")
    # Ours begin with 27 too, and a wrong one of ours isn't another country's.
    other = pl.when(~foreign.str.starts_with("27")).then("+" + foreign)
    return pl.coalesce("+27" + national, other).alias(field)


def _email() -> pl.Expr:
    text = pl.col("email").str.to_lowercase()
    return pl.when(text.str.contains(r"^[^@\s]+@[^@\s]+\.[^@\s.]{2,}$")).then(text)


def _voting_district() -> pl.Expr:
    text = _number_as_text("voting_district")
    return pl.when(text.str.contains(r"^[0-9]{8}$")).then(text)


def _amount() -> pl.Expr:
    text = (
        pl.col("membership_amount").str.replace(r"^(?i)zar|^r", "").str.replace_all(r"[\sRr]", "")
    )
    point = text.str.replace(r",(\d{1,2})$", ".$1").str.replace_all(",", "")
    plain = pl.when(point.str.contains(r"^\d{1,9}(\.\d+)?$")).then(point)
    return plain.str.to_decimal(scale=2).cast(pl.Decimal(12, 2), strict=False)


def _spelling(field: str, *, strict: bool) -> pl.Expr:
    """The one spelling of a value; what isn't in the table is null (strict) or stays."""
    text = pl.col(field)
    plain = text.str.to_lowercase().str.replace_all(r"[^a-z0-9]", "")
    known = plain.replace_strict(_spellings(field), default=None, return_dtype=pl.String)
    return (known if strict else pl.coalesce(known, text)).alias(field)


@cache
def _spellings(field: str) -> Mapping[str, str]:
    text = files("rollbook.pipeline").joinpath("values.toml").read_text(encoding="utf-8")
    table: dict[str, list[str]] = tomllib.loads(text)[field]
    return {key(variant): value for value, names in table.items() for variant in (value, *names)}
