"""Groups: a note on a column with a value only in the first row of each group of members."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline import no_members
from rollbook.pipeline.lines import PLACES
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.pipeline.normalise import Normalised

_ADDRESS: Final = "residential_address"
_STATUS: Final = "status"
_LEAST_GROUPS: Final = 2
#: Of the groups, so many at least have another value than all others: places that are written for
#: some members only come again.
_DISTINCT: Final = 0.8
#: Of the rows without an address, so many at least have the surname of the row with one.
_FAMILY: Final = 0.8
#: A column with so many more values than gaps isn't one of groups, and stays none.
_CERTAINLY_FULL: Final = 1_000


@dataclass(slots=True)
class _Column:
    """A column that may have one value for each group."""

    header: str
    filled: int = 0
    empty: int = 0
    values: set[str] = field(default_factory=set)
    #: Rows without an address that have the surname of the last row with one.
    of_family: int = 0
    #: That of the last row with an address.
    surname: str | None = None

    @property
    def is_of_groups(self) -> bool:
        """Whether each value is that of the rows below it too, as far as the column shows it."""
        is_sparse = self.empty >= self.filled >= _LEAST_GROUPS
        return is_sparse and len(self.values) >= _DISTINCT * self.filled


class Groups:
    """Looks at the columns of places, addresses and statuses, batch by batch."""

    def __init__(self) -> None:
        #: By field; None for a column that isn't one of groups.
        self._columns: dict[str, _Column | None] = {}

    def add(self, normalised: Normalised) -> None:
        """Take in the next rows; those that are empty after the cleaning have no value."""
        for name in (*PLACES, _ADDRESS, _STATUS):
            if name not in normalised.headers:
                continue
            cells = normalised.raw[name]
            if name not in self._columns:
                # A group begins with its value.
                is_begun = len(cells) > 0 and cells[0] is not None
                self._columns[name] = _Column(normalised.headers[name]) if is_begun else None
            column = self._columns[name]
            if column is not None and not self._add(column, name, cells, normalised.frame):
                self._columns[name] = None

    def _add(self, column: _Column, name: str, cells: pl.Series, frame: pl.DataFrame) -> bool:
        """Count some rows; False where the column can't be one of groups."""
        empty = cells.null_count()
        column.filled += len(cells) - empty
        column.empty += empty
        if column.filled > column.empty + _CERTAINLY_FULL:
            return False
        values = cells.drop_nulls()
        column.values.update(values)
        if name == _ADDRESS:
            surnames = frame["surname"]
            heads = pl.select(
                pl.when(cells.is_not_null()).then(surnames).forward_fill()
            ).to_series()
            heads = heads.fill_null(column.surname or "")
            column.of_family += int(((heads == surnames) & cells.is_null()).sum())
            column.surname = heads[-1] if len(heads) else column.surname
        return True

    def notes(self) -> Iterator[Note]:
        """The note on each such column."""
        for name, column in self._columns.items():
            if column is None or not column.is_of_groups:
                continue
            if name == _ADDRESS and column.of_family < _FAMILY * column.empty:
                continue
            # Other statuses, such as "Chairperson", are of single members.
            if name == _STATUS and not any(map(no_members.says_no_members, column.values)):
                continue
            yield Note(
                "first_of_group",
                column.empty,
                {"header": column.header[:30], "groups": column.filled, "n": column.empty},
            )
