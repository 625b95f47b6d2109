"""The table of shared strings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl

from rollbook.spreadsheets.books.values import SPACE, raised, unescaped
from rollbook.spreadsheets.scan.plain import NotPlainError, require
from rollbook.spreadsheets.scan.tags import (
    NO_TEXT,
    SPACED_TEXT,
    STARTS,
    TEXT,
    TEXT_END,
    Tags,
    has_words,
    tag_tables,
)
from rollbook.spreadsheets.scan.texts import NOTHING, OwnTexts, marked_texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rollbook.spreadsheets.scan.pieces import Piece


_ITEM, _ITEM_END = 1, 9
_TABLE_TAGS: Final = tag_tables(
    {
        _ITEM: [b"si>"],
        _ITEM_END: [b"/si"],
        TEXT: [b"t>."],
        SPACED_TEXT: [b"t ."],
        NO_TEXT: [b"t/>"],
        TEXT_END: [b"/t>"],
    },
    {},
)


def shared_texts(piece: Piece) -> pl.Series:
    """The texts of the items in a piece of the table of shared strings.

    Raises:
        NotPlainError: They are in another form.
    """
    tags = Tags(piece, _TABLE_TAGS)
    kinds = tags.kinds
    firsts, lasts = np.flatnonzero(kinds == _ITEM), np.flatnonzero(kinds == _ITEM_END)
    if not len(kinds):
        return NOTHING
    require(
        len(firsts) == len(lasts)
        and firsts[0] == 0
        and lasts[-1] == len(kinds) - 1
        and bool((firsts < lasts).all())
        and bool((firsts[1:] == lasts[:-1] + 1).all()),
        "shared texts in another order",
    )
    tags.require_word(tags.at[lasts], b"</si>")
    steps = lasts - firsts
    first, second = (kinds.take(np.minimum(firsts + step, len(kinds) - 1)) for step in (1, 2))
    is_text = (steps == 3) & ((first == TEXT) | (first == SPACED_TEXT)) & (second == TEXT_END)
    is_blank = (steps == 1) | ((steps == 2) & (first == NO_TEXT))
    opening = np.minimum(firsts + 1, len(kinds) - 1)
    is_text &= (first != SPACED_TEXT) | has_words(
        tags, tags.at[opening], b'<t xml:space="preserve">'
    )
    ends = tags.at[opening + 1]
    starts = np.where(is_text, tags.at[opening] + STARTS.take(first), ends)
    own = OwnTexts(len(firsts))
    marked = is_text & marked_texts(
        tags, starts, ends, are_trimmed=first == TEXT, are_escaped=np.ones(len(firsts), bool)
    )
    own.put_unescaped(np.flatnonzero(marked), tags, starts, ends, first)
    which = np.flatnonzero(~is_text & ~is_blank)
    if len(which):
        rich = [
            _rich_text(tags.content[start:end])
            for start, end in zip(
                tags.at[firsts[which]].tolist(), (tags.at[lasts[which]] + 5).tolist(), strict=True
            )
        ]
        own.put(which, pl.Series(rich, dtype=pl.String))
    texts, indices = own.all(tags.texts(starts, np.where(own.is_own, starts, ends)))
    return texts.rechunk().gather(pl.Series(indices))


def _rich_text(content: bytes) -> str:
    """The text of an item that has runs, phonetic hints or unusual tags."""
    if b"<!" in content or b"<?" in content:
        raise NotPlainError("XML with more than elements")
    if b"strike" in content:
        raise NotPlainError("a text that may be struck through in part")
    try:
        item = ET.fromstring(content)  # noqa: S314 - a piece without a declaration of entities
    except (ET.ParseError, UnicodeDecodeError, ValueError) as error:
        raise NotPlainError("a shared text in another form") from error
    texts: list[str] = []
    for run, is_raised in _runs(item):
        if run.tag != "t" or len(run) or set(run.keys()) - {_XML_SPACE}:
            raise NotPlainError("a shared text in another form")
        text = run.text or ""
        if run.get(_XML_SPACE) != "preserve":
            text = text.strip(SPACE)
        text = unescaped(text)
        texts.append(raised(text) if is_raised and texts else text)
    return "".join(texts)


def _runs(item: ET.Element) -> Iterator[tuple[ET.Element, bool]]:
    """The elements of an item's texts, and whether each is raised."""
    for child in item:
        if child.tag == "r":
            is_raised = child.find("rPr/vertAlign[@val='superscript']") is not None
            yield from ((part, is_raised) for part in child if part.tag != "rPr")
        elif child.tag not in ("rPh", "phoneticPr"):
            yield child, False


_XML_SPACE: Final = "{http://www.w3.org/XML/1998/namespace}space"
