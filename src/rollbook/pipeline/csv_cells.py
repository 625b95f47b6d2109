"""The cells of a record of a text file, under one dialect or in every way that there is."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from operator import add
from typing import Final

#: The most cells that begin with a quotation mark in a line for which other readings are tried.
_MOST_QUOTED: Final = 40


@dataclass(frozen=True, slots=True)
class Shape:
    """The table's properties that are known when its records are separated."""

    delimiter: str
    quote: str = '"'
    #: Whether a backslash makes the quotation mark, the delimiter, the line end or the backslash
    #: after it text; None if each line is to decide.
    has_escapes: bool | None = None
    #: Cells of the header row; None as long as it isn't known.
    width: int | None = None
    #: The same without those at its end that are empty.
    named: int | None = None
    #: The usual numbers of cells in lines without quotation marks.
    usual: frozenset[int] = frozenset()
    #: The column of the ID numbers, from 0.
    id_column: int | None = None
    #: The column of passport numbers, which may be the same.
    passport_column: int | None = None


@dataclass(slots=True)
class Split:
    """The cells of a record, and how far their quotation marks follow the standard."""

    cells: list[str]
    #: Cells in which text follows a closing quotation mark.
    loose: list[int]
    #: The cell whose quotation mark isn't closed.
    open_at: int | None = None
    #: Whether a cell without quotation marks around it has one inside.
    has_stray: bool = False


def escapes(delimiter: str, quote: str) -> set[str]:
    """What is read differently if backslashes escape; a line end may be the third."""
    return {f"\\{quote}", f"\\{delimiter}"}


def split(text: str, shape: Shape) -> Split:
    """The cells of a record as spreadsheet programs read it, spaces before a quotation mark apart.

    A cell that begins with a quotation mark ends at the delimiter after the next single one; what
    is between these two belongs to it. Elsewhere a quotation mark is text.
    """
    delimiter, quote, has_escapes = shape.delimiter, shape.quote, shape.has_escapes
    found = Split([], [])
    at, end = 0, len(text)
    while True:
        start = at
        while start < end and text[start] == " ":
            start += 1
        if start < end and text[start] == quote:
            close = closing(text, start + 1, quote, has_escapes=has_escapes)
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
            if quote in cell and not found.has_stray:
                found.has_stray = not has_escapes or _has_unescaped(cell, quote)
        found.cells.append(_unescaped(cell, shape) if has_escapes else cell)
        if stop == end:
            return found
        at = stop + 1


def closing(text: str, at: int, quote: str, *, has_escapes: bool | None) -> int:
    """Where the quotation mark is that closes a cell; -1 if there is none."""
    if has_escapes:
        at = _past(text, at, rf"[^\\{quote}]++|{quote}{quote}")
        return at if text.startswith(quote, at) else -1
    while (at := text.find(quote, at)) >= 0:
        if not text.startswith(quote, at + 1):
            return at
        at += 2
    return -1


def _delimiter(text: str, at: int, delimiter: str, *, has_escapes: bool | None) -> int:
    """Where the next delimiter is, or the end of the text."""
    if has_escapes:
        at = _past(text, at, rf"[^\\{re.escape(delimiter)}]++")
        return at if text.startswith(delimiter, at) else len(text)
    found = text.find(delimiter, at)
    return len(text) if found < 0 else found


def _past(text: str, at: int, skipped: str) -> int:
    """Where something is that is neither skipped nor a backslash with the sign after it."""
    found = _skipper(skipped).match(text, at)
    assert found is not None
    return found.end()


@lru_cache(maxsize=32)
def _skipper(skipped: str) -> re.Pattern[str]:
    # In one go: a file may have thousands of backslashes in a line.
    return re.compile(rf"(?:{skipped}|\\.)*+", re.DOTALL)


def is_escaped(text: str, at: int) -> bool:
    """Is there an odd number of backslashes before a place?"""
    if not text.endswith("\\", 0, at):
        return False
    before = text[:at]
    return (at - len(before.rstrip("\\"))) % 2 == 1


def _has_unescaped(cell: str, quote: str) -> bool:
    return cell.startswith(quote, _past(cell, 0, rf"[^\\{quote}]++"))


def bare(cell: str) -> str:
    """A cell's text apart from its backslashes."""
    return cell.replace("\\", "")


@lru_cache(maxsize=8)
def _escaped(delimiter: str, quote: str) -> re.Pattern[str]:
    return re.compile(rf"\\([\\\n{re.escape(delimiter)}{re.escape(quote)}])")


def _unescaped(cell: str, shape: Shape) -> str:
    return _escaped(shape.delimiter, shape.quote).sub(r"\1", cell) if "\\" in cell else cell


def cell_of(text: str, shape: Shape) -> str:
    """The value of a cell from its text in the file."""
    quote, inner = shape.quote, text.strip(" ")
    if len(inner) < 2 or inner[0] != quote:
        return text
    close = closing(inner, 1, quote, has_escapes=shape.has_escapes)
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
    """The ways to read a line as ``width`` cells, two at most.

    A cell ends at the next delimiter. One that begins with a quotation mark may also end at a later
    one that has a quotation mark before it, or at the one that ``split`` finds.

    Returns:
        The texts of the cells as they are in the line, and how many steps it took.
    """
    ends = [found.start() for found in re.finditer(re.escape(shape.delimiter), line)]
    if shape.has_escapes:
        ends = [at for at in ends if not is_escaped(line, at)]
    ends.append(len(line))
    #: Delimiters that are inside cells.
    inside = len(ends) - width
    starts = [0, *(at + 1 for at in ends[:-1])]
    begins = [_begins(line, start, shape.quote) for start in starts]
    quoted = [at for at, is_quoted in enumerate(begins) if is_quoted]
    if inside < 0 or width < 1 or len(quoted) > _MOST_QUOTED:
        return [], 1
    if not inside:
        return [_between(line, starts, ends)], 1
    closes = [_ends(line, end, shape.quote) for end in ends]
    marks = (begins, closes)
    stops = [_stops(line, at, at + inside, starts, ends, marks, shape) for at in quoted]
    after = [[bisect_right(quoted, stop) for stop in row] for row in stops]
    # The number of readings from a cell in quotation marks on, by the delimiters left to use.
    ways = [[0] * (inside + 1) for _ in range(len(quoted) + 1)]
    ways[-1][0] = 1
    steps = 1
    for number in reversed(range(len(quoted))):
        steps += (inside + 1) * len(stops[number])
        row = ways[number]
        for stop, later in zip(stops[number], after[number], strict=True):
            spent = stop - quoted[number]
            row[spent:] = map(add, row[spent:], ways[later])
        ways[number] = [min(2, count) for count in row]
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
    line: str,
    at: int,
    last: int,
    starts: list[int],
    ends: list[int],
    marks: tuple[list[bool], list[bool]],
    shape: Shape,
) -> list[int]:
    """The delimiters, up to the last one, at which a cell in quotation marks may end.

    ``marks`` says which cells begin with a quotation mark, and which end with one.
    """
    begins, closes = marks
    stops = [at]
    start = line.index(shape.quote, starts[at])
    for stop in range(at + 1, min(last + 1, len(ends))):
        # Two cells in quotation marks aren't one.
        if begins[stop] and closes[stop - 1]:
            break
        if closes[stop]:
            stops.append(stop)
    close = closing(line, start + 1, shape.quote, has_escapes=shape.has_escapes)
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
