"""A zip archive written part by part from blocks that were deflated elsewhere, on any thread.

The standard library's ``zipfile`` deflates on the thread that writes, with zlib: for a large
workbook that is most of the time. Here each block is deflated and summed by itself (``deflated``),
and the archive only concatenates the blocks.

Zip64 records are written only where a size or an offset needs them, because some readers (SheetJS
0.18 among them) refuse an archive that has them. A part's size is known only after its header, so
each header of a streamed part holds a 20-byte extra field of the Open Packaging Conventions
(ECMA-376 part 2, annex B: "growth hint"), which every reader skips, and which becomes the zip64
field when the part turns out to be too large.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Iterable

#: ISA-L's level 1: a quarter less in size than level 0; 2 and 3 gain little and cost more.
LEVEL: Final = 1
#: From here on a size or an offset is in a zip64 field (APPNOTE.TXT, 4.4.8).
ZIP64_FROM: Final = 0xFFFF_FFFF

_RAW: Final = -15
_DEFLATED: Final = 8
#: 1980-01-01, the earliest date that the format knows: the same content gives the same bytes.
_DATE: Final = 0x21
_VERSION, _VERSION_ZIP64 = 20, 45
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_GROWTH_HINT: Final = struct.pack("<4H12x", 0xA220, 16, 0xA028, 12)
#: An empty last block: what ends a deflate stream whose other blocks were flushed.
_LAST_BLOCK: Final = b"\x03\x00"


class Block(NamedTuple):
    """A stretch of a part, deflated so that it can be followed by another."""

    data: bytes
    #: The CRC-32 and the number of the bytes before they were deflated.
    crc: int
    size: int


class _Entry(NamedTuple):
    name: bytes
    offset: int
    crc: int
    compressed: int
    size: int


def deflated(content: bytes) -> Block:
    """Deflates one stretch of a part; holds the interpreter only for moments."""
    compressor = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, _RAW)
    data = compressor.compress(content) + compressor.flush(isal_zlib.Z_SYNC_FLUSH)
    return Block(data, isal_zlib.crc32(content), len(content))


class ZipStream:
    """Writes a zip archive to a seekable file, which stays the caller's to close."""

    def __init__(self, file: BinaryIO, *, zip64_from: int = ZIP64_FROM) -> None:
        self._file = file
        self._zip64_from = zip64_from
        self._entries: list[_Entry] = []

    def add(self, name: str, blocks: Iterable[Block]) -> None:
        """Writes one part, taking its blocks as they come."""
        encoded = name.encode()
        offset = self._file.tell()
        self._file.write(_local_header(_Entry(encoded, offset, 0, 0, 0), _GROWTH_HINT))
        crc = size = compressed = 0
        for block in blocks:
            self._file.write(block.data)
            crc = isal_zlib.crc32_combine(crc, block.crc, block.size)
            size += block.size
            compressed += len(block.data)
        self._file.write(_LAST_BLOCK)
        entry = _Entry(encoded, offset, crc, compressed + len(_LAST_BLOCK), size)
        self._file.seek(offset)
        self._file.write(self._header(entry))
        self._file.seek(0, os.SEEK_END)
        self._entries.append(entry)

    def add_small(self, name: str, content: bytes) -> None:
        """Writes one part that is complete."""
        self.add(name, [deflated(content)])

    def finish(self) -> None:
        """Writes the directory; nothing may follow."""
        start = self._file.tell()
        for entry in self._entries:
            self._file.write(self._directory_entry(entry))
        end = self._file.tell()
        size, count, version = end - start, len(self._entries), _VERSION_ZIP64
        if end >= self._zip64_from:
            self._file.write(
                struct.pack(
                    "<4sQ2H2I4Q", b"PK\6\6", 44, version, version, 0, 0, count, count, size, start
                )
                + struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
            )
            size = start = ZIP64_FROM
        self._file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, size, start, 0))

    def _header(self, entry: _Entry) -> bytes:
        """The local header in its final form, as long as it was with the growth hint."""
        if max(entry.size, entry.compressed) < self._zip64_from:
            return _local_header(entry, _GROWTH_HINT)
        extra = struct.pack("<2H2Q", 1, 16, entry.size, entry.compressed)
        return _local_header(
            entry._replace(size=ZIP64_FROM, compressed=ZIP64_FROM), extra, _VERSION_ZIP64
        )

    def _directory_entry(self, entry: _Entry) -> bytes:
        version, extra = _VERSION, b""
        if max(entry.size, entry.compressed, entry.offset) >= self._zip64_from:
            version = _VERSION_ZIP64
            extra = struct.pack("<2H3Q", 1, 24, entry.size, entry.compressed, entry.offset)
            entry = entry._replace(size=ZIP64_FROM, compressed=ZIP64_FROM, offset=ZIP64_FROM)
        return (
            _CENTRAL.pack(
                b"PK\1\2", version, version, 0, _DEFLATED, 0, _DATE, entry.crc, entry.compressed,
                entry.size, len(entry.name), len(extra), 0, 0, 0, 0, entry.offset,
            )
            + entry.name
            + extra
        )  # fmt: skip


def _local_header(entry: _Entry, extra: bytes, version: int = _VERSION) -> bytes:
    return (
        _LOCAL.pack(
            b"PK\3\4", version, 0, _DEFLATED, 0, _DATE, entry.crc, entry.compressed, entry.size,
            len(entry.name), len(extra),
        )
        + entry.name
        + extra
    )  # fmt: skip
