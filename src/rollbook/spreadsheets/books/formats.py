"""Number formats: what a sheet shows where it isn't the number that a cell holds.

A person checks a list by what the sheet shows. So digits that only a format adds (as do
``0000000000000`` and ``"27"000000000``) belong to the value, a number that a format hides has none,
and a date of which the format shows only the month is given with what is shown. Formats that only
round a number, add separators or a currency, or show it as a fraction, in thousands or with a
power of ten leave its value as it is.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from rollbook.spreadsheets.books.values import (
    BUILT_IN_DATES,
    HIDDEN,
    is_date,
    moment_text,
    number_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

#: Formats of the program's own, by their number, that show something else than the number or the
#: whole date.
_BUILT_IN: Final = {9: "0%", 10: "0.00%", 16: "d-mmm", 17: "mmm-yy"}
#: Whole numbers up to here are exact.
_MOST_WHOLE: Final = 1e15
_MOST_CODE: Final = 255
#: So many numbers are shown together in less time than one by one.
_FEW: Final = 50
#: The parts of a section: texts, a currency, a colour or condition, digits, and others.
_PART: Final = re.compile(
    r'"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|[_*].'
    r"|\[\$(?P<currency>[^\]-]*)[^\]]*\]|\[(?P<in>[^\]]*)\]"
    r"|(?P<digits>[0#?]+)|(?P<power>E[+-])|(?P<general>General)|(?P<sign>[.,%/@])|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)
_SECTION: Final = re.compile(r'(?:"[^"]*"|\\.|[_*].|\[[^\]]*\]|[^;])*', re.DOTALL)
#: Of the unquoted signs of a section: a fraction, which may have a denominator of its own, commas
#: that divide by thousands, and a power of ten. Digits in texts beside these aren't a part
#: of what the number has.
_OTHER_SCALE: Final = re.compile(r"0/|0,+(?:\.|\Z)|0\.?E")
_CONDITION: Final = re.compile(r"(<=|>=|<>|<|>|=)\s*(-?[0-9]+(?:\.[0-9]+)?)\Z")
_HOLDS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq,
    "<>": operator.ne,
}  # fmt: skip
_ELAPSED: Final = re.compile(r"\[(?:h+|m+|s+)\]|AM/PM|A/P", re.IGNORECASE)
_DATE_PART: Final = re.compile(
    r'(?:"[^"]*"|\\.|[_*].|\[[^\]]*\]|[^ymdhs"\\_*\[])*(y+|m+|d+|[hs]+)', re.IGNORECASE | re.DOTALL
)
_LETTERS: Final = re.compile(r"[^\W\d_]")
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)


@dataclass(frozen=True, slots=True)
class _Section:
    """A part of a format, for the numbers of one sign or condition."""

    #: Texts and, in their places, digits: ``#`` and ``0``.
    parts: tuple[tuple[str, bool], ...]
    condition: tuple[str, float] | None
    #: Its digits are those of a plain whole number.
    is_whole: bool
    is_percent: bool
    decimals: int

    @property
    def digits(self) -> str:
        """The places for digits: ``0`` shows a zero where the number has no digit."""
        return "".join(text for text, is_digits in self.parts if is_digits)

    @property
    def is_simple(self) -> bool:
        """Whether it is of a whole number, with one place for digits, or zeros in all places."""
        is_whole = self.is_whole and not self.is_percent and self.condition is None
        places = sum(is_digits for _, is_digits in self.parts)
        return is_whole and places > 0 and (places == 1 or not self.digits.strip("0"))

    @property
    def shows_number(self) -> bool:
        """Whether it has a place for the number."""
        return any(is_digits for _, is_digits in self.parts)

    @property
    def literal(self) -> str:
        """Its texts."""
        return "".join(text for text, is_digits in self.parts if not is_digits).strip()


@dataclass(frozen=True, slots=True)
class Format:
    """A number format: of plain dates, or one that shows something else than the number."""

    code: str
    is_date: bool
    #: Of a date, whether day, month or year is missing in it.
    is_part_of_date: bool
    sections: tuple[_Section, ...]

    @property
    def is_plain_date(self) -> bool:
        """Whether it shows whole dates or times, the texts of which have one form."""
        return self.is_date and not self.is_part_of_date

    def text(self, value: float, *, is_1904: bool = False) -> str | None:
        """What is read of a number; None where the sheet shows an empty cell for 0."""
        if self.is_date:
            text = moment_text(value, is_1904=is_1904)
            is_moment = self.is_part_of_date and len(text) > 10 and text[4] == "-"
            return f"{text[:10]} ({_date_shown(self.code, text)})" if is_moment else text
        # A negative zero is a zero.
        return _shown(self.sections, value + 0.0)

    def texts(self, values: npt.NDArray[np.float64], *, is_1904: bool = False) -> pl.Series:
        """The same of many numbers."""
        distinct, places = np.unique(values, return_inverse=True)
        found = self._if_simple(distinct) if len(distinct) >= _FEW else None
        if found is None:
            texts = [
                self.text(value, is_1904=is_1904) if np.isfinite(value) else None
                for value in distinct.tolist()
            ]
            found = pl.Series(texts, dtype=pl.String)
        return found.gather(places.astype(np.uint32))

    def _if_simple(self, values: npt.NDArray[np.float64]) -> pl.Series | None:
        """The texts in a simple format, if all of the numbers are whole; None where they aren't.

        Columns of ID and phone numbers have these, with as many distinct numbers as rows.
        """
        if self.is_date or len(self.sections) != 1 or not self.sections[0].is_simple:
            return None
        whole = np.where((values >= 1) & (values < _MOST_WHOLE), values, 0).astype(np.int64)
        if not (whole == values).all() or not len(values):
            return None
        return _all_rendered(self.sections[0].parts, pl.Series(whole).cast(pl.String))


#: Plain dates, all of which are read alike.
DATE: Final = Format("", is_date=True, is_part_of_date=False, sections=())


def built_in(number: int) -> Format | None:
    """A format of the program's own by its number; None where a number is read as it is."""
    if number in _BUILT_IN:
        return format_of(_BUILT_IN[number])
    return DATE if number in BUILT_IN_DATES else None


@lru_cache(1024)
def format_of(code: str) -> Format | None:
    """The format of a code; None where a number is read as it is."""
    # Longer ones can't be written in the programs, and a hostile file's may have any length.
    is_long = len(code) > _MOST_CODE
    if is_date(code):
        if is_long or not _shows_part_of_date(code):
            return DATE
        return Format(code, is_date=True, is_part_of_date=True, sections=())
    if is_long or code in {"", "@"}:
        return None
    texts = _split(code)
    if len(texts) > 3 and "@" in texts[-1]:
        texts = texts[:3]
    sections = tuple(_section(text) for text in texts[:4])
    is_other = any(map(_adds, sections)) or any(map(_hides, sections))
    return (
        Format(code, is_date=False, is_part_of_date=False, sections=sections) if is_other else None
    )


def _split(code: str) -> list[str]:
    texts = []
    at = 0
    while True:
        found = _SECTION.match(code, at)
        assert found is not None
        texts.append(found[0])
        at = found.end()
        if at >= len(code):
            return texts
        at += 1


def _section(text: str) -> _Section:
    parts: list[tuple[str, bool]] = []
    condition = None
    is_whole, is_percent, decimals = True, False, 0
    signs = ""
    for found in _PART.finditer(text):
        kind, content = found.lastgroup, found[found.lastgroup] if found.lastgroup else ""
        if kind in {"quoted", "escaped", "currency", "other"}:
            parts.append((content, False))
        elif kind == "digits":
            decimals += len(content) if "." in signs else 0
            parts.append((content, True))
            signs += "0"
        elif kind == "general":
            parts.append(("#", True))
        elif kind == "in":
            if match := _CONDITION.match(content):
                condition = match[1], float(match[2])
        elif kind == "power":
            is_whole = False
            signs += "E"
        elif kind == "sign":
            is_percent |= content == "%"
            signs += content
            # ``@`` shows a number as it is.
            parts += [("#", True)] if content == "@" else []
            is_whole &= content == "@"
    if _OTHER_SCALE.search(signs):
        parts, is_whole = [("#", True)], False
    return _Section(tuple(parts), condition, is_whole, is_percent, decimals)


def _adds(section: _Section) -> bool:
    """Whether a section may show digits that the number hasn't, or another number."""
    adds_zeros = section.is_whole and "0" in section.digits[:-1]
    has_digits = any(map(str.isdigit, section.literal))
    return adds_zeros or section.is_percent or has_digits


def _hides(section: _Section) -> bool:
    """Whether a section shows a word in place of the number, or nothing; a dash is a zero."""
    literal = section.literal
    return not section.shows_number and (not literal or bool(_LETTERS.search(literal)))


def _shown(sections: Sequence[_Section], value: float) -> str | None:
    plain = number_text(value)
    section = _section_for(sections, value)
    if value < 0 and len(sections) == 1 and sections[0].is_percent:
        section = sections[0]
    if section is None or (section.shows_number and not _adds(section)):
        return plain
    if not section.shows_number:
        return _without_number(section.literal, plain)
    if section.is_percent:
        return f"{value * 100:.{min(section.decimals, 9)}f}%"
    if section.is_whole and 0 <= value < _MOST_WHOLE and value == int(value):
        shown = _rendered(section.parts, str(int(value)))
    else:
        before, after = _around(section)
        if section.decimals and any(map(str.isdigit, after)):
            plain = _with_decimals(plain, section.decimals)
        shown = f"{before}{plain}{after}" if any(map(str.isdigit, before + after)) else plain
    # Digits that are only apart are the number's own.
    return shown.strip() if "".join(filter(str.isdigit, shown)) != plain else plain


def _with_decimals(plain: str, count: int) -> str:
    """A number with at least so many decimals, as it is shown before more digits."""
    whole, _, decimals = plain.partition(".")
    return f"{whole}.{decimals:0<{count}}"


def _without_number(literal: str, plain: str) -> str | None:
    """What is read of a number whose format shows only a text, or nothing at all."""
    if _LETTERS.search(literal):
        return literal
    if literal:
        # A dash means zero in accounts.
        return plain
    return None if plain == "0" else HIDDEN


def _section_for(sections: Sequence[_Section], value: float) -> _Section | None:
    if any(section.condition for section in sections):
        for section in sections:
            if section.condition is None:
                return section
            sign, bound = section.condition
            if _HOLDS[sign](value, bound):
                return section
        return None
    if value < 0:
        # With one section a minus is put in front, which the number has.
        return sections[1] if len(sections) > 1 else None
    if value == 0 and len(sections) > 2:
        return sections[2]
    return sections[0]


def _around(section: _Section) -> tuple[str, str]:
    """The texts before and after the number."""
    places = [place for place, (_, is_digits) in enumerate(section.parts) if is_digits]
    before = "".join(text for text, _ in section.parts[: places[0]])
    return before, "".join(text for text, _ in section.parts[places[-1] + 1 :])


def _rendered(parts: Sequence[tuple[str, bool]], digits: str) -> str:
    """A whole number in the places of a format, from the last place on."""
    shown: list[str] = []
    first = next(place for place, (_, is_digits) in enumerate(parts) if is_digits)
    rest = digits if digits != "0" else ""
    for place in range(len(parts) - 1, -1, -1):
        text, is_digits = parts[place]
        if not is_digits:
            shown.append(text)
            continue
        for sign in reversed(text):
            if rest:
                shown.append(rest[-1])
                rest = rest[:-1]
            elif sign == "0":
                shown.append("0")
        if place == first:
            # Digits for which there is no place are before the first.
            shown.append(rest)
            rest = ""
    return "".join(shown[::-1])


def _all_rendered(parts: Sequence[tuple[str, bool]], numbers: pl.Series) -> pl.Series:
    """What ``_shown`` gives of whole numbers in a simple format."""
    places = "".join(text for text, is_digits in parts if is_digits)
    # A number has 15 digits at most; those that it lacks are zeros where the format has them.
    lacking = {
        length: "0" * places[: max(len(places) - length, 0)].count("0") for length in range(1, 17)
    }
    own = pl.col("n").str.len_bytes()
    digits = pl.concat_str(own.replace_strict(lacking, return_dtype=pl.String), "n")
    length = digits.str.len_bytes().cast(pl.Int64)
    pieces: list[pl.Expr] = []
    is_first = True
    after = len(places)
    for text, is_digits in parts:
        if not is_digits:
            pieces.append(pl.lit(text))
        elif sum(one for _, one in parts) == 1:
            pieces.append(digits)
        else:
            after -= len(text)
            # Digits for which there is no place are before the first.
            start = pl.lit(0) if is_first else length - after - len(text)
            pieces.append(digits.str.slice(start, length - after - start))
            is_first = False
    shown = pl.concat_str(pieces)
    is_own = shown.str.replace_all(r"[^0-9]", "") == pl.col("n")
    return (
        numbers.to_frame("n")
        .select(pl.when(is_own).then("n").otherwise(shown.str.strip_chars()).alias("n"))
        .to_series()
    )


def _shows_part_of_date(code: str) -> bool:
    """Whether a format of dates lacks the day, the month or the year."""
    # Three letters or more are the day of the week.
    letters = {
        letter
        for found in _date_parts(code)
        if (letter := found[1][0].lower()) != "d" or len(found[1]) < 3
    }
    if letters & {"h", "s"}:
        # An m beside hours or seconds is a minute.
        return len(letters & {"y", "d"}) == 1
    shown = letters & {"y", "m", "d"}
    return bool(shown) and shown != {"y", "m", "d"}


def _date_parts(code: str) -> list[re.Match[str]]:
    return list(_DATE_PART.finditer(_ELAPSED.sub("h", _split(code)[0])))


def _date_shown(code: str, moment: str) -> str:
    """What a format shows of ``yyyy-mm-dd hh:mm:ss``, its parts apart by spaces."""
    year, month, day = moment[:4], int(moment[5:7]), int(moment[8:10])
    words = []
    for found in _date_parts(code):
        letter, length = found[1][0].lower(), len(found[1])
        if letter == "y":
            words.append(year if length > 2 else year[2:])
        elif letter == "m":
            names = {3: _MONTHS[month - 1][:3], 4: _MONTHS[month - 1]}
            words.append(names.get(length, f"{month:0{min(length, 2)}}"))
        elif letter == "d" and length < 3:
            words.append(f"{day:0{length}}")
    return " ".join(words)
