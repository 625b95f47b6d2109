"""Validate: which rows may become members, and everything that is wrong with the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dataframely as dy
import polars as pl

from rollbook.pipeline import id_numbers, problems
from rollbook.pipeline.normalise import FIELDS, select
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    from rollbook.pipeline.normalise import Normalised
    from rollbook.pipeline.read import Sheet


@dataclass(frozen=True, slots=True)
class Validated:
    """The rows with their verdicts, and why."""

    #: ``row_number``, every field, ``date_of_birth``, ``verdict`` (``valid``, ``invalid`` or
    #: ``duplicate``) and ``duplicate_of``: the row number of the first valid row of the same ID.
    rows: pl.DataFrame
    #: Every problem of every row, in the order of the rows; see ``problems.SCHEMA``.
    problems: pl.DataFrame


class Member(dy.Schema):
    """What a row must be to become a member. A rule's name is the code of the problem."""

    row_number = dy.UInt32()
    id_number = dy.String(nullable=True)
    date_of_birth = dy.Date(nullable=True)
    citizenship_from_id = dy.String(nullable=True)
    firstname = dy.String(nullable=True)
    surname = dy.String(nullable=True)

    @dy.rule()
    def id_missing(self) -> pl.Expr:
        """There is an ID number."""
        return pl.col("id_number").is_not_null()

    @dy.rule()
    def id_characters(self) -> pl.Expr:
        """It has digits only."""
        return pl.col("id_number").str.contains(r"^[0-9]+$") | pl.col("id_number").is_null()

    @dy.rule()
    def id_length(self) -> pl.Expr:
        """It has 13 of them."""
        length = pl.col("id_number").str.len_chars()
        return (length == id_numbers.LENGTH) | pl.col("id_number").is_null()

    @dy.rule()
    def id_birth_date(self) -> pl.Expr:
        """It begins with a birth date that isn't to come."""
        return pl.col("date_of_birth").is_not_null() | _has_no_form()

    @dy.rule()
    def id_citizenship(self) -> pl.Expr:
        """Its citizenship digit has a meaning."""
        return pl.col("citizenship_from_id").is_not_null() | _has_no_form()

    @dy.rule()
    def id_check_digit(self) -> pl.Expr:
        """Its check digit fits."""
        return id_numbers.check_digit_fits(pl.col("id_number")) | _has_no_form()

    @dy.rule()
    def firstname_missing(self) -> pl.Expr:
        """There is a first name."""
        return pl.col("firstname").is_not_null()

    @dy.rule()
    def surname_missing(self) -> pl.Expr:
        """There is a surname."""
        return pl.col("surname").is_not_null()


#: The field that each rule is about.
RULES = {
    "id_missing": "id_number",
    "id_characters": "id_number",
    "id_length": "id_number",
    "id_birth_date": "id_number",
    "id_citizenship": "id_number",
    "id_check_digit": "id_number",
    "firstname_missing": "firstname",
    "surname_missing": "surname",
}


def validate(normalised: Normalised, sheet: Sheet) -> Validated:
    """Give every row its verdict and find every problem of it.

    Args:
        normalised: as ``normalise`` gave it.
        sheet: for the headers under which the file has the fields.
    """
    frame = normalised.frame
    _, failure = Member.filter(frame.select(Member.column_names()))
    failed = failure.details()
    raw = failed.select(ROW_NUMBER).join(
        normalised.raw, on=ROW_NUMBER, how="left", maintain_order="left"
    )
    errors = [select(raw, failed[code] == "invalid", field, code) for code, field in RULES.items()]
    headers = {field: header for header, field in sheet.columns.known.items()}
    found = (
        pl.concat([*errors, normalised.warnings])
        .with_columns(
            pl.col("column").replace_strict(headers, default=None, return_dtype=pl.String)
        )
        .cast(pl.Schema(problems.SCHEMA))
        .sort(ROW_NUMBER, maintain_order=True)
    )
    return Validated(_with_verdicts(frame, failed[ROW_NUMBER]), found)


def _with_verdicts(frame: pl.DataFrame, invalid: pl.Series) -> pl.DataFrame:
    is_valid = ~pl.col(ROW_NUMBER).is_in(invalid.implode())
    first = (
        frame.lazy().filter(is_valid).group_by("id_number").agg(first_row=pl.col(ROW_NUMBER).min())
    )
    repeats = is_valid & (pl.col("first_row") != pl.col(ROW_NUMBER))
    return (
        frame.lazy()
        .join(first, on="id_number", how="left", maintain_order="left")
        .with_columns(
            # What the ID number says counts, where the cell says nothing or something else.
            gender=pl.coalesce("gender_from_id", "gender"),
            citizenship=pl.coalesce("citizenship_from_id", "citizenship"),
            verdict=pl.when(~is_valid)
            .then(pl.lit("invalid"))
            .when(repeats)
            .then(pl.lit("duplicate"))
            .otherwise(pl.lit("valid")),
            duplicate_of=pl.when(repeats).then(pl.col("first_row")),
        )
        .select(ROW_NUMBER, *FIELDS, "date_of_birth", "verdict", "duplicate_of")
        .collect()
    )


def _has_no_form() -> pl.Expr:
    return ~id_numbers.has_form(pl.col("id_number"))
