"""Read: the table with the members, as text, from a workbook or a CSV file."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import fastexcel
import polars as pl

from rollbook.errors import (
    MissingColumnsError,
    NoIdColumnError,
    NoRowsError,
    NoSuchSheetError,
    RollbookError,
    UnreadableFileError,
)
from rollbook.pipeline.columns import ColumnMap, fingerprint, map_headers, variants

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

ROW_NUMBER = "row_number"
#: The header of what the workbook of refused rows has behind the file's own columns.
ERRORS = "Errors"
#: The header row is looked for in so many rows: titles and notes may stand above it.
HEADER_SEARCH_ROWS = 30
DELIMITERS = ",;\t|"
#: A field in quotes, in which anything may stand, line ends and other delimiters too.
_QUOTED = re.compile(r'(^|[,;\t|])"(?:[^"]|"")*"(?=[,;\t|\r\n]|\Z)', re.MULTILINE)
#: How much of a CSV file is looked at to tell its delimiter.
SNIFFED_CHARS = 64 * 1024
_NUL = "\0"
_OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

DAMAGED = (
    "The file can't be read: it is damaged, or isn't what its name says. Nothing was changed. Open "
    "it in Excel or LibreOffice, save it as .xlsx and send that."
)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table as it stands in the file."""

    #: ``row_number`` (UInt32, as the spreadsheet program counts), then the file's own columns in
    #: their order, all of them text. Rows without any value are left out.
    frame: pl.DataFrame
    sheet_name: str
    columns: ColumnMap
    #: Of the header row; see ``columns.fingerprint``.
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the sender said of the file, and what the office said of earlier ones."""

    #: The name of the sheet; None stands for the first that has a column of ID numbers.
    sheet: str | None = None
    #: The field by header; see ``columns.map_headers``.
    columns: Mapping[str, str | None] | None = None
    #: The same for earlier files, by the fingerprint of their headers.
    remembered: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)

    def map(self, headers: Sequence[str]) -> ColumnMap:
        """Find the field of each header."""
        own = self.columns
        if own is None and self.remembered:
            own = self.remembered.get(_fingerprint(headers))
        return map_headers(headers, own)


def read(path: Path, kind: str, wanted: Wanted | None = None) -> Sheet:
    """Read the wanted sheet, or the first that has a column of ID numbers.

    Args:
        path: the file.
        kind: ``xlsx``, ``xls`` or ``csv``.
        wanted: what the sender said of it.

    Raises:
        UnreadableFileError: the parser can't make anything of it, or it has a password.
        NoSuchSheetError: the workbook has no sheet of the wanted name.
        NoIdColumnError: no sheet has a column of ID numbers.
        MissingColumnsError: the first names or surnames are missing.
        NoRowsError: there is nothing below the headers.
    """
    wanted = wanted or Wanted()
    seen: list[str] = []
    for name, raw in _tables(path, kind, wanted.sheet):
        found = _header_row(raw, wanted)
        if found is None:
            seen.extend(_first_texts(raw))
            continue
        sheet = _sheet(name, raw, found, wanted)
        if sheet.columns.missing:
            words = " and ".join(variants()[name][0] for name in sheet.columns.missing)
            raise MissingColumnsError(
                f"The file has no column {words}, which every member needs. Nothing was changed. "
                "Add it, or give the column that holds it that header, and send the file again."
            )
        if sheet.frame.is_empty():
            raise NoRowsError(
                "The file has headers and no rows below them. Nothing was changed. Check that you "
                "sent the right file."
            )
        return sheet
    headers = ", ".join(f"'{header}'" for header in seen[:10]) or "no headers at all"
    raise NoIdColumnError(
        "No column with ID numbers was found, so nothing was changed. The file must have a column "
        f"with the header 'ID Number' (seen: {headers}). If another column holds them, say so when "
        "you send the file."
    )


def _tables(path: Path, kind: str, wanted_sheet: str | None) -> Iterator[tuple[str, pl.DataFrame]]:
    """The wanted table of the file, or all, as text, with all its rows from the first on."""
    try:
        if kind == "csv":
            yield "CSV", _read_csv(path)
            return
        with path.open("rb") as file:
            if kind == "xlsx" and file.read(8) == _OLE2:
                raise UnreadableFileError(
                    "The workbook has a password, or is an old .xls file with a new name. Nothing "
                    "was changed. Open it, save it as .xlsx without a password and send that."
                )
        book = fastexcel.read_excel(path)
        names = book.sheet_names
        if wanted_sheet is not None:
            names = [name for name in names if name.casefold() == wanted_sheet.casefold()]
        if not names:
            listed = ", ".join(f"'{name}'" for name in book.sheet_names[:20])
            raise NoSuchSheetError(
                f"The workbook has no sheet '{wanted_sheet}', so nothing was changed. It has "
                f"{listed}. Name one of these, or none."
            )
        for name in names:
            sheet = book.load_sheet(name, header_row=None, skip_rows=0, dtypes="string")
            yield name, _without_nul(sheet.to_polars())
    except (RollbookError, GeneratorExit, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise UnreadableFileError(DAMAGED) from error


def _without_nul(table: pl.DataFrame) -> pl.DataFrame:
    """The table without a character that a workbook may hold and PostgreSQL refuses in a text."""
    holds = table.select(pl.all().str.contains(_NUL, literal=True).any())
    at_fault = [column.name for column in holds if column.item()]
    return table.with_columns(pl.col(at_fault).str.replace_all(_NUL, "", literal=True))


def _read_csv(path: Path) -> pl.DataFrame:
    """The records of a CSV file, of whatever encoding and delimiter; short ones end in nulls."""
    text = _decoded(path.read_bytes()).replace(_NUL, "")
    if "\n" not in text:
        text = text.replace("\r", "\n")  # the line ends of old Macintosh programs
    if not text.strip():
        return pl.DataFrame()
    separator = _delimiter(text[:SNIFFED_CHARS])
    lines = pl.Series(text.split("\n"))
    # A delimiter inside quotes counts here too: the width is a bound, and what nobody uses goes.
    width = max(lines.str.count_matches(separator, literal=True)) + 1
    del lines
    content = text.encode()
    try:
        frame = _parse_csv(content, separator, width, quote='"')
    except pl.exceptions.ComputeError:
        # A quote that is never closed would swallow the rest of the file: take quotes as text.
        frame = _parse_csv(content, separator, width, quote=None)
    used = [column.name for column in frame if column.null_count() < frame.height]
    return frame.select(used)


def _parse_csv(content: bytes, separator: str, width: int, quote: str | None) -> pl.DataFrame:
    return pl.read_csv(
        content,
        has_header=False,
        separator=separator,
        quote_char=quote,
        schema={f"column_{n}": pl.String for n in range(width)},
        missing_columns="insert",
    )


def _decoded(content: bytes) -> str:
    """The text, by its byte order mark, else as UTF-8, else as Windows-1252."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _delimiter(text: str) -> str:
    """The delimiter with which most of the first lines have the same number of fields."""
    plain = _QUOTED.sub(r"\1-", text)

    def fitness(delimiter: str) -> tuple[int, int]:
        counts = [line.count(delimiter) for line in plain.splitlines()[:50] if line.strip()]
        usual = max(set(counts), key=counts.count, default=0)
        return (counts.count(usual) if usual else 0, usual)

    return max(DELIMITERS, key=fitness)


def _header_row(raw: pl.DataFrame, wanted: Wanted) -> int | None:
    """The index of the row that has an ID column and the most known headers; None if none has."""
    best: tuple[int, int] | None = None
    for index, row in enumerate(raw.head(HEADER_SEARCH_ROWS).iter_rows()):
        known = wanted.map(_headers(row)).known
        if "id_number" in known.values() and (best is None or len(known) > best[0]):
            best = (len(known), index)
    return best[1] if best else None


def _sheet(name: str, raw: pl.DataFrame, header_index: int, wanted: Wanted) -> Sheet:
    headers = _headers(raw.row(header_index))
    body = raw.slice(header_index + 1)
    body.columns = headers
    # Headers are the person's: as names in an expression, "*" and "^...$" would be patterns.
    has_value = body.select(
        pl.any_horizontal(pl.all().str.strip_chars().fill_null("") != "")
    ).to_series()
    frame = body.with_row_index(ROW_NUMBER, offset=header_index + 2).filter(has_value)
    return Sheet(frame, name, wanted.map(headers), _fingerprint(headers))


def _fingerprint(headers: Sequence[str]) -> str:
    """The same for a file and for the workbook of its refused rows, which is sent next."""
    return fingerprint(headers[:-1] if headers[-1:] == [ERRORS] else headers)


def _headers(row: Sequence[str | None]) -> list[str]:
    """A row as headers that differ from each other and from our own column, none of them empty."""
    unique: list[str] = []
    taken = {ROW_NUMBER}
    for number, cell in enumerate(row, start=1):
        wanted = _text(cell) or f"Column {number}"
        name, copy = wanted, 1
        while name in taken:
            copy += 1
            name = f"{wanted} ({copy})"
        taken.add(name)
        unique.append(name)
    return unique


def _text(cell: str | None) -> str:
    return " ".join((cell or "").split())


def _first_texts(raw: pl.DataFrame) -> list[str]:
    """What stands in the first row that has anything: what the person would call the headers."""
    for row in raw.head(HEADER_SEARCH_ROWS).iter_rows():
        texts = [text for cell in row if (text := _text(cell))]
        if texts:
            # Digits may be a member's; headers have none to speak of.
            return [text[:30] for text in texts if not any(c.isdigit() for c in text)]
    return []
