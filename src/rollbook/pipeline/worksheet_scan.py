"""The cells of a plain .xlsx worksheet as text, some rows at a time, faster than calamine.

A parser that takes one tag after the other spends its time on the tags, of which a cell has four
or six. Here the inflated XML of many rows is looked at as an array of bytes: where the tags are,
what they are, which may follow which, and where values start and end are each one operation of
numpy over all tags at once; polars then copies the values out.

This holds for the XML that programs write, and not for all XML. Whatever is outside of the form
that is described by the constants below raises ``NotPlainError``, at any time: the caller starts
over with calamine. What is inside of it gives the text that fastexcel gives with
``dtypes="string"`` for every cell, which the tests hold against it:

- A number is its value rounded to nine decimals, without zeros at the end; so most numbers of a
  file are that text as they stand.
- A number whose style is a date, a time or a duration is ``yyyy-mm-dd hh:mm:ss``, with
  milliseconds where there are some.
- An error value is no value. A text is unescaped, and its white space at the ends is dropped
  unless ``xml:space`` preserves it.

The file is a stranger's. Each part is inflated a piece at a time, and only the table of shared
strings is kept whole, under a limit.
"""

from __future__ import annotations

import re
import struct
import threading
import zipfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, Self, TypeAlias, TypeVar
from xml.etree import ElementTree as ET
from xml.parsers import expat

import numpy as np
import numpy.typing as npt
import polars as pl
from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

_Ints: TypeAlias = npt.NDArray[np.integer[Any]]
_Bytes: TypeAlias = npt.NDArray[np.uint8]
_Flags: TypeAlias = npt.NDArray[np.bool_]
_Result = TypeVar("_Result")

#: What a worksheet may have, by the format.
MOST_ROWS: Final = 1_048_576
#: Columns up to ZZ: their letters and a digit stand in three bytes.
MOST_COLUMNS: Final = 702

#: So much inflated XML is looked at in one go: few enough for the arrays to stay in the cache.
PIECE_BYTES: Final = 4 << 20
#: A row, or what stands before the rows, may be so long.
MOST_ROW_BYTES: Final = 32 << 20
#: The parts that are read whole.
MOST_SMALL_PART_BYTES: Final = 16 << 20
MOST_SHARED_BYTES: Final = 512 << 20
#: What follows the rows is inflated for its checksum only.
MOST_TAIL_BYTES: Final = 64 << 20
#: Blank cells of the rectangle around the values: so many, and so many for each value.
MOST_BLANKS: Final = 1 << 23
MOST_BLANKS_PER_VALUE: Final = 64

_THREADS: Final = 2
_RAW_DEFLATE: Final = -15
_INPUT_BYTES: Final = 1 << 18
#: The stubs don't know that it is an exception.
_DAMAGE: Final[type[Exception]] = vars(isal_zlib)["error"]
#: Zeros behind each piece, so that eight bytes can be read anywhere.
_PAD: Final = bytes(64)


class NotPlainError(Exception):
    """The workbook uses something that the scanner leaves to calamine."""


#: What a form that nobody thought of may end in; the tests let it through.
_UNFORESEEN: tuple[type[Exception], ...] = (
    ArithmeticError,
    LookupError,
    ValueError,
    pl.exceptions.PolarsError,
)


@contextmanager
def _unforeseen() -> Iterator[None]:
    try:
        yield
    except _UNFORESEEN as error:
        raise NotPlainError("an unforeseen form") from error


# --- the package ------------------------------------------------------------------------------

_RELATIONSHIPS: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_WORKBOOK: Final = "xl/workbook.xml"
_STYLES: Final = "xl/styles.xml"
_SHARED: Final = "xl/sharedStrings.xml"
#: Where other readers look for these, whatever the relationships say.
_FIXED: Final = {f"{_RELATIONSHIPS}/styles": _STYLES, f"{_RELATIONSHIPS}/sharedStrings": _SHARED}
_END_OF_DIRECTORY: Final = struct.Struct("<4s4H2IH")
_LOCAL_HEADER: Final = struct.Struct("<4s5H3I2H")
_LINE_IN_NAME: Final = re.compile(rb'name="[^"]*[\t\r\n]')


def open_workbook(path: Path) -> Workbook:
    """Open a workbook, which is a context manager, to scan its worksheets.

    Raises:
        NotPlainError: It isn't plain, or no workbook at all.
        OSError: The file can't be read.
    """
    file = path.open("rb")
    try:
        with _unforeseen():
            return Workbook(file)
    except BaseException:
        file.close()
        raise


class Workbook:
    """A plain workbook; see ``open_workbook``."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._infos = _directory(file)
        self._check_root()
        targets = self._targets()
        sheets, self._is_1904 = self._sheets(targets)
        #: The names of all sheets, in their order.
        self.sheet_names = list(sheets)
        self._parts = sheets
        self._formats = _formats(self._small(_STYLES)) if _STYLES in self._infos else []
        self._shared: pl.Series | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; ``batches`` can't go on after that."""
        self._file.close()

    def claimed_width(self, name: str) -> int:
        """The number of columns, from A on, that a sheet says it has; 0 if it doesn't say.

        Raises:
            NotPlainError: The sheet isn't plain.
            KeyError: There is no sheet of that name.
        """
        part = self._parts[name]
        with _unforeseen():
            pieces = _Pieces(self._part(part), _SHEET)
        found = re.search(rb'<dimension ref="(?:[A-Z]{1,3}\d+:)?([A-Z]{1,3})\d+"', pieces.head)
        width = _column_of(found[1]) + 1 if found else 0
        return width if width <= MOST_COLUMNS else 0

    def batches(self, name: str, *, rows: int = 50_000) -> Generator[pl.DataFrame]:
        """The rows of a sheet from the first row on, as text.

        Args:
            name: The sheet's name.
            rows: So many rows have all batches but the last.

        Yields:
            Frames whose columns are named 0, 1, ... by the index of the sheet's column, counted
            from 0 for A, without a gap and up to the widest row of the batch. The n-th row of
            all frames is row n + 1 of the sheet; rows behind the last value are left out.

        Raises:
            NotPlainError: The sheet isn't plain, which may show after some batches.
            KeyError: There is no sheet of that name.
        """
        if rows < 1:
            raise ValueError("a batch has one row at least")
        part = self._parts[name]
        with _unforeseen():
            yield from _in_batches(self._frames(part), rows)

    def _frames(self, part: str) -> Iterator[pl.DataFrame]:
        pieces = _Pieces(self._part(part), _SHEET)
        if pieces.is_empty:
            return
        cells = _Cells(self._formats, self._shared_strings(), is_1904=self._is_1904)
        sheet_row = last_row = 0
        blanks = 0
        for block in _in_order(pieces.next, cells.scan):
            if block.first_row <= sheet_row:
                raise NotPlainError("rows that aren't in their order")
            sheet_row = block.last_row
            if block.frame is None:
                continue
            gap = block.first_value_row - last_row - 1
            blanks += gap * block.frame.width + block.blanks - MOST_BLANKS_PER_VALUE * block.values
            if blanks > MOST_BLANKS:
                raise NotPlainError("many more blank cells than values")
            if gap:
                yield block.frame.clear(gap)
            last_row = block.first_value_row + block.frame.height - 1
            yield block.frame

    def _part(self, name: str) -> _Part:
        try:
            info = self._infos[name]
        except KeyError:
            raise NotPlainError("a part that isn't there") from None
        return _Part(self._file, self._lock, info)

    def _small(self, name: str) -> bytes:
        part = self._part(name)
        if part.size > MOST_SMALL_PART_BYTES:
            raise NotPlainError("a large part")
        content = b"".join(iter(lambda: part.read(PIECE_BYTES), b""))
        if not content.startswith(b"<") or (not content.isascii() and not _is_utf8(content)):
            raise NotPlainError("a part that isn't UTF-8")
        return content

    def _check_root(self) -> None:
        targets = [
            attributes["Target"].removeprefix("/")
            for path, attributes in _Elements(self._small("_rels/.rels"))
            if path == ("Relationships", "Relationship")
            and attributes["Type"].endswith("/officeDocument")
        ]
        if targets != [_WORKBOOK]:
            raise NotPlainError("a workbook in an unusual place")

    def _targets(self) -> dict[str, str]:
        """The worksheets' parts by the ids of their relationships."""
        targets: dict[str, str] = {}
        for path, attributes in _Elements(self._small("xl/_rels/workbook.xml.rels")):
            if path != ("Relationships", "Relationship"):
                continue
            kind, target = attributes["Type"], attributes["Target"]
            part = (
                target.removeprefix("/") if target.startswith(("/xl/", "xl/")) else f"xl/{target}"
            )
            if _FIXED.get(kind, part) != part:
                raise NotPlainError("styles or texts in an unusual place")
            if attributes["Id"] in targets:
                raise NotPlainError("two relationships of one name")
            targets[attributes["Id"]] = part if kind == f"{_RELATIONSHIPS}/worksheet" else ""
        return targets

    def _sheets(self, targets: dict[str, str]) -> tuple[dict[str, str], bool]:
        """The parts of the worksheets by their names, and whether days count from 1904."""
        content = self._small(_WORKBOOK)
        if _LINE_IN_NAME.search(content):
            raise NotPlainError("a name with a line end")
        sheets: dict[str, str] = {}
        is_1904 = False
        for path, attributes in _Elements(content):
            if path == ("workbook", "workbookPr"):
                is_1904 = attributes.get("date1904", "0") in ("1", "true")
            elif path[-1] == "workbookPr" or (path[-1] == "sheet" and len(path) != 3):
                raise NotPlainError("an element in an unusual place")
            elif path == ("workbook", "sheets", "sheet"):
                name, part = attributes["name"], targets.get(attributes.get("r:id", ""), "")
                if (
                    name in sheets
                    or not re.fullmatch(r"xl/worksheets/[\w-]+\.xml", part)
                    or attributes.get("state", "visible") not in ("visible", "hidden", "veryHidden")
                ):
                    raise NotPlainError("an unusual sheet")
                sheets[name] = part
        if not sheets:
            raise NotPlainError("no sheets")
        return sheets, is_1904

    def _shared_strings(self) -> pl.Series:
        if self._shared is None:
            self._shared = _NO_TEXT
            if _SHARED in self._infos:
                part = self._part(_SHARED)
                if part.size > MOST_SHARED_BYTES:
                    raise NotPlainError("a large table of texts")
                pieces = _Pieces(part, _TABLE)
                if not pieces.is_empty:
                    texts = list(_in_order(pieces.next, _shared_texts))
                    self._shared = pl.concat([_NO_TEXT, *texts], rechunk=True)
        return self._shared


def _directory(file: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """The entries of an archive that every reader reads in the same way."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_OF_DIRECTORY.size))
    end = file.read()
    if len(end) < _END_OF_DIRECTORY.size:
        raise NotPlainError("not an archive")
    mark, disk, start_disk, here, count, length, start, comment = _END_OF_DIRECTORY.unpack(end)
    if (
        mark != b"PK\5\6"
        or (disk, start_disk, comment) != (0, 0, 0)
        or here != count
        or start + length != size - _END_OF_DIRECTORY.size
    ):
        raise NotPlainError("an unusual archive")
    try:
        infos = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise NotPlainError("a damaged archive") from error
    names = {info.filename.replace("\\", "/").casefold() for info in infos}
    if not len(names) == len(infos) == count:
        raise NotPlainError("two entries of one name")
    if any(info.orig_filename != info.filename or "\\" in info.filename for info in infos):
        raise NotPlainError("an entry with an unusual name")
    return {info.filename: info for info in infos}


class _Part:
    """A part as a stream of its inflated bytes, which ends in a check of their sum."""

    def __init__(self, file: BinaryIO, lock: threading.Lock, info: zipfile.ZipInfo) -> None:
        self._file, self._lock = file, lock
        if info.flag_bits & ~0x080E or info.compress_type not in (0, 8):
            raise NotPlainError("an encrypted part or an unusual compression")
        with lock:
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size:
                raise NotPlainError("a damaged archive")
            mark, _, flags, method, *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
            name = file.read(name_length)
        if (
            mark != b"PK\3\4"
            or flags & 1
            or method != info.compress_type
            or name != info.orig_filename.encode()
        ):
            raise NotPlainError("a part whose headers differ")
        self._offset = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        self._left = info.compress_size
        self._info = info
        self._inflate = isal_zlib.decompressobj(_RAW_DEFLATE) if method else None
        self._waiting = b""
        self._crc = 0
        self._read = 0

    @property
    def size(self) -> int:
        """The bytes that it will have, by the directory, which ``read`` holds it to."""
        return self._info.file_size

    @property
    def left(self) -> int:
        """The bytes that haven't been read."""
        return self._info.file_size - self._read

    def read(self, most: int) -> bytes:
        """Some more bytes, none at the end."""
        content = self._stored(most) if self._inflate is None else self._inflated(most)
        self._read += len(content)
        self._crc = isal_zlib.crc32(content, self._crc)
        if self._read > self._info.file_size or (
            not content and (self._read < self._info.file_size or self._crc != self._info.CRC)
        ):
            raise NotPlainError("a damaged part")
        return content

    def _inflated(self, most: int) -> bytes:
        assert self._inflate is not None
        try:
            while not self._inflate.eof:
                given = self._waiting or self._stored(_INPUT_BYTES)
                content = self._inflate.decompress(given, most)
                self._waiting = self._inflate.unconsumed_tail
                if content:
                    return bytes(content)
                if not given:
                    raise NotPlainError("a part without its end")
        except _DAMAGE as error:
            raise NotPlainError("a damaged part") from error
        return b""

    def _stored(self, most: int) -> bytes:
        with self._lock:
            self._file.seek(self._offset)
            content = self._file.read(min(most, self._left))
        self._offset += len(content)
        self._left -= len(content)
        return content


class _Attributes(dict[str, str]):
    """An element's attributes, of which those that are asked for must be there."""

    def __missing__(self, name: str) -> str:
        raise NotPlainError("an element without an attribute")


class _Elements:
    """The elements of a small part: their qualified names from the root on, their attributes."""

    def __init__(self, content: bytes) -> None:
        self._path: list[str] = []
        self._found: list[tuple[tuple[str, ...], _Attributes]] = []
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._refuse
        parser.ProcessingInstructionHandler = self._refuse
        parser.CommentHandler = self._refuse
        parser.StartCdataSectionHandler = self._refuse
        try:
            parser.Parse(content, True)  # noqa: FBT003 - expat takes no names
        except expat.ExpatError as error:
            raise NotPlainError("XML that isn't well-formed") from error

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], _Attributes]]:
        return iter(self._found)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        _require(len(self._path) <= 64, "elements in elements in elements")
        _require(":" not in name or name.rpartition(":")[2] not in _MEANT, "names with a prefix")
        self._found.append((tuple(self._path), _Attributes(attributes)))

    def _end(self, _name: str) -> None:
        self._path.pop()

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        _require(encoding is None or encoding.lower() in ("utf-8", "utf8"), "another encoding")

    def _refuse(self, *_: object) -> None:
        raise NotPlainError("XML with more than elements")


#: The names of elements that mean something here.
_MEANT: Final = frozenset(
    {
        *("Relationship", "Relationships", "workbook", "workbookPr", "sheets", "sheet"),
        *("styleSheet", "numFmts", "numFmt", "cellXfs", "xf"),
    }
)

# --- number formats ---------------------------------------------------------------------------

_BUILT_IN_DATES: Final = frozenset([*map(str, range(14, 23)), "45", "46", "47"])
_ELAPSED: Final = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)
#: What shows nothing of the number: quoted text, an escaped, skipped or repeated character.
_LITERAL: Final = re.compile(r'"[^"]*"|[\\_*].', re.DOTALL)
_BRACKETS: Final = re.compile(r"\[[^\[\]]*\]")
#: Formats that say for sure what they are; of others, what they are is left open.
_SURE: Final = re.compile(r"[0#?.,%/ \-+()$;@:dmyhsDMYHSeE]*|General", re.ASCII)
_AM_PM: Final = re.compile(r"AM/PM|A/P", re.IGNORECASE)
_TIME: Final = re.compile(r"[dmyhs]|A/P", re.IGNORECASE)


def _formats(styles: bytes) -> list[bool | None]:
    """Whether each style shows a number as a date or time; None where that is left open."""
    codes: dict[str, bool | None] = {}
    formats: list[bool | None] = []
    for path, attributes in _Elements(styles):
        if path == ("styleSheet", "numFmts", "numFmt"):
            if formats or "numFmtId" not in attributes or attributes["numFmtId"] in codes:
                raise NotPlainError("number formats in an unusual order")
            codes[attributes["numFmtId"]] = _is_date(attributes.get("formatCode", ""))
        elif path == ("styleSheet", "cellXfs", "xf"):
            number = attributes.get("numFmtId")
            formats.append(number is not None and codes.get(number, number in _BUILT_IN_DATES))
        elif path[-1] in ("numFmts", "cellXfs") and len(path) != 2:
            raise NotPlainError("number formats in an unusual place")
    return formats


def _is_date(code: str) -> bool | None:
    """Whether a number format shows a date or time, by the first of its sections."""
    # Other readers let these escape a quotation mark, even in quotes.
    if any(text[0] == '"' and set(text) & set("_*\\") for text in _LITERAL.findall(code)):
        return None
    section = _LITERAL.sub("", code).split(";")[0]
    rest = _BRACKETS.sub("", section)
    if not code or not _SURE.fullmatch(_AM_PM.sub("", rest)):
        return None
    return rest != "General" and bool(_ELAPSED.search(section) or _TIME.search(rest))


# --- pieces of XML ----------------------------------------------------------------------------


class _Form(NamedTuple):
    """Where the elements that are looked for begin and end in a part."""

    root: bytes
    #: The start of the tag that they follow.
    start: bytes
    #: What ends each of them.
    cut: bytes
    end: bytes


_SHEET: Final = _Form(b"<worksheet", b"<sheetData", b"</row>", b"</sheetData>")
_TABLE: Final = _Form(b"<sst", b"<sst", b"</si>", b"</sst>")
_DECLARATION: Final = re.compile(
    rb"""<\?xml version=["']1.0["'](?: encoding=["']utf-8["'])?"""
    rb"""(?: standalone=["'](?:yes|no)["'])?\s*\?>\s*""",
    re.IGNORECASE,
)
#: Tags in which no bracket stands in quotes, with white space between them.
_TAGS: Final = re.compile(rb"""(?:</?[A-Za-z](?:[^<>"']|"[^<>"]*"|'[^<>']*')*>\s*)*""")


class _Piece(NamedTuple):
    """Whole elements of one kind: some of the bytes, behind which are 64 more at least."""

    content: bytes
    start: int
    end: int


class _Pieces:
    """The XML of a part in pieces that begin and end between two elements."""

    def __init__(self, part: _Part, form: _Form) -> None:
        self._part, self._form = part, form
        head = b""
        at = -1
        while (end := head.find(b">", at) if at >= 0 else -1) < 0:
            more = part.read(max(_INPUT_BYTES, len(head)))
            if not more or len(head) > MOST_ROW_BYTES:
                raise NotPlainError("a part without what it should have")
            head += more
            at = head.find(form.start)
        #: Everything up to the first element.
        self.head = head[: end + 1]
        declared = _DECLARATION.match(self.head)
        tags = self.head[declared.end() if declared else 0 :]
        if not tags.startswith(form.root) or not _TAGS.fullmatch(tags):
            raise NotPlainError("XML with more than elements before the rows")
        #: Whether there are no elements at all.
        self.is_empty = self.head.endswith(b"/>")
        self._rest = head[end + 1 :]
        self._done = self.is_empty

    def next(self) -> _Piece | None:
        """The next piece; None at the end, when all of the part has been checked."""
        if self._done:
            return None
        parts, size = [self._rest], len(self._rest)
        recent = self._rest
        while True:
            found = recent.find(self._form.end)
            if found >= 0:
                self._done = True
                self._check_tail()
                return _Piece(b"".join((*parts, _PAD)), 0, size - len(recent) + found)
            if size >= PIECE_BYTES:
                content = b"".join((*parts, _PAD))
                cut = content.rfind(self._form.cut)
                if cut >= 0:
                    cut += len(self._form.cut)
                    self._rest = content[cut : -len(_PAD)]
                    return _Piece(content, 0, cut)
                if size > MOST_ROW_BYTES:
                    raise NotPlainError("a very long row")
            fresh = self._part.read(max(PIECE_BYTES - size, _INPUT_BYTES))
            if not fresh:
                raise NotPlainError("a part without its end")
            # An end may stand across two reads.
            recent = recent[-len(self._form.end) :] + fresh
            parts.append(fresh)
            size += len(fresh)

    def _check_tail(self) -> None:
        """Inflate what is left, for its sum."""
        if self._part.left > MOST_TAIL_BYTES:
            raise NotPlainError("much behind the rows")
        while self._part.read(PIECE_BYTES):
            pass


def _in_order(
    take: Callable[[], _Piece | None], work: Callable[[_Piece], _Result]
) -> Iterator[_Result]:
    """The results of the work on each piece, with both on other threads, a few pieces ahead."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="worksheet-scan") as threads:
        waiting: deque[Future[_Result]] = deque()
        try:
            taken = threads.submit(take)
            while (piece := taken.result()) is not None:
                # What comes first is what is waited for first.
                taken = threads.submit(take)
                waiting.append(threads.submit(work, piece))
                if len(waiting) > _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _in_batches(frames: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """The same rows in frames of so many rows each."""
    held: list[pl.DataFrame] = []
    height = 0
    for frame in frames:
        held.append(frame)
        height += frame.height
        if height < rows:
            continue
        whole = _stacked(held)
        for start in range(0, height - rows + 1, rows):
            yield whole.slice(start, rows)
        held = [whole.slice(height - height % rows)] if height % rows else []
        height %= rows
    if held:
        yield _stacked(held)


def _stacked(frames: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(frames, how="diagonal") if len(frames) > 1 else frames[0]


# --- tags -------------------------------------------------------------------------------------

#: What a tag is. An element with nothing in it has a tag of its own where it is a value.
(
    UNKNOWN, ROW, CELL, VALUE, NO_VALUE, INLINE, TEXT, SPACED_TEXT, NO_TEXT, FORMULA,
    ROW_END, CELL_END, VALUE_END, TEXT_END, INLINE_END, FORMULA_END,
) = range(16)  # fmt: skip

#: The first three bytes of each tag behind its bracket; a dot stands for any byte.
_NAMES: Final = {
    ROW: [b"row"],
    CELL: [b"c ."],
    VALUE: [b"v>."],
    NO_VALUE: [b"v/.", b"v ."],
    INLINE: [b"is>"],
    TEXT: [b"t>."],
    SPACED_TEXT: [b"t ."],
    NO_TEXT: [b"t/>"],
    FORMULA: [b"f>.", b"f .", b"f/."],
    ROW_END: [b"/ro"],
    CELL_END: [b"/c>"],
    VALUE_END: [b"/v>"],
    TEXT_END: [b"/t>"],
    INLINE_END: [b"/is"],
    FORMULA_END: [b"/f>"],
}
#: Which tag may come behind which; where this holds, elements are within each other as they should.
_FOLLOWING: Final = {
    ROW: [CELL, ROW_END, ROW],
    CELL: [VALUE, NO_VALUE, INLINE, FORMULA, CELL_END, CELL, ROW_END],
    VALUE: [VALUE_END],
    VALUE_END: [CELL_END],
    NO_VALUE: [CELL_END],
    INLINE: [TEXT, SPACED_TEXT, NO_TEXT],
    TEXT: [TEXT_END],
    SPACED_TEXT: [TEXT_END],
    NO_TEXT: [INLINE_END],
    TEXT_END: [INLINE_END],
    INLINE_END: [CELL_END],
    FORMULA: [FORMULA_END, VALUE, NO_VALUE, CELL_END],
    FORMULA_END: [VALUE, NO_VALUE, CELL_END],
    CELL_END: [CELL, ROW_END],
    ROW_END: [ROW],
}


def _tag_tables(names: dict[int, list[bytes]], following: dict[int, list[int]]) -> _TagTables:
    kinds, third, pairs = np.zeros(1 << 16, np.uint8), np.zeros(16, np.uint8), np.zeros(256, bool)
    for kind, starts in names.items():
        for start in starts:
            kinds[start[0] << 8 | start[1]] = kind
            third[kind] = start[2] if start[2:] != b"." else 0
    for kind, followers in following.items():
        for follower in followers:
            pairs[kind << 4 | follower] = True
    return _TagTables(kinds, third, pairs)


class _TagTables(NamedTuple):
    #: The kind of a tag by its first two bytes.
    kinds: _Bytes
    #: The third byte by the kind; 0 where it may be any.
    third: _Bytes
    #: Whether the second may follow the first, by the two kinds.
    pairs: _Flags


_SHEET_TAGS: Final = _tag_tables(_NAMES, _FOLLOWING)
_MASKS: Final = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)


def _word(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(text.ljust(8, b"\0"), "little"))


class _Tags:
    """The tags of a piece, and the bytes that stand in them."""

    def __init__(self, piece: _Piece, tables: _TagTables) -> None:
        content = piece.content
        self.content = content
        self.end = piece.end
        self.bytes: _Bytes = np.frombuffer(content, np.uint8)
        #: The eight bytes from each byte on, as a number.
        self.words: npt.NDArray[np.uint64] = np.ndarray(
            len(content) - 7, "<u8", content, strides=(1,)
        )
        #: Where the tags start; the last is the end of the piece.
        self.at = np.flatnonzero(self.bytes[: piece.end + 1] == ord("<"))
        if not len(self.at) or self.at[-1] != piece.end:
            self.at = np.append(self.at, piece.end)
        starts = self.at[:-1]
        first = self.bytes[1:].take(starts).astype(np.uint16)
        second, third = self.bytes[2:].take(starts), self.bytes[3:].take(starts)
        self.kinds: _Bytes = tables.kinds.take(first << 8 | second)
        expected = tables.third.take(self.kinds)
        _require(((expected == third) | (expected == 0)).all(), "other elements")

    @cached_property
    def _whole(self) -> pl.Series:
        return pl.Series([self.content], dtype=pl.Binary)

    def require_word(self, at: _Ints, text: bytes) -> None:
        """Refuse if another text stands at one of the places."""
        _require(_has_words(self, at, text).all(), "tags in another form")

    def texts(self, starts: _Ints, ends: _Ints) -> pl.Series:
        """What stands between."""
        # The stubs know of one slice for all only.
        slices: Any = self._whole.bin.slice
        cut: pl.Series = slices(pl.Series(starts), pl.Series(ends - starts))
        try:
            return cut.cast(pl.String)
        except pl.exceptions.ComputeError as error:
            raise NotPlainError("text that isn't UTF-8") from error

    def positions(self, mark: bytes) -> _Ints | None:
        """Where a mark of one or two bytes stands; None if it doesn't, which is found fast."""
        # Of one byte: to look for two is ten times slower.
        if self.content.find(mark[:1], 0, self.end) < 0:
            return None
        found = self.bytes[: self.end] == mark[0]
        if len(mark) > 1:
            found &= self.bytes[1 : self.end + 1] == mark[1]
        return np.flatnonzero(found)


def _has_words(tags: _Tags, at: _Ints, text: bytes) -> _Flags:
    """At which of the places this text stands."""
    holds = np.ones(len(at), bool)
    for start in range(0, len(text), 8):
        part = text[start : start + 8]
        holds &= (tags.words[at + start] & _MASKS[len(part)]) == _word(part)
    return holds


def _require(holds: np.bool_ | bool, otherwise: str) -> None:
    if not holds:
        raise NotPlainError(otherwise)


# --- cells ------------------------------------------------------------------------------------

#: What a cell's type and style make of its value.
NUMBER, DATE, SHARED, STRING, INLINE_STRING, BOOLEAN, ERROR, OPEN = range(1, 9)

_ATTRIBUTE: Final = re.compile(rb' ([a-z]{1,2})="([A-Za-z0-9]*)"')
_KIND_OF_TYPE: Final = {
    b"s": SHARED, b"str": STRING, b"d": STRING, b"inlineStr": INLINE_STRING, b"b": BOOLEAN,
    b"e": ERROR,
}  # fmt: skip
_ROW_ATTRIBUTES: Final = re.compile(rb"""(?: (?!r=)[A-Za-z][\w.:-]*="[^"<>&]*")*\s?/?""")
_ERRORS: Final = frozenset(("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"))
#: How far behind the start of its tag a text starts: at its end if there is none.
_STARTS: Final = np.full(16, 1 << 40, np.int64)
_STARTS[[VALUE, TEXT, SPACED_TEXT]] = 3, 3, len(b'<t xml:space="preserve">')
_HAS_VALUE: Final = np.isin(np.arange(16), (VALUE, NO_VALUE, TEXT, SPACED_TEXT, NO_TEXT))
_NO_TEXT: Final = pl.Series([], dtype=pl.String)
_NULL: Final = pl.Series([None], dtype=pl.String)
_TRUTHS: Final = pl.Series(["false", "true"])


def _column_of(letters: bytes) -> int:
    """The index of a column, counted from 0, by its letters."""
    index = 0
    for letter in letters:
        index = index * 26 + letter - 64
    return index - 1


def _column_table() -> npt.NDArray[np.int16]:
    """The index of the column by the first two bytes of a reference, the first the lower one."""
    table = np.full(1 << 16, -1, np.int16)
    letters = range(ord("A"), ord("Z") + 1)
    for first in letters:
        for digit in range(ord("1"), ord("9") + 1):
            table[digit << 8 | first] = _column_of(bytes((first,)))
        for second in letters:
            table[second << 8 | first] = _column_of(bytes((first, second)))
    return table


_COLUMNS: Final = _column_table()


class _Block(NamedTuple):
    """The rows of one piece."""

    first_row: int
    last_row: int
    #: The rows from the first with a value up to the last; None if no row has any.
    frame: pl.DataFrame | None
    first_value_row: int
    values: int
    blanks: int


class _Rows(NamedTuple):
    #: The number of each row, counted from 1.
    numbers: _Ints
    #: How many digits it has.
    digits: _Ints
    #: The digits and the quotation mark behind them, as they stand in the row's tag.
    words: npt.NDArray[np.uint64]


class _Cells:
    """Makes the cells of pieces into frames, on several threads at a time."""

    def __init__(self, formats: list[bool | None], shared: pl.Series, *, is_1904: bool) -> None:
        self._formats, self._shared = formats, shared
        self._days_before = 1462 if is_1904 else 0
        self._known = _KnownAttributes(self._kind_of)
        self._row_attributes: set[bytes] = {b""}

    def scan(self, piece: _Piece) -> _Block:
        """The rows of a piece.

        Raises:
            NotPlainError: They are in another form.
        """
        tags = _Tags(piece, _SHEET_TAGS)
        kinds = tags.kinds
        if not len(kinds):
            return _Block(MOST_ROWS + 1, MOST_ROWS + 1, None, 0, 0, 0)
        _require(
            kinds[0] == ROW
            and kinds[-1] in (ROW, ROW_END)
            and _SHEET_TAGS.pairs.take(kinds[:-1] << 4 | kinds[1:]).all(),
            "elements in another order",
        )
        self._check_ends(tags)
        row_tags, cell_tags = np.flatnonzero(kinds == ROW), np.flatnonzero(kinds == CELL)
        rows = self._rows(tags, row_tags)
        first_row, last_row = int(rows.numbers[0]), int(rows.numbers[-1])
        if not len(cell_tags):
            return _Block(first_row, last_row, None, 0, 0, 0)
        row_of_cell = np.repeat(
            np.arange(len(row_tags)),
            np.diff(np.searchsorted(cell_tags, row_tags), append=len(cell_tags)),
        )
        columns, meanings = self._columns_and_meanings(tags, cell_tags, rows, row_of_cell)

        value_tags = np.flatnonzero(_HAS_VALUE.take(kinds))
        if not len(value_tags):
            return _Block(first_row, last_row, None, 0, 0, 0)
        numbers = rows.numbers.take(row_of_cell)
        if len(value_tags) != len(cell_tags):
            # A value belongs to the last cell before it, and no cell has two.
            valued = np.searchsorted(cell_tags, value_tags) - 1
            columns, meanings, numbers = columns[valued], meanings[valued], numbers[valued]
        places = numbers * 1024 + columns
        _require((places[1:] > places[:-1]).all(), "cells in another order")
        values, indices = self._values(tags, value_tags, meanings)
        first = int(numbers[0])
        height, width = int(numbers[-1]) - first + 1, int(columns.max()) + 1
        blanks = height * width - len(value_tags)
        _require(
            blanks <= MOST_BLANKS + MOST_BLANKS_PER_VALUE * len(value_tags),
            "many more blank cells than values",
        )
        grid = np.full(height * width, len(values), np.uint32)
        grid[columns.astype(np.int64) * height + (numbers - first)] = indices
        cells = pl.concat([values, _NULL], rechunk=True).gather(pl.Series(grid))
        frame = pl.DataFrame(
            [cells.slice(column * height, height).alias(str(column)) for column in range(width)]
        )
        return _Block(first_row, last_row, frame, first, len(value_tags), blanks)

    def _check_ends(self, tags: _Tags) -> None:
        """What the first three bytes of a tag leave open."""
        at, kinds = tags.at[:-1], tags.kinds
        tags.require_word(at[kinds == INLINE_END], b"</is>")
        tags.require_word(at[kinds == ROW_END], b"</row>")
        without = at[kinds == NO_VALUE]
        _require(
            (_has_words(tags, without, b"<v/>") | _has_words(tags, without, b"<v />")).all(),
            "values in another form",
        )
        tags.require_word(at[kinds == SPACED_TEXT], b'<t xml:space="preserve">')
        formulas = np.flatnonzero(kinds == FORMULA)
        if len(formulas):
            starts, ends = at[formulas], tags.at[formulas + 1]
            closed = kinds[formulas + 1] != FORMULA_END
            texts = tags.texts(starts, ends)
            form = r'^<f(?: [A-Za-z][A-Za-z0-9]*="[^"<>]*")*(?:/>|>[^<]*)$'
            _require(
                bool(texts.str.contains(form).all())
                and bool((texts.str.contains(r"^<f(?: [^>]*)?/>$") == pl.Series(closed)).all()),
                "formulas in another form",
            )

    def _rows(self, tags: _Tags, row_tags: _Ints) -> _Rows:
        at, ends = tags.at.take(row_tags), tags.at.take(row_tags + 1) - 1
        tags.require_word(at, b'<row r="')
        words = tags.words[at + 8]
        numbers = np.zeros(len(at), np.int64)
        digits = np.zeros(len(at), np.int64)
        going = np.ones(len(at), bool)
        for index in range(8):
            byte = (words >> np.uint64(8 * index)).astype(np.uint8)
            is_digit = (byte >= ord("0")) & (byte <= ord("9"))
            _require((is_digit | (byte == ord('"')) | ~going).all(), "an unusual row number")
            going &= is_digit
            numbers = np.where(going, numbers * 10 + (byte - ord("0")), numbers)
            digits += going
        _require(
            ((digits > 0) & (digits < 8) & (numbers > 0) & (numbers <= MOST_ROWS)).all()
            and ((words & np.uint64(255)) != ord("0")).all()
            and (numbers[1:] > numbers[:-1]).all(),
            "unusual row numbers",
        )
        starts = at + 9 + digits
        _require(
            (starts <= ends).all() and (tags.bytes.take(ends) == ord(">")).all(), "an unusual row"
        )
        followers = np.append(tags.kinds, ROW).take(row_tags + 1)
        closed = tags.bytes.take(ends - 1) == ord("/")
        _require((closed == (followers == ROW)).all(), "an unusual row")
        for start, end in zip(
            *(side[starts < ends].tolist() for side in (starts, ends)), strict=True
        ):
            attributes = tags.content[start:end]
            if attributes not in self._row_attributes:
                _require(bool(_ROW_ATTRIBUTES.fullmatch(attributes)), "an unusual row")
                if len(self._row_attributes) < 10_000:
                    self._row_attributes.add(attributes)
        return _Rows(numbers, digits, words & _MASKS[digits + 1])

    def _columns_and_meanings(
        self, tags: _Tags, cell_tags: _Ints, rows: _Rows, row_of_cell: _Ints
    ) -> tuple[_Ints, _Bytes]:
        at, ends = tags.at.take(cell_tags), tags.at.take(cell_tags + 1) - 1
        words = tags.words[at]
        _require(((words & _MASKS[6]) == _word(b'<c r="')).all(), "cells without a reference")
        columns = _COLUMNS.take((words >> np.uint64(48)).astype(np.uint16))
        _require((columns >= 0).all(), "an unusual reference")
        at = at + 7 + (columns > 25)
        digits = rows.digits.take(row_of_cell)
        numbers = tags.words[at] & _MASKS[1:].take(digits)
        _require((numbers == rows.words.take(row_of_cell)).all(), "cells in another row")
        starts = at + digits + 1
        _require(
            (starts <= ends).all() and (tags.bytes.take(ends) == ord(">")).all(), "an unusual cell"
        )
        followers = tags.kinds.take(cell_tags + 1)
        closed = tags.bytes.take(ends - 1) == ord("/")
        _require(
            (closed == ((followers == CELL) | (followers == ROW_END))).all(), "an unusual cell"
        )
        return columns, self._known.meanings(tags, starts, ends)

    def _kind_of(self, attributes: bytes) -> int:
        """What a cell is by its attributes behind the reference."""
        seen: dict[bytes, bytes] = {}
        at = 0
        while found := _ATTRIBUTE.match(attributes, at):
            _require(found[1] not in seen, "an attribute twice")
            seen[found[1]] = found[2]
            at = found.end()
        _require(
            attributes[at:] in (b"", b"/", b" /")
            and seen.keys() <= {b"s", b"t", b"cm", b"vm", b"ph"},
            "unusual attributes of a cell",
        )
        kind = seen.get(b"t", b"n")
        if kind != b"n":
            return _KIND_OF_TYPE.get(kind, OPEN)
        style = seen.get(b"s")
        if style is None:
            return NUMBER
        index = int(style) if re.fullmatch(rb"\d{1,6}", style) else len(self._formats)
        is_date = self._formats[index] if index < len(self._formats) else None
        return {True: DATE, False: NUMBER, None: OPEN}[is_date]

    def _values(
        self, tags: _Tags, value_tags: _Ints, meanings: _Bytes
    ) -> tuple[pl.Series, npt.NDArray[np.uint32]]:
        """Texts, and the index of each value's text among them; one past the end is no value."""
        kinds = tags.kinds.take(value_tags)
        ends = tags.at.take(value_tags + 1)
        starts = np.minimum(tags.at.take(value_tags) + _STARTS.take(kinds), ends)
        is_text = kinds >= TEXT
        _require(
            ((meanings == INLINE_STRING) == is_text).all() and (meanings != OPEN).all(),
            "unusual values",
        )
        sizes = ends - starts
        own = _OwnTexts(len(value_tags))
        counts = np.bincount(meanings, minlength=OPEN)
        if counts[SHARED]:
            which = np.flatnonzero((meanings == SHARED) & (sizes > 0))
            numbers, are_plain = _whole_numbers(tags, starts[which], sizes[which])
            _require(are_plain.all() and (numbers < len(self._shared)).all(), "no such shared text")
            own.put(which, self._shared.gather(pl.Series(numbers)))
        if counts[BOOLEAN]:
            which = np.flatnonzero((meanings == BOOLEAN) & (sizes > 0))
            truths = tags.bytes.take(starts[which]) - np.uint8(ord("0"))
            _require((sizes[which] == 1).all() and (truths < 2).all(), "an unusual boolean")
            own.put(which, _TRUTHS.gather(pl.Series(truths)))
        if counts[ERROR]:
            which = np.flatnonzero((meanings == ERROR) & (sizes > 0))
            errors = tags.texts(starts[which], ends[which]).unique()
            _require(_ERRORS.issuperset(errors), "an unusual error")
        if counts[DATE]:
            self._put_dates(own, tags, starts, sizes, (meanings == DATE) & (sizes > 0))
        if counts[NUMBER]:
            self._put_numbers(own, tags, starts, sizes, (meanings == NUMBER) & (sizes > 0))
        self._put_unescaped(own, tags, starts, ends, meanings, kinds)
        if counts[ERROR] or not sizes.all():
            own.drop((sizes == 0) & ~is_text & (meanings != STRING) | (meanings == ERROR))
        # What has another text isn't cut out.
        return own.all(tags.texts(starts, np.where(own.is_own, starts, ends)))

    def _put_numbers(
        self, own: _OwnTexts, tags: _Tags, starts: _Ints, sizes: _Ints, are_numbers: _Flags
    ) -> None:
        which = np.flatnonzero(are_numbers)
        _, are_plain = _whole_numbers(tags, starts[which], sizes[which])
        which = which[~are_plain]
        if not len(which):
            return
        texts = tags.texts(starts[which], starts[which] + sizes[which])
        are_other = ~texts.str.contains(_SHOWN).to_numpy()
        if are_other.any():
            others = texts.filter(pl.Series(are_other))
            distinct = others.unique()
            shown = pl.Series([_shown(text) for text in distinct], dtype=pl.String)
            own.put(which[are_other], others.replace_strict(distinct, shown))

    def _put_dates(
        self, own: _OwnTexts, tags: _Tags, starts: _Ints, sizes: _Ints, are_dates: _Flags
    ) -> None:
        which = np.flatnonzero(are_dates)
        numbers, are_whole = _whole_numbers(tags, starts[which], sizes[which])
        are_days = are_whole & (numbers < _DAYS - self._days_before)
        days = numbers[are_days] + self._days_before
        own.put(which[are_days], _texts_of_days().gather(pl.Series(days)))
        which = which[~are_days]
        if not len(which):
            return
        texts = tags.texts(starts[which], starts[which] + sizes[which])
        _require(bool(texts.str.contains(_NUMERAL).all()), "an unusual date")
        own.put(which, _texts_of_moments(texts.cast(pl.Float64).to_numpy() + self._days_before))

    def _put_unescaped(
        self,
        own: _OwnTexts,
        tags: _Tags,
        starts: _Ints,
        ends: _Ints,
        meanings: _Bytes,
        kinds: _Bytes,
    ) -> None:
        are_texts = (meanings == STRING) | (meanings == INLINE_STRING)
        if not are_texts.any():
            return
        marked = _marked(tags, starts, ends, are_trimmed=kinds == TEXT, are_escaped=kinds >= TEXT)
        which = np.flatnonzero(marked & are_texts)
        if len(which):
            own.put(
                which,
                pl.Series(
                    [
                        _unescaped(tags.content[start:end], trim=kind == TEXT, escapes=kind >= TEXT)
                        for start, end, kind in zip(
                            *(side[which].tolist() for side in (starts, ends, kinds)), strict=True
                        )
                    ],
                    dtype=pl.String,
                ),
            )


class _OwnTexts:
    """Texts for some of the values in place of what stands in the file."""

    def __init__(self, count: int) -> None:
        self.is_own: _Flags = np.zeros(count, bool)
        self._indices = np.arange(count, dtype=np.uint32)
        self._texts: list[pl.Series] = []
        self._size = count
        self._dropped: _Flags = np.zeros(count, bool)

    def put(self, which: _Ints, texts: pl.Series) -> None:
        """Give each of these values a text."""
        self.is_own[which] = True
        self._indices[which] = np.arange(self._size, self._size + len(texts), dtype=np.uint32)
        self._texts.append(texts)
        self._size += len(texts)

    def drop(self, which: _Flags) -> None:
        """Give these values none."""
        self.is_own |= which
        self._dropped = which

    def all(self, texts: pl.Series) -> tuple[pl.Series, npt.NDArray[np.uint32]]:
        """All texts, and which one each value has; one past the end is none."""
        self._indices[self._dropped] = self._size
        return pl.concat([texts, *self._texts]) if self._texts else texts, self._indices


#: A cell's attributes behind its reference may be so long, in words of eight bytes.
_ATTRIBUTE_WORDS: Final = 3
#: For each of these words, the bytes in it that count, by the size of the attributes.
_MASKS_BEHIND: Final = [
    _MASKS.take(np.clip(np.arange(8 * _ATTRIBUTE_WORDS + 1) - 8 * index, 0, 8))
    for index in range(_ATTRIBUTE_WORDS)
]


class _KnownAttributes:
    """What cells are by the few distinct attributes that their tags have."""

    #: Odd numbers, so that each bit of the attributes counts.
    _FACTORS: Final = (
        0x9E3779B97F4A7C15,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0xD6E8FEB86659FD93,
    )

    def __init__(self, kind_of: Callable[[bytes], int]) -> None:
        self._kind_of = kind_of
        self._lock = threading.Lock()
        slots = 1 << 16
        #: By a hash of the attributes: they and their size; what they mean, and 0 if that is open.
        self._words = np.zeros((4, slots), np.uint64)
        self._meanings = np.zeros(slots, np.uint8)

    def meanings(self, tags: _Tags, starts: _Ints, ends: _Ints) -> _Bytes:
        """What the cells are whose attributes stand there."""
        sizes = ends - starts
        longest = int(sizes.max())
        _require(longest <= 8 * _ATTRIBUTE_WORDS, "unusual attributes of a cell")
        words = [sizes.astype(np.uint64)]
        hashed = words[0] * np.uint64(self._FACTORS[0])
        for index in range((longest + 7) // 8):
            word = tags.words[starts + 8 * index] & _MASKS_BEHIND[index].take(sizes)
            hashed ^= word * np.uint64(self._FACTORS[index + 1])
            words.append(word)
        slots = (hashed >> np.uint64(48)).astype(np.int64)
        meanings: _Bytes = self._meanings.take(slots)
        while len(new := np.flatnonzero(meanings == 0)):
            index = int(new[0])
            with self._lock:
                slot = slots[index]
                if not self._meanings[slot]:
                    self._words[: len(words), slot] = [word[index] for word in words]
                    attributes = tags.content[starts[index] : ends[index]]
                    self._meanings[slot] = self._kind_of(attributes)
            meanings = self._meanings.take(slots)
        # Two that share a slot are rare: refusing them is simpler than telling them apart.
        for word, known in zip(words, self._words, strict=False):
            _require((known.take(slots) == word).all(), "very many styles")
        return meanings


# --- values -----------------------------------------------------------------------------------

#: Numbers that are shown as they stand; for these few digits the nearest double never shows others.
_SHOWN: Final = r"^-?(?:[1-9][0-9]{0,14}|(?:0|[1-9][0-9]{0,5})\.[0-9]{0,8}[1-9])$"
_NUMERAL: Final = r"^-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?$"
_NUMERAL_RE: Final = re.compile(_NUMERAL.removesuffix("$") + r"\Z")
#: Whole days up to the year 2119 have their texts ready.
_DAYS: Final = 80_000
_DAY_MS: Final = 86_400_000
#: 1970-01-01 and the year 10000, in days from 1899-12-30 on.
_UNIX_DAY, _LAST_DAY = 25_569, 2_958_466
_MOMENT: Final = "%Y-%m-%d %H:%M:%S%.f"
_ZEROS: Final = np.uint64(0x3030303030303030)
_REFERENCE: Final = re.compile(r"&(?:(lt|gt|amp|quot|apos)|#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6}));|&")
_ESCAPE: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
_ENTITIES: Final = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
_SPACE: Final = " \t\r\n"


def _whole_numbers(
    tags: _Tags, starts: _Ints, sizes: _Ints
) -> tuple[npt.NDArray[np.int64], _Flags]:
    """Numbers of up to 15 digits, and which of the texts are such, without zeros before them.

    The numbers of the others mean nothing, and neither does a number of more than eight digits.
    """
    low = np.minimum(sizes, 8)
    words = tags.words[starts]
    first = words & np.uint64(255)
    are_plain = (sizes > 0) & (sizes <= 15) & ((first != ord("0")) | (sizes == 1))
    # Digits in the highest bytes, zeros below: what comes first in the text is the lowest byte.
    shift = ((8 - low) * 8).astype(np.uint64)
    padded = np.where(low > 0, (words << shift) | (_ZEROS & _MASKS[8 - low]), _ZEROS)
    are_plain &= _are_digits(padded)
    if (sizes > 8).any():
        high = np.clip(sizes - 8, 0, 8)
        rest = (tags.words[starts + 8] & _MASKS[high]) | (_ZEROS & ~_MASKS[high])
        are_plain &= _are_digits(rest)
    values = padded & np.uint64(0x0F0F0F0F0F0F0F0F)
    values = (values * np.uint64(10) + (values >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    values = (values * np.uint64(100) + (values >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    values = (values * np.uint64(10_000) + (values >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
    numbers = values.astype(np.int64)
    numbers[sizes > 8] = np.iinfo(np.int64).max
    return numbers, are_plain


def _are_digits(words: npt.NDArray[np.uint64]) -> _Flags:
    high = np.uint64(0xF0F0F0F0F0F0F0F0)
    carried = words + np.uint64(0x0606060606060606)
    are_digits: _Flags = ((words & high) == _ZEROS) & ((carried & high) == _ZEROS)
    return are_digits


def _shown(text: str) -> str:
    """A number as fastexcel shows it."""
    value = float(text) if _NUMERAL_RE.match(text) else float("inf")
    if abs(value) == float("inf"):
        raise NotPlainError("an unusual number")
    return f"{value:.9f}".rstrip("0").rstrip(".")


@cache
def _texts_of_days() -> pl.Series:
    return _texts_of_moments(np.arange(_DAYS, dtype=np.float64))


def _texts_of_moments(days: npt.NDArray[np.float64]) -> pl.Series:
    """The texts of times in days from 1899-12-30 on, where the year 1900 has a leap day."""
    _require(((days >= 0) & (days < _LAST_DAY)).all(), "a date out of the calendar")
    exact = np.where(days >= 60, days, days + 1) * _DAY_MS
    milliseconds = np.trunc(exact)
    milliseconds += exact - milliseconds >= 0.5
    _require((milliseconds < _LAST_DAY * _DAY_MS).all(), "a date out of the calendar")
    since_1970 = milliseconds.astype(np.int64) - _UNIX_DAY * _DAY_MS
    return pl.Series(since_1970).cast(pl.Datetime("ms")).dt.to_string(_MOMENT)


def _marked(
    tags: _Tags, starts: _Ints, ends: _Ints, *, are_trimmed: _Flags, are_escaped: _Flags
) -> _Flags:
    """Which texts aren't what they are in the file.

    Args:
        tags: of the piece.
        starts: where the texts start; they don't overlap, and are in their order.
        ends: where they end.
        are_trimmed: which lose their white space at the ends.
        are_escaped: in which ``_x000D_`` stands for a character.
    """
    edges = np.minimum(tags.bytes.take(starts), tags.bytes.take(np.maximum(ends - 1, 0)))
    marked = are_trimmed & (ends > starts) & (edges <= ord(" "))
    for mark, where in ((b"&", None), (b"\r", None), (b"_x", are_escaped)):
        at = tags.positions(mark)
        if at is None:
            continue
        index = np.searchsorted(starts, at, side="right") - 1
        index = index[(index >= 0) & (at < ends[index])]
        hit = np.zeros(len(starts), bool)
        hit[index] = True
        marked |= hit if where is None else hit & where
    return marked


def _unescaped(content: bytes, *, trim: bool, escapes: bool) -> str:
    """A text as it is meant."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise NotPlainError("text that isn't UTF-8") from error
    text = _REFERENCE.sub(_meant, text.replace("\r\n", "\n").replace("\r", "\n"))
    if trim:
        text = text.strip(_SPACE)
    return _ESCAPE.sub(_escaped, text) if escapes else text


def _meant(found: re.Match[str]) -> str:
    name, decimal, hexadecimal = found.groups()
    if name:
        return _ENTITIES[name]
    if decimal is None and hexadecimal is None:
        raise NotPlainError("an unknown entity")
    code = int(decimal) if decimal else int(hexadecimal, 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000 or (code < 32 and code not in (9, 10, 13)):
        raise NotPlainError("a character that XML doesn't have")
    return chr(code)


def _escaped(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    if 0xD800 <= code < 0xE000:
        return found[0]
    return chr(code)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


# --- shared strings ---------------------------------------------------------------------------

_ITEM, _ITEM_END = 1, 9
_TABLE_TAGS: Final = _tag_tables(
    {
        _ITEM: [b"si>"],
        _ITEM_END: [b"/si"],
        TEXT: [b"t>."],
        SPACED_TEXT: [b"t ."],
        NO_TEXT: [b"t/>"],
        TEXT_END: [b"/t>"],
    },
    {},
)


def _shared_texts(piece: _Piece) -> pl.Series:
    """The texts of the items in a piece of the table of shared strings.

    Raises:
        NotPlainError: They are in another form.
    """
    tags = _Tags(piece, _TABLE_TAGS)
    kinds = tags.kinds
    firsts, lasts = np.flatnonzero(kinds == _ITEM), np.flatnonzero(kinds == _ITEM_END)
    if not len(kinds):
        return _NO_TEXT
    _require(
        len(firsts) == len(lasts)
        and firsts[0] == 0
        and lasts[-1] == len(kinds) - 1
        and bool((firsts < lasts).all())
        and bool((firsts[1:] == lasts[:-1] + 1).all()),
        "shared texts in another order",
    )
    tags.require_word(tags.at[lasts], b"</si>")
    steps = lasts - firsts
    first, second = (kinds.take(np.minimum(firsts + step, len(kinds) - 1)) for step in (1, 2))
    is_text = (steps == 3) & ((first == TEXT) | (first == SPACED_TEXT)) & (second == TEXT_END)
    is_blank = (steps == 1) | ((steps == 2) & (first == NO_TEXT))
    opening = np.minimum(firsts + 1, len(kinds) - 1)
    is_text &= (first != SPACED_TEXT) | _has_words(
        tags, tags.at[opening], b'<t xml:space="preserve">'
    )
    ends = tags.at[opening + 1]
    starts = np.where(is_text, tags.at[opening] + _STARTS.take(first), ends)
    own = _OwnTexts(len(firsts))
    marked = is_text & _marked(
        tags, starts, ends, are_trimmed=first == TEXT, are_escaped=np.ones(len(firsts), bool)
    )
    which = np.flatnonzero(marked)
    if len(which):
        own.put(
            which,
            pl.Series(
                [
                    _unescaped(tags.content[start:end], trim=kind == TEXT, escapes=True)
                    for start, end, kind in zip(
                        *(side[which].tolist() for side in (starts, ends, first)), strict=True
                    )
                ],
                dtype=pl.String,
            ),
        )
    which = np.flatnonzero(~is_text & ~is_blank)
    if len(which):
        rich = [
            _rich_text(tags.content[start:end])
            for start, end in zip(
                tags.at[firsts[which]].tolist(), (tags.at[lasts[which]] + 5).tolist(), strict=True
            )
        ]
        own.put(which, pl.Series(rich, dtype=pl.String))
    texts, indices = own.all(tags.texts(starts, np.where(own.is_own, starts, ends)))
    return texts.rechunk().gather(pl.Series(indices))


def _rich_text(content: bytes) -> str:
    """The text of an item that has runs, phonetic hints or unusual tags."""
    if b"<!" in content or b"<?" in content:
        raise NotPlainError("XML with more than elements")
    try:
        item = ET.fromstring(content)  # noqa: S314 - a piece without a declaration of entities
    except (ET.ParseError, UnicodeDecodeError, ValueError) as error:
        raise NotPlainError("a shared text in another form") from error
    runs: list[ET.Element] = []
    for child in item:
        if child.tag == "r":
            runs += [part for part in child if part.tag != "rPr"]
        elif child.tag not in ("rPh", "phoneticPr"):
            runs.append(child)
    texts = []
    for run in runs:
        if run.tag != "t" or len(run) or set(run.keys()) - {_XML_SPACE}:
            raise NotPlainError("a shared text in another form")
        text = run.text or ""
        if run.get(_XML_SPACE) != "preserve":
            text = text.strip(_SPACE)
        texts.append(_ESCAPE.sub(_escaped, text))
    return "".join(texts)


_XML_SPACE: Final = "{http://www.w3.org/XML/1998/namespace}space"
