"""Legends: what colours of cells and codes mean, which Rollbook doesn't know."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Final

from rollbook.masking import masked
from rollbook.pipeline import no_members
from rollbook.pipeline.header import is_number, one_line
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from rollbook.pipeline.header import Header

_COLOUR: Final = (
    r"(?:red|green|yellow|blue|orange|pink|purple|gr[ae]y|brown|rooi|groen|geel|blou|oranje|pienk|pers"
    r"|grys|bruin|obomvu|bomvu|oluhlaza|luhlaza)"
)
#: "Red = deceased", "marked in red", "Yellow: not paid", "rows in grey".
_SAYS_SO: Final = re.compile(
    rf"\b{_COLOUR}\b\W{{0,3}}(?:=|:|-|\u2013|means?\b|beteken\b)"
    rf"|\b(?:marked|highlighted|shaded|coloured|colored|rows?|names?|members?|gemerk|verlig|rye|name|lede)"
    rf"(?: (?:are|is|was|were))?(?: (?:marked|highlighted|shaded))? in {_COLOUR}\b"
    # Not "members in green wards".
    r"(?!\s+[^\W\d_]+s\b)"
    rf"|^{_COLOUR}(?: text| rows?| cells?| names?)?\n",
    re.IGNORECASE,
)
_GONE: Final = rf"(?:{no_members.pattern('everywhere', 'of_names', 'whole_remarks')})\b"
#: "D = deceased", "L - lapsed", "DEC = deceased".
_CODE: Final = re.compile(
    rf"(?:(?:^|[,;:(\n])\s*[a-z0-9]['\"]?\s*(?:=|:|-|\u2013|means?\b|beteken\b)|\b[a-z0-9]{{1,4}}\s*=)"
    rf"\s*{_GONE}",
    re.IGNORECASE,
)
#: The same on a sheet of its own, where the code is in a cell.
_IN_CELLS: Final = re.compile(rf"^[a-z0-9]{{1,4}}\n{_GONE}[^\n]*$", re.IGNORECASE)
#: The header of a legend beside the list.
_KEY: Final = re.compile(r"^\W*(?:key|legend|colou?rs?|sleutel|legende|kleure?)\W*$", re.IGNORECASE)
#: Rows that may be a legend, at the end of the first rows or below its header.
_MOST_ROWS: Final = 20
_MOST_SHEET_ROWS: Final = 100
_MOST_COLUMNS: Final = 50
_MOST_QUOTED: Final = 60


def notes(rows: pl.DataFrame, header: Header) -> Iterator[Note]:
    """The notes on legends above the headers, below the list or beside it.

    ``rows`` are the first rows of the table, from the first on.
    """
    texts = list(_texts(rows[:, :_MOST_COLUMNS], header))
    for code, pattern in (("colours_not_read", _SAYS_SO), ("codes_not_read", _CODE)):
        text = next(filter(pattern.search, texts), None)
        if text is not None:
            yield _note(code, text)


def on_sheet(rows: pl.DataFrame) -> Iterator[Note]:
    """The note on a legend of codes that has a sheet of its own; ``rows`` are its first ones."""
    texts = map(_joined, rows[:, :_MOST_COLUMNS].head(_MOST_SHEET_ROWS).iter_rows())
    found = (text for text in texts if _IN_CELLS.search(text) or _CODE.search(text))
    for text in islice(found, 1):
        yield _note("codes_not_read", text)


def _note(code: str, text: str) -> Note:
    said = masked(text.replace("\n", " ").strip())[:_MOST_QUOTED]
    return Note(code, values={"said": said})


def is_legend(header: str) -> bool:
    """Whether a column is a legend beside the list, which says nothing of the rows."""
    return _KEY.match(header) is not None


def _texts(rows: pl.DataFrame, header: Header) -> Iterator[str]:
    """What may be a legend: the cells of a row on a line each."""
    yield from map(_joined, rows.head(header.index).iter_rows())
    below = rows.slice(header.index + 1)
    for column, name in enumerate(header.names[: rows.width]):
        if is_legend(name):
            yield from map(one_line, below.to_series(column).head(_MOST_ROWS))
    last = below.tail(_MOST_ROWS)
    if header.id_column < last.width:
        last = last.filter(~is_number(last.to_series(header.id_column)))
    yield from map(_joined, last.iter_rows())


def _joined(row: tuple[str | None, ...]) -> str:
    # A merged cell has its text in each of its columns.
    return "\n".join(dict.fromkeys(text for cell in row if (text := one_line(cell))))
