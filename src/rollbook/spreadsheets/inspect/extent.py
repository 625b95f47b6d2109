"""How far a workbook's sheets and texts reach, looked at before a parser makes room for all of it.

calamine, which reads the workbooks that ``scan`` doesn't, allocates a sheet as a rectangle and a
table of texts by what it says of its own length. Two cells in opposite corners, or one number,
would be more memory than any machine has, and end the process without a word.
"""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING, Final

from rollbook.errors import UnreadableFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Cells of the rectangle around all values of a sheet: 100,000 rows of 400 columns.
MOST_CELLS: Final = 40_000_000
PIECE_BYTES: Final = 1 << 20
#: Of a tag. A longer one is cut, and what is behind its reference doesn't matter.
_MOST_TAG_BYTES: Final = 4096
#: The shortest text there can be: ``<si/>``.
_LEAST_TEXT_BYTES: Final = 5
_TAG: Final = re.compile(rb"<(?:\w+:)?(row|c)(?=[\s/>])([^<>]*)>")
_REFERENCE: Final = re.compile(rb"""(?:^|\s)r\s*=\s*["']\s*([A-Za-z]*)(\d*)""")
_LENGTH: Final = re.compile(rb"""[\s"']uniqueCount\s*=\s*["']\s*\+?(\d+)""")

SPREAD: Final = (
    "The cells of the workbook lie too far apart: a cell far below or far to the right is filled. "
    "Nothing was changed. Copy the list into a new workbook, save it as .xlsx and send that."
)
WRONG_LENGTH: Final = (
    "The workbook says that it has more texts than there is room for in it, which no spreadsheet "
    "program writes. Nothing was changed. Open it in Excel or LibreOffice, save it as .xlsx and "
    "send that."
)


def check_extent(path: Path) -> None:
    """Refuse a workbook for which a parser would make room that it doesn't need.

    Args:
        path: an .xlsx file that ``inspection`` has let through.

    Raises:
        UnreadableFileError: with what was found.
    """
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as part:
                first = part.read(PIECE_BYTES)
                length = _LENGTH.search(first)
                if length and int(length[1][:20]) * _LEAST_TEXT_BYTES > info.file_size:
                    raise UnreadableFileError(WRONG_LENGTH)
                if b"sheetData" in first:
                    pieces = iter(lambda part=part: part.read(PIECE_BYTES), b"")  # type: ignore[misc]
                    _check_cells(first, pieces)


def _check_cells(first: bytes, pieces: Iterator[bytes]) -> None:
    extent = _Extent()
    rest = first
    for piece in pieces:
        rest = extent.look_at(rest) + piece
    extent.look_at(rest)


class _Extent:
    """The rectangle around the cells that aren't empty; one without a place follows the last."""

    def __init__(self) -> None:
        self._row = self._column = 0
        self._rows: tuple[int, int] | None = None
        self._columns: tuple[int, int] = (0, 0)

    def look_at(self, content: bytes) -> bytes:
        """Look at the tags of a piece, and give what is left of it: the beginning of another."""
        end = 0
        for tag in _TAG.finditer(content):
            self._tag(tag[1], tag[2])
            end = tag.end()
        return content[max(end, len(content) - _MOST_TAG_BYTES) :]

    def _tag(self, name: bytes, attributes: bytes) -> None:
        place = _REFERENCE.search(attributes)
        if name == b"row":
            self._row = int(place[2][:9]) if place and place[2] else self._row + 1
            self._column = 0
            return
        self._column += 1
        row = self._row
        if place and place[1]:
            self._column = _column(place[1])
            row = int(place[2][:9] or b"0")
        if not attributes.endswith(b"/"):
            self._add(row, self._column)

    def _add(self, row: int, column: int) -> None:
        if self._rows is None:
            self._rows, self._columns = (row, row), (column, column)
            return
        top, bottom = self._rows
        left, right = self._columns
        if top <= row <= bottom and left <= column <= right:
            return
        self._rows = min(top, row), max(bottom, row)
        self._columns = min(left, column), max(right, column)
        height = self._rows[1] - self._rows[0] + 1
        if height * (self._columns[1] - self._columns[0] + 1) > MOST_CELLS:
            raise UnreadableFileError(SPREAD)


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters[:7].upper():
        number = number * 26 + letter - 64
    return number
