"""Changes: which fields of which members the rows of a file change, from what to what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline.columns import title, variants
from rollbook.pipeline.match import compared
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Fields that no file has.
_OTHERS: Final = ("date_of_birth", "expiry_is_derived")


def changes_table(lines: pl.DataFrame) -> pl.DataFrame:
    """One line for each changed field, as the report shows it.

    Args:
        lines: ``row_number``, ``outcome``, ``changed_fields``, ``existing_firstname`` and
            ``existing_surname``, one line for each row of the file.

    Returns:
        ``Row``, ``Member``, ``Field``, ``Before`` and ``After``, in the order of the file.
    """
    # ``match.EXISTING`` has each change as ``[before, after]``.
    changes = pl.Struct(dict.fromkeys(compared(), pl.List(pl.String)))
    name = pl.concat_str("existing_firstname", "existing_surname", separator=" ")
    changed = lines.filter(
        (pl.col("outcome") == "updated") & pl.col("changed_fields").is_not_null()
    ).select(
        pl.col(ROW_NUMBER).alias("Row"),
        name.alias("Member"),
        pl.col("changed_fields").str.json_decode(changes),
    )
    words = _words()
    return (
        changed.unnest("changed_fields")
        .unpivot(index=["Row", "Member"], variable_name="Field", value_name="values")
        .filter(pl.col("values").is_not_null())
        .select(
            "Row",
            "Member",
            pl.col("Field").replace_strict(words, return_dtype=pl.String),
            pl.col("values").list.get(0).alias("Before"),
            pl.col("values").list.get(1).alias("After"),
        )
        .sort("Row", maintain_order=True)
    )


def _words() -> Mapping[str, str]:
    return {field: title(field) for field in (*variants(), *_OTHERS)}
