"""Normalise: every cell of a known column in one spelling and of its type.

A cell that can't be understood becomes null and a warning; it never refuses the row. The rules that
do are in ``validate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline import cells, id_numbers, problems
from rollbook.pipeline.columns import REQUIRED, variants
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.spreadsheets.books.values import UNCALCULATED

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from rollbook.pipeline.read import Sheet

FIELDS = tuple(variants())
DATES = ("date_joined", "last_payment", "expiry_date")
#: Months that a membership lasts from its last payment, where the file has no expiry date.
MEMBERSHIP_MONTHS = 24

#: What the cells of a field mean. A field that isn't here is taken as it stands.
_MEANINGS: Final[Mapping[str, Callable[[pl.Expr], pl.Expr]]] = {
    "firstname": cells.collapsed,
    "surname": cells.collapsed,
    "municipality": cells.collapsed,
    "region": cells.collapsed,
    "residential_address": cells.collapsed,
    "occupation": cells.collapsed,
    "qualification": cells.collapsed,
    "voting_station": cells.collapsed,
    "subscription": cells.collapsed,
    "status": cells.collapsed,
    **dict.fromkeys(DATES, cells.date),
    "cell_number": cells.phone,
    "landline_number": cells.phone,
    "email": cells.email,
    "ward": cells.whole,
    "voting_district": cells.voting_district,
    "membership_amount": cells.amount,
    "age": lambda cell: cells.whole(cell).cast(pl.Int16, strict=False),
    "province": lambda cell: cells.known_spelling("province", cell),
    "gender": lambda cell: cells.known_spelling("gender", cell),
    "citizenship": lambda cell: cells.known_spelling("citizenship", cell),
    "race": lambda cell: pl.coalesce(cells.known_spelling("race", cell), cell),
    "language": lambda cell: pl.coalesce(cells.known_spelling("language", cell), cell),
}

_DATES_OF_1904: Final[Mapping[str, Callable[[pl.Expr], pl.Expr]]] = dict.fromkeys(
    DATES, partial(cells.date, is_1904=True)
)

#: The warning for a cell that is not understood. A citizenship or an age that isn't says nothing
#: that the ID number doesn't.
_NOT_UNDERSTOOD: Final = {
    **dict.fromkeys(DATES, "date_unclear"),
    "cell_number": "phone_unclear",
    "landline_number": "phone_unclear",
    "email": "email_unclear",
    "membership_amount": "amount_unclear",
    "province": "province_unknown",
    "gender": "gender_unknown",
    "voting_district": "voting_district_unclear",
}

_CELL: Final = pl.col("cell")
_NOWHERE: Final = pl.Series([], dtype=pl.Boolean)
#: What a cell shows whose formula has no result, and where a column was too narrow. The readers of
#: workbooks give error values as these texts; a CSV file has them as text in the first place.
_NO_RESULT: Final = r"^(?:#(?:N/A|GETTING_DATA|[A-Z][A-Z0-9/_]*[!?]|#*)|Err:[0-9]{3})$"
#: How a CSV file keeps a spreadsheet program from taking digits for a number.
_TEXT_FORMULA: Final = r'^="([^"]*)"$'


@dataclass(frozen=True, slots=True)
class Normalised:
    """The known columns of a file."""

    #: ``row_number``, every field (null where the file has no such column), and from a valid ID
    #: number ``date_of_birth``, ``gender_from_id`` and ``citizenship_from_id``;
    #: ``province_unknown`` where there is a province that we don't know.
    frame: pl.DataFrame
    #: The same cells as the file has them: ``row_number`` and every field as text.
    raw: pl.DataFrame
    #: Warnings; see ``validate.PROBLEMS``, with the field's name in ``column``.
    warnings: pl.DataFrame
    #: Cells of required fields that show an error instead of a value; see ``warnings``.
    faults: pl.DataFrame


def normalise(sheet: Sheet, today: dt.date) -> Normalised:
    """Bring every known column into one spelling.

    Args:
        sheet: as ``read`` gave it.
        today: decides the century of two-digit years in ID numbers.
    """
    raw, faults = _known_columns(sheet)
    ids, restored = _id_numbers(raw["id_number"], today)
    meanings = {**_MEANINGS, **_DATES_OF_1904} if sheet.is_1904 else _MEANINGS
    understood = pl.collect_all(
        _understood(raw[field], meaning) for field, meaning in meanings.items()
    )
    number = pl.col("id_number")
    frame = raw.with_columns(ids, *(column.to_series() for column in understood)).with_columns(
        expiry_date=pl.coalesce(
            "expiry_date", pl.col("last_payment").dt.offset_by(f"{MEMBERSHIP_MONTHS}mo")
        ),
        date_of_birth=id_numbers.birth_date(number, today),
        gender_from_id=id_numbers.gender(number),
        citizenship_from_id=id_numbers.citizenship(number),
        province_unknown=pl.col("province").is_null() & raw["province"].is_not_null(),
    )
    left_out = faults.filter(severity="warning")
    warnings = pl.concat([_warnings(raw, frame, restored), left_out])
    return Normalised(frame, raw, warnings, faults.filter(severity="error"))


def select(
    raw: pl.DataFrame, where: pl.Series, field: str, code: str, kept: pl.Series | None = None
) -> pl.DataFrame:
    """The problem ``code`` of ``field`` in the rows where it holds.

    Args:
        raw: the cells as the file has them, with ``row_number``.
        where: the rows, one boolean for each row of ``raw``.
        field: the field, which ``raw`` has.
        code: see ``problems.toml``.
        kept: what the cell was read as, for each row of ``raw``; None where nothing was.
    """
    severity = problems.catalogue()[code].severity
    read_as = pl.lit(None, pl.String) if kept is None else kept.cast(pl.String)
    return (
        raw.select(ROW_NUMBER, field, read_as.alias("kept"))
        .filter(where)
        .select(
            ROW_NUMBER,
            pl.lit(field).alias("column"),
            pl.col(field).alias("value"),
            pl.lit(code).alias("code"),
            pl.lit(severity).alias("severity"),
            pl.col("kept"),
        )
    )


def _known_columns(sheet: Sheet) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Every field as the file's text, stripped, and the cells that show an error.

    Returns:
        The fields, null where there is no text or an error; and the problems with the latter.
    """
    header = {field: name for name, field in sheet.columns.known.items()}
    raw = sheet.frame.select(
        ROW_NUMBER,
        *(
            # By position: in an expression, a header such as "^ID$" would be a pattern.
            _or_null(pl.nth(sheet.frame.get_column_index(header[field])).str.strip_chars()).alias(
                field
            )
            if field in header
            else pl.lit(None, pl.String).alias(field)
            for field in FIELDS
        ),
    )
    faults = [_faults(raw, field) for field in header if _may_show_error(raw[field])]
    shown = raw.with_columns(_shown(raw[field]) for field in header)
    return shown, pl.concat([select(raw.clear(), _NOWHERE, FIELDS[0], "error_value"), *faults])


def _may_show_error(cells: pl.Series) -> bool:
    # A column rarely has any, and patterns cost more than beginnings.
    return bool((cells.str.starts_with("#") | cells.str.starts_with("Err:")).any())


def _faults(raw: pl.DataFrame, field: str) -> pl.DataFrame:
    """The cells of a field that show an error in place of a value."""
    is_error = raw[field].str.contains(_NO_RESULT).fill_null(value=False)
    is_uncalculated = (raw[field] == UNCALCULATED).fill_null(value=False)
    error, formula = (
        ("error_value", "formula_not_calculated")
        if field in REQUIRED
        else ("error_left_out", "formula_left_out")
    )
    return pl.concat(
        [
            select(raw, is_error & ~is_uncalculated, field, error),
            select(raw, is_uncalculated, field, formula),
        ]
    )


def _shown(cells: pl.Series) -> pl.Series:
    """What a spreadsheet program shows: the text of ``="0821234567"``, and nothing of an error."""
    cell = pl.col(cells.name)
    if cells.str.starts_with('="').any():
        text = cell.str.replace(_TEXT_FORMULA, "$1").str.strip_chars()
        cells = cells.to_frame().select(_or_null(text)).to_series()
    if _may_show_error(cells):
        has_result = ~cell.str.contains(_NO_RESULT)
        cells = cells.to_frame().select(pl.when(has_result).then(cell)).to_series()
    return cells


def _understood(column: pl.Series, meaning: Callable[[pl.Expr], pl.Expr]) -> pl.LazyFrame:
    """What the cells of a column mean.

    A value that stands in many rows is understood once: dates, places and the like have few values,
    and the patterns that tell their meaning are the costly part.
    """
    rows = column.to_frame("cell").lazy()
    distinct = column.unique()
    if len(distinct) > len(column) // 2:
        return rows.select(meaning(_CELL).alias(column.name))
    meanings = distinct.to_frame("cell").lazy().with_columns(meaning(_CELL).alias(column.name))
    # Without the order of the left side the rows would no longer be the file's.
    joined = rows.join(meanings, on="cell", how="left", maintain_order="left", nulls_equal=True)
    return joined.select(column.name)


def _id_numbers(given: pl.Series, today: dt.date) -> tuple[pl.Series, pl.Series]:
    """ID numbers without separators and with the zeros they lost, and where these were put back."""
    usual = given.str.contains("^[0-9]{13}$").fill_null(value=True)
    # An apostrophe in front is how a person makes a spreadsheet take a number for text.
    text = cells.whole(_CELL).str.strip_prefix("'").str.replace_all(cells.NO_DIGITS, "")
    padded = text.str.zfill(id_numbers.LENGTH)
    lost = text.str.contains("^[0-9]{10,12}$") & id_numbers.is_valid(padded, today)
    mended = (
        given.filter(~usual)
        .to_frame("cell")
        .select(
            _or_null(pl.when(lost).then(padded).otherwise(text)).alias("number"),
            lost.fill_null(value=False).alias("restored"),
        )
    )
    rows = (~usual).arg_true()
    restored = pl.repeat(False, len(given), dtype=pl.Boolean, eager=True)  # noqa: FBT003 - a value
    return given.clone().scatter(rows, mended["number"]), restored.scatter(rows, mended["restored"])


def _warnings(raw: pl.DataFrame, frame: pl.DataFrame, restored: pl.Series) -> pl.DataFrame:
    found = [select(raw, restored, "id_number", "id_zeros_restored", frame["id_number"])]
    for field, code in _NOT_UNDERSTOOD.items():
        # An expiry date may come from the last payment, but its own cell was not understood.
        unclear = frame[field].is_null() & raw[field].is_not_null()
        # A gender that was not understood is the one in the ID number.
        kept = frame["gender_from_id"] if field == "gender" else None
        found.append(select(raw, unclear, field, code, kept))
    for field in DATES:
        ambiguous = _understood(raw[field], cells.is_ambiguous_date).collect().to_series()
        found.append(select(raw, ambiguous, field, "date_ambiguous", frame[field]))
    for field in ("gender", "citizenship"):
        differs = (frame[field] != frame[f"{field}_from_id"]).fill_null(value=False)
        kept = frame[f"{field}_from_id"]
        found.append(select(raw, differs, field, f"{field}_contradicts_id", kept))
    return pl.concat(found)


def _or_null(text: pl.Expr) -> pl.Expr:
    return pl.when(text != "").then(text)
