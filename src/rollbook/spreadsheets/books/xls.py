"""Old workbooks (BIFF8 and BIFF5, MS-XLS), record by record."""

from __future__ import annotations

import codecs
import struct
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from rollbook.spreadsheets.books.book import MOST_ROWS, Area, Rows, SheetInfo
from rollbook.spreadsheets.books.cells import (
    Ints,
    Record,
    frames,
    numbers_of,
    value_texts,
    with_notes,
)
from rollbook.spreadsheets.books.formats import Format, built_in, format_of
from rollbook.spreadsheets.books.values import UNCALCULATED, error_text, truth_text
from rollbook.spreadsheets.refusals import damaged, locked

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

#: Kinds of records.
_BOF, _EOF, _CONTINUE = 0x0809, 0x000A, 0x003C
_PASSWORD, _DATE_MODE, _CODE_PAGE, _SHEET, _FORMAT, _STYLE, _SHARED, _RECALCULATION = (
    0x002F, 0x0022, 0x0042, 0x0085, 0x041E, 0x00E0, 0x00FC, 0x01C1,
)  # fmt: skip
_FONT = 0x0031
_DIMENSIONS, _ROW, _COLUMNS, _MERGED = 0x0200, 0x0208, 0x007D, 0x00E5
_FORMULA, _STRING = 0x0006, 0x0207
_NUMBER, _RK, _RKS, _SHARED_TEXT, _TEXT, _RICH_TEXT, _TRUTH = (
    0x0203, 0x027E, 0x00BD, 0x00FD, 0x0204, 0x00D6, 0x0205,
)  # fmt: skip
#: Records of a sheet that mean something here.
_MEANT: Final = frozenset(
    {
        _DIMENSIONS, _ROW, _COLUMNS, _MERGED, _FORMULA, _STRING, _NUMBER, _RK, _RKS, _SHARED_TEXT,
        _TEXT, _RICH_TEXT, _TRUTH,
    }
)  # fmt: skip
_HEAD: Final = struct.Struct("<2H")
_BIFF8: Final = 0x0600
#: Padding after the stream in bytes, so that eight can be read anywhere.
_PAD: Final = bytes(16)
_NO_STRINGS: Final = pl.Series([], dtype=pl.String)


class XlsBook:
    """An opened workbook; see ``book.Book``."""

    def __init__(self, stream: bytes) -> None:
        """Read the workbook's globals from the content of the stream ``Workbook`` or ``Book``.

        Raises:
            UnreadableFileError: it is damaged.
        """
        self._size = len(stream)
        self._stream = stream + _PAD
        #: The eight bytes from each byte on, as a number.
        self._words: npt.NDArray[np.uint64] = np.ndarray(
            len(self._stream) - 7, "<u8", self._stream, strides=(1,)
        )
        self.is_1904 = False
        #: All worksheets, in their order.
        self.sheets: list[SheetInfo] = []
        self._starts: list[int] = []
        self._shared: pl.Series = _NO_STRINGS
        self._formats: list[Format | None] = []
        #: The styles of cells whose font is struck through.
        self._struck: list[int] = []
        #: Numbers of the rows with such cells, by the sheets that were read.
        self._struck_rows: dict[int, tuple[int, ...]] = {}
        self._encoding = "cp1252"
        self._is_biff8 = True
        #: Whether the program that wrote it calculates: those that do leave this record.
        self._is_calculated = False
        try:
            self._read_globals()
        except (struct.error, IndexError, UnicodeError) as error:
            raise damaged() from error

    def close(self) -> None:
        """There is nothing to close."""

    def _records(self, at: int) -> Iterator[Record]:
        """The records from a place on, up to the end of what begins there."""
        stream, last = self._stream, self._size - _HEAD.size
        depth = 0
        while at <= last:
            kind, length = _HEAD.unpack_from(stream, at)
            start = at + _HEAD.size
            at = start + length
            if kind == _BOF:
                depth += 1
            elif kind == _EOF:
                depth -= 1
                if depth <= 0:
                    return
            # A chart within a sheet has records of its own.
            if depth == 1 and at <= self._size:
                yield Record(kind, start, at)

    def _read_globals(self) -> None:
        stream = self._stream
        found: dict[int, list[Record]] = {}
        before = 0
        for record in self._records(0):
            is_more = record.kind == _CONTINUE and before == _SHARED
            before = _SHARED if is_more else record.kind
            found.setdefault(before, []).append(record)
        number = {
            kind: struct.unpack_from("<H", stream, records[0].start)[0]
            for kind, records in found.items()
        }
        if _PASSWORD in found:
            raise locked()
        self._is_biff8 = number.get(_BOF) == _BIFF8
        self.is_1904 = number.get(_DATE_MODE) == 1
        self._is_calculated = _RECALCULATION in found
        self._encoding = _encoding(number.get(_CODE_PAGE, 0))
        for record in found.get(_SHEET, ()):
            self._add_sheet(record)
        if not self.sheets:
            raise damaged()
        codes = {
            struct.unpack_from("<H", stream, start)[0]: format_of(
                self._text(start + 2, short=not self._is_biff8)
            )
            for _, start, _ in found.get(_FORMAT, ())
        }
        numbers = [
            struct.unpack_from("<H", stream, start + 2)[0] for _, start, _ in found.get(_STYLE, ())
        ]
        self._formats = [
            codes[number] if number in codes else built_in(number) for number in numbers
        ]
        fonts = [stream[start + 2] & 8 for _, start, _ in found.get(_FONT, ())]
        self._struck = [
            style
            for style, (_, start, _) in enumerate(found.get(_STYLE, ()))
            if _is_struck(fonts, struct.unpack_from("<H", stream, start)[0])
        ]
        if _SHARED in found:
            self._shared = pl.Series(_shared_texts(stream, found[_SHARED]), dtype=pl.String)

    def _add_sheet(self, record: Record) -> None:
        place, state, kind = struct.unpack_from("<I2B", self._stream, record.start)
        if kind:
            return  # a chart, or a program
        name = self._text(record.start + 6, short=True)
        self.sheets.append(SheetInfo(name, is_hidden=bool(state & 3)))
        self._starts.append(place)

    def _text(self, at: int, *, short: bool) -> str:
        """A text with its length before it, in one byte or two."""
        stream = self._stream
        length = stream[at] if short else struct.unpack_from("<H", stream, at)[0]
        at += 1 if short else 2
        if not self._is_biff8:
            return stream[at : min(at + length, self._size)].decode(self._encoding, "replace")
        flags = stream[at]
        at += 1
        # Its parts in other looks are counted before it.
        at += (2 if flags & 8 else 0) + (4 if flags & 4 else 0)
        if flags & 1:
            return stream[at : min(at + 2 * length, self._size)].decode("utf-16-le", "replace")
        return stream[at : min(at + length, self._size)].decode("latin-1")

    def claimed_rows(self, index: int) -> int | None:
        """The number of the last row that the sheet says it has."""
        for record in self._records(self._starts[index]):
            if record.kind == _DIMENSIONS and record.end - record.start >= 8:
                form = "<2I" if self._is_biff8 else "<2H"
                last: int = struct.unpack_from(form, self._stream, record.start)[1]
                return last if 0 < last <= MOST_ROWS else None
        return None

    def struck_rows(self, index: int) -> tuple[int, ...]:
        """Numbers of the rows of a sheet that have a cell which is struck through.

        The sheet's first rows were read.
        """
        return self._struck_rows.get(index, ())

    def batches(self, index: int, *, rows: int) -> Iterator[Rows]:
        """The rows of a sheet; see ``book.Book``."""
        try:
            sheet = _Sheet(
                self._words, self._shared, self._formats, self._struck, is_1904=self.is_1904
            )
            found: dict[int, list[int]] = {kind: [] for kind in _MEANT}
            for kind, start, _ in self._records(self._starts[index]):
                if kind in found:
                    found[kind].append(start)
            sheet.add_numbers(found)
            sheet.add_shared(found[_SHARED_TEXT])
            for start in (*found[_TEXT], *found[_RICH_TEXT]):
                sheet.add_one(start, self._text(start + 6, short=False))
            for start in found[_TRUTH]:
                value, is_error = self._stream[start + 6], self._stream[start + 7]
                sheet.add_one(start, error_text(value) if is_error else truth_text(value))
            self._add_results(sheet, found)
            notes = self._notes(found)
        except (struct.error, IndexError, pl.exceptions.PolarsError) as error:
            raise damaged() from error
        for batch in with_notes(sheet.frames(rows), notes):
            self._struck_rows[index] = tuple(sorted(sheet.struck_rows))
            yield batch

    def _add_results(self, sheet: _Sheet, found: dict[int, list[int]]) -> None:
        """The results of formulas that aren't numbers, by the first of their eight bytes."""
        starts = np.array(found[_FORMULA], np.int64)
        if not len(starts):
            return
        results = self._words[starts + 6]
        others = np.flatnonzero(results >> np.uint64(48) == 0xFFFF)
        kinds = (results[others] & np.uint64(0xFF)).tolist()
        strings = np.array(found[_STRING], np.int64)
        is_calculated = self._is_calculated or len(others) < len(starts) or set(kinds) != {3}
        for start, kind in zip(starts[others].tolist(), kinds, strict=True):
            value = self._stream[start + 8]
            if kind == 0:
                # The text is in a record of its own before the next formula.
                place = int(np.searchsorted(strings, start))
                if place < len(strings):
                    sheet.add_one(start, self._text(int(strings[place]), short=False))
            elif kind == 1:
                sheet.add_one(start, truth_text(value))
            elif kind == 2:
                sheet.add_one(start, error_text(value))
            elif not is_calculated:
                sheet.add_one(start, UNCALCULATED)

    def _notes(self, found: dict[int, list[int]]) -> Rows:
        """What is said of rows and columns."""
        stream = self._stream
        rows = np.array(found[_ROW], np.int64)
        hidden = rows[(self._words[rows + 12] & np.uint64(0x20)) != 0] if len(rows) else rows
        numbers = sorted((self._words[hidden] & np.uint64(0xFFFF)).astype(int) + 1)
        notes = Rows(pl.DataFrame(), hidden=[int(number) for number in numbers])
        for start in found[_COLUMNS]:
            first, last, _, _, options = struct.unpack_from("<5H", stream, start)
            if options & 1:
                notes.hidden_columns.append(range(first, last + 1))
        for start in found[_MERGED]:
            (count,) = struct.unpack_from("<H", stream, start)
            for at in range(start + 2, min(start + 2 + 8 * count, self._size - 7), 8):
                top, bottom, left, right = struct.unpack_from("<4H", stream, at)
                if top <= bottom and left <= right:
                    notes.merged.append(Area(top + 1, left, bottom + 1, right))
        return notes


class _Sheet:
    """Gathers the cells of a sheet, each by where its record begins."""

    def __init__(
        self,
        words: npt.NDArray[np.uint64],
        shared: pl.Series,
        formats: list[Format | None],
        struck: list[int],
        *,
        is_1904: bool,
    ) -> None:
        self._words, self._shared, self._formats = words, shared, formats
        self._struck = np.array(struck, np.uint64)
        #: Numbers of the rows that have a cell in one of these styles, of the cells up to now.
        self.struck_rows: set[int] = set()
        self._is_1904 = is_1904
        self._rows: list[Ints] = []
        self._columns: list[Ints] = []
        self._texts: list[pl.Series] = []
        self._starts_of_one: list[int] = []
        self._ones: list[str] = []

    def add_numbers(self, found: dict[int, list[int]]) -> None:
        """Add the cells of numbers, and of formulas that result in one."""
        words = self._words
        plain = np.array([*found[_NUMBER], *found[_FORMULA]], np.int64)
        values = words[plain + 6].view(np.float64)
        # What begins with these bits is no number of a formula.
        is_number = words[plain + 6] >> np.uint64(48) != 0xFFFF
        short = np.array(found[_RK], np.int64)
        packed = [(words[short + 6] & np.uint64(0xFFFFFFFF)).astype(np.uint32)]
        places = [words[plain[is_number]], words[short]]
        for start in found[_RKS]:
            row_and_column = int(words[start])
            length = int(words[start - 2]) & 0xFFFF
            count = max((length - 6) // 6, 0)
            at = start + 4 + 6 * np.arange(count)
            column = (row_and_column >> 16 & 0xFFFF) + np.arange(count)
            style = words[at] & np.uint64(0xFFFF)
            row = np.uint64(row_and_column & 0xFFFF)
            places.append(row | column.astype(np.uint64) << np.uint64(16) | style << np.uint64(32))
            packed.append((words[at + 2] & np.uint64(0xFFFFFFFF)).astype(np.uint32))
        numbers = np.concatenate([values[is_number], numbers_of(np.concatenate(packed))])
        styles = self._place(np.concatenate(places))
        self._texts.append(value_texts(numbers, styles, self._formats, is_1904=self._is_1904))

    def add_shared(self, found: list[int]) -> None:
        """Add the cells with a text of the table."""
        starts = np.array(found, np.int64)
        self._place(self._words[starts])
        indices = (self._words[starts + 6] & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        if len(indices) and int(indices.max()) >= len(self._shared):
            raise damaged()
        self._texts.append(self._shared.gather(pl.Series(indices)))

    def add_one(self, start: int, text: str) -> None:
        """Add a cell."""
        self._starts_of_one.append(start)
        self._ones.append(text)

    def frames(self, rows: int) -> Iterator[pl.DataFrame]:
        """All cells as batches of rows."""
        self._place(self._words[np.array(self._starts_of_one, np.int64)])
        texts = pl.concat([*self._texts, pl.Series(self._ones, dtype=pl.String)], rechunk=True)
        return frames(np.concatenate(self._rows), np.concatenate(self._columns), texts, rows)

    def _place(self, words: npt.NDArray[np.uint64]) -> Ints:
        """Note rows and columns by the first eight bytes of the cells, and give their styles."""
        if len(self._struck):
            are_struck = np.isin(words >> np.uint64(32) & np.uint64(0xFFFF), self._struck)
            self.struck_rows.update((words[are_struck] & np.uint64(0xFFFF)).astype(int) + 1)
        self._rows.append((words & np.uint64(0xFFFF)).astype(np.int64))
        self._columns.append((words >> np.uint64(16) & np.uint64(0xFFFF)).astype(np.int64))
        return (words >> np.uint64(32) & np.uint64(0xFFFF)).astype(np.int64)


def _is_struck(fonts: list[int], number: int) -> bool:
    """Whether a font is struck through; by its number in the format, which has no fourth."""
    place = number if number < 4 else number - 1
    return place < len(fonts) and bool(fonts[place])


def _encoding(page: int) -> str:
    name = {1200: "utf-16-le", 10000: "mac_roman", 0x8000: "mac_roman", 0x8001: "cp1252"}.get(
        page, f"cp{page}"
    )
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "cp1252"


def _shared_texts(stream: bytes, records: list[Record]) -> list[str]:
    """The table of shared texts, which may span several records."""
    (count,) = struct.unpack_from("<I", stream, records[0].start + 4)
    source = _Continued(stream, records)
    source.skip(8)
    texts: list[str] = []
    while len(texts) < count and source.has_more():
        texts.append(source.text())
    return texts


class _Continued:
    """Bytes that span several records."""

    def __init__(self, stream: bytes, records: list[Record]) -> None:
        self._stream, self._records = stream, records
        self._index = 0
        self._at, self._end = records[0].start, records[0].end

    def has_more(self) -> bool:
        """Is there another byte?"""
        while self._at >= self._end and self._index + 1 < len(self._records):
            self._next()
        return self._at < self._end

    def skip(self, count: int) -> None:
        """Leave out some bytes."""
        while count and self.has_more():
            step = min(count, self._end - self._at)
            self._at += step
            count -= step

    def text(self) -> str:
        """A text: its length, how it is written, and what follows it."""
        length, flags = struct.unpack("<HB", self._taken(3))
        runs = struct.unpack("<H", self._taken(2))[0] if flags & 8 else 0
        extra = struct.unpack("<I", self._taken(4))[0] if flags & 4 else 0
        is_wide = flags & 1
        parts = []
        while length:
            if self._at >= self._end:
                if not self.has_more():
                    break
                # In each record it may be written in another way.
                is_wide = self._stream[self._at] & 1
                self._at += 1
            size = 2 if is_wide else 1
            count = min(length, (self._end - self._at) // size)
            if not count and self._end > self._at:
                self._at = self._end
                continue
            content = self._stream[self._at : self._at + count * size]
            parts.append(content.decode("utf-16-le" if is_wide else "latin-1", "replace"))
            self._at += count * size
            length -= count
        self.skip(4 * runs + extra)
        return "".join(parts)

    def _taken(self, count: int) -> bytes:
        found = b""
        while len(found) < count and self.has_more():
            step = min(count - len(found), self._end - self._at)
            found += self._stream[self._at : self._at + step]
            self._at += step
        return found.ljust(count, b"\0")

    def _next(self) -> None:
        self._index += 1
        self._at, self._end = self._records[self._index].start, self._records[self._index].end
