"""Doubts: warnings from comparing a row with the record or with an earlier row of the file.

They are added to the warnings of ``normalise`` after the rows were staged and compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl
from rapidfuzz import fuzz

from rollbook.pipeline.cells import nulls
from rollbook.pipeline.columns import words_of
from rollbook.pipeline.match import compared
from rollbook.pipeline.problem_table import completed
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    from rollbook.pipeline.columns import ColumnMap
    from rollbook.pipeline.spill import Spill

#: Two words are spellings of one name from this likeness on, of 100 (``rapidfuzz.fuzz.ratio``).
LIKENESS: Final = 70
#: Words that many surnames have in common.
_PARTICLES: Final = frozenset({"van", "von", "der", "den", "de", "du", "la", "le", "di", "da"})


def add_doubts(spill: Spill, columns: ColumnMap, *, takes_file: bool) -> None:
    """Add the doubts of every batch to its problems, after ``match``.

    ``takes_file``: the file's value replaces the stored one.
    """
    batches = spill.batches("existing", "differing", "rows", "problems")
    for number, (existing, differing, rows, known) in enumerate(batches):
        found = [*_of_payments(existing), *_of_names(existing, takes_file=takes_file)]
        if differing.height:
            found.append(_of_repeats(differing))
        if any(doubts.height for doubts in found):
            problems = _problems(pl.concat(found, how="diagonal"), rows, columns)
            joined = pl.concat([known, problems])
            spill.replace("problems", number, joined.sort(ROW_NUMBER, maintain_order=True))


def is_other_person(one: str, other: str) -> bool:
    """Whether two full names have no name in common.

    Names are common that are the same, a spelling of the same (``LIKENESS``), or an initial of each
    other, wherever in the full name: a married surname, a second first name or a swapped surname
    are no other person.
    """
    return not any(
        fuzz.ratio(first, second) >= LIKENESS or _is_initial(first, second)
        for first in _words(one)
        for second in _words(other)
    )


def _is_initial(one: str, other: str) -> bool:
    return 1 in {len(one), len(other)} and one[0] == other[0]


def _words(name: str) -> set[str]:
    """The words of a name in small letters without accents, but for particles."""
    words = set(words_of(name).split())
    return words - _PARTICLES or words


def _of_payments(existing: pl.DataFrame) -> list[pl.DataFrame]:
    doubts = []
    for date, said, code in (
        ("expiry_before_payment", " (expires ", "payment_after_expiry"),
        ("later_payment", " (before: ", "payment_older"),
    ):
        if existing[date].count():
            kept = pl.col("payment") + pl.lit(said) + pl.col(date) + pl.lit(")")
            doubts.append(_doubts(existing, "last_payment", code, kept=kept))
    return doubts


def _of_names(existing: pl.DataFrame, *, takes_file: bool) -> list[pl.DataFrame]:
    if not existing["other_name"].count():
        return []
    stored = pl.concat_str("existing_firstname", "existing_surname", separator=" ")
    candidates = existing.filter(pl.col("other_name").is_not_null()).with_columns(stored=stored)
    names = candidates.select("stored", "other_name").iter_rows()
    is_other = pl.Series([is_other_person(*pair) for pair in names], dtype=pl.Boolean)
    turned = pl.concat_str("existing_surname", "existing_firstname", separator=" ")
    is_swapped = turned.str.to_lowercase() == pl.col("other_name").str.to_lowercase()
    before = pl.col("other_name") + pl.lit(" (before: ") + pl.col("stored") + pl.lit(")")
    kept = before if takes_file else pl.col("stored")
    name = pl.col("other_name")
    return [
        _doubts(candidates.filter(is_other), "firstname", "other_name", kept=kept, text=name),
        _doubts(candidates.filter(is_swapped), "firstname", "names_swapped", kept=kept, text=name),
    ]


def _of_repeats(differing: pl.DataFrame) -> pl.DataFrame:
    """One doubt for each field in which a repeat differs."""
    values_of = pl.Struct(dict.fromkeys(compared(), pl.String))
    values = differing.select(ROW_NUMBER, pl.col("differing").str.json_decode(values_of))
    fields = values.unnest("differing").unpivot(
        index=ROW_NUMBER, variable_name="field", value_name="kept"
    )
    return fields.filter(pl.col("kept").is_not_null()).with_columns(
        code=pl.lit("repeat_differs"),
        text=pl.lit(None, pl.String),
        # The earlier row has nothing there.
        kept=pl.col("kept").replace("", None),
    )


def _doubts(
    rows: pl.DataFrame, field: str, code: str, *, kept: pl.Expr, text: pl.Expr | None = None
) -> pl.DataFrame:
    """The doubt ``code`` of the rows that have a kept value, which was used.

    ``text`` replaces the cell's own.
    """
    own = pl.lit(None, pl.String) if text is None else text
    found = rows.select(
        ROW_NUMBER,
        field=pl.lit(field),
        text=own,
        code=pl.lit(code),
        kept=kept,
    )
    return found.filter(pl.col("kept").is_not_null())


def _problems(found: pl.DataFrame, rows: pl.DataFrame, columns: ColumnMap) -> pl.DataFrame:
    """Doubts as a table of problems, with the file's headers and the cells' own texts."""
    parts = []
    for (field,), doubts in found.group_by("field", maintain_order=True):
        header = columns.header(str(field))
        own = nulls(rows.height) if header is None else rows[header]
        cells = rows.select(ROW_NUMBER).with_columns(own.alias("own"))
        parts.append(
            doubts.join(cells, on=ROW_NUMBER, how="left", maintain_order="left").select(
                ROW_NUMBER,
                pl.lit(header, pl.String).alias("column"),
                pl.coalesce("text", "own").alias("value"),
                "code",
                "kept",
            )
        )
    return completed(pl.concat(parts))
