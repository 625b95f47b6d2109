"""Prepares texts for a worksheet's cells: cleaned, cut and escaped, so that they stay texts.

The rules exist twice, as a polars expression for the columns of a table and in Python for a single
cell, and a test compares the two. Most columns need none of them, so the expression contains only
the rules that the chunk needs (``traits_of``).
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

#: In UTF-16 units, as Excel counts.
MOST_CHARACTERS: Final = 32_767
ELLIPSIS: Final = "…"

#: What XML 1.0 has no place for (section 2.2), after line ends have become LF.
_ILLEGAL: Final = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x{fffe}\x{ffff}]"
#: What a reader decodes (ECMA-376 part 1, 22.9.2.19; LibreOffice also with fewer digits), and the
#: escape of its underscore.
_ESCAPE_LIKE: Final = "_x[0-9A-Fa-f]{1,4}_"
_ESCAPED_START: Final = "_x005F_x"
_ASTRAL: Final = r"[\x{10000}-\x{10ffff}]"

_MARKUP: Final = "[&<>]"
_RARE: Final = r"[\x00-\x08\x0b-\x1f\x{fffe}\x{ffff}]|_x"
#: Illegal characters are removed first, so that what was next to them is at the end or the start.
_EDGE: Final = rf"^{_ILLEGAL}*[ \t]|[ \t]{_ILLEGAL}*$|[\n\r]"
#: A text that a spreadsheet could read as a formula.
_ACTIVE: Final = rf"^{_ILLEGAL}*[=+\-@\t\r\n]"
#: What a text of each trait holds.
_PATTERNS: Final = {"markup": _MARKUP, "rare": _RARE, "edge": _EDGE, "active": _ACTIVE}
_NOTABLE: Final = "|".join(_PATTERNS.values())

_PYTHON_ILLEGAL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_PYTHON_ESCAPE_LIKE: Final = re.compile(_ESCAPE_LIKE)


class Traits(NamedTuple):
    """What a column of text holds somewhere, and so needs."""

    #: The characters that XML escapes.
    markup: bool = False
    #: Control characters, or what a reader would decode.
    rare: bool = False
    #: Space at an end, or line ends, which a reader would drop.
    edge: bool = False
    #: Text that a spreadsheet could take for a formula.
    active: bool = False
    #: Text of no length, or nulls.
    gaps: bool = False
    #: Text that may be over the limit of a cell.
    long: bool = False


def traits_of(chunk: pl.DataFrame, names: Sequence[str]) -> dict[str, Traits]:
    """Looks through the text columns ``names`` for what they need."""
    column = pl.col(names)
    seen = _only_row(
        chunk,
        column.str.contains(_NOTABLE).any().name.suffix(":notable"),
        column.str.len_bytes().min().name.suffix(":shortest"),
        column.str.len_bytes().max().name.suffix(":longest"),
        column.has_nulls().name.suffix(":nulls"),
    )
    column = pl.col([name for name in names if seen[f"{name}:notable"]])
    found = _only_row(
        chunk,
        *(
            column.str.contains(pattern).any().name.suffix(f":{trait}")
            for trait, pattern in _PATTERNS.items()
        ),
    )
    return {
        name: Traits(
            **{trait: found.get(f"{name}:{trait}", False) for trait in _PATTERNS},
            # Text of control characters only has no length once it is clean.
            gaps=seen[f"{name}:nulls"]
            or seen[f"{name}:shortest"] == 0
            or found.get(f"{name}:rare", False),
            # Bytes of UTF-8 are never fewer than units of UTF-16.
            long=(seen[f"{name}:longest"] or 0) > MOST_CHARACTERS,
        )
        for name in names
    }


def _only_row(chunk: pl.DataFrame, *totals: pl.Expr) -> dict[str, Any]:
    """Totals by name; none where the expressions select no column."""
    return next(chunk.select(*totals).iter_rows(named=True), {})


def is_active(text: pl.Expr) -> pl.Expr:
    """Whether a spreadsheet could take the text for a formula."""
    return text.str.contains(_ACTIVE)


def xml_texts(text: pl.Expr, traits: Traits) -> pl.Expr:
    """The XML of a column's texts; null where nothing is left."""
    if traits.rare:
        text = text.str.replace_all("\r\n", "\n", literal=True).str.replace_all(
            "\r", "\n", literal=True
        )
        text = text.str.replace_all(_ILLEGAL, "")
    if traits.long:
        text = _cut(text)
    if traits.rare:
        # Every "_x" of such a text: one pattern may end with the underscore of the next.
        text = (
            pl.when(text.str.contains(_ESCAPE_LIKE))
            .then(text.str.replace_all("_x", _ESCAPED_START, literal=True))
            .otherwise(text)
        )
    if traits.markup:
        text = text.str.replace_many(["&", "<", ">"], ["&amp;", "&lt;", "&gt;"])
    return pl.when(text != "").then(text) if traits.gaps else text


def xml_text(text: str) -> str:
    """The XML of one text, by the same rules; empty where nothing is left."""
    text = legal(text.replace("\r\n", "\n").replace("\r", "\n"))
    units = len(text.encode("utf-16-le")) // 2
    if units > MOST_CHARACTERS:
        text = text[: _kept(astral=units > len(text))] + ELLIPSIS
    if _PYTHON_ESCAPE_LIKE.search(text):
        text = text.replace("_x", _ESCAPED_START)
    return html.escape(text, quote=False)


def legal(text: str) -> str:
    """The text without characters that XML forbids: a reader would refuse the whole file."""
    return _PYTHON_ILLEGAL.sub("", text)


def _cut(text: pl.Expr) -> pl.Expr:
    characters = text.str.len_chars()
    units = characters + text.str.count_matches(_ASTRAL)
    shorter = (
        pl.when(units == characters)
        .then(text.str.head(_kept(astral=False)))
        .otherwise(text.str.head(_kept(astral=True)))
    )
    return pl.when(units > MOST_CHARACTERS).then(shorter + pl.lit(ELLIPSIS)).otherwise(text)


def _kept(*, astral: bool) -> int:
    """How many characters fit beside the ellipsis, if each may be two units or none is."""
    return (MOST_CHARACTERS - 1) // (2 if astral else 1)
