"""Detects the kind of a file from its name and from the first bytes of its content.

Both must agree (OWASP ASVS 5.0, 5.2.2); a workbook may have the ending of another kind of workbook.
``inspect`` checks a workbook's content later, in the child process.
"""

from __future__ import annotations

from typing import Final

from rollbook.errors import UnsupportedFileError
from rollbook.languages import joined, phrase
from rollbook.spreadsheets.content import WORKBOOKS, kind_of_content, refusal

KINDS: Final = ("xlsx", "xls", "csv", "xlsb", "ods", "fods")
#: The kind by the ending of the name. All texts are one kind: the delimiter is found from their
#: content. A workbook with macros is read as data, like one without.
ENDINGS: Final = {
    "xlsx": "xlsx", "xlsm": "xlsx", "xls": "xls", "xlsb": "xlsb", "ods": "ods", "fods": "fods",
    "csv": "csv", "tsv": "csv", "txt": "csv",
}  # fmt: skip
#: The number of first bytes that are checked.
HEAD_BYTES: Final = 4096

#: The endings as a sentence lists them.
LISTED: Final = ", ".join(f".{ending}" for ending in [*ENDINGS][:-1]) + f" and .{[*ENDINGS][-1]}"

#: Endings of other spreadsheets, by the end of the key of the sentence about them.
_OTHER_SHEETS: Final = {
    **dict.fromkeys(("xltm", "xlam"), "program"),
    **dict.fromkeys(
        (
            *("xltx", "xlt", "ots", "sxc", "numbers", "et", "ett", "wks", "wk1", "wk3", "wk4"),
            *("123", "dbf", "slk", "dif", "xml", "mht", "mhtml", "htm", "html", "uos"),
        ),
        "sheet",
    ),
}
#: Endings of programs, pages, documents and archives. Before the last ending they make a misleading
#: name, such as ``members.exe.csv``.
_DISGUISES: Final = (
    "exe scr bat cmd ps1 sh msi dll jar js vbs wsf hta lnk py php asp aspx jsp cgi htm html "
    "xhtml svg xml pdf doc docx docm rtf odt ppt pptx pptm zip rar 7z gz tar iso apk dmg "
    "xlsm xlsb xltm xlam ods"
)


def kind_of(name: str) -> str:
    """The kind that a file's name promises.

    Raises:
        UnsupportedFileError: the kind isn't accepted, or the name is misleading (two endings).
    """
    *before, ending = name.lower().split(".")
    if not before or ending not in ENDINGS:
        reason = phrase(
            f"refusal.ending.{_OTHER_SHEETS.get(ending, 'other')}",
            ending=ending,
            accepted=joined(f".{accepted}" for accepted in ENDINGS),
        )
        is_no_sheet = ending in _DISGUISES.split() and ending not in _OTHER_SHEETS
        what_next = phrase("refusal.next.source" if is_no_sheet else "refusal.next.save")
        raise UnsupportedFileError(f"{reason} {what_next}")
    disguise = before[-1].strip() if len(before) > 1 else ""
    if disguise in _DISGUISES.split():
        raise UnsupportedFileError(phrase("refusal.ending.two", first=disguise, ending=ending))
    return ENDINGS[ending]


def check_beginning(head: bytes, kind: str, name: str = "") -> None:
    """Refuse content whose first bytes aren't those of the kind that the name promises.

    Raises:
        UnsupportedFileError: it begins as something else, which the sentence names.
    """
    if fits(head, kind):
        return
    ending = name.lower().rpartition(".")[2] or kind
    raise UnsupportedFileError(refusal(kind_of_content(head), ending))


def fits(head: bytes, kind: str) -> bool:
    """Whether the first bytes match the kind.

    A workbook may have the ending of another one: programs write .xlsx workbooks as .xls. It is
    read by its content, and one with a password is an OLE2 file of any kind.
    """
    found = kind_of_content(head)
    if kind in {"csv", "fods"}:
        return found == ("text" if kind == "csv" else "fods")
    return found in WORKBOOKS
