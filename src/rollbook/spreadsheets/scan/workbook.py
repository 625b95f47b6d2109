"""A plain workbook, whose worksheets can be scanned."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, BinaryIO, Final

import polars as pl

from rollbook.spreadsheets.books.book import MOST_BLANKS, MOST_BLANKS_PER_VALUE, Rows, SheetInfo
from rollbook.spreadsheets.books.xlsx import (
    MOST_SHARED_BYTES,
    hidden_columns,
    is_true,
    merged_areas,
    tail_of,
)
from rollbook.spreadsheets.scan.archive import Part, directory
from rollbook.spreadsheets.scan.cells import Cells
from rollbook.spreadsheets.scan.formats import elements, formats
from rollbook.spreadsheets.scan.pieces import (
    PIECE_BYTES,
    SHEET,
    TABLE,
    Pieces,
    in_batches,
    in_order,
)
from rollbook.spreadsheets.scan.plain import NotPlainError, is_utf8, unforeseen
from rollbook.spreadsheets.scan.prefix import Unprefixed
from rollbook.spreadsheets.scan.shared import shared_texts
from rollbook.spreadsheets.scan.texts import NOTHING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from pathlib import Path

    from rollbook.spreadsheets.books.book import Area


#: The parts that are read whole.
MOST_SMALL_PART_BYTES: Final = 16 << 20
_RELATIONSHIPS: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_WORKBOOK: Final = "xl/workbook.xml"
_STYLES: Final = "xl/styles.xml"
_SHARED: Final = "xl/sharedStrings.xml"
#: The relationships that every workbook has.
_RELATIONS: Final = {"_rels/.rels", "xl/_rels/workbook.xml.rels"}
#: The places where other readers look for these regardless of the relationships.
_FIXED: Final = {"styles": _STYLES, "sharedStrings": _SHARED}
_LAST_ROW: Final = re.compile(rb'<dimension ref="(?:[A-Z]{1,3}\d+:)?[A-Z]{1,3}(\d+)"')
#: A row with two cells takes more in any spelling.
_LEAST_ROW_BYTES: Final = 50
_STATES: Final = ("visible", "hidden", "veryHidden")
_LINE_IN_NAME: Final = re.compile(rb'name="[^"]*[\t\r\n]')


def open_workbook(path: Path, tails: Mapping[str, bytes] | None = None) -> Workbook:
    """Open a workbook to scan its worksheets; close it at the end.

    ``tails`` is what follows the rows in the sheets' parts, by the parts' names, where known.

    Raises:
        NotPlainError: It isn't plain, or no workbook at all.
        OSError: The file can't be read.
    """
    file = path.open("rb")
    try:
        with unforeseen():
            return Workbook(file, tails or {})
    except BaseException:
        file.close()
        raise


class Workbook:
    """A plain workbook; see ``open_workbook``."""

    def __init__(self, file: BinaryIO, tails: Mapping[str, bytes]) -> None:
        self._file, self._tails = file, tails
        self._lock = threading.Lock()
        self._infos = directory(file)
        self._check_root()
        targets = self._targets()
        self.is_1904 = self._is_to_calculate = False
        #: All sheets, in their order.
        self.sheets: list[SheetInfo] = []
        self._parts: list[str] = []
        self._read_sheets(targets)
        styles = self._small(_STYLES) if self._has(_STYLES) else b""
        self._formats = formats(styles) if styles else []
        #: Whether cells may be struck through or have comments.
        self.may_have_marks = b"strike" in styles or self._relates_sheets()
        self._shared: pl.Series | None = None

    def close(self) -> None:
        """Close the file; ``batches`` can't continue after that."""
        self._file.close()

    def claimed_rows(self, index: int) -> int | None:
        """The number of the last row that a sheet says it has; None if it doesn't, or can't have.

        Programs that format whole columns claim all rows of a worksheet for a short list.

        Raises:
            NotPlainError: The sheet isn't plain.
        """
        with unforeseen():
            part = self._part(self._parts[index])
            pieces = Pieces(part, SHEET)
        found = _LAST_ROW.search(pieces.head)
        rows = int(found[1]) if found else 0
        return rows if 0 < rows * _LEAST_ROW_BYTES <= part.size else None

    def batches(self, index: int, *, rows: int = 50_000) -> Generator[Rows]:
        """The rows of a sheet from the first row on, as text; see ``book.Rows``.

        Only the last batch may be shorter than ``rows``.

        Raises:
            NotPlainError: The sheet isn't plain, which may show after some batches.
        """
        if rows < 1:
            raise ValueError("a batch has one row at least")
        part = self._parts[index]
        with unforeseen():
            pieces = Pieces(self._part(part), SHEET)
            notes = self._merged(part), hidden_columns(pieces.head)
            for batch in in_batches(self._rows(pieces), rows):
                batch.merged, batch.hidden_columns = notes
                yield batch
                notes = [], []

    def _merged(self, part: str) -> list[Area]:
        tail = self._tails.get(part)
        if tail is None:
            content = self._part(part)
            tail = tail_of(iter(lambda: content.read(PIECE_BYTES), b""))
        return merged_areas(tail)

    def _rows(self, pieces: Pieces) -> Iterator[Rows]:
        if pieces.is_empty:
            return
        cells = Cells(
            self._formats,
            self._shared_strings(),
            is_1904=self.is_1904,
            is_to_calculate=self._is_to_calculate,
        )
        sheet_row = last_row = 0
        blanks = 0
        hidden: list[int] = []
        for block in in_order(pieces, cells.scan):
            if block.first_row <= sheet_row:
                raise NotPlainError("rows that aren't in their order")
            sheet_row = block.last_row
            hidden += block.hidden
            if block.frame is None:
                continue
            gap = block.first_value_row - last_row - 1
            blanks += gap * block.frame.width + block.blanks - MOST_BLANKS_PER_VALUE * block.values
            if blanks > MOST_BLANKS:
                raise NotPlainError("many more blank cells than values")
            if gap:
                yield Rows(block.frame.clear(gap))
            last_row = block.first_value_row + block.frame.height - 1
            yield Rows(block.frame, hidden)
            hidden = []

    def _has(self, name: str) -> bool:
        return name.casefold() in self._infos

    def _part(self, name: str) -> Unprefixed:
        try:
            info = self._infos[name.casefold()]
        except KeyError:
            raise NotPlainError("a part that isn't there") from None
        return Unprefixed(Part(self._file, self._lock, info))

    def _small(self, name: str) -> bytes:
        part = self._part(name)
        if part.size > MOST_SMALL_PART_BYTES:
            raise NotPlainError("a large part")
        content = b"".join(iter(lambda: part.read(PIECE_BYTES), b""))
        if not content.startswith(b"<") or (not content.isascii() and not is_utf8(content)):
            raise NotPlainError("a part that isn't UTF-8")
        return content

    def _relates_sheets(self) -> bool:
        """Whether any part but the workbook refers to another, such as a sheet to its comments."""
        return any(name.endswith(".rels") and name not in _RELATIONS for name in self._infos)

    def _check_root(self) -> None:
        targets = [
            attributes["Target"].removeprefix("/")
            for path, attributes in elements(self._small("_rels/.rels"))
            if path == ("Relationships", "Relationship")
            and attributes["Type"].endswith("/officeDocument")
        ]
        if targets != [_WORKBOOK]:
            raise NotPlainError("a workbook in an unusual place")

    def _targets(self) -> dict[str, str]:
        """The worksheets' parts by the ids of their relationships."""
        targets: dict[str, str] = {}
        for path, attributes in elements(self._small("xl/_rels/workbook.xml.rels")):
            if path != ("Relationships", "Relationship"):
                continue
            kind, target = attributes["Type"], attributes["Target"]
            part = (
                target.removeprefix("/") if target.startswith(("/xl/", "xl/")) else f"xl/{target}"
            )
            if _FIXED.get(kind.rpartition("/")[2], part) != part:
                raise NotPlainError("styles or texts in an unusual place")
            if attributes["Id"] in targets:
                raise NotPlainError("two relationships of one name")
            targets[attributes["Id"]] = part if kind == f"{_RELATIONSHIPS}/worksheet" else ""
        return targets

    def _read_sheets(self, targets: dict[str, str]) -> None:
        """The worksheets and their parts, and how the workbook's values are meant."""
        content = self._small(_WORKBOOK)
        if _LINE_IN_NAME.search(content):
            raise NotPlainError("a name with a line end")
        for path, attributes in elements(content):
            if path == ("workbook", "workbookPr"):
                self.is_1904 = is_true(attributes.get("date1904"))
            elif path == ("workbook", "calcPr"):
                self._is_to_calculate = is_true(attributes.get("fullCalcOnLoad"))
            elif path[-1] == "workbookPr" or (path[-1] == "sheet" and len(path) != 3):
                raise NotPlainError("an element in an unusual place")
            elif path == ("workbook", "sheets", "sheet"):
                name, part = attributes["name"], targets.get(attributes.get("r:id", ""), "")
                state = attributes.get("state", "visible")
                if not re.fullmatch(r"xl/worksheets/[\w-]+\.xml", part) or state not in _STATES:
                    raise NotPlainError("an unusual sheet")
                self.sheets.append(SheetInfo(name, is_hidden=state != "visible"))
                self._parts.append(part)
        if not self.sheets:
            raise NotPlainError("no sheets")

    def _shared_strings(self) -> pl.Series:
        if self._shared is None:
            self._shared = NOTHING
            if self._has(_SHARED):
                part = self._part(_SHARED)
                if part.size > MOST_SHARED_BYTES:
                    raise NotPlainError("a large table of texts")
                pieces = Pieces(part, TABLE)
                if not pieces.is_empty:
                    texts = list(in_order(pieces, shared_texts))
                    self._shared = pl.concat([NOTHING, *texts], rechunk=True)
        return self._shared
