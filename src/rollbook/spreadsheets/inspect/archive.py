"""Inspects a workbook's archive before any parser opens it.

The archive's directory is read first. Then every entry is inflated once, in pieces, and counted,
because the directory's sizes may be false (OWASP ASVS 5.0, 5.2.2, 5.2.3, 5.2.5, 5.3.3, 1.5.1).
Nothing is unpacked to disk, and only one piece is in memory.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from isal import isal_zlib

from rollbook.errors import UnreadableFileError
from rollbook.languages import phrase
from rollbook.spreadsheets.content import OLE2
from rollbook.spreadsheets.inspect.compound import inspect_compound
from rollbook.spreadsheets.refusals import damaged, document, locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rollbook.config import Settings

#: Bytes that are inflated at a time.
PIECE_BYTES: Final = 1 << 20
#: A workbook has some hundred entries at most; each costs memory before anything is inflated.
MOST_ENTRIES: Final = 10_000
_MOST_DIRECTORY_BYTES: Final = 4 << 20
#: No part that a spreadsheet program writes is packed better than this, once it is long.
MOST_RATIO: Final = 100
#: A part of at most this many bytes may have any ratio: short ones of white space exceed it.
FREE_BYTES: Final = 16 << 20

END: Final = struct.Struct("<4s4H2IH")
_END_64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64: Final = struct.Struct("<4sIQI")
LOCAL: Final = struct.Struct("<4s5H3I2H")
#: The longest comment after the directory, in bytes.
_MOST_COMMENT: Final = 0xFFFF
_STORED, _DEFLATED = 0, 8
_ENCRYPTED: Final = 0x41  # plain or strong encryption
RAW_DEFLATE: Final = -15
#: The stubs don't know that it is an exception.
DAMAGE: Final[type[Exception]] = vars(isal_zlib)["error"]

#: How archives begin; none of them has a place in a list of members.
_ARCHIVES: Final = (
    b"PK\x03\x04",
    b"\x1f\x8b\x08",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"\x28\xb5\x2f\xfd",
)
#: XML in another encoding than UTF-8, in which the next two could hide.
_OTHER_ENCODINGS: Final = (
    b"\xff\xfe",
    b"\xfe\xff",
    b"<\0",
    b"\0<",
    b"\0\0",
    b"+/v",
    b"L\x6f\xa7\x94",
)
#: Only a document type can declare entities, inner ones and outer ones.
_DECLARATIONS: Final = (b"<!DOCTYPE", b"<!ENTITY")
_LONGEST_MARK: Final = max(len(mark) for mark in _DECLARATIONS)
_CONTENT_TYPES: Final = "[Content_Types].xml"
#: The parts that a reader reads; an empty thumbnail, a drawing or a part of an add-in isn't one.
_IS_READ: Final = re.compile(
    r"/?(?:\[content_types\]\.xml|(?:xl/)?_rels/[^/]*\.rels"
    r"|xl/(?:workbook|styles|sharedstrings)\.(?:xml|bin)|xl/worksheets/[^/]*\.(?:xml|bin)"
    r"|content\.xml|meta-inf/manifest\.xml)\Z",
    re.IGNORECASE,
)
#: Programs within a workbook, which are never run.
_MACROS: Final = re.compile(r".*vbaproject\.bin\Z|basic/|scripts/|xl/macrosheets/")
_WORKBOOKS: Final = frozenset({"xlsx", "xlsb", "ods"})
#: Some programs write the names of parts from the root on.
_ROOTED: Final = re.compile(
    r"^/((?:xl|_rels|docprops|customxml)/|\[content_types\])", re.IGNORECASE
)
_END_OF_ROWS: Final = b"</sheetData>"
#: The most bytes after the rows of all worksheets that are stored for the reader.
_MOST_TAILS: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may hold."""

    #: Inflated bytes of all entries of an archive together; ROLLBOOK_MAX_INFLATED_MB.
    inflated_bytes: int = 2048 << 20
    #: Columns of the table of members; ROLLBOOK_MAX_COLUMNS.
    columns: int = 2_000
    #: Whether workbooks with macros are read, as data; ROLLBOOK_MACRO_WORKBOOKS.
    macros: bool = True

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Those of an installation."""
        macros = settings.macro_workbooks == "read"
        return cls(settings.max_inflated_mb << 20, settings.max_columns, macros)


@dataclass(frozen=True, slots=True)
class Inspected:
    """Facts found during the inspection, so that the reader needn't search for them again."""

    #: The bytes after the rows, by the name of a worksheet's part. A part that isn't here has
    #: more bytes there than are stored.
    tails: Mapping[str, bytes] = field(default_factory=dict)
    #: The kind of workbook by its content: ``xls``, ``xlsx``, ``xlsb`` or ``ods``; else that of the
    #: name.
    kind: str = "csv"


def inspect(path: Path, kind: str, limits: Limits | None = None) -> Inspected:
    """Refuse a file whose content contradicts its kind, or that is made to harm its reader.

    ``csv`` needs no inspection. The limit on columns is checked when the file is read.

    Raises:
        UnreadableFileError: with what was found, in a sentence that quotes nothing of the file.
    """
    if kind == "csv":
        return Inspected()
    with path.open("rb") as file:
        if kind == "fods":
            _inspect_flat(file)
            return Inspected(kind=kind)
        if file.read(len(OLE2)) == OLE2:
            inspect_compound(file)
            return Inspected(kind="xls")
        return _inspect_archive(file, limits or Limits())


def _unusual(said: str) -> UnreadableFileError:
    """The error for a workbook as no program writes it, and what its sender can do."""
    return UnreadableFileError(
        f"{said} Nothing was changed. Open it in Excel or LibreOffice, save it as .xlsx and send "
        "that."
    )


# --- zip: the directory ---------------------------------------------------------------------------


def _inspect_flat(file: BinaryIO) -> None:
    """Refuse a spreadsheet in one XML file that declares entities, or isn't UTF-8."""
    before = b""
    file.seek(0)
    while piece := file.read(PIECE_BYTES):
        if not before:
            _check_start(piece, is_read_xml=True)
        _check_declarations(before + piece)
        before = piece[-_LONGEST_MARK:]


def _inspect_archive(file: BinaryIO, limits: Limits) -> Inspected:
    start, infos = _directory(file)
    _check_names(infos)
    kind = _checked_kind(infos, limits)
    claimed = 0
    for info in infos:
        claimed += info.file_size
        _check_size(claimed, info.file_size, info.compress_size, limits)
    places = _places(file, infos, start)
    found = 0
    tails: dict[str, bytes] = {}
    for info, place in zip(infos, places, strict=True):
        entry = _Entry(info, found, limits)
        try:
            entry.look_at(_pieces(file, info, place))
        except _DamagedPartError as error:
            # Only what is read must be whole.
            if _IS_READ.match(info.filename.replace("\\", "/")):
                raise damaged() from error
        found += entry.size
        if entry.tail is not None and len(entry.tail) + sum(map(len, tails.values())) < _MOST_TAILS:
            tails[info.filename] = entry.tail
    return Inspected(tails, kind)


def _directory(file: BinaryIO) -> tuple[int, list[zipfile.ZipInfo]]:
    """Where the directory begins, and its entries.

    Every reader must find the same directory: the one whose end is the file's end.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - END.size - _MOST_COMMENT))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < END.size:
        raise damaged()
    end = size - len(tail) + at
    _, disk, start_disk, _, count, length, start, comment = END.unpack_from(tail, at)
    if end + END.size + comment != size or disk != start_disk or disk not in (0, 0xFFFF):
        raise damaged()
    if 0xFFFF in (count, disk) or 0xFFFFFFFF in (length, start):
        end, count, length, start = _directory_64(file, end)
    if count > MOST_ENTRIES or length > _MOST_DIRECTORY_BYTES:
        raise _unusual(
            f"The workbook is an archive of more than {MOST_ENTRIES:,} files, which no list of "
            "members needs."
        )
    if start + length != end:
        raise damaged()
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise damaged() from error
    if len(infos) != count:
        raise damaged()
    return start, infos


def _directory_64(file: BinaryIO, end: int) -> tuple[int, int, int, int]:
    """Where the directory ends, its entries, length and start, as a large archive says them."""
    if end < _LOCATOR_64.size + _END_64.size:
        raise damaged()
    file.seek(end - _LOCATOR_64.size)
    mark, _, place, _ = _LOCATOR_64.unpack(file.read(_LOCATOR_64.size))
    if mark != b"PK\6\7" or place + _END_64.size > end:
        raise damaged()
    file.seek(place)
    mark, *_, count, length, start = _END_64.unpack(file.read(_END_64.size))
    if mark != b"PK\6\6":
        raise damaged()
    return place, count, length, start


def _check_names(infos: list[zipfile.ZipInfo]) -> None:
    """Refuse names that lead out of the archive, links, and two entries of one name."""
    names: set[str] = set()
    for info in infos:
        name = _ROOTED.sub(r"\1", info.orig_filename.replace("\\", "/"))
        leads_out = name.startswith("/") or ".." in name.split("/") or ":" in name.split("/")[0]
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        if leads_out or is_link or not name or any(ord(sign) < 32 for sign in name):
            raise _unusual(
                "The workbook holds a file whose name leads out of it, which no spreadsheet "
                "program writes."
            )
        if info.flag_bits & _ENCRYPTED:
            raise locked()
        if info.compress_type not in (_STORED, _DEFLATED):
            raise _unusual("The workbook is packed in a way that no spreadsheet program uses.")
        # Some systems ignore case in names, and readers differ in which of two entries they read.
        if name.casefold() in names:
            raise _unusual("The workbook holds two files of one name.")
        names.add(name.casefold())


def _checked_kind(infos: list[zipfile.ZipInfo], limits: Limits) -> str:
    """The kind of a workbook by its parts; an archive that is none is refused."""
    names = {info.filename.replace("\\", "/").lstrip("/").lower() for info in infos}
    if not limits.macros and any(_MACROS.match(name) for name in names):
        raise UnreadableFileError(phrase("refusal.file.macros"))
    found = _kind_of(names)
    if found in _WORKBOOKS:
        return found
    if found == "several":
        raise _unusual(
            "The file holds two workbooks of different formats, which no spreadsheet program "
            "writes."
        )
    if found == "document":
        raise document()
    raise UnreadableFileError(phrase("refusal.file.archive"))


def _kind_of(names: set[str]) -> str:
    """The kind of an archive, by the names of its parts."""
    is_open_document = "content.xml" in names and names & {"mimetype", "meta-inf/manifest.xml"}
    workbooks = {
        "xlsb": "xl/workbook.bin" in names,
        "xlsx": "xl/workbook.xml" in names,
        "ods": bool(is_open_document),
    }
    if sum(workbooks.values()) > 1:
        return "several"
    for kind in ("xlsb", "ods"):
        if workbooks[kind]:
            return kind
    if any(name.startswith(("word/", "ppt/")) for name in names):
        return "document"
    is_workbook = _CONTENT_TYPES.lower() in names and any(name.startswith("xl/") for name in names)
    return "xlsx" if is_workbook else "archive"


def _check_size(total: int, size: int, packed: int, limits: Limits) -> None:
    if total > limits.inflated_bytes:
        raise UnreadableFileError(phrase("refusal.file.unpacked", most=limits.inflated_bytes >> 20))
    if size > max(FREE_BYTES, packed * MOST_RATIO):
        raise UnreadableFileError(
            f"Unpacked, a part of the workbook is more than {MOST_RATIO} times as large, as in a "
            "file that is made to fill up memory. Nothing was changed. Copy the rows into a new "
            "workbook, save it as .xlsx and send that."
        )


def _places(file: BinaryIO, infos: list[zipfile.ZipInfo], end: int) -> list[int]:
    """Where the content of each entry begins; no two may share a byte."""
    places: list[int] = []
    spans: list[tuple[int, int]] = []
    for info in infos:
        file.seek(info.header_offset)
        header = file.read(LOCAL.size)
        if len(header) < LOCAL.size:
            raise damaged()
        mark, _, flags, method, *_, name_length, extra_length = LOCAL.unpack(header)
        place = info.header_offset + LOCAL.size + name_length + extra_length
        if (
            mark != b"PK\3\4"
            or method != info.compress_type
            or flags & _ENCRYPTED
            or len(file.read(name_length)) != name_length
        ):
            raise damaged()
        places.append(place)
        spans.append((info.header_offset, place + info.compress_size))
    spans.sort()
    starts = [start for start, _ in spans[1:]]
    if any(stop > after for (_, stop), after in zip(spans, [*starts, end], strict=True)):
        raise _unusual(
            "The workbook holds files that lie on top of each other, as in a file that is made to "
            "fill up memory."
        )
    return places


# --- zip: the content -----------------------------------------------------------------------------


class _DamagedPartError(Exception):
    """A part of the archive isn't whole."""


class _Entry:
    """Looks at an entry while it is inflated."""

    def __init__(self, info: zipfile.ZipInfo, found: int, limits: Limits) -> None:
        self._info, self._found, self._limits = info, found, limits
        name = info.filename.replace("\\", "/").lower()
        self._is_read = bool(_IS_READ.match(name))
        self._is_sheet = name.lstrip("/").startswith("xl/worksheets/") and name.endswith(".xml")
        self._is_xml = name.endswith((".xml", ".rels", ".vml"))
        #: Bytes, as far as it could be inflated.
        self.size = 0
        #: What follows the rows of a worksheet; None where it isn't one, or that is long.
        self.tail: bytes | None = None

    def look_at(self, pieces: Iterator[bytes]) -> None:
        """Count the bytes of all pieces and refuse what may do harm.

        Raises:
            UnreadableFileError: with what was found.
            _DamagedPartError: it isn't whole.
        """
        info = self._info
        size = crc = 0
        before = b""
        last: list[bytes] = []
        for piece in pieces:
            if not size:
                start = piece.lstrip(b"\xef\xbb\xbf \t\r\n")
                self._is_xml = self._is_xml or start.startswith(b"<")
                _check_start(piece, is_read_xml=self._is_xml and self._is_read)
            size += len(piece)
            self.size = size
            _check_size(self._found + size, size, info.compress_size, self._limits)
            crc = zlib.crc32(piece, crc) if size < 1 << 12 else isal_zlib.crc32(piece, crc)
            if self._is_xml and b"<!" in (text := before + piece):
                _check_declarations(text)
            before = piece[-_LONGEST_MARK:]
            if self._is_sheet:
                last = [*last[-1:], piece]
        if size != info.file_size or crc != info.CRC:
            raise _DamagedPartError
        end = b"".join(last)
        at = end.rfind(_END_OF_ROWS)
        if at >= 0:
            self.tail = end[at:]


def _check_start(piece: bytes, *, is_read_xml: bool) -> None:
    if piece.startswith(_ARCHIVES):
        raise UnreadableFileError(phrase("refusal.file.embedded"))
    if is_read_xml and piece.startswith(_OTHER_ENCODINGS):
        raise _unusual(
            "The workbook has a part in another encoding than UTF-8, which no spreadsheet program "
            "writes."
        )


def _check_declarations(text: bytes) -> None:
    if any(mark in text for mark in _DECLARATIONS):
        raise _unusual(
            "The workbook declares entities in its XML, which no spreadsheet program does and "
            "which can read other files or fill up memory."
        )


def _pieces(file: BinaryIO, info: zipfile.ZipInfo, place: int) -> Iterator[bytes]:
    """The inflated bytes, never more of them at a time than a piece."""
    left = info.compress_size
    file.seek(place)
    if info.compress_type == _STORED:
        while left and (piece := file.read(min(PIECE_BYTES, left))):
            left -= len(piece)
            yield piece
        return
    inflate = isal_zlib.decompressobj(RAW_DEFLATE)
    waiting = b""
    try:
        while not inflate.eof:
            if not waiting:
                waiting = file.read(min(PIECE_BYTES, left))
                left -= len(waiting)
            piece = inflate.decompress(waiting, PIECE_BYTES)
            if not piece and not waiting:
                raise _DamagedPartError
            waiting = inflate.unconsumed_tail
            if piece:
                yield bytes(piece)
    except DAMAGE as error:
        raise _DamagedPartError from error
