"""The texts of values: numbers, dates and times, and which number formats show these."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from typing import Final

#: A number as workbooks write it.
NUMERAL: Final = re.compile(
    r"[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?\Z"
)
#: The text of a cell with a formula that was never calculated, in the form of an error value.
UNCALCULATED: Final = "#NOT_CALCULATED!"
#: The text of a cell whose number the sheet doesn't show, because its format is ``;;;``.
HIDDEN: Final = "#HIDDEN!"
#: Formats of the program's own that are dates or times; 27 to 36 and 50 to 58 are East Asian ones.
BUILT_IN_DATES: Final = frozenset([*range(14, 23), *range(27, 37), 45, 46, 47, *range(50, 59)])
#: White space of XML, which counts at the ends of a text only where it says so.
SPACE: Final = " \t\r\n"
#: The year 10000, in days from 1899-12-30 on.
LAST_DAY: Final = 2_958_466
#: Days between the two systems in which workbooks count.
DAYS_TO_1904: Final = 1462
DAY_MS: Final = 86_400_000
_EPOCH: Final = dt.datetime(1899, 12, 30)  # noqa: DTZ001 - a workbook has no zone

#: Error values by their codes in binary formats.
ERRORS: Final = {
    0x00: "#NULL!", 0x07: "#DIV/0!", 0x0F: "#VALUE!", 0x17: "#REF!", 0x1D: "#NAME?",
    0x24: "#NUM!", 0x2A: "#N/A", 0x2B: "#GETTING_DATA",
}  # fmt: skip
#: Digits as footnotes have them.
_RAISED: Final = str.maketrans(
    "0123456789", "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)
#: How workbooks write characters that XML lacks.
_ESCAPE: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
_ELAPSED: Final = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)
#: What shows nothing of the number: quoted text, an escaped, skipped or repeated character.
_LITERAL: Final = re.compile(r'"[^"]*(?:"|\Z)|[\\_*].', re.DOTALL)
_BRACKETS: Final = re.compile(r"\[[^\[\]]*\]")
_AM_PM: Final = re.compile(r"AM/PM|A/P", re.IGNORECASE)
_FRACTION: Final = re.compile(r"s[.,]0+", re.IGNORECASE)
_TIME: Final = re.compile(r"[dmyhs]", re.IGNORECASE)


@lru_cache(1024)
def is_date(code: str) -> bool:
    """Whether a number format shows a date or a time, by the first of its sections."""
    section = _LITERAL.sub("", code).split(";")[0]
    if _ELAPSED.search(section):
        return True
    rest = _BRACKETS.sub("", section)
    if rest.strip().casefold() == "general":
        return False
    rest = _FRACTION.sub("s", _AM_PM.sub("h", rest))
    # Digits of a number beside letters: a currency such as "Rs 0" isn't quoted by every program.
    return bool(_TIME.search(rest)) and not set(rest) & set("0#?@")


def number_text(value: float) -> str:
    """A number with up to nine decimals, without zeros at the end."""
    return f"{value:.9f}".rstrip("0").rstrip(".")


@lru_cache(65_536)
def number_as_text(text: str) -> str:
    """A number that is text in the file; any other text stays as it is."""
    text = text.strip()
    if text.isdigit() and text.isascii() and len(text) <= 15 and (text[0] != "0" or text == "0"):
        return text
    if not NUMERAL.match(text):
        return text
    value = float(text)
    return text if value in (float("inf"), float("-inf")) else number_text(value)


@lru_cache(65_536)
def moment_text(days: float, *, is_1904: bool = False) -> str:
    """``yyyy-mm-dd hh:mm:ss`` of a time in days; the number where the calendar has no such day."""
    counted = days + DAYS_TO_1904 if is_1904 else days
    # The year 1900 has a leap day in these programs.
    exact = (counted if counted >= 60 else counted + 1) * DAY_MS
    # In place of ``round``, which goes to the even number.
    milliseconds = int(exact) + (exact - int(exact) >= 0.5) if 0 <= exact < 1e18 else -1
    if not (counted >= 0 and 0 <= milliseconds < LAST_DAY * DAY_MS):
        return number_text(days)
    moment = _EPOCH + dt.timedelta(milliseconds=milliseconds)
    text = moment.strftime("%Y-%m-%d %H:%M:%S")
    rest = milliseconds % 1000
    return f"{text}.{rest:03}" if rest else text


def date_as_text(text: str, *, is_1904: bool = False) -> str:
    """The date or time of a number that is text in the file; any other text stays as it is."""
    stripped = text.strip()
    if not NUMERAL.match(stripped):
        return stripped
    return moment_text(float(stripped), is_1904=is_1904)


def unescaped(text: str) -> str:
    """A text of a workbook, with escapes such as ``_x000D_`` replaced by their characters."""
    return _ESCAPE.sub(_escaped, text) if "_x" in text else text


def _escaped(found: re.Match[str]) -> str:
    """The character of an escape such as ``_x000D_``."""
    code = int(found[1], 16)
    if 0xD800 <= code < 0xE000:
        return found[0]
    return chr(code)


def raised(text: str) -> str:
    """A raised part of a text: its digits are a footnote's, so that R50 and a 1 aren't R501."""
    return text.translate(_RAISED)


def truth_text(value: int) -> str:
    """The text of a boolean."""
    return "true" if value else "false"


def error_text(code: int) -> str:
    """The text of an error value."""
    return ERRORS.get(code, "#UNKNOWN!")
