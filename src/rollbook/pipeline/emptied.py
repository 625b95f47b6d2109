"""Emptied: fields that the sender empties on purpose, with a text such as ``[empty]``.

An empty cell never erases a stored value; a cell with the sender's text does. A field stays as it
is where a member can't be without it, or where the ID number, another column or the sender's office
gives its value; a problem says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline.match import claimed
from rollbook.pipeline.problem_table import select

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rollbook.pipeline.normalise import Normalised

_NONE: Final = pl.lit(0, pl.Int64)


def bits() -> Mapping[str, int]:
    """The bit of each field that may be emptied, as in the column ``filled``."""
    return {name: 1 << bit for bit, name in enumerate(claimed())}


def with_emptied(
    rows: pl.DataFrame, normalised: Normalised
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Add the fields that each row empties; the rows have every field as it is to be merged.

    Returns:
        The rows with ``emptied``, the bits of these fields, and the warnings on fields that have a
        value nevertheless; see ``problem_table.select``.
    """
    found, warnings, known = _NONE, [], bits()
    for field, where in normalised.emptied.items():
        if field not in known:  # such as the age, which isn't stored
            continue
        has_value = rows[field].is_not_null()
        if (kept := where & has_value).any():
            warnings.append(select(normalised.raw, kept, field, "not_emptied", rows[field]))
        found += pl.when(pl.lit(where & ~has_value)).then(known[field]).otherwise(0)
    return rows.with_columns(emptied=found.cast(pl.Int64)), warnings


def fields_of(found: int) -> tuple[str, ...]:
    """The fields of some bits."""
    return tuple(name for name, bit in bits().items() if found & bit)


def count_emptied(batches: Iterable[tuple[pl.DataFrame, ...]]) -> dict[str, int]:
    """How many members lose their value of a field, by field.

    A batch has lines of the ledger with their outcomes, and what the record says of their members;
    see ``match.EXISTING``.
    """
    names = claimed()
    counts = dict.fromkeys(names, 0)
    change = pl.Struct(dict.fromkeys(names, pl.List(pl.String)))
    for lines, existing in batches:
        updated = lines.filter(outcome="updated").select("row_number")
        changed = existing.filter(pl.col("changed_fields").is_not_null()).join(
            updated, on="row_number", how="semi"
        )
        fields = changed.select(pl.col("changed_fields").str.json_decode(change)).unnest(
            "changed_fields"
        )
        lost = fields.select(
            (pl.col(name).is_not_null() & pl.col(name).list.get(1).is_null()).sum()
            for name in names
        )
        for name, count in zip(names, lost.row(0), strict=True):
            counts[name] += count
    return {name: count for name, count in counts.items() if count}
