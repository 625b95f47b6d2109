"""Where the cells and records of a text file are, seen for all of them at once.

A file whose quotation marks all follow RFC 4180 can be read in one way only, and so can its number
of cells in each record. Two kinds of such files need a closer look: those in which a cell holds
lines that may be rows, because a quotation mark that isn't closed ends at the next one, and those
in which a record has too few cells and would have enough without its quotation marks.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Final

import numpy as np

from rollbook.pipeline.csv_encoding import pieces
from rollbook.pipeline.csv_records import Shape, has_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]
    Places = npt.NDArray[np.intp]
    Bytes = npt.NDArray[np.uint8]
    Counts = npt.NDArray[np.integer[Any]]

_LINE_END, _RETURN = (ord(sign) for sign in "\n\r")
#: A number of cells is usual where so many of the lines without quotation marks have it.
USUAL_SHARE: Final = 0.02


def layout_of(path: Path, shape: Shape) -> npt.NDArray[np.uint32] | None:
    """Count the cells of each record.

    Args:
        path: a file in UTF-8, in which every carriage return is before a line feed.
        shape: its delimiter, the width of its header row and the column of its ID numbers.

    Returns:
        None if the file doesn't follow the standard, or needs a closer look.
    """
    delimiter, quote = ord(shape.delimiter), ord(shape.quote)
    counts: list[Counts] = []
    is_open = False
    carried = 0
    for lines in _whole_lines(path):
        signs = np.frombuffer(lines, np.uint8)
        ends = np.flatnonzero(signs == _LINE_END)
        found = np.flatnonzero(signs == delimiter)
        if not is_open and quote not in lines:
            counts.append(_between(found, ends) + 1)
            continue
        inside: Flags = np.logical_xor.accumulate(signs == quote) ^ is_open
        if not _follows_the_standard(signs, inside, delimiter, quote):
            return None
        record_ends, outside = ends[~inside[ends]], found[~inside[found]]
        begins_inside = np.concatenate(([is_open], inside[ends[:-1]]))
        if begins_inside.any() and _may_hold_rows(lines, begins_inside, ends, found, shape):
            return None
        cells = _between(outside, record_ends) + 1
        cells[:1] += carried
        if len(outside) < len(found) and _has_too_few(cells, found, record_ends, shape):
            return None
        counts.append(cells)
        is_open = bool(inside[-1])
        carried = (0 if len(cells) else carried) + int(
            (outside > record_ends.max(initial=-1)).sum()
        )
    if is_open:
        return None
    return np.concatenate([np.empty(0, np.uint32), *counts]).astype(np.uint32)


def usual_widths(path: Path, shape: Shape) -> frozenset[int]:
    """How many cells lines without quotation marks have, as far as that is common."""
    delimiter, quote = ord(shape.delimiter), ord(shape.quote)
    totals = np.zeros(1, np.int64)
    for lines in _whole_lines(path):
        signs = np.frombuffer(lines, np.uint8)
        ends = np.flatnonzero(signs == _LINE_END)
        cells = _between(np.flatnonzero(signs == delimiter), ends)
        is_plain = _between(np.flatnonzero(signs == quote), ends) == 0
        seen = np.bincount(cells[is_plain])
        totals, seen = (seen, totals) if len(seen) > len(totals) else (totals, seen)
        totals[: len(seen)] += seen
    # One cell is a blank line or a note.
    totals[:1] = 0
    common = np.flatnonzero(totals >= max(1, USUAL_SHARE * totals.sum()))
    return frozenset(int(delimiters) + 1 for delimiters in common)


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The file a piece at a time, each of them whole lines; the last line gets an end."""
    rest: list[bytes] = []
    is_first = True
    for piece in pieces(path):
        lines = piece.removeprefix(codecs.BOM_UTF8) if is_first else piece
        is_first = False
        end = lines.rfind(b"\n") + 1
        if end:
            yield b"".join((*rest, lines[:end])) if rest else lines[:end]
            rest = []
        if end < len(lines):
            rest.append(lines[end:])
    if rest:
        yield b"".join((*rest, b"\n"))


def _between(places: Places, ends: Places) -> Counts:
    """How many of the places are before each end and after the one before it."""
    return np.diff(np.searchsorted(places, ends), prepend=0)


def _follows_the_standard(signs: Bytes, inside: Flags, delimiter: int, quote: int) -> bool:
    """Does every quotation mark begin or end a whole cell, or is it one of two inside a cell?"""
    marks = np.flatnonzero(signs == quote)
    opens = inside[marks]
    # The last sign is a line end, and so is the one before the first.
    before, after = signs[marks[opens] - 1], signs[marks[~opens] + 1]
    begins = (before == delimiter) | (before == _LINE_END) | (before == quote)
    closes = (after == delimiter) | (after == _LINE_END) | (after == _RETURN) | (after == quote)
    return bool(begins.all() and closes.all())


def _may_hold_rows(
    lines: bytes, begins_inside: Flags, ends: Places, found: Places, shape: Shape
) -> bool:
    """Is there a line that begins inside a cell and looks like a row?"""
    delimiters = _between(found, ends)
    if shape.width is not None and (delimiters[begins_inside] >= shape.width - 1).any():
        return True
    starts = np.concatenate(([0], ends[:-1] + 1))
    suspects = np.flatnonzero(begins_inside & (delimiters > 0)).tolist()
    return any(
        has_id(lines[starts[at] : ends[at]].decode("utf-8", "replace"), shape) for at in suspects
    )


def _has_too_few(cells: Counts, found: Places, record_ends: Places, shape: Shape) -> bool:
    """Has a record fewer cells than the header row, and would have enough without its marks?"""
    if shape.width is None:
        return False
    without = _between(found, record_ends) + 1
    return bool(((cells < (shape.named or shape.width)) & (without >= shape.width)).any())
