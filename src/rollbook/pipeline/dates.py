"""Dates as people and programs write them.

A date of digits may be read in several orders: ``05/03/2024`` has the day first or the month, and
in ``24/05/03`` the year may also be first. The whole column decides (``Evidence``): dates that can
be read in only one order show the writer's order. If they don't decide, a date is read day first,
or, if the year could be first as well, as the date nearer to today; such a date is always flagged.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import polars as pl

from rollbook.pipeline.cells import Understood, nulls, with_odd
from rollbook.pipeline.columns import date_order
from rollbook.pipeline.date_texts import FIRST_DAY, MONTHS, SERIALS, TIME, TRIPLE, YEARS_AHEAD, read
from rollbook.spreadsheets.books.values import DAYS_TO_1904

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Excel's serial number of 1 January 1970.
EXCEL_EPOCH_DAYS: Final = 25_569
#: Provable dates with the month first that a column must have before others are read so: one may
#: be a typing error.
_LEAST_MONTH_FIRST: Final = 2
#: Dates of payments and of joining are rarely older than this many years. It matters where a date
#: of two-digit parts could also be read as a recent one.
_USUAL_YEARS: Final = 50
_LEAST_YEAR: Final = 1900
#: A date cell of a workbook, as its reader gives it, with the day.
_DATE_CELL: Final = r"^[0-9]{4}-[0-9]{2}-([0-9]{2}) [0-9]{2}:[0-9]{2}:[0-9]{2}$"
_YEAR_AND_DASH: Final = "^[0-9]{4}-"
#: Dates in text that say their order, as a program writes those that it recognised: the parts after
#: the year, and the day before a month's name.
_YEAR_FIRST: Final = r"^[0-9]{4}[-/]([0-9]{1,2})[-/]([0-9]{1,2})(?:$|[ T][0-9]{1,2}:)"
_DAY_AND_NAME: Final = r"^([0-9]{1,2})[- /](?:[^\W\d_]{3,9})[- /][0-9]{2,4}$"
#: "41223" among dates such as "150324": the number lost its first zero. It may also be a serial
#: number, which is never one of the last years then.
_FIVE_OF_SIX: Final = r"^[1-9](?:0[1-9]|1[0-2])[0-9]{2}(?:\.0)?$"
#: Dates of each kind that a column must have before its date cells are doubted.
_LEAST_SWAPPED: Final = 2
#: The same for texts that say their order: others may have typed them.
_LEAST_SWAPPED_TEXTS: Final = 4
#: One in so many doesn't clear the others: it was typed later, or comes from another list. Of right
#: dates, three in five have a day after the 12th.
_FEW_CELLS: Final = 9
_FEW_TEXTS: Final = 5
_SWAPPED: Final = pl.Series(["date_cells_swapped"])
_NO_DATE: Final = pl.Series([None], dtype=pl.Date)


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
    #: The same in text. The first of a month is left out, since many people join or pay on it.
    early_texts: int = 0
    late_texts: int = 0
    #: Those that begin with the year and are none with the month after it: "2024-25-03".
    day_after_year: int = 0
    #: Dates of six digits, and numbers that may be such a date without its first zero.
    six_digits: int = 0
    five_digits: int = 0

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
        return Order(is_day_first, is_year_first, self._are_cells_swapped, self.six_digits > 0)

    @property
    def _are_cells_swapped(self) -> bool:
        """Whether the program took the dates that it could for those of another order.

        Of dates in the order of another country it recognises those with a day up to 12, with day
        and month swapped, and leaves the others as text.
        """
        left = max(self.day_first, self.month_first, self.day_after_year)
        odd = self.open_days + self.day_first + self.month_first + self.day_after_year - left
        early, late = self.early_cells + self.early_texts, self.late_cells + self.late_texts
        is_split = _FEW_CELLS * late <= early + late and _FEW_TEXTS * odd <= left + odd
        is_enough = self.early_cells >= _LEAST_SWAPPED or early >= _LEAST_SWAPPED_TEXTS
        return is_split and is_enough and left >= _LEAST_SWAPPED

    def matters(self, before: Order, after: Order) -> bool:
        """Whether another order would change how a column with this evidence is read."""
        days = before.is_day_first is not after.is_day_first
        years = before.is_year_first is not after.is_year_first
        cells = before.are_cells_swapped is not after.are_cells_swapped
        return bool(
            (days and (self.open_days or self.month_first))
            or (years and self.open_years)
            or (cells and (self.early_cells or self.early_texts))
            or (before.has_six_digits is not after.has_six_digits and self.five_digits)
        )


class Order(NamedTuple):
    """The order of a column's dates; None where it is undecided."""

    is_day_first: bool | None = None
    is_year_first: bool | None = None
    #: Day and month of the date cells are probably the other way round.
    are_cells_swapped: bool = False
    #: Some of the dates are six digits.
    has_six_digits: bool = False


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
    if len(compact):
        six = compact.str.len_bytes() == 6
        found.six_digits = int(six.sum())
        found.open_years += found.six_digits
        found.open_days += int((~six & ~compact.str.contains("^(?:19|20)")).sum())
    days = texts.str.extract(_DATE_CELL).cast(pl.Int32)
    if days.null_count() < len(days):
        is_same = days == texts.str.slice(5, 2).cast(pl.Int32, strict=False)
        found.early_cells = int(((days <= MONTHS) & ~is_same).sum())
        found.late_cells = int((days > MONTHS).sum())
    _count_texts(found, texts.filter(days.is_null()))
    # Four digits and a dash can only be a year, so such a date shows no order.
    parts = _parts(texts, today, 1, ~texts.str.contains(_YEAR_AND_DASH))
    if parts.height:
        found.add(Evidence(**parts.select(**_counts()).row(0, named=True)))
    return found


def _count_texts(found: Evidence, texts: pl.Series) -> None:
    """Count the dates in text that say their order, and those without their first zero."""
    if not len(texts):  # all are date cells
        return
    found.five_digits = int(texts.str.contains(_FIVE_OF_SIX).sum())
    parts = texts.str.extract_groups(_YEAR_FIRST)
    middle, last = (parts.struct.field(name).cast(pl.Int32) for name in ("1", "2"))
    is_month = middle <= MONTHS
    named = texts.str.extract(_DAY_AND_NAME).cast(pl.Int32)
    is_early = is_month & (last <= MONTHS) & (last > 1) & (last != middle)
    named_early = (named > 1) & (named <= MONTHS)
    found.early_texts = int(is_early.sum()) + int(named_early.sum())
    found.late_texts = int((is_month & (last > MONTHS)).sum()) + int((named > MONTHS).sum())
    found.day_after_year = int((~is_month & (last <= MONTHS)).sum())


@cache
def _counts() -> Mapping[str, pl.Expr]:
    """The counts of ``Evidence`` of the texts of ``_parts``."""
    dmy, mdy, ymd = (pl.col(order).is_not_null() for order in ("dmy", "mdy", "ymd"))
    is_long = (pl.col("la") > 2) | (pl.col("lc") > 2)
    is_slashed = ~pl.col("cell").str.contains("-", literal=True)
    counted = {
        "day_first": dmy & ~mdy & ~ymd,
        "month_first": mdy & ~dmy & ~ymd,
        # The reader gives every date cell year first with dashes, so it shows no order.
        "year_first": ymd & ~dmy & ~mdy & (is_slashed | ~is_long),
        "year_last": (dmy | mdy) & ~ymd,
        "open_days": dmy & mdy & (pl.col("a") != pl.col("b")),
        "open_years": ymd & (dmy | mdy),
    }
    return {name: rows.sum() for name, rows in counted.items()}


def dates(
    texts: pl.Series, order: Order, field: str, today: dt.date, *, is_1904: bool = False
) -> Understood:
    """The dates that distinct, clean texts name, in the order that the whole column has.

    ``field`` is ``date_joined``, ``last_payment`` or ``expiry_date``. Two-digit years and undecided
    dates are near to today. ``is_1904``: the workbook counts days from 1904 instead of 1900.
    """
    values = _plain(texts, is_1904=is_1904)
    if order.has_six_digits:
        values = values.zip_with(~texts.str.contains(_FIVE_OF_SIX).fill_null(value=False), _NO_DATE)
    is_plain = values.is_not_null()
    doubts = nulls(len(texts))
    if order.are_cells_swapped:
        day = values.dt.day()
        is_told = texts.str.contains(f"{_DATE_CELL}|{_YEAR_FIRST}")
        is_open = is_told & (day <= MONTHS) & (day != values.dt.month())
        doubts = doubts.zip_with(~is_open.fill_null(value=False), _SWAPPED)
    parts = _parts(texts, today, YEARS_AHEAD.get(field, 1), ~is_plain)
    if parts.height:
        ordered = parts.select("place", *_ordered(order, today))
        values = values.scatter(ordered["place"], ordered["date"])
        doubts = doubts.scatter(ordered["place"], ordered["doubt"])
    is_odd = values.is_null() & doubts.is_null() & texts.is_not_null()
    odd = partial(read, order=order, field=field, today=today)
    return with_odd(texts, Understood(values, doubts), is_odd, odd)


def _plain(texts: pl.Series, *, is_1904: bool) -> pl.Series:
    """Dates that can be read in one way only, by columns: ISO, year first, serial numbers."""
    is_cell = texts.str.contains(_DATE_CELL).fill_null(value=False)
    found = pl.Series([None], dtype=pl.Date).new_from_index(0, len(texts))
    # Most dates of a workbook have this form, of which the date is taken without a pattern.
    if (cells := is_cell.arg_true()).len():
        days = texts.gather(cells).str.head(10).str.to_date("%Y-%m-%d", strict=False)
        found = found.scatter(cells, days)
    if (others := (~is_cell & texts.is_not_null()).arg_true()).len():
        rest = texts.gather(others)
        has_time = rest.str.contains(":", literal=True).any()
        plain = _plain_text(has_time=has_time, is_1904=is_1904)
        days = rest.to_frame("cell").select(plain).to_series()
        found = found.scatter(others, days)
    return found.zip_with(found >= FIRST_DAY, _NO_DATE)


@cache
def _plain_text(*, has_time: bool, is_1904: bool) -> pl.Expr:
    """The same of texts that aren't date cells of a workbook."""
    cell = pl.col("cell")
    text = cell
    if has_time:
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
    return pl.coalesce(iso, serial)


def _parts(texts: pl.Series, today: dt.date, ahead: int, where: pl.Series) -> pl.DataFrame:
    """The texts of three numbers, whose order is to be found, with their parts.

    Two digits may mean a year up to ``ahead`` years after today's. ``where`` are the texts to look
    at.

    Returns:
        ``place`` among the texts, ``cell``, the parts ``a``, ``b`` and ``c`` and how many digits
        ``la`` and ``lc`` have, the years ``first`` and ``last``, and the dates ``dmy``, ``mdy`` and
        ``ymd``, null where none is. Without all of these where there is no such text.
    """
    cell = pl.col("cell")
    rows = texts.to_frame("cell").with_row_index("place")
    if not where.any():
        return rows.clear()
    rows = rows.filter(where)
    # A date is short, and a column of dates that can be read in one way only has none of these.
    rows = rows.filter(cell.str.contains(r"^'?[0-9]{1,4}[-/., \\_:|]+[0-9]{1,2}[-/., \\_:|]+[0-9]"))
    if rows.is_empty():
        return rows
    rows = rows.with_columns(
        cell.str.strip_prefix("'").str.replace(f"(?i){TIME}", "").str.strip_chars()
    )
    rows = rows.select("place", "cell", *_three_parts()).filter(pl.col("a").is_not_null())
    rows = rows.with_columns(**_years(today.year + ahead)).with_columns(**_three_dates())
    return rows.with_columns(_possible(today.year))


@lru_cache
def _possible(this_year: int) -> Sequence[pl.Expr]:
    """The three dates but for those that are no possible reading.

    If one of "year first" and "year last" gives an unusual year, it is none.
    """
    oldest = pl.lit(dt.date(this_year - _USUAL_YEARS, 1, 1))
    last, first = pl.coalesce("dmy", "mdy"), pl.col("ymd")
    is_first = ((first >= oldest) & (last < oldest)).fill_null(value=False)
    is_last = ((last >= oldest) & (first < oldest)).fill_null(value=False)
    return [pl.when(~is_first).then(pl.col("dmy", "mdy")), pl.when(~is_last).then("ymd")]


@cache
def _three_parts() -> Sequence[pl.Expr]:
    groups = pl.col("cell").str.extract_groups(TRIPLE)
    a, b, c = (groups.struct.field(name) for name in ("1", "2", "3"))
    numbers = [part.cast(pl.Int32).alias(name) for name, part in (("a", a), ("b", b), ("c", c))]
    return [*numbers, a.str.len_bytes().alias("la"), c.str.len_bytes().alias("lc")]


@lru_cache
def _years(latest: int) -> Mapping[str, pl.Expr]:
    """The year if it comes first, and if it is last; two digits are one up to ``latest``."""
    a, c = pl.col("la"), pl.col("lc")
    return {
        "first": pl.when(((a == 2) | (a == 4)) & (c <= 2)).then(_year("a", "la", latest)),
        "last": pl.when(((c == 2) | (c == 4)) & (a <= 2)).then(_year("c", "lc", latest)),
    }


def _year(name: str, length: str, latest: int) -> pl.Expr:
    """The year that a part means: two digits are the last years up to ``latest``."""
    two = pl.col(name) + 2000
    within = pl.when(two <= latest).then(two).otherwise(two - 100)
    return pl.when(pl.col(length) == 2).then(within).otherwise(pl.col(name))


@cache
def _three_dates() -> Mapping[str, pl.Expr]:
    return {
        "dmy": _date("last", "b", "a"),
        "mdy": _date("last", "a", "b"),
        "ymd": _date("first", "b", "c"),
    }


def _date(year: str, month: str, day: str) -> pl.Expr:
    digits = pl.col(year) * 10_000 + pl.col(month) * 100 + pl.col(day)
    found = digits.cast(pl.String).str.to_date("%Y%m%d", strict=False)
    # A year of fewer digits would take one of the month.
    return pl.when((pl.col(year) >= _LEAST_YEAR) & (found >= FIRST_DAY)).then(found)


@lru_cache
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
