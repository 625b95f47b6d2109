"""Every problem that the cells of one row can have is provoked by a row, with its severity."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import openpyxl
import pytest

from rollbook.model import EVERYWHERE, Scope
from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.problems import catalogue
from rollbook.pipeline.read import ROW_NUMBER, read
from rollbook.pipeline.validate import validate
from tests.files import id_number, member
from tests.unit.pipeline.sheets import sheet_of

if TYPE_CHECKING:
    from collections.abc import Set
    from pathlib import Path

    from rollbook.pipeline.read import Sheet

TODAY = dt.date(2026, 11, 24)
MAN = "8001015009087"
JOINED, PAID, EXPIRY = "Date Joined", "Last Payment", "Expiry Date"
CELL, AMOUNT, DISTRICT = "Cell Number", "Membership Amount", "Voting District"

#: A row for each code: what it has in place of a faultless member's cells.
ROWS: dict[str, dict[str, str]] = {
    "id_missing": {"ID Number": ""},
    "id_shortened": {"ID Number": "8.00102E+12"},
    "id_length": {"ID Number": "80010150090"},
    "id_characters": {"ID Number": "80010150O9087"},
    "id_birth_date": {"ID Number": "8013015009087"},
    "id_citizenship": {"ID Number": "8001015009384"},
    "id_check_digit": {"ID Number": "8001015009086"},
    "id_corrected": {"ID Number": MAN, "Corrected ID Number": id_number(2)},
    "correction_left_out": {"Cell Number": "0821234567", "New Cell": "0831234567"},
    "id_zeros_restored": {"ID Number": "101015000082"},
    "id_remark": {"ID Number": f"ID: {MAN}"},
    "firstname_missing": {"Firstname": ""},
    "surname_missing": {"Surname": "N/A"},
    "formula_not_calculated": {"Surname": "#NOT_CALCULATED!"},
    "formula_left_out": {"Occupation": "#NOT_CALCULATED!"},
    "error_value": {"Surname": "#REF!"},
    "hidden_value": {"Surname": "#HIDDEN!"},
    "hidden_left_out": {"Occupation": "#HIDDEN!"},
    "error_left_out": {"Occupation": "#SPILL!"},
    "ditto_value": {"Surname": "ditto"},
    "ditto_left_out": {"Occupation": "as above"},
    "date_unclear": {PAID: "soon"},
    "date_ambiguous": {PAID: "05/03/2024"},
    "date_year_unclear": {PAID: "24/05/03"},
    "date_month_first": {PAID: "05/23/2024"},
    "date_incomplete": {PAID: "May 2024"},
    "date_shown_in_part": {PAID: "2024-05-01 (May 24)"},
    "date_weekday": {PAID: "Mon 03 May 2024"},
    "date_time_zone": {PAID: "2024-05-03T22:30:00Z"},
    "date_future": {PAID: "2026-12-24"},
    "date_before_birth": {"ID Number": MAN, JOINED: "1979-05-03"},
    "date_in_childhood": {"ID Number": MAN, JOINED: "1985-05-03"},
    "payment_before_joining": {JOINED: "2024-05-03", PAID: "2023-05-03"},
    "expiry_far": {EXPIRY: "2050-05-03"},
    "expiry_lifetime": {EXPIRY: "Lifetime"},
    "expiry_unclear": {EXPIRY: "soon", PAID: "2026-05-03"},
    "expiry_before_payment": {EXPIRY: "2024-05-03", PAID: "2025-05-03"},
    "phone_unclear": {CELL: "12"},
    "phone_several": {CELL: "0821234567 / 0831234567"},
    "phone_remark": {CELL: "0821234567 (home)"},
    "phone_doubtful": {CELL: "0820000000"},
    "phone_shortened": {CELL: "8.21235E+08"},
    "email_unclear": {"Email": "at home"},
    "email_several": {"Email": "a@example.org, b@example.org"},
    "email_remark": {"Email": "ann@example.org (work)"},
    "email_doubtful": {"Email": "ann@gmial.com"},
    "amount_unclear": {AMOUNT: "some"},
    "amount_implausible": {AMOUNT: "20000"},
    "amount_ambiguous": {AMOUNT: "1.200"},
    "amount_thousands": {AMOUNT: "1,200"},
    "amount_negative": {AMOUNT: "-10"},
    "amount_rounded": {AMOUNT: "10.1234"},
    "amount_remark": {AMOUNT: "R10 (cash)"},
    "province_unknown": {"Province": "Atlantis"},
    "gender_unknown": {"Gender": "unclear"},
    "gender_contradicts_id": {"ID Number": MAN, "Gender": "Female"},
    "citizenship_unknown": {"Citizenship": "Martian"},
    "citizenship_contradicts_id": {"ID Number": MAN, "Citizenship": "Permanent Resident"},
    "age_unclear": {"Age": "grown up"},
    "age_contradicts_id": {"ID Number": MAN, "Age": "20"},
    "birth_date_contradicts_id": {"ID Number": MAN, "Date of Birth": "1980-02-01"},
    "birth_date_century": {"ID Number": "0503055009081", "Date of Birth": "1905-03-05"},
    "voting_district_unclear": {DISTRICT: "123"},
    "voting_district_is_ward": {DISTRICT: "79800012"},
    "ward_implausible": {"Ward": "900"},
    "ward_unclear": {"Ward": "7.98E+07"},
    "ward_in_other_place": {"Ward": "59500001"},
    "may_have_left": {"Remarks": "Deceased"},
    "may_be_no_member": {"Remarks": "Example"},
    "remark_corrects": {"Remarks": "surname now Zwane"},
    "payment_failed": {"Last Payment": "2026-01-01", "Remarks": "R/D"},
    "name_initials": {"Firstname": "JP"},
    "name_doubtful": {"Surname": "Nkosi (deceased)"},
    "names_swapped": {"Firstname": "Nkosi", "Surname": "Thandi"},
    "text_unlikely": {"Occupation": "ann@example.org"},
    "value_unknown": {"Race": "unclear"},
    "letter_lost": {"Occupation": "Te\ufffdcher"},
    "place_near": {"Municipality": "Johanesburg"},
    "municipality_unknown": {"Municipality": "Atlantis"},
    "municipality_is_district": {"Municipality": "Sedibeng"},
    "municipality_in_other_province": {"Municipality": "eThekwini", "Ward": ""},
    "passport_not_accepted": {
        "ID Number": "", "Passport Number": "FN123456", "Passport Country": "Zimbabwe",
    },
    "passport_south_african": {
        "ID Number": "", "Passport Number": "A1234567", "Passport Country": "ZA",
    },
    "passport_not_needed": {"Passport Number": "FN123456"},
}  # fmt: skip
#: Other dates of the column would say how these are meant.
ALONE = {"date_year_unclear"}


def problems_of(sheet: Sheet, scope: Scope = EVERYWHERE) -> dict[str, str]:
    """The severity of each code that a sheet's rows have."""
    found = validate(normalise(sheet, TODAY), sheet, scope).problems
    return dict(found.select("code", "severity").iter_rows())


def test_a_faultless_row_has_no_problem() -> None:
    assert problems_of(sheet_of([member(1)])) == {}


@pytest.mark.parametrize("codes", [ROWS.keys() - ALONE, ALONE])
def test_each_problem_of_a_row_can_be_provoked(codes: Set[str]) -> None:
    wanted = dict(enumerate(sorted(codes), start=2))
    sheet = sheet_of([member(1, **ROWS[code]) for code in wanted.values()])
    problems = validate(normalise(sheet, TODAY), sheet, EVERYWHERE).problems
    found = set(problems.select(ROW_NUMBER, "code", "severity").iter_rows())
    expected = {(row, code, catalogue()[code].severity) for row, code in wanted.items()}
    assert expected - found == set()


def test_a_row_of_another_office_says_so() -> None:
    office = Scope("KZN", None)
    assert problems_of(sheet_of([member(1)]), office)["other_office"] == "error"


def test_cells_merged_across_columns_are_doubted(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(("ID Number", "Firstname", "Surname", "Region", "Municipality"))
    sheet.append((id_number(1), "Ann", "Nkosi", "Emfuleni", None))
    sheet.merge_cells("D2:E2")
    book.save(tmp_path / "merged.xlsx")
    (batch,) = read(tmp_path / "merged.xlsx", "xlsx")
    assert problems_of(batch)["merged_across"] == "warning"
