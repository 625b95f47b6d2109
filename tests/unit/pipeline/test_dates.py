"""Dates: read right, or flagged, or left out with a doubt; never silently another day."""

from __future__ import annotations

import datetime as dt
import random
from typing import TYPE_CHECKING

import polars as pl
import pytest
from babel import Locale
from dateutil import parser  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from rollbook.pipeline import cells
from rollbook.pipeline.date_texts import NEVER
from rollbook.pipeline.dates import Evidence, Order, dates, evidence
from tests.examples import few

if TYPE_CHECKING:
    from collections.abc import Sequence

TODAY = dt.date(2026, 11, 28)
MAY_3 = dt.date(2024, 5, 3)
#: The official languages that Unicode has names of months for.
LANGUAGES = ("en", "en_ZA", "af", "zu", "xh", "nso", "st", "tn", "ss", "ve", "ts", "nr")


def read(
    texts: Sequence[str], field: str = "date_joined", header: str = ""
) -> list[tuple[dt.date | None, str | None]]:
    """The dates of a whole column, with their doubts."""
    column = cells.without_nothing(cells.clean(cells.shown(pl.Series("cell", texts))))
    order = evidence(column, TODAY, header).order
    found = dates(column, order, field, TODAY)
    return list(zip(found.values, found.doubts, strict=True))


@pytest.mark.parametrize(
    "cell",
    [
        "2024-05-03", "2024/05/03", "2024/5/3", "2024.05.03", "2024 05 03", "20240503",
        "20240503.0", "45415", "45415.0", "45415.99", "45415,5", "'2024-05-03", "2024-05-03T10:11",
        "2024-05-03 10:11:12", "2024-05-03T10:11:12.123", "2024-05-03T00:00:00Z",
        "2024-05-03T00:00:00+02:00", "2024-05-03T22:15:00+02:00", "2024-05-03T21:59:59Z",
        "2024-05-03 00:00:00+00", "2024-05-03 10:11 AM", "3 May 2024", "03 May 2024", "3-May-2024",
        "3-May-24", "3/May/2024", "3.May.2024", "3May2024", "3 MAY 2024", "3 may 2024",
        "3rd May 2024",
        "3rd of May 2024", "3 of May, 2024", "May 3, 2024", "May 3 2024", "May 3rd, 2024",
        "May-03-2024",
        "2024 May 3", "2024-May-03", "Fri 3 May 2024", "Friday, 3 May 2024", "Fri, 03 May 2024",
        "Fri May 03 2024", "Fri, 03 May 2024 00:00:00 GMT",
        "Fri May 03 2024 00:00:00 GMT+0200 (South Africa Standard Time)", "Vrydag 3 Mei 2024",
        "3 Mei 2024", "3de Mei 2024", "3 Meyi 2024", "3 uNhlaba 2024", "3 EyoCanzibe 2024",
        "uLwesihlanu 3 Meyi 2024", "Fri 03/05/2024", "Fri 05/03/2024", "3 May '24",
        "3\u00a0May\u00a02024",
        "\u200e3/May/2024", "2024-05-03.", " 2024-05-03 ", "2024\\05\\03",
        "2024_05_03", "2024-05-03 08h30", "2024-05-03, 08:30", "2024-05-03 08:30:00 SAST",
        # A date cell that shows only the day of the week.
        "2024-05-03 (Friday)", "2024-05-03 (Fri)", "2024-05-03 (uLwesihlanu)",
    ],
)  # fmt: skip
def test_a_date_that_can_be_read_in_one_way_only_needs_no_doubt(cell: str) -> None:
    assert read([cell]) == [(MAY_3, None)]


@pytest.mark.parametrize(
    ("cell", "date", "code"),
    [
        ("03/05/2024", MAY_3, "date_ambiguous"), ("3.5.2024", MAY_3, "date_ambiguous"),
        ("03-05-2024 12:00:00 AM", MAY_3, "date_ambiguous"), ("03/05/24", MAY_3, "date_ambiguous"),
        ("24/05/03", MAY_3, "date_year_unclear"), ("240503", MAY_3, "date_year_unclear"),
        ("03052024", MAY_3, "date_ambiguous"),
        ("05132024", dt.date(2024, 5, 13), "date_month_first"),
        ("05/13/2024", dt.date(2024, 5, 13), "date_month_first"),
        ("2024-05-02T22:00:00.000Z", MAY_3, "date_time_zone"),
        ("Mon 3 May 2024", MAY_3, "date_weekday"),
        ("Wed 03/05/2024", MAY_3, "date_weekday"),
        ("2024-05-03 (May)", MAY_3, "date_shown_in_part"),
        ("2024-05-03 (3 Fri)", MAY_3, "date_shown_in_part"),
    ],
)  # fmt: skip
def test_a_date_that_can_be_read_otherwise_is_flagged(cell: str, date: dt.date, code: str) -> None:
    [(found, doubt)] = read([cell])
    assert found == date
    assert doubt in {code, "date_ambiguous"}


@pytest.mark.parametrize(
    "cell",
    [
        "0", "00/00/0000", "0000-00-00", "30/02/2024", "2023-02-29", "31 April 2024", "2024-13-05",
        "2024-05-32", "soon", "3 Smarch 2024", "3/5", "05/2024 (approx)", "1899-12-31 08:15:00",
        "1900-01-01", "0024-05-03", "3/5/024", "12345678", "99999", "123456",
        "2024-05-03 to 2024-06-03",
        "3 of 5 2024", "Q2 2024", "2024-W18", "last week", "03/05/2024?", "x" * 5000, "1" * 5000,
        "32 May 2024", "0 May 2024", "-45415", "4.5415E+04", "2024-02-31 (Feb 24)",
        "0000-05-03 (May)",
    ],
)  # fmt: skip
def test_what_is_no_date_is_left_out_with_a_doubt(cell: str) -> None:
    assert read([cell]) == [(None, "date_unclear")]


@pytest.mark.parametrize(
    "cell", ["2024", "May 2024", "05/2024", "2024-05", "May-24", "24 May", "Mei 2024"]
)
def test_a_part_of_a_date_is_none(cell: str) -> None:
    assert read([cell]) == [(None, "date_incomplete")]


@pytest.mark.parametrize("cell", ["", " ", "N/A", "n/a", "-", "--", "NULL", "NaT", ".", "(blank)"])
def test_a_cell_that_says_nothing_has_no_doubt(cell: str) -> None:
    assert read([cell]) == [(None, None)]


@pytest.mark.parametrize(
    "cell", ["Lifetime", "LIFE", "Life Member", "lewenslank", "Never", "9999-12-31"]
)
def test_a_membership_for_life_never_expires(cell: str) -> None:
    assert read([cell], "expiry_date")[0][0] == NEVER
    if cell != "9999-12-31":
        assert read([cell]) == [(None, "date_unclear")]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", ["wide", "abbreviated"])
def test_months_in_every_official_language_are_right_or_left_out(language: str, width: str) -> None:
    months = Locale.parse(language).months["format"][width]
    is_whole = width == "wide" or language in {"en", "en_ZA", "af", "zu", "xh"}
    found = read([f"3 {name} 2024" for name in months.values()])
    for (number, name), (date, doubt) in zip(months.items(), found, strict=True):
        if (language, name) == ("st", "Jan"):
            continue  # June in Unicode's Sesotho, and January for everybody else.
        expected = dt.date(2024, number, 3)
        assert (date, doubt) == (expected, None) or (not is_whole and date is None), name


@pytest.mark.parametrize("language", ["en", "af", "zu", "xh"])
def test_weekdays_in_the_four_languages_are_known(language: str) -> None:
    for day, name in Locale.parse(language).days["format"]["wide"].items():
        date = dt.date(2024, 4, 29) + dt.timedelta(days=day)
        assert read([f"{name} {date:%d/%m/%Y}", "25/12/2024"])[0] == (date, None), name


_WHOLE = ("%Y-%m-%d", "%Y/%m/%d", "%d %B %Y", "%d-%b-%Y", "%B %d, %Y", "%Y%m%d", "%A, %d %B %Y")
_BY_ORDER = {
    "dmy": ("%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%d/%m/%y", "%d/%m/%Y %H:%M"),
    "mdy": ("%m/%d/%Y", "%m-%d-%Y", "%m/%d/%y", "%m/%d/%Y %I:%M %p"),
    "ymd": ("%y/%m/%d", "%y-%m-%d", "%y.%m.%d"),
}
_DAYS = st.dates(dt.date(1980, 1, 1), TODAY)


@given(days=st.lists(_DAYS, min_size=1, max_size=8), form=st.sampled_from(_WHOLE))
@settings(max_examples=few(12, more=60), deadline=None)
def test_other_readers_agree_on_dates_of_one_reading(days: list[dt.date], form: str) -> None:
    texts = [day.strftime(form) for day in days]
    assert read(texts) == [(parser.parse(text).date(), None) for text in texts]


@given(
    days=st.lists(_DAYS, min_size=1, max_size=12),
    order=st.sampled_from(sorted(_BY_ORDER)),
    randomness=st.randoms(use_true_random=False),
)
@settings(max_examples=few(20, more=100), deadline=None)
def test_a_column_of_one_order_is_never_silently_wrong(
    days: list[dt.date], order: str, randomness: random.Random
) -> None:
    texts = [day.strftime(randomness.choice(_BY_ORDER[order])) for day in days]
    for day, text, (date, doubt) in zip(days, texts, read(texts), strict=True):
        assert date == day or doubt is not None, (text, date, texts)


@given(days=st.lists(_DAYS, min_size=1, max_size=12), order=st.sampled_from(sorted(_BY_ORDER)))
@settings(max_examples=few(15, more=40), deadline=None)
def test_a_header_that_says_the_order_decides_it(days: list[dt.date], order: str) -> None:
    form = _BY_ORDER[order][0]
    words = {"dmy": "dd/mm/yyyy", "mdy": "mm/dd/yyyy", "ymd": "yy/mm/dd"}[order]
    found = read([day.strftime(form) for day in days], header=f"Date Joined ({words})")
    assert [date for date, _ in found] == days


@given(st.lists(st.text("0123456789/-. :TZMayeivrdth'", max_size=16), min_size=1, max_size=5))
@settings(max_examples=few(20, more=100), deadline=None)
def test_no_text_is_too_odd_to_be_read(texts: list[str]) -> None:
    for date, doubt in read(texts):
        assert date is None or dt.date(1927, 5, 18) <= date <= NEVER
        assert doubt is None or doubt.startswith("date_")


def test_the_evidence_of_batches_adds_up_to_that_of_the_whole() -> None:
    randomness = random.Random(7)
    whole = [
        "/".join(f"{randomness.randint(low, high):02}" for low, high in ((1, 31), (1, 12), (0, 99)))
        for _ in range(200)
    ]
    texts = list(dict.fromkeys(whole))
    added = Evidence()
    for start in range(0, len(texts), 30):
        added.add(evidence(pl.Series("cell", texts[start : start + 30]), TODAY))
    assert added == evidence(pl.Series("cell", texts), TODAY)
    assert added.order == Order(is_day_first=True, is_year_first=None)


def test_a_batch_is_read_again_only_where_the_order_matters() -> None:
    seen = evidence(pl.Series("cell", ["2024-05-03", "3 May 2024"]), TODAY)
    assert not seen.matters(Order(), Order(is_day_first=False, is_year_first=True))
    seen = evidence(pl.Series("cell", ["05/03/2024"]), TODAY)
    assert seen.matters(Order(), Order(is_day_first=False, is_year_first=False))
    assert not seen.matters(Order(is_day_first=True), Order(is_day_first=True, is_year_first=False))


#: Dates that a program recognised have a day up to 12; what it left as text has a later one.
_LEFT_AS_TEXT = {
    "mdy": ["03/25/2024", "11/17/2023", "08/30/2023"], "dmy": ["25/03/2024", "17-11-2023"],
    "ydm": ["2024-25-03", "2023/17/11"],
}  # fmt: skip


@pytest.mark.parametrize("left", sorted(_LEFT_AS_TEXT))
@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y/%m/%d", "%d-%b-%y", "%d %B %Y"])
def test_dates_in_text_that_a_program_may_have_swapped_are_flagged(left: str, form: str) -> None:
    days = [dt.date(2024, 5, 3), dt.date(2023, 11, 2), dt.date(2024, 1, 9), dt.date(2023, 7, 12)]
    found = read([day.strftime(form) for day in days] + _LEFT_AS_TEXT[left])
    assert found[:4] == [(day, "date_cells_swapped") for day in days]
    assert all(doubt != "date_cells_swapped" for _, doubt in found[4:])


@pytest.mark.parametrize(
    "others",
    [
        ["2024-05-03", "2023-11-02", "2024-01-09", "2023-07-12", "2023-07-13"],
        ["2024-03-01", "2023-11-01", "2024-01-01", "2023-07-01", "2022-02-01", "2023-08-07"],
        ["2024-05-03", "2023-11-02", "2024-01-09"],
        ["3 May 2024", "2 Nov 2023", "9 Jan 2024", "12 Jul 2023", "30 Jul 2023"],
    ],
)
def test_dates_of_two_lists_are_not_taken_for_swapped_ones(others: list[str]) -> None:
    assert all(doubt is None for _, doubt in read([*others, *_LEFT_AS_TEXT["dmy"]]))


def test_a_date_of_six_digits_that_lost_its_first_zero_is_no_serial_number() -> None:
    found = read(["311223", "41223", "150224", "50124.0", "45415"])
    assert found[1] == (dt.date(2023, 12, 4), "date_year_unclear")
    assert found[3] == (dt.date(2024, 1, 5), "date_year_unclear")
    # No month is 54.
    assert found[4] == (MAY_3, None)
    assert read(["41223"]) == [(dt.date(2012, 11, 10), None)]


def test_a_batch_is_read_again_where_later_ones_show_six_digits_or_swapped_dates() -> None:
    seen = evidence(pl.Series("cell", ["41223", "2024-05-03"]), TODAY)
    assert seen.matters(Order(), Order(has_six_digits=True))
    assert seen.matters(Order(), Order(are_cells_swapped=True))
