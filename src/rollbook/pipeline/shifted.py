"""Columns that lie a row further down or up than the others, so that cells are another person's.

It happens where cells were inserted or deleted in one column, or pasted a row too low. The sign is
at the ends of the list: its first row has no ID number, and its last row nothing but one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.errors import ShiftedColumnError
from rollbook.languages import joined
from rollbook.pipeline import names
from rollbook.pipeline.columns import REQUIRED, title
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rollbook.pipeline.normalise import Normalised
    from rollbook.pipeline.validate import Validated

#: A list with fewer whole rows says nothing of its columns.
_LEAST_WHOLE: Final = 3
#: So many cells of a column are deleted by mistake at most.
_MOST_DELETED: Final = 3
#: What may be in a last row without ID number and names.
_CONTACTS: Final = ("cell_number", "landline_number", "email", "residential_address")
#: The problem of a row that lacks one of ``REQUIRED``, and the field's bit.
_MISSING: Final = {"id_missing": 1, "firstname_missing": 2, "surname_missing": 4}
_ALL: Final = 7
_ID: Final = 1
#: The bits of the fields without which a row says nothing but a name.
_NAMES: Final = {2: "firstname", 4: "surname"}


@dataclass(slots=True)
class Ends:
    """Which rows of a file lack what, gathered batch by batch."""

    #: Numbers of the rows that have some of ``REQUIRED``, by the bits of what they have.
    _partial: dict[int, list[int]] = field(default_factory=dict)
    #: Numbers of the first and the last row that has any of them.
    _first: int = 0
    _last: int = 0
    #: Rows that have all of them.
    _whole: int = 0
    #: The last rows that lack one of them though there is a text in its cell, such as "N/A".
    _filled: deque[int] = field(default_factory=lambda: deque(maxlen=_MOST_DELETED))
    #: The last row of the file, if it has contacts and nothing of ``REQUIRED``: its number and the
    #: fields.
    _contacts: tuple[int, tuple[str, ...]] | None = None
    #: Rows without a value, by field of contacts.
    _without: dict[str, int] = field(default_factory=dict)

    def add(self, normalised: Normalised, validated: Validated) -> None:
        """Take in the next rows, as they were normalised and validated."""
        frame = normalised.frame
        if frame.is_empty():
            return
        self._whole += frame.height
        for name in _CONTACTS:
            self._without[name] = self._without.get(name, 0) + frame[name].null_count()
        self._contacts = None
        numbers, born = frame[ROW_NUMBER], frame["date_of_birth"]
        found = validated.problems.filter(pl.col("code").is_in(list(_MISSING)))
        if found.is_empty():
            self._first = self._first or int(numbers[0])
            self._last = int(numbers[-1])
            return
        missing = pl.col("code").replace_strict(_MISSING, return_dtype=pl.Int64)
        lacking = found.group_by(ROW_NUMBER).agg(missing.sum())
        lacking = lacking.with_columns(there=_ALL - pl.col("code")).sort(ROW_NUMBER)
        # A line such as "Signed: J Smith" is below the ID numbers too.
        lines = numbers.filter(born.is_null()).implode()
        footers = _footers(frame, lacking).implode()
        is_nobody = (
            (pl.col("there") == 0)
            | ((pl.col("there") == 1) & pl.col(ROW_NUMBER).is_in(lines))
            | pl.col(ROW_NUMBER).is_in(footers)
        )
        for row, bits in lacking.filter(~is_nobody).select(ROW_NUMBER, "there").iter_rows():
            self._partial.setdefault(bits, []).append(row)
        self._whole -= lacking.height
        self._filled.extend(_with_text(normalised.raw, lacking))
        nobody = lacking.filter(is_nobody)[ROW_NUMBER]
        people = numbers.filter(~numbers.is_in(nobody.implode())) if len(nobody) else numbers
        if len(people):
            self._first = self._first or int(people[0])
            self._last = int(people[-1])
        if lacking.filter(pl.col("code") == _ALL, pl.col(ROW_NUMBER) == numbers[-1]).height:
            cells = frame[-1].select(_CONTACTS).row(0, named=True)
            filled = tuple(name for name, cell in cells.items() if cell is not None)
            self._contacts = (int(numbers[-1]), filled) if filled else None

    def check(self) -> None:
        """Refuse a file whose ID numbers lie beside another person's.

        A real ID number with nothing beside it is no line below the list, which a name may be.

        Raises:
            ShiftedColumnError: the first row lacks what the last row has only, or the reverse.
        """
        for moved, without, only in self._moved(_ID):
            ends = {without[0], without[-1], only[0], only[-1]}
            are_apart = without[-1] < only[0] or only[-1] < without[0]
            if are_apart and {self._first, self._last} <= ends:
                raise ShiftedColumnError(
                    f"Row {without[0]} has no {moved}, and row {only[0]} nothing else. They are at "
                    "the two ends of the list, so in all rows between them that is probably "
                    "another person's. Nothing was changed. Move the cells so that each person is "
                    "in one row, or complete or remove these two rows if the others are right."
                )

    def notes(self) -> Iterator[Note]:
        """The notes on columns that may lie beside other rows than their own."""
        for moved, without, only in self._moved(_ID, *_NAMES):
            if self._last in {only[-1], without[-1]}:
                values = {"moved": moved, "row": str(without[0]), "only": str(only[0])}
                yield Note("columns_shifted", values=values)
        yield from self._moved_up()
        if self._whole >= _LEAST_WHOLE and self._contacts is not None:
            row, filled = self._contacts
            moved = _listed(name for name in filled if self._without[name])
            if moved:
                yield Note("contacts_shifted", values={"moved": moved, "row": str(row)})

    def _moved_up(self) -> Iterator[Note]:
        """The note on a column from which cells may have been deleted: only the last rows lack it.

        Each person below a deleted cell has the next one's value then.
        """
        for bits in (_ID, *_NAMES):
            without = self._partial.get(_ALL - bits, [])
            is_end = without == list(range(self._last - len(without) + 1, self._last + 1))
            is_few = 0 < len(without) <= min(_MOST_DELETED, self._whole)
            is_empty = set(self._filled).isdisjoint(without)
            is_sure = is_end and is_few and is_empty and self._whole >= _LEAST_WHOLE
            if is_sure and bits not in self._partial:
                values = {"moved": _listed([REQUIRED[bits // 2]]), "row": str(without[0])}
                yield Note("column_moved_up", len(without), {**values, "n": len(without)})

    def _moved(self, *fields: int) -> Iterator[tuple[str, list[int], list[int]]]:
        """What may have moved, the rows that lack it, and as many rows that have nothing else."""
        if self._whole < _LEAST_WHOLE:
            return
        for bits in fields:
            without, only = self._partial.get(_ALL - bits, []), self._partial.get(bits, [])
            if 0 < len(without) == len(only) <= self._whole:
                yield _listed([REQUIRED[bits // 2]]), without, only


def _with_text(raw: pl.DataFrame, lacking: pl.DataFrame) -> list[int]:
    """The numbers of the rows that lack a field whose cell has a text."""
    rows = lacking.join(raw.select(ROW_NUMBER, *REQUIRED), on=ROW_NUMBER, how="left")
    has_text = pl.any_horizontal(
        (pl.col("code") & bits > 0) & pl.col(name).is_not_null()
        for bits, name in zip(_MISSING.values(), REQUIRED, strict=True)
    )
    return rows.filter(has_text)[ROW_NUMBER].sort().to_list()


def _footers(frame: pl.DataFrame, lacking: pl.DataFrame) -> pl.Series:
    """The numbers of rows with nothing but a text in a name's column that no member has.

    It has several words, as in "Compiled by J Smith", or is a title such as "Chairperson".
    """
    found = [pl.Series(ROW_NUMBER, [], frame[ROW_NUMBER].dtype)]
    for bits, name in _NAMES.items():
        places = lacking.filter(there=bits)[ROW_NUMBER]
        rows = frame.filter(pl.col(ROW_NUMBER).is_in(places.implode())) if len(places) else None
        if rows is not None:
            found.append(rows.filter(names.are_no_member(rows[name]))[ROW_NUMBER])
    return pl.concat(found)


def _listed(fields: Iterable[str]) -> str:
    return joined(f"'{title(name)}'" for name in fields)
