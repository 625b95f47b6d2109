"""Phone numbers as people write them: South African ones, other countries', several, with remarks.

South African numbers are read by expressions; ``phonenumbers`` checks those of other countries.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline.cells import (
    MOST_CHARS,
    SEPARATORS,
    Reading,
    Understood,
    also_doubted,
    of_power,
    understood,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The lengths of a South African number in a numeric cell: with country code, or without its 0.
_LENGTHS: Final = (9, 11)
_NATIONAL: Final = re.compile(r"^(?:\+*27|0027|27)?0?([1-8][0-9]{8})$")
#: Abroad no number is as short as these nine digits after 00: the zero of a mobile's is double.
_DOUBLE_ZERO: Final = re.compile(r"^00([678][0-9]{8})$")
_FOREIGN: Final = re.compile(r"^(?:\++|00)([1-9][0-9]{6,14})$")
_LABEL: Final = re.compile(
    r"^\s*(?:tel|telephone|phone|cell|cellphone|mobile|mob|cel|sel|selfoon|ph|no|nr|call|sms|whatsapp|[ctmhw])"
    r"(?:\s?(?:no|nr|number)\.?)?(?:\s*[:.=]\s*|\s+(?=[+(0]))",
    re.IGNORECASE,
)
_EXTENSION: Final = re.compile(
    r"\s*(?:\bext(?:ension)?\b|\buitb(?:reiding)?\b|\bx)\.?\s?[0-9]{1,5}$", re.IGNORECASE
)
_BRACKETS: Final = re.compile(r"\([^()]*[^\W\d_][^()]*\)|\[[^\[\]]*\]")
#: Words beside a number. A letter that touches a digit is no word but a wrong digit.
_WORDS: Final = re.compile(r"(?<![^\W_])[^\W\d_][^\W\d_.'\-]*(?![^\W_])")
_BETWEEN: Final = re.compile(
    r"\s*(?:[/;,|&\n]|\bor\b|\band\b|\bof\b|\ben\b|\s-\s)\s*", re.IGNORECASE
)
_SIGNS: Final = re.compile(r"[\s.()/'\u2010-\u2015-]")
#: Two whole South African numbers with nothing but space between them.
_PAIR: Final = re.compile(
    r"^((?:\+27|0)[\s\-]*(?:[0-9][\s\-]*){8}[0-9])[\s\-]+((?:\+27|0)[0-9\s\-]{9,})$"
)
#: Numbers that are written to fill the cell, with one digit again and again or all digits in order,
#: and those of companies and fax services: free calls (080) and shared costs (086, 089).
_NO_PERSONS: Final = (
    rf"(?:{'|'.join(digit * 7 for digit in '0123456789')}|^\+27123456789)$|^\+278[069][0-9]{{7}}$"
)


def phones(texts: pl.Series) -> Understood:
    """South African numbers as +27 and nine digits; other countries' as + and their digits."""
    # Remains of numeric cells and of cells formatted as text; few columns have any.
    are_numbers = bool(texts.str.ends_with(".0").any())
    are_marked = bool(texts.str.starts_with("'").any())
    plain = _plain(are_numbers=are_numbers, are_marked=are_marked)
    found = understood(texts, plain, _read, pl.String())
    return also_doubted(found, found.values.str.contains(_NO_PERSONS), "phone_doubtful")


@cache
def _plain(*, are_numbers: bool, are_marked: bool) -> pl.Expr:
    """The South African number that the text of the column ``cell`` is without any doubt."""
    number = pl.col("cell")
    if are_numbers:
        number = number.str.strip_suffix(".0")
    if are_marked:
        number = number.str.strip_prefix("'")
    digits = without(number, (*SEPARATORS, "(", ")"))
    is_national = digits.str.contains(r"^(?:\+27|0027|27)?0?[1-8][0-9]{8}$")
    return "+27" + pl.when(is_national).then(digits.str.tail(9))


def _read(text: str) -> Reading:
    """The number of a text that isn't one plain South African number."""
    if len(text) > MOST_CHARS:
        return None, "phone_unclear"
    text = text.removeprefix("'")
    digits, shortened = of_power(text, digits=_LENGTHS)
    if shortened:
        return None, "phone_shortened"
    bare = _LABEL.sub("", digits or text).strip(" ;,.:")
    if number := _number(bare):
        return number, None
    # A remark in brackets ends a number: 082 123 4567 (w) 083 123 4567 (h).
    bare = _BRACKETS.sub(";", bare)
    pair = _PAIR.match(bare)
    parts = [pair[1], pair[2]] if pair else [part for part in _BETWEEN.split(bare) if part.strip()]
    if len(parts) > 1:
        return _first(parts)
    number = _with_remark(bare)
    return (number, "phone_remark") if number else (None, "phone_unclear")


def _first(parts: Sequence[str]) -> Reading:
    """The first number of several parts.

    A part of digits that are no number may be the end of another number, such as the 8 of
    ``082 123 4567/8``. In front of the numbers it makes all of them doubtful.
    """
    found = [(part, _with_remark(part)) for part in parts]
    numbers = list(dict.fromkeys(number for _, number in found if number))
    others = [part for part, number in found if not number]
    is_cut = any(c.isdigit() for c in found[0][0]) and found[0][1] is None
    if not numbers or is_cut:
        return None, "phone_unclear"
    if len(numbers) > 1 or any(c.isdigit() for part in others for c in part):
        return numbers[0], "phone_several"
    return numbers[0], "phone_remark" if others else None


def _with_remark(text: str) -> str | None:
    """The only number of a text beside words, an extension or a remark in brackets."""
    text = _LABEL.sub("", text)
    if number := _number(text):
        return number
    bare = _WORDS.sub(" ", _EXTENSION.sub("", text)).strip(" :.,;-=?*")
    return _number(bare)


def _number(text: str) -> str | None:
    """The one number that a text is, with any separators; None if it is none."""
    digits = _SIGNS.sub("", text)
    digits = _DOUBLE_ZERO.sub(r"0\1", digits)
    if match := _NATIONAL.match(digits):
        return f"+27{match[1]}"
    # The zero in brackets is only dialled within the country.
    foreign = _FOREIGN.match(_SIGNS.sub("", text.replace("(0)", "")))
    # South African numbers begin with 27 too, and a wrong one isn't another country's.
    if foreign is None or foreign[1].startswith("27"):
        return None
    return _abroad(foreign[1])


def _abroad(digits: str) -> str | None:
    """A number of another country, if that country has such numbers."""
    import phonenumbers  # noqa: PLC0415 - its tables are only read where a file has such numbers

    try:
        parsed = phonenumbers.parse(f"+{digits}", None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def kinds(numbers: Iterator[str]) -> dict[str, int]:
    """How many South African numbers are of mobile phones and of landlines."""
    counted = {"cell_number": 0, "landline_number": 0}
    for number in numbers:
        if number.startswith("+27"):
            counted["cell_number" if number[3] in "678" else "landline_number"] += 1
    return counted
