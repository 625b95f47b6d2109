"""A text file as polars can read it: UTF-8, with quotation marks as RFC 4180 has them.

Most files are that already, which is proved from the places of their delimiters, quotation marks
and line ends, all at once; see ``csv_layout``. The others are rewritten, record by record;
see ``csv_records``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from rollbook.errors import UnreadableFileError
from rollbook.languages import phrase
from rollbook.pipeline.csv_dialect import dialect_of
from rollbook.pipeline.csv_encoding import (
    Encoding,
    encoding_of,
    may_be_encoded_twice,
    pieces,
)
from rollbook.pipeline.csv_layout import layout_of
from rollbook.pipeline.csv_rewrite import Standard, as_standard, as_utf_8, ends_with_line
from rollbook.pipeline.csv_rows import BEYOND, Rows
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rollbook.pipeline.csv_dialect import FindHeader

#: The part of a file that is searched for its delimiter and its header row.
START_BYTES: Final = 64 * 1024
_BACKSLASHES: Final = Note("backslashes_doubled")
_WORDS: Final = {"windows-1252": "Windows-1252", "mac-roman": "Mac Roman", "cp850": "CP850 (DOS)"}


@dataclass(frozen=True, slots=True)
class CsvText:
    """A text file that polars can read, and what is known of it."""

    #: In UTF-8, its records as RFC 4180 has them, the header row and empty ones included.
    standard: Standard
    #: By its usual name.
    encoding: str
    delimiter: str
    #: Records below the header row that are refused or doubtful as a whole: ``row_number`` and the
    #: ``code`` of the problem.
    problems: pl.DataFrame
    notes: tuple[Note, ...] = ()

    @property
    def width(self) -> int:
        """Cells of the longest record; 0 for a file without any text."""
        return int(self.standard.counts.max(initial=0))

    @property
    def records(self) -> int:
        """Records, the header row and empty ones included."""
        return len(self.standard.counts)

    def problems_between(self, first: int, last: int, *, headed: int) -> pl.DataFrame:
        """The problems of the rows from one number to another.

        ``headed`` columns have headers there; a header row further below may have more.
        """
        rows = self.problems.filter(pl.col("row_number").is_between(first, last))
        if rows.is_empty():
            return rows
        is_wide = pl.Series(self.standard.counts[rows["row_number"].to_numpy() - 1] > headed)
        return rows.filter((rows["code"] != BEYOND) | is_wide)

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """The records in batches of ``rows``; short records end in nulls.

        Raises:
            UnreadableFileError: there are more or fewer of them than were counted.
        """
        if not self.width:
            return
        width = done = 0
        records = pl.scan_csv(
            self.standard.path,
            has_header=False,
            separator=self.delimiter,
            quote_char='"' if self.standard.has_quotes else None,
            schema={f"column_{n}": pl.String for n in range(self.width)},
            missing_columns="insert",
        )
        for batch in records.collect_batches(chunk_size=rows, maintain_order=True):
            # Columns at the end in which no row has a value yet don't count.
            used = [n for n, column in enumerate(batch) if column.null_count() < batch.height]
            width = max(width, used[-1] + 1 if used else 0)
            done += batch.height
            yield batch[:, :width]
        if done != self.records:
            raise UnreadableFileError(
                phrase("refusal.file.miscounted", records=self.records, found=done)
            )


def csv_text(path: Path, find: FindHeader) -> CsvText:
    """Look through a file, and rewrite it beside itself where polars can't read it as it is.

    ``find`` finds the header row among the first rows.

    Raises:
        UnreadableFileError: a part of the file is missing, or its rows can't be told apart.
    """
    encoding = encoding_of(path)
    plain, notes = path, _encoding_notes(encoding)
    if not _is_plain(path, encoding):
        plain, more = as_utf_8(path, encoding)
        notes += more
    start, is_blank = _start(plain)
    dialect = dialect_of(start, find)
    delimiter = dialect.shape.delimiter
    if is_blank:
        nothing = Standard(plain, np.empty(0, np.uint32), has_quotes=False)
        return CsvText(nothing, encoding.name, delimiter, _problems([]))
    counts = layout_of(plain, dialect.shape) if dialect.is_standard else None
    if counts is None:
        found = as_standard(plain, dialect)
    else:
        has_quotes = any(b'"' in piece for piece in pieces(plain))
        found = Standard(plain, counts, has_quotes)
    unclear = [*found.unclear]
    if dialect.header_index is not None:
        ends = ends_with_line(plain)
        named = dialect.shape.named or 0
        rows = Rows(found.counts, dialect.header_index, named, ends_with_line=ends)
        unclear = [each for each in unclear if each[0] > dialect.header_index]
        unclear += rows.problems()
        notes += [*found.notes, *rows.notes()]
        if not found.has_escapes and any(b"\\\\" in piece for piece in pieces(plain)):
            notes.append(_BACKSLASHES)
    return CsvText(found, encoding.name, delimiter, _problems(unclear), tuple(notes))


def _problems(found: list[tuple[int, str]]) -> pl.DataFrame:
    rows = [(index + 1, code) for index, code in sorted(set(found))]
    return pl.DataFrame(rows, {"row_number": pl.UInt32, "code": pl.String}, orient="row")


def _encoding_notes(encoding: Encoding) -> list[Note]:
    name = next((words for name, words in _WORDS.items() if encoding.name.endswith(name)), None)
    if name is None:
        return []
    if encoding.is_mixed:
        return [Note("encoding_mixed", values={"encoding": name})]
    if encoding.is_certain and encoding.name == "windows-1252":
        return []
    return [Note("encoding_unsure", values={"encoding": name})]


def _start(path: Path) -> tuple[str, bool]:
    """The first lines, all of them whole, and whether there is nothing in the file but blanks."""
    with path.open("rb") as file:
        content = file.read(START_BYTES)
        is_whole = len(content) < START_BYTES
    end = len(content) if is_whole else content.rfind(b"\n") + 1 or len(content)
    text = content[:end].decode("utf-8-sig", "ignore")
    is_blank = not text.strip() and not any(piece.strip() for piece in pieces(path))
    return text, is_blank


def _is_plain(path: Path, encoding: Encoding) -> bool:
    """Is it UTF-8 in which each carriage return is before a line feed, without a sign to remove?"""
    if encoding.codec not in ("utf-8", "utf-8-sig") or encoding.is_mixed:
        return False
    after_return, piece = False, b""
    for piece in pieces(path):
        if b"\0" in piece or may_be_encoded_twice(piece):
            return False
        if after_return and not piece.startswith(b"\n"):
            return False
        if b"\r" in piece:
            signs = np.frombuffer(piece, np.uint8)
            returns = np.flatnonzero(signs[:-1] == ord("\r"))
            if (signs[returns + 1] != ord("\n")).any():
                return False
        after_return = piece.endswith(b"\r")
    return not after_return and not piece.rstrip(b"\r\n").endswith(b"\x1a")
