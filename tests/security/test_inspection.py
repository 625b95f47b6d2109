"""Hostile workbooks are refused before a parser opens them (ASVS 5.2, 5.3.3, 1.5.1)."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
import zipfile
from typing import TYPE_CHECKING

import pytest

from rollbook.errors import UnreadableFileError
from rollbook.spreadsheets.inspect import archive as inspection
from rollbook.spreadsheets.inspect.archive import Limits, inspect
from tests.binary_workbook import BinarySheet, binary_workbook
from tests.files import workbook
from tests.open_document import flat_document, open_document
from tests.security.files import bomb, compound, part, repacked, with_lie, with_overlap

if TYPE_CHECKING:
    from pathlib import Path

SHEET = "xl/worksheets/sheet1.xml"
STRANGE = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">'
    b'<!ENTITY z "&y;&y;&y;&y;&y;&y;&y;&y;">]><a>&z;</a>'
)


def refusal(path: Path, content: bytes, kind: str = "xlsx", limits: Limits | None = None) -> str:
    """The sentence with which the content is refused."""
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError) as raised:
        inspect(path, kind, limits)
    return raised.value.message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "source.xlsx"


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ({"xl/workbook.bin": b"\x83\x01"}, "two workbooks"),
        ({"mimetype": b"application/vnd.oasis", "content.xml": b"<a/>"}, "two workbooks"),
        ({"word/document.xml": b"<a/>"}, "a document, a presentation"),
        ({"../../etc/cron.d/x": b"x"}, "leads out of it"),
        ({"/etc/cron.d/x": b"x"}, "leads out of it"),
        ({"xl\\..\\..\\x": b"x"}, "leads out of it"),
        ({"C:/x": b"x"}, "leads out of it"),
        ({"xl/embeddings/inner.xlsx": b"PK\x03\x04" + bytes(64)}, "another archive"),
        ({"xl/media/image1.png": b"\x1f\x8b\x08" + bytes(64)}, "another archive"),
        ({"XL/Worksheets/Sheet1.xml": b"<worksheet/>"}, "two files of one name"),
        ({SHEET: STRANGE}, "declares entities"),
        ({"xl/sharedStrings.xml": LAUGHS}, "declares entities"),
        ({"docProps/custom.xml": LAUGHS}, "declares entities"),
        ({"xl/drawings/vmlDrawing1.vml": LAUGHS}, "declares entities"),
        ({"customXml/item": b" \n" + LAUGHS}, "declares entities"),
        ({SHEET: STRANGE.decode().encode("utf-16")}, "another encoding"),
        ({SHEET: STRANGE.decode().encode("utf-16-be")}, "another encoding"),
    ],
    ids=str,
)
def test_what_a_workbook_may_not_hold_is_named(
    path: Path, added: dict[str, bytes], words: str
) -> None:
    sentence = refusal(path, repacked(add=added))
    assert words in sentence
    assert "Nothing was changed." in sentence


def test_a_workbook_with_macros_is_refused_where_the_setting_says_so(path: Path) -> None:
    content = repacked(add={"xl/vbaProject.bin": b"\xd0\xcf"})
    assert "has macros" in refusal(path, content, limits=Limits(macros=False))
    inspect(path, "xlsx")


OPEN_DOCUMENT = open_document([BinarySheet("S", [("ID Number",)])])


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("xlsx", repacked(add={"xl/workbook.bin": b"\x83\x01"}), "two workbooks"),
        ("ods", repacked(add={"mimetype": b"x", "content.xml": b"<a/>"}), "two workbooks"),
        ("ods", open_document([], {"Object 1/content.xml": LAUGHS}), "declares entities"),
        ("fods", flat_document([]).replace(b"?>", b"?><!DOCTYPE a>", 1), "declares entities"),
        ("fods", flat_document([]).decode().encode("utf-16"), "another encoding"),
    ],
    ids=lambda given: "" if isinstance(given, bytes) else given,
)
def test_a_spreadsheet_of_another_format_is_held_to_the_same(
    path: Path, kind: str, content: bytes, words: str
) -> None:
    assert words in refusal(path, content, kind)


@pytest.mark.parametrize("kind", ["xlsx", "xls", "xlsb", "ods"])
def test_a_workbook_is_inspected_as_what_it_is_by_its_content(path: Path, kind: str) -> None:
    binary = binary_workbook([BinarySheet("S", [("x",)])])
    contents = {"xlsx": repacked(), "xlsb": binary, "ods": OPEN_DOCUMENT}
    for found, content in {**contents, "xls": compound("Workbook")}.items():
        path.write_bytes(content)
        assert inspect(path, kind).kind == found


@pytest.mark.parametrize("name", ["Basic/Standard/Module1.xml", "Scripts/python/x.py"])
def test_programs_in_an_opendocument_spreadsheet_are_macros_too(path: Path, name: str) -> None:
    content = open_document([], {name: b"<a/>"})
    assert "has macros" in refusal(path, content, "ods", Limits(macros=False))
    inspect(path, "ods")


def with_empty_deflated_part(name: str) -> bytes:
    """A workbook with a part that is deflated to no bytes at all, as some programs write it."""
    content = repacked(add={name: b"@"})
    place = content.index(name.encode()) - 30
    entry = content.rindex(b"PK\1\2", 0, content.rindex(name.encode()))
    changed = bytearray(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        length = archive.getinfo(name).compress_size
    # The bytes of the part stay, and belong to none.
    for at in (place + 14, entry + 16):
        changed[at : at + 12] = bytes(12)
    assert length
    return bytes(changed)


@pytest.mark.parametrize(
    "name", ["docProps/thumbnail.wmf", "xl/drawings/drawing1.xml", "custom/item7.bin"]
)
def test_a_part_that_nobody_reads_may_be_damaged(path: Path, name: str) -> None:
    path.write_bytes(with_empty_deflated_part(name))
    inspect(path, "xlsx")
    path.write_bytes(with_lie(repacked(add={name: b"<a/>" * 9}), name, 10))
    inspect(path, "xlsx")
    # It is counted anyway.
    large = repacked(add={name: bytes(20 << 20)})
    assert "100 times as large" in refusal(path, with_lie(large, name, 1000))
    assert "declares entities" in refusal(path, repacked(add={name: b"<a>" + LAUGHS}))


@pytest.mark.parametrize("name", [SHEET, "xl/workbook.xml", "xl/_rels/workbook.xml.rels"])
def test_a_part_that_is_read_must_be_whole(path: Path, name: str) -> None:
    assert "damaged" in refusal(path, with_lie(repacked(), name, 10))


def test_a_declaration_is_also_found_where_two_pieces_meet(path: Path) -> None:
    for shift in range(0, 12, 3):
        head = b"<a>" + b"<b>x</b>" * ((inspection.PIECE_BYTES - 3) // 8)
        head = head[: inspection.PIECE_BYTES - shift].ljust(inspection.PIECE_BYTES - shift)
        content = repacked(add={"xl/x.xml": head + b"<!DOCTYPE a>"})
        assert "declares entities" in refusal(path, content)


def test_a_renamed_zip_is_told_to_be_unpacked(path: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("members.csv", "ID Number\n")
    assert "zip archive with another name" in refusal(path, target.getvalue())


@pytest.mark.parametrize(
    ("streams", "kind", "words"),
    [
        (("EncryptionInfo", "EncryptedPackage"), "xlsx", "password"),
        (("EncryptionInfo", "EncryptedPackage"), "xls", "password"),
        (("a", "b", "c", "d", "e", "f", "EncryptedPackage"), "xlsx", "password"),
        (("WordDocument",), "xls", "document"),
    ],
    ids=str,
)
def test_an_office_file_that_is_no_workbook_is_named(
    path: Path, streams: tuple[str, ...], kind: str, words: str
) -> None:
    assert words in refusal(path, compound(*streams), kind)


def test_a_directory_that_lies_about_a_size_is_found_out_while_counting(path: Path) -> None:
    large = repacked(add={"xl/x.bin": bytes(20 << 20)})
    assert "100 times as large" in refusal(path, large)
    lying = with_lie(large, "xl/x.bin", 1000)
    assert "100 times as large" in refusal(path, lying)
    assert "damaged" in refusal(path, with_lie(repacked(), SHEET, 10))


def test_all_parts_together_have_a_limit(path: Path) -> None:
    noise = b"".join(n.to_bytes(4, "big") for n in range(75_000))
    content = repacked(add={f"xl/media/{n}": noise for n in range(4)})
    assert "larger than 1 MB" in refusal(path, content, limits=Limits(1 << 20))
    lying = with_lie(content, "xl/media/0", 1)
    assert refusal(path, lying, limits=Limits(1 << 20))


def test_more_entries_than_any_workbook_has_are_refused_before_they_are_listed(path: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(inspection.MOST_ENTRIES + 1):
            archive.writestr(str(number), b"")
    assert "more than 10,000 files" in refusal(path, target.getvalue())


def test_entries_that_lie_on_top_of_each_other_are_refused(path: Path) -> None:
    assert "on top of each other" in refusal(path, with_overlap(repacked()))


def test_links_and_unusual_packing_are_refused(path: Path) -> None:
    target = io.BytesIO(repacked())
    with zipfile.ZipFile(target, "a") as archive:
        link = zipfile.ZipInfo("xl/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert "leads out of it" in refusal(path, target.getvalue())
    content = repacked(method=zipfile.ZIP_LZMA)
    assert "no spreadsheet program uses" in refusal(path, content)


def test_two_directories_or_bytes_behind_the_last_are_refused(path: Path) -> None:
    good = repacked()
    assert "damaged" in refusal(path, b"PK\x03\x04 before" + good)
    assert "damaged" in refusal(path, good + b"behind")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twice = io.BytesIO(good)
        with zipfile.ZipFile(twice, "a") as archive:
            archive.writestr(SHEET, part(SHEET))
    assert "two files of one name" in refusal(path, twice.getvalue())


def test_every_torn_or_changed_archive_is_refused_with_a_sentence(path: Path) -> None:
    good = repacked()
    for at in range(0, len(good), 97):
        path.write_bytes(good[:at])
        with pytest.raises(UnreadableFileError):
            inspect(path, "xlsx")


def test_half_a_megabyte_that_inflates_to_500_is_refused_in_little_memory(path: Path) -> None:
    content = bomb()
    assert len(content) < 550_000
    path.write_bytes(content)
    program = (
        "import sys, pathlib\n"
        "from rollbook.spreadsheets.inspect.archive import inspect\n"
        "from rollbook.errors import UnreadableFileError\n"
        "try: inspect(pathlib.Path(sys.argv[1]), 'xlsx')\n"
        "except UnreadableFileError as error: print(error)\n"
        "lines = pathlib.Path('/proc/self/status').read_text().splitlines()\n"
        "print(next(int(x.split()[1]) // 1024 for x in lines if x.startswith('VmHWM')))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    sentence, memory_mb = run.stdout.strip().splitlines()
    assert "100 times as large" in sentence
    assert int(memory_mb) < 200


def test_a_good_workbook_passes(path: Path) -> None:
    content = workbook(2000)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path.write_bytes(repacked(content, method=method))
        inspect(path, "xlsx")


def test_a_large_good_archive_passes(path: Path) -> None:
    """One with the records of archives over 4 GB, which some programs always write."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook(10))) as source, zipfile.ZipFile(target, "w") as out:
        for info in source.infolist():
            with out.open(info.filename, "w", force_zip64=True) as entry:
                entry.write(source.read(info))
    path.write_bytes(target.getvalue())
    inspect(path, "xlsx")
