"""Hostile files, each made by hand: no spreadsheet program writes them."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

from tests.files import workbook

if TYPE_CHECKING:
    from collections.abc import Mapping


def repacked(
    content: bytes | None = None,
    *,
    add: Mapping[str, bytes] | None = None,
    leave_out: str = "",
    method: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    """A good workbook with entries added, replaced or left out."""
    target = io.BytesIO()
    extra = dict(add or {})
    with (
        zipfile.ZipFile(io.BytesIO(content or workbook(3))) as source,
        zipfile.ZipFile(target, "w", method, compresslevel=9) as out,
    ):
        for info in source.infolist():
            if info.filename == leave_out:
                continue
            out.writestr(info.filename, extra.pop(info.filename, b"") or source.read(info))
        for name, more in extra.items():
            out.writestr(name, more)
    return target.getvalue()


def part(name: str, content: bytes | None = None) -> bytes:
    """A part of a good workbook."""
    with zipfile.ZipFile(io.BytesIO(content or workbook(3))) as source:
        return source.read(name)


def compound(*streams: str) -> bytes:
    """An OLE2 file with empty streams of these names (MS-CFB)."""
    header = bytearray(512)
    header[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    struct.pack_into("<5H", header, 24, 0x3E, 3, 0xFFFE, 9, 6)
    struct.pack_into("<I", header, 44, 1)  # one sector with the table of sectors
    struct.pack_into("<I", header, 48, 1)  # the directory is in sector 1
    struct.pack_into("<5I", header, 56, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    struct.pack_into("<109I", header, 76, 0, *[0xFFFFFFFF] * 108)
    count = (len(streams) + 4) // 4
    table = [0xFFFFFFFD, *range(2, count + 1), 0xFFFFFFFE]
    table += [0xFFFFFFFF] * (128 - len(table))
    directory = bytearray()
    for kind, name in ((5, "Root Entry"), *((2, name) for name in streams)):
        entry = bytearray(128)
        text = name.encode("utf-16-le")
        entry[: len(text)] = text
        struct.pack_into("<HBB", entry, 64, len(text) + 2, kind, 1)
        struct.pack_into("<3I", entry, 68, *[0xFFFFFFFF] * 3)
        struct.pack_into("<I", entry, 116, 0xFFFFFFFE)
        directory += entry
    directory += bytes(count * 512 - len(directory))
    return bytes(header) + struct.pack("<128I", *table) + bytes(directory)


def bomb(inflated: int = 500 << 20) -> bytes:
    """A workbook of half a megabyte whose sheet inflates to so many bytes."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook(3))) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out,
    ):
        for info in source.infolist():
            if info.filename != "xl/worksheets/sheet1.xml":
                out.writestr(info.filename, source.read(info))
        start, _, end = source.read("xl/worksheets/sheet1.xml").partition(b"</sheetData>")
        # White space is packed once, and repeated as it is packed: to pack it all takes 2 s.
        space, times = b" " * (1 << 20), inflated >> 20
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
        repeated = packer.compress(space) + packer.flush(zlib.Z_FULL_FLUSH)
        packed = head + repeated * times + packer.compress(b"</sheetData>" + end) + packer.flush()
        crc = zlib.crc32(start)
        for _ in range(times):
            crc = zlib.crc32(space, crc)
        crc = zlib.crc32(b"</sheetData>" + end, crc)
        size = len(start) + len(space) * times + len(b"</sheetData>" + end)
        out.writestr("xl/worksheets/sheet1.xml", packed, zipfile.ZIP_STORED)
    fields = {8: struct.pack("<H", zipfile.ZIP_DEFLATED), 14: struct.pack("<I", crc)}
    return _with_header(
        target.getvalue(), "xl/worksheets/sheet1.xml", {**fields, 22: struct.pack("<I", size)}
    )


def with_lie(content: bytes, name: str, size: int) -> bytes:
    """The same archive, whose directory and local header say another inflated size of a part."""
    return _with_header(content, name, {22: struct.pack("<I", size)})


def _with_header(content: bytes, name: str, fields: Mapping[int, bytes]) -> bytes:
    """The same archive with other bytes in a part's local header, at these places.

    The entry in the directory has them two bytes later.
    """
    changed = bytearray(content)
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        info = source.getinfo(name)
        at = source.start_dir
    for place, value in fields.items():
        struct.pack_into(f"{len(value)}s", changed, info.header_offset + place, value)
    while changed[at : at + 4] == b"PK\1\2":
        lengths = struct.unpack_from("<3H", changed, at + 28)
        if changed[at + 46 : at + 46 + lengths[0]] == name.encode():
            for place, value in fields.items():
                struct.pack_into(f"{len(value)}s", changed, at + 2 + place, value)
        at += 46 + sum(lengths)
    return bytes(changed)


def with_overlap(content: bytes, copies: int = 100) -> bytes:
    """The same archive with more entries in its directory, which all lead to one part."""
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        at, count = source.start_dir, len(source.infolist())
    end = content.rindex(b"PK\5\6")
    directory = content[at:end]
    last = directory.rindex(b"PK\1\2")
    name_length, *rest = struct.unpack_from("<3H", directory, last + 28)
    assert not any(rest)
    head = directory[last : last + 46]
    for number in range(copies):
        directory += head[:28] + struct.pack("<H", name_length)
        directory += head[30:46] + f"{number:0{name_length}}".encode()
    tail = struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, count + copies, count + copies, len(directory), at, 0
    )
    return content[:at] + directory + tail
