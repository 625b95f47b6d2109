"""The files that are sent, and the people in them who are members already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from rollbook import clock
from rollbook.cli.sample_file import write_sample
from rollbook.model import EVERYWHERE
from rollbook.pipeline.match import MEMBER_COLUMNS
from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.read import read
from rollbook.pipeline.validate import validate

if TYPE_CHECKING:
    from pathlib import Path

#: Of the people in a file, how many are members before it is sent.
EXISTING_TENTHS = 3


@dataclass(frozen=True, slots=True)
class File:
    """A workbook and what must come of it."""

    path: Path
    rows: int
    #: The columns of ``members``, one row per person.
    people: pl.DataFrame
    expected: dict[str, int]

    @property
    def existing(self) -> pl.DataFrame:
        """As the table has them before: another surname and phone than the file says."""
        return _existing(self.people).with_columns(
            surname=pl.lit("Former"), cell_number=pl.lit("+27820000000")
        )


def make(path: Path, rows: int, *, half: int | None = None) -> File:
    """Write a synthetic file, of one half of all people if wanted, and look up who is in it."""
    facts = write_sample(path, rows, half=half)
    rated = [
        validate(normalise(sheet, clock.today()), sheet, EVERYWHERE).rows
        for sheet in read(path, path.suffix.removeprefix("."))
    ]
    people = pl.concat(rated).filter(verdict="valid").select(MEMBER_COLUMNS)
    people = people.unique("id_number", keep="first", maintain_order=True)
    updated = len(_existing(people))
    expected = {
        "inserted": len(people) - updated,
        "updated": updated,
        "invalid": facts.invalid,
        "duplicate": facts.duplicates,
    }
    return File(path, rows, people, expected)


def _existing(people: pl.DataFrame) -> pl.DataFrame:
    """Three of every ten, all through the file."""
    return people.with_row_index("n").filter(pl.col("n") % 10 < EXISTING_TENTHS).drop("n")
