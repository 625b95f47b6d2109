"""Rewrites text files: in UTF-8, and with quotation marks as RFC 4180 requires."""

from __future__ import annotations

import codecs
import io
from array import array
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np

from rollbook.languages import listed
from rollbook.pipeline.csv_dialect import unwrapped
from rollbook.pipeline.csv_encoding import PADDING, decoded_once_more, pieces
from rollbook.pipeline.csv_layout import may_have_escapes, usual_widths
from rollbook.pipeline.csv_records import Record, Records, escapes_of
from rollbook.pipeline.reading import Note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from rollbook.pipeline.csv_dialect import Dialect
    from rollbook.pipeline.csv_encoding import Encoding

_PADDING: Final = PADDING.decode()
_LOST: Final = "\N{REPLACEMENT CHARACTER}"
#: Characters that are written together.
_TOGETHER: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Standard:
    """A file as RFC 4180 has it."""

    path: Path
    #: How many cells each record has.
    counts: npt.NDArray[np.uint32]
    has_quotes: bool
    #: The index of each record that can be read in two ways, and the code of its problem.
    unclear: tuple[tuple[int, str], ...] = ()
    notes: tuple[Note, ...] = ()
    #: Whether backslashes make the sign after them text.
    has_escapes: bool = False


def as_utf_8(path: Path, encoding: Encoding) -> tuple[Path, list[Note]]:
    """Write the text beside the file in UTF-8, and say what of it was changed.

    Every line end is a line feed. NULs, which PostgreSQL refuses in a text, and what programs put
    at the end of a text are left out.
    """
    plain = path.with_name(f"{path.name}.utf-8")
    nuls = twice = lost = 0
    with plain.open("w", encoding="utf-8", newline="") as target:
        for text, is_last in _texts(path, encoding):
            whole = text.rstrip(_PADDING + "\n") + "\n" if is_last and _is_padded(text) else text
            nuls += whole.count("\0")
            whole, places = decoded_once_more(whole.replace("\0", ""))
            twice += places
            lost += whole.count(_LOST)
            target.write(whole)
    notes = []
    if twice:
        notes.append(Note("text_encoded_twice", values={"n": twice}))
    if lost:
        notes.append(Note("characters_lost", values={"n": lost, "sign": _LOST}))
    if nuls:
        notes.append(Note("nul_removed", values={"n": nuls}))
    return plain, notes


def _is_padded(text: str) -> bool:
    end = text.rstrip("\n")
    return bool(end) and end[-1] in _PADDING


def _texts(path: Path, encoding: Encoding) -> Iterator[tuple[str, bool]]:
    """The text, whole lines at a time; the last piece has all that may be padding."""
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder(encoding.codec)(encoding.errors), translate=True
    )
    rest: list[str] = []
    waiting: str | None = None
    for piece in pieces(path):
        text = decoder.decode(piece)
        end = text.rfind("\n") + 1
        if end and text[:end].strip(_PADDING + "\n"):
            if waiting is not None:
                yield waiting, False
            waiting = "".join((*rest, text[:end]))
            rest = [text[end:]]
        else:
            rest.append(text)
    yield "".join((waiting or "", *rest, decoder.decode(b"", final=True))), True


def as_standard(path: Path, dialect: Dialect) -> Standard:
    """Write the records beside the file as the standard has them.

    Raises:
        UnreadableFileError: it can't be seen where the rows of the file end.
    """
    target = path.with_name(f"{path.name}.records")
    shape = replace(dialect.shape, usual=usual_widths(path, dialect.shape))
    has_end = ends_with_line(path)
    has_escapes: bool | None = False
    if may_have_escapes(path, shape):
        records = Records(_lines(path, dialect), shape, ends_with_line=has_end)
        has_escapes = escapes_of(records)
    shape = replace(shape, has_escapes=has_escapes)
    written = _Written(shape.delimiter)
    with target.open("w", encoding="utf-8", newline="") as out:
        waiting, chars = [], 0
        records = Records(_lines(path, dialect), shape, ends_with_line=has_end)
        for index, record in enumerate(records):
            if record.line is not None:
                text, count = record.line, record.line.count(shape.delimiter) + 1
            else:
                text, count = written.text(record.cells), len(record.cells)
                written.note(index, record)
            written.counts.append(count)
            waiting.append(text)
            chars += len(text)
            if chars > _TOGETHER:
                out.write("\n".join(waiting) + "\n")
                waiting, chars = [], 0
        out.write("".join(f"{text}\n" for text in waiting))
    counts = np.frombuffer(written.counts, np.uint32) if written.counts else np.empty(0, np.uint32)
    return Standard(
        target, counts, written.has_quotes, tuple(written.unclear), tuple(written.notes()),
        bool(has_escapes),
    )  # fmt: skip


class _Written:
    """What is known of the records that were written."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        self._signs = frozenset((delimiter, '"', "\n", "\r"))
        self.counts = array("I")
        self.has_quotes = False
        self.unclear: list[tuple[int, str]] = []
        #: Numbers of the rows with a quotation mark that was read as text.
        self._literal: list[int] = []
        self._wrapped = 0

    def text(self, cells: list[str]) -> str:
        """The record as a line of the standard."""
        texts = []
        for cell in cells:
            if self._signs.isdisjoint(cell):
                texts.append(cell)
            else:
                self.has_quotes = True
                texts.append('"' + cell.replace('"', '""') + '"')
        return self._delimiter.join(texts)

    def note(self, index: int, record: Record) -> None:
        """Note a record's problems."""
        if record.problem is not None:
            self.unclear.append((index, record.problem))
        if record.has_literal_quote:
            self._literal.append(index + 1)
        self._wrapped += record.was_wrapped

    def notes(self) -> Iterator[Note]:
        """The notes on the file."""
        if self._literal:
            yield Note("quotes_as_text", len(self._literal), {"rows": listed(self._literal)})
        if self._wrapped:
            yield Note("lines_in_quotes", self._wrapped, {"n": self._wrapped})


def ends_with_line(path: Path) -> bool:
    """Is there a line end after the last line of the file?"""
    with path.open("rb") as file:
        file.seek(-1, io.SEEK_END)
        return file.read() == b"\n"


def _lines(path: Path, dialect: Dialect) -> Iterator[str]:
    """The lines of a file in UTF-8 that belong to its table, without their ends."""
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for line in islice(file, int(dialect.has_said_line), None):
            text = line.removesuffix("\n").removesuffix("\r")
            yield unwrapped(text) if dialect.is_wrapped else text
