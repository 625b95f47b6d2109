"""The tags of a piece: their positions, their kinds and their allowed order."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from rollbook.spreadsheets.scan.plain import Bytes, Flags, Ints, NotPlainError, require

if TYPE_CHECKING:
    from rollbook.spreadsheets.scan.pieces import Piece


#: What a tag is. An element with nothing in it has a tag of its own where it is a value.
(
    UNKNOWN, ROW, CELL, VALUE, NO_VALUE, INLINE, TEXT, SPACED_TEXT, NO_TEXT, FORMULA,
    ROW_END, CELL_END, VALUE_END, TEXT_END, INLINE_END, FORMULA_END,
) = range(16)  # fmt: skip
#: The first three bytes of each tag after its bracket; a dot means any byte.
_NAMES: Final = {
    ROW: [b"row"],
    CELL: [b"c ."],
    VALUE: [b"v>."],
    NO_VALUE: [b"v/.", b"v ."],
    INLINE: [b"is>"],
    TEXT: [b"t>."],
    SPACED_TEXT: [b"t ."],
    NO_TEXT: [b"t/>"],
    FORMULA: [b"f>.", b"f .", b"f/."],
    ROW_END: [b"/ro"],
    CELL_END: [b"/c>"],
    VALUE_END: [b"/v>"],
    TEXT_END: [b"/t>"],
    INLINE_END: [b"/is"],
    FORMULA_END: [b"/f>"],
}
#: The tags that may follow each tag; where this holds, the elements are nested correctly.
_FOLLOWING: Final = {
    ROW: [CELL, ROW_END, ROW],
    CELL: [VALUE, NO_VALUE, INLINE, FORMULA, CELL_END, CELL, ROW_END],
    VALUE: [VALUE_END],
    VALUE_END: [CELL_END],
    NO_VALUE: [CELL_END],
    INLINE: [TEXT, SPACED_TEXT, NO_TEXT],
    TEXT: [TEXT_END],
    SPACED_TEXT: [TEXT_END],
    NO_TEXT: [INLINE_END],
    TEXT_END: [INLINE_END],
    INLINE_END: [CELL_END],
    # A formula without a value was never calculated, which the other reader knows how to say.
    FORMULA: [FORMULA_END, VALUE, NO_VALUE],
    FORMULA_END: [VALUE, NO_VALUE],
    CELL_END: [CELL, ROW_END],
    ROW_END: [ROW],
}


def tag_tables(names: dict[int, list[bytes]], following: dict[int, list[int]]) -> _TagTables:
    """Lookup tables for all tags at once: each one's kind, and the tags that may follow."""
    kinds, third, pairs = np.zeros(1 << 16, np.uint8), np.zeros(16, np.uint8), np.zeros(256, bool)
    for kind, starts in names.items():
        for start in starts:
            kinds[start[0] << 8 | start[1]] = kind
            third[kind] = start[2] if start[2:] != b"." else 0
    for kind, followers in following.items():
        for follower in followers:
            pairs[kind << 4 | follower] = True
    return _TagTables(kinds, third, pairs)


class _TagTables(NamedTuple):
    #: The kind of a tag by its first two bytes.
    kinds: Bytes
    #: The third byte by the kind; 0 where it may be any.
    third: Bytes
    #: Whether the second may follow the first, by the two kinds.
    pairs: Flags


SHEET_TAGS: Final = tag_tables(_NAMES, _FOLLOWING)
MASKS: Final = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)


def word(text: bytes) -> np.uint64:
    """Up to eight bytes as the number that they are in memory."""
    return np.uint64(int.from_bytes(text.ljust(8, b"\0"), "little"))


class Tags:
    """The tags of a piece, and the bytes in them."""

    def __init__(self, piece: Piece, tables: _TagTables) -> None:
        content = piece.content
        self.content = content
        self.end = piece.end
        self.bytes: Bytes = np.frombuffer(content, np.uint8)
        #: The eight bytes from each byte on, as a number.
        self.words: npt.NDArray[np.uint64] = np.ndarray(
            len(content) - 7, "<u8", content, strides=(1,)
        )
        #: Where the tags start; the last is the end of the piece.
        self.at = np.flatnonzero(self.bytes[: piece.end + 1] == ord("<"))
        if not len(self.at) or self.at[-1] != piece.end:
            self.at = np.append(self.at, piece.end)
        starts = self.at[:-1]
        first = self.bytes[1:].take(starts).astype(np.uint16)
        second, third = self.bytes[2:].take(starts), self.bytes[3:].take(starts)
        self.kinds: Bytes = tables.kinds.take(first << 8 | second)
        expected = tables.third.take(self.kinds)
        require(((expected == third) | (expected == 0)).all(), "other elements")

    @cached_property
    def _whole(self) -> pl.Series:
        return pl.Series([self.content], dtype=pl.Binary)

    def require_word(self, at: Ints, text: bytes) -> None:
        """Refuse if another text is at one of the places."""
        require(has_words(self, at, text).all(), "tags in another form")

    def texts(self, starts: Ints, ends: Ints) -> pl.Series:
        """The texts between two places each."""
        # The stubs know of one slice for all only.
        slices: Any = self._whole.bin.slice
        cut: pl.Series = slices(pl.Series(starts), pl.Series(ends - starts))
        try:
            return cut.cast(pl.String)
        except pl.exceptions.ComputeError as error:
            raise NotPlainError("text that isn't UTF-8") from error

    def positions(self, mark: bytes) -> Ints | None:
        """The positions of a mark of one or two bytes; None without one, which is found fast."""
        # Of one byte: to look for two is ten times slower.
        if self.content.find(mark[:1], 0, self.end) < 0:
            return None
        found = self.bytes[: self.end] == mark[0]
        if len(mark) > 1:
            found &= self.bytes[1 : self.end + 1] == mark[1]
        return np.flatnonzero(found)


#: The distance of a text from the start of its tag; the tag's end if there is none.
STARTS: Final = np.full(16, 1 << 40, np.int64)
STARTS[[VALUE, TEXT, SPACED_TEXT]] = 3, 3, len(b'<t xml:space="preserve">')
HAS_VALUE: Final = np.isin(np.arange(16), (VALUE, NO_VALUE, TEXT, SPACED_TEXT, NO_TEXT))


def has_words(tags: Tags, at: Ints, text: bytes) -> Flags:
    """Whether this text is at each of the places."""
    holds = np.ones(len(at), bool)
    for start in range(0, len(text), 8):
        part = text[start : start + 8]
        holds &= (tags.words[at + start] & MASKS[len(part)]) == word(part)
    return holds
