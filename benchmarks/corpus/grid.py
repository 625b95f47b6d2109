"""A table before it is written in any format."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TypeAlias

from benchmarks.corpus.cells import Formula

Value: TypeAlias = str | float | dt.date | Formula | None


@dataclass(slots=True)
class Grid:
    """A sheet."""

    name: str
    rows: list[list[Value]] = field(default_factory=list)
    #: The index of the header row.
    header: int = 0
    #: By number.
    hidden_rows: set[int] = field(default_factory=set)
    #: By index.
    hidden_columns: set[int] = field(default_factory=set)
    #: First and last row, first and last column, by index.
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)
    is_hidden: bool = False
