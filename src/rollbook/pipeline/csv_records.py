"""The records of a text file whose quotation marks don't follow the standard.

A file that follows RFC 4180 never comes here. In the others a quotation mark may be an inch mark,
a nickname's, or one that was never closed, and a line may be read in several ways. What decides is
the number of cells: that of the header row, and those of the lines without quotation marks. Where
two ways fit, the row is refused; where rows could be swallowed, the file is.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from rollbook.errors import UnreadableFileError
from rollbook.spreadsheets.workbook.worksheet import letters_of

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The most lines and the most characters of a cell.
MOST_LINES: Final = 300
MOST_CHARS: Final = 128 << 10
#: The most cells that begin with a quotation mark in a line for which other readings are tried.
_MOST_QUOTED: Final = 40
#: The most steps for other readings in a file, and the further ones for each line. No real file
#: needs as many; without the limit a hostile file would take hours.
_FREE_STEPS: Final = 1_000_000
_STEPS_A_LINE: Final = 200

OPEN_QUOTE: Final = (
    "Row {0} opens a quotation mark in cell {1}{0} and doesn't close it, so it can't be seen where "
    "its cells and the rows below it end. Nothing was changed. Correct the cell in the file: write "
    "a quotation mark inside a cell twice, or remove it. Then send the file again."
)
CUT_OFF: Final = (
    "The file ends within cell {1}{0}, which opens a quotation mark and doesn't close it: a part "
    "of the file seems to be missing. Nothing was changed. Copy or save the file once more, look "
    "at its last row, and send it again."
)
TOO_MANY_QUOTES: Final = (
    "Up to row {0} the file has so many quotation marks that open nothing or close nothing that "
    "its cells can't be seen. Nothing was changed. Open the file in Excel or LibreOffice, check "
    "its rows, save it as .xlsx and send that."
)
#: The row can be read in two ways.
UNCLEAR: Final = "quotes_unclear"
#: The row has too few cells, and its last one may be several.
DOUBTFUL: Final = "last_cell_doubtful"
#: A cell of the row has lines of its own that look like rows.
ROWS_IN_CELL: Final = "rows_in_cell"


@dataclass(frozen=True, slots=True)
class Shape:
    """The table's properties that are known when its records are separated."""

    delimiter: str
    quote: str = '"'
    #: Whether a quotation mark inside a cell has a backslash before it.
    has_escapes: bool = False
    #: Cells of the header row; None as long as it isn't known.
    width: int | None = None
    #: The same without those at its end that are empty.
    named: int | None = None
    #: The usual numbers of cells in lines without quotation marks.
    usual: frozenset[int] = frozenset()
    #: The column of the ID numbers, from 0.
    id_column: int | None = None


@dataclass(slots=True)
class Record:
    """One row of the file."""

    cells: list[str]
    #: The line, if only its delimiters divide it; there are no cells then.
    line: str | None = None
    #: Whether a quotation mark that only begins a cell was read as text.
    has_literal_quote: bool = False
    #: Whether text follows the closing quotation mark of a cell.
    is_loose: bool = False
    #: Whether the whole line was in quotation marks.
    was_wrapped: bool = False
    #: The code of a problem of the row.
    problem: str | None = None


@dataclass(slots=True)
class _Split:
    cells: list[str]
    #: Cells in which text follows a closing quotation mark.
    loose: list[int]
    #: The cell whose quotation mark isn't closed.
    open_at: int | None = None


class Records:
    """The records of lines."""

    def __init__(self, lines: Iterator[str], shape: Shape, *, ends_with_line: bool = True) -> None:
        """Begin.

        Args:
            lines: of the file, without their ends.
            shape: what is known of the table.
            ends_with_line: is there a line end after the last line?
        """
        self._lines = lines
        self._shape = shape
        self._ends_with_line = ends_with_line
        self._waiting: deque[str] = deque()
        self._row = 0
        self._steps = _FREE_STEPS
        self._escape = "\\" + shape.delimiter

    def __iter__(self) -> Iterator[Record]:
        """The records in their order.

        Raises:
            UnreadableFileError: a quotation mark isn't closed, and rows may be in its cell.
        """
        # In a line without these only the delimiters count. The output has double quotes.
        signs = {self._shape.quote, '"', "\\" if self._shape.has_escapes else self._escape}
        while (line := self._next()) is not None:
            self._row += 1
            self._steps += _STEPS_A_LINE
            if any(sign in line for sign in signs):
                yield self._record(line)
            else:
                yield Record([], line)

    def _next(self) -> str | None:
        return self._waiting.popleft() if self._waiting else next(self._lines, None)

    def _peek(self, number: int) -> str | None:
        """A line further below; 0 is the next one."""
        while len(self._waiting) <= number:
            line = next(self._lines, None)
            if line is None:
                return None
            self._waiting.append(line)
        return self._waiting[number]

    def _record(self, line: str) -> Record:
        shape = self._shape
        found = split(line, shape)
        if "\\" in line and not shape.has_escapes:
            shape = self._escaped_shape(line, found)
            if shape.has_escapes:
                found = split(line, shape)
        if found.open_at is not None:
            return self._open(line, shape, found.open_at)
        if found.loose:
            return self._loose(line, shape, found)
        return self._closed(line, shape, found)

    def _escaped_shape(self, line: str, plain: _Split) -> Shape:
        """The shape of a line in which a backslash may make the next sign text."""
        shape = self._shape
        if self._has_width(plain):
            return shape
        if plain.open_at is not None:
            joined, _ = self._joined(line, shape, plain.open_at)
            if joined is not None and self._has_width(joined):
                return shape
        escaped = replace(shape, has_escapes=True)
        found = split(line, escaped)
        goes_on = found.open_at is not None and f"\\{shape.quote}" in line and not found.loose
        return escaped if goes_on or self._has_width(found) else shape

    def _has_width(self, found: _Split) -> bool:
        """Does it follow the standard, and has it as many cells as the header row?"""
        if found.loose or found.open_at is not None:
            return False
        return self._shape.width in (None, len(found.cells))

    def _ways(self, line: str, width: int, shape: Shape) -> list[list[str]]:
        """The ways to read a line as so many cells; see ``readings``.

        Raises:
            UnreadableFileError: the file takes too many steps.
        """
        ways, steps = readings(line, width, shape)
        self._spend(steps)
        return ways

    def _spend(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise UnreadableFileError(TOO_MANY_QUOTES.format(self._row))

    # --- a line by itself -------------------------------------------------------------------------

    def _closed(self, line: str, shape: Shape, found: _Split) -> Record:
        """A line that follows the standard."""
        width, count = shape.width, len(found.cells)
        if width is None or count >= (shape.named or width) or count in shape.usual:
            return Record(found.cells)
        if count == 1:
            inner = split(found.cells[0], shape)
            if inner.open_at is None and not inner.loose and len(inner.cells) == width:
                return Record(inner.cells, was_wrapped=True)
        if line.count(shape.delimiter) + 1 < width:
            return Record(found.cells)
        # Without its marks the line has cells enough. Empty ones at the end may be left out, so a
        # last cell that has a delimiter inside is likely one. What a cell before the last is says
        # in which columns the others are.
        *before, last = found.cells
        is_likely = not any(shape.delimiter in cell for cell in before) and all(
            part.strip(' "') for part in last.split(shape.delimiter)
        )
        return Record(found.cells, problem=DOUBTFUL if is_likely else UNCLEAR)

    def _loose(self, line: str, shape: Shape, found: _Split) -> Record:
        """A line in which something follows a closing quotation mark."""
        width, count = shape.width, len(found.cells)
        if width is None:
            return Record(found.cells, is_loose=True)
        for wanted in (width, *sorted(shape.usual - {width}, reverse=True)):
            ways = self._ways(line, wanted, shape)
            if len(ways) == 1:
                return Record([_cell(text, shape) for text in ways[0]])
            if ways:
                return Record(found.cells, problem=UNCLEAR)
        return Record(found.cells, problem=UNCLEAR if count < width else None)

    # --- several lines ----------------------------------------------------------------------------

    def _open(self, line: str, shape: Shape, open_at: int) -> Record:
        """A line with a quotation mark that isn't closed in it."""
        width = shape.width
        joined, more = self._joined(line, shape, open_at)
        if width is None:
            return self._taken(joined, more) if joined else self._literal(line, shape, None)
        ways = self._ways(line, width, shape)
        literal = ways[0] if len(ways) == 1 else None
        if joined is None:
            is_cut_off = self._peek(0) is None and not self._ends_with_line
            if literal is None or is_cut_off:
                sentence = CUT_OFF if is_cut_off else OPEN_QUOTE
                raise UnreadableFileError(sentence.format(self._row, letters_of(open_at)))
            return self._literal(line, shape, literal)
        region = [line, *(self._peek(at) or "" for at in range(more))]
        are_rows = literal is not None and all(self._is_row(other, shape) for other in region[1:])
        has_width = len(joined.cells) == width
        if sum(has_id(other, shape) for other in region) > 1 and (has_width or not are_rows):
            raise UnreadableFileError(OPEN_QUOTE.format(self._row, letters_of(open_at)))
        if are_rows and not has_width:
            return self._literal(line, shape, literal)
        record = self._taken(joined, more)
        if are_rows:
            record.problem = ROWS_IN_CELL
        return record

    def _taken(self, joined: _Split, more: int) -> Record:
        for _ in range(more):
            self._waiting.popleft()
        return Record(joined.cells)

    def _literal(self, line: str, shape: Shape, way: list[str] | None) -> Record:
        texts = line.split(shape.delimiter) if way is None else way
        return Record([_cell(text, shape) for text in texts], has_literal_quote=True)

    def _joined(self, line: str, shape: Shape, open_at: int) -> tuple[_Split | None, int]:
        """The record that begins in a line and ends in a later one, and how many lines it adds.

        None if its quotation mark isn't closed, or isn't closed as the standard has it.
        """
        texts, chars = [line], len(line)
        for more in range(MOST_LINES):
            below = self._peek(more)
            if below is None:
                break
            texts.append(below)
            chars += len(below) + 1
            if chars > MOST_CHARS:
                break
            if _closing(below, 0, shape.quote, has_escapes=shape.has_escapes) < 0:
                continue
            found = split("\n".join(texts), shape)
            self._spend(len(found.cells) + len(texts))
            if any(at >= open_at for at in found.loose):
                break
            if found.open_at is None:
                return found, more + 1
        return None, 0

    def _is_row(self, line: str, shape: Shape) -> bool:
        if shape.quote not in line:
            return line.count(shape.delimiter) + 1 == shape.width
        return bool(self._ways(line, shape.width or 0, shape))


# --- cells of a line ------------------------------------------------------------------------------


def split(text: str, shape: Shape) -> _Split:
    """The cells of a record as spreadsheet programs read it, spaces before a quotation mark apart.

    A cell that begins with a quotation mark ends at the delimiter after the next single one; what
    is between these two belongs to it. Elsewhere a quotation mark is text.
    """
    delimiter, quote, has_escapes = shape.delimiter, shape.quote, shape.has_escapes
    found = _Split([], [])
    at, end = 0, len(text)
    while True:
        start = at
        while start < end and text[start] == " ":
            start += 1
        if start < end and text[start] == quote:
            close = _closing(text, start + 1, quote, has_escapes=has_escapes)
            if close < 0:
                found.open_at = len(found.cells)
                found.cells.append(text[at:])
                return found
            stop = _delimiter(text, close + 1, delimiter, has_escapes=has_escapes)
            inner, rest = text[start + 1 : close], text[close + 1 : stop]
            if rest.strip(" "):
                found.loose.append(len(found.cells))
            else:
                rest = ""
            cell = inner.replace(quote * 2, quote) + rest
        else:
            stop = _delimiter(text, at, delimiter, has_escapes=has_escapes)
            cell = text[at:stop]
        found.cells.append(_unescaped(cell, shape) if has_escapes else cell)
        if stop == end:
            return found
        at = stop + 1


def _closing(text: str, at: int, quote: str, *, has_escapes: bool) -> int:
    """Where the quotation mark is that closes a cell; -1 if there is none."""
    while (at := text.find(quote, at)) >= 0:
        if has_escapes and _is_escaped(text, at):
            at += 1
        elif text.startswith(quote, at + 1):
            at += 2
        else:
            return at
    return -1


def _delimiter(text: str, at: int, delimiter: str, *, has_escapes: bool) -> int:
    """Where the next delimiter is, or the end of the text."""
    while (at := text.find(delimiter, at)) >= 0:
        if not (has_escapes and _is_escaped(text, at)):
            return at
        at += 1
    return len(text)


def _is_escaped(text: str, at: int) -> bool:
    before = at
    while before and text[before - 1] == "\\":
        before -= 1
    return (at - before) % 2 == 1


@lru_cache(maxsize=8)
def _escapes(delimiter: str, quote: str) -> re.Pattern[str]:
    return re.compile(rf"\\([\\{re.escape(delimiter)}{re.escape(quote)}])")


def _unescaped(cell: str, shape: Shape) -> str:
    return _escapes(shape.delimiter, shape.quote).sub(r"\1", cell) if "\\" in cell else cell


def _cell(text: str, shape: Shape) -> str:
    """The value of a cell from its text in the file."""
    quote, inner = shape.quote, text.strip(" ")
    if len(inner) < 2 or inner[0] != quote:
        return text
    close = _closing(inner, 1, quote, has_escapes=shape.has_escapes)
    if close < 0:
        return text
    if close == len(inner) - 1:
        cell = inner[1:-1].replace(quote * 2, quote)
    elif inner[-1] == quote and inner[close - 1] in (" ", quote):
        # "Flat "B" St": the marks inside weren't doubled.
        cell = inner[1:-1].replace(quote * 2, quote)
    else:
        cell = inner[1:close].replace(quote * 2, quote) + inner[close + 1 :]
    return _unescaped(cell, shape) if shape.has_escapes else cell


def readings(line: str, width: int, shape: Shape) -> tuple[list[list[str]], int]:
    """The ways to read a line as so many cells, two at most.

    A cell ends at the next delimiter. One that begins with a quotation mark may also end at a later
    one that has a quotation mark before it, or at the one that ``split`` finds.

    Returns:
        The texts of the cells as they are in the line, and how many steps it took.
    """
    ends = [found.start() for found in re.finditer(re.escape(shape.delimiter), line)]
    if shape.has_escapes:
        ends = [at for at in ends if not _is_escaped(line, at)]
    ends.append(len(line))
    #: Delimiters that are inside cells.
    inside = len(ends) - width
    starts = [0, *(at + 1 for at in ends[:-1])]
    quoted = [at for at, start in enumerate(starts) if _begins(line, start, shape.quote)]
    if inside < 0 or width < 1 or len(quoted) > _MOST_QUOTED:
        return [], 1
    if not inside:
        return [_between(line, starts, ends)], 1
    stops = [_stops(line, at, at + inside, starts, ends, shape) for at in quoted]
    after = [[bisect_right(quoted, stop) for stop in row] for row in stops]
    # The number of readings from a cell in quotation marks on, by the delimiters left to use.
    ways = [[0] * (inside + 1) for _ in range(len(quoted) + 1)]
    ways[-1][0] = 1
    steps = 1
    for number in reversed(range(len(quoted))):
        steps += (inside + 1) * len(stops[number])
        for left in range(inside + 1):
            ways[number][left] = min(
                2,
                sum(
                    ways[later][left - (stop - quoted[number])]
                    for stop, later in zip(stops[number], after[number], strict=True)
                    if stop - quoted[number] <= left
                ),
            )
    found = []
    for way in range(ways[0][inside]):
        merged = _merged(way, inside, (quoted, stops, after, ways))
        kept = [at for at in range(len(ends)) if not any(a < at <= b for a, b in merged)]
        last = dict(merged)
        found.append([line[starts[at] : ends[last.get(at, at)]] for at in kept])
    return found, steps


def _between(line: str, starts: list[int], ends: list[int]) -> list[str]:
    return [line[start:end] for start, end in zip(starts, ends, strict=True)]


def _begins(line: str, start: int, quote: str) -> bool:
    while line.startswith(" ", start):
        start += 1
    return line.startswith(quote, start)


def _ends(line: str, end: int, quote: str) -> bool:
    while end and line[end - 1] == " ":
        end -= 1
    return line.endswith(quote, 0, end)


def _stops(
    line: str, at: int, last: int, starts: list[int], ends: list[int], shape: Shape
) -> list[int]:
    """The delimiters, up to the last one, at which a cell in quotation marks may end."""
    stops = [at]
    start = line.index(shape.quote, starts[at])
    for stop in range(at + 1, min(last + 1, len(ends))):
        # Two cells in quotation marks aren't one.
        if _begins(line, starts[stop], shape.quote) and _ends(line, ends[stop - 1], shape.quote):
            break
        if _ends(line, ends[stop], shape.quote):
            stops.append(stop)
    close = _closing(line, start + 1, shape.quote, has_escapes=shape.has_escapes)
    if close >= 0:
        loose = bisect_left(ends, close)
        if at < loose <= last and loose not in stops:
            stops.append(loose)
    return stops


def _merged(
    way: int,
    inside: int,
    found: tuple[list[int], list[list[int]], list[list[int]], list[list[int]]],
) -> list[tuple[int, int]]:
    """Of one of the ways, the first and the last cell of those that are joined."""
    quoted, stops, after, ways = found
    merged, number = [], 0
    while number < len(quoted):
        for stop, later in zip(stops[number], after[number], strict=True):
            spent = stop - quoted[number]
            there = ways[later][inside - spent] if spent <= inside else 0
            if way < there:
                merged.append((quoted[number], stop))
                inside -= spent
                number = later
                break
            way -= there
    return merged


_ID: Final = re.compile(r"(?:\d{6,13}|\d[.,]\d+E\+?\d+)", re.IGNORECASE)
_NO_DIGITS: Final = re.compile(r"[\s'\"=.\-\u2018\u2019\u00a0]+")


def has_id(line: str, shape: Shape) -> bool:
    """Is there what looks like an ID number where a row would have it?"""
    if shape.id_column is None:
        return False
    cells = line.split(shape.delimiter, shape.id_column + 1)
    if len(cells) <= max(shape.id_column, 1 if shape.id_column == 0 else 0):
        return False
    cell = cells[shape.id_column]
    return _ID.fullmatch(_NO_DIGITS.sub("", cell)) is not None or (
        _ID.fullmatch(cell.strip()) is not None
    )
