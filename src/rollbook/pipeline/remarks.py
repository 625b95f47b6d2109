"""Cells of remarks, and of a status, which say that the person may no longer be a member.

The row is read like the others, so the words must not go unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline.columns import is_of_other_person
from rollbook.pipeline.no_members import pattern
from rollbook.pipeline.problem_table import select
from rollbook.pipeline.read import ROW_NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.pipeline.read import Sheet

CODE: Final = "may_have_left"
_SAYS_SO: Final = pattern("everywhere", "of_remarks")
_LEFT: Final = (
    rf"(?i)\b(?:{_SAYS_SO})\b|^\s*(?:{pattern('whole_remarks')})\s*[.!]*\s*$"
    rf"|^\W*(?:(?:has|have|now)\W+)?joined\s+(?:the\s+)?(?:{pattern('parties')})\W*$"
)
#: "Not deceased", which says the opposite. Phrases with a "not" of their own aren't taken apart.
_NOT: Final = (
    r"(?i)\b(?:not|never|isn.?t|nie|nooit)\s+(?:yet\s+|been\s+|to\s+be\s+)*"
    rf"(?:{pattern('deniable')})\b"
)
#: Another person of whom a remark may say so.
_RELATIVE: Final = (
    r"(?i)\b(?:husband|wife|spouse|father|mother|parents?|son|daughter|child|brother|sister|partner"
    r"|vader|moeder|ouers?|vrou|eggenoot)\b[ ,:]*(?:(?:is|has|have|was|were|both) )*"
    r"(?:deceased|died|dead|passed (?:away|on)|oorlede)\b"
)
_YES_NO: Final = r"(?:\(?(?:y(?:es)?|j|ja)\W+n(?:o|ee)?\)?)?"
#: Headers such as "Deceased?" or "Date of death", under which any cell but these says so.
_HEADER: Final = (
    r"(?i)^\W*(?:(?:date|day|reason|datum|rede)\W+(?:(?:of|for|van|vir)\W+)?)?(?:member\W+)?"
    r"(?:is\W+|has\W+|to\W+be\W+)?(?:deceased|death|died|resigned|resignation|suspended|suspension"
    r"|expelled|expulsion|left|leaving|removed?|removal|deleted?|terminated|termination|cancelled"
    r"|canceled|cancellation|inactive|exit|exited|withdrawn|oorlede|sterfdatum|bedank|geskors"
    r"|verwyder|gekanselleer|onaktief|ushonile|hlokahetse)"
    r"\W*(?:date|datum|reason|rede|member|membership)?"
    rf"\W*{_YES_NO}\W*$"
)
#: Headers such as "Active?", under which only a "no" says so.
_INVERSE: Final = (
    r"(?i)^\W*(?:is\W+|still\W+|nog\W+)*(?:an?\W+|in\W+|'n\W+|steeds\W+)*(?:active|aktief|aktiewe"
    r"|good\W+standing|current|alive|living|member|lid|lewend)(?:\W+(?:member|membership|lid))?"
    rf"\W*(?:still)?\W*{_YES_NO}\W*$"
)
_SAYS_NO: Final = (
    r"(?i)^\s*(?:n|no|nee|cha|hayi|tjhe|nnyaa|false|f|0+(?:[.,]0+)?|inactive|onaktief|no longer.*"
    r"|(?:not|nie)(?:\W+(?:an?|in|'n|meer|yet|currently))*"
    r"(?:\W+(?:active|aktief|members?|lid|good\W+standing|current|alive))?)\W*$"
)
_NO: Final = (
    r"(?i)^\s*(?:n|no|nee|cha|hayi|tjhe|nnyaa|false|f|0+(?:[.,]0+)?|none|nil|n\W?a\W?|not\b.*|nie\b.*"
    r"|unknown|alive|living|lewend|active|aktief|current|member|lid|never|nooit|[-\u2013\u2014.?]+)?\s*$"
)
#: Errors of formulas, as a look-up in the list of the dead has for everybody else.
_ERROR: Final = r"^\s*(?:#|Err:)"


def departures(sheet: Sheet, headers: dict[str, str]) -> Iterator[pl.DataFrame]:
    """The warnings on the cells that say so, as ``normalise`` has them.

    They are those of columns that aren't read, and of the status of the membership, which is. An
    unread column's header is added to ``headers``, under the name that its warnings have.
    """
    for number, header in enumerate(sheet.columns.unknown, start=1):
        if not is_of_other_person(header):
            yield from _of_column(sheet, header, f"remark/{number}", headers)
    for number, header in enumerate(sheet.columns.headers.get("status", ()), start=1):
        name = "status" if number == 1 else f"status/{number}"
        yield from _of_column(sheet, header, name, headers)


def _of_column(
    sheet: Sheet, header: str, name: str, headers: dict[str, str]
) -> Iterator[pl.DataFrame]:
    # By position: a header such as "^ID$" would be a pattern.
    cells = sheet.frame.to_series(sheet.frame.get_column_index(header)).alias("value")
    if cells.dtype != pl.String or cells.null_count() == len(cells):
        return
    # By polars: its patterns take a header of any length in linear time.
    of_header = pl.select(
        left=pl.lit(header).str.contains(_HEADER), stays=pl.lit(header).str.contains(_INVERSE)
    )
    if of_header["left"].item():
        says_so = ~cells.str.contains(_NO)
    else:
        bare = cells.str.replace_all(_RELATIVE, "").str.replace_all(_NOT, "")
        says_so = bare.str.contains(_LEFT)
        if of_header["stays"].item() or name.startswith("status"):
            says_so |= cells.str.contains(_SAYS_NO)
    where = (says_so & ~cells.str.contains(_ERROR)).fill_null(value=False)
    if where.any():
        headers.setdefault(name, header)
        raw = pl.DataFrame([sheet.frame[ROW_NUMBER], cells.alias(name)])
        yield select(raw, where, name, CODE)
