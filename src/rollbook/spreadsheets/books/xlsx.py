"""Reads any .xlsx or .xlsm workbook, element by element, where ``scan`` gives up.

Names may have prefixes, cells and rows may lack references, texts may have any form, and the strict
variant of the format is read too.
"""

from __future__ import annotations

import math
import posixpath
import re
from typing import TYPE_CHECKING, Final

from rollbook.spreadsheets.books.book import MOST_COLUMNS, Area, Grid, Rows, SheetInfo
from rollbook.spreadsheets.books.formats import DATE, Format, built_in, format_of
from rollbook.spreadsheets.books.package import Package, elements, local, parsing, target_of
from rollbook.spreadsheets.books.values import (
    NUMERAL,
    SPACE,
    UNCALCULATED,
    date_as_text,
    number_as_text,
    raised,
    unescaped,
)
from rollbook.spreadsheets.refusals import damaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


#: The texts that cells share, in bytes of XML.
MOST_SHARED_BYTES: Final = 512 << 20
#: The longest part after the rows of a sheet, in bytes; it holds the merged cells.
MOST_TAIL_BYTES: Final = 64 << 20
_KNOWN: Final = ("styles", "sharedStrings")
_END_OF_ROWS: Final = re.compile(rb"</(?:[\w.-]+:)?sheetData\s*>|<(?:[\w.-]+:)?sheetData\s*/>")
_LONGEST_END: Final = 300
_MERGED: Final = re.compile(
    rb"""<(?:[\w.-]+:)?mergeCell\s[^<>]*?\bref\s*=\s*["']\$?([A-Za-z]{1,3})\$?(\d{1,7}):"""
    rb"""\$?([A-Za-z]{1,3})\$?(\d{1,7})["']"""
)
_COLUMN: Final = re.compile(rb"<(?:[\w.-]+:)?col\s([^<>]*)>")
_ATTRIBUTE: Final = re.compile(rb"""([\w:]+)\s*=\s*["']([^"']*)["']""")
_REFERENCE: Final = re.compile(r"\$?([A-Za-z]{1,3})\$?([0-9]{1,7})\Z")


class XlsxBook:
    """An opened workbook; see ``book.Book``."""

    def __init__(self, path: Path, tails: Mapping[str, bytes] | None = None) -> None:
        """Open a file that ``inspect`` let through, and read its small parts.

        ``tails`` is what follows the rows in the sheets' parts, by the parts' names, where known.
        """
        self._tails = tails or {}
        self.package = Package(path)
        try:
            self._open()
        except BaseException:
            self.package.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.package.close()

    def _open(self) -> None:
        package = self.package
        root = target_of(package.relations(""), "officeDocument", "xl/workbook.xml")
        relations = package.relations(root)
        self.is_1904 = self.is_to_calculate = False
        #: The sheets in which parts of texts were left out up to here, as they are struck through.
        self.struck_in_part: set[int] = set()
        #: All worksheets, in their order.
        self.sheets: list[SheetInfo] = []
        self.parts: list[str] = []
        for path, attributes in elements(package.content(root)):
            if path[-1] == "workbookPr":
                self.is_1904 = is_true(attributes.get("date1904"))
            elif path[-1] == "calcPr":
                self.is_to_calculate = is_true(attributes.get("fullCalcOnLoad"))
            elif path[-2:] == ("sheets", "sheet"):
                relation = relations.get(attributes.get("id", ""))
                if relation is not None and relation.kind == "worksheet":
                    is_hidden = attributes.get("state", "visible") != "visible"
                    self.sheets.append(SheetInfo(attributes.get("name", ""), is_hidden))
                    self.parts.append(relation.target)
        # Some programs forget to relate these to the workbook.
        folder = posixpath.dirname(root)
        self.styles_part, self._shared_part = (
            target_of(relations, name, posixpath.join(folder, f"{name}.xml")) for name in _KNOWN
        )
        self._styles: list[Format | None] | None = None
        self._shared: _SharedTexts | None = None

    def claimed_rows(self, index: int) -> int | None:
        """The number of the last row that the sheet says it has; it isn't looked at here."""
        del index
        return None

    def batches(self, index: int, *, rows: int) -> Iterator[Rows]:
        """The rows of a sheet; see ``book.Book``."""
        if self._styles is None:
            self._styles = self._read_styles()
        if self._shared is None:
            self._shared = self._read_shared()
        part = self.parts[index]
        grid = Grid(rows)
        for area in merged_areas(self._tail(part)):
            grid.merge(area)
        sheet = _Sheet(
            grid,
            self._shared,
            self._styles,
            is_1904=self.is_1904,
            is_to_calculate=self.is_to_calculate,
        )
        for _ in parsing(self.package.pieces(part), sheet.start, sheet.end, sheet.text):
            if sheet.are_parts_struck:
                self.struck_in_part.add(index)
            yield from grid.ready()
        yield from grid.rest()

    def _tail(self, part: str) -> bytes:
        tail = self._tails.get(self.package.stored_name(part))
        return tail_of(self.package.pieces(part)) if tail is None else tail

    def _read_styles(self) -> list[Format | None]:
        part = self.styles_part
        return formats_of_styles(self.package.content(part)) if part in self.package else []

    def _read_shared(self) -> _SharedTexts:
        part, shared = self._shared_part, _SharedTexts()
        if part not in self.package:
            return shared
        if self.package.size(part) > MOST_SHARED_BYTES:
            raise damaged()
        for _ in parsing(self.package.pieces(part), shared.start, shared.end, shared.text):
            pass
        return shared


def is_true(value: str | None) -> bool:
    """Whether an attribute is true."""
    return value in {"1", "true", "on"}


def formats_of_styles(content: bytes) -> list[Format | None]:
    """The number format of each style of cells; see ``formats.format_of``."""
    codes: dict[int, Format | None] = {}
    numbers: list[int] = []
    for path, attributes in elements(content):
        if path[-2:] == ("numFmts", "numFmt"):
            codes[_number(attributes.get("numFmtId"))] = format_of(attributes.get("formatCode", ""))
        elif path[-2:] == ("cellXfs", "xf"):
            numbers.append(_number(attributes.get("numFmtId")))
    return [codes[number] if number in codes else built_in(number) for number in numbers]


def _number(text: str | bytes | None) -> int:
    return int(text) if text and text.isdigit() and text.isascii() and len(text) < 10 else -1


def tail_of(pieces: Iterator[bytes]) -> bytes:
    """What follows the rows in a sheet's part."""
    before = b""
    tail: list[bytes] | None = None
    size = 0
    for piece in pieces:
        if tail is not None:
            size += len(piece)
            if size > MOST_TAIL_BYTES:
                raise damaged()
            tail.append(piece)
            continue
        content = before + piece
        if found := _END_OF_ROWS.search(content):
            tail = [content[found.end() :]]
        before = content[-_LONGEST_END:]
    return b"".join(tail or [])


def merged_areas(tail: bytes) -> list[Area]:
    """The merged cells that are named after the rows of a sheet."""
    if b"mergeCell" not in tail:
        return []
    found = []
    for first, first_row, last, last_row in (one.groups() for one in _MERGED.finditer(tail)):
        columns = sorted((column_of(first.decode()), column_of(last.decode())))
        rows = sorted((int(first_row), int(last_row)))
        found.append(Area(rows[0], columns[0], rows[1], columns[1]))
    return found


def hidden_columns(head: bytes) -> list[range]:
    """The hidden columns that are named before the rows of a sheet."""
    if b"hidden" not in head:
        return []
    found = []
    for attributes in (dict(_ATTRIBUTE.findall(tag)) for tag in _COLUMN.findall(head)):
        if is_true(attributes.get(b"hidden", b"").decode()):
            found += _columns(attributes.get(b"min", b""), attributes.get(b"max", b""))
    return found


def _columns(first: str | bytes | None, last: str | bytes | None) -> list[range]:
    start, stop = _number(first), _number(last)
    return [range(start - 1, min(stop, MOST_COLUMNS))] if 0 < start <= stop else []


def column_of(letters: str) -> int:
    """The index of a column, counted from 0, by its letters."""
    index = 0
    for letter in letters.upper():
        index = index * 26 + ord(letter) - 64
    return index - 1


class _Text:
    """Takes the elements of one text: what is struck through counts only where all of it is."""

    def __init__(self) -> None:
        self._all: list[str] = []
        self._left: list[str] = []
        self._is_struck = self._is_kept = self._is_raised = False
        self._aloud = 0
        #: Of a run; None outside of them.
        self._parts: list[str] | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins: a run, a property of one, or its text."""
        if name == "r":
            self._is_struck = self._is_raised = False
        elif name == "vertAlign":
            self._is_raised = attributes.get("val") == "superscript"
        elif name == "strike":
            self._is_struck = attributes.get("val", "1") not in {"0", "false", "off"}
        elif name == "rPh":
            # How a text is read aloud is no part of it.
            self._aloud += 1
        elif name == "t" and not self._aloud:
            self._is_kept = attributes.get("xml:space") == "preserve"
            self._parts = []

    def add(self, content: str) -> None:
        """Text within an element."""
        if self._parts is not None:
            self._parts.append(content)

    def end(self, name: str) -> None:
        """An element ends. White space at the ends of a run counts only where it says so."""
        if name == "rPh":
            self._aloud -= 1
        elif name == "t" and self._parts is not None:
            text = "".join(self._parts)
            self._parts = None
            text = unescaped(text if self._is_kept else text.strip(SPACE))
            self._all.append(raised(text) if self._is_raised and self._all else text)
            if not self._is_struck:
                self._left.append(self._all[-1])

    @property
    def is_struck_in_part(self) -> bool:
        """Whether a part of it is struck through, and another isn't."""
        return len(self._left) < len(self._all) and any(map(str.strip, self._left))

    @property
    def text(self) -> str:
        """What a person reads."""
        return "".join(self._left if self.is_struck_in_part else self._all)


class _SharedTexts:
    """Takes the elements of the table of shared strings."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        #: The places of those of which a part is left out, because it is struck through.
        self.struck_in_part: set[int] = set()
        self._item = _Text()

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        name = local(name)
        if name == "si":
            self._item = _Text()
        else:
            self._item.start(name, attributes)

    def text(self, content: str) -> None:
        """Text within an element."""
        self._item.add(content)

    def end(self, name: str) -> None:
        """An element ends."""
        name = local(name)
        if name != "si":
            self._item.end(name)
            return
        if self._item.is_struck_in_part:
            self.struck_in_part.add(len(self.texts))
        self.texts.append(self._item.text)


class _Sheet:
    """Takes the elements of a sheet and gives its rows to a grid."""

    def __init__(
        self,
        grid: Grid,
        shared: _SharedTexts,
        styles: Sequence[Format | None],
        *,
        is_1904: bool,
        is_to_calculate: bool,
    ) -> None:
        self._grid, self._styles = grid, styles
        self._shared, self._struck = shared.texts, shared.struck_in_part
        self._is_1904, self._is_to_calculate = is_1904, is_to_calculate
        self._names: dict[str, str] = {}
        self._is_within = False
        self._row = self._column = 0
        self._has_row_number = False
        self._cells: dict[int, str] = {}
        self._kind = self._style = ""
        self._value: str | None = None
        self._own: _Text | None = None
        #: Whether a part of a text is left out, because it is struck through.
        self.are_parts_struck = False
        self._has_formula = False
        #: Of a value; None outside of them.
        self._parts: list[str] | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        name = self._names.get(name) or self._names.setdefault(name, local(name))
        if not self._is_within:
            self._before_rows(name, attributes)
        elif name == "c":
            self._cell(attributes)
        elif name == "v":
            self._parts = []
        elif name == "f":
            self._has_formula = True
        elif name == "is":
            self._own = _Text()
        elif name == "row":
            self._begin_row(attributes)
        elif self._own is not None:
            self._own.start(name, attributes)

    def _before_rows(self, name: str, attributes: dict[str, str]) -> None:
        if name == "sheetData":
            self._is_within = True
        elif name == "col" and is_true(attributes.get("hidden")):
            for columns in _columns(attributes.get("min"), attributes.get("max")):
                self._grid.hide_columns(columns)

    def _begin_row(self, attributes: dict[str, str]) -> None:
        said = attributes.get("r")
        self._has_row_number = said is not None
        number = self._row + 1 if said is None else _number(said)
        if number <= self._row:
            raise damaged()
        self._row, self._column = number, -1
        self._cells = {}
        if is_true(attributes.get("hidden")):
            self._grid.hide(number)

    def _cell(self, attributes: dict[str, str]) -> None:
        reference = attributes.get("r")
        if reference is None:
            self._column += 1
        else:
            found = _REFERENCE.match(reference)
            if not found:
                raise damaged()
            row = int(found[2])
            if not self._has_row_number and not self._cells and row > self._row:
                self._row, self._has_row_number = row, True
            self._column = column_of(found[1])
            if row != self._row or self._column in self._cells:
                raise damaged()
        if self._column >= MOST_COLUMNS:
            raise damaged()
        self._kind = attributes.get("t", "n")
        self._style = attributes.get("s", "")
        self._value, self._own, self._has_formula = None, None, False

    def text(self, content: str) -> None:
        """Text within an element."""
        if self._parts is not None:
            self._parts.append(content)
        elif self._own is not None:
            self._own.add(content)

    def end(self, name: str) -> None:
        """An element ends."""
        name = self._names.get(name, name)
        if not self._is_within:
            return
        if name == "c":
            self._end_cell()
        elif name == "v":
            self._value = "".join(self._parts or ())
            self._parts = None
        elif name == "row":
            self._grid.add(self._row, self._cells)
        elif name == "sheetData":
            self._is_within = False
        elif self._own is not None:
            self._own.end(name)

    def _end_cell(self) -> None:
        value = self._value
        if self._has_formula and is_uncalculated(
            self._kind, value, is_to_calculate=self._is_to_calculate
        ):
            self._cells[self._column] = UNCALCULATED
        elif self._kind == "inlineStr":
            if self._own is not None:
                self._cells[self._column] = self._own.text
                self.are_parts_struck |= self._own.is_struck_in_part
            elif value:
                self._cells[self._column] = value
        elif value is not None and (value or self._kind in {"str", "d"}):
            meant = self._meant(value)
            if meant is not None:
                self._cells[self._column] = meant

    def _meant(self, value: str) -> str | None:
        kind = self._kind
        if kind == "s":
            index = _number(value.strip())
            if not 0 <= index < len(self._shared):
                raise damaged()
            if index in self._struck:
                self.are_parts_struck = True
            return self._shared[index]
        if kind == "n":
            style = _number(self._style) if self._style else 0
            form = self._styles[style] if 0 <= style < len(self._styles) else None
            if form is None:
                return number_as_text(value)
            if form is DATE:
                return date_as_text(value, is_1904=self._is_1904)
            return _formatted(value.strip(), form, is_1904=self._is_1904)
        if kind == "b":
            return {"1": "true", "true": "true", "0": "false", "false": "false"}.get(value, value)
        return value


def _formatted(value: str, form: Format, *, is_1904: bool) -> str | None:
    number = float(value) if NUMERAL.match(value) else math.inf
    return form.text(number, is_1904=is_1904) if math.isfinite(number) else value


def is_uncalculated(kind: str, value: str | None, *, is_to_calculate: bool) -> bool:
    """Whether a formula cell of this kind and value was never calculated.

    Programs that don't calculate leave the value out, or write a zero into a workbook that asks to
    be calculated when it is opened.
    """
    if kind == "str":
        return False
    return not value or (is_to_calculate and kind == "n" and value == "0")
