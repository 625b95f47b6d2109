"""The records of an old workbook (BIFF, MS-XLS), looked at before a parser makes room for them.

calamine makes room for a sheet by what its record of dimensions says, and then as a rectangle
around its cells; for the table of texts by what that says of its own length. It reads all sheets
when it opens the file.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from rollbook.errors import UnreadableFileError
from rollbook.spreadsheets.inspect.extent import MOST_CELLS, SPREAD, WRONG_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Kind and length of a record, then the row and the column of its cell, if it is one.
_HEAD: Final = struct.Struct("<4H")
_HEAD_BYTES: Final = 4
_END, _SHEET, _TEXTS, _DIMENSIONS = 0x000A, 0x0085, 0x00FC, 0x0200
#: Formula, MulRk, LabelSst, Number, Label, BoolErr, Rk.
_CELLS: Final = frozenset({0x0006, 0x00BD, 0x00FD, 0x0203, 0x0204, 0x0205, 0x027E})
#: Of a sheet; a parser would take 65,536, and each costs more than many cells do.
MOST_COLUMNS: Final = 256
#: The shortest text in the table: its length and its flags.
_LEAST_TEXT_BYTES: Final = 3
#: The dimensions by the length of their record: first row, row behind the last, and columns alike.
_RECTANGLE: Final = {10: struct.Struct("<4H"), 14: struct.Struct("<2I2H")}


def check_records(stream: bytes) -> None:
    """Refuse a workbook for which a parser would make room that it doesn't need.

    Args:
        stream: the content of the stream ``Workbook`` or ``Book``.

    Raises:
        UnreadableFileError: with what was found.
    """
    sheets = []
    for kind, at, length in _records(stream, 0):
        if kind == _SHEET and length >= 4:
            sheets.append(struct.unpack_from("<I", stream, at)[0])
        elif kind == _TEXTS and length >= 8:
            (count,) = struct.unpack_from("<I", stream, at + 4)
            if count * _LEAST_TEXT_BYTES > len(stream):
                raise UnreadableFileError(WRONG_LENGTH)
    cells = walked = 0
    for start in sheets:
        end, found = _cells(stream, start)
        cells += found
        walked += end - start
        # Sheets that lie on top of each other would be read as often as there are of them.
        if cells > MOST_CELLS or walked > 2 * len(stream):
            raise UnreadableFileError(SPREAD)


def _cells(stream: bytes, start: int) -> tuple[int, int]:
    """Where a sheet ends, and how many cells the rectangle around those that it has would hold."""
    rows: set[int] = set()
    columns: set[int] = set()
    at, last = start, len(stream) - _HEAD.size
    while at <= last:
        kind, length, row, column = _HEAD.unpack_from(stream, at)
        if kind in _CELLS:
            rows.add(row)
            columns.add(column)
        elif kind == _DIMENSIONS:
            _check_dimensions(stream, at + _HEAD_BYTES, length)
        elif kind == _END:
            break
        at += _HEAD_BYTES + length
    if not rows:
        return at, 0
    if max(columns) >= MOST_COLUMNS:
        raise UnreadableFileError(SPREAD)
    return at, (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)


def _check_dimensions(stream: bytes, at: int, length: int) -> None:
    if length not in _RECTANGLE or at + length > len(stream):
        return
    first, behind, first_column, behind_column = _RECTANGLE[length].unpack_from(stream, at)
    # Without a sign: an end before the beginning is very much.
    rows, columns = (behind - first) % 2**32, (behind_column - first_column) % 2**32
    if behind and behind_column and rows * columns > MOST_CELLS:
        raise UnreadableFileError(SPREAD)


def _records(stream: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Kind, place and length of the records from a place on to the next end, all of them whole."""
    # An end has no content, and may be the last that there is.
    padded_end = len(stream) - _HEAD_BYTES
    while at <= padded_end:
        kind, length = struct.unpack_from("<2H", stream, at)
        at += _HEAD_BYTES
        if kind == _END or at + length > len(stream):
            return
        yield kind, at, length
        at += length
