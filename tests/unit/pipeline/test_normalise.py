"""Cells in one spelling, and a warning for each that was not understood."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from typing import Any

import phonenumbers
import pytest
from stdnum import luhn

from rollbook.pipeline.cells import spellings
from rollbook.pipeline.columns import key
from rollbook.pipeline.normalise import Normalised, normalise
from rollbook.pipeline.values import values
from tests.unit.pipeline.sheets import sheet_of

TODAY = dt.date(2026, 11, 24)
GOOD = "8001015009087"


def normalised(**cells: str | None) -> Normalised:
    return normalise(
        sheet_of([{"ID Number": GOOD, "Name": "Ann", "Surname": "Bosman", **cells}]), TODAY
    )


def value_and_warnings(header: str, cell: str, field: str) -> tuple[Any, set[str]]:
    done = normalised(**{header: cell})
    return done.frame[field][0], set(done.warnings["code"])


def test_an_offices_own_word_counts_also_where_it_means_no_value_elsewhere() -> None:
    sheet = sheet_of([{"ID Number": GOOD, "Name": "Ann", "Surname": "Bosman", "Race": "TBA"}])
    assert normalise(sheet, TODAY).frame["race"][0] is None
    done = normalise(sheet, TODAY, aliases={"race": {"tba": "Other"}})
    assert (done.frame["race"][0], done.aliased) == ("Other", {("race", "tba"): 1})


@pytest.mark.parametrize("body", ["000101500908", "010101500908", "091231000108"])
def test_a_number_that_lost_its_zeros_gets_them_back(body: str) -> None:
    number = body + str(luhn.calc_check_digit(body))
    cell = str(int(number))
    assert len(cell) < len(number)
    assert value_and_warnings("ID Number", cell, "id_number") == (number, {"id_zeros_restored"})


@pytest.mark.parametrize("body", ["000101500908", "013231000108", "000101500938"])
def test_zeros_are_put_back_only_if_that_makes_the_number_valid(body: str) -> None:
    wrong = "013231000108" in body or body.endswith("38")  # no such date, no such citizenship
    digit = int(luhn.calc_check_digit(body))
    cell = str(int(body + str(digit if wrong else (digit + 1) % 10)))
    assert value_and_warnings("ID Number", cell, "id_number") == (cell, set())


@pytest.mark.parametrize(
    "cell",
    [f"{GOOD}.0", f" {GOOD} ", f"'{GOOD}", "800101 5009 08 7", "800101-5009-087",
     "800101\u20135009\u2013087", f"\u202d{GOOD}\u202c", f"{GOOD}\u200b", f"\ufeff{GOOD}",
     f'="{GOOD}"', f'=" {GOOD} "'],
)  # fmt: skip
def test_separators_and_a_decimal_part_are_no_part_of_the_number(cell: str) -> None:
    assert value_and_warnings("ID Number", cell, "id_number") == (GOOD, set())


@pytest.mark.parametrize(
    ("cell", "date", "warning"),
    [
        ("2024-03-05", dt.date(2024, 3, 5), None),
        ("2024-03-05 00:00:00", dt.date(2024, 3, 5), None),
        ("2024/3/5", dt.date(2024, 3, 5), None),
        ("20240305", dt.date(2024, 3, 5), None),
        ("45356", dt.date(2024, 3, 5), None),
        ("45356.5", dt.date(2024, 3, 5), None),
        ("25/03/2024", dt.date(2024, 3, 25), None),
        ("5.3.2024", dt.date(2024, 3, 5), "date_ambiguous"),
        ("05-03-2024", dt.date(2024, 3, 5), "date_ambiguous"),
        ("05/03/24", dt.date(2024, 3, 5), "date_ambiguous"),
        ("05-05-2024", dt.date(2024, 5, 5), None),
        ("5 Mar 2024", dt.date(2024, 3, 5), None),
        ("5-March-2024", dt.date(2024, 3, 5), None),
        ("2024-02-30", None, "date_unclear"),
        ("03/25/2024", dt.date(2024, 3, 25), "date_month_first"),
        ("soon", None, "date_unclear"),
        ("0", None, "date_unclear"),
    ],
)
def test_a_date_in_any_usual_form(cell: str, date: dt.date | None, warning: str | None) -> None:
    found = value_and_warnings("Date Joined", cell, "date_joined")
    assert found == (date, {warning} if warning else set())


def test_a_membership_lasts_24_months_from_the_last_payment_if_the_file_says_nothing() -> None:
    assert normalised(**{"Last Payment": "2024-02-29"}).frame["expiry_date"][0] == dt.date(
        2026, 2, 28
    )
    given = normalised(**{"Last Payment": "2024-02-29", "Expiry Date": "2025-01-31"})
    assert given.frame["expiry_date"][0] == dt.date(2025, 1, 31)


@pytest.mark.parametrize(
    ("cell", "phone"),
    [
        ("0821234567", "+27821234567"),
        ("082 123 4567", "+27821234567"),
        ("(082) 123-4567", "+27821234567"),
        ("821234567", "+27821234567"),
        ("821234567.0", "+27821234567"),
        ("+27 82 123 4567", "+27821234567"),
        ("+27 (0)82 123 4567", "+27821234567"),
        ("0027821234567", "+27821234567"),
        ("27821234567", "+27821234567"),
        ("+263 77 123 4567", "+263771234567"),
        ("00266 2212 3456", "+26622123456"),
        ("00821234567", "+27821234567"),
        ("'0821234567", "+27821234567"),
        ("082.123.0000", "+27821230000"),
        ("0027 12 345 67", None),
        ("082\u2013123\u20134567", "+27821234567"),
        ("\u202a+27 82 123 4567\u202c", "+27821234567"),
        ("082 123 456", None),
        ("+27 82 123 456", None),
        ("none", None),
    ],
)
def test_a_phone_number_in_any_usual_form(cell: str, phone: str | None) -> None:
    found = value_and_warnings("Cell", cell, "cell_number")
    assert found == (phone, set() if phone else {"phone_unclear"})


def test_phonenumbers_reads_our_numbers_as_we_do() -> None:
    randomness = random.Random(27)
    spaces = ("", " ", "-")
    cells, expected = [], []
    for _ in range(3000):
        national = f"{randomness.randint(10, 89)}{randomness.randint(0, 9_999_999):07}"
        space = randomness.choice(spaces)
        prefix = randomness.choice(("0", "+27", "27", "0027"))
        cell = prefix + space + space.join((national[:2], national[2:5], national[5:]))
        try:
            parsed = phonenumbers.parse(cell if prefix != "0027" else "+" + cell[2:], "ZA")
        except phonenumbers.NumberParseException:
            continue
        if not phonenumbers.is_possible_number(parsed):
            continue
        cells.append(cell)
        expected.append(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))
    rows = [{"ID": GOOD, "Name": "Ann", "Surname": "Bosman", "Cell": cell} for cell in cells]
    found = normalise(sheet_of(rows), TODAY).frame["cell_number"].to_list()
    differences = [pair for pair in zip(cells, expected, found, strict=True) if pair[1] != pair[2]]
    assert len(cells) > 2000
    assert differences == []


@pytest.mark.parametrize(
    ("header", "cell", "field", "expected"),
    [
        ("Province", "kwazulu natal", "province", "KZN"),
        ("Province", "Wes-Kaap", "province", "WC"),
        ("Gender", " f ", "gender", "female"),
        ("Race", "black", "race", "African"),
        ("Race", "Indi\u00ebr", "race", "Indian"),
        ("Race", "Martian", "race", "Martian"),
        ("Language", "zulu", "language", "isiZulu"),
        ("Citizenship", "South African", "citizenship", "citizen"),
        ("Email", "A.B@Example.ORG", "email", "a.b@example.org"),
        ("Email", "mailto:a.b@example.org", "email", "a.b@example.org"),
        ("Email", "<a.b@example.org>", "email", "a.b@example.org"),
        ("Ward", "79800001.0", "ward", "79800001"),
        ("Ward", '="79800001"', "ward", "79800001"),
        ("Ward", "#12", "ward", "12"),
        ("VD", "12345678", "voting_district", "12345678"),
        ("Membership Amount", "R10.00", "membership_amount", Decimal("10.00")),
        ("Membership Amount", "R 1 200,50", "membership_amount", Decimal("1200.50")),
        ("Membership Amount", "1,200.50", "membership_amount", Decimal("1200.50")),
        ("Membership Amount", "ZAR 5", "membership_amount", Decimal("5.00")),
        ("Name", "  Mary \t Ann ", "firstname", "Mary Ann"),
        ("Age", "46.0", "age", 46),
    ],
)
def test_a_value_gets_its_one_spelling(
    header: str, cell: str, field: str, expected: object
) -> None:
    assert normalised(**{header: cell}).frame[field][0] == expected


@pytest.mark.parametrize(
    ("header", "cell", "field", "code"),
    [
        ("Province", "Atlantis", "province", "province_unknown"),
        ("Gender", "?", "gender", "gender_unknown"),
        ("Email", "a at b", "email", "email_unclear"),
        ("Email", "a@b.co,za", "email", "email_unclear"),
        ("Membership Amount", "ten rand", "membership_amount", "amount_unclear"),
        ("VD", "1234", "voting_district", "voting_district_unclear"),
    ],
)
def test_a_cell_that_is_not_understood_is_left_out_with_a_warning(
    header: str, cell: str, field: str, code: str
) -> None:
    done = normalised(**{header: cell})
    assert done.frame[field][0] is None
    # The gender in the ID number counts instead.
    kept = "male" if field == "gender" else None
    assert done.warnings.rows() == [(2, field, cell, code, "warning", kept)]


@pytest.mark.parametrize(
    "error",
    ["#N/A", "#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!", "#ERROR!",
     "#GETTING_DATA", "Err:502", "####", '=""'],
)  # fmt: skip
def test_an_error_that_stands_as_text_is_no_value_and_would_erase_none(error: str) -> None:
    done = normalised(Ward=error, Address=f" {error} ", Status="Active", Name=error)
    row = done.frame.row(0, named=True)
    assert [row[name] for name in ("ward", "residential_address", "status", "firstname")] == [
        None, None, "Active", None,
    ]  # fmt: skip


def test_what_contradicts_the_id_number_is_told() -> None:
    done = normalised(Gender="Female", Citizenship="Refugee")
    assert set(done.warnings["code"]) == {"gender_contradicts_id", "citizenship_contradicts_id"}
    assert normalised(Gender="Male", Citizenship="Citizen").warnings.is_empty()


def test_a_file_without_optional_columns_has_empty_fields_and_no_warnings() -> None:
    done = normalised()
    assert done.warnings.is_empty()
    assert done.frame["province"].to_list() == [None]


@pytest.mark.parametrize("field", ["gender", "citizenship", "race", "language"])
def test_no_spelling_stands_for_two_values(field: str) -> None:
    seen: dict[str, str] = {}
    for value, names in values()[field].items():
        for name in (value, *names):
            assert seen.setdefault(key(name), value) == value
    assert seen == spellings(field)
