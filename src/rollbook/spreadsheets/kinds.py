"""Detects the kind of a file from its name and from the first bytes of its content.

Both must agree (OWASP ASVS 5.0, 5.2.2). ``inspect`` checks a workbook's content later, in the child
process.
"""

from __future__ import annotations

import codecs
from typing import Final

from rollbook.errors import UnsupportedFileError

KINDS: Final = ("xlsx", "xls", "csv", "xlsb", "ods", "fods")
#: The kind by the ending of the name. All texts are one kind: the delimiter is found from their
#: content. A workbook with macros is read as data, like one without.
ENDINGS: Final = {
    "xlsx": "xlsx", "xlsm": "xlsx", "xls": "xls", "xlsb": "xlsb", "ods": "ods", "fods": "fods",
    "csv": "csv", "tsv": "csv", "txt": "csv",
}  # fmt: skip
#: The number of first bytes that are checked.
HEAD_BYTES: Final = 4096

ZIP: Final = b"PK\x03\x04"
OLE2: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

#: The endings as a sentence lists them.
LISTED: Final = ", ".join(f".{ending}" for ending in [*ENDINGS][:-1]) + f" and .{[*ENDINGS][-1]}"

#: In Latin text in UTF-16, at least this share of the byte pairs has a zero in one place, and at
#: most the rest has one in the other.
_MOST_LATIN: Final = 0.7

_AS_XLSX: Final = "Open it in Excel or LibreOffice, save it as .xlsx and send that."
_NO_SHEET: Final = "Send the spreadsheet that it was made from, saved as .xlsx."

#: Spreadsheets of other kinds, which can be saved as an accepted one.
_OTHER_SHEETS: Final = {
    "xltm": "A template with macros (.xltm) can't be taken in, because macros are programs",
    "xlam": "An add-in (.xlam) can't be taken in, because it is a program",
    "xltx": "A template (.xltx) can't be taken in",
    "numbers": "A file of Apple Numbers can't be taken in",
}
#: Endings of programs, pages, documents and archives. Before the last ending they make a misleading
#: name, such as ``members.exe.csv``.
_DISGUISES: Final = (
    "exe scr bat cmd ps1 sh msi dll jar js vbs wsf hta lnk py php asp aspx jsp cgi htm html "
    "xhtml svg xml pdf doc docx docm rtf odt ppt pptx pptm zip rar 7z gz tar iso apk dmg "
    "xlsm xlsb xltm xlam ods"
)

#: What files begin with that are neither a workbook nor text, in words.
_BEGINNINGS: Final = (
    (b"%PDF", "a PDF document"),
    (b"{\\rtf", "a text document (RTF)"),
    (b"\x1f\x8b", "a compressed file (gzip)"),
    (b"7z\xbc\xaf\x27\x1c", "an archive (7z)"),
    (b"Rar!", "an archive (rar)"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
    (b"#!/", "a program"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
)
#: What a page begins with, in small letters and without space before it.
_MARKUP: Final = (b"<!doctype", b"<html", b"<head", b"<body", b"<table", b"<script", b"<style")


def kind_of(name: str) -> str:
    """The kind that a file's name promises.

    Raises:
        UnsupportedFileError: the kind isn't accepted, or the name is misleading (two endings).
    """
    *before, ending = name.lower().split(".")
    if not before or ending not in ENDINGS:
        reason = _OTHER_SHEETS.get(ending, f"Only {LISTED} files can be taken in")
        is_no_sheet = ending in _DISGUISES.split() and not ending.startswith(("xl", "ods"))
        what_next = _NO_SHEET if is_no_sheet else _AS_XLSX
        raise UnsupportedFileError(f"{reason}, so nothing was kept. {what_next}")
    disguise = before[-1].strip() if len(before) > 1 else ""
    if disguise in _DISGUISES.split():
        raise UnsupportedFileError(
            f"The name has two endings, .{disguise} and .{ending}, so it isn't clear what "
            f"the file is, and nothing was kept. Give it a name that ends only in .{ending} and "
            "send it again."
        )
    return ENDINGS[ending]


def check_beginning(head: bytes, kind: str, name: str = "") -> None:
    """Refuse content whose first bytes aren't those of the kind that the name promises.

    Raises:
        UnsupportedFileError: it begins as something else, which the sentence names.
    """
    if fits(head, kind):
        return
    ending = name.lower().rpartition(".")[2] or kind
    raise UnsupportedFileError(
        f"The name says .{ending}, but the content is {_in_words(head)}, so nothing was kept. "
        f"{_NO_SHEET if head.startswith(tuple(mark for mark, _ in _BEGINNINGS)) else _AS_XLSX}"
    )


def fits(head: bytes, kind: str) -> bool:
    """Whether the first bytes match the kind."""
    if kind in {"xlsx", "xlsb"}:
        # A workbook with a password is OLE2; the worker can say so in better words.
        return head.startswith((ZIP, OLE2))
    if kind == "ods":
        return head.startswith(ZIP)
    if kind == "fods":
        text = head.removeprefix(codecs.BOM_UTF8).lstrip()
        return text.startswith(b"<") and b"office:document" in head and text_order(head) is None
    if kind == "xls":
        return head.startswith(OLE2)
    if text_order(head) is not None:
        return True
    # Some programs end a text with a NUL; a file of which more is missing is refused when read.
    text = head.rstrip(b"\x00\x1a")
    is_text = b"\x00" not in text and (bool(text) or not head)
    return is_text and not head.startswith((ZIP, OLE2)) and _known(head) is None


def text_order(head: bytes) -> str | None:
    """The codec of a text whose characters have two or four bytes; None for any other.

    Without a byte order mark, every other byte of a text in Latin letters is 0.
    """
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    pairs = len(head.rstrip(b"\x00\x1a")) // 2
    if pairs < 2:
        return None
    first, second = (head[at : 2 * pairs : 2].count(0) / pairs for at in (0, 1))
    if second > _MOST_LATIN and first < 1 - _MOST_LATIN:
        return "utf-16-le"
    if first > _MOST_LATIN and second < 1 - _MOST_LATIN:
        return "utf-16-be"
    return None


def _in_words(head: bytes) -> str:
    if head.startswith(ZIP):
        return "a zip archive or a newer workbook (.xlsx)"
    if head.startswith(OLE2):
        return "an old workbook (.xls) or another Office document"
    if known := _known(head):
        return known
    return "something else" if b"\x00" in head else "plain text"


def _known(head: bytes) -> str | None:
    """The kind of content that is neither a workbook nor the text of a CSV file."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    start = text.lower()
    if start.startswith(b"<?xml"):
        return "XML" if b"<html" not in start else "a web page (HTML)"
    if start.startswith((*_MARKUP, b"<!--")):
        return "a web page (HTML)"
    for beginning, words in _BEGINNINGS:
        # Two letters may well be those of a column, as in MZ,Name.
        if text.startswith(beginning) and (beginning != b"MZ" or b"\x00" in head):
            return words
    return None
