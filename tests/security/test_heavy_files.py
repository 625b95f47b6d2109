"""Files that are made to fill up memory end with a sentence, and the worker continues."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import time
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import xlwt

from rollbook.errors import FileProblemError, UnreadableFileError
from rollbook.pipeline.read import read
from rollbook.spreadsheets.books.opening import open_book
from rollbook.spreadsheets.inspect.archive import inspect
from tests.files import csv_file, id_number, members
from tests.security.files import bomb, compound, repacked
from tests.security.test_inspection import LAUGHS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.security.house import House

SHEET = "xl/worksheets/sheet1.xml"
SHARED = "xl/sharedStrings.xml"
_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def sheet(rows: str, before: str = "") -> bytes:
    return f"<worksheet {_MAIN}>{before}<sheetData>{rows}</sheetData></worksheet>".encode()


def cell(place: str, text: str) -> str:
    at = f' r="{place}"' if place else ""
    return f'<c{at} t="inlineStr"><is><t>{text}</t></is></c>'


_TEXTS = {"A1": "ID Number", "B1": "Name", "C1": "Surname"}
HEADERS = "".join(cell(place, text) for place, text in _TEXTS.items())
ROW = cell("A2", id_number(9_900_001)) + cell("B2", "Thandi") + cell("C2", "Nkosi")
GOOD = f'<row r="1">{HEADERS}</row><row r="2">{ROW}</row>'
#: Of a namespace, which no plain workbook has, so that it is read element by element.
ODD = b"<?xml version='1.0'?><!-- odd -->"


def with_long_cell() -> bytes:
    """A cell of 100 MB that packs no better than an honest one."""
    target = io.BytesIO()
    content = sheet(GOOD.replace("Thandi", "@"))
    before, _, after = content.partition(b"@")
    rng = random.Random(1)
    with (
        zipfile.ZipFile(io.BytesIO(repacked(leave_out=SHEET))) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out,
    ):
        for info in source.infolist():
            out.writestr(info, source.read(info))
        with out.open(SHEET, "w") as entry:
            entry.write(before)
            for _ in range(2_500):
                entry.write(rng.randbytes(512).hex().encode() * 40)
            entry.write(after)
    return target.getvalue()


LYING = {
    "a dimension of a whole sheet": sheet(GOOD, '<dimension ref="A1:XFD1048576"/>'),
    "a dimension that is none": sheet(GOOD, '<dimension ref="ZZZ99999999999"/>'),
}
APART = {
    "opposite corners": f'{GOOD}<row r="1048576">{cell("XFD1048576", "x")}</row>',
    "without places": "<row>"
    + cell("", "x") * 500
    + "</row>"
    + f"<row>{cell('', 'x')}</row>" * 80_001,
    "quoted otherwise": GOOD
    + "<row r = '1048576'>"
    + cell("XFD1048576", "x").replace('"', "'")
    + "</row>",
    "with a prefix": f'{GOOD}<row r="1048576">{cell("XFD1048576", "x")}</row>'.replace(
        "<", "<x:"
    ).replace("<x:/", "</x:"),
}


@pytest.mark.parametrize("name", LYING)
def test_a_dimension_that_lies_is_not_believed(tmp_path: Path, name: str) -> None:
    for odd in (b"", ODD):
        path = tmp_path / "source.xlsx"
        path.write_bytes(repacked(add={SHEET: odd + LYING[name]}))
        assert [batch.frame.height for batch in read(path, "xlsx")] == [1]


@pytest.mark.parametrize("name", APART)
def test_cells_far_apart_are_refused_before_room_is_made_for_what_lies_between(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "source.xlsx"
    for odd in (b"", ODD):
        path.write_bytes(repacked(add={SHEET: odd + sheet(APART[name])}))
        with pytest.raises(UnreadableFileError, match=r"too far apart|more than 2,000 columns"):
            list(read(path, "xlsx"))


def test_an_empty_cell_far_away_is_no_reason(tmp_path: Path) -> None:
    path = tmp_path / "source.xlsx"
    far = '<row r="1048576"><c r="XFD1048576" s="1"/></row>'
    for odd in (b"", ODD):
        path.write_bytes(repacked(add={SHEET: odd + sheet(GOOD + far)}))
        assert [batch.frame.height for batch in read(path, "xlsx")] == [1]


def test_a_table_of_texts_that_says_it_has_millions_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "source.xlsx"
    table = f'<sst {_MAIN} count="9" uniqueCount="4000000000"><si><t>x</t></si></sst>'
    path.write_bytes(repacked(add={SHARED: table.encode(), SHEET: ODD + sheet(GOOD)}))
    assert [batch.frame.height for batch in read(path, "xlsx")] == [1]


def test_a_chain_of_sectors_without_an_end_is_refused(tmp_path: Path) -> None:
    content = bytearray(compound("Workbook"))
    struct.pack_into("<I", content, 512 + 4, 1)  # sector 1 follows itself
    path = tmp_path / "source.xls"
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match="damaged"):
        inspect(path, "xls")
    content = bytearray(compound("Workbook"))
    struct.pack_into("<I", content, 68, 0)  # more tables, which lead on to more tables
    struct.pack_into("<I", content, 512 + 508, 0)
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match="damaged"):
        inspect(path, "xls")


def old_workbook(*places: tuple[int, int], sheets: int = 1) -> bytearray:
    """An .xls file whose sheets have texts in these cells."""
    book = xlwt.Workbook()
    for number in range(sheets):
        sheet = book.add_sheet(f"Sheet {number}")
        for row, column in places:
            sheet.write(row, column, f"text {row} {column}")
    target = io.BytesIO()
    book.save(target)
    return bytearray(target.getvalue())


def with_record(content: bytearray, head: bytes, at: int, value: bytes) -> bytes:
    """The same file with other bytes in the first record that begins so."""
    place = content.index(head, 512) + at
    content[place : place + len(value)] = value
    return bytes(content)


def in_a_short_stream(records: bytes) -> bytes:
    """An OLE2 file whose workbook lies in small sectors, the second before the first."""
    content = bytearray(compound("Workbook"))
    struct.pack_into("<2I", content, 60, 2, 1)  # sector 2 is the table of small ones
    struct.pack_into("<2I", content, 512 + 8, 0xFFFFFFFE, 0xFFFFFFFE)
    struct.pack_into("<2I", content, 1024 + 116, 3, 128)  # sector 3 holds the root's stream
    struct.pack_into("<2I", content, 1024 + 128 + 116, 1, len(records))
    table = struct.pack("<128I", 0xFFFFFFFE, 0, *[0xFFFFFFFF] * 126)
    room = records[64:].ljust(64, b"\0") + records[:64].ljust(64, b"\0")
    return bytes(content) + table + room.ljust(512, b"\0")


_NEAR = tuple((row, column) for row in range(60) for column in range(3))
_DIMENSIONS = b"\x00\x02\x0e\x00"
OLD = {
    "dimensions that lie": with_record(old_workbook(*_NEAR), _DIMENSIONS, 8, b"\xff" * 4),
    "dimensions that end before they begin": with_record(
        old_workbook(*_NEAR), _DIMENSIONS, 4, b"\xff\0\0\0"
    ),
    "dimensions that end left of where they begin": with_record(
        old_workbook(*_NEAR), _DIMENSIONS, 12, b"\x09\0\x08\0"
    ),
    "a table of texts that lies": with_record(
        old_workbook(*_NEAR), struct.pack("<2I", 180, 180), 4, b"\xff\xff\xff\x7f"
    ),
}


@pytest.mark.parametrize("name", OLD)
def test_an_old_workbook_that_lies_is_not_believed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "source.xls"
    path.write_bytes(OLD[name])
    inspect(path, "xls")
    with closing(open_book(path, "xls")) as book:
        [rows] = book.batches(0, rows=1000)
    assert rows.frame.rows() == [tuple(f"text {row} {n}" for n in range(3)) for row in range(60)]


def test_an_old_workbook_may_be_as_large_as_its_format(tmp_path: Path) -> None:
    path = tmp_path / "source.xls"
    path.write_bytes(old_workbook((0, 0), (65_535, 255)))
    with closing(open_book(path, "xls")) as book:
        assert [rows.frame.shape for rows in book.batches(0, rows=60_000)] == [
            (60_000, 1), (5_536, 256),
        ]  # fmt: skip
    with (
        closing(open_book(path, "xls")) as book,
        pytest.raises(UnreadableFileError, match="too far apart"),
    ):
        list(book.batches(0, rows=65_536))


def test_an_old_workbook_without_records_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "source.xls"
    path.write_bytes(in_a_short_stream(b"\0" * 128))
    with pytest.raises(UnreadableFileError, match="damaged"):
        list(read(path, "xls"))


@pytest.mark.parametrize("place", [40, 44, 64, 72, 1024 + 120])
def test_an_old_workbook_that_says_it_has_more_sectors_than_it_has_is_refused(
    tmp_path: Path, place: int
) -> None:
    content = bytearray(in_a_short_stream(b""))
    path = tmp_path / "source.xls"
    path.write_bytes(content)
    inspect(path, "xls")
    struct.pack_into("<I", content, place, 0x7FFFFFFF)
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match="damaged"):
        list(read(path, "xls"))


HOSTILE: dict[str, bytes] = {
    "delimiters in a cell that goes on": b'"' + b"," * 15_000 + b'"x\n',
    "marks that close and open": b'x","y\n',
    "a mark that is never closed, then pairs": b'"x\n' + b'""\n' * 299,
    "a mark opened in each line": b'1,"a,b,c\n',
    "backslashes": b"\\" * 1000 + b'"\n',
    "escaped marks": b'1,"' + b'\\"' * 2000 + b'",b,c\n',
    "nothing but marks": b'"',
    "marks and delimiters": b'",',
    "cells that go on after their marks": b'"a"b,' * 39 + b"\n",
    "cells with marks and delimiters inside": b'"a,"b,c",' * 30 + b"\n",
    "single marks": b"'a,b','c\n",
    "cells of many lines": b'1,a,b,"' + b"x\n" * 200 + b'"\n',
    "cells of lines like rows": b'1,a,b,"' + b"x,y,z,w\n" * 200 + b'"\n',
    "carriage returns": b"\r",
    "bytes of no encoding": b"\xe9,",
    "two encodings in turn": "\xe9".encode() * 40 + b"\xe9,\n",
    "text that was encoded twice": "\xc3\xab,\n".encode(),
    "header rows": b"ID Number,Firstname,Surname,Address\n",
    "rows without a number": b",x,y,z\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_text_file_takes_no_longer_the_more_it_is_made_to_be_misread(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "source.csv"
    bit, size = HOSTILE[name], 300_000
    path.write_bytes(b"ID Number,Firstname,Surname,Address\n" + bit * (size // len(bit)))
    began = time.process_time()
    with contextlib.suppress(FileProblemError):
        for _ in read(path, "csv"):
            pass
    # This takes half a second, and no more than 1.7 s for any size. Where every mark was a place to
    # begin again, a megabyte of each took minutes, which is five seconds and more for this.
    assert time.process_time() - began < 4


def test_heavy_files_fail_with_a_sentence_and_the_worker_takes_the_next(house: House) -> None:
    files = {
        "bomb.xlsx": bomb(100 << 20),
        "laughs.xlsx": repacked(add={"docProps/core.xml": LAUGHS}),
        "apart.xlsx": repacked(add={SHEET: ODD + sheet(APART["opposite corners"])}),
        "long cell.xlsx": with_long_cell(),
        "commas.csv": csv_file(2) + b"," * 3_000_000,
    }
    jobs = {name: house.send("super", content, name) for name, content in files.items()}
    for name, job_id in jobs.items():
        status = house.ended("super", job_id)
        assert status["status"] == "failed", name
        assert status["error"].endswith("."), status["error"]
        assert status["attempts"] == 1  # refused, not killed
    next_one = house.send("super", csv_file(members(2, start=78_000)), "after heavy ones.csv")
    assert house.completed("super", next_one)["attempts"] == 1
