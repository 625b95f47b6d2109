"""The texts of values: numbers, dates, and texts that differ from their form in the file."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from rollbook.spreadsheets.books.values import DAY_MS, LAST_DAY, SPACE, number_text, unescaped
from rollbook.spreadsheets.scan.plain import Bytes, Flags, Ints, NotPlainError, require
from rollbook.spreadsheets.scan.tags import MASKS, TEXT, Tags

NOTHING: Final = pl.Series([], dtype=pl.String)
NULL: Final = pl.Series([None], dtype=pl.String)


class OwnTexts:
    """Texts that replace some of the values in the file."""

    def __init__(self, count: int) -> None:
        self.is_own: Flags = np.zeros(count, bool)
        self._indices = np.arange(count, dtype=np.uint32)
        self._texts: list[pl.Series] = []
        self._size = count
        self._dropped: Flags = np.zeros(count, bool)

    def put(self, which: Ints, texts: pl.Series) -> None:
        """Give each of these values a text."""
        self.is_own[which] = True
        self._indices[which] = np.arange(self._size, self._size + len(texts), dtype=np.uint32)
        self._texts.append(texts)
        self._size += len(texts)

    def put_unescaped(
        self, which: Ints, tags: Tags, starts: Ints, ends: Ints, kinds: Bytes
    ) -> None:
        """Give these values the texts that are meant; those in cells of their own have escapes."""
        if not len(which):
            return
        sides = zip(*(side[which].tolist() for side in (starts, ends, kinds)), strict=True)
        texts = [
            _unescaped(tags.content[start:end], trim=kind == TEXT, escapes=kind >= TEXT)
            for start, end, kind in sides
        ]
        self.put(which, pl.Series(texts, dtype=pl.String))

    def drop(self, which: Flags) -> None:
        """Give these values none."""
        self.is_own |= which
        self._dropped = which

    def all(self, texts: pl.Series) -> tuple[pl.Series, npt.NDArray[np.uint32]]:
        """All texts, and which one each value has; one past the end is none."""
        self._indices[self._dropped] = self._size
        return pl.concat([texts, *self._texts]) if self._texts else texts, self._indices


#: Numbers that are shown unchanged: with so few digits the nearest double never shows others.
SHOWN: Final = r"^-?(?:[1-9][0-9]{0,14}|(?:0|[1-9][0-9]{0,5})\.[0-9]{0,8}[1-9])$"
NUMERAL: Final = r"^-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?$"
_NUMERAL_RE: Final = re.compile(NUMERAL.removesuffix("$") + r"\Z")
#: Whole days up to the year 2119 have their texts ready.
DAYS: Final = 80_000
#: 1970-01-01, in days from 1899-12-30 on.
_UNIX_DAY: Final = 25_569
_MOMENT: Final = "%Y-%m-%d %H:%M:%S%.f"
_ZEROS: Final = np.uint64(0x3030303030303030)
_REFERENCE: Final = re.compile(r"&(?:(lt|gt|amp|quot|apos)|#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6}));|&")
_ENTITIES: Final = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}


def whole_numbers(tags: Tags, starts: Ints, sizes: Ints) -> tuple[npt.NDArray[np.int64], Flags]:
    """Numbers of up to 15 digits, and which of the texts are such, without zeros before them.

    The numbers of the other texts and numbers of more than eight digits are meaningless.
    """
    low = np.minimum(sizes, 8)
    words = tags.words[starts]
    first = words & np.uint64(255)
    are_plain = (sizes > 0) & (sizes <= 15) & ((first != ord("0")) | (sizes == 1))
    # Digits in the highest bytes, zeros below: what comes first in the text is the lowest byte.
    shift = ((8 - low) * 8).astype(np.uint64)
    padded = np.where(low > 0, (words << shift) | (_ZEROS & MASKS[8 - low]), _ZEROS)
    are_plain &= _are_digits(padded)
    if (sizes > 8).any():
        high = np.clip(sizes - 8, 0, 8)
        rest = (tags.words[starts + 8] & MASKS[high]) | (_ZEROS & ~MASKS[high])
        are_plain &= _are_digits(rest)
    values = padded & np.uint64(0x0F0F0F0F0F0F0F0F)
    values = (values * np.uint64(10) + (values >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    values = (values * np.uint64(100) + (values >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    values = (values * np.uint64(10_000) + (values >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
    numbers = values.astype(np.int64)
    numbers[sizes > 8] = np.iinfo(np.int64).max
    return numbers, are_plain


def _are_digits(words: npt.NDArray[np.uint64]) -> Flags:
    high = np.uint64(0xF0F0F0F0F0F0F0F0)
    carried = words + np.uint64(0x0606060606060606)
    are_digits: Flags = ((words & high) == _ZEROS) & ((carried & high) == _ZEROS)
    return are_digits


def shown_number(text: str) -> str:
    """A number as fastexcel shows it."""
    value = float(text) if _NUMERAL_RE.match(text) else float("inf")
    if abs(value) == float("inf"):
        raise NotPlainError("an unusual number")
    return number_text(value)


@cache
def texts_of_days() -> pl.Series:
    """The texts of whole days, by their serial number."""
    return texts_of_moments(np.arange(DAYS, dtype=np.float64))


def texts_of_moments(days: npt.NDArray[np.float64]) -> pl.Series:
    """The texts of times in days from 1899-12-30 on, where the year 1900 has a leap day."""
    require(((days >= 0) & (days < LAST_DAY)).all(), "a date out of the calendar")
    exact = np.where(days >= 60, days, days + 1) * DAY_MS
    milliseconds = np.trunc(exact)
    milliseconds += exact - milliseconds >= 0.5
    require((milliseconds < LAST_DAY * DAY_MS).all(), "a date out of the calendar")
    since_1970 = milliseconds.astype(np.int64) - _UNIX_DAY * DAY_MS
    return pl.Series(since_1970).cast(pl.Datetime("ms")).dt.to_string(_MOMENT)


def marked_texts(
    tags: Tags, starts: Ints, ends: Ints, *, are_trimmed: Flags, are_escaped: Flags
) -> Flags:
    """Which texts differ from those in the file: trimmed ones, and those with escapes.

    The texts don't overlap, and are in their order. In those that ``are_escaped``, ``_x000D_``
    means a character.
    """
    edges = np.minimum(tags.bytes.take(starts), tags.bytes.take(np.maximum(ends - 1, 0)))
    marked = are_trimmed & (ends > starts) & (edges <= ord(" "))
    for mark, where in ((b"&", None), (b"\r", None), (b"_x", are_escaped)):
        at = tags.positions(mark)
        if at is None:
            continue
        index = np.searchsorted(starts, at, side="right") - 1
        index = index[(index >= 0) & (at < ends[index])]
        hit = np.zeros(len(starts), bool)
        hit[index] = True
        marked |= hit if where is None else hit & where
    return marked


def _unescaped(content: bytes, *, trim: bool, escapes: bool) -> str:
    """A text as it is meant."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise NotPlainError("text that isn't UTF-8") from error
    text = _REFERENCE.sub(_meant, text.replace("\r\n", "\n").replace("\r", "\n"))
    if trim:
        text = text.strip(SPACE)
    return unescaped(text) if escapes else text


def _meant(found: re.Match[str]) -> str:
    name, decimal, hexadecimal = found.groups()
    if name:
        return _ENTITIES[name]
    if decimal is None and hexadecimal is None:
        raise NotPlainError("an unknown entity")
    code = int(decimal) if decimal else int(hexadecimal, 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000 or (code < 32 and code not in (9, 10, 13)):
        raise NotPlainError("a character that XML doesn't have")
    return chr(code)
