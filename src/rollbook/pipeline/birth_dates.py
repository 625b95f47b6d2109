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
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping

    from rollbook.pipeline.dates import Orders
    from rollbook.pipeline.normalise import Normalised
    from rollbook.pipeline.read import Sheet

#: The year of a date that has four digits for it: "1925/05/05", "5 May 1925", "19250505", "1925".
_YEAR: Final = r"(?:^|[^0-9])((?:19|20)[0-9]{2})(?:[0-9]{4})?(?:[^0-9]|$)"
#: A year before 1930, at the beginning of a number.
_OLD: Final = r"(^|[^0-9])19([0-2][0-9])"
_NOTHING: Final = pl.Series([None], dtype=pl.String)
#: Of fewer rows each says itself that it differs.
_LEAST_COMPARED: Final = 5
#: Characters of a header in a note.
_MOST_QUOTED: Final = 30
#: The name under which its warnings are.
NAME: Final = "birth_date"


def header(sheet: Sheet) -> str | None:
    """The file's column of the members' birth dates; None where it has none to be read."""
    columns = sheet.columns
    names = (name for name in columns.unknown if name not in columns.left_out)
    return next((name for name in names if is_birth_date(name)), None)


def read(sheet: Sheet, name: str, today: dt.date, orders: Orders) -> pl.DataFrame:
    """The cells of the column and the dates in them, of which none is doubted.

    The ID number shows how day and month are written, so they needn't be asked about.

    Returns:
        ``raw``, ``said``, a date of whose year only the last two digits count, and ``year``.
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
    # Nobody joined or paid before 1930, so such a date is read in the century after its own.
    later = texts.zip_with(said.is_null(), _NOTHING).str.replace(_OLD, "${1}20${2}")
    if later.null_count() < len(later):
        said = said.fill_null(dates(later, order, NAME, today, is_1904=sheet.is_1904).values)
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


def ages(cells_said: pl.DataFrame, known: pl.Series, today: dt.date) -> pl.Series:
    """The age in whole years, about, by which the century of an ID number is decided.

    Null where the date isn't that of the ID number in another century, such as a placeholder
    (1900-01-01). ``known`` is the ID number's date without that decision.
    """
    year = cells_said["year"]
    is_same = (year % 100 == known.dt.year() % 100) & ~contradicts(cells_said, known)
    age = (today.year - year).cast(pl.Int16)
    return age.zip_with(is_same.fill_null(value=False), pl.Series([None], dtype=pl.Int16))


def doubts(
    cells_said: pl.DataFrame, born: pl.Series, by_number: pl.Series
) -> tuple[Mapping[str, pl.Series], tuple[int, int] | None]:
    """The rows of each doubt, and how many of how many dates differ if most do.

    ``born`` are the birth dates that count, and ``by_number`` those without the file's dates. Where
    most differ, the column is probably another person's, or was moved, and no row is doubted.
    """
    found = {"birth_date_century": (born != by_number).fill_null(value=False)}
    differs = contradicts(cells_said, born)
    compared = int((cells_said["year"].is_not_null() & born.is_not_null()).sum())
    if compared >= _LEAST_COMPARED and differs.sum() * 2 > compared:
        return found, (int(differs.sum()), compared)
    return {"birth_date_contradicts_id": differs, **found}, None


class Differing:
    """Counts the dates that differ where most of a batch do, in place of a warning on each row."""

    def __init__(self) -> None:
        self._rows = self._compared = 0
        self._header = ""

    def add(self, normalised: Normalised) -> None:
        """Count those of a batch."""
        if normalised.births_differ is not None:
            differ, compared = normalised.births_differ
            self._rows += differ
            self._compared += compared
            self._header = normalised.headers[NAME]

    def notes(self) -> Iterator[Note]:
        """The note on the column, if most of its dates differ."""
        if self._rows:
            values = {"n": self._rows, "of": self._compared, "header": self._header[:_MOST_QUOTED]}
            yield Note("birth_dates_differ", self._rows, values)
