"""The rules of ID numbers, held against python-stdnum."""

from __future__ import annotations

import datetime as dt
import os
import random
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from stdnum.za import idnr

from rollbook.pipeline import id_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

TODAY = dt.date(2026, 11, 24)
#: `make oracle` takes three million.
ORACLE_NUMBERS = int(os.environ.get("ROLLBOOK_ORACLE_NUMBERS", "15000"))
NUMBER = pl.col("n")


def judged(numbers: Sequence[str | None], today: dt.date = TODAY) -> pl.DataFrame:
    return pl.DataFrame({"n": numbers}, schema={"n": pl.String}).select(
        "n",
        valid=id_numbers.is_valid(NUMBER, today),
        born=id_numbers.birth_date(NUMBER, today),
        gender=id_numbers.gender(NUMBER),
        citizenship=id_numbers.citizenship(NUMBER),
    )


def oracle(number: str) -> tuple[bool, dt.date | None, str]:
    try:
        born = idnr.get_birth_date(number)
    except idnr.ValidationError:
        born = None
    return idnr.is_valid(number), born, idnr.get_gender(number)


def candidates(rows: int, seed: int) -> list[str]:
    """Numbers near the rules: real and unreal dates, all citizenships, right and wrong digits."""
    generator = np.random.default_rng(seed)
    year, month, day = (generator.integers(0, top, rows) for top in (100, 14, 33))
    rest = generator.integers(0, 10**6, rows)
    last = generator.integers(0, 10, rows)
    return [
        f"{y:02}{m:02}{d:02}{r:06}{c}"
        for y, m, d, r, c in zip(year, month, day, rest, last, strict=True)
    ]


def test_the_oracle_agrees_on_generated_numbers() -> None:
    # The oracle knows no refugees, and puts a date that is still to come this year into it.
    today = dt.date.today()  # noqa: DTZ011 - the oracle asks the same clock
    numbers = [
        number
        for number in candidates(ORACLE_NUMBERS, seed=13)
        if number[10] != "2" and number[:2] != f"{today:%y}"
    ]
    ours = judged(numbers, today)
    genders = {"female": "F", "male": "M"}
    differences = [
        number
        for number, valid, born, gender, _ in ours.iter_rows()
        if (valid, born, genders[gender]) != oracle(number)
    ]
    assert differences == []
    assert ours["valid"].sum() > ORACLE_NUMBERS // 120


def test_every_check_digit_but_one_is_wrong() -> None:
    body = "800101500908"
    valid = [
        number for number, good, *_ in judged([f"{body}{d}" for d in range(10)]).rows() if good
    ]
    assert valid == [number for d in range(10) if idnr.is_valid(number := f"{body}{d}")]
    assert len(valid) == 1


@pytest.mark.parametrize(
    ("digits", "today", "born"),
    [
        ("261124", TODAY, dt.date(2026, 11, 24)),
        ("261125", TODAY, dt.date(1926, 11, 25)),
        ("000229", TODAY, dt.date(2000, 2, 29)),
        ("010229", TODAY, None),
        ("991231", TODAY, dt.date(1999, 12, 31)),
        ("800230", TODAY, None),
        ("801301", TODAY, None),
        ("991231", dt.date(2099, 12, 31), dt.date(2099, 12, 31)),
    ],
)
def test_the_century_is_decided_by_the_day(
    digits: str, today: dt.date, born: dt.date | None
) -> None:
    assert judged([f"{digits}0000080"], today)["born"].to_list() == [born]


def test_citizens_residents_and_refugees() -> None:
    found = judged([f"8001015009{digit}80" for digit in range(4)])["citizenship"].to_list()
    assert found == ["citizen", "permanent resident", "refugee", None]


@pytest.mark.parametrize(
    "text", ["", "abc", "800101500908", "80010150090871", "80010150O9087", "٨٠٠١٠١٥٠٠٩٠٨٧", None]
)
def test_what_is_no_number_is_answered_and_never_an_error(text: str | None) -> None:
    row = judged([text]).row(0, named=True)
    assert (row["valid"], row["born"], row["gender"], row["citizenship"]) == (
        False, None, None, None,
    )  # fmt: skip


def test_luhn_finds_every_single_wrong_digit() -> None:
    randomness = random.Random(7)
    good = "8001015009087"
    changed = [
        good[:place] + str((int(good[place]) + randomness.randint(1, 9)) % 10) + good[place + 1 :]
        for place in range(13)
    ]
    fits = pl.DataFrame({"n": changed}).select(id_numbers.check_digit_fits(NUMBER)).to_series()
    assert not fits.any()
