"""Marks in an .xlsx workbook that say something of its cells and are no values.

They are cells that are struck through, which often means that a member has left, and comments.
"""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

from rollbook.errors import UnreadableFileError
from rollbook.spreadsheets.books.package import elements
from rollbook.spreadsheets.books.xlsx import XlsxBook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rollbook.spreadsheets.books.package import Package

_COMMENTS: Final = frozenset({"comments", "threadedComment"})
_COMMENT: Final = frozenset({"comment", "threadedComment"})
_CELL: Final = re.compile(rb"<(?:[\w.-]+:)?c\s([^<>]*)>")
_ROW: Final = re.compile(rb"""\br\s*=\s*["']\$?[A-Za-z]{1,3}\$?(\d{1,7})["']""")
_STYLE: Final = re.compile(rb"""\bs\s*=\s*["'](\d{1,9})["']""")
#: A cell's tag is shorter: pieces overlap by so many bytes.
_LONGEST_TAG: Final = 300


class Marks(NamedTuple):
    """The marks of a sheet."""

    #: Numbers of the rows in which a cell is struck through, in their order.
    struck_rows: tuple[int, ...] = ()
    #: References of the cells that have comments, such as B3.
    comments: tuple[str, ...] = ()


def marks(path: Path, index: int) -> Marks:
    """The marks of a worksheet, by its place among them; none where a part of them is damaged.

    Nothing is read from these parts, so they needn't be whole.
    """
    try:
        with closing(XlsxBook(path)) as book:
            return Marks(_struck_rows(book, index), _comments(book, index))
    except (UnreadableFileError, IndexError):
        return Marks()


def _comments(book: XlsxBook, index: int) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for relation in book.package.relations(book.parts[index]).values():
        if relation.kind in _COMMENTS:
            for path, attributes in _elements(book.package, relation.target):
                if path[-1] in _COMMENT and "ref" in attributes:
                    found[attributes["ref"]] = None
    return tuple(found)


def _struck_rows(book: XlsxBook, index: int) -> tuple[int, ...]:
    struck = _struck_styles(book)
    if not struck:
        return ()
    rows: dict[int, None] = {}
    before = b""
    for piece in book.package.pieces(book.parts[index]):
        content = before + piece
        for tag in _CELL.finditer(content):
            style = _STYLE.search(tag[1])
            if style and int(style[1]) in struck and (row := _ROW.search(tag[1])):
                rows[int(row[1])] = None
        before = content[-_LONGEST_TAG:]
    return tuple(sorted(rows))


def _struck_styles(book: XlsxBook) -> set[int]:
    """The styles of cells whose font is struck through."""
    fonts: set[int] = set()
    styles: set[int] = set()
    font = style = -1
    for path, attributes in _elements(book.package, book.styles_part):
        if path[-2:] == ("fonts", "font"):
            font += 1
        elif path[-3:-1] == ("fonts", "font") and path[-1] in {"strike", "dstrike"}:
            if attributes.get("val", "1") not in {"0", "false", "off"}:
                fonts.add(font)
        elif path[-2:] == ("cellXfs", "xf"):
            style += 1
            if attributes.get("fontId", "").isdigit() and int(attributes["fontId"]) in fonts:
                styles.add(style)
    return styles


def _elements(package: Package, part: str) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    return elements(package.content(part)) if part in package else iter(())
