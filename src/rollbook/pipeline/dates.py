"""Dates as people and programs write them.

A date of digits may be read in several orders: ``05/03/2024`` has the day first or the month, and
in ``24/05/03`` the year may also be first. The whole column decides (``Evidence``): dates that can
be read in only one order show the writer's order. If they don't decide, a date is read day first,
or, if the year could be first as well, as the date nearer to today; such a date is always flagged.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
import unicodedata
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import polars as pl

from rollbook.pipeline.cells import MOST_CHARS, Reading, Understood, values, with_odd
from rollbook.pipeline.columns import date_order, key
from rollbook.spreadsheets.books.values import DAYS_TO_1904

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Excel's serial number of 1 January 1970.
EXCEL_EPOCH_DAYS: Final = 25_569
#: Dates from 1927 to 2118, as serial numbers: others are more likely something else, such as a
#: time of day, which a workbook stores as a time on the last day of 1899.
SERIALS: Final = (10_000, 80_000)
#: The first of these dates. Text may also name a later date than the last of them.
FIRST_DAY: Final = dt.date(1899, 12, 30) + dt.timedelta(days=SERIALS[0])
#: The expiry date of a membership for life: the last day that a spreadsheet program knows.
NEVER: Final = dt.date(9999, 12, 31)
#: Years after this one that two digits may mean: none for past dates, 50 for an expiry.
_YEARS_AHEAD: Final = {"expiry_date": 50}
#: Provable dates with the month first that a column must have before others are read so: one may
#: be a typing error.
_LEAST_MONTH_FIRST: Final = 2
#: Dates of payments and of joining are rarely older than this many years. It matters where a date
#: of two-digit parts could also be read as a recent one.
_USUAL_YEARS: Final = 50
#: South Africa is two hours ahead of UTC all year.
_OWN_OFFSET: Final = 120
_DAY_MINUTES: Final = 24 * 60

_TIME: Final = (
    r"[ T,]+(?:at )?[0-9]{1,2}[:h.][0-9]{2}(?:[:.][0-9]{2}(?:[.,][0-9]+)?)?"
    r"(?: ?[ap]\.?m\.?| ?[vn]m\.?)?"
    r"(?: ?h| ?hrs| ?SAST| ?(?:GMT|UTC)(?:[+-][0-9]{1,4})?(?: ?\([^)]*\))?)?$"
)
_ZONED: Final = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}):([0-9]{2})(?::[0-9]{2}(?:[.,][0-9]+)?)? ?"
    r"(Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)$"
)
_TRIPLE: Final = (
    r"^([0-9]{1,4})(?:\s?[-/.,\\_:|]\s?|\s)([0-9]{1,2})(?:\s?[-/.,\\_:|]\s?|\s)([0-9]{1,4})\.?$"
)
#: A date cell of a workbook, as its reader gives it, with the day.
_DATE_CELL: Final = r"^[0-9]{4}-[0-9]{2}-([0-9]{2}) [0-9]{2}:[0-9]{2}:[0-9]{2}$"
_MONTHS: Final = 12
#: Dates of each kind that a column must have before its date cells are doubted.
_LEAST_SWAPPED: Final = 2
_SWAPPED: Final = pl.Series(["date_cells_swapped"])
_COMPACT: Final = r"^([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})(?:\.0)?$"


@dataclass(slots=True)
class Evidence:
    """Counts of a column's dates that prove an order."""

    day_first: int = 0
    month_first: int = 0
    year_first: int = 0
    year_last: int = 0
    #: Dates that the order decides.
    open_days: int = 0
    open_years: int = 0
    #: Dates that the spreadsheet program recognised, with a day up to 12 and with a later one.
    early_cells: int = 0
    late_cells: int = 0

    def add(self, other: Evidence) -> None:
        """Count those of another batch of the column as well."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @property
    def order(self) -> Order:
        """What the column decides."""
        is_day_first: bool | None = None
        if self.day_first and not self.month_first:
            is_day_first = True
        elif self.month_first >= _LEAST_MONTH_FIRST and not self.day_first:
            is_day_first = False
        is_year_first: bool | None = None
        if bool(self.year_first) != bool(self.year_last):
            is_year_first = bool(self.year_first)
        return Order(is_day_first, is_year_first, are_cells_swapped=self._are_cells_swapped)

    @property
    def _are_cells_swapped(self) -> bool:
        """Whether the program took the dates that it could for those of another order.

        Of dates in the order of another country it recognises those with a day up to 12, with day
        and month swapped, and leaves the others as text.
        """
        left = max(self.day_first, self.month_first)
        is_split = not (self.late_cells or self.open_days or (self.day_first and self.month_first))
        return is_split and min(self.early_cells, left) >= _LEAST_SWAPPED

    def matters(self, before: Order, after: Order) -> bool:
        """Whether another order would change how a column with this evidence is read."""
        days = before.is_day_first is not after.is_day_first
        years = before.is_year_first is not after.is_year_first
        cells = before.are_cells_swapped is not after.are_cells_swapped
        return bool(
            (days and (self.open_days or self.month_first))
            or (years and self.open_years)
            or (cells and self.early_cells)
        )


class Order(NamedTuple):
    """The order of a column's dates; None where it is undecided."""

    is_day_first: bool | None = None
    is_year_first: bool | None = None
    #: Day and month of the date cells are probably the other way round.
    are_cells_swapped: bool = False


class Used(NamedTuple):
    """How the dates of a batch were read."""

    evidence: Evidence
    order: Order


class Orders:
    """The orders of the dates of a file's columns, learned batch by batch.

    A batch is read by what is known up to it. When all are, ``differs`` says which batches the
    whole file would read otherwise.
    """

    def __init__(self) -> None:
        self._columns: dict[tuple[str, str], Evidence] = {}
        #: Whether all batches were seen: a batch that is read again then adds nothing.
        self.is_final = False

    @classmethod
    def of(cls, stored: Sequence[Sequence[Any]]) -> Orders:
        """The orders of another file, from ``as_json``; the rows that are read learn nothing."""
        orders = cls()
        orders._columns = {(field, header): Evidence(*counts) for field, header, counts in stored}
        orders.is_final = True
        return orders

    def as_json(self) -> list[list[Any]]:
        """For ``of``: the field, the header and the counts of each column."""
        return [
            [field, header, [getattr(found, one.name) for one in fields(found)]]
            for (field, header), found in self._columns.items()
        ]

    def learn(self, field: str, texts: pl.Series, today: dt.date, header: str) -> Used:
        """The order of a column, including the evidence in this batch."""
        known = self._columns.setdefault((field, header), Evidence())
        own = evidence(texts, today, header)
        if not self.is_final:
            known.add(own)
        return Used(own, known.order)

    def differs(self, used: Mapping[tuple[str, str], Used]) -> bool:
        """Whether a batch that was read in these orders would be read differently now."""
        return any(
            one.evidence.matters(one.order, self._columns[column].order)
            for column, one in used.items()
        )


def evidence(texts: pl.Series, today: dt.date, header: str = "") -> Evidence:
    """How the dates among some distinct, clean texts of a column are written.

    Two-digit years are near to today. A header such as "Date (dd/mm/yyyy)" counts as two dates of
    that order.
    """
    hint = date_order(header)
    both = 2 if hint else 0
    found = Evidence(
        day_first=both * (hint == "dmy"),
        month_first=both * (hint == "mdy"),
        year_first=both * (hint == "ymd"),
        year_last=both * (hint in {"dmy", "mdy"}),
    )
    compact = texts.str.extract(r"^([0-9]{6}|[0-9]{8})(?:\.0)?$").drop_nulls()
    six = compact.str.len_bytes() == 6
    found.open_years += int(six.sum())
    found.open_days += int((~six & ~compact.str.contains("^(?:19|20)")).sum())
    days = texts.str.extract(_DATE_CELL).cast(pl.Int32)
    if days.null_count() < len(days):
        is_same = days == texts.str.slice(5, 2).cast(pl.Int32, strict=False)
        found.early_cells = int(((days <= _MONTHS) & ~is_same).sum())
        found.late_cells = int((days > _MONTHS).sum())
    parts = _parts(texts, today, 1)
    if parts.is_empty():
        return found
    counted = parts.select(
        dmy=_is_valid("dmy"),
        mdy=_is_valid("mdy"),
        ymd=_is_valid("ymd"),
        is_same=pl.col("a") == pl.col("b"),
        is_long=(pl.col("la") > 2) | (pl.col("lc") > 2),
        is_slashed=~pl.col("cell").str.contains("-", literal=True),
    ).select(
        day_first=(pl.col("dmy") & ~pl.col("mdy") & ~pl.col("ymd")).sum(),
        month_first=(pl.col("mdy") & ~pl.col("dmy") & ~pl.col("ymd")).sum(),
        # The reader gives every date cell year first with dashes, so it shows no order.
        year_first=(
            pl.col("ymd")
            & ~pl.col("dmy")
            & ~pl.col("mdy")
            & (pl.col("is_slashed") | ~pl.col("is_long"))
        ).sum(),
        year_last=((pl.col("dmy") | pl.col("mdy")) & ~pl.col("ymd")).sum(),
        open_days=(pl.col("dmy") & pl.col("mdy") & ~pl.col("is_same")).sum(),
        open_years=(pl.col("ymd") & (pl.col("dmy") | pl.col("mdy"))).sum(),
    )
    found.add(Evidence(**counted.row(0, named=True)))
    return found


def dates(
    texts: pl.Series, order: Order, field: str, today: dt.date, *, is_1904: bool = False
) -> Understood:
    """The dates that distinct, clean texts name, in the order that the whole column has.

    ``field`` is ``date_joined``, ``last_payment`` or ``expiry_date``. Two-digit years and undecided
    dates are near to today. ``is_1904``: the workbook counts days from 1904 instead of 1900.
    """
    ahead = _YEARS_AHEAD.get(field, 1)

    def odd(text: str) -> Reading:
        return _read(text, order, field, today)

    values = texts.to_frame("cell").select(_plain(texts, is_1904=is_1904)).to_series()
    is_plain = values.is_not_null()
    doubts = pl.Series([None], dtype=pl.String).new_from_index(0, len(texts))
    if order.are_cells_swapped:
        is_cell = texts.str.contains(_DATE_CELL) & (values.dt.day() != values.dt.month())
        doubts = doubts.zip_with(~is_cell.fill_null(value=False), _SWAPPED)
    parts = _parts(texts, today, ahead, ~is_plain)
    if parts.height:
        read = parts.select("place", *_ordered(order, today))
        values = values.scatter(read["place"], read["date"])
        doubts = doubts.scatter(read["place"], read["doubt"])
    is_odd = values.is_null() & doubts.is_null() & texts.is_not_null()
    return with_odd(texts, Understood(values, doubts), is_odd, odd)


def _plain(texts: pl.Series, *, is_1904: bool) -> pl.Expr:
    """Dates that can be read in one way only, by columns: ISO, year first, serial numbers."""
    cell = pl.col("cell")
    text = cell
    if texts.str.contains(":", literal=True).any():
        text = text.str.replace(r"[ T][0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?(?:\.[0-9]+)?$", "")
    parts = text.str.extract_groups(
        r"^(?:([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})|([0-9]{8})(?:\.0)?)$"
    )
    year, month, day, eight = (parts.struct.field(name) for name in ("1", "2", "3", "4"))
    digits = pl.coalesce(year + month.str.zfill(2) + day.str.zfill(2), eight)
    iso = digits.str.to_date("%Y%m%d", strict=False)
    days = cell.str.extract(r"^([0-9]{5})(?:[.,][0-9]+)?$").cast(pl.Int32, strict=False)
    if is_1904:
        days = days + DAYS_TO_1904
    serial = pl.when(days.is_between(*SERIALS)).then((days - EXCEL_EPOCH_DAYS).cast(pl.Date))
    found = pl.coalesce(iso, serial)
    return pl.when(found >= FIRST_DAY).then(found)


def _parts(
    texts: pl.Series, today: dt.date, ahead: int, where: pl.Series | None = None
) -> pl.DataFrame:
    """The texts of three numbers, whose order is to be found, with their parts.

    Two digits may mean a year up to ``ahead`` years after today's. ``where`` are the texts to look
    at, by default all.

    Returns:
        ``place`` among the texts, ``cell``, the parts ``a``, ``b`` and ``c`` and how many digits
        ``la`` and ``lc`` have, and the dates ``dmy``, ``mdy`` and ``ymd``, null where none is.
    """
    cell = pl.col("cell")
    rows = texts.to_frame("cell").with_row_index("place")
    if where is not None:
        rows = rows.filter(where)
    # A date is short, and a column of dates that can be read in one way only has none of these.
    rows = rows.filter(cell.str.contains(r"^'?[0-9]{1,4}[-/., \\_:|]+[0-9]{1,2}[-/., \\_:|]+[0-9]"))
    rows = rows.with_columns(
        cell.str.strip_prefix("'").str.replace(f"(?i){_TIME}", "").str.strip_chars()
    )
    groups = cell.str.extract_groups(_TRIPLE)
    a, b, c = (groups.struct.field(name) for name in ("1", "2", "3"))
    rows = rows.select(
        "place",
        "cell",
        a=a.cast(pl.Int32),
        b=b.cast(pl.Int32),
        c=c.cast(pl.Int32),
        la=a.str.len_bytes(),
        lc=c.str.len_bytes(),
    ).filter(pl.col("a").is_not_null())
    is_year_first = pl.col("la").is_in([2, 4]) & (pl.col("lc") <= 2)
    is_year_last = pl.col("lc").is_in([2, 4]) & (pl.col("la") <= 2)
    latest = today.year + ahead
    rows = rows.with_columns(
        dmy=pl.when(is_year_last).then(_date(_year("c", "lc", latest), "b", "a")),
        mdy=pl.when(is_year_last).then(_date(_year("c", "lc", latest), "a", "b")),
        ymd=pl.when(is_year_first).then(_date(_year("a", "la", latest), "b", "c")),
    )
    # If one of "year first" and "year last" gives an unusual year, it is no possible reading.
    oldest = pl.lit(dt.date(today.year - _USUAL_YEARS, 1, 1))
    last, first = pl.coalesce("dmy", "mdy"), pl.col("ymd")
    return rows.with_columns(
        dmy=pl.when(~((first >= oldest) & (last < oldest)).fill_null(value=False)).then("dmy"),
        mdy=pl.when(~((first >= oldest) & (last < oldest)).fill_null(value=False)).then("mdy"),
        ymd=pl.when(~((last >= oldest) & (first < oldest)).fill_null(value=False)).then("ymd"),
    )


def _year(name: str, length: str, latest: int) -> pl.Expr:
    """The year that a part means: two digits are the last years up to ``latest``."""
    two = pl.col(name) + 2000
    within = pl.when(two <= latest).then(two).otherwise(two - 100)
    return pl.when(pl.col(length) == 2).then(within).otherwise(pl.col(name))


def _date(year: pl.Expr, month: str, day: str) -> pl.Expr:
    digits = (year * 10_000 + pl.col(month) * 100 + pl.col(day)).cast(pl.String)
    found = digits.str.to_date("%Y%m%d", strict=False)
    in_range = (
        year.is_between(1900, 9999)
        & pl.col(month).is_between(1, 12)
        & pl.col(day).is_between(1, 31)
    )
    return pl.when(in_range & (found >= FIRST_DAY)).then(found)


def _is_valid(order: str) -> pl.Expr:
    return pl.col(order).is_not_null()


def _ordered(order: Order, today: dt.date) -> tuple[pl.Expr, pl.Expr]:
    """The date of three numbers in the order of their column, and its doubt."""
    dmy, mdy, ymd = pl.col("dmy"), pl.col("mdy"), pl.col("ymd")
    is_open = dmy.is_not_null() & mdy.is_not_null() & (dmy != mdy)
    month_first = pl.lit("date_month_first")
    last_doubt: pl.Expr
    if order.is_day_first is False:
        last, last_doubt = pl.coalesce(mdy, dmy), pl.when(is_open).then(month_first)
    else:
        last = pl.coalesce(dmy, mdy)
        open_doubt = pl.lit("date_ambiguous" if order.is_day_first is None else None, pl.String)
        last_doubt = (
            pl.when(is_open)
            .then(open_doubt)
            .when(dmy.is_null() & mdy.is_not_null())
            .then(month_first)
        )
    doubt: pl.Expr
    if order.is_year_first is not None:
        first, second = (ymd, last) if order.is_year_first else (last, ymd)
        is_first = first.is_not_null()
        date = pl.coalesce(first, second)
        by_last = ~is_first if order.is_year_first else is_first
        doubt = pl.when(by_last & last.is_not_null()).then(last_doubt)
    else:
        now = pl.lit(today)
        ymd_is_nearer = (ymd - now).abs() < (last - now).abs()
        date = pl.when(ymd_is_nearer | last.is_null()).then(ymd).otherwise(last)
        both = ymd.is_not_null() & last.is_not_null() & (ymd != last)
        year_unclear = pl.when(both).then(pl.lit("date_year_unclear"))
        doubt = pl.when(last.is_not_null()).then(pl.coalesce(last_doubt, year_unclear))
    unclear = pl.when(date.is_null()).then(pl.lit("date_unclear"))
    return date.alias("date"), pl.coalesce(unclear, doubt).alias("doubt")


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
_ANY_TIME: Final = re.compile(_TIME, re.IGNORECASE)
_WITH_ZONE: Final = re.compile(_ZONED)
_EIGHT: Final = re.compile(_COMPACT)
_SIX: Final = re.compile(r"^([0-9]{2})([0-9]{2})([0-9]{2})(?:\.0)?$")
_NUMBERS: Final = re.compile(_TRIPLE)


def _read(text: str, order: Order, field: str, today: dt.date) -> Reading:
    """The date of a text that no column of expressions understands."""
    unclear = "date_unclear"
    if len(text) > MOST_CHARS:
        return None, unclear
    if field == "expiry_date" and key(text) in _lifetime():
        return NEVER, "expiry_lifetime"
    text = text.removeprefix("'").strip().rstrip(".")
    if (zoned := _WITH_ZONE.match(text)) is not None:
        return _of_moment(zoned) or (None, unclear)
    text = _ANY_TIME.sub("", text).strip()
    weekday, rest = _weekday(text)
    latest = today.year + _YEARS_AHEAD.get(field, 1)
    found = _named(rest, latest) or _compact(rest, order, latest, today)
    if found is None and weekday is not None and (match := _NUMBERS.match(rest)) is not None:
        found = _of_weekday(match, weekday, latest)
    if found is None:
        is_part = _PART_OF_DATE.match(rest) is not None and not set(rest) <= set("0-/. ")
        return None, "date_incomplete" if is_part else unclear
    date, doubt = found
    if weekday is not None and date.isoweekday() != weekday:
        doubt = doubt or "date_weekday"
    return (date, doubt) if date >= FIRST_DAY else (None, unclear)


def _named(text: str, latest: int) -> tuple[dt.date, str | None] | None:
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


def _compact(
    text: str, order: Order, latest: int, today: dt.date
) -> tuple[dt.date, str | None] | None:
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


def _of_days(
    day_first: dt.date | None, month_first: dt.date | None, order: Order
) -> tuple[dt.date, str | None] | None:
    """The date that the column's order of days and months decides."""
    if day_first is None or (order.is_day_first is False and month_first not in {None, day_first}):
        return (month_first, "date_month_first") if month_first else None
    is_open = month_first not in {None, day_first} and order.is_day_first is None
    return day_first, "date_ambiguous" if is_open else None


def _of_years(
    by_year: dt.date | None, by_day: dt.date | None, order: Order, today: dt.date
) -> tuple[dt.date, str | None] | None:
    """The date that the column's place of the year decides, or the one that is nearer to today."""
    if by_year is None or by_day is None or by_year == by_day:
        only = by_year or by_day
        return (only, None) if only else None
    if order.is_year_first is not None:
        return by_year if order.is_year_first else by_day, None
    return min((by_year, by_day), key=lambda date: abs(date - today)), "date_year_unclear"


def _of_weekday(
    match: re.Match[str], weekday: int, latest: int
) -> tuple[dt.date, str | None] | None:
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
        for number, names in _written()[kind].items()
        for name in names
    }


@cache
def _cut_names() -> tuple[tuple[str, int], ...]:
    """The names that may be cut: English and Afrikaans, which come first in the table."""
    return tuple(
        (_plain_word(name), int(number))
        for number, names in _written()["month"].items()
        for name in names[:2]
    )


@cache
def _lifetime() -> frozenset[str]:
    return frozenset(key(word) for word in values()["lifetime"]["words"])


@cache
def _written() -> Mapping[str, Any]:
    text = files("rollbook.pipeline").joinpath("months.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
