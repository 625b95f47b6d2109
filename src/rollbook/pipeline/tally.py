"""Tally: counts a file's rows by problem, and the rows that need attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from rollbook.model import REFUSED
from rollbook.pipeline.merge import count
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of rows; a row with several problems of one code counts once for it."""

    #: Rows by ``code`` and ``severity``: errors first, the most frequent first.
    problems: tuple[tuple[str, str, int], ...] = ()
    #: Rows with one warning or more, refused ones too.
    rows_with_warnings: int = 0
    #: Rows that were refused or have a warning.
    rows_needing_attention: int = 0

    @property
    def warnings(self) -> dict[str, int]:
        """Rows by the code of the warning."""
        return {code: rows for code, severity, rows in self.problems if severity == "warning"}


def tally(batches: Iterable[tuple[pl.DataFrame, ...]]) -> Tally:
    """Count the problems of a file; a batch has ledger lines with outcomes, and their problems."""
    counts: dict[tuple[str, str], int] = {}
    warned = attention = 0
    for lines, problems in batches:
        outcomes = count(lines)
        attention += sum(outcomes[name] for name in REFUSED)
        if problems.is_empty():
            continue
        refused = lines[ROW_NUMBER].filter(lines["outcome"].cast(pl.String).is_in(REFUSED))
        by_code = problems.group_by("code", "severity").agg(pl.col(ROW_NUMBER).n_unique())
        for code, severity, rows in by_code.iter_rows():
            counts[code, severity] = counts.get((code, severity), 0) + rows
        doubtful = problems[ROW_NUMBER].filter(problems["severity"] == "warning").unique()
        warned += len(doubtful)
        attention += int((~doubtful.is_in(refused.implode())).sum())
    ordered = sorted(counts.items(), key=lambda entry: (entry[0][1], -entry[1], entry[0][0]))
    return Tally(
        tuple((code, severity, rows) for (code, severity), rows in ordered), warned, attention
    )
