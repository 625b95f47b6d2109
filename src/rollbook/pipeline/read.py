"""Read: the table with the members, as text, from a workbook or a CSV file."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING

import fastexcel
import polars as pl

from rollbook.errors import (
    MissingColumnsError,
    NoIdColumnError,
    NoRowsError,
    RollbookError,
    UnreadableFileError,
)
from rollbook.pipeline.columns import ColumnMap, map_headers, variants

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ROW_NUMBER = "row_number"
#: The header row is looked for in so many rows: titles and notes may stand above it.
HEADER_SEARCH_ROWS = 30
DELIMITERS = ",;\t|"
#: How much of a CSV file is looked at to tell its delimiter.
SNIFFED_CHARS = 64 * 1024
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


def read(path: Path, kind: str) -> Sheet:
    """Read the first sheet that has a column of ID numbers.

    Args:
        path: the file.
        kind: ``xlsx``, ``xls`` or ``csv``.

    Raises:
        UnreadableFileError: the parser can't make anything of it, or it has a password.
        NoIdColumnError: no sheet has a column of ID numbers.
        MissingColumnsError: the first names or surnames are missing.
        NoRowsError: there is nothing below the headers.
    """
    seen: list[str] = []
    for name, raw in _tables(path, kind):
        found = _header_row(raw)
        if found is None:
            seen.extend(_first_texts(raw))
            continue
        sheet = _sheet(name, raw, found)
        if sheet.columns.missing:
            words = " and ".join(variants()[field][0] for field in sheet.columns.missing)
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
        f"with the header 'ID Number' (seen: {headers})."
    )


def _tables(path: Path, kind: str) -> Iterator[tuple[str, pl.DataFrame]]:
    """Every table of the file, as text, with all its rows from the first on."""
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
        for name in book.sheet_names:
            sheet = book.load_sheet(name, header_row=None, skip_rows=0, dtypes="string")
            yield name, sheet.to_polars()
    except (RollbookError, GeneratorExit, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise UnreadableFileError(DAMAGED) from error


def _read_csv(path: Path) -> pl.DataFrame:
    """The records of a CSV file, of whatever encoding and delimiter; short ones end in nulls."""
    text = _decoded(path.read_bytes())
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

    def fitness(delimiter: str) -> tuple[int, int]:
        counts = [line.count(delimiter) for line in text.splitlines()[:50] if line.strip()]
        usual = max(set(counts), key=counts.count, default=0)
        return (counts.count(usual) if usual else 0, usual)

    return max(DELIMITERS, key=fitness)


def _header_row(raw: pl.DataFrame) -> int | None:
    """The index of the row that has an ID column and the most known headers; None if none has."""
    best: tuple[int, int] | None = None
    for index, row in enumerate(raw.head(HEADER_SEARCH_ROWS).iter_rows()):
        known = map_headers([_text(cell) for cell in row]).known
        if "id_number" in known.values() and (best is None or len(known) > best[0]):
            best = (len(known), index)
    return best[1] if best else None


def _sheet(name: str, raw: pl.DataFrame, header_index: int) -> Sheet:
    headers = _unique([_text(cell) for cell in raw.row(header_index)])
    body = raw.slice(header_index + 1)
    body.columns = headers
    # Headers are the person's: as names in an expression, "*" and "^...$" would be patterns.
    has_value = body.select(
        pl.any_horizontal(pl.all().str.strip_chars().fill_null("") != "")
    ).to_series()
    frame = body.with_row_index(ROW_NUMBER, offset=header_index + 2).filter(has_value)
    return Sheet(frame, name, map_headers(headers))


def _unique(headers: Sequence[str]) -> list[str]:
    """Headers that differ from each other and from our own column, none of them empty."""
    unique: list[str] = []
    taken = {ROW_NUMBER}
    for number, header in enumerate(headers, start=1):
        wanted = header or f"Column {number}"
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
