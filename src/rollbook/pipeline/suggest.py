"""Suggest: the known value that a wrong one most likely means, for a person to decide on.

Only fields with known values have one. Nothing is replaced by a suggestion by itself.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from rollbook import places
from rollbook.pipeline.values import values

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A value is suggested from this likeness on, of 100 (``rapidfuzz.fuzz.ratio``).
LIKENESS: Final = 60
#: A longer text is no known value.
_MOST_CHARS: Final = 60


def suggestion(field: str | None, text: str) -> str | None:
    """The known value that a text of a field is most like; None where there is none."""
    if field is None or len(text) > _MOST_CHARS:
        return None
    names = _known(field)
    if not names:
        return None
    # Only a wrong value needs it: the API starts without it.
    from rapidfuzz import fuzz, process  # noqa: PLC0415

    near = process.extractOne(
        text.casefold(), names.keys(), scorer=fuzz.ratio, score_cutoff=LIKENESS
    )
    return None if near is None else names[near[0]]


@cache
def _known(field: str) -> Mapping[str, str]:
    """The value that is suggested for each known spelling of a field."""
    if field == "province":
        return {one.name.casefold(): one.name for one in places.provinces().values()}
    if field == "municipality":
        return {one.name.casefold(): one.name for one in places.municipalities().values()}
    if field not in {"gender", "citizenship", "race", "language"}:
        return {}
    # A short spelling, such as "M", is like too much.
    return {
        spelling.casefold(): value
        for value, spellings in values()[field].items()
        for spelling in (value, *spellings)
        if len(spelling) > 2
    }
