"""Validate: decides which rows may become members, and finds every error of the others.

It works on one batch at a time and on each row by itself; ``match`` finds the repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook import fields
from rollbook.languages import everywhere
from rollbook.pipeline import id_numbers, own_fields
from rollbook.pipeline.columns import decision_keys, key
from rollbook.pipeline.emptied import with_emptied
from rollbook.pipeline.normalise import FIELDS
from rollbook.pipeline.problem_table import NONE, completed, joined, select
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rollbook.model import Scope
    from rollbook.pipeline.normalise import Normalised
    from rollbook.pipeline.read import Sheet


#: The problem of a row with more cells than there are headers.
_BEYOND: Final = "cells_beyond_headers"


@dataclass(frozen=True, slots=True)
class Validated:
    """The rows with their verdicts and the reasons."""

    #: ``row_number``, every field (``id_number`` is the key of a document where the row has one),
    #: ``document``, ``date_of_birth``, ``expiry_is_derived``, ``emptied`` (the bits
    #: of the fields that the row empties on purpose) and ``verdict``: ``valid``, ``invalid``, or
    #: ``out_of_scope`` where the row's place isn't the office's.
    rows: pl.DataFrame
    #: Every problem of every row, in the order of the rows; see ``problem_table.PROBLEMS``.
    problems: pl.DataFrame


@cache
def rules() -> Mapping[str, pl.Expr]:
    """Where a row satisfies each rule of a member, by the code of the problem; null is a breach."""
    number = pl.col("id_number")
    has_no_form = ~id_numbers.has_form(number)
    found = {
        "id_missing": number.is_not_null() | pl.col("has_document"),
        "id_characters": number.str.contains(r"^[0-9]+$") | number.is_null(),
        "id_length": (number.str.len_chars() == id_numbers.LENGTH) | number.is_null(),
        # Not to come.
        "id_birth_date": pl.col("date_of_birth").is_not_null() | has_no_form,
        "id_citizenship": pl.col("citizenship_from_id").is_not_null() | has_no_form,
        "id_check_digit": id_numbers.check_digit_fits(number) | has_no_form,
        "firstname_missing": pl.col("firstname").is_not_null(),
        "surname_missing": pl.col("surname").is_not_null(),
    }
    return {code: rule.fill_null(value=False) for code, rule in found.items()}


#: Fields whose value is converted; see ``_replaced``.
_REPLACED = ("id_number", "gender", "citizenship", "province", "municipality")

#: Doubts about a name as a whole, which don't matter where the row is refused.
_OF_KEPT_ROWS: Final = ("name_initials", "name_doubtful")

#: Values of the column ``USE_ROW`` that exclude the row, besides the word in the catalogues.
_NO = ("no", "n", "nee", "cha", "hayi", "false", "0")
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


def validate(normalised: Normalised, sheet: Sheet, scope: Scope) -> Validated:
    """Give every normalised row of a sheet its verdict and find every problem of it."""
    frame = normalised.frame
    holds = frame.select(**rules())
    errors = [select(normalised.raw, ~holds[code], field, code) for code, field in RULES.items()]
    # A cell that shows an error, or a number that lost digits, isn't missing.
    faults = normalised.faults
    if faults.height:
        missing = joined(errors).join(faults, on=(ROW_NUMBER, "column"), how="anti")
        errors = [missing, faults]
    headers = dict(normalised.headers)
    beyond = _beyond_headers(sheet)
    for found, code in ((beyond, _BEYOND), (_undecided(sheet), "repeat_undecided")):
        if found is not None:
            name = found.columns[-1]
            headers[name] = name
            errors.append(select(found, found[name].is_not_null(), name, code))
    errors.append(_whole_rows(sheet, beyond))
    if scope.municipality is not None:
        errors.append(_wards_elsewhere(normalised, scope.municipality))
    if fields.current().needed:
        errors += _needed(normalised, scope, joined(errors))
    said = joined(errors)
    invalid = said[ROW_NUMBER].filter(said["severity"] == "error")
    elsewhere = _elsewhere(normalised, scope, invalid)
    warnings = normalised.warnings
    if len(invalid) and warnings.height:
        is_of_kept = pl.col("code").is_in(_OF_KEPT_ROWS)
        warnings = warnings.filter(~(is_of_kept & pl.col(ROW_NUMBER).is_in(invalid.implode())))
    rows, not_emptied = with_emptied(_with_verdicts(frame, invalid, scope), normalised)
    problems = joined([said, *elsewhere, warnings, *not_emptied])
    if problems.height:
        header = pl.col("column").replace_strict(headers, default=None, return_dtype=pl.String)
        problems = problems.with_columns(header).sort(ROW_NUMBER, maintain_order=True)
    return Validated(rows, problems)


def _needed(normalised: Normalised, scope: Scope, said: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The rows without a value that the organisation needs, by field.

    A row without a place has the office's own. A cell that has an error already isn't reported
    again.
    """
    nobody = pl.Series(dtype=pl.UInt32)
    rows = _with_verdicts(normalised.frame, nobody, scope)
    for field in fields.current().needed:
        if field not in rows.columns:  # the file has no such column, and none is needed
            continue
        raw = normalised.raw
        is_missing = rows[field].is_null()
        is_empty = raw[field].is_null()
        known = said.filter(column=field)[ROW_NUMBER]
        is_new = is_missing & ~raw[ROW_NUMBER].is_in(known.implode())
        yield select(raw, is_new & is_empty, field, f"{field}.missing")
        yield select(raw, is_new & ~is_empty, field, f"{field}.unreadable")


def _beyond_headers(sheet: Sheet) -> pl.DataFrame | None:
    """The rows with more cells than there are headers; None where there is no room for them.

    Returns:
        ``row_number``, and the texts after the last header, under the name of the first column
        there.
    """
    # By position: in an expression, a header such as "^ID$" would be a pattern.
    there = [n for n, name in enumerate(sheet.frame.columns) if name in sheet.unheaded]
    if not there:
        return None
    behind = sheet.frame[:, there]
    filled = behind.select(pl.all().str.strip_chars().replace("", None))
    first = filled.select(pl.coalesce(pl.all())).to_series()
    return sheet.frame.select(ROW_NUMBER).with_columns(first).filter(first.is_not_null())


def _whole_rows(sheet: Sheet, beyond: pl.DataFrame | None) -> pl.DataFrame:
    """The problems that concern rows as a whole."""
    if sheet.row_problems.is_empty():
        return NONE
    rows = sheet.frame.select(ROW_NUMBER).join(sheet.row_problems, on=ROW_NUMBER)
    if beyond is not None:
        # The problem of a cell after the headers says the same, and has the cell's text.
        is_said = (pl.col("code") == _BEYOND) & pl.col(ROW_NUMBER).is_in(
            beyond[ROW_NUMBER].implode()
        )
        rows = rows.filter(~is_said)
    return completed(rows)


def _undecided(sheet: Sheet) -> pl.DataFrame | None:
    """The rows that repeated another with other values, and have come back without a decision.

    Returns:
        ``row_number`` and the cell that says so; None where the file has no such column.
    """
    name = next((name for name in sheet.frame.columns if key(name) in decision_keys()), None)
    if name is None:
        return None
    cell = sheet.frame[name]
    words = {*_NO, *(word.lower() for word in everywhere("refused.no"))}
    is_no = cell.str.strip_chars().str.to_lowercase().is_in(words).fill_null(value=False)
    return pl.DataFrame([sheet.frame[ROW_NUMBER], cell]).filter(is_no)


def _wards_elsewhere(normalised: Normalised, municipality: str) -> pl.DataFrame:
    """The rows without a municipality, and so the office's, whose ward lies in another one."""
    frame = normalised.frame
    elsewhere = frame["municipality"].is_null() & (frame["ward_municipality"] != municipality)
    where = elsewhere.fill_null(value=False)
    return select(normalised.raw, where, "ward", "ward_in_other_place", frame["ward"])


def _with_verdicts(frame: pl.DataFrame, invalid: pl.Series, scope: Scope) -> pl.DataFrame:
    verdict = _verdict(scope)
    if len(invalid):
        is_invalid = pl.col(ROW_NUMBER).is_in(invalid.implode())
        verdict = pl.when(is_invalid).then(pl.lit("invalid")).otherwise(verdict)
    return frame.select(
        ROW_NUMBER,
        *(field for field in FIELDS if field not in _REPLACED),
        *own_fields.of_sheet(dict.fromkeys(frame.columns)),
        "date_of_birth",
        "expiry_is_derived",
        "document",
        verdict=verdict,
        **_replaced(scope),
    )


@lru_cache
def _verdict(scope: Scope) -> pl.Expr:
    """The verdict of a row without an error."""
    elsewhere = pl.when(_is_elsewhere(scope)).then(pl.lit("out_of_scope"))
    return elsewhere.otherwise(pl.lit("valid"))


@lru_cache
def _replaced(scope: Scope) -> Mapping[str, pl.Expr]:
    """The fields whose value is converted."""
    province = pl.col("province").fill_null(pl.lit(scope.province, pl.String))
    by_ward = pl.col("ward_province")
    return {
        # The ID number's value counts, where the cell is empty or differs.
        "gender": pl.coalesce("gender_from_id", "gender"),
        "citizenship": pl.coalesce("citizenship_from_id", "citizenship"),
        "id_number": pl.coalesce("id_number", "document_key"),
        # A row without a place belongs to the office that sent it, and in a national office's file
        # to the place of its ward, unless it names a municipality, which would tell the province.
        "province": province.fill_null(pl.when(pl.col("municipality").is_null()).then(by_ward)),
        # Where neither names it, a ward in the same province does.
        "municipality": pl.coalesce(
            "municipality",
            pl.lit(scope.municipality, pl.String),
            pl.when(province.fill_null(by_ward) == by_ward).then("ward_municipality"),
        ),
    }


def _is_elsewhere(scope: Scope) -> pl.Expr:
    """Whether the row's place is unknown or another one than the office's."""
    return pl.any_horizontal(pl.lit(value=False), *_other_places(scope).values())


def _other_places(scope: Scope) -> dict[str, pl.Expr]:
    """The rows in which a field names an unknown place or another one than the office's."""
    other: dict[str, pl.Expr] = {}
    if scope.province is not None:
        is_other = (pl.col("province") != scope.province).fill_null(value=False)
        other["province"] = is_other | pl.col("province_unknown")
    if scope.municipality is not None:
        name = pl.col("municipality").str.to_lowercase()
        other["municipality"] = (name != scope.municipality.lower()).fill_null(value=False)
    return other


def _elsewhere(normalised: Normalised, scope: Scope, invalid: pl.Series) -> Iterator[pl.DataFrame]:
    """Which cell says that a row is another office's; of an invalid row, that doesn't matter."""
    counts = ~pl.col(ROW_NUMBER).is_in(invalid.implode())
    for field, is_other in _other_places(scope).items():
        where = normalised.frame.select(is_other & counts).to_series()
        yield select(normalised.raw, where, field, "other_office", normalised.frame[field])
