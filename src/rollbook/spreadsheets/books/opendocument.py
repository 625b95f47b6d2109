"""OpenDocument spreadsheets (.ods and .fods), element by element."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rollbook.errors import UnreadableFileError
from rollbook.spreadsheets.books.book import (
    MOST_COLUMNS,
    MOST_ROWS,
    Area,
    Grid,
    Rows,
    SheetInfo,
)
from rollbook.spreadsheets.books.package import PIECE_BYTES, Package, elements, local, parsing
from rollbook.spreadsheets.books.values import HIDDEN, UNCALCULATED, moment_text, number_as_text
from rollbook.spreadsheets.refusals import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: The most cells that a file may repeat instead of writing: a few bytes can mean a whole sheet.
MOST_REPEATED: Final = 8_000_000
_REPEATED: Final = (
    "The workbook repeats its cells more often than any list of members does. Nothing was changed. "
    "Copy the list into a new workbook, save it as .xlsx and send that."
)
#: The text of these is no part of a cell's, and the cells of these are none of a sheet's.
_LEFT_OUT: Final = frozenset(
    {
        *("annotation", "frame", "custom-shape", "rect", "line", "circle", "ellipse", "g", "a11y"),
        *("connector", "caption", "control", "polygon", "polyline", "path", "measure", "scene"),
        *("regular-polygon", "page-thumbnail", "shapes", "tracked-changes", "content-validations"),
        *("dde-links", "ruby-text", "forms", "data-pilot-tables", "database-ranges", "title"),
    }
)
#: Elements that say how sheets, cells and days are meant.
_OF_STYLES: Final = frozenset({"style", "table-properties", "text-properties", "null-date"})
_MANIFEST: Final = "META-INF/manifest.xml"
_NUMBERS: Final = frozenset({"float", "currency", "percentage"})
_DATE: Final = re.compile(r"(-?[0-9]{4,})-([0-9]{2})-([0-9]{2})(?:T([0-9:]{5,8})(\.[0-9]+)?)?")
_BRACKETS: Final = re.compile(r"[()]")
_SEPARATORS: Final = re.compile(r"[\s()+/.-]")
_NUMERALS: Final = re.compile(r"[0-9]+")
_FRACTION: Final = re.compile(r"(?:([0-9]{1,9}) +)?([0-9]{1,9}) */ *([0-9]{1,9})")
_WORD: Final = re.compile(r"[^\W\d_]{3}")
#: A month by itself, or after the day of the week; a sentence is no date's.
_NAME: Final = re.compile(r"(?:[^\W\d_]\S*, )?[^\W\d_]\S*")
_TIME: Final = re.compile(
    r"P(?:([0-9]{1,7})D)?T(?:([0-9]{1,7})H)?(?:([0-9]{1,4})M)?(?:([0-9.,]{1,20})S)?\Z"
)


class OpenDocumentBook:
    """An opened spreadsheet; see ``book.Book``."""

    def __init__(self, path: Path, *, is_flat: bool) -> None:
        """Find the sheets of the document: an archive, or one XML file where ``is_flat``.

        Raises:
            UnreadableFileError: it isn't well-formed.
        """
        self._path = path
        self._package = None if is_flat else Package(path)
        try:
            self._check_password()
            index = _Index()
            for _ in parsing(self._pieces(), index.start, index.end):
                pass
        except BaseException:
            self.close()
            raise
        self.is_1904 = index.is_1904
        self._struck_rows = index.struck_rows
        self.sheets = index.sheets

    def close(self) -> None:
        """Close the file."""
        if self._package is not None:
            self._package.close()

    def _check_password(self) -> None:
        package = self._package
        if package is not None and _MANIFEST in package:
            names = {path[-1] for path, _ in elements(package.content(_MANIFEST))}
            if "encryption-data" in names:
                raise locked()

    def _pieces(self) -> Iterator[bytes]:
        if self._package is not None:
            yield from self._package.pieces("content.xml")
            return
        with self._path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    def struck_rows(self, index: int) -> tuple[int, ...]:
        """Numbers of the rows of a sheet that have a cell which is struck through."""
        return tuple(self._struck_rows.get(index, ()))

    def claimed_rows(self, index: int) -> int | None:
        """The format says nothing of a sheet's rows."""
        del index
        return None

    def batches(self, index: int, *, rows: int) -> Iterator[Rows]:
        """The rows of a sheet; see ``book.Book``."""
        grid = Grid(rows)
        sheet = _Sheet(grid, index)
        for _ in parsing(self._pieces(), sheet.start, sheet.end, sheet.text):
            yield from grid.ready()
            if sheet.is_done:
                break
        yield from grid.rest()


class _Index:
    """Finds the sheets, and how days are counted."""

    def __init__(self) -> None:
        self.sheets: list[SheetInfo] = []
        self.is_1904 = False
        self._style = ""
        self._hidden_styles: set[str] = set()
        self._left_out = self._depth = 0
        #: Styles whose text is struck through, and the rows with cells in one, by sheet.
        self._struck_styles: set[str] = set()
        self.struck_rows: dict[int, dict[int, None]] = {}
        self._row = self._rows = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        name = local(name)
        if name in _LEFT_OUT:
            self._left_out += 1
        if self._left_out:
            return
        if name == "table":
            self._begin_table(attributes)
        elif name in _OF_STYLES:
            self._learn(name, _named(attributes))
        elif self._struck_styles and name in {"table-row", "table-cell"} and self._depth == 1:
            self._note_struck(name, _named(attributes))

    def _begin_table(self, attributes: dict[str, str]) -> None:
        self._depth += 1
        # A table within a cell is none of the sheets.
        if self._depth == 1:
            found = _named(attributes)
            is_hidden = found.get("style-name") in self._hidden_styles
            self.sheets.append(SheetInfo(found.get("name", ""), is_hidden))
            self._row = self._rows = 0

    def _learn(self, name: str, attributes: dict[str, str]) -> None:
        """What a style, or the calculation settings, say."""
        if name == "style":
            self._style = attributes.get("name", "")
        elif name == "null-date":
            self.is_1904 = attributes.get("date-value", "").startswith("1904-01-01")
        elif attributes.get("display") == "false":
            self._hidden_styles.add(self._style)
        elif attributes.get("text-line-through-style", "none") != "none":
            self._struck_styles.add(self._style)

    def _note_struck(self, name: str, attributes: dict[str, str]) -> None:
        if name == "table-row":
            self._row = self._rows + 1
            self._rows += _count(attributes.get("number-rows-repeated"))
        elif "value-type" in attributes and attributes.get("style-name") in self._struck_styles:
            self.struck_rows.setdefault(len(self.sheets) - 1, {})[self._row] = None

    def end(self, name: str) -> None:
        """An element ends."""
        name = local(name)
        if name in _LEFT_OUT:
            self._left_out -= 1
        elif name == "table" and not self._left_out:
            self._depth -= 1


class _Sheet:
    """Takes the elements of one sheet and gives its rows to a grid."""

    def __init__(self, grid: Grid, index: int) -> None:
        self._grid = grid
        #: Sheets that come before.
        self._before = index
        self.is_done = False
        self._names: dict[str, str] = {}
        self._depth = self._left_out = 0
        self._row = self._column = self._columns = 0
        self._cells: dict[int, str] = {}
        self._repeated = 0
        self._row_attributes: dict[str, str] = {}
        self._cell: dict[str, str] | None = None
        self._paragraphs: list[str] = []
        self._parts: list[str] | None = None
        self._starts: dict[str, Callable[[dict[str, str]], None]] = {
            "table-row": self._begin_row,
            "table-cell": self._begin_cell,
            "covered-table-cell": self._begin_cell,
            "table-column": self._column_properties,
            "p": self._begin_paragraph,
            "s": self._spaces,
            "tab": lambda _: self._add("\t"),
            "line-break": lambda _: self._add("\n"),
        }
        self._ends: dict[str, Callable[[], None]] = {
            "table-row": self._end_row,
            "table-cell": self._end_cell,
            "covered-table-cell": self._end_cell,
            "p": self._end_paragraph,
        }

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        name = self._names.get(name) or self._names.setdefault(name, local(name))
        if name in _LEFT_OUT:
            self._left_out += 1
        elif self._left_out or self.is_done:
            pass
        elif name == "table":
            self._depth += 1
            if self._depth == 1:
                self._before -= 1
        elif self._depth == 1 and self._before < 0 and (take := self._starts.get(name)):
            take(attributes)

    def end(self, name: str) -> None:
        """An element ends."""
        name = self._names.get(name, name)
        if name in _LEFT_OUT:
            self._left_out -= 1
        elif self._left_out or self.is_done:
            pass
        elif name == "table":
            self._depth -= 1
            self.is_done = self._depth == 0 and self._before < 0
        elif self._depth == 1 and self._before < 0 and (take := self._ends.get(name)):
            take()

    def text(self, content: str) -> None:
        """Text within an element."""
        if self._parts is not None and not self._left_out and self._depth == 1:
            self._parts.append(content)

    def _column_properties(self, attributes: dict[str, str]) -> None:
        found = _named(attributes)
        count = _count(found.get("number-columns-repeated"))
        if found.get("visibility") in {"collapse", "filter"}:
            self._grid.hide_columns(range(self._columns, min(self._columns + count, MOST_COLUMNS)))
        self._columns += count

    def _begin_row(self, attributes: dict[str, str]) -> None:
        self._row_attributes = _named(attributes)
        self._cells, self._column = {}, 0

    def _end_row(self) -> None:
        count = _count(self._row_attributes.get("number-rows-repeated"))
        first, cells = self._row + 1, self._cells
        self._row += count
        if not cells:
            return
        self._count(len(cells) * (count - 1))
        is_hidden = self._row_attributes.get("visibility") in {"collapse", "filter"}
        for number in range(first, first + count):
            self._grid.add(number, cells)
            if is_hidden:
                self._grid.hide(number)

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        self._cell = _named(attributes) if attributes else {}
        self._paragraphs = []

    def _end_cell(self) -> None:
        cell = self._cell or {}
        self._cell = None
        count = _count(cell.get("number-columns-repeated"))
        text = _meant(cell, self._paragraphs)
        first = self._column
        self._column += count
        if "number-columns-spanned" in cell or "number-rows-spanned" in cell:
            wide = _count(cell.get("number-columns-spanned"))
            high = _count(cell.get("number-rows-spanned"))
            if wide > 1 or high > 1:
                row = self._row + 1
                self._grid.merge(Area(row, first, row + high - 1, first + wide - 1))
        if text is None:
            return
        self._count(count - 1)
        if first + count > MOST_COLUMNS:
            raise UnreadableFileError(_REPEATED)
        for column in range(first, first + count):
            self._cells[column] = text

    def _count(self, cells: int) -> None:
        self._repeated += cells
        if self._repeated > MOST_REPEATED:
            raise UnreadableFileError(_REPEATED)

    def _begin_paragraph(self, _attributes: dict[str, str]) -> None:
        if self._cell is not None:
            self._parts = []

    def _end_paragraph(self) -> None:
        if self._parts is not None:
            self._paragraphs.append("".join(self._parts))
            self._parts = None

    def _spaces(self, attributes: dict[str, str]) -> None:
        self._add(" " * min(_count(_named(attributes).get("c")), 1000))

    def _add(self, text: str) -> None:
        if self._parts is not None:
            self._parts.append(text)


def _named(attributes: dict[str, str]) -> dict[str, str]:
    """The attributes by their local names; the first prefix of a name counts."""
    found: dict[str, str] = {}
    for name, value in attributes.items():
        # From the format's extension only errors are read.
        if name.startswith("calcext:") and value != "error":
            continue
        key = local(name)
        found[key] = value if name.startswith("calcext:") else found.get(key, value)
    return found


def _count(text: str | None) -> int:
    if text is None:
        return 1
    if not (text.isdigit() and text.isascii() and len(text) < 8):
        raise UnreadableFileError(_REPEATED)
    return min(int(text), 2 * MOST_ROWS)


def _meant(cell: dict[str, str], paragraphs: list[str]) -> str | None:
    """A cell's text by its type; None where it has no value."""
    kind = cell.get("value-type")
    if kind in _NUMBERS:
        return _number(kind, number_as_text(cell.get("value", "")), paragraphs)
    if kind is not None and kind in _TYPED:
        attribute, text_of = _TYPED[kind]
        text = text_of(cell.get(attribute, ""))
        return _with_part(text, paragraphs) if kind == "date" else text
    # An empty text that a formula results in has a paragraph.
    if kind is None and "formula" in cell and not paragraphs:
        return UNCALCULATED
    if kind == "string" and "string-value" in cell:
        return cell["string-value"] or None
    return "\n".join(paragraphs) or None


def _number(kind: str, text: str, paragraphs: list[str]) -> str | None:
    """A number, or what the sheet shows where that has other digits; see ``formats``.

    The paragraphs hold what is shown. Programs that only write values may leave them out.
    """
    if not paragraphs:
        return text
    shown = " ".join(paragraphs).strip()
    if not shown:
        return None if text == "0" else HIDDEN
    if kind == "percentage":
        return shown if shown.endswith("%") else text
    if shown.startswith(("#", "Err:")) or text.startswith("#"):
        return text
    # 4/2 and 0.005 are the numbers 2 and 5 as halves and in thousands.
    if shown.startswith("0.") or _is_fraction(shown, text):
        return text
    digits = _SEPARATORS.sub("", shown)
    adds_digits = digits.isdigit() and digits.endswith(text) and digits != text
    return shown if adds_digits or shown.isalpha() else text


def _is_fraction(shown: str, text: str) -> bool:
    """Whether a fraction that is shown is equal to a whole number."""
    found = _FRACTION.fullmatch(shown)
    if not found or not text.isdigit():
        return False
    whole, above, below = (int(one or 0) for one in found.groups())
    return below > 0 and whole * below + above == int(text) * below


def _with_part(text: str, paragraphs: list[str]) -> str:
    """A date, with what the sheet shows of it where that lacks the day, the month or the year."""
    # The brackets around what is shown are the only ones in the text.
    shown = " ".join(_BRACKETS.sub(" ", " ".join(paragraphs)).split())
    numerals = _NUMERALS.findall(shown)
    # 20240301 is all of it.
    is_compact = any(len(numeral) > 5 for numeral in numerals)
    is_whole = is_compact or len(numerals) + bool(_WORD.search(shown)) > 2
    says_part = numerals or _NAME.fullmatch(shown)
    is_part = says_part and not is_whole and ":" not in shown and text[4:5] == "-"
    return f"{text[:10]} ({shown[:40]})" if is_part else text


def _date(text: str) -> str:
    found = _DATE.match(text)
    if not found:
        return text
    year, month, day, time, rest = found.groups()
    clock = f"{time}:00"[:8] if time else "00:00:00"
    thousandths = f"{float(rest):.3f}"[1:] if rest else ""
    return f"{year}-{month}-{day} {clock}{thousandths if thousandths != '.000' else ''}"


def _time(text: str) -> str:
    """A time of day or a duration, as days from the beginning of the calendar."""
    found = _TIME.match(text)
    if not found:
        return text
    days, hours, minutes, seconds = found.groups()
    rest = float((seconds or "0").replace(",", ".")) if (seconds or "0").count(".") < 2 else 0.0
    total = int(days or 0) * 86400 + int(hours or 0) * 3600 + int(minutes or 0) * 60 + rest
    return moment_text(total / 86400)


#: The attribute with the value, and what its text is, by the type.
_TYPED: Final[dict[str, tuple[str, Callable[[str], str]]]] = {
    "date": ("date-value", _date),
    "time": ("time-value", _time),
    "boolean": ("boolean-value", str),
}
