"""Stays: rows of a list of removals which say that the member is to stay.

Only the ID number of such a list counts. A list of all members with a mark beside those who are to
go, or of changes, names the others as well, and a removal must not take them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline.problem_table import select
from rollbook.pipeline.read import ROW_NUMBER
from rollbook.pipeline.remarks import OF_CHANGE, PLAIN_NO, YES_NO, kinds_of, texts_below

if TYPE_CHECKING:
    from rollbook.pipeline.normalise import Normalised
    from rollbook.pipeline.read import Sheet

_CODE: Final = "member_stays"
#: Headers of the mark: "Remove?", "To be deleted (Y/N)".
_OF_REMOVAL: Final = (
    r"(?i)^\W*(?:to\W+be\W+|please\W+|must\W+be\W+)?(?:remove|removed|delete|deleted|terminate"
    r"|terminated|cancel|verwyder|skrap)\W*(?:member|membership|lid)?"
    rf"\W*{YES_NO}\W*$"
)
_NOT_REMOVED: Final = (
    rf"(?i)^\s*(?:{PLAIN_NO}|0+(?:[.,]0+)?|keep|stay|stays|behou|bly|not\b.*|nie\b.*)\W*$"
)
#: What else than a removal a list of changes has.
_OTHER_CHANGE: Final = (
    r"(?i)^\W*(?:keep|kept|retain(?:ed)?|stays?|no\W+change|unchanged|add(?:ed|ition)?|new(?:\W+member)?"
    r"|joined|join|update[ds]?|amend(?:ed|ment)?|change[ds]?|reinstate(?:d|ment)?|transfer(?:red)?\W+in|in"
    r"|behou|bly|nuut|nuwe\W+lid|geen\W+verandering|wysig)\W*$"
)
#: The whole of a remark.
_SAYS_SO: Final = (
    r"(?i)^\W*(?:keep|keep\W+on\W+(?:the\W+)?list|(?:please\W+)?(?:do\W+not|don.?t)\W+(?:remove|delete)"
    r"|not\W+to\W+be\W+(?:removed|deleted)|(?:to|must|will)\W+stay|still\W+(?:alive|an?\W+member)"
    r"|not\W+(?:deceased|dead)|behou|bly\W+lid|moenie\W+(?:verwyder|skrap)(?:\W+nie)?)\W*$"
)


def with_those_who_stay(normalised: Normalised, sheet: Sheet) -> Normalised:
    """The batch with an error in each row that says that the member stays.

    Without a mark below "Remove?" a member stays too, where others of the batch have one.
    """
    faults, headers = [normalised.faults], dict(normalised.headers)
    kinds = kinds_of(sheet.columns.unknown, (_OF_REMOVAL, OF_CHANGE))
    for number, (header, (is_of_removal, is_of_change)) in enumerate(kinds.items(), start=1):
        if (cells := texts_below(sheet, header)) is None:
            continue
        name = f"stays/{number}"
        cells = cells.str.strip_chars().alias(name)
        stays = cells.str.contains(_SAYS_SO)
        if is_of_change:
            stays |= cells.str.contains(_OTHER_CHANGE)
        stays = stays.fill_null(value=False)
        if is_of_removal:
            stays |= cells.str.contains(_NOT_REMOVED).fill_null(value=False)
            is_empty = cells.is_null() | (cells == "")
            if not (is_empty | stays).all():
                stays |= is_empty
        if stays.any():
            headers[name] = header
            raw = pl.DataFrame([sheet.frame[ROW_NUMBER], cells])
            faults.append(select(raw, stays, name, _CODE))
    return replace(normalised, faults=pl.concat(faults), headers=headers)
