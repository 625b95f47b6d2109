"""A column of birth dates: compared with the ID numbers, and stored nowhere.

An ID number says the birth date itself. Where the two differ, one has a typing error, or the
columns lie beside other rows than their own, such as after one of them was sorted by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline import cells
from rollbook.pipeline.columns import is_birth_date
from rollbook.pipeline.dates import dates

if TYPE_CHECKING:
    import datetime as dt

    from rollbook.pipeline.dates import Orders
    from rollbook.pipeline.read import Sheet

#: The year of a date that has four digits for it: "1925/05/05", "5 May 1925", "19250505", "1925".
_YEAR: Final = r"(?:^|[^0-9])((?:19|20)[0-9]{2})(?:[0-9]{4})?(?:[^0-9]|$)"
#: The name under which its warnings are.
NAME: Final = "birth_date"


def header(sheet: Sheet) -> str | None:
    """The file's column of the members' birth dates; None where it has none."""
    return next((name for name in sheet.columns.unknown if is_birth_date(name)), None)


def read(sheet: Sheet, name: str, today: dt.date, orders: Orders) -> pl.DataFrame:
    """The cells of the column and the dates in them, of which none is doubted.

    The ID number shows how day and month are written, so they needn't be asked about.

    Returns:
        ``raw``, ``said``, a date, and ``year``, also of a date that nobody joined or paid on.
    """
    place = sheet.frame.get_column_index(name)
    column = cells.column_of(sheet.frame.to_series(place).alias("cell"))
    shown, texts, faults, _ = cells.cleaned(column.texts, is_required=False)
    if faults is not None:
        texts = texts.zip_with(faults.is_null(), pl.Series([None], dtype=pl.String))
    order = orders.learn(NAME, texts, today, name).order
    said = dates(texts, order, NAME, today, is_1904=sheet.is_1904).values
    year = pl.select(
        pl.coalesce(said.dt.year(), texts.str.extract(_YEAR).cast(pl.Int32))
    ).to_series()
    found = {"raw": shown, "said": said, "year": year}
    return pl.DataFrame([column.rows(each).alias(name) for name, each in found.items()])


def contradicts(cells_said: pl.DataFrame, known: pl.Series) -> pl.Series:
    """Where a date isn't the known birth date, whichever of day and month is first.

    The century doesn't matter: an ID number doesn't say it. ``cells_said`` is as of ``read``.
    """
    said = cells_said["said"]
    is_year = cells_said["year"] % 100 == known.dt.year() % 100
    day, month = said.dt.day(), said.dt.month()
    is_day = (day == known.dt.day()) & (month == known.dt.month())
    is_turned = (month == known.dt.day()) & (day == known.dt.month())
    # Of a year only, there is no day to compare.
    is_day = (is_day | is_turned).fill_null(value=True)
    differs = (~(is_year & is_day)).fill_null(value=False)
    # Six digits as the ID number has them, whatever they were read as.
    places = differs.arg_true()
    digits = cells_said["raw"].gather(places).str.replace_all("[^0-9]", "")
    same = (digits == known.gather(places).dt.strftime("%y%m%d")).fill_null(value=False)
    return differs.scatter(places, ~same)


def ages(cells_said: pl.DataFrame, today: dt.date) -> pl.Series:
    """The age in whole years, about, by which the century of an ID number is decided."""
    return (today.year - cells_said["year"]).cast(pl.Int16)
