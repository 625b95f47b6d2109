"""Plausibility: flags rows whose cells contradict each other or whose dates are impossible."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import polars as pl

from rollbook.pipeline import names
from rollbook.pipeline.date_texts import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How many years the file's age may exceed the ID number's: some offices count this year's
#: birthday already.
_YEARS_OLDER: Final = 1
#: How many years it may be lower: a list's ages are as old as the list.
_YEARS_YOUNGER: Final = 5

#: Nobody is a member in the first ten years of life.
_CHILD_DAYS: Final = 3652
#: Days that a payment may be earlier than the joining, which an office may confirm later.
_DAYS_BEFORE: Final = 31
#: Years that a membership is paid ahead at most.
_YEARS_AHEAD: Final = 10

#: A field, the code of its doubt, the rows that have it, and the value used for each cell.
Found = tuple[str, str, pl.Series, pl.Series]


def latest_past(today: dt.date) -> dt.date:
    """The last day that has already begun somewhere."""
    return today + dt.timedelta(days=1)


def contradictions(frame: pl.DataFrame, today: dt.date) -> Iterator[Found]:
    """What is doubtful in rows whose cells were understood; a frame for each kind of doubt.

    Runs before an expiry date is counted from the last payment. ``today`` decides what is in the
    future.
    """
    for field in ("gender", "citizenship"):
        said, known = frame[field], frame[f"{field}_from_id"]
        differs = said != known
        if field == "citizenship":
            # A person who isn't a citizen may be a resident or a refugee.
            differs &= (said != "other") | (known == "citizen")
        yield from _where(field, f"{field}_contradicts_id", differs, known)
    yield from _of_names(frame)
    if frame["age"].null_count() < frame.height:
        years = _age(frame["date_of_birth"], today)
        gap = frame["age"].cast(pl.Int32) - years
        differs = (gap > _YEARS_OLDER) | (gap < -_YEARS_YOUNGER)
        yield from _where("age", "age_contradicts_id", differs, years)
    born = frame["date_of_birth"]
    for field in ("date_joined", "last_payment"):
        date = frame[field]
        if date.null_count() < frame.height:
            yield from _where(field, "date_future", date > latest_past(today), date)
            yield from _where(field, "date_before_birth", date < born, date)
            is_child = (date >= born) & (date < born + dt.timedelta(days=_CHILD_DAYS))
            yield from _where(field, "date_in_childhood", is_child, date)
    joined, paid = frame["date_joined"], frame["last_payment"]
    if max(joined.null_count(), paid.null_count()) < frame.height:
        before = (paid < joined - dt.timedelta(days=_DAYS_BEFORE)) & (paid >= born).fill_null(
            value=True
        )
        yield from _where("last_payment", "payment_before_joining", before, paid)
    amount = frame["membership_amount"]
    if max(amount.null_count(), paid.null_count()) < frame.height:
        # The date would count as a payment all the same.
        is_nothing = (amount == 0) & paid.is_not_null()
        yield from _where("membership_amount", "payment_failed", is_nothing, amount)
    expiry = frame["expiry_date"]
    if expiry.null_count() < frame.height:
        yield from _where("expiry_date", "date_before_birth", expiry < born, expiry)
        if joined.null_count() < frame.height:
            before = (expiry < joined) & (expiry >= born).fill_null(value=True)
            yield from _where("expiry_date", "expiry_before_joining", before, expiry)
        before = (expiry < frame["last_payment"]) & (expiry >= born).fill_null(value=True)
        yield from _where("expiry_date", "expiry_before_payment", before, expiry)
        far = (expiry > today.replace(year=today.year + _YEARS_AHEAD, day=1)) & (expiry != NEVER)
        yield from _where("expiry_date", "expiry_far", far, expiry)


def _of_names(frame: pl.DataFrame) -> Iterator[Found]:
    pairs = frame.select(pl.col("firstname", "surname").str.to_lowercase())
    rows = pairs.select(names.suspects()).to_series()
    if not len(rows):
        return
    found = pairs[rows].select(**names.doubtful_pairs())
    nowhere = pl.repeat(value=False, n=frame.height, eager=True)
    for holds, field, code in (
        ("are_swapped", "firstname", "names_swapped"),
        ("is_first_doubtful", "firstname", "name_doubtful"),
        ("is_surname_doubtful", "surname", "name_doubtful"),
    ):
        where = nowhere.clone().scatter(rows, found[holds].fill_null(value=False))
        yield from _where(field, code, where, frame[field])


def _where(field: str, code: str, holds: pl.Series, kept: pl.Series) -> Iterator[Found]:
    if holds.any():
        yield field, code, holds.fill_null(value=False), kept


def _age(born: pl.Series, today: dt.date) -> pl.Series:
    """Whole years since birth."""
    years = today.year - born.dt.year()
    day = born.dt.month().cast(pl.Int32) * 100 + born.dt.day()
    return years - (day > today.month * 100 + today.day).cast(pl.Int32)
