"""The small parts of a workbook, element by element, and the number formats of its styles."""

from __future__ import annotations

from typing import Final
from xml.parsers import expat

from rollbook.spreadsheets.books.formats import Format, built_in, format_of
from rollbook.spreadsheets.scan.plain import NotPlainError, require


class _Attributes(dict[str, str]):
    """An element's attributes, of which those that are asked for must be there."""

    def __missing__(self, name: str) -> str:
        raise NotPlainError("an element without an attribute")


def elements(content: bytes) -> list[tuple[tuple[str, ...], _Attributes]]:
    """The elements of a small part: their qualified names from the root on, their attributes.

    Raises:
        NotPlainError: it isn't well-formed, or has more than elements.
    """
    path: list[str] = []
    found: list[tuple[tuple[str, ...], _Attributes]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        require(len(path) <= 64, "elements in elements in elements")
        require(":" not in name or name.rpartition(":")[2] not in _MEANT, "names with a prefix")
        found.append((tuple(path), _Attributes(attributes)))

    def declaration(_version: str, encoding: str | None, _standalone: int) -> None:
        require(encoding is None or encoding.lower() in ("utf-8", "utf8"), "another encoding")

    def refuse(*_: object) -> None:
        raise NotPlainError("XML with more than elements")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: path.pop()
    parser.XmlDeclHandler = declaration
    parser.StartDoctypeDeclHandler = parser.ProcessingInstructionHandler = refuse
    parser.CommentHandler = parser.StartCdataSectionHandler = refuse
    try:
        parser.Parse(content, True)  # noqa: FBT003 - expat takes no names
    except expat.ExpatError as error:
        raise NotPlainError("XML that isn't well-formed") from error
    return found


#: The names of elements that mean something here.
_MEANT: Final = frozenset(
    {
        *("Relationship", "Relationships", "workbook", "workbookPr", "sheets", "sheet"),
        *("styleSheet", "numFmts", "numFmt", "cellXfs", "xf"),
    }
)


def formats(styles: bytes) -> list[Format | None]:
    """The number format of each style; see ``books.formats.format_of``."""
    codes: dict[str, Format | None] = {}
    formats: list[Format | None] = []
    for path, attributes in elements(styles):
        if path == ("styleSheet", "numFmts", "numFmt"):
            if formats or "numFmtId" not in attributes or attributes["numFmtId"] in codes:
                raise NotPlainError("number formats in an unusual order")
            codes[attributes["numFmtId"]] = format_of(attributes.get("formatCode", ""))
        elif path == ("styleSheet", "cellXfs", "xf"):
            number = attributes.get("numFmtId", "")
            own = built_in(int(number)) if number.isdigit() and len(number) < 10 else None
            formats.append(codes.get(number, own))
        elif path[-1] in ("numFmts", "cellXfs") and len(path) != 2:
            raise NotPlainError("number formats in an unusual place")
    return formats
