"""Names: rejects texts that are no name, flags doubtful ones, and splits full names."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline.cells import Reading, Understood, understood, values

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A name of letters, with single spaces, hyphens and apostrophes between and two letters at least
#: at its beginning.
_PLAIN: Final = r"^'?\p{L}[\p{L}\p{M}]+(?:(?:[ '-]|[.'] )[\p{L}\p{M}]+)*$"
#: Longer names are more likely several cells in one.
_MOST_CHARS: Final = 60
#: Two to four letters without a vowel, all of them large: JP, DJ, KTM.
_CONSONANTS: Final = "^[B-DF-HJ-NP-TV-XZ]{2,4}$"
_INITIALS: Final = re.compile(r"^(?:[^\W\d_](?:[. ]+|$)){1,4}$")
_LETTERS: Final = re.compile(r"[^\W\d_]+")
#: The form of two or three bytes of UTF-8 if each was read as a letter.
_MISREAD: Final = re.compile(
    "[\u00c2\u00c3\u00c4\u00c5][\u0080-\u00bf\u0152-\u0178\u2013-\u2122]|\u00e2\u20ac"
)
#: More are another cell's: a phone number, an ID number, a date.
_MOST_DIGITS: Final = 5
_LOST: Final = "\ufffd"
_COMMA: Final = re.compile(r"\s*,\s*")


def names(texts: pl.Series, *, is_first: bool) -> Understood:
    """The names of distinct, clean texts; null and without a doubt where a text is no name.

    ``is_first``: they are first names, for which initials aren't enough.
    """
    cell = pl.col("cell")
    lower = cell.str.to_lowercase()
    is_plain = (
        cell.str.contains(_PLAIN)
        & (cell.str.len_bytes() <= _MOST_CHARS)
        & ~lower.is_in(list(_none() | _doubtful()))
        & ~lower.str.contains(rf"^(?:{'|'.join(_titles())})[. ]")
    )
    if is_first:
        is_plain &= ~cell.str.contains(_CONSONANTS)

    def odd(text: str) -> Reading:
        return _read(text, is_first=is_first)

    return understood(texts, pl.when(is_plain).then(cell), odd, pl.String())


def _read(text: str, *, is_first: bool) -> Reading:
    text = text.replace("\u2013", "-").replace("\u2014", "-")
    letters = _LETTERS.findall(text)
    lower = text.lower().strip(" .-")
    if not letters or (lower in _none() and text not in _NAMES_TOO):
        return None, None
    if lower in _doubtful() | _none() or len(text) > _MOST_CHARS or "@" in text or "?" in text:
        return text, "name_doubtful"
    if _LOST in text or _MISREAD.search(text) or sum(map(str.isdigit, text)) > _MOST_DIGITS:
        return text, "name_doubtful"
    if letters[0].lower() in _titles() and len(letters) > 1:
        return text, "name_doubtful"
    if (is_first or len(text) == 1) and (
        _INITIALS.match(text) or re.match(_CONSONANTS, text.strip("."))
    ):
        return text, "name_initials"
    return text, None


#: Words for "no name", in the spelling in which they are also a name.
_NAMES_TOO: Final = frozenset({"Null", "Nan", "Na", "Nil"})


def split(text: str, *, is_surname_first: bool = False) -> tuple[str | None, str | None]:
    """The first names and the surname of a clean whole name; None for a part that is missing.

    The surname is what is before a comma; or the words in capital letters where the others aren't;
    or the last word with the particles before it (Van der, De, Du, Le, Mac). Where the header names
    the surname first, or the name begins with a particle, it is the first word with the particles
    before it. A title in front is left out.
    """
    parts = [part for part in _COMMA.split(text) if part]
    if len(parts) > 1:
        return " ".join(_without_title(parts[1].split())) or None, parts[0]
    words = _without_title(text.split())
    if len(words) < 2:
        # One word after a title is a surname: "Mrs Nel".
        is_surname = is_surname_first or len(text.split()) > 1
        return (None, words[0]) if is_surname and words else (text or None, None)
    end = _leading_capitals(words)
    has_particle = any(map(_is_particle, words[1:-1]))
    if end is None and (_is_particle(words[0]) or (is_surname_first and not has_particle)):
        end = 0
        while end < len(words) - 1 and _is_particle(words[end]):
            end += 1
        end += 1
    if is_surname_first and words[0].lower() in _BEFORE_VAN and _is_particle(words[1]):
        end = 1
        while end < len(words) - 1 and _is_particle(words[end]):
            end += 1
        end += 1
    if end is not None:
        return " ".join(words[end:]) or None, " ".join(words[:end])
    start = len(words) - 1
    while start > 1 and _is_particle(words[start - 1]):
        start -= 1
    if start > 1 and words[start - 1].lower() in _BEFORE_VAN and _is_particle(words[start]):
        start -= 1
    return " ".join(words[:start]), " ".join(words[start:])


def without_surname(whole: pl.Expr, surname: pl.Expr) -> pl.Expr:
    """The first names of a whole name whose surname is known; the text where it isn't in it."""
    text, last = whole.str.to_lowercase(), surname.str.to_lowercase()
    length = surname.str.len_chars()
    rest = (
        pl.when(text.str.ends_with(" " + last))
        .then(whole.str.slice(0, whole.str.len_chars() - length))
        .when(text.str.starts_with(last + " ") | text.str.starts_with(last + ","))
        .then(whole.str.slice(length))
        .otherwise(whole)
    )
    return rest.str.strip_chars(" ,")


#: Janse van Rensburg, Jansen van Vuuren: words that belong to the particles after them.
_BEFORE_VAN: Final = frozenset({"janse", "jansen", "janze"})


def _is_particle(word: str) -> bool:
    return word.lower().rstrip(".'") in _particles()


def _without_title(words: Sequence[str]) -> list[str]:
    kept = list(words)
    while len(kept) > 1 and kept[0].lower().rstrip(".") in _titles():
        del kept[0]
    return kept


def _leading_capitals(words: Sequence[str]) -> int | None:
    """How many words at the beginning are in capital letters, where all others aren't."""
    # Initials are in capital letters as well.
    capital = [
        word.isupper()
        and "." not in word
        and (_is_particle(word) or (len(word) > 2 and not re.match(_CONSONANTS, word)))
        for word in words
    ]
    count = next((n for n, is_capital in enumerate(capital) if not is_capital), len(words))
    return count if 0 < count < len(words) and not any(capital[count:]) else None


@cache
def _none() -> frozenset[str]:
    return frozenset(values()["names"]["none"])


@cache
def _doubtful() -> frozenset[str]:
    return frozenset(values()["names"]["doubtful"])


@cache
def _titles() -> frozenset[str]:
    return frozenset(values()["names"]["titles"])


@cache
def _particles() -> frozenset[str]:
    return frozenset(values()["names"]["particles"])
