"""Names: rejects texts that are no name, flags doubtful ones, and splits full names."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline.cells import Reading, Understood, understood
from rollbook.pipeline.values import values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

#: A name of Latin letters, with single spaces, hyphens and apostrophes between and two letters at
#: least at its beginning.
_PLAIN: Final = r"^'?\p{Latin}[\p{Latin}\p{M}]+(?:(?:[ '-]|[.'] )[\p{Latin}\p{M}]+)*$"
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
#: What no name has: a bracket, an ampersand, a slash, a number, a digit among letters or of a
#: footnote, six digits.
_NO_NAME_SIGN: Final = re.compile(
    r"[^\w\s.'`\u00b4\u02bb\u00b7-]|_|(?:^|\s)\d|\d[^\W\d_]|^-|-$|(?:\d\D*){6}"
    r"|[\u00b9\u00b2\u00b3\u2070-\u2079]"
)
#: Latin and Greek or Cyrillic letters in one word: some of them only look like the others.
_TWO_SCRIPTS: Final = re.compile(
    r"[A-Za-z\u00c0-\u024f][\u0370-\u052f]|[\u0370-\u052f][A-Za-z\u00c0-\u024f]"
)
#: One or two initials after a whole name, as in "Mokoena TJ".
_INITIALS_AFTER: Final = re.compile(r"[A-Za-z]{2}[ ,]+[A-Z]\.?$|[a-z][ ,]+(?:[A-Z]\.? ?){2}$")
#: A small l in a name in capitals, as in "NKOSl", and a capital I as the second letter: "DIamini".
_OTHER_CASE: Final = r"[A-Z]{2}l(?:[A-Z]|[ '-]|$)|(?:^|[ '-])[A-Z]I[a-z]{2}"
_CAPITALS_WITH_L: Final = re.compile(r"[A-Z]{2}l(?:[A-Z]|[ '-]|$)")
#: The same, and a digit after a letter: "Siph0".
_MISTYPED: Final = re.compile(rf"[^\W\d_][015](?:[ '-]|$)|{_OTHER_CASE}")
#: The letters that a sign may be written for.
_MEANT: Final = (
    {"0": "o", "1": "i", "5": "s", "I": "l"},
    {"0": "o", "1": "l", "5": "s", "I": "l"},
)
_COMMA: Final = re.compile(r"\s*,\s*")


def names(texts: pl.Series, *, is_first: bool) -> Understood:
    """The names of distinct, clean texts; null and without a doubt where a text is no name.

    ``is_first``: they are first names, for which initials aren't enough.
    """
    others: set[str] = set()

    def odd(text: str) -> Reading:
        name, doubt = _read(text, is_first=is_first)
        if name is not None and doubt is None and _MISTYPED.search(name):
            if not others:
                others.update(texts.drop_nulls().str.to_lowercase())
            doubt = "name_doubtful" if _is_mistyped(name, others) else None
        return name, doubt

    return understood(texts, _plain(is_first=is_first), odd, pl.String())


@cache
def _plain(*, is_first: bool) -> pl.Expr:
    """The text of the column ``cell`` that is a name without any doubt."""
    cell = pl.col("cell")
    lower = cell.str.to_lowercase()
    beside = rf"(?:^| )(?:{'|'.join(_beside())})(?: |$)"
    unlikely = _CONSONANTS if is_first else _INITIALS_AFTER.pattern
    is_plain = (
        cell.str.contains(_PLAIN)
        & (cell.str.len_bytes() <= _MOST_CHARS)
        & ~lower.is_in(list(_listed("none") | _listed("doubtful") | _listed("titles")))
        & ~lower.str.contains(rf"^(?:{'|'.join(_listed('titles'))})[. ]")
        & ~lower.str.contains(beside)
        & ~cell.str.contains(f"{unlikely}|{_OTHER_CASE}")
    )
    return pl.when(is_plain).then(cell)


def _read(text: str, *, is_first: bool) -> Reading:
    text = text.replace("\u2013", "-").replace("\u2014", "-")
    letters = _LETTERS.findall(text)
    lower = text.lower().strip(" .-")
    if not letters or (lower in _listed("none") and text not in _NAMES_TOO):
        return None, None
    words = [word.lower() for word in letters]
    is_doubtful = (
        lower in _listed("doubtful") | _listed("none")
        or len(text) > _MOST_CHARS
        or words[0] in _listed("titles")
        or not _beside().isdisjoint(words)
        or _NO_NAME_SIGN.search(text)
        or _MISREAD.search(text)
        or _TWO_SCRIPTS.search(text)
        or (not is_first and _INITIALS_AFTER.search(text))
    )
    if is_doubtful:
        return text, "name_doubtful"
    if (is_first or len(text) == 1) and (
        _INITIALS.match(text) or re.match(_CONSONANTS, text.strip("."))
    ):
        return text, "name_initials"
    return text, None


def _is_mistyped(text: str, others: Set[str]) -> bool:
    """Whether a text is a known name, or one of ``others``, but for a sign in place of a letter."""
    if _CAPITALS_WITH_L.search(text):
        return True
    for meant in _MEANT:
        lower = "".join(meant.get(char, char) for char in text).lower()
        if lower != text.lower() and (
            lower in others or lower in _listed("given") or lower in _listed("surnames")
        ):
            return True
    return False


def has_lines(texts: pl.Series) -> pl.Series:
    """Which texts of a file have several lines: two people may be in one cell."""
    return texts.str.contains(r"[\n\r\v\f\x{85}\x{2028}\x{2029}]").fill_null(value=False)


def are_no_member(texts: pl.Series) -> pl.Series:
    """Which texts without any other cell are a line below a list rather than a name.

    They have several words beside particles, such as "Compiled by J Smith", or are a title such as
    "Chairperson".
    """
    lower = texts.str.to_lowercase()
    particles = "|".join(map(re.escape, sorted(_listed("particles"))))
    bare = lower.str.replace(rf"^(?:(?:{particles}) )+", "").str.strip_chars(" .:,-")
    found = bare.str.contains(" ", literal=True) | bare.is_in(list(_listed("footers")))
    return found.fill_null(value=False)


_FIRST: Final = pl.col("firstname")
_SURNAME: Final = pl.col("surname")


@cache
def suspects() -> pl.Expr:
    """The places of the rows that ``doubtful_pairs`` may find, of names in small letters.

    Hardly a row is one, and only these are looked at closely.
    """
    return (
        _may_be_surname()
        | _has_initial()
        | _SURNAME.is_in(_sample_surnames())
        | _FIRST.str.starts_with(_SURNAME)
        | _FIRST.str.ends_with(_SURNAME)
        | _SURNAME.str.starts_with(_FIRST)
        | _SURNAME.str.ends_with(_FIRST)
    ).arg_true()


@cache
def doubtful_pairs() -> Mapping[str, pl.Expr]:
    """Which first names and surnames are doubtful beside each other; both are in small letters."""
    # "Mokoena T": a surname with an initial.
    is_with_initial = _has_initial() & _FIRST.str.head(-2).is_in(list(_listed("surnames")))
    is_surname = _may_be_surname() | is_with_initial
    # "Mary Jane" may be the first names of a person whose surname is Jane.
    is_given = (_FIRST != _SURNAME) & _SURNAME.is_in(list(_listed("given")))
    whole_first = _holds(_FIRST, _SURNAME) & (~is_given | _FIRST.str.contains(",", literal=True))
    is_sample = (_FIRST + " " + _SURNAME).is_in(list(_listed("samples")))
    return {
        # First names that are usually surnames, beside surnames that aren't.
        "are_swapped": is_surname & ~_SURNAME.is_in(list(_listed("surnames"))),
        # A whole name, or the same name; and one that fills a template or a test, as John Doe.
        "is_first_doubtful": whole_first | is_sample,
        "is_surname_doubtful": _holds(_SURNAME, _FIRST) & (_FIRST != _SURNAME),
    }


def _may_be_surname() -> pl.Expr:
    """Whether a first name is usually a surname."""
    is_listed = _FIRST.is_in(list(_listed("surnames")))
    return pl.any_horizontal(is_listed, *map(_FIRST.str.starts_with, _SURNAMES_BEGIN))


def _has_initial() -> pl.Expr:
    return _FIRST.str.slice(-2, 1) == " "


def _holds(name: pl.Expr, other: pl.Expr) -> pl.Expr:
    """Whether a name holds that of the other column too."""
    space = pl.lit(" ")
    held = (
        (name == other)
        | name.str.ends_with(space + other)
        | name.str.starts_with(other + space)
        | name.str.starts_with(other + pl.lit(","))
    )
    # A short one, such as "van", begins or ends other names as well.
    return held & (other.str.len_bytes() >= _LEAST_WITHIN)


_LEAST_WITHIN: Final = 4
#: How no first name begins.
_SURNAMES_BEGIN: Final = ("van ", "von ", "du ", "janse van ")


#: Words for "no name", in the spelling in which they are also a name.
_NAMES_TOO: Final = frozenset({"Null", "Nan", "Na", "Nil"})


def split(text: str, *, is_surname_first: bool = False) -> tuple[str | None, str | None]:
    """The first names and the surname of a clean whole name; None for a part that is missing.

    The surname is what is before a comma; or the words in capital letters where the others aren't;
    or the words in front of initials at the end; or the last word with the particles before it (Van
    der, De, Du, Le, Mac). Where the header names the surname first, or the name begins with a
    particle, it is the first word with the particles before it. A word such as Jnr and words in
    brackets at the end belong to the surname. A title in front is left out.
    """
    parts = [part for part in _COMMA.split(text) if part]
    if len(parts) > 1:
        return " ".join(_without_title(parts[1].split())) or None, parts[0]
    words = _without_title(text.split())
    if len(words) < 2:
        # One word after a title is a surname: "Mrs Nel".
        is_surname = is_surname_first or len(text.split()) > 1
        return (None, words[0]) if is_surname and words else (text or None, None)
    last = len(words)
    while last > 2 and _is_suffix(words[last - 1]):
        last -= 1
    first, surname = _split(words[:last], is_surname_first=is_surname_first)
    return first, " ".join([surname, *words[last:]])


def _split(words: Sequence[str], *, is_surname_first: bool) -> tuple[str | None, str]:
    """The same for two words at least without title, comma and suffix."""
    if (initials := _initials_from(words)) is not None:
        return " ".join(words[initials:]), " ".join(words[:initials])
    end = _leading_capitals(words)
    has_particle = any(map(_is_particle, words[1:-1]))
    if end is None and (_is_particle(words[0]) or (is_surname_first and not has_particle)):
        end = _end_of_surname(words, 0)
    if is_surname_first and words[0].lower() in _BEFORE_VAN and _is_particle(words[1]):
        end = _end_of_surname(words, 1)
    if end is not None:
        return " ".join(words[end:]) or None, " ".join(words[:end])
    start = len(words) - 1
    while start > 1 and _is_particle(words[start - 1]):
        start -= 1
    if start > 1 and words[start - 1].lower() in _BEFORE_VAN and _is_particle(words[start]):
        start -= 1
    return " ".join(words[:start]), " ".join(words[start:])


def _end_of_surname(words: Sequence[str], start: int) -> int:
    """Where a surname ends whose particles begin at a place."""
    while start < len(words) - 1 and _is_particle(words[start]):
        start += 1
    return start + 1


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
    return word.lower().rstrip(".'") in _listed("particles")


def _without_title(words: Sequence[str]) -> list[str]:
    kept = list(words)
    while len(kept) > 1 and kept[0].lower().rstrip(".") in _listed("titles"):
        del kept[0]
    return kept


def _is_suffix(word: str) -> bool:
    return word.lower().strip(".,") in _listed("suffixes") or (word[0] == "(" and word[-1] == ")")


def _initials_from(words: Sequence[str]) -> int | None:
    """Where the initials at the end of a name begin, if there are some and none in front."""
    start = len(words)
    while start > 1 and _is_initials(words[start - 1]):
        start -= 1
    return start if start < len(words) and not _is_initials(words[0]) else None


def _is_initials(word: str) -> bool:
    letters = word.replace(".", "")
    return word.isupper() and (len(letters) == 1 or re.match(_CONSONANTS, letters) is not None)


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
def _listed(kind: str) -> frozenset[str]:
    """The words of one of the lists of names in ``values.toml``, in small letters."""
    return frozenset(values()["names"][kind])


@cache
def _beside() -> frozenset[str]:
    """Words beside a name: of one part such as Jnr, of another person, of a remark."""
    return _listed("beside") | _listed("suffixes")


@cache
def _sample_surnames() -> tuple[str, ...]:
    return tuple({whole.rpartition(" ")[2] for whole in _listed("samples")})
