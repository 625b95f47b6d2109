"""Inspects an OLE2 file before a parser opens it: old workbooks, and new ones with a password.

Such a file is a small file system (MS-CFB): a table chains its sectors. A chain that leads back
into itself is endless, and a reader would follow it until the memory is full.
"""

from __future__ import annotations

import struct
from array import array
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from rollbook.spreadsheets.refusals import damaged, document, locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Streams of files that are no workbooks.
_OTHER_DOCUMENTS: Final = frozenset(
    {"WordDocument", "PowerPoint Document", "VisioDocument", "__properties_version1.0"}
)
#: From here on a number isn't that of a sector.
_RESERVED: Final = 0xFFFFFFFA
_HEADER_BYTES: Final = 512
_ENTRY_BYTES: Final = 128
#: The stream of a workbook; the first of such a name counts.
_WORKBOOKS: Final = ("Workbook", "Book")
#: A stream shorter than this lies in sectors of its own kind.
_SHORT_BYTES: Final = 4096
_SMALL_BYTES: Final = 64


def inspect_compound(file: BinaryIO) -> None:
    """Refuse an OLE2 file that is no workbook, or has chains without an end.

    Raises:
        UnreadableFileError: with what was found.
    """
    entries = list(_entries(_Sectors(file)))
    streams = {entry.name for entry in entries}
    if "EncryptedPackage" in streams:
        raise locked()
    if streams & _OTHER_DOCUMENTS:
        raise document()
    if not streams & set(_WORKBOOKS):
        raise damaged()


def workbook_stream(file: BinaryIO) -> bytes:
    """The content of the stream that holds an old workbook.

    Raises:
        UnreadableFileError: there is none.
    """
    for name in _WORKBOOKS:
        if (found := stream_of(file, name)) is not None:
            return found
    raise damaged()


def stream_of(file: BinaryIO, name: str) -> bytes | None:
    """The content of the first stream of a name; None if there is none.

    Raises:
        UnreadableFileError: the file is damaged.
    """
    sectors = _Sectors(file)
    entries = list(_entries(sectors))
    for entry in entries:
        if entry.name == name:
            return sectors.stream(entry, entries[0])
    return None


class _Entry(NamedTuple):
    """A stream or a storage, as the directory says it."""

    name: str
    #: Its first sector.
    start: int
    length: int


class _Sectors:
    """The sectors of a file, and the chains that they are in; none of these leads back."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._file_bytes = file.seek(0, 2)
        file.seek(0)
        header = file.read(_HEADER_BYTES)
        shift = struct.unpack_from("<H", header, 30)[0] if len(header) == _HEADER_BYTES else 0
        if shift not in (9, 12):
            raise damaged()
        self._bytes = 1 << shift
        (self.directory,) = struct.unpack_from("<I", header, 48)
        small, small_tables, _, more_tables = struct.unpack_from("<4I", header, 60)
        # As many sectors as it says of each kind, a parser makes room for.
        said = max(*struct.unpack_from("<2I", header, 40), small_tables, more_tables)
        if said * self._bytes > self._file_bytes + self._bytes:
            raise damaged()
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
        if place >= self._file_bytes:
            return b""
        self._file.seek(place)
        return self._file.read(self._bytes)

    def stream(self, entry: _Entry, root: _Entry) -> bytes:
        """The bytes of a stream: a short one lies in small sectors within the root's."""
        if max(entry.length, root.length) > self._file_bytes:
            raise damaged()
        if entry.length >= _SHORT_BYTES:
            return self._joined(entry)
        room = self._joined(root)
        found = bytearray()
        number = entry.start
        while number < _RESERVED and len(found) < entry.length:
            found += room[number * _SMALL_BYTES : (number + 1) * _SMALL_BYTES]
            number = self._next_small[number] if number < len(self._next_small) else _RESERVED
        return bytes(found[: entry.length])

    def _joined(self, entry: _Entry) -> bytes:
        return b"".join(map(self.content, self.chain(entry.start)))[: entry.length]

    def _tables(self, header: bytes) -> list[int]:
        """The sectors of the table: 109 in the header, and more of them in a chain of its own."""
        tables = list(struct.unpack_from("<109I", header, 76))
        (more,) = struct.unpack_from("<I", header, 68)
        seen: set[int] = set()
        while more < _RESERVED and (content := self._numbers([more])):
            if more in seen:
                raise damaged()
            seen.add(more)
            tables += content[:-1]
            more = content[-1]
        return [number for number in tables if number < _RESERVED]

    def _numbers(self, sectors: Iterator[int] | Sequence[int]) -> array[int]:
        found = array("I")
        for number in sectors:
            if len(found) * 4 > self._file_bytes:  # the table has one for each sector
                raise damaged()
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
            raise damaged()


def _entries(sectors: _Sectors) -> Iterator[_Entry]:
    """The entries of the directory; the first is its root, which holds the short streams."""
    for number in sectors.chain(sectors.directory):
        content = sectors.content(number)
        for at in range(0, len(content) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
            name = content[at : at + 64].decode("utf-16-le", errors="replace").partition("\0")[0]
            yield _Entry(name, *struct.unpack_from("<2I", content, at + 116))
