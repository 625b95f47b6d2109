"""The package of a workbook: a zip archive that all readers interpret in the same way."""

from __future__ import annotations

import struct
import zipfile
from typing import TYPE_CHECKING, BinaryIO, Final

from isal import isal_zlib

from rollbook.spreadsheets.inspect.archive import DAMAGE, END, LOCAL, RAW_DEFLATE
from rollbook.spreadsheets.scan.plain import NotPlainError

if TYPE_CHECKING:
    import threading


#: What follows the rows is inflated for its checksum only.
MOST_TAIL_BYTES: Final = 64 << 20
INPUT_BYTES: Final = 1 << 18


def directory(file: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """The entries of an archive that all readers interpret in the same way.

    By their names in small letters: a package's names are compared without regard to case.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - END.size))
    end = file.read()
    if len(end) < END.size:
        raise NotPlainError("not an archive")
    mark, disk, start_disk, here, count, length, start, comment = END.unpack(end)
    if (
        mark != b"PK\5\6"
        or (disk, start_disk, comment) != (0, 0, 0)
        or here != count
        or start + length != size - END.size
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
    return {info.filename.casefold(): info for info in infos}


class Part:
    """A part as a stream of its inflated bytes, which ends in a check of their sum."""

    def __init__(self, file: BinaryIO, lock: threading.Lock, info: zipfile.ZipInfo) -> None:
        self._file, self._lock = file, lock
        if info.flag_bits & ~0x080E or info.compress_type not in (0, 8):
            raise NotPlainError("an encrypted part or an unusual compression")
        with lock:
            file.seek(info.header_offset)
            header = file.read(LOCAL.size)
            if len(header) < LOCAL.size:
                raise NotPlainError("a damaged archive")
            mark, _, flags, method, *_, name_length, extra_length = LOCAL.unpack(header)
            name = file.read(name_length)
        if (
            mark != b"PK\3\4"
            or flags & 1
            or method != info.compress_type
            or name != info.orig_filename.encode()
        ):
            raise NotPlainError("a part whose headers differ")
        self._offset = info.header_offset + LOCAL.size + name_length + extra_length
        self._left = info.compress_size
        self._info = info
        self._inflate = isal_zlib.decompressobj(RAW_DEFLATE) if method else None
        self._waiting = b""
        self._crc = 0
        self._read = 0

    @property
    def size(self) -> int:
        """The inflated size by the directory; ``read`` enforces it."""
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
                given = self._waiting or self._stored(INPUT_BYTES)
                content = self._inflate.decompress(given, most)
                self._waiting = self._inflate.unconsumed_tail
                if content:
                    return bytes(content)
                if not given:
                    raise NotPlainError("a part without its end")
        except DAMAGE as error:
            raise NotPlainError("a damaged part") from error
        return b""

    def _stored(self, most: int) -> bytes:
        with self._lock:
            self._file.seek(self._offset)
            content = self._file.read(min(most, self._left))
        self._offset += len(content)
        self._left -= len(content)
        return content
