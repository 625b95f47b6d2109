"""Columns that no field has, whose cells say that the person may no longer be a member.

The row is read like the others, so the words must not go unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline.columns import is_of_other_person
from rollbook.pipeline.problem_table import select
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.pipeline.read import Sheet

CODE: Final = "may_have_left"
#: Words of the languages of the headers, anywhere in a cell.
_WORDS: Final = (
    "deceased", "died", "dead", "passed (?:away|on)", "resign(?:ed|ation|s)?", "expelled",
    "suspended", "terminated", "no longer (?:an? )?(?:paid[- ]?up )?member", "not an? member",
    "(?:ex|former)[- ]member", "transferred out", "(?:to be|please) (?:removed?|deleted?)",
    "left (?:the|our) (?:party|union|church|club|branch|organisation|society)",
    "oorlede", "oorl", "bedank", "geskors", "geskrap", "nie meer (?:['\u2019]n )?lid",
    "ushonile", "ushone", "washona", "uswelekile", "usweleke", "ubhubhile",
    "hlokahetse", "tlhokafetse", "hlokofet[sš]e",
)  # fmt: skip
#: Words that say so only where they are the whole cell, such as "Late" but not "paid late".
_WHOLE: Final = ("late", "left", "cancelled", "canceled", "removed?", "deleted?", "uit", "dood")
_LEFT: Final = rf"(?i)\b(?:{'|'.join(_WORDS)})\b|^\s*(?:{'|'.join(_WHOLE)})\s*[.!]*\s*$"
#: Another person of whom a remark may say so.
_RELATIVE: Final = (
    r"(?i)\b(?:husband|wife|spouse|father|mother|parents?|son|daughter|child|brother|sister|partner"
    r"|vader|moeder|ouers?|vrou|eggenoot)\b[ ,:]*(?:(?:is|has|have|was|were|both) )*"
    r"(?:deceased|died|dead|passed (?:away|on)|oorlede)\b"
)
#: Headers such as "Deceased?" or "Date of death", under which any cell but these says so.
_HEADER: Final = (
    r"(?i)^\W*(?:(?:date|day) (?:of )?)?(?:deceased|death|died|resigned|resignation|oorlede"
    r"|sterfdatum|datum oorlede|bedank|datum bedank|ushonile|hlokahetse)\W*(?:date|datum)?"
    r"\W*(?:y(?:es)?\W+no?)?\W*$"
)
_NO: Final = (
    r"(?i)^\s*(?:n|no|nee|cha|hayi|tjhe|nnyaa|false|f|0+(?:[.,]0+)?|none|nil|n\W?a\W?|not\b.*|nie\b.*"
    r"|unknown|alive|living|lewend|active|aktief|[-\u2013\u2014.?]+)?\s*$"
)
#: Errors of formulas, as a look-up in the list of the dead has for everybody else.
_ERROR: Final = r"^\s*(?:#|Err:)"


def departures(sheet: Sheet, headers: dict[str, str]) -> Iterator[pl.DataFrame]:
    """The warnings on the cells that say so, as ``normalise`` has them.

    ``headers`` gets each column's header by the name under which its warnings are.
    """
    for number, header in enumerate(sheet.columns.unknown, start=1):
        if is_of_other_person(header):
            continue
        # By position: a header such as "^ID$" would be a pattern.
        cells = sheet.frame.to_series(sheet.frame.get_column_index(header)).alias("value")
        if cells.dtype != pl.String or cells.null_count() == len(cells):
            continue
        # By polars: its patterns take a header of any length in linear time.
        is_about_leaving = pl.select(pl.lit(header).str.contains(_HEADER)).item()
        if is_about_leaving:
            says_so = ~cells.str.contains(_NO)
        else:
            says_so = cells.str.replace_all(_RELATIVE, "").str.contains(_LEFT)
        where = (says_so & ~cells.str.contains(_ERROR)).fill_null(value=False)
        if where.any():
            name = f"remark/{number}"
            headers[name] = header
            raw = pl.DataFrame([sheet.frame[ROW_NUMBER], cells.alias(name)])
            yield select(raw, where, name, CODE)
