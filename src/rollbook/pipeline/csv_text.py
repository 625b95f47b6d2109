"""The text of a CSV file, whatever encoding and delimiter it has, looked through piece by piece."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DELIMITERS: Final = ",;\t|"
#: How much of a file is looked at to tell its delimiter.
SNIFFED_CHARS: Final = 64 * 1024
#: Bytes that are looked at together.
PIECE_BYTES: Final = 8 << 20

#: A field in quotes, in which anything may stand, line ends and other delimiters too.
_QUOTED: Final = re.compile(r'(^|[,;\t|])"(?:[^"]|"")*"(?=[,;\t|\r\n]|\Z)', re.MULTILINE)
_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
#: So many bytes of a file in UTF-8 may be Windows-1252, as where two files were put together.
MOST_ODD_BYTES: Final = 100_000
_AS_WINDOWS: Final = "rollbook-windows-1252"
_LINE_END, _QUOTE = (ord(sign) for sign in '\n"')


@dataclass(frozen=True, slots=True)
class CsvText:
    """A CSV file that polars can read, and what it must know of it."""

    #: In UTF-8 without a byte order mark, with line ends that have a line feed.
    path: Path
    delimiter: str
    #: Fields of the longest record at most: delimiters inside quotes count too. 0 for no text.
    width: int
    quotes: int
    #: Records, with the header row and empty ones; lines where quotes don't tell records apart.
    records: int
    #: As it was read, by its usual name.
    encoding: str = "utf-8"

    def fields_of(self, record: int) -> int:
        """How many fields a record has, the empty ones too.

        Args:
            record: its index, among all records.
        """
        with self.path.open(encoding="utf-8", newline="") as file:
            records = csv.reader(file, delimiter=self.delimiter)
            try:
                return len(next(islice(records, record, None)))
            except (csv.Error, StopIteration):  # quotes that are none
                return self.width

    def has_quoted_delimiter(self) -> bool:
        """Is there a cell in quotes that holds a delimiter, and would be two without them?"""
        sign = re.escape(self.delimiter)
        pattern = rf'(?:^|{sign})"(?:[^"\n{sign}]|"")*{sign}(?:[^"\n]|"")*"(?={sign}|\r?$)'
        quoted = re.compile(pattern.encode(), re.MULTILINE)
        with self.path.open("rb") as file:
            return any(quoted.search(line) for line in file)


def csv_text(path: Path) -> CsvText:
    """Look through a file, and put its text beside it where it isn't as polars needs it."""
    encoding, errors = _encoding(path)
    plain = path
    if (encoding, errors) != ("utf-8", "strict") or _has(path, b"\0") or _has_lone_return(path):
        plain = _rewritten(path, encoding, errors)
    with plain.open(encoding="utf-8", newline="") as file:
        start = file.read(SNIFFED_CHARS)
    delimiter = _delimiter(start)
    is_blank = not start.strip() and all(not piece.strip() for piece in _pieces(plain))
    measured = (0, 0, 0) if is_blank else _width_quotes_and_records(plain, ord(delimiter))
    return CsvText(plain, delimiter, *measured, _name(encoding, errors))


def _name(encoding: str, errors: str) -> str:
    if encoding == "cp1252":
        return "windows-1252"
    usual = encoding.removesuffix("-sig")
    return f"{usual}, in parts windows-1252" if errors == _AS_WINDOWS else usual


def _encoding(path: Path) -> tuple[str, str]:
    """By the byte order mark, else UTF-8, else Windows-1252; and what becomes of odd bytes."""
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(_MARKS):
        return "utf-16", "replace"
    encoding = "utf-8-sig" if start.startswith(codecs.BOM_UTF8) else "utf-8"
    odd = _odd_bytes(path)
    if odd > MOST_ODD_BYTES:
        return "cp1252", "replace"
    return encoding, _AS_WINDOWS if odd else "strict"


def _odd_bytes(path: Path) -> int:
    """How often the text is no UTF-8: 0 for a file that is."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    odd = 0
    for piece in _pieces(path):
        odd += decoder.decode(piece).count("\ufffd") - piece.count(b"\xef\xbf\xbd")
    return odd + len(decoder.decode(b"", final=True))


def _as_windows(error: UnicodeError) -> tuple[str, int]:
    """What isn't UTF-8 is Windows-1252, and what stands around it is left what it is."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error(_AS_WINDOWS, _as_windows)


def _has_lone_return(path: Path) -> bool:
    """Does a line end with a carriage return alone, as in old Macintosh programs?

    Spreadsheet programs begin a row there, also in a file that has other line ends.
    """
    last = b""
    for piece in _pieces(path):
        seen = last + piece
        last = seen[-1:] if seen.endswith(b"\r") else b""
        if seen.count(b"\r") - len(last) > seen.count(b"\r\n"):
            return True
    return bool(last)


def _rewritten(path: Path, encoding: str, errors: str) -> Path:
    """The same text in UTF-8, without a character that PostgreSQL refuses, in a file of its own.

    Every line end is a line feed.
    """
    plain = path.with_name(f"{path.name}.utf-8")
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder(encoding)(errors), translate=True
    )
    with plain.open("w", encoding="utf-8", newline="") as target:
        for piece in _pieces(path):
            target.write(decoder.decode(piece).replace("\0", ""))
        target.write(decoder.decode(b"", final=True))
    return plain


def _width_quotes_and_records(path: Path, delimiter: int) -> tuple[int, int, int]:
    lines, records = _Longest(), _Longest()
    quotes, is_open = 0, False
    for piece in _pieces(path):
        signs = np.frombuffer(piece, np.uint8)
        marks = np.flatnonzero(signs == _QUOTE)
        found = np.flatnonzero(signs == delimiter)
        ends = np.flatnonzero(signs == _LINE_END)
        lines.add(found, ends)
        # Behind an odd number of quotes a line end stands inside a cell.
        records.add(found, ends[(quotes + np.searchsorted(marks, ends)) % 2 == 0])
        quotes += len(marks)
        is_open = not piece.endswith(b"\n")
    width = lines.most + 1
    # A quote that is none, as in 5", makes one record of many.
    if quotes % 2 == 0 and records.most < max(4 * width, 256):
        width = max(width, records.most + 1)
        return width, quotes, records.ended + is_open
    return width, quotes, lines.ended + is_open


class _Longest:
    """The most delimiters between two ends, over all pieces."""

    def __init__(self) -> None:
        #: How many ends there were; the file's last record may be without one.
        self.ended = 0
        self._longest = 0
        #: Of what goes on in the next piece.
        self._open = 0

    @property
    def most(self) -> int:
        return max(self._longest, self._open)

    def add(self, found: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]) -> None:
        """Look at the places of the delimiters and of the ends in the next piece."""
        self.ended += len(ends)
        before = np.searchsorted(found, ends)
        if not len(before):
            self._open += len(found)
            return
        self._longest = max(self._longest, int(np.diff(before, prepend=-self._open).max()))
        self._open = len(found) - int(before[-1])


def _delimiter(text: str) -> str:
    """The delimiter with which most of the first lines have the same number of fields."""
    plain = _QUOTED.sub(r"\1-", text)

    def fitness(delimiter: str) -> tuple[int, int]:
        counts = [line.count(delimiter) for line in plain.splitlines()[:50] if line.strip()]
        usual = max(set(counts), key=counts.count, default=0)
        return (counts.count(usual) if usual else 0, usual)

    return max(DELIMITERS, key=fitness)


def _has(path: Path, sign: bytes) -> bool:
    return any(sign in piece for piece in _pieces(path))


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
