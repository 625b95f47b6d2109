"""What a file's name and first bytes say it is."""

from __future__ import annotations

import pytest

from rollbook.errors import UnsupportedFileError
from rollbook.folder.claims import is_wanted
from rollbook.spreadsheets.content import kind_of_content, text_order
from rollbook.spreadsheets.kinds import check_beginning, fits, kind_of

TEXT = "ID Number,Firstname\n8001015009087,Zoë\n"


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "TXT"])
def test_every_ending_of_a_text_is_one_kind(ending: str) -> None:
    assert kind_of(f"members.{ending}") == "csv"
    assert is_wanted(f"members.{ending}")


def test_the_explanation_of_a_refused_file_is_no_file_of_members() -> None:
    assert not is_wanted("members.csv.error.txt")


@pytest.mark.parametrize(
    ("codec", "order"),
    [
        ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"), ("utf-8", None), ("utf-8-sig", None), ("cp1252", None),
    ],
)  # fmt: skip
def test_text_of_wide_characters_is_known_without_a_byte_order_mark(
    codec: str, order: str | None
) -> None:
    content = TEXT.encode(codec)
    assert text_order(content) == order
    assert fits(content, "csv")
    # With an end of zeros it is still the same text.
    assert text_order(content + bytes(400)) == order


@pytest.mark.parametrize("end", [b"\0", b"\0\0\0", b"\x1a", b"\r\n\x1a\0"])
def test_what_old_programs_put_at_the_end_of_a_text_makes_it_nothing_else(end: bytes) -> None:
    assert fits(TEXT.encode() + end, "csv")


@pytest.mark.parametrize(
    "content", [b"\0\0\0\0", b"\0", b"ID\0\1\2\0\3", b"\1\0\0\2\0\0\0\3\xff\0" * 20, b"MZ\x90\0\3"]
)
def test_bytes_that_are_no_text_are_refused(content: bytes) -> None:
    assert not fits(content, "csv")
    with pytest.raises(UnsupportedFileError, match=r"The name says \.tsv, but the content is"):
        check_beginning(content, "csv", "members.tsv")


@pytest.mark.parametrize("name", ["members.pdf", "members.docx"])
def test_a_document_is_not_to_be_opened_in_excel(name: str) -> None:
    with pytest.raises(UnsupportedFileError, match="Send the spreadsheet that it was made from"):
        kind_of(name)
    with pytest.raises(UnsupportedFileError, match="Send the spreadsheet that it was made from"):
        check_beginning(b"%PDF-1.7", "xlsx", "members.xlsx")


XML_SHEET = (
    b'<?xml version="1.0"?>\n<?mso-application progid="Excel.Sheet"?>\n'
    b'<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">'
)
PAGE = (
    b'<html xmlns:x="urn:schemas-microsoft-com:office:excel"><body><table>'
    b"<tr><td>ID Number</td></tr></table>"
)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PAGE, "html"),
        (PAGE.decode().encode("utf-16"), "html"),
        (b"<br />\n<b>Warning</b>: mysqli\n", "html"),
        (b"MIME-Version: 1.0\r\nContent-Type: multipart/related\r\n", "mhtml"),
        (b"From: <Saved by Blink>\r\nSubject: m\r\n list\r\nMIME-Version: 1.0\r\n", "mhtml"),
        (XML_SHEET, "xml_sheet"),
        (b'<?xml version="1.0"?><members/>', "xml"),
        (b"ID;PWXL;N;E\r\nP;PGeneral\r\n", "sylk"),
        (b"TABLE\r\n0,1\r\n", "old_sheet"),
        (b"\x09\x04\x06\x00\x00\x04\x10\x00" + bytes(90), "old_sheet"),
        (b"\x00\x00\x02\x00\x06\x04" + bytes(90), "old_sheet"),
        (b"\x03\x7e\x0b\x1d" + bytes(28) + b"IDNO", "dbase"),
        (b'[{"id_number": "8001015009087"}]', "json"),
        (b"-- MySQL dump 10.13\n--\n\nDROP TABLE IF EXISTS `members`;\n", "sql"),
        (b"BEGIN:VCARD\r\nVERSION:3.0\r\n", "vcard"),
        # Tables, whatever their first words look like.
        (b"ID;Passport;Name\r\n", "text"),
        (b"MZ,Name\n", "text"),
        (b"<ID Number>,<Name>\n", "text"),
        (b"Use this form only\nID Number,Name\n", "text"),
        (b"Ward: 12\nDate: 3 May\nID Number,Name\n", "text"),
        (b"[ID Number],[Name]\n", "text"),
        ("ID Number;Name\n0".encode("utf-16-le"), "text"),
    ],
)
def test_content_is_known_by_its_beginning(content: bytes, kind: str) -> None:
    assert kind_of_content(content) == kind
    assert fits(content, "csv") == (kind == "text")
    assert not fits(content, "xls")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("members.xls", PAGE, "a web page (HTML), so nothing was kept. Open it in Excel"),
        ("members.xls", XML_SHEET, "an XML spreadsheet of Excel 2003, so nothing was kept. Open"),
        ("members.xls", b"ID\tName\n", "plain text, so nothing was kept. Change the ending of its"),
        ("members.xls", b"ID\tName\n", "Don't save it in Excel first"),
        ("members.csv", b"PK\3\4" + bytes(26) + b"[Content_Types].xml", "to .xlsx and send it"),
        ("members.csv", b"Rar!\x1a\7\1\0", "an archive (rar), so nothing was kept. Unpack it"),
        ("members.csv", b'{"a": 1}', "Export the list as .xlsx or .csv"),
    ],
)
def test_a_name_that_lies_is_refused_with_what_to_do(name: str, content: bytes, words: str) -> None:
    with pytest.raises(UnsupportedFileError) as refused:
        check_beginning(content, kind_of(name), name)
    assert words in refused.value.message


@pytest.mark.parametrize("ending", ["html", "mht", "numbers", "xml", "et", "xltx"])
def test_a_spreadsheet_of_another_program_is_to_be_saved_as_a_workbook(ending: str) -> None:
    with pytest.raises(UnsupportedFileError, match=rf"\.{ending} can't .* save it as \.xlsx"):
        kind_of(f"members.{ending}")
