"""Verdicts, and every problem of a row at once."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from rollbook.model import EVERYWHERE, Scope
from rollbook.pipeline import problems
from rollbook.pipeline.normalise import normalise
from rollbook.pipeline.problem_table import PROBLEMS
from rollbook.pipeline.read import ROW_NUMBER, read
from rollbook.pipeline.validate import RULES, Validated, rules, validate
from tests.files import id_number, member
from tests.unit.pipeline.sheets import sheet_of

TODAY = dt.date(2026, 11, 24)


def validated(*rows: dict[str, str], scope: Scope = EVERYWHERE) -> Validated:
    sheet = sheet_of(rows)
    return validate(normalise(sheet, TODAY), sheet, scope)


def codes(done: Validated, severity: str = "error") -> set[str]:
    return set(done.problems.filter(pl.col("severity") == severity)["code"])


def test_every_error_of_a_row_is_found_at_once() -> None:
    cases: list[tuple[dict[str, str], set[str]]] = [
        ({"ID Number": ""}, {"id_missing"}),
        ({"ID Number": "80010150O9087"}, {"id_characters"}),
        ({"ID Number": "80010150090"}, {"id_length"}),
        ({"ID Number": "8013015009087"}, {"id_birth_date", "id_check_digit"}),
        ({"ID Number": "8001015009086"}, {"id_check_digit"}),
        ({"ID Number": "8001015009384"}, {"id_citizenship"}),
        ({"Firstname": " "}, {"firstname_missing"}),
        ({"Surname": "", "Firstname": ""}, {"firstname_missing", "surname_missing"}),
        ({"ID Number": "x", "Surname": ""}, {"id_characters", "id_length", "surname_missing"}),
        ({}, set()),
    ]
    done = validated(*(member(1, **changes) for changes, _ in cases))
    found = done.problems.filter(severity="error").select(ROW_NUMBER, "code").rows()
    for row, (changes, expected) in enumerate(cases, start=2):
        assert {code for number, code in found if number == row} == expected, changes
    assert done.rows["verdict"].to_list() == [
        "invalid" if expected else "valid" for _, expected in cases
    ]


def test_a_problem_names_row_column_value_and_code() -> None:
    done = validated(member(1), member(2, **{"ID Number": "123"}))
    assert done.problems.rows() == [(3, "ID Number", "123", "id_length", "error", None)]


def test_a_row_belongs_to_the_office_only_if_its_place_says_so_or_nothing() -> None:
    cases: list[tuple[dict[str, str], bool]] = [
        ({}, False),
        ({"Province": ""}, False),
        ({"Province": "Limpopo"}, True),
        ({"Province": "Gautengggg"}, True),
        ({"Province": "Gautengg"}, False),
        ({"Municipality": "JOHANNESBURG"}, False),
        ({"Municipality": ""}, False),
        ({"Municipality": "Tshwane"}, True),
    ]
    office = Scope("GP", "City of Johannesburg")
    rows = validated(*(member(1, **changes) for changes, _ in cases), scope=office).rows
    found = rows.select("verdict", "province", "municipality").rows()
    for (changes, elsewhere), (verdict, *place) in zip(cases, found, strict=True):
        assert verdict == ("out_of_scope" if elsewhere else "valid"), changes
        assert elsewhere or place == ["GP", "City of Johannesburg"], changes


def test_the_id_number_decides_over_the_columns() -> None:
    row = validated(member(1, Gender="Male", Citizenship="Refugee")).rows.row(0, named=True)
    assert id_number(1)[6] < "5"
    assert (row["gender"], row["citizenship"]) == ("female", "citizen")
    assert row["date_of_birth"] == dt.date(1980, 1, 1)


def test_warnings_refuse_no_row() -> None:
    done = validated(member(1, Province="Atlantis", **{"Cell Number": "none"}))
    assert codes(done, "warning") == {"province_unknown", "phone_unclear"}
    assert done.rows["verdict"].to_list() == ["valid"]


def test_problems_come_in_the_order_of_the_rows() -> None:
    done = validated(*(member(n, Surname="", Province="Atlantis") for n in range(50)))
    assert done.problems["row_number"].is_sorted()
    assert done.problems.schema == pl.Schema(PROBLEMS)


def test_every_rule_is_an_error_of_the_catalogue() -> None:
    assert set(rules()) == set(RULES)
    errors = {code for code, entry in problems.catalogue().items() if entry.severity == "error"}
    of_cells = {"formula_not_calculated", "error_value", "id_shortened", "cells_beyond_headers"}
    of_cells |= {"needed_not_emptied", "ditto_value", "hidden_value", "id_corrected"}
    of_cells |= {code for code in errors if code.startswith("passport_")}
    of_rows = {
        "quotes_unclear",
        "backslash_unclear",
        "row_cut_off",
        "repeat_undecided",
        "other_office",
        "person_erased",
        "member_unknown",
        "member_stays",
        "person_deceased",
    }
    assert errors == {*RULES, *of_cells, *of_rows}


def test_the_reference_lists_every_problem_in_its_words() -> None:
    page = Path(__file__).parents[3].joinpath("docs/reference/problems.md").read_text("utf-8")
    listed = [line for line in page.splitlines() if line.startswith("| `")]
    assert listed == [
        f"| `{code}` | {entry.severity} | {entry.sentence} |"
        for code, entry in problems.catalogue().items()
    ]


@pytest.mark.parametrize(
    ("title", "end"), [("", ""), ("Members of the branch\n\n", ""), ("", ",")], ids=str
)
def test_a_row_of_a_csv_with_more_cells_than_headers_is_refused(
    tmp_path: Path, title: str, end: str
) -> None:
    header = f"ID Number,Firstname,Surname,Address,Ward{end}"
    rows = [
        f'{id_number(1)},A,B,"12 Main Rd, Soweto",79800012',
        f"{id_number(2)},C,D,12 Main Rd, Soweto,79800012",
        f"{id_number(3)},E,F,12 Main Rd,79800012,",
        f"{id_number(4)},G,H,12 Main Rd",
    ]
    path = tmp_path / "members.csv"
    path.write_text(title + "\n".join([header, *rows]), encoding="utf-8")
    [sheet] = read(path, "csv")
    done = validate(normalise(sheet, TODAY), sheet, EVERYWHERE)
    # Where the header row ends in a delimiter, each row has room for an empty cell more.
    is_refused = not end
    verdicts = ["valid", "invalid", "invalid" if is_refused else "valid", "valid"]
    assert done.rows["verdict"].to_list() == verdicts
    found = done.problems.filter(code="cells_beyond_headers").select("column", "value", "severity")
    moved = [("Column 6", "79800012", "error")]
    assert found.rows() == moved + ([(None, None, "error")] if is_refused else [])
