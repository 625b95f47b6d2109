"""The records of a text file whose quotation marks don't follow the standard.

A file that follows RFC 4180 never comes here. In the others a quotation mark may be an inch mark,
a nickname's, or one that was never closed, and a line may be read in several ways. What decides is
the number of cells: that of the header row, and those of the lines without quotation marks. Where
two ways fit, the row is refused; where rows could be swallowed, the file is.

A backslash may be text, or make the quotation mark or the delimiter after it text. Which of the two
is decided by the lines that fit one of the readings and not the other; see ``escapes_of``.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rollbook.errors import UnreadableFileError
from rollbook.languages import phrase
from rollbook.pipeline.csv_cells import (
    Shape,
    Split,
    bare,
    cell_of,
    closing,
    escapes,
    is_escaped,
    readings,
    split,
)
from rollbook.spreadsheets.workbook.worksheet import letters_of

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The most lines and the most characters of a cell.
MOST_LINES: Final = 300
MOST_CHARS: Final = 128 << 10
#: The most steps for other readings in a file, and the further ones for each line. No real file
#: needs as many; without the limit a hostile file would take hours.
_FREE_STEPS: Final = 1_000_000
_STEPS_A_LINE: Final = 200

#: The row can be read in two ways.
UNCLEAR: Final = "quotes_unclear"
#: A backslash of the row can be read in two ways.
BACKSLASH_UNCLEAR: Final = "backslash_unclear"
#: The row has too few cells, and its last one may be several.
DOUBTFUL: Final = "last_cell_doubtful"
#: A cell of the row has lines of its own that look like rows.
ROWS_IN_CELL: Final = "rows_in_cell"


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


@dataclass(frozen=True, slots=True)
class _Reading:
    """A record as it is under one meaning of the backslash."""

    shape: Shape
    #: Of the first line, or of the whole record if a later line closes its quotation mark.
    found: Split
    #: Lines of the record after the first.
    more: int
    #: 2: its marks follow the standard and it has its number of cells; 1: the same, but for marks
    #: inside cells without marks around them; 0: neither.
    rank: int


class Records:
    """The records of lines."""

    def __init__(self, lines: Iterator[str], shape: Shape, *, ends_with_line: bool = True) -> None:
        """``ends_with_line``: there is a line end after the last of the lines."""
        self._lines = lines
        self._shape = shape
        self._ends_with_line = ends_with_line
        self._waiting: deque[str] = deque()
        self._row = 0
        self._steps = _FREE_STEPS
        self._escapes = escapes(shape.delimiter, shape.quote)
        #: How many records fit better if backslashes escape (True) or if they don't (False).
        self.evidence: Counter[bool] = Counter()

    def __iter__(self) -> Iterator[Record]:
        """The records in their order.

        Raises:
            UnreadableFileError: a quotation mark isn't closed, and rows may be in its cell.
        """
        # In a line without these only the delimiters count. The output has double quotes.
        signs = {self._shape.quote, '"'}
        if self._shape.has_escapes:
            signs.add("\\")
        elif self._shape.has_escapes is None:
            signs |= self._escapes
        while (line := self._next()) is not None:
            self._row += 1
            self._steps += _STEPS_A_LINE
            if any(sign in line for sign in signs) or self._goes_on(line):
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
        if shape.has_escapes is None and ("\\" in line or split(line, shape).open_at is not None):
            plain = self._reading(line, replace(shape, has_escapes=False))
            escaped = self._reading(line, replace(shape, has_escapes=True))
            if self._are_rivals(plain, escaped):
                return self._rivals(line, plain, escaped)
            shape = self._better(line, plain, escaped).shape
        found = split(line, shape)
        if found.open_at is not None:
            return self._open(line, shape, found.open_at)
        if shape.has_escapes and self._goes_on(line):
            whole = self._reading(line, shape)
            if whole.rank:
                return self._taken(whole.found, whole.more)
        if found.loose:
            return self._loose(line, shape, found)
        return self._closed(line, shape, found)

    # --- the two meanings of a backslash ----------------------------------------------------------

    def _goes_on(self, line: str) -> bool:
        """Is the line's end inside a cell if backslashes escape?"""
        return self._shape.has_escapes is not False and is_escaped(line, len(line))

    def _reading(self, line: str, shape: Shape) -> _Reading:
        """The record that begins in a line."""
        found, more = split(line, shape), 0
        if found.open_at is not None:
            joined, added = self._joined(line, shape, found.open_at)
            if joined is not None:
                found, more = joined, added
        elif shape.has_escapes and is_escaped(line, len(line)):
            found, more = self._continued(line, shape)
        is_sound = found.open_at is None and not found.loose
        is_whole = shape.width is None or self._is_width(len(found.cells))
        rank = 0 if not (is_sound and is_whole) else 1 if found.has_stray else 2
        return _Reading(shape, found, more, rank)

    def _continued(self, line: str, shape: Shape) -> tuple[Split, int]:
        """The record of a line whose end, and maybe that of later ones, has a backslash."""
        texts, delimiters = [line], self._unescaped_delimiters(line)
        while is_escaped(texts[-1], len(texts[-1])):
            self._spend(1)
            below = self._peek(len(texts) - 1)
            # Another row can't be a part of a cell.
            if below is None or len(texts) > MOST_LINES or has_id(below, shape):
                return split(line, shape), 0
            delimiters += self._unescaped_delimiters(below)
            is_wide = shape.width is not None and delimiters >= shape.width
            if is_wide and shape.quote not in below:
                return split(line, shape), 0
            texts.append(below)
        return split("\n".join(texts), shape), len(texts) - 1

    def _unescaped_delimiters(self, line: str) -> int:
        delimiter = self._shape.delimiter
        return line.count(delimiter) - line.count(f"\\{delimiter}")

    def _is_width(self, count: int) -> bool:
        width = self._shape.width or 0
        return (self._shape.named or width) <= count <= width or count in self._shape.usual

    def _are_rivals(self, plain: _Reading, escaped: _Reading) -> bool:
        """Do both readings fit equally well, with text in other cells? Evidence is counted here."""
        if self._shape.width is None or (
            plain.more == escaped.more
            and list(map(bare, plain.found.cells)) == list(map(bare, escaped.found.cells))
        ):
            return False
        if plain.rank != escaped.rank:
            self.evidence[escaped.rank > plain.rank] += 1
            return False
        return plain.rank > 0

    def _rivals(self, line: str, plain: _Reading, escaped: _Reading) -> Record:
        """The refused record of two readings.

        Raises:
            UnreadableFileError: they differ in which lines belong to it, and others may be rows.
        """
        more = max(plain.more, escaped.more)
        below = [self._peek(at) or "" for at in range(more)]
        if any(has_id(other, self._shape) for other in below):
            at = split(line, (plain if plain.more else escaped).shape).open_at or 0
            raise _open_quote("open_quote", self._row, at)
        record = self._taken(plain.found, more)
        record.problem = BACKSLASH_UNCLEAR
        return record

    def _better(self, line: str, plain: _Reading, escaped: _Reading) -> _Reading:
        """The reading that fits the line, the plain one if both do or neither does."""
        if plain.rank and plain.rank >= escaped.rank:
            return plain
        first = split(line, escaped.shape)
        goes_on = first.open_at is not None and f"\\{self._shape.quote}" in line
        return escaped if escaped.rank or (goes_on and not first.loose) else plain

    def _ways(self, line: str, width: int, shape: Shape) -> list[list[str]]:
        """The ways to read a line as ``width`` cells; see ``readings``.

        Raises:
            UnreadableFileError: the file takes too many steps.
        """
        ways, steps = readings(line, width, shape)
        self._spend(steps)
        return ways

    def _spend(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise UnreadableFileError(phrase("refusal.file.many_quotes", row=str(self._row)))

    # --- a line by itself -------------------------------------------------------------------------

    def _closed(self, line: str, shape: Shape, found: Split) -> Record:
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

    def _loose(self, line: str, shape: Shape, found: Split) -> Record:
        """A line in which something follows a closing quotation mark."""
        width, count = shape.width, len(found.cells)
        if width is None:
            return Record(found.cells, is_loose=True)
        for wanted in (width, *sorted(shape.usual - {width}, reverse=True)):
            ways = self._ways(line, wanted, shape)
            if len(ways) == 1:
                return Record([cell_of(text, shape) for text in ways[0]])
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
                said = "cut_off" if is_cut_off else "open_quote"
                raise _open_quote(said, self._row, open_at)
            return self._literal(line, shape, literal)
        region = [line, *(self._peek(at) or "" for at in range(more))]
        are_rows = literal is not None and all(self._is_row(other, shape) for other in region[1:])
        has_width = len(joined.cells) == width
        if sum(has_id(other, shape) for other in region) > 1 and (has_width or not are_rows):
            raise _open_quote("open_quote", self._row, open_at)
        if are_rows and not has_width:
            return self._literal(line, shape, literal)
        record = self._taken(joined, more)
        if are_rows:
            record.problem = ROWS_IN_CELL
        return record

    def _taken(self, joined: Split, more: int) -> Record:
        for _ in range(more):
            self._waiting.popleft()
        return Record(joined.cells)

    def _literal(self, line: str, shape: Shape, way: list[str] | None) -> Record:
        texts = line.split(shape.delimiter) if way is None else way
        return Record([cell_of(text, shape) for text in texts], has_literal_quote=True)

    def _joined(self, line: str, shape: Shape, open_at: int) -> tuple[Split | None, int]:
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
            if closing(below, 0, shape.quote, has_escapes=shape.has_escapes) < 0:
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


def escapes_of(records: Records) -> bool | None:
    """Whether backslashes escape in a file whose shape leaves that open.

    Returns:
        None if no record shows it, or records show both.
    """
    for _ in records:
        if len(records.evidence) > 1:
            return None
    return next(iter(records.evidence), None)


_ID: Final = re.compile(r"(?:\d{6,13}|\d[.,]\d+E\+?\d+)", re.IGNORECASE)
#: A date, or a phone number: in a cell of several lines they may be where a row has its ID number.
_NO_ID: Final = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}|0\d{2}[ -]?\d{3}[ -]?\d{4}")
_NO_DIGITS: Final = re.compile(r"[\s'\"=.\-\u2018\u2019\u00a0]+")


#: A passport number; it has more digits than house numbers and postal codes.
_PASSPORT: Final = re.compile(
    r"(?:[A-Z]{1,2}[ -])?(?=(?:[A-Z]*[0-9]){5})[A-Z0-9]{5,15}", re.IGNORECASE
)


def has_id(line: str, shape: Shape) -> bool:
    """Is there what looks like an ID or passport number where a row would have it?"""
    cell = _cell_at(line, shape.id_column, shape)
    if _ID.fullmatch(_NO_DIGITS.sub("", cell)) or _ID.fullmatch(cell):
        return True
    return _PASSPORT.fullmatch(_cell_at(line, shape.passport_column, shape)) is not None


def _cell_at(line: str, column: int | None, shape: Shape) -> str:
    """The text of a line's cell; empty where it has none, a date or a phone number."""
    if column is None:
        return ""
    cells = line.split(shape.delimiter, column + 1)
    if len(cells) <= max(column, 1):
        return ""
    cell = cells[column].strip(" \t'\"=")
    return "" if _NO_ID.fullmatch(cell) else cell


def _open_quote(said: str, row: int, column: int) -> UnreadableFileError:
    cell = f"{letters_of(column)}{row}"
    return UnreadableFileError(phrase(f"refusal.file.{said}", row=str(row), cell=cell))
