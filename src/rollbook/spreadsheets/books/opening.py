"""Opens a workbook of any format by its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rollbook.spreadsheets.books.marks import Marks, marks
from rollbook.spreadsheets.books.opendocument import OpenDocumentBook
from rollbook.spreadsheets.books.xls import XlsBook
from rollbook.spreadsheets.books.xlsb import XlsbBook
from rollbook.spreadsheets.books.xlsx import XlsxBook
from rollbook.spreadsheets.content import OLE2
from rollbook.spreadsheets.inspect.compound import workbook_stream
from rollbook.spreadsheets.scan import NotPlainError, Workbook, open_workbook

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rollbook.spreadsheets.books.book import Book, Rows, SheetInfo

log = structlog.get_logger(__name__)


def open_book(path: Path, kind: str, tails: Mapping[str, bytes] | None = None) -> Book:
    """Open a workbook of the kind that ``inspect`` found; ``tails`` is what it saw after the rows.

    Raises:
        UnreadableFileError: it is damaged.
    """
    with path.open("rb") as file:
        if file.read(len(OLE2)) == OLE2:
            return XlsBook(workbook_stream(file))
    if kind in {"ods", "fods"}:
        return OpenDocumentBook(path, is_flat=kind == "fods")
    if kind == "xlsb":
        return XlsbBook(path)
    return ScannedBook(path, tails or {})


def marks_of(book: Book, index: int) -> Marks:
    """The marks of a sheet whose first rows were read; none of .xlsb workbooks are known."""
    if isinstance(book, XlsBook | OpenDocumentBook):
        return Marks(book.struck_rows(index))
    if not isinstance(book, ScannedBook) or not book.may_have_marks:
        return Marks()
    return marks(book.path, index)


def are_parts_struck(book: Book, index: int) -> bool:
    """Whether parts of texts in the rows read so far were left out, as they are struck through."""
    return isinstance(book, ScannedBook) and book.are_parts_struck(index)


class ScannedBook:
    """An .xlsx workbook: plain sheets are scanned, others are read element by element."""

    def __init__(self, path: Path, tails: Mapping[str, bytes]) -> None:
        self.path, self._tails = path, tails
        self._scanned: Workbook | None = None
        self._other: XlsxBook | None = None
        try:
            self._scanned = open_workbook(path, tails)
        except NotPlainError as reason:
            log.info("workbook not plain", reason=str(reason))
            self._other = XlsxBook(path, tails)
        opened = self._scanned or self._other
        assert opened is not None
        self.sheets: Sequence[SheetInfo] = opened.sheets
        self.is_1904: bool = opened.is_1904

    @property
    def may_have_marks(self) -> bool:
        """Whether cells may be struck through or have comments."""
        return self._scanned is None or self._scanned.may_have_marks

    def are_parts_struck(self, index: int) -> bool:
        """Whether parts of a sheet's texts were left out up to here: they are struck through."""
        return self._other is not None and index in self._other.struck_in_part

    def close(self) -> None:
        """Close the file."""
        for opened in (self._scanned, self._other):
            if opened is not None:
                opened.close()

    def claimed_rows(self, index: int) -> int | None:
        """The number of the last row that a sheet says it has; None where that is unknown."""
        if self._scanned is None:
            return None
        try:
            return self._scanned.claimed_rows(index)
        except NotPlainError:
            return None

    def batches(self, index: int, *, rows: int) -> Iterator[Rows]:
        """Rows from the scanner as far as it can read them, the others from the element reader."""
        done = 0
        if self._scanned is not None:
            try:
                for batch in self._scanned.batches(index, rows=rows):
                    done += batch.frame.height
                    yield batch
            except NotPlainError as reason:
                log.info("sheet not plain", reason=str(reason), rows_before=done)
            else:
                return
        if self._other is None:
            self._other = XlsxBook(self.path, self._tails)
        is_first = not done
        for batch in self._other.batches(index, rows=rows):
            skipped = min(done, batch.frame.height)
            done -= skipped
            if skipped == batch.frame.height:
                continue
            batch.frame = batch.frame.slice(skipped)
            if not is_first:
                batch.merged, batch.hidden_columns = [], []
            yield batch
