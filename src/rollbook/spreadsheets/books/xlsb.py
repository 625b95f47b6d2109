"""Binary workbooks (.xlsb, MS-XLSB), record by record."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from rollbook.spreadsheets.books.book import (
    MOST_COLUMNS,
    MOST_ROWS,
    Area,
    Rows,
    SheetInfo,
)
from rollbook.spreadsheets.books.cells import Record, frames, numbers_of, value_texts, with_notes
from rollbook.spreadsheets.books.formats import Format, built_in, format_of
from rollbook.spreadsheets.books.package import Package, target_of
from rollbook.spreadsheets.books.values import error_text, truth_text
from rollbook.spreadsheets.refusals import damaged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

#: The largest inflated part that is read as a whole, in bytes.
MOST_PART_BYTES: Final = 768 << 20
#: Kinds of records: of the workbook, of its styles and texts, of a sheet.
_SHEET, _PROPERTIES = 156, 153
_FORMAT, _STYLE, _STYLES_BEGIN, _STYLES_END, _SHARED = 44, 47, 617, 618, 19
_ROW, _ROWS_END, _COLUMNS, _MERGED, _DIMENSIONS = 0, 146, 60, 176, 148
#: Record types of cells by content. A short one is in the column after the last cell's.
_RK, _ERROR, _TRUTH, _REAL, _TEXT, _INDEX, _RICH = 2, 3, 4, 5, 6, 7, 62
_HELD: Final = (_RK, _REAL, _INDEX, _TRUTH, _ERROR, _TEXT, _RICH)
#: What a cell holds by the kind of its record: those of formulas hold the result.
_MEANT: Final = dict(zip(_HELD, _HELD, strict=True)) | {
    8: _TEXT, 9: _REAL, 10: _TRUTH, 11: _ERROR,
}  # fmt: skip
_SHORT: Final = {13: _RK, 14: _ERROR, 15: _TRUTH, 16: _REAL, 17: _TEXT, 18: _INDEX}
_BLANK, _SHORT_BLANK = 1, 12
_PAD: Final = bytes(16)


class XlsbBook:
    """An opened workbook; see ``book.Book``."""

    def __init__(self, path: Path) -> None:
        """Open it and read its small parts.

        Raises:
            UnreadableFileError: it is damaged.
        """
        self.is_1904 = False
        #: All worksheets, in their order.
        self.sheets: list[SheetInfo] = []
        self._parts: list[str] = []
        self._shared: pl.Series | None = None
        self._package = Package(path)
        try:
            self._open()
        except (struct.error, IndexError) as error:
            self.close()
            raise damaged() from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._package.close()

    def _open(self) -> None:
        package = self._package
        root = target_of(package.relations(""), "officeDocument", "xl/workbook.bin")
        relations = package.relations(root)
        self._shared_part = target_of(relations, "sharedStrings", "xl/sharedStrings.bin")
        styles = target_of(relations, "styles", "xl/styles.bin")
        content = package.content(root) + _PAD
        for kind, start, _ in _records(content):
            if kind == _PROPERTIES:
                self.is_1904 = bool(content[start] & 1)
            elif kind == _SHEET:
                (state,) = struct.unpack_from("<I", content, start)
                name, at = _text(content, start + 8)
                relation = relations.get(name)
                if relation is not None and relation.kind == "worksheet":
                    self.sheets.append(SheetInfo(_text(content, at)[0], is_hidden=state != 0))
                    self._parts.append(relation.target)
        self._formats = _formats(package.content(styles) + _PAD) if styles in package else []
        if not self.sheets:
            raise damaged()

    def claimed_rows(self, index: int) -> int | None:
        """The number of the last row that the sheet says it has."""
        for piece in self._package.pieces(self._parts[index]):
            for kind, start, _ in _records(piece + _PAD):
                if kind == _DIMENSIONS:
                    last = struct.unpack_from("<2I", piece, start)[1] + 1
                    return last if last <= MOST_ROWS else None
                if kind == _ROW:
                    break
            break
        return None

    def batches(self, index: int, *, rows: int) -> Iterator[Rows]:
        """The rows of a sheet; see ``book.Book``."""
        try:
            if self._shared is None:
                self._shared = self._read_shared()
            content = self._package.content(self._parts[index], MOST_PART_BYTES) + _PAD
            sheet = _Sheet(content, self._shared, self._formats, is_1904=self.is_1904)
            found = sheet.frames(rows)
        except (struct.error, IndexError, pl.exceptions.PolarsError) as error:
            raise damaged() from error
        yield from with_notes(found, sheet.notes)

    def _read_shared(self) -> pl.Series:
        if self._shared_part not in self._package:
            return pl.Series([], dtype=pl.String)
        content = self._package.content(self._shared_part, MOST_PART_BYTES) + _PAD
        texts = [
            _text(content, start + 1)[0] for kind, start, _ in _records(content) if kind == _SHARED
        ]
        return pl.Series(texts, dtype=pl.String)


class _Sheet:
    """The cells of a sheet, gathered by what they hold."""

    def __init__(
        self, content: bytes, shared: pl.Series, formats: list[Format | None], *, is_1904: bool
    ) -> None:
        self._content, self._shared, self._formats = content, shared, formats
        self._is_1904 = is_1904
        self._words: npt.NDArray[np.uint64] = np.ndarray(
            len(content) - 7, "<u8", content, strides=(1,)
        )
        #: By content: row, column, and the position of the style, which the value follows.
        self._cells: dict[int, list[tuple[int, int, int]]] = {kind: [] for kind in _HELD}
        self.notes = Rows(pl.DataFrame())
        self._walk()

    def _walk(self) -> None:
        content, cells = self._content, self._cells
        unpack = struct.Struct("<I").unpack_from
        row = column = -1
        for kind, start, _ in _records(content):
            if kind in _MEANT:
                (column,) = unpack(content, start)
                cells[_MEANT[kind]].append((row, column, start + 4))
            elif kind == _BLANK:
                (column,) = unpack(content, start)
            elif kind == _ROW:
                (row,) = unpack(content, start)
                column = -1
                if content[start + 11] & 0x10:
                    self.notes.hidden.append(row + 1)
            elif kind in _SHORT:
                column += 1
                cells[_SHORT[kind]].append((row, column, start))
            elif kind == _SHORT_BLANK:
                column += 1
            elif kind in {_COLUMNS, _MERGED}:
                self._note(kind, start)

    def _note(self, kind: int, start: int) -> None:
        """Note hidden columns or merged cells."""
        if kind == _COLUMNS:
            first, last, _, _, options = struct.unpack_from("<4IH", self._content, start)
            if options & 1 and first <= last:
                self.notes.hidden_columns.append(range(first, min(last + 1, MOST_COLUMNS)))
            return
        top, bottom, left, right = struct.unpack_from("<4I", self._content, start)
        if top <= bottom and left <= right:
            self.notes.merged.append(Area(top + 1, left, bottom + 1, right))

    def frames(self, rows: int) -> Iterator[pl.DataFrame]:
        """All cells as batches of rows."""
        content, words = self._content, self._words
        cells = {
            kind: np.array(found, np.int64).reshape(-1, 3) for kind, found in self._cells.items()
        }
        short, real, index = (cells[kind][:, 2] for kind in (_RK, _REAL, _INDEX))
        packed = (words[short + 4] & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        numbers = np.concatenate([numbers_of(packed), words[real + 4].view(np.float64)])
        styles = (words[np.concatenate([short, real])] & np.uint64(0xFFFFFF)).astype(np.int64)
        indices = (words[index + 4] & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        if len(indices) and int(indices.max()) >= len(self._shared):
            raise damaged()
        ones = [
            *(truth_text(content[at + 4]) for _, _, at in self._cells[_TRUTH]),
            *(error_text(content[at + 4]) for _, _, at in self._cells[_ERROR]),
            *(_text(content, at + 4)[0] for _, _, at in self._cells[_TEXT]),
            *(_text(content, at + 5)[0] for _, _, at in self._cells[_RICH]),
        ]
        texts = pl.concat(
            [
                value_texts(numbers, styles, self._formats, is_1904=self._is_1904),
                self._shared.gather(pl.Series(indices)),
                pl.Series(ones, dtype=pl.String),
            ],
            rechunk=True,
        )
        places = np.concatenate([cells[kind] for kind in _HELD])
        if len(places) and (
            int(places[:, 0].min()) < 0
            or int(places[:, 0].max()) >= MOST_ROWS
            or int(places[:, 1].max()) >= MOST_COLUMNS
        ):
            raise damaged()
        return frames(places[:, 0], places[:, 1], texts, rows)


def _records(content: bytes) -> Iterator[Record]:
    """The records of a part, followed by at least eight bytes of padding."""
    at, end = 0, len(content) - len(_PAD)
    while at < end:
        kind = content[at]
        at += 1
        if kind & 0x80:
            kind = kind & 0x7F | (content[at] & 0x7F) << 7
            at += 1
        length = shift = 0
        for _ in range(4):
            byte = content[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if at + length > end:
            return
        yield Record(kind, at, at + length)
        at += length


def _text(content: bytes, at: int) -> tuple[str, int]:
    """A text with its length before it, and where it ends."""
    (length,) = struct.unpack_from("<I", content, at)
    start = at + 4
    # No text at all.
    if length == 0xFFFFFFFF:
        return "", start
    end = start + 2 * length
    if end > len(content) - len(_PAD):
        raise damaged()
    return content[start:end].decode("utf-16-le", "replace"), end


def _formats(content: bytes) -> list[Format | None]:
    """The number format of each style of cells; see ``formats.format_of``."""
    codes: dict[int, Format | None] = {}
    found: list[Format | None] = []
    is_within = False
    for kind, start, _ in _records(content):
        if kind == _FORMAT:
            (number,) = struct.unpack_from("<H", content, start)
            codes[number] = format_of(_text(content, start + 2)[0])
        elif kind in {_STYLES_BEGIN, _STYLES_END}:
            is_within = kind == _STYLES_BEGIN
        elif kind == _STYLE and is_within:
            (number,) = struct.unpack_from("<H", content, start + 2)
            found.append(codes[number] if number in codes else built_in(number))
    return found
