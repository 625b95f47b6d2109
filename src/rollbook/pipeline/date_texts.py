"""Dates in single texts, such as ``3rd of May 2024``, ``Fri 03 May 2024`` and ``240503``.

They are read one by one, where ``dates`` doesn't understand them by columns.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Final

from rollbook.pipeline.cells import MOST_CHARS, Reading
from rollbook.pipeline.columns import key
from rollbook.pipeline.values import values, written

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rollbook.pipeline.dates import Order

#: Dates from 1927 to 2118, as serial numbers: others are more likely something else, such as a
#: time of day, which a workbook stores as a time on the last day of 1899.
SERIALS: Final = (10_000, 80_000)
#: The first of these dates. Text may also name a later date than the last of them.
FIRST_DAY: Final = dt.date(1899, 12, 30) + dt.timedelta(days=SERIALS[0])
#: The expiry date of a membership for life: the last day that a spreadsheet program knows.
NEVER: Final = dt.date(9999, 12, 31)
#: Years after this one that two digits may mean: none for past dates, 50 for an expiry.
YEARS_AHEAD: Final = {"expiry_date": 50}
#: South Africa is two hours ahead of UTC all year.
_OWN_OFFSET: Final = 120
_DAY_MINUTES: Final = 24 * 60

TIME: Final = (
    r"[ T,]+(?:at )?[0-9]{1,2}[:h.][0-9]{2}(?:[:.][0-9]{2}(?:[.,][0-9]+)?)?"
    r"(?: ?[ap]\.?m\.?| ?[vn]m\.?)?"
    r"(?: ?h| ?hrs| ?SAST| ?(?:GMT|UTC)(?:[+-][0-9]{1,4})?(?: ?\([^)]*\))?)?$"
)
_ZONED: Final = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}):([0-9]{2})(?::[0-9]{2}(?:[.,][0-9]+)?)? ?"
    r"(Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)$"
)
#: A date cell of a workbook that shows only a part of the date; see ``books.formats``.
_SHOWN_IN_PART: Final = re.compile(r"^([0-9]{4}-(?:0[1-9]|1[0-2])-[0-9]{2}) \(([^()]*)\)$")
TRIPLE: Final = (
    r"^([0-9]{1,4})(?:\s?[-/.,\\_:|]\s?|\s)([0-9]{1,2})(?:\s?[-/.,\\_:|]\s?|\s)([0-9]{1,4})\.?$"
)
_COMPACT: Final = r"^([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})(?:\.0)?$"
#: 1st, 2nd, 3rd, 4th; in Afrikaans 1ste, 2de.
_ORDINAL: Final = r"(?:(?:ste|st|nd|rd|th|de|e)(?![^\W\d_]))?"
_DAY: Final = rf"(?P<day>[0-9]{{1,2}}){_ORDINAL}"
_MONTH: Final = r"(?P<month>[^\W\d_][^\d]*?)"
_YEAR: Final = r"(?P<year>[0-9]{4}|[0-9]{2})"
_SPACE: Final = r"[\s\-/.,']"
_DAY_NAMED: Final = re.compile(rf"^{_DAY}(?: of| van)?{_SPACE}*{_MONTH}{_SPACE}*{_YEAR}$")
_MONTH_NAMED: Final = re.compile(rf"^{_MONTH}{_SPACE}*{_DAY}{_SPACE}+{_YEAR}$")
_YEAR_NAMED: Final = re.compile(rf"^(?P<year>[0-9]{{4}}){_SPACE}*{_MONTH}{_SPACE}*{_DAY}$")
_PART_OF_DATE: Final = re.compile(
    r"^(?:[0-9]{4}|[0-9]{1,2}[-/.][0-9]{4}|[0-9]{4}[-/.][0-9]{1,2}|[^\W\d_]+[\s\-/.,']*[0-9]{2,4}|"
    r"[0-9]{2,4}[\s\-/.,]*[^\W\d_]+)$"
)
_WEEKDAY: Final = re.compile(r"^([^\W\d_]+)[\s.,]+(?=\S)")
_ANY_TIME: Final = re.compile(TIME, re.IGNORECASE)
_WITH_ZONE: Final = re.compile(_ZONED)
_EIGHT: Final = re.compile(_COMPACT)
_SIX: Final = re.compile(r"^([0-9]{2})([0-9]{2})([0-9]{2})(?:\.0)?$")
_FIVE: Final = re.compile(r"^[0-9]{5}(?:\.0)?$")
_NUMBERS: Final = re.compile(TRIPLE)
MONTHS: Final = 12

#: A date and the code of its doubt.
_Dated = tuple[dt.date, str | None]


def read(text: str, order: Order, field: str, today: dt.date) -> Reading:
    """The date of a text that no column of expressions understands."""
    unclear = "date_unclear"
    if len(text) > MOST_CHARS:
        return None, unclear
    if field == "expiry_date" and key(text) in _lifetime():
        return NEVER, "expiry_lifetime"
    if (shown := _SHOWN_IN_PART.match(text)) is not None:
        return _of_shown(*shown.groups())
    text = text.removeprefix("'").strip().rstrip(".")
    if (zoned := _WITH_ZONE.match(text)) is not None:
        return _of_moment(zoned) or (None, unclear)
    text = _ANY_TIME.sub("", text).strip()
    weekday, rest = _weekday(text)
    latest = today.year + YEARS_AHEAD.get(field, 1)
    digits = f"0{rest}" if order.has_six_digits and _FIVE.match(rest) else rest
    found = _named(rest, latest) or _compact(digits, order, latest, today)
    if found is None and weekday is not None and (match := _NUMBERS.match(rest)) is not None:
        found = _of_weekday(match, weekday, latest)
    if found is None:
        is_part = _PART_OF_DATE.match(rest) is not None and not set(rest) <= set("0-/. ")
        return None, "date_incomplete" if is_part else unclear
    date, doubt = found
    # "03-May-24", as a program writes a date that it recognised.
    if order.are_cells_swapped and date.day <= MONTHS and date.day != date.month:
        doubt = doubt or "date_cells_swapped"
    if weekday is not None and date.isoweekday() != weekday:
        doubt = doubt or "date_weekday"
    return (date, doubt) if date >= FIRST_DAY else (None, unclear)


def _of_shown(day: str, words: str) -> Reading:
    """The date of a cell that shows these words of it."""
    date = _made(*map(int, day.split("-")))
    if date is None:
        return None, "date_unclear"
    # A sheet that shows only the day of the week doesn't say that the day is a guess.
    has_numerals = any(map(str.isdigit, words))
    is_weekday = not has_numerals and _plain_word(words) in _names("weekday")
    return date, None if is_weekday else "date_shown_in_part"


def _named(text: str, latest: int) -> _Dated | None:
    """A date whose month is a name."""
    lower = text.lower()
    for pattern in (_DAY_NAMED, _MONTH_NAMED, _YEAR_NAMED):
        match = pattern.match(lower)
        month = _month(match["month"]) if match else None
        if match and month:
            year = int(match["year"])
            date = _made(
                _century(year, latest) if len(match["year"]) == 2 else year,
                month,
                int(match["day"]),
            )
            return (date, None) if date else None
    return None


def _compact(text: str, order: Order, latest: int, today: dt.date) -> _Dated | None:
    """A date of eight or six digits without anything between them."""
    if match := _EIGHT.match(text):
        first, second, third, fourth = (int(part) for part in match.groups())
        year = third * 100 + fourth
        by_year = _made(first * 100 + second, third, fourth)
        if by_year is not None:
            return by_year, None
        return _of_days(_made(year, second, first), _made(year, first, second), order)
    if match := _SIX.match(text):
        first, second, third = (int(part) for part in match.groups())
        by_year = _made(_century(first, latest), second, third)
        by_day = _made(_century(third, latest), second, first)
        return _of_years(by_year, by_day, order, today)
    return None


def _of_days(day_first: dt.date | None, month_first: dt.date | None, order: Order) -> _Dated | None:
    """The date that the column's order of days and months decides."""
    if day_first is None or (order.is_day_first is False and month_first not in {None, day_first}):
        return (month_first, "date_month_first") if month_first else None
    is_open = month_first not in {None, day_first} and order.is_day_first is None
    return day_first, "date_ambiguous" if is_open else None


def _of_years(
    by_year: dt.date | None, by_day: dt.date | None, order: Order, today: dt.date
) -> _Dated | None:
    """The date that the column's place of the year decides, or the one that is nearer to today."""
    if by_year is None or by_day is None or by_year == by_day:
        only = by_year or by_day
        return (only, None) if only else None
    if order.is_year_first is not None:
        return by_year if order.is_year_first else by_day, None
    return min((by_year, by_day), key=lambda date: abs(date - today)), "date_year_unclear"


def _of_weekday(match: re.Match[str], weekday: int, latest: int) -> _Dated | None:
    """A date of three numbers beside the day of the week, which says their order."""
    a, b, c = (int(part) for part in match.groups())
    last = _century(c, latest) if len(match[3]) == 2 else c
    first = _century(a, latest) if len(match[1]) == 2 else a
    read = [_made(last, b, a), _made(last, a, b), _made(first, b, c)]
    fits = {date for date in read if date is not None and date.isoweekday() == weekday}
    if len(fits) == 1:
        return fits.pop(), None
    date = next((date for date in read if date is not None), None)
    return (date, "date_ambiguous") if date else None


def _of_moment(match: re.Match[str]) -> Reading | None:
    """The day of a moment with its offset from UTC.

    Midnight and moments with another offset than UTC keep their day. Others were written by a
    program that writes UTC, so it is the day in South Africa.
    """
    try:
        date = dt.date.fromisoformat(match[1])
    except ValueError:
        return None
    if date < FIRST_DAY:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    is_utc = match[4] in {"Z", "UTC", "GMT"} or not match[4].strip("+-0:")
    if not is_utc or minutes + _OWN_OFFSET < _DAY_MINUTES:
        return date, None
    return date + dt.timedelta(days=1), "date_time_zone"


def _weekday(text: str) -> tuple[int | None, str]:
    """The number of the weekday that a text begins with, Monday being 1, and the rest."""
    match = _WEEKDAY.match(text)
    number = _names("weekday").get(_plain_word(match[1])) if match else None
    if match is None or number is None:
        return None, text
    return number, text[match.end() :]


def _month(word: str) -> int | None:
    """The number of a month's name."""
    plain = _plain_word(word)
    exact = _names("month").get(plain)
    if exact is not None or len(plain) < 3:
        return exact
    cut = {number for name, number in _cut_names() if name.startswith(plain)}
    return cut.pop() if len(cut) == 1 else None


def _century(year: int, latest: int) -> int:
    return 2000 + year if 2000 + year <= latest else 1900 + year


def _made(year: int, month: int, day: int) -> dt.date | None:
    try:
        date = dt.date(year, month, day)
    except ValueError:
        return None
    return date if date >= FIRST_DAY else None


def _plain_word(word: str) -> str:
    plain = unicodedata.normalize("NFKD", word).casefold()
    return "".join(c for c in plain if c.isalpha())


@cache
def _names(kind: str) -> Mapping[str, int]:
    return {
        _plain_word(name): int(number)
        for number, names in written("months.toml")[kind].items()
        for name in names
    }


@cache
def _cut_names() -> tuple[tuple[str, int], ...]:
    """The names that may be cut: English and Afrikaans, which come first in the table."""
    return tuple(
        (_plain_word(name), int(number))
        for number, names in written("months.toml")["month"].items()
        for name in names[:2]
    )


@cache
def _lifetime() -> frozenset[str]:
    return frozenset(key(word) for word in values()["lifetime"]["words"])
