"""Apart: a note on ID numbers that lie beside other people than their own, as the genders show.

It happens where one column was sorted without the others. No row shows it by itself, and about half
of all rows have the gender of the ID number by chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.pipeline.normalise import Normalised

_LEAST_ROWS: Final = 10
#: Of the genders, so many at least differ; typing errors are hardly one in a hundred.
_SHARE: Final = 0.2


class Apart:
    """Counts the rows whose gender isn't the ID number's."""

    def __init__(self) -> None:
        self._differ = self._compared = 0
        self._header = ""

    def add(self, normalised: Normalised) -> None:
        """Count those of the next rows."""
        frame = normalised.frame
        if "gender" not in normalised.headers:
            return
        self._header = normalised.headers["gender"]
        said = frame["gender"].is_not_null() & frame["gender_from_id"].is_not_null()
        self._compared += int(said.sum())
        self._differ += int((normalised.warnings["code"] == "gender_contradicts_id").sum())

    def notes(self) -> Iterator[Note]:
        """The note, if so many genders differ that the numbers are probably others'."""
        if self._differ >= max(_LEAST_ROWS, _SHARE * self._compared):
            values = {"n": self._differ, "of": self._compared, "header": self._header[:30]}
            yield Note("numbers_apart", self._differ, values)
