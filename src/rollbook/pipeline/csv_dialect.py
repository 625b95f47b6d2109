"""The dialect of a text file: its delimiter, its quotation mark and the wrapping of whole lines.

It is detected from the beginning of the file. The delimiter is the one that yields a header row;
where none does, the one with which most lines have the same number of cells.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from rollbook.pipeline.csv_cells import Shape
from rollbook.pipeline.csv_records import Records
from rollbook.pipeline.header import SEARCH_ROWS, Texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rollbook.pipeline.header import Header

    FindHeader: TypeAlias = Callable[[Iterable[Texts]], Header | None]

DELIMITERS: Final = ",;\t|"
#: The number of lines that are searched for quotation marks.
_MOST_LINES: Final = 200
#: The line that gives Excel the file's delimiter. It is no row.
_SAID: Final = re.compile(r'"?sep=([!-/:-@\[-`{-~\t ])"?;*,*\s*', re.IGNORECASE)
#: A cell in quotation marks, which may hold line ends and other delimiters.
_QUOTED: Final = re.compile(r'(^|[,;\t|])"(?:[^"]|"")*"(?=[,;\t|\r\n]|\Z)', re.MULTILINE)
#: A line that is one cell in quotation marks.
_WRAPPED: Final = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a text file is written."""

    shape: Shape
    #: Whether the first line names the delimiter.
    has_said_line: bool = False
    #: Whether each line as a whole is in quotation marks.
    is_wrapped: bool = False
    #: The index of the header row among the records; None if no row has a header for ID numbers.
    header_index: int | None = None

    @property
    def is_standard(self) -> bool:
        """Whether the file may follow RFC 4180."""
        return not self.has_said_line and not self.is_wrapped and self.shape.quote == '"'


def dialect_of(start: str, find: FindHeader) -> Dialect:
    """Find the dialect by the first lines of a file, all of them whole.

    ``find`` finds the header row among the first rows.
    """
    lines = start.replace("\r\n", "\n").removesuffix("\n").split("\n")
    said = _SAID.fullmatch(lines[0])
    if said is not None:
        lines = lines[1:]
    tried = DELIMITERS if said is None else said[1] + DELIMITERS.replace(said[1], "")
    found = _best(lines, tried, find)
    if found is None:
        wrapped = [line for line in lines if line.strip()]
        if wrapped and sum(map(_is_wrapped, wrapped)) > len(wrapped) / 2:
            found = _best([unwrapped(line) for line in lines], tried, find)
            if found is not None:
                found = replace(found, is_wrapped=True)
    if found is None:
        delimiter = said[1] if said else _most_regular(lines)
        found = Dialect(Shape(delimiter))
    return replace(found, has_said_line=said is not None)


def _best(lines: Sequence[str], delimiters: str, find: FindHeader) -> Dialect | None:
    """The dialect with which there is a header row, and with the most known headers."""
    best: tuple[tuple[bool, int], Dialect] | None = None
    for delimiter in delimiters:
        if not any(delimiter in line for line in lines):
            continue
        # Each line decides whether a backslash escapes the next character; see ``csv_records``.
        shape = Shape(delimiter, "'" if _is_single(lines, delimiter) else '"')
        found = islice(Records(iter(lines), shape), SEARCH_ROWS + 1)
        records = [
            record.cells if record.line is None else record.line.split(delimiter)
            for record in found
        ]
        # A line without the delimiter is no evidence for it.
        header = find([cells if len(cells) > 1 else [] for cells in records])
        if header is None:
            continue
        columns = header.columns
        fitness = (not columns.missing, len(columns.known))
        if best is None or fitness > best[0]:
            known = replace(
                shape,
                width=len(records[header.index]),
                named=max(at for at, text in enumerate(header.texts, 1) if text),
                id_column=header.id_column,
                passport_column=header.passport_column,
            )
            best = fitness, Dialect(known, header_index=header.index)
    return best[1] if best else None


def _is_single(lines: Sequence[str], delimiter: str) -> bool:
    """Are cells in single quotation marks? One before an ID number only makes it text in Excel."""
    some = list(islice(lines, _MOST_LINES))
    closing = re.compile(rf"' *(?:{re.escape(delimiter)}|$)")
    if not any(map(closing.search, some)):
        return False
    cells = [cell.lstrip(" ") for line in some for cell in line.split(delimiter)]
    begun = sum(cell.startswith("'") for cell in cells)
    if begun <= sum(cell.startswith('"') for cell in cells):
        return False
    found = Records(iter(some), Shape(delimiter, "'"))
    records = [record for record in found if record.cells or record.line]
    widths = Counter(len(record.cells) for record in records)
    return (
        not any(record.is_loose or record.has_literal_quote for record in records)
        and min(begun, widths.most_common(1)[0][1]) >= len(records) - 1 > 0
    )


def _is_wrapped(line: str) -> bool:
    return _WRAPPED.fullmatch(line.strip()) is not None


def unwrapped(line: str) -> str:
    """The line that is inside a line which is one cell in quotation marks."""
    text = line.strip()
    return text[1:-1].replace('""', '"') if _is_wrapped(line) else line


def _most_regular(lines: Sequence[str]) -> str:
    """The delimiter with which most of the first lines have the same number of cells."""
    plain = _QUOTED.sub(r"\1-", "\n".join(lines)).split("\n")

    def fitness(delimiter: str) -> tuple[int, int]:
        counts = [line.count(delimiter) for line in plain[:50] if line.strip()]
        usual = max(set(counts), key=counts.count, default=0)
        return (counts.count(usual) if usual else 0, usual)

    return max(DELIMITERS, key=fitness)
