"""Recognises what a file holds by its first bytes, and says what its sender can do with it."""

from __future__ import annotations

import codecs
import re
from typing import Final

from rollbook.languages import phrase

ZIP: Final = b"PK\x03\x04"
OLE2: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
#: Kinds of content that are workbooks, whichever of the endings of workbooks the name has.
WORKBOOKS: Final = frozenset({"xlsx", "xlsb", "ods", "zip", "ole2"})

#: In Latin text in UTF-16, at least this share of the byte pairs has a zero in one place, and at
#: most the rest has one in the other.
_MOST_LATIN: Final = 0.7

#: What to do, by the kind of content: the end of the sentence's key. Of content that isn't here
#: only the ending is wrong; see ``_ENDINGS``.
_NEXT: Final = {
    **dict.fromkeys(("html", "mhtml", "xml_sheet", "sylk", "old_sheet", "dbase", "ole2"), "save"),
    **dict.fromkeys(("pdf", "rtf", "document", "picture", "program"), "source"),
    **dict.fromkeys(("gzip", "7z", "rar", "zip"), "unpack"),
    **dict.fromkeys(("numbers", "xml", "json", "sql", "vcard", "unknown"), "export"),
}
#: The ending that the name should have, by the kind of content.
_ENDINGS: Final = {"text": "csv", "xlsx": "xlsx", "xlsb": "xlsb", "ods": "ods", "fods": "fods"}

_BEGINNINGS: Final = (
    (OLE2, "ole2"),
    (b"%PDF", "pdf"),
    (b"{\\rtf", "rtf"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!", "rar"),
    (b"\x7fELF", "program"),
    (b"#!/", "program"),
    (b"\x89PNG", "picture"),
    (b"\xff\xd8\xff", "picture"),
    (b"GIF8", "picture"),
    # Excel 2 to 4, whose records lie in no compound file.
    (b"\x09\x00\x04\x00", "old_sheet"),
    (b"\x09\x02\x06\x00", "old_sheet"),
    (b"\x09\x04\x06\x00", "old_sheet"),
    # Lotus 1-2-3.
    (b"\x00\x00\x02\x00", "old_sheet"),
    (b"\x00\x00\x1a\x00", "old_sheet"),
)
#: What text that is no table begins with, in small letters and without space before it.
_TEXTS: Final = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"(?:[a-z-]+:[^\n]*\n(?:[ \t][^\n]*\n){0,9}){0,12}mime-version:", "mhtml"),
        (r"begin:v(?:card|calendar)\b", "vcard"),
        (r"id;p[a-z]*(?:;[a-z0-9]+)*\r?\n(?:[bcfopw];|e\r?\n)", "sylk"),
        (r"table\r?\n0,1\r?\n", "old_sheet"),
        (r'\[?\s*\{\s*(?:\}|"[^"\n]{1,100}"\s*:)|\[\s*\[\s*["\d]', "json"),
        (
            r"(?:--[^\n]*\n\s*|/\*[^*]*\*/;?\s*)*"
            r"(?:insert\s+into|create\s+(?:table|database)|drop\s+table|set\s+names)\s",
            "sql",
        ),
        (
            r"<(?:!--|(?:!doctype|html|head|body|table|thead|tbody|tr|td|th|script|style|meta|div"
            r"|span|center|font|form|img|br|hr|b|p|h[1-6])\b)",
            "html",
        ),
    )
)
_XML_SHEET: Final = "urn:schemas-microsoft-com:office:spreadsheet"
_BEFORE_TEXT: Final = "\ufeff \t\r\n\f"


def kind_of_content(head: bytes) -> str:
    """The kind of a file by its first bytes, as the texts ``content.KIND`` name it.

    ``text`` may be a table, ``zip`` and ``ole2`` any archive or document of their form.
    """
    if head.startswith(ZIP):
        return _kind_of_archive(head)
    if (binary := _kind_of_binary(head)) is not None:
        return binary
    order = text_order(head)
    # Some programs end a text with a NUL; a file of which more is missing is refused when read.
    end = head.rstrip(b"\x00\x1a")
    if order is None and (b"\x00" in end or (head and not end)):
        return "unknown"
    text = (head if order else end).decode(order or "latin-1", "ignore")
    return _kind_of_text(text.removeprefix("\xef\xbb\xbf").lstrip(_BEFORE_TEXT).lower())


def _kind_of_binary(head: bytes) -> str | None:
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning) or text.startswith(beginning):
            return kind
    # Two letters may well be those of a column, as in MZ,Name.
    if head.startswith(b"MZ") and b"\x00" in head:
        return "program"
    return "dbase" if _is_dbase(head) else None


def _kind_of_archive(head: bytes) -> str:
    """The kind of an archive by the names of its first entries."""
    if b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet" in head[30:200]:
        return "ods"
    if b".iwa" in head:
        return "numbers"
    if any(part in head for part in (b"word/", b"ppt/", b"mimetypeapplication/")):
        return "document"
    if b"xl/workbook.bin" in head:
        return "xlsb"
    is_office = any(part in head for part in (b"[Content_Types].xml", b"xl/", b"_rels/.rels"))
    return "xlsx" if is_office else "zip"


def _kind_of_text(text: str) -> str:
    if text.startswith("<?xml"):
        if _XML_SHEET in text:
            return "xml_sheet"
        if "office:document" in text:
            return "fods"
        return "html" if "<html" in text else "xml"
    if text.startswith("<office:document"):
        return "fods"
    if text.startswith("<") and _XML_SHEET in text:
        # A page that Excel saved names the same, after its first element.
        return "html" if text.startswith("<html") else "xml_sheet"
    return next((kind for pattern, kind in _TEXTS if pattern.match(text)), "text")


def _is_dbase(head: bytes) -> bool:
    """Whether it begins as a database file of dBase or FoxPro: a version, and a date."""
    return (
        b"\x00" in head[:32]
        and len(head) >= 32
        and head[0] in {0x02, 0x03, 0x30, 0x31, 0x43, 0x83, 0x8B, 0xF5}
        and 1 <= head[2] <= 12
        and 1 <= head[3] <= 31
    )


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


def refusal(kind: str, ending: str) -> str:
    """The sentence for content of another kind than the ending of the name says, and what to do."""
    said = phrase("refusal.content", ending=ending, content=phrase(f"content.{kind}"))
    if (right := _ENDINGS.get(kind)) is None:
        return f"{said} {phrase(f'refusal.next.{_NEXT[kind]}')}"
    # Excel makes numbers of what it opens, and numbers have no zeros in front.
    rename = phrase(
        "refusal.next.rename_text" if kind == "text" else "refusal.next.rename", ending=right
    )
    return f"{said} {rename}"
