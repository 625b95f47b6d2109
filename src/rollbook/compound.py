"""What an OLE2 file is, judged before a parser opens it: old workbooks, new ones with a password.

Such a file is a small file system (MS-CFB): its sectors are chained by a table. A chain that leads
back into itself has no end, and calamine follows it until the memory is gone.
"""

from __future__ import annotations

import struct
from array import array
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from rollbook.errors import UnreadableFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RESAVE: Final = "Open it in Excel or LibreOffice, save it as .xlsx and send that."
NOTHING_CHANGED: Final = "Nothing was changed."
DAMAGED: Final = (
    "The file can't be read: it is damaged, or isn't what its name says. Nothing was changed. Open "
    "it in Excel or LibreOffice, save it as .xlsx and send that."
)
LOCKED: Final = (
    "The workbook has a password, so it can't be read. Nothing was changed. Open it, save it as "
    ".xlsx without a password and send that."
)
#: Streams of files that are no workbooks.
_OTHER_DOCUMENTS: Final = frozenset(
    {"WordDocument", "PowerPoint Document", "VisioDocument", "__properties_version1.0"}
)
#: From here on a number isn't that of a sector.
_RESERVED: Final = 0xFFFFFFFA
#: The stream that a workbook is in, since Excel 97 and before.
_WORKBOOKS: Final = frozenset({"Workbook", "Book"})
#: Where an entry of the directory says how long its stream is, it is in the stream of small ones.
_SMALL_BYTES: Final = 4096
_SMALL_SECTOR_BYTES: Final = 64
#: Types of records (MS-XLS 2.3): a sheet's place, its extent, the end of a part.
_SHEET, _EXTENT, _END = 0x0085, 0x0200, 0x000A
MOST_ROWS, MOST_COLUMNS = 1 << 16, 1 << 8
_HEADER_BYTES: Final = 512
_ENTRY_BYTES: Final = 128


def inspect_compound(file: BinaryIO, kind: str) -> None:
    """Refuse an OLE2 file that is no workbook of the kind, or has chains without an end.

    Raises:
        UnreadableFileError: with what was found.
    """
    sectors = _Sectors(file)
    entries = list(_entries(sectors))
    streams = {entry.name for entry in entries}
    if "EncryptedPackage" in streams:
        raise UnreadableFileError(LOCKED)
    if streams & _OTHER_DOCUMENTS:
        raise UnreadableFileError(
            "The file is a document, a presentation or a message, and no workbook. "
            f"{NOTHING_CHANGED} Copy the list into a workbook, save it as .xlsx and send that."
        )
    if kind == "xlsx":
        raise UnreadableFileError(
            f"The file is an old .xls workbook with a new name. {NOTHING_CHANGED} {RESAVE}"
        )
    if any(entry.size > sectors.file_bytes for entry in entries):
        raise UnreadableFileError(DAMAGED)
    for entry in entries:
        if entry.name in _WORKBOOKS:
            _check_extents(sectors.stream(entry, root=entries[0]))


class _Entry(NamedTuple):
    """A stream or storage, as the directory has it."""

    name: str
    #: Its first sector.
    start: int
    #: In bytes.
    size: int


class _Sectors:
    """The sectors of a file, and the chains that they are in; none of these leads back."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.file_bytes = file.seek(0, 2)
        file.seek(0)
        header = file.read(_HEADER_BYTES)
        shift = struct.unpack_from("<H", header, 30)[0] if len(header) == _HEADER_BYTES else 0
        if shift not in (9, 12):
            raise UnreadableFileError(DAMAGED)
        self._bytes = 1 << shift
        (self.directory,) = struct.unpack_from("<I", header, 48)
        # As many sectors as it says of each kind, a parser makes room for.
        if max(struct.unpack_from("<II", header, 40)) * self._bytes > self.file_bytes + self._bytes:
            raise UnreadableFileError(DAMAGED)
        small, small_sectors, _, tables = struct.unpack_from("<4I", header, 60)
        if max(small_sectors, tables) * self._bytes > self.file_bytes + self._bytes:
            raise UnreadableFileError(DAMAGED)
        self._next = self._numbers(self._tables(header))
        _check_ends(self._next)
        self._next_small = self._numbers(self.chain(small))
        _check_ends(self._next_small)

    def chain(self, number: int) -> Iterator[int]:
        """The sectors of a chain, from its first on."""
        while number < _RESERVED:
            yield number
            if number >= len(self._next):
                return
            number = self._next[number]

    def content(self, number: int) -> bytes:
        """The bytes of a sector: fewer, or none, where the file ends before."""
        place = (number + 1) * self._bytes
        if place >= self.file_bytes:
            return b""
        self._file.seek(place)
        return self._file.read(self._bytes)

    def stream(self, entry: _Entry, *, root: _Entry) -> bytes:
        """What a stream holds; the small ones are together in that of the directory's root."""
        if entry.size >= _SMALL_BYTES:
            return b"".join(map(self.content, self.chain(entry.start)))[: entry.size]
        together = b"".join(map(self.content, self.chain(root.start)))
        found, number = bytearray(), entry.start
        while number < len(self._next_small) and len(found) < entry.size:
            at = number * _SMALL_SECTOR_BYTES
            found += together[at : at + _SMALL_SECTOR_BYTES]
            number = self._next_small[number]
        return bytes(found[: entry.size])

    def _tables(self, header: bytes) -> list[int]:
        """The sectors of the table: 109 in the header, and more of them in a chain of its own."""
        tables = list(struct.unpack_from("<109I", header, 76))
        (more,) = struct.unpack_from("<I", header, 68)
        seen: set[int] = set()
        while more < _RESERVED and (content := self._numbers([more])):
            if more in seen:
                raise UnreadableFileError(DAMAGED)
            seen.add(more)
            tables += content[:-1]
            more = content[-1]
        return [number for number in tables if number < _RESERVED]

    def _numbers(self, sectors: Iterator[int] | Sequence[int]) -> array[int]:
        found = array("I")
        for number in sectors:
            if len(found) * 4 > self.file_bytes:  # the table has one for each sector
                raise UnreadableFileError(DAMAGED)
            content = self.content(number)
            found.frombytes(content[: len(content) // 4 * 4])
        return found


def _check_ends(following: Sequence[int]) -> None:
    """Refuse a table in which some chain leads back into itself."""
    walked = [0] * len(following)
    for start in range(len(following)):
        number = start
        while number < len(following) and not walked[number]:
            walked[number] = start + 1
            number = following[number]
        if number < len(following) and walked[number] == start + 1:
            raise UnreadableFileError(DAMAGED)


def _entries(sectors: _Sectors) -> Iterator[_Entry]:
    """The streams and storages, the root first."""
    for number in sectors.chain(sectors.directory):
        content = sectors.content(number)
        for at in range(0, len(content) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
            length = min(struct.unpack_from("<H", content, at + 64)[0], 64)
            if length >= 2:
                name = content[at : at + length - 2].decode("utf-16-le", errors="replace")
                # The upper half of the size is only for what is longer than any file we take.
                yield _Entry(name, *struct.unpack_from("<II", content, at + 116))


def _check_extents(workbook: bytes) -> None:
    """Refuse a sheet of a size that none can have: a parser makes room for all of it."""
    places = {0}
    for kind, record in _records(workbook, 0):
        if kind == _SHEET and len(record) >= 4:
            places.add(struct.unpack_from("<I", record)[0])
    for place in places:
        for kind, record in _records(workbook, place):
            if kind != _EXTENT or len(record) not in (10, 14):
                continue
            form = "<IIHH" if len(record) == 14 else "<4H"
            first_row, rows, first_column, columns = struct.unpack_from(form, record)
            is_backwards = rows and columns and (first_row >= rows or first_column >= columns)
            if rows > MOST_ROWS or columns > MOST_COLUMNS or is_backwards:
                raise UnreadableFileError(DAMAGED)


def _records(workbook: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """The records of a part of a workbook, up to its end."""
    while at + 4 <= len(workbook):
        kind, length = struct.unpack_from("<HH", workbook, at)
        if kind in (_SHEET, _EXTENT):
            yield kind, workbook[at + 4 : at + 4 + length]
        if kind == _END:
            return
        at += 4 + length
