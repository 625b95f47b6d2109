"""Amounts of rand as people write them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

import polars as pl

from rollbook.pipeline.cells import MOST_CHARS, Reading, Understood, also_doubted, understood

TYPE: Final = pl.Decimal(12, 2)
#: Digits before the decimal sign: a membership costs less than a thousand million.
_MOST_DIGITS: Final = 9

_PLAIN: Final = r"^(?i:zar|r)?(?:\. | )?([0-9]{1,9})(?:[.,]([0-9]{1,2}))?$"
#: "R.50" is R50 or R0.50; a number that begins with its decimal sign, as some programs write it.
_POINT_FIRST: Final = re.compile(r"^(zar|r)?\s?[.,]([0-9]{1,2})$", re.IGNORECASE)
#: More is no membership's amount; and a plain number that may be a year.
_MOST_USUAL: Final = 10_000
_YEAR: Final = r"^(?:19[5-9][0-9]|20[0-9]{2})(?:\.0+)?$"
_CURRENCY: Final = re.compile(r"^(?:zar|r)\.?\s*|\s*(?:zar|rand|rands)\.?$", re.IGNORECASE)
_NEGATIVE: Final = re.compile(r"^\(.*\)$|^-|-$|^(?:zar|r)\s?-|\bcr$", re.IGNORECASE)
#: Whole rand, as in ``R50,-`` and ``50.--``.
_NO_CENTS: Final = re.compile(r"(?<=[0-9])[.,][-\u2013=]{1,2}$")
#: Rand with grouped thousands before a dash and cents, as in ``R1 200-00``.
_DASHED_CENTS: Final = re.compile(r"(?<=[0-9] [0-9]{3})-(?=[0-9]{2}$)")
#: A letter that looks like a zero after the digits, as in ``R1O``.
_LETTER_O: Final = re.compile(r"^[oO](?![a-zA-Z])")
_DIGITS: Final = re.compile(r"^[0-9][0-9 '.,\-=]*")
_CENTS_ONLY: Final = re.compile(r"^([0-9]+)\s?(?:c|cents?|sent)$", re.IGNORECASE)
#: Words, without any further number; and words that make the number another.
_REMARK: Final = re.compile(r"^\(?[^\W\d_][^\d]*$")
_UNIT: Final = re.compile(r"^(?:k|m|mil|million|usd|eur|gbp|x)\b", re.IGNORECASE)
_CENT: Final = Decimal("0.01")
_POWER: Final = re.compile(r"^[0-9](?:[.,][0-9]+)?E\+?[0-9]$", re.IGNORECASE)
#: Thousands in groups of three after one separator, and cents after another.
_GROUPED: Final = re.compile(
    r"^([0-9]{1,3}(?:([ ',.])[0-9]{3})(?:\2[0-9]{3})*)(?:([.,])([0-9]{1,2}))?$"
)
_WHOLE_AND_CENTS: Final = re.compile(r"^([0-9]{1,9})(?:[.,\-=]([0-9]{1,2}))?$")
#: The many decimals of a computer's number, such as 10.4999999999999 or 10.0000.
#: Three of them may be thousands, unless more than three digits are before them.
_LONG_DECIMALS: Final = re.compile(r"^([0-9]{1,9})[.,]([0-9]{4,})$|^([0-9]{4,9})[.,]([0-9]{3})$")


def amounts(texts: pl.Series) -> Understood:
    """Rand with two decimals, from ``R10.00``, ``1 200,50`` and the like."""
    groups = pl.col("cell").str.extract_groups(_PLAIN)
    cents = groups.struct.field("2").fill_null("0").str.pad_end(2, "0")
    plain = (groups.struct.field("1") + "." + cents).str.to_decimal(scale=2)
    found = understood(texts, plain.cast(TYPE, strict=False), _read, TYPE)
    is_unusual = (found.values > _MOST_USUAL) | texts.str.contains(_YEAR)
    return also_doubted(found, is_unusual, "amount_implausible")


def _read(text: str) -> Reading:
    text = _DASHED_CENTS.sub(".", _NO_CENTS.sub("", text.removeprefix("'").strip()))
    if len(text) > MOST_CHARS or _NEGATIVE.search(text):
        return None, "amount_unclear" if len(text) > MOST_CHARS else "amount_negative"
    bare = _CURRENCY.sub("", text).strip().removesuffix(".")
    if match := _POINT_FIRST.match(text):
        return (None, "amount_ambiguous") if match[1] else (_rand("0", match[2]), None)
    if match := _CENTS_ONLY.match(bare):
        # 5000c is R50, or R5000 and a stray letter.
        is_cents = len(match[1]) <= 2
        rand = Decimal(int(match[1])).scaleb(-2)
        return (rand, "amount_remark") if is_cents else (None, "amount_ambiguous")
    if _POWER.match(bare):
        exact = Decimal(bare.replace(",", "."))
        is_rand = exact == exact.quantize(_CENT)
        return (exact.quantize(_CENT), None) if is_rand else (None, "amount_unclear")
    value, code = _value(bare)
    return (value, code) if value is not None or code else _with_remark(bare)


def _with_remark(text: str) -> Reading:
    """The amount in front of words such as "p.a." or "per month", or of a stray "c"."""
    head = _DIGITS.match(text)
    rest = text[head.end() :].strip() if head else ""
    is_word = _REMARK.match(rest) and not (_UNIT.match(rest) or _LETTER_O.match(rest))
    if head is None or not is_word:
        return None, "amount_unclear"
    value, code = _value(head[0].rstrip(" .,-="))
    return (None, code or "amount_unclear") if value is None else (value, code or "amount_remark")


def _value(text: str) -> Reading:
    """The value of digits with separators; neither value nor code where they fit no pattern.

    A single separator followed by three digits may mean thousands or decimals: with a full stop
    that can't be decided, with a comma it is read as thousands and flagged.
    """
    if match := _WHOLE_AND_CENTS.match(text):
        return _rand(match[1], match[2]), None
    if match := _GROUPED.match(text):
        digits, sign, decimal, cents = match.groups()
        number = re.sub(r"[^0-9]", "", digits)
        if len(number) > _MOST_DIGITS or decimal == sign:
            return None, "amount_unclear"
        is_open = decimal is None and sign in ".," and digits.count(sign) == 1
        if is_open and (sign == "." or number.startswith("0")):
            return None, "amount_ambiguous"
        return _rand(number, cents), "amount_thousands" if is_open else None
    if match := _LONG_DECIMALS.match(text):
        exact = Decimal(f"{match[1] or match[3]}.{match[2] or match[4]}")
        rounded = exact.quantize(_CENT)
        # Only a computer's rounding makes so many decimals of so little difference.
        is_noise = abs(exact - rounded) < Decimal("0.000001")
        return rounded, None if is_noise else "amount_rounded"
    return None, None


def _rand(digits: str, cents: str | None) -> Decimal:
    return Decimal(f"{digits}.{(cents or '0').ljust(2, '0')}")
