"""Where the cells and records of a text file are, seen for all of them at once.

A file whose quotation marks all follow RFC 4180 can be read in one way only, and so can its number
of cells in each record. Three kinds of such files need a closer look: those in which a cell holds
lines that may be rows, because a quotation mark that isn't closed ends at the next one; those in
which a record has too few cells and would have enough without its quotation marks; and those in
which a backslash may make a quotation mark, a delimiter or a line end text.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Final

import numpy as np

from rollbook.pipeline.csv_cells import Shape, escapes
from rollbook.pipeline.csv_encoding import pieces
from rollbook.pipeline.csv_records import has_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]
    Places = npt.NDArray[np.intp]
    Bytes = npt.NDArray[np.uint8]
    Counts = npt.NDArray[np.integer[Any]]

_LINE_END, _RETURN, _BACKSLASH = (ord(sign) for sign in "\n\r\\")
#: A line end after an odd number of backslashes.
_ESCAPED_END: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\\r?\n")
#: The share of lines without quotation marks that makes their number of cells a usual one.
USUAL_SHARE: Final = 0.02


def layout_of(path: Path, shape: Shape) -> npt.NDArray[np.uint32] | None:
    """Count the cells of each record of a file in UTF-8, whose carriage returns precede line feeds.

    Returns:
        None if the file doesn't follow the standard, or needs a closer look.
    """
    delimiter, quote = ord(shape.delimiter), ord(shape.quote)
    counts: list[Counts] = []
    is_open = False
    carried = 0
    for lines in _whole_lines(path):
        signs = np.frombuffer(lines, np.uint8)
        is_end, is_delimiter = signs == _LINE_END, signs == delimiter
        if _has_escape(lines, shape):
            return None
        if not is_open and quote not in lines:
            counts.append(_between(np.flatnonzero(is_delimiter), np.flatnonzero(is_end)) + 1)
            continue
        is_mark = signs == quote
        inside = _inside(is_mark, is_open=is_open)
        if not _follows_the_standard(signs, inside, is_mark, is_end | is_delimiter | is_mark):
            return None
        if (is_open or (is_end & inside).any()) and _may_hold_rows(
            lines, inside, is_end, is_delimiter, shape, is_open=is_open
        ):
            return None
        record_ends = np.flatnonzero(is_end & ~inside)
        outside = np.flatnonzero(is_delimiter & ~inside)
        cells = _between(outside, record_ends) + 1
        cells[:1] += carried
        if (is_delimiter & inside).any() and _has_too_few(
            cells, np.flatnonzero(is_delimiter), record_ends, shape
        ):
            return None
        counts.append(cells)
        is_open = bool(inside[-1])
        after = len(outside) - np.searchsorted(outside, record_ends.max(initial=-1))
        carried = int(after) + (0 if len(cells) else carried)
    if is_open:
        return None
    return np.concatenate([np.empty(0, np.uint32), *counts]).astype(np.uint32)


def may_have_escapes(path: Path, shape: Shape) -> bool:
    """Is there a backslash before a quotation mark, a delimiter or a line end?"""
    return any(_has_escape(lines, shape) for lines in _whole_lines(path))


def _has_escape(lines: bytes, shape: Shape) -> bool:
    if b"\\" not in lines:
        return False
    signs = escapes(shape.delimiter, shape.quote)
    return any(sign.encode() in lines for sign in signs) or _ESCAPED_END.search(lines) is not None


def usual_widths(path: Path, shape: Shape) -> frozenset[int]:
    """How many cells lines without quotation marks and escapes have, as far as that is common."""
    delimiter, quote = ord(shape.delimiter), ord(shape.quote)
    totals = np.zeros(1, np.int64)
    for lines in _whole_lines(path):
        signs = np.frombuffer(lines, np.uint8)
        ends = np.flatnonzero(signs == _LINE_END)
        cells = _between(np.flatnonzero(signs == delimiter), ends)
        is_odd = signs == quote
        # With an escaped delimiter or line end a line may have fewer cells or more than it seems.
        after = signs[1:]
        is_escape = (after == delimiter) | (after == _LINE_END) | (after == _RETURN)
        is_odd[:-1] |= (signs[:-1] == _BACKSLASH) & is_escape
        is_plain = _between(np.flatnonzero(is_odd), ends) == 0
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


def _inside(is_mark: Flags, *, is_open: bool) -> Flags:
    """Whether each sign is after an odd number of quotation marks, itself included.

    ``is_open``: the number before the first sign is odd.
    """
    size = len(is_mark)
    padded = np.zeros(-(-size // 64) * 64, np.bool_)
    padded[:size] = is_mark
    # 64 of them at a time, which is ten times as fast as one after the other.
    words = np.packbits(padded, bitorder="little").view("<u8")
    for bits in (1, 2, 4, 8, 16, 32):
        words ^= words << np.uint64(bits)
    is_odd = np.bitwise_xor.accumulate(words >> np.uint64(63))
    odd_before = np.concatenate(([np.uint64(is_open)], is_odd[:-1] ^ np.uint64(is_open)))
    words ^= np.uint64(0) - odd_before
    found = np.unpackbits(words.view(np.uint8), count=size, bitorder="little")
    flags: Flags = found.view(np.bool_)
    return flags


def _follows_the_standard(signs: Bytes, inside: Flags, is_mark: Flags, is_edge: Flags) -> bool:
    """Does every quotation mark begin or end a whole cell, or is it one of two inside a cell?

    ``signs`` are whole lines; ``is_edge`` marks delimiters, line ends and quotation marks.
    """
    opens, closes = is_mark & inside, is_mark & ~inside
    # Before the first sign is a line end, and the last one is one.
    begins_well = is_edge[:-1] | ~opens[1:]
    ends_well = is_edge[1:] | (signs[1:] == _RETURN) | ~closes[:-1]
    return bool(begins_well.all() and ends_well.all())


def _may_hold_rows(
    lines: bytes,
    inside: Flags,
    is_end: Flags,
    is_delimiter: Flags,
    shape: Shape,
    *,
    is_open: bool,
) -> bool:
    """Is there a line that begins inside a cell and looks like a row?"""
    ends = np.flatnonzero(is_end)
    begins_inside = np.concatenate(([is_open], inside[ends[:-1]]))
    delimiters = _between(np.flatnonzero(is_delimiter), ends)
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
