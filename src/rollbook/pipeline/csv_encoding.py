"""The encoding of a text file, found from the content of the whole file."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from rollbook.errors import UnreadableFileError
from rollbook.languages import phrase
from rollbook.spreadsheets.content import text_order

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Bytes that are processed at a time: as many as fit in a processor's cache.
PIECE_BYTES: Final = 256 << 10
#: The most bytes of another encoding in a file of UTF-8, such as two files that were joined. A file
#: with more of them is in the other encoding as a whole.
MOST_ODD_BYTES: Final = 100_000
#: A mixed file has at least one character of UTF-8 in this many; fewer such pairs are chance.
_MOST_ODD_FOR_EACH: Final = 20
#: Some programs end a text with a NUL, or fill its last record of up to 128 bytes.
MOST_PADDING: Final = 511
_MOST_PADDING_OF_A_LINE: Final = 15
#: This many NULs in a row are a hole: a part of the file was never written.
_HOLE: Final = b"\0" * 16
_WIDE_HOLE: Final = b"\0" * 64
PADDING: Final = b"\0\x1a"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the bytes of a file become text."""

    #: Its usual name, such as ``windows-1252``.
    name: str
    #: For ``codecs``.
    codec: str
    #: The decoder's error handler for bytes that aren't in the encoding.
    errors: str = "strict"
    #: Whether the content fits one encoding much better than the others.
    is_certain: bool = True
    #: Whether there are bytes of another encoding among those of this one.
    is_mixed: bool = False


#: Encodings with one byte for a character.
_NARROW: Final = {"cp1252": "windows-1252", "mac_roman": "mac-roman", "cp850": "cp850"}

#: A character of several bytes in UTF-8.
_SEQUENCE: Final = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)


def encoding_of(path: Path) -> Encoding:
    """Find the encoding, and refuse a file of which a part is missing.

    Raises:
        UnreadableFileError: the file ends in NULs, or has many of them in a row, as one that was
            never written to its end.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    order = text_order(head)
    _check_end(path, is_wide=order is not None)
    if order is not None:
        _check_holes(path, _WIDE_HOLE)
        return Encoding(order, order, "replace")
    _check_holes(path, _HOLE)
    codec = "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"
    if all(_is_utf8(piece) for piece in whole_characters(path)):
        return Encoding("utf-8", codec)
    return _narrow(path, codec)


def pieces(path: Path) -> Iterator[bytes]:
    """The file, a piece at a time."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def whole_characters(path: Path) -> Iterator[bytes]:
    """The file a piece at a time, none of which ends within a character of UTF-8."""
    rest = b""
    for piece in pieces(path):
        found = rest + piece if rest else piece
        end = len(found)
        for back in range(1, min(3, end) + 1):
            if found[end - back] >= 0xC0:
                end -= back
                break
        rest = found[end:]
        yield found[:end] if rest else found
    if rest:
        yield rest


def _is_utf8(piece: bytes) -> bool:
    if piece.isascii():
        return True
    try:
        pl.Series([piece]).cast(pl.String)  # several times as quick as bytes.decode
    except pl.exceptions.ComputeError:
        return False
    return True


def _check_end(path: Path, *, is_wide: bool) -> None:
    """Refuse a file whose room was reserved and never filled."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 2 * MOST_PADDING))
        end = file.read()
    text = end.rstrip(PADDING)
    nuls = end[len(text) :].count(0)
    is_line = text.endswith((b"\n", b"\r", b"\n\0", b"\r\0"))
    if nuls > MOST_PADDING or (nuls > _MOST_PADDING_OF_A_LINE and not is_line):
        raise _incomplete("end")
    # Programs that treat every text as ASCII add a line feed of one byte.
    if is_wide and size % 2 and not end.endswith((b"\n", b"\0", b"\x1a")):
        raise _incomplete("character")


def _check_holes(path: Path, hole: bytes) -> None:
    before = b""
    for piece in pieces(path):
        if b"\0" in piece and hole in (before + piece).rstrip(PADDING):
            raise _incomplete("hole")
        before = piece[-len(hole) :]


# --- one byte for a character -------------------------------------------------------------------

#: Letters with marks in the names of people and places here; the first are the most common.
_COMMON: Final = "éëêèöüïôáíó"
_LETTERS: Final = _COMMON + "îûúàâäòñçšžãåõøìù"
_APART, _LOWER, _UPPER, _HIGH = range(4)


def _narrow(path: Path, codec: str) -> Encoding:
    """The encoding of a file that isn't UTF-8: the one in which its letters make words."""
    sequences, alone = 0, np.zeros(4 * 256 * 4, np.int64)
    whole = np.zeros_like(alone)
    for piece in whole_characters(path):
        whole += _neighbours(piece)
        rest, count = _SEQUENCE.subn(b"e", piece)
        sequences += count
        alone += _neighbours(rest)
    odd = int(alone.sum())
    is_mixed = odd <= MOST_ODD_BYTES and sequences * _MOST_ODD_FOR_EACH >= odd
    seen = alone if is_mixed else whole
    scores = {name: float(seen @ _weights(name)) / int(seen.sum()) for name in _NARROW}
    best, second = sorted(scores, key=scores.__getitem__, reverse=True)[:2]
    is_certain = scores[best] >= 2 and scores[best] - scores[second] >= 1
    if is_mixed:
        name = f"utf-8, in parts {_NARROW[best]}"
        return Encoding(name, codec, f"rollbook-{best}", is_certain=is_certain, is_mixed=True)
    return Encoding(_NARROW[best], best, "replace", is_certain=is_certain)


def _neighbours(piece: bytes) -> npt.NDArray[np.int64]:
    """How often each byte above 127 comes, by what is before and after it."""
    signs = np.frombuffer(b"\n" + piece + b"\n", np.uint8)
    at = np.flatnonzero(signs >= 0x80)
    kinds = _kinds()
    place = (kinds[signs[at - 1]] * 256 + signs[at]) * 4 + kinds[signs[at + 1]]
    return np.bincount(place, minlength=4 * 256 * 4)


@cache
def _kinds() -> npt.NDArray[np.intp]:
    kinds = np.full(256, _APART, np.intp)
    kinds[ord("a") : ord("z") + 1] = _LOWER
    kinds[ord("A") : ord("Z") + 1] = _UPPER
    kinds[0x80:] = _HIGH
    return kinds


@cache
def _weights(codec: str) -> npt.NDArray[np.float64]:
    """How well each byte fits between its neighbours if the file is in the encoding."""
    weights = np.zeros((4, 256, 4))
    for before, byte, after in product(range(4), range(0x80, 0x100), range(4)):
        char = bytes([byte]).decode(codec, "replace")
        weights[before, byte, after] = _weight(char, before, after)
    return weights.reshape(-1)


def _weight(char: str, before: int, after: int) -> float:  # noqa: PLR0911 - a table
    is_between = before in (_LOWER, _UPPER) and after in (_LOWER, _UPPER)
    is_begin, is_end = before == _APART != after, after == _APART != before
    if char in _LETTERS:
        return (4 if char in _COMMON else 3) - (5 if before == after == _UPPER else 0)
    if char.lower() in _LETTERS:
        return 3 if before == _UPPER or is_begin else -4
    if char == "\N{RIGHT SINGLE QUOTATION MARK}":
        return 4 if is_between else 2 if is_end else 0
    if char in "\N{LEFT DOUBLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}":
        return 2 if is_begin else -2
    if char == "\N{RIGHT DOUBLE QUOTATION MARK}":
        return 2 if is_end or before == after == _APART else -2
    if char in "\N{EN DASH}\N{EM DASH}":
        return 2 if before == after == _APART else 1 if is_between else -1
    if char in "\N{NO-BREAK SPACE}\N{HORIZONTAL ELLIPSIS}":
        return 1
    if char == "\N{REPLACEMENT CHARACTER}":
        return -8
    if char.isalpha():
        return -1
    return -4 if is_between else -2


def _decode_odd(codec: str) -> None:
    def decode(error: UnicodeError) -> tuple[str, int]:
        """Decode what isn't UTF-8, and leave what is around it what it is."""
        if not isinstance(error, UnicodeDecodeError):
            raise error
        return error.object[error.start : error.end].decode(codec, "replace"), error.end

    codecs.register_error(f"rollbook-{codec}", decode)


for _codec in _NARROW:
    _decode_odd(_codec)


# --- text that was encoded twice ----------------------------------------------------------------

#: The texts that result from decoding UTF-8 as Windows-1252 or Mac Roman.
_ASCII: Final = bytes(range(0x80))
_TWICE_BYTES: Final = re.compile(
    rb"\xc3[\x82-\x85](?:\xc2[\x80-\xbf]|\xc5[\x92\x93\xa0\xa1\xb8\xbd\xbe]|\xc6\x92"
    rb"|\xcb[\x86\x9c]|\xe2[\x80-\x84][\x80-\xbf])"
    rb"|\xc3\xa2\xe2\x82\xac|\xc2\xac|\xe2\x88\x9a|\xc6\x92|\xe2\x89\x88|\xe2\x80\x9a"
)
#: Letters of Latin alphabets, and the marks that word processors put in.
_PLAUSIBLE: Final = re.compile(
    "[\N{NO-BREAK SPACE}\N{DEGREE SIGN}\u00c0-\u017f\N{BULLET}\N{EURO SIGN}"
    "\N{EN DASH}\N{EM DASH}\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}\N{HORIZONTAL ELLIPSIS}]"
)
_MOST_TIMES: Final = 3


def may_be_encoded_twice(piece: bytes) -> bool:
    """Might a piece of UTF-8 contain text that was encoded twice?"""
    if piece.isascii():
        return False
    # Few bytes are not ASCII, and searching these first is many times faster.
    found = _TWICE_BYTES.search(piece.translate(None, _ASCII))
    return found is not None and _TWICE_BYTES.search(piece) is not None


def decoded_once_more(text: str) -> tuple[str, int]:
    """Undo the second encoding where there was one, such as in ``ZoÃ«``.

    Returns:
        The text, and in how many places it was changed.
    """
    places = 0

    def decoded(found: re.Match[str]) -> str:
        nonlocal places
        char = b"".join(byte_of[sign] for sign in found[0]).decode("utf-8", "replace")
        if not _PLAUSIBLE.fullmatch(char):
            return found[0]
        places += 1
        return char

    for _ in range(_MOST_TIMES):
        before = text
        for codec in _TWICE_CODECS:
            pattern, byte_of = _twice(codec)
            text = pattern.sub(decoded, text)
        if text == before:
            break
    return text, places


_TWICE_CODECS: Final = ("cp1252", "mac_roman")


@cache
def _twice(codec: str) -> tuple[re.Pattern[str], dict[str, bytes]]:
    """The pattern of a character that was encoded twice, and the byte of each sign in it."""
    byte_of = {}
    for byte in range(0x80, 0x100):
        char = bytes([byte]).decode(codec, "replace")
        # Windows decodes a byte without a character as a control character.
        byte_of[chr(byte) if char == "\N{REPLACEMENT CHARACTER}" else char] = bytes([byte])
    signs = {int.from_bytes(byte): re.escape(char) for char, byte in byte_of.items()}
    later = "".join(signs[byte] for byte in range(0x80, 0xC0))
    two = "".join(signs[byte] for byte in range(0xC2, 0xC6))
    return re.compile(f"[{two}][{later}]|{signs[0xE2]}[{later}][{later}]"), byte_of


def _incomplete(reason: str) -> UnreadableFileError:
    why = phrase(f"refusal.file.incomplete.{reason}")
    return UnreadableFileError(phrase("refusal.file.incomplete", why=why))
