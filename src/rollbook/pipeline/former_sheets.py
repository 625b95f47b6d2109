"""Sheets whose names say that their people are no members any more, such as ``Deceased``.

Such a sheet is never chosen while another visible one holds members. Where it is the only one, it
is read, and each of its rows has a warning. Only a sender who names it has decided.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

from rollbook.languages import listed
from rollbook.masking import masked
from rollbook.pipeline.columns import words_of
from rollbook.pipeline.reading import Note
from rollbook.pipeline.values import written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: The problem of each row of such a sheet that was read unasked.
CODE: Final = "sheet_of_former"
_WORD: Final = re.compile(r"[^\W\d_]+")
_MOST_CHARS: Final = 31


def is_former(name: str) -> bool:
    """Whether a sheet's name says that its people are no members any more."""
    words, said = _words(name), _written()
    if is_opposite(name):
        return False
    if words & said["anywhere"]:
        return True
    return bool(words & said["by_itself"]) and not words - said["by_itself"] - said["of_lists"]


def is_current(name: str) -> bool:
    """Whether a name says that its people are members now."""
    return not _words(name).isdisjoint(_written()["current"])


def is_opposite(name: str) -> bool:
    """Whether words of a name make it the opposite, or a list of both: "not resigned"."""
    return is_current(name) or not _words(name).isdisjoint(_written()["without"])


def notes(names: Sequence[str]) -> Iterator[Note]:
    """The note on visible sheets of this kind that hold members and weren't read."""
    if names:
        sheets = listed([f"'{masked(name)[:_MOST_CHARS]}'" for name in names])
        yield Note("former_sheets", values={"sheets": sheets, "n": len(names)})


def _words(name: str) -> set[str]:
    return set(_WORD.findall(words_of(name)))


@cache
def _written() -> Mapping[str, frozenset[str]]:
    return {name: frozenset(words) for name, words in written("former_sheets.toml").items()}
