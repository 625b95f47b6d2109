"""An archive put together from blocks is one that other programs read."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollbook.spreadsheets.workbook.zip_stream import ZIP64_FROM, ZipStream, deflated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


TEXT = b"a part of a workbook " * 50
PARTS: Mapping[str, Sequence[bytes]] = {
    "empty": [],
    "nothing": [b""],
    "xl/one.xml": [TEXT],
    "xl/more.xml": [TEXT, b"", b"in stretches", TEXT],
}

ZIP64_DIRECTORY, ZIP64_LOCATOR = b"PK\6\6", b"PK\6\7"


def archive(parts: Mapping[str, Sequence[bytes]], *, zip64_from: int = ZIP64_FROM) -> bytes:
    file = io.BytesIO()
    stream = ZipStream(file, zip64_from=zip64_from)
    for name, stretches in parts.items():
        stream.add(name, map(deflated, stretches))
    stream.finish()
    return file.getvalue()


def assert_holds(data: bytes, parts: Mapping[str, Sequence[bytes]]) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == list(parts)
        for name, stretches in parts.items():
            content, info = b"".join(stretches), opened.getinfo(name)
            assert opened.read(name) == content
            assert (info.CRC, info.file_size) == (zlib.crc32(content), len(content))


def local_header(data: bytes, info: zipfile.ZipInfo) -> tuple[int, int, int, int, bytes]:
    """The flags, CRC, compressed and full size, and the extra field that stand before a part."""
    start = info.header_offset
    flags, crc, compressed, size, name, extra = struct.unpack_from("<6xH6x3I2H", data, start)
    assert data[start : start + 4] == b"PK\3\4"
    assert data[start + 30 : start + 30 + name] == info.filename.encode()
    return flags, crc, compressed, size, data[start + 30 + name :][:extra]


def entries(data: bytes) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return opened.infolist()


def test_every_part_comes_out_as_it_went_in() -> None:
    assert_holds(archive(PARTS), PARTS)


def test_an_archive_without_parts_is_one() -> None:
    assert_holds(archive({}), {})


# The machine may be busy with other tests.
@settings(deadline=None)
@given(
    parts=st.dictionaries(
        st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True),
        st.lists(st.binary(max_size=200), max_size=4),
        max_size=4,
    ),
    zip64_from=st.one_of(st.just(ZIP64_FROM), st.integers(0, 600)),
)
def test_any_parts_come_out_whichever_records_are_needed(
    parts: Mapping[str, Sequence[bytes]], zip64_from: int
) -> None:
    assert_holds(archive(parts, zip64_from=zip64_from), parts)


def test_a_reader_that_goes_from_header_to_header_finds_the_sizes_there() -> None:
    data = archive(PARTS)
    position = 0
    for info in entries(data):
        assert info.header_offset == position
        flags, crc, compressed, size, extra = local_header(data, info)
        # No flag: neither encrypted nor with the sizes after the part.
        assert flags == 0
        assert (crc, compressed, size) == (info.CRC, info.compress_size, info.file_size)
        position += 30 + len(info.filename) + len(extra) + compressed


def test_the_same_content_gives_the_same_bytes() -> None:
    assert archive(PARTS) == archive(PARTS)
    assert {info.date_time for info in entries(archive(PARTS))} == {(1980, 1, 1, 0, 0, 0)}


def test_blocks_may_be_deflated_on_other_threads() -> None:
    stretches = [TEXT * number for number in range(20)]
    file = io.BytesIO()
    stream = ZipStream(file)
    with ThreadPoolExecutor(4) as pool:
        stream.add("part", pool.map(deflated, stretches))
    stream.finish()
    # The compressed sizes may differ: the library's depend on what the thread deflated before.
    assert_holds(file.getvalue(), {"part": stretches})


def test_no_zip64_record_stands_where_none_is_needed() -> None:
    data = archive(PARTS)
    assert ZIP64_DIRECTORY not in data
    assert ZIP64_LOCATOR not in data
    for info in entries(data):
        assert info.extract_version == 20
        assert info.extra == b""
        extra = local_header(data, info)[-1]
        # The growth hint of the packaging conventions, and nothing of zip64.
        assert struct.unpack_from("<3H", extra) == (0xA220, len(extra) - 4, 0xA028)


def test_the_zip64_field_of_a_large_part_takes_the_place_of_the_growth_hint() -> None:
    plain, large = archive(PARTS), archive(PARTS, zip64_from=1)
    assert_holds(large, PARTS)
    assert ZIP64_DIRECTORY in large
    assert ZIP64_LOCATOR in large
    for before, after in zip(entries(plain), entries(large), strict=True):
        # The field takes as many bytes as the hint.
        assert len(local_header(large, after)[-1]) == len(local_header(plain, before)[-1])
        assert after.extract_version == 45
        _, crc, *sizes, extra = local_header(large, after)
        assert sizes == [0xFFFF_FFFF, 0xFFFF_FFFF]
        assert crc == after.CRC
        expected = (1, 16, after.file_size, after.compress_size)
        assert struct.unpack("<2H2Q", extra) == expected


@pytest.mark.parametrize(("margin", "needed"), [(0, True), (1, False)])
def test_a_part_needs_zip64_from_the_size_on_that_its_field_cannot_hold(
    margin: int, needed: bool
) -> None:
    first = entries(archive({"part": [TEXT]}, zip64_from=len(TEXT) + margin))[0]
    assert (first.extract_version == 45) is needed


def test_a_small_part_far_behind_needs_zip64_in_the_directory_only() -> None:
    # Every part by itself is below the limit; the second one starts above it.
    limit = 60
    parts = {"first": [b"a" * 50], "second": [b"b" * 50]}
    data = archive(parts, zip64_from=limit)
    assert_holds(data, parts)
    first, second = entries(data)
    assert first.extract_version == 20
    assert second.header_offset >= limit
    assert second.extract_version == 45
    assert local_header(data, second)[2:4] == (second.compress_size, second.file_size)
