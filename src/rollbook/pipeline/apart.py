"""Apart: a note on ID numbers that lie beside other people than their own, as genders show.

It happens where one column was sorted without the others. No row shows it by itself, and about half
of all rows have the gender of the ID number by chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rollbook.pipeline import cells
from rollbook.pipeline.columns import key
from rollbook.pipeline.reading import Note
from rollbook.pipeline.remarks import texts_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from rollbook.pipeline.normalise import Normalised
    from rollbook.pipeline.read import Sheet

#: Headers of titles such as Mr and Mrs, without spaces and signs.
_TITLES: Final = frozenset(
    {"title", "titles", "titel", "mrmrs", "mrmrsms", "mnrmev", "salutation", "aanspreekvorm"}
)
_LEAST_ROWS: Final = 10
#: Of the genders, so many at least differ; typing errors are hardly one in a hundred.
_SHARE: Final = 0.2


class Apart:
    """Counts the rows whose gender isn't the ID number's, by the column that says it."""

    def __init__(self) -> None:
        #: How many differ, and how many were compared.
        self._counts: dict[str, tuple[int, int]] = {}

    def add(self, normalised: Normalised) -> None:
        """Count those of the next rows."""
        frame = normalised.frame
        if "gender" not in normalised.headers:
            return
        said = frame["gender"].is_not_null() & frame["gender_from_id"].is_not_null()
        differ = int((normalised.warnings["code"] == "gender_contradicts_id").sum())
        self._count(normalised.headers["gender"], differ, int(said.sum()))

    def add_titles(self, sheet: Sheet, frame: pl.DataFrame) -> None:
        """Count the rows whose title is that of another gender; ``frame`` is the normalised one."""
        for header in sheet.columns.unknown:
            texts = texts_below(sheet, header) if key(header) in _TITLES else None
            if texts is not None:
                said = cells.known_spelling("gender", texts.alias("cell"))
                differs = said != frame["gender_from_id"]
                self._count(header, int(differs.sum()), len(differs) - differs.null_count())

    def _count(self, header: str, differ: int, compared: int) -> None:
        before, of = self._counts.get(header, (0, 0))
        self._counts[header] = before + differ, of + compared

    def notes(self) -> Iterator[Note]:
        """The note, if so many genders differ that the numbers are probably others'."""
        for header, (differ, compared) in self._counts.items():
            if differ >= max(_LEAST_ROWS, _SHARE * compared):
                values = {"n": differ, "of": compared, "header": header[:30]}
                yield Note("numbers_apart", differ, values)
